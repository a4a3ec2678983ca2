//! The stages of a run, from the first arrival to the last close, and the results of each second.

use std::time::Duration;

use super::interval::{Counters, Interval};
use super::member::{ConnectionPhase, Member};
use super::timers::Wake;
use super::{Engine, HUB_LOST_AFTER, RunEnd, RunProgress, RunStage, micros};
use crate::hub_usage::UsageWatch;
use crate::own_cpu;
use crate::seconds::{HubSecond, Second};

impl Engine<'_> {
    /// Starts the next stage when it is time.
    pub(super) fn advance(&mut self, stop: bool) {
        if stop && self.stage < RunStage::Settle {
            self.ended = RunEnd::Interrupted;
            self.end_hold();
            self.settle(self.plan.scenario.settle.0);
        }
        if self.all_inside > 0 {
            self.alive = self.now;
        } else if self.stage < RunStage::RampDown && self.now - self.alive > HUB_LOST_AFTER {
            self.ended = RunEnd::HubLost;
            self.end_hold();
            self.go_down();
        }
        let due = self.now >= self.deadline;
        match self.stage {
            RunStage::RampUp if due => self.begin_hold(),
            RunStage::Hold if due => {
                self.end_hold();
                self.settle(self.plan.scenario.settle.0);
            }
            RunStage::Settle if due || self.is_quiet() => self.go_down(),
            RunStage::RampDown
                if due || self.members.iter().all(|member| member.link.is_none()) =>
            {
                self.stage = RunStage::Over;
            }
            _ => {}
        }
    }

    fn begin_hold(&mut self) {
        self.stage = RunStage::Hold;
        self.deadline = self.measure.until;
        self.at_hold = Some(self.mark());
    }

    pub(super) fn end_hold(&mut self) {
        if let Some(from) = self.at_hold.take() {
            self.hold = Some(from.until(&self.mark()));
        }
    }

    /// No member sends any more; messages in flight may still arrive.
    fn settle(&mut self, longest: Duration) {
        self.stage = RunStage::Settle;
        self.deadline = self.now + micros(longest);
        for id in 0..self.members.len() {
            if self.members[id].is_slow() {
                self.readable(id, true);
            }
        }
    }

    fn is_quiet(&self) -> bool {
        let waits = |member: &Member| match member.phase {
            ConnectionPhase::Inside => !member.asked.is_empty(),
            ConnectionPhase::Gone => false,
            _ => self.ended == RunEnd::Complete,
        };
        !self.members.iter().any(waits) && self.checker.behind() == 0
    }

    /// Checks the promises, and closes all connections.
    fn go_down(&mut self) {
        self.inside_at_end = self.all_inside;
        for (id, member) in self.members.iter().enumerate() {
            if member.phase == ConnectionPhase::Inside && self.ended != RunEnd::Interrupted {
                for _ in &member.asked {
                    self.checker.unanswered(id, "chat:message");
                }
            }
        }
        self.checker.finish();
        self.stage = RunStage::RampDown;
        let ramp =
            if self.ended == RunEnd::Complete { micros(self.plan.scenario.ramp_down.0) } else { 0 };
        self.deadline = self.now + ramp + 2_000_000;
        for id in 0..self.members.len() {
            let due = self.now + self.members[id].ways.below(ramp + 1);
            let generation = self.members[id].generation;
            self.timers.at(due, Wake::Depart(id, generation));
        }
    }

    /// Starts to measure.
    pub(super) fn begin(&mut self) {
        self.look();
        self.at_second = self.mark();
        self.at_stretch = self.at_second;
    }

    /// A reading of all counters.
    fn mark(&self) -> Counters {
        Counters {
            at: self.now,
            counts: self.measure.counts,
            errors: self.measure.errors.values().sum(),
            closes: self.measure.closes.values().sum(),
            cpu: own_cpu::used(),
            hub: self.hub.as_ref().and_then(UsageWatch::latest),
        }
    }

    /// A second has ended: records its results, and returns them.
    pub(super) fn second(&mut self) -> RunProgress {
        self.commands.count(&mut self.measure);
        let mark = self.mark();
        let second = std::mem::replace(&mut self.at_second, mark).until(&mark);
        let (stretch, gone) = &mut self.seconds;
        *gone += 1;
        if gone.is_multiple_of(*stretch) {
            let span = std::mem::replace(&mut self.at_stretch, mark).until(&mark);
            self.keep(&mark, &span);
        }
        RunProgress {
            stage: self.stage.words(),
            at: Duration::from_micros(mark.at).as_secs_f64(),
            second,
            inside: self.all_inside,
            people: self.members.len(),
            length: Duration::from_micros(self.measure.until),
            errors: mark.errors,
            closes: mark.closes,
            broken: self.checker.breaches().map(|(_, breach)| breach.count).sum(),
        }
    }

    fn keep(&mut self, mark: &Counters, span: &Interval) {
        let memory = mark.hub.map(|sample| sample.usage.resident);
        let hub = memory.map(|memory| HubSecond { cpu: span.hub_cpu, memory });
        let second = Second {
            at: Duration::from_micros(mark.at).as_secs_f64(),
            inside: self.all_inside,
            sent: span.per_second(span.counts.sent()),
            seen: span.per_second(span.counts.seen()),
            errors: span.errors,
            closes: span.closes,
            cpu: span.cpu.unwrap_or(0.0),
            hub,
            times: self.measure.turn(),
        };
        self.measure.seconds.push(second);
    }
}

impl RunStage {
    fn words(self) -> &'static str {
        match self {
            Self::RampUp => "ramp up",
            Self::Hold => "hold",
            Self::Settle => "settle",
            Self::RampDown | Self::Over => "ramp down",
        }
    }
}
