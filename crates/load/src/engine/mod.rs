//! The run itself: one thread, one poll, one heap of timers.
//!
//! Messages are due by the schedule, whatever the hub does, and their times are measured from
//! there. Only the parts of a message that [`super::check`] and [`super::measure`] need are read.

mod commands;
mod connecting;
mod interval;
mod member;
mod receiving;
mod sending;
mod stages;
mod timers;

use std::collections::HashMap;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use foldhash::fast::RandomState;
use mio::{Events, Poll};

use self::commands::Commands;
use self::interval::Counters;
use self::member::Member;
use self::timers::{Timers, Wake};
use super::address::{HubTarget, Spread};
use super::check::{Checker, MemberId};
use super::hub_usage::{UsageSource, UsageWatch};
use super::measure::{Measure, Timing};
use super::rng::Rng;
use super::scenario::{Part, Scenario};
use super::seconds;
use super::tokens::People;
use super::track::Track;
use crate::process::Usage;
use protocol::codec::Framing;
use protocol::time::Timestamp;

pub use self::interval::Interval;

/// Everything that a run needs.
#[derive(Debug, Clone)]
pub struct RunPlan {
    /// The scenario.
    pub scenario: Scenario,
    /// The hubs, at least one. All have the same framing.
    pub hubs: Vec<HubTarget>,
    /// How the members of a room are spread over them.
    pub spread: Spread,
    /// The users.
    pub people: People,
    /// The track of the drivers.
    pub track: Track,
    /// Where the hub's resource usage is read, and its value before the run.
    pub hub: Option<(UsageSource, Usage)>,
    /// The version of the hub, if its metrics have it.
    pub hub_version: Option<String>,
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RunEnd {
    /// As planned.
    Complete,
    /// A signal interrupted it.
    Interrupted,
    /// The hub went away and did not come back.
    HubLost,
}

/// The state of a run, once a second.
#[derive(Debug, Clone)]
pub struct RunProgress {
    /// The name of the stage.
    pub stage: &'static str,
    /// The time, in seconds from the beginning.
    pub at: f64,
    /// The second that has ended.
    pub second: Interval,
    /// Members in their rooms.
    pub inside: usize,
    /// All members.
    pub people: usize,
    /// How long the run lasts if all goes well.
    pub length: Duration,
    /// Refusals so far.
    pub errors: u64,
    /// Connections that the hub ended so far.
    pub closes: u64,
    /// Broken promises so far.
    pub broken: u64,
}

/// The outcome of a run.
#[derive(Debug)]
pub struct RunOutcome {
    /// How it ended.
    pub ended: RunEnd,
    /// What was measured and counted.
    pub measure: Measure,
    /// The check of the promises.
    pub checker: Checker,
    /// The hold stage alone, as far as it went.
    pub hold: Interval,
    /// The most members in their rooms at once.
    pub peak: usize,
    /// Members in their rooms when the end of the run began.
    pub inside_at_end: usize,
}

/// Between the last arrival and the hold, so that the last members can join.
const GRACE: Duration = Duration::from_millis(500);
/// A hub that accepts no member for so long is lost.
const HUB_LOST_AFTER: u64 = 10_000_000;
/// How long a connection, a join or a close may take.
const STEP_TIMEOUT: u64 = 15_000_000;
/// The most bytes of one read.
const READ_BYTES: usize = 256 * 1024;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum RunStage {
    RampUp,
    Hold,
    Settle,
    RampDown,
    Over,
}

struct Engine<'a> {
    plan: &'a RunPlan,
    framing: Framing,
    started: Instant,
    /// The wall clock at the beginning.
    wall: Timestamp,
    /// Tells messages of this run from those of others.
    run: u32,
    /// Microseconds since the beginning, at the last reading of the clock.
    now: u64,
    poll: Poll,
    timers: Timers,
    members: Vec<Member>,
    /// The drivers by user id.
    drivers: HashMap<&'a str, MemberId, RandomState>,
    /// How many members are in each room.
    inside: Vec<u64>,
    /// How many members are in all rooms.
    all_inside: usize,
    checker: Checker,
    measure: Measure,
    /// Random masks of frames; no schedule depends on them.
    masks: Rng,
    stage: RunStage,
    ended: RunEnd,
    /// When a member last connected or received anything.
    alive: u64,
    /// When the stage ends at the latest.
    deadline: u64,
    /// The commands of the scenario that still run.
    commands: Commands,
    peak: usize,
    inside_at_end: usize,
    /// The counters at the start of the hold; none before.
    at_hold: Option<Counters>,
    /// The hold, when it has ended.
    hold: Option<Interval>,
    /// The counters a second ago.
    at_second: Counters,
    /// The counters at the end of the last recorded interval.
    at_stretch: Counters,
    /// How many seconds a recorded interval has, and how many have passed.
    seconds: (u64, u64),
    /// Reads the hub's resource usage.
    hub: Option<UsageWatch>,
    /// The read buffer; taken out while its content is processed.
    buffer: Vec<u8>,
    /// The buffer in which messages are written.
    data: String,
    text: String,
}

/// Runs a plan to its end, or until `stop` is set. Calls `watch` once a second.
///
/// # Errors
/// If the system has no poll.
pub fn run(
    plan: &RunPlan,
    stop: &AtomicBool,
    watch: &mut dyn FnMut(&RunProgress),
) -> io::Result<RunOutcome> {
    let mut engine = Engine::new(plan)?;
    engine.schedule();
    engine.begin();
    let mut events = Events::with_capacity(1024);
    while engine.stage != RunStage::Over {
        engine.look();
        while let Some((due, wake)) = engine.timers.pop(engine.now) {
            engine.wake(due, wake, watch);
        }
        engine.advance(stop.load(Ordering::Relaxed));
        engine.rest(&mut events)?;
        engine.look();
        for event in &events {
            engine.ready(event);
        }
    }
    Ok(engine.outcome())
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

impl<'a> Engine<'a> {
    fn new(plan: &'a RunPlan) -> io::Result<Self> {
        let scenario = &plan.scenario;
        let from = micros(scenario.ramp_up.0 + GRACE);
        let until = from + micros(scenario.hold.0);
        let nothing = |role| unreachable!("nobody of the role {role:?} was planned");
        let part = |role| -> Part { scenario.part(role).cloned().unwrap_or_else(|| nothing(role)) };
        let persons = &plan.people.persons;
        let mut places = vec![0; plan.people.rooms.len()];
        let member = |(id, person): (MemberId, &super::tokens::Person)| {
            let room = person.room;
            let home = plan.spread.home(room, places[room], plan.hubs.len());
            places[room] += 1;
            Member { hub: home, home, ..Member::new(id, room, part(person.role), scenario.seed) }
        };
        let drivers = persons.iter().enumerate().map(|(id, person)| (person.user.as_str(), id));
        let wall = Timestamp::now();
        let mut run = Rng::new(u64::from(std::process::id()) ^ wall.as_millis().unsigned_abs());
        Ok(Self {
            plan,
            framing: plan.hubs.first().map_or(Framing::Plain, |hub| hub.framing),
            started: Instant::now(),
            wall,
            run: u32::try_from(run.next() >> 32).unwrap_or(0),
            now: 0,
            poll: Poll::new()?,
            timers: Timers::default(),
            members: persons.iter().enumerate().map(member).collect(),
            drivers: drivers.filter(|(_, id)| persons[*id].role == super::DRIVER).collect(),
            inside: vec![0; plan.people.rooms.len()],
            all_inside: 0,
            checker: Checker::new(
                plan.people.rooms.len(),
                persons.iter().map(|person| person.room),
            ),
            measure: Measure::new(from, until),
            masks: run,
            stage: RunStage::RampUp,
            ended: RunEnd::Complete,
            alive: 0,
            deadline: from,
            commands: Commands::default(),
            peak: 0,
            inside_at_end: 0,
            at_hold: None,
            hold: None,
            at_second: Counters::default(),
            at_stretch: Counters::default(),
            seconds: (seconds::stretch(scenario.length().as_secs()), 0),
            hub: plan.hub.clone().map(|(source, first)| source.watch(first)),
            buffer: vec![0; READ_BYTES],
            data: String::new(),
            text: String::new(),
        })
    }

    fn look(&mut self) {
        self.now = micros(self.started.elapsed());
    }

    /// Schedules everything that the scenario fixes.
    fn schedule(&mut self) {
        let scenario = &self.plan.scenario;
        let (ramp, count) = (micros(scenario.ramp_up.0), self.members.len() as u64);
        for id in 0..self.members.len() {
            // A week in microseconds times a million members fits.
            let due = ramp * id as u64 / count;
            self.timers.at(due, Wake::Connect(id, 0));
            self.schedule_messages(id, due);
        }
        for (place, storm) in scenario.storm.iter().enumerate() {
            self.timers.at(self.measure.from + micros(storm.at.0), Wake::Storm(place));
        }
        for (place, step) in scenario.step.iter().enumerate() {
            self.timers.at(self.measure.from + micros(step.at.0), Wake::Step(place));
        }
        self.timers.at(1_000_000, Wake::Second);
    }

    fn wake(&mut self, due: u64, wake: Wake, watch: &mut dyn FnMut(&RunProgress)) {
        match wake {
            Wake::Connect(id, generation) if self.is(id, generation) => self.connect(id, due),
            Wake::Overdue(id, generation) if self.is(id, generation) => self.overdue(id),
            Wake::Depart(id, generation) if self.is(id, generation) => self.depart(id),
            Wake::Read(id, generation) if self.is(id, generation) => self.read_slowly(id),
            Wake::Turn(id, generation) if self.is(id, generation) => self.turn(id),
            Wake::Location(id) => self.location_due(id, due),
            Wake::Chat(id) => self.chat_due(id, due),
            Wake::Storm(place) => self.storm(place, due),
            Wake::Step(place) => self.commands.start(&self.plan.scenario.step[place]),
            Wake::Second => {
                watch(&self.second());
                self.timers.at(due + 1_000_000, Wake::Second);
            }
            _ => {}
        }
    }

    /// Whether this is still the member's connection.
    fn is(&self, id: MemberId, generation: u32) -> bool {
        self.members[id].generation == generation
    }

    /// Waits for sockets, at most until the next timer.
    fn rest(&mut self, events: &mut Events) -> io::Result<()> {
        self.look();
        let next = self.timers.next().unwrap_or(self.now + 100_000).min(self.now + 100_000);
        let left = next.saturating_sub(self.now);
        // A poll counts in milliseconds. The last part of the wait uses short sleeps instead, or
        // every message would be late by half a millisecond.
        let whole = Duration::from_millis(left / 1000);
        if whole.is_zero() && left > 0 {
            std::thread::sleep(Duration::from_micros(left.min(100)));
        }
        match self.poll.poll(events, Some(whole)) {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => Err(error),
            _ => Ok(()),
        }
    }

    fn outcome(mut self) -> RunOutcome {
        self.end_hold();
        self.commands.count(&mut self.measure);
        self.measure.turn();
        RunOutcome {
            ended: self.ended,
            measure: self.measure,
            checker: self.checker,
            hold: self.hold.unwrap_or_default(),
            peak: self.peak,
            inside_at_end: self.inside_at_end,
        }
    }

    /// Records a time, unless the member is slow on purpose.
    fn time(&mut self, id: MemberId, timing: Timing, due: u64) {
        if !self.members[id].is_slow() {
            self.measure.time(timing, due, self.now);
        }
    }
}
