//! The run itself: one thread, one poll, one heap of what is due.
//!
//! A message is due by the schedule, whatever the hub does; its time is measured from there. Only
//! what [`super::check`] and [`super::measure`] need of a message is read.

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

use self::interval::Counters;
use self::member::Member;
use self::timers::{Timers, Wake};
use super::address::HubTarget;
use super::check::{Checker, MemberId};
use super::hub_usage::{UsageSource, UsageWatch};
use super::measure::{Measure, Timing};
use super::rng::Rng;
use super::scenario::{Part, Scenario};
use super::seconds;
use super::tokens::People;
use super::track::Track;
use crate::process::Usage;
use crate::time::Timestamp;

pub use self::interval::Interval;

/// What a run needs to know.
#[derive(Debug, Clone)]
pub struct RunPlan {
    /// What is done.
    pub scenario: Scenario,
    /// Where.
    pub target: HubTarget,
    /// By whom.
    pub people: People,
    /// Along which way.
    pub track: Track,
    /// Where to see what the hub takes, and what was seen there before the run.
    pub hub: Option<(UsageSource, Usage)>,
    /// The version of the hub, where it was found there.
    pub hub_version: Option<String>,
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RunEnd {
    /// As planned.
    Complete,
    /// Somebody wanted it to end.
    Interrupted,
    /// The hub went away and did not come back.
    HubLost,
}

/// A run as it stands, once a second.
#[derive(Debug, Clone)]
pub struct RunProgress {
    /// What goes on.
    pub stage: &'static str,
    /// When that is, in seconds from the beginning.
    pub at: f64,
    /// The second that is over.
    pub second: Interval,
    /// Members in their rooms.
    pub inside: usize,
    /// Everybody.
    pub people: usize,
    /// How long the run lasts if all goes well.
    pub length: Duration,
    /// Refusals until now.
    pub errors: u64,
    /// Ends that the hub caused, until now.
    pub closes: u64,
    /// Promises broken until now.
    pub broken: u64,
}

/// A run that is over.
#[derive(Debug)]
pub struct RunOutcome {
    /// How it ended.
    pub ended: RunEnd,
    /// What was timed and counted.
    pub measure: Measure,
    /// What was promised.
    pub checker: Checker,
    /// The hold alone, as far as it went.
    pub hold: Interval,
    /// The most members that were in their rooms at once.
    pub peak: usize,
    /// Members in their rooms before they went.
    pub inside_at_end: usize,
}

/// Between the last arrival and the hold: the last ones are still at the door.
const GRACE: Duration = Duration::from_millis(500);
/// A hub that takes nobody for so long is lost.
const HUB_LOST_AFTER: u64 = 10_000_000;
/// How long a connection, a join or a good-bye may take.
const STEP_TIMEOUT: u64 = 15_000_000;
/// The most that one read takes.
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
    started: Instant,
    /// The wall clock at the beginning.
    wall: Timestamp,
    /// Tells messages of this run from all others.
    run: u32,
    /// Microseconds since the beginning, as of the last look.
    now: u64,
    poll: Poll,
    timers: Timers,
    members: Vec<Member>,
    /// The drivers by their names.
    drivers: HashMap<&'a str, MemberId, RandomState>,
    /// Members in each room.
    inside: Vec<u64>,
    /// The same, of all rooms.
    all_inside: usize,
    checker: Checker,
    measure: Measure,
    /// What frames are masked with; no schedule depends on it.
    masks: Rng,
    stage: RunStage,
    ended: RunEnd,
    /// The last time that anybody got in, or heard anything.
    alive: u64,
    /// When the stage ends at the latest.
    deadline: u64,
    peak: usize,
    inside_at_end: usize,
    /// How it stood when the hold began; none before.
    at_hold: Option<Counters>,
    /// The hold, when it is over.
    hold: Option<Interval>,
    /// How it stood a second ago.
    at_second: Counters,
    /// How it stood at the end of the last stretch that is kept.
    at_stretch: Counters,
    /// How many seconds a stretch has, and how many have gone.
    seconds: (u64, u64),
    /// Who looks at the hub.
    hub: Option<UsageWatch>,
    /// Where bytes are read to; taken out while they are looked at.
    buffer: Vec<u8>,
    /// Where messages are written.
    data: String,
    text: String,
}

/// Runs a plan to its end, or until `stop` is set. `watch` is told once a second.
///
/// # Errors
/// Where the system has no poll.
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
        let member = |(id, person): (MemberId, &super::tokens::Person)| {
            Member::new(id, person.room, part(person.role), scenario.seed)
        };
        let drivers = persons.iter().enumerate().map(|(id, person)| (person.user.as_str(), id));
        let wall = Timestamp::now();
        let mut run = Rng::new(u64::from(std::process::id()) ^ wall.as_millis().unsigned_abs());
        Ok(Self {
            plan,
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

    /// Puts everything on the heap that the scenario fixes.
    fn schedule(&mut self) {
        let scenario = &self.plan.scenario;
        let (ramp, count) = (micros(scenario.ramp_up.0), self.members.len() as u64);
        for id in 0..self.members.len() {
            // A week of microseconds times a million people fits.
            let due = ramp * id as u64 / count;
            self.timers.at(due, Wake::Connect(id, 0));
            self.schedule_messages(id, due);
        }
        for (place, storm) in scenario.storm.iter().enumerate() {
            self.timers.at(self.measure.from + micros(storm.at.0), Wake::Storm(place));
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
            Wake::Second => {
                watch(&self.second());
                self.timers.at(due + 1_000_000, Wake::Second);
            }
            _ => {}
        }
    }

    /// Whether a member still has that connection.
    fn is(&self, id: MemberId, generation: u32) -> bool {
        self.members[id].generation == generation
    }

    /// Waits for sockets, at most until the next thing is due.
    fn rest(&mut self, events: &mut Events) -> io::Result<()> {
        self.look();
        let next = self.timers.next().unwrap_or(self.now + 100_000).min(self.now + 100_000);
        let left = next.saturating_sub(self.now);
        // A poll counts in milliseconds. What is due before the next one is waited for in short
        // naps instead, or every message would be late by half a millisecond.
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

    /// Times something, unless the member is slow on purpose.
    fn time(&mut self, id: MemberId, timing: Timing, due: u64) {
        if !self.members[id].is_slow() {
            self.measure.time(timing, due, self.now);
        }
    }
}
