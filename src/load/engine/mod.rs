//! The run itself: one thread, one poll, one heap of what is due.
//!
//! A message is due by the schedule, whatever the hub does; its time is measured from there. Only
//! what [`super::check`] and [`super::measure`] need of a message is read.

mod coming;
mod hearing;
mod member;
mod sending;
mod timers;

use std::collections::HashMap;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use foldhash::fast::RandomState;
use mio::{Events, Poll};

use self::member::{Member, Phase};
use self::timers::{Timers, Wake};
use super::address::Target;
use super::check::{Checker, MemberId};
use super::measure::{Counts, Measure, Second, Timing};
use super::own_cpu;
use super::rng::Rng;
use super::scenario::{Part, Scenario};
use super::tokens::People;
use super::track::Track;
use crate::time::Timestamp;

/// What a run needs to know.
#[derive(Debug, Clone)]
pub struct Plan {
    /// What is done.
    pub scenario: Scenario,
    /// Where.
    pub target: Target,
    /// By whom.
    pub people: People,
    /// Along which way.
    pub track: Track,
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// As planned.
    Complete,
    /// Somebody wanted it to end.
    Interrupted,
    /// The hub went away and did not come back.
    HubLost,
}

/// A run as it stands, once a second.
#[derive(Debug, Clone)]
pub struct Live {
    /// What goes on.
    pub stage: &'static str,
    /// The second that is over.
    pub second: Second,
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
pub struct Outcome {
    /// How it ended.
    pub ended: Ended,
    /// What was timed and counted.
    pub measure: Measure,
    /// What was promised.
    pub checker: Checker,
    /// The sums of the hold alone.
    pub hold: Counts,
    /// The length of the hold, as far as it went.
    pub hold_time: Duration,
    /// The processor that this program took in the hold; 1 is a core. None where the system does
    /// not tell.
    pub cpu: Option<f64>,
    /// The most members that were in their rooms at once.
    pub peak: usize,
    /// Members in their rooms before they went.
    pub inside_at_end: usize,
}

/// Between the last arrival and the hold: the last ones are still at the door.
const GRACE: Duration = Duration::from_millis(500);
/// A hub that takes nobody for so long is lost.
const LOST_AFTER: u64 = 10_000_000;
/// How long a connection, a join or a good-bye may take.
const PATIENCE: u64 = 15_000_000;
/// The most that one read takes.
const READ: usize = 256 * 1024;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    RampUp,
    Hold,
    Settle,
    RampDown,
    Over,
}

struct Engine<'a> {
    plan: &'a Plan,
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
    rng: Rng,
    stage: Stage,
    ended: Ended,
    /// The last time that anybody got in, or heard anything.
    alive: u64,
    /// When the stage ends at the latest.
    deadline: u64,
    peak: usize,
    inside_at_end: usize,
    /// Counts and processor time at the beginning of the hold, then of the hold.
    at_hold: (Counts, Option<Duration>, u64),
    hold: Option<(Counts, Option<f64>, Duration)>,
    /// Counts and processor time at the last second.
    at_second: (Counts, Option<Duration>, u64),
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
pub fn run(plan: &Plan, stop: &AtomicBool, watch: &mut dyn FnMut(&Live)) -> io::Result<Outcome> {
    let mut engine = Engine::new(plan)?;
    engine.schedule();
    let mut events = Events::with_capacity(1024);
    while engine.stage != Stage::Over {
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
    fn new(plan: &'a Plan) -> io::Result<Self> {
        let scenario = &plan.scenario;
        let from = micros(scenario.ramp_up.0 + GRACE);
        let until = from + micros(scenario.hold.0);
        let nothing = |role| unreachable!("nobody of the role {role:?} was planned");
        let part = |role| -> Part { scenario.part(role).cloned().unwrap_or_else(|| nothing(role)) };
        let persons = &plan.people.persons;
        let member = |person: &super::tokens::Person| Member::new(person.room, part(person.role));
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
            members: persons.iter().map(member).collect(),
            drivers: drivers.filter(|(_, id)| persons[*id].role == super::DRIVER).collect(),
            inside: vec![0; plan.people.rooms.len()],
            all_inside: 0,
            checker: Checker::new(
                plan.people.rooms.len(),
                persons.iter().map(|person| person.room),
            ),
            measure: Measure::new(from, until),
            rng: Rng::new(scenario.seed),
            stage: Stage::RampUp,
            ended: Ended::Complete,
            alive: 0,
            deadline: from,
            peak: 0,
            inside_at_end: 0,
            at_hold: (Counts::default(), None, from),
            hold: None,
            at_second: (Counts::default(), None, 0),
            buffer: vec![0; READ],
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

    fn wake(&mut self, due: u64, wake: Wake, watch: &mut dyn FnMut(&Live)) {
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

    /// Goes on to the next stage when it is time.
    fn advance(&mut self, stop: bool) {
        if stop && self.stage < Stage::Settle {
            self.ended = Ended::Interrupted;
            self.end_hold();
            self.settle(self.plan.scenario.settle.0);
        }
        if self.all_inside > 0 {
            self.alive = self.now;
        } else if self.stage < Stage::RampDown && self.now - self.alive > LOST_AFTER {
            self.ended = Ended::HubLost;
            self.end_hold();
            self.go_down();
        }
        let due = self.now >= self.deadline;
        match self.stage {
            Stage::RampUp if due => self.begin_hold(),
            Stage::Hold if due => {
                self.end_hold();
                self.settle(self.plan.scenario.settle.0);
            }
            Stage::Settle if due || self.is_quiet() => self.go_down(),
            Stage::RampDown if due || self.members.iter().all(|member| member.link.is_none()) => {
                self.stage = Stage::Over;
            }
            _ => {}
        }
    }

    fn begin_hold(&mut self) {
        self.stage = Stage::Hold;
        self.deadline = self.measure.until;
        self.at_hold = (self.measure.counts, own_cpu::used(), self.now);
    }

    fn end_hold(&mut self) {
        if self.hold.is_some() {
            return;
        }
        let (counts, cpu, from) = self.at_hold;
        let time = Duration::from_micros(self.now.saturating_sub(from));
        let used = own_cpu::used().zip(cpu).map(|(now, then)| now.saturating_sub(then));
        let share = used.map(|used| used.as_secs_f64() / time.as_secs_f64().max(1e-3));
        let counts = if self.stage == Stage::RampUp { self.measure.counts } else { counts };
        self.hold = Some((self.measure.counts.since(&counts), share, time));
    }

    /// Nobody says anything any more; what is under way may still come.
    fn settle(&mut self, longest: Duration) {
        self.stage = Stage::Settle;
        self.deadline = self.now + micros(longest);
        for id in 0..self.members.len() {
            if self.members[id].is_slow() {
                self.readable(id);
            }
        }
    }

    fn is_quiet(&self) -> bool {
        let waits = |member: &Member| match member.phase {
            Phase::Inside => !member.asked.is_empty(),
            Phase::Gone => false,
            _ => self.ended == Ended::Complete,
        };
        !self.members.iter().any(waits) && self.checker.behind() == 0
    }

    /// Looks at what was promised, and says good-bye.
    fn go_down(&mut self) {
        self.inside_at_end = self.all_inside;
        for (id, member) in self.members.iter().enumerate() {
            if member.phase == Phase::Inside && self.ended != Ended::Interrupted {
                for _ in &member.asked {
                    self.checker.unanswered(id, "chat:message");
                }
            }
        }
        self.checker.finish();
        self.stage = Stage::RampDown;
        let ramp =
            if self.ended == Ended::Complete { micros(self.plan.scenario.ramp_down.0) } else { 0 };
        self.deadline = self.now + ramp + 2_000_000;
        for id in 0..self.members.len() {
            let due = self.now + self.rng.below(ramp + 1);
            let generation = self.members[id].generation;
            self.timers.at(due, Wake::Depart(id, generation));
        }
    }

    fn second(&mut self) -> Live {
        let (before, cpu, at) = self.at_second;
        let (counts, used) = (self.measure.counts, own_cpu::used());
        let time = Duration::from_micros(self.now.saturating_sub(at)).as_secs_f64().max(1e-3);
        let cpu = used.zip(cpu).map_or(0.0, |(now, then)| now.saturating_sub(then).as_secs_f64());
        let done = counts.since(&before);
        self.at_second = (counts, used, self.now);
        let second = Second {
            at: Duration::from_micros(self.now).as_secs_f64(),
            inside: self.all_inside,
            sent: done.sent(),
            seen: done.seen(),
            cpu: cpu / time,
        };
        self.measure.seconds.push(second);
        let stage = match self.stage {
            Stage::RampUp => "ramp up",
            Stage::Hold => "hold",
            Stage::Settle => "settle",
            Stage::RampDown | Stage::Over => "ramp down",
        };
        Live {
            stage,
            second,
            people: self.members.len(),
            length: Duration::from_micros(self.measure.until),
            errors: self.measure.errors.values().sum(),
            closes: self.measure.closes.values().sum(),
            broken: self.checker.breaches().map(|(_, breach)| breach.count).sum(),
        }
    }

    fn outcome(mut self) -> Outcome {
        self.end_hold();
        let (hold, cpu, hold_time) = self.hold.unwrap_or_default();
        Outcome {
            ended: self.ended,
            measure: self.measure,
            checker: self.checker,
            hold,
            hold_time,
            cpu,
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
