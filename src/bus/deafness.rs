//! Whether a node hears itself. A server that stands still breaks no connection, so every second a
//! node sends itself an echo through each one.

use std::time::{Duration, Instant};

/// From echo to echo.
const INTERVAL: Duration = Duration::from_secs(1);
/// An echo that is not heard for so long never comes.
const TIMEOUT: Duration = Duration::from_millis(800);
/// A check that comes so late says that this process stood still itself. What came meanwhile is not
/// read yet.
const LATE: Duration = Duration::from_millis(300);

/// The echoes of one connection.
#[derive(Debug)]
pub(super) struct Deafness {
    /// The number of the last echo.
    number: u64,
    sent_at: Instant,
    /// When the last echo must have been heard; none if it was.
    deadline: Option<Instant>,
    /// Whether the deadline was moved because a check came late.
    moved: bool,
}

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// Send the echo with this number.
    Send(u64),
    /// Ask again then.
    Wait(Instant),
    /// The last echo did not come.
    Deaf,
}

impl Deafness {
    /// The first echo is due now.
    pub(super) fn new(now: Instant) -> Self {
        Self { number: 0, sent_at: now, deadline: None, moved: false }
    }

    /// What is to be done now.
    pub(super) fn step(&mut self, now: Instant) -> Step {
        match self.deadline {
            Some(deadline) if now < deadline => Step::Wait(deadline),
            Some(deadline) if now > deadline + LATE && !self.moved => {
                self.moved = true;
                self.deadline = Some(now + TIMEOUT);
                Step::Wait(now + TIMEOUT)
            }
            Some(_) => Step::Deaf,
            None if self.number > 0 && now < self.sent_at + INTERVAL => {
                Step::Wait(self.sent_at + INTERVAL)
            }
            None => {
                self.number += 1;
                self.sent_at = now;
                self.moved = false;
                self.deadline = Some(now + TIMEOUT);
                Step::Send(self.number)
            }
        }
    }

    /// An echo came: how long it took, if it is the last one.
    pub(super) fn heard(&mut self, number: u64, now: Instant) -> Option<Duration> {
        if number != self.number {
            return None;
        }
        self.deadline.take().map(|_| now - self.sent_at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn an_echo_is_sent_every_second_and_its_way_is_timed() {
        let start = Instant::now();
        let mut deafness = Deafness::new(start);
        assert_eq!(deafness.step(start), Step::Send(1));
        assert_eq!(deafness.step(start + 10 * MS), Step::Wait(start + TIMEOUT));
        assert_eq!(deafness.heard(7, start + 15 * MS), None, "none of the last one's");
        assert_eq!(deafness.heard(1, start + 20 * MS), Some(20 * MS));
        assert_eq!(deafness.heard(1, start + 30 * MS), None, "it came twice");
        assert_eq!(deafness.step(start + 30 * MS), Step::Wait(start + INTERVAL));
        assert_eq!(deafness.step(start + INTERVAL), Step::Send(2));
    }

    #[test]
    fn an_echo_that_does_not_come_in_800_ms_is_deafness() {
        let start = Instant::now();
        let mut deafness = Deafness::new(start);
        deafness.step(start);
        assert_eq!(deafness.step(start + 799 * MS), Step::Wait(start + TIMEOUT));
        assert_eq!(deafness.step(start + 800 * MS), Step::Deaf);
    }

    #[test]
    fn a_process_that_stood_still_reads_first_and_waits_once_more() {
        let start = Instant::now();
        let mut deafness = Deafness::new(start);
        deafness.step(start);
        let woke = start + 5000 * MS;
        assert_eq!(deafness.step(woke), Step::Wait(woke + TIMEOUT));
        assert_eq!(deafness.step(woke + 5000 * MS), Step::Deaf, "once only");
        let mut deafness = Deafness::new(start);
        deafness.step(start);
        deafness.step(woke);
        assert_eq!(deafness.heard(1, woke + MS), Some(5001 * MS));
        assert_eq!(deafness.step(woke + 2 * MS), Step::Send(2));
    }
}
