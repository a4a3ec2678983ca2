//! Heartbeats: when to ping, and when the peer's answer is overdue.

use std::time::{Duration, Instant};

/// What is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeartbeatAction {
    /// Send a ping.
    Ping,
    /// Nothing arrived since the ping: the peer is gone.
    NoPong,
}

/// What decides when the next ping is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PingPolicy {
    /// After silence of the peer: a peer that sends needs no ping.
    WhenSilent,
    /// At a steady interval: an Engine.IO client gives the server up when no ping comes, whatever
    /// else it receives.
    Steady,
}

/// The heartbeat of one connection.
#[derive(Debug, Clone)]
pub struct Heartbeat {
    ping_policy: PingPolicy,
    /// In milliseconds.
    ping_every: u32,
    /// In milliseconds.
    pong_within: u32,
    /// The start of the interval to the next ping.
    since: Instant,
    /// When the ping that waits for its pong was sent.
    pinged: Option<Instant>,
    /// Pings without a pong, whatever else has arrived.
    unanswered: u32,
    /// Whether the last ping was sent before frames that were pushed earlier.
    overtaking: bool,
}

impl Heartbeat {
    /// The heartbeat of a connection that starts now.
    pub fn new(
        ping_policy: PingPolicy,
        now: Instant,
        ping_every: Duration,
        pong_within: Duration,
    ) -> Self {
        let (ping_every, pong_within) = (millis(ping_every), millis(pong_within));
        Self {
            ping_policy,
            ping_every,
            pong_within,
            since: now,
            pinged: None,
            unanswered: 0,
            overtaking: false,
        }
    }

    /// Notes input from the client. Returns whether a ping was waiting for it.
    pub fn on_received(&mut self, now: Instant) -> bool {
        if self.ping_policy == PingPolicy::WhenSilent {
            self.since = now;
        }
        self.pinged.take().is_some()
    }

    /// Notes a pong: the client has received all that was sent before that ping. Returns the time
    /// of the ping, if this answers the last one of a steady interval.
    pub fn on_pong(&mut self) -> Option<Instant> {
        self.unanswered = self.unanswered.saturating_sub(1);
        // A late pong answers an older ping.
        (self.unanswered == 0 && !self.overtaking).then_some(self.since)
    }

    /// Notes that the last ping overtook frames that still wait: its pong does not confirm these.
    pub fn on_ping_overtook(&mut self) {
        self.overtaking = true;
    }

    /// Notes that a due ping was not sent, because an older one still waits. One pong answers both,
    /// and does not confirm what was pushed between them.
    pub fn on_ping_skipped(&mut self) {
        self.unanswered = self.unanswered.saturating_sub(1);
        self.overtaking = true;
    }

    /// Extends a missed deadline by the same time, because the peer is still receiving what was
    /// sent before the ping.
    pub fn extend_deadline(&mut self, now: Instant) {
        self.pinged = Some(now);
    }

    /// When something may be due next.
    pub fn next(&self) -> Instant {
        match self.pinged {
            Some(pinged) => pinged + self.pong_within(),
            None => self.since + self.ping_every(),
        }
    }

    /// What is due. Further calls return what is due next.
    ///
    /// While the hub is not `listening` to the client it does not see pongs either, so silence does
    /// not count.
    pub fn due(&mut self, now: Instant, listening: bool) -> Option<HeartbeatAction> {
        if !listening {
            self.on_received(now);
        }
        if self.pinged.is_some_and(|pinged| now >= pinged + self.pong_within()) {
            return Some(HeartbeatAction::NoPong);
        }
        let at = self.since + self.ping_every();
        if self.pinged.is_some() || now < at {
            return None;
        }
        self.pinged = Some(now);
        self.overtaking = false;
        self.unanswered += 1;
        // A late timer must not shift all later pings, unless it missed a whole interval.
        self.since = if now < at + self.ping_every() { at } else { now };
        Some(HeartbeatAction::Ping)
    }

    fn ping_every(&self) -> Duration {
        Duration::from_millis(self.ping_every.into())
    }

    fn pong_within(&self) -> Duration {
        Duration::from_millis(self.pong_within.into())
    }
}

/// Milliseconds in 32 bits: every connection has a heartbeat, so it is kept small.
fn millis(time: Duration) -> u32 {
    u32::try_from(time.as_millis()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: Duration = Duration::from_secs(1);

    fn heartbeat(ping_policy: PingPolicy) -> (Heartbeat, Instant) {
        let start = Instant::now();
        (Heartbeat::new(ping_policy, start, S * 25, S * 20), start)
    }

    #[test]
    fn a_silent_client_is_pinged_and_then_closed() {
        for ping_policy in [PingPolicy::WhenSilent, PingPolicy::Steady] {
            let (mut heartbeat, start) = heartbeat(ping_policy);
            assert_eq!(heartbeat.next(), start + S * 25);
            assert_eq!(heartbeat.due(start + S * 24, true), None);
            assert_eq!(heartbeat.due(start + S * 25, true), Some(HeartbeatAction::Ping));
            assert_eq!(heartbeat.due(start + S * 25, true), None);
            assert_eq!(heartbeat.next(), start + S * 45);
            assert_eq!(heartbeat.due(start + S * 45, true), Some(HeartbeatAction::NoPong));
        }
    }

    #[test]
    fn any_input_counts_as_a_pong() {
        let (mut heartbeat, start) = heartbeat(PingPolicy::WhenSilent);
        heartbeat.due(start + S * 25, true);
        assert!(heartbeat.on_received(start + S * 40));
        assert!(!heartbeat.on_received(start + S * 40));
        assert_eq!(heartbeat.due(start + S * 45, true), None);
        assert_eq!(heartbeat.next(), start + S * 65);
    }

    #[test]
    fn steady_pings_are_sent_during_any_input() {
        let (mut heartbeat, start) = heartbeat(PingPolicy::Steady);
        heartbeat.on_received(start + S * 24);
        assert_eq!(heartbeat.due(start + S * 26, true), Some(HeartbeatAction::Ping));
        heartbeat.on_received(start + S * 30);
        assert_eq!(heartbeat.next(), start + S * 50, "a late timer shifts nothing");
        assert_eq!(heartbeat.due(start + S * 200, true), Some(HeartbeatAction::Ping));
        heartbeat.on_received(start + S * 201);
        assert_eq!(heartbeat.next(), start + S * 225, "what was missed is not made up for");
    }

    #[test]
    fn the_deadline_of_a_slow_client_can_be_extended_again_and_again() {
        let (mut heartbeat, start) = heartbeat(PingPolicy::Steady);
        assert_eq!(heartbeat.due(start + S * 25, true), Some(HeartbeatAction::Ping));
        for at in [45, 65] {
            assert_eq!(heartbeat.due(start + S * at, true), Some(HeartbeatAction::NoPong));
            heartbeat.extend_deadline(start + S * at);
            assert_eq!(heartbeat.due(start + S * at, true), None);
        }
        assert_eq!(heartbeat.next(), start + S * 85);
        assert_eq!(heartbeat.due(start + S * 85, true), Some(HeartbeatAction::NoPong));
    }

    #[test]
    fn the_pong_to_a_ping_that_overtook_frames_confirms_nothing() {
        let (mut heartbeat, start) = heartbeat(PingPolicy::Steady);
        heartbeat.due(start + S * 25, true);
        heartbeat.on_ping_overtook();
        assert_eq!(heartbeat.on_pong(), None);
        heartbeat.on_received(start + S * 26);
        heartbeat.due(start + S * 50, true);
        assert_eq!(heartbeat.on_pong(), Some(start + S * 50));
    }

    #[test]
    fn one_pong_answers_a_skipped_ping_too() {
        let (mut heartbeat, start) = heartbeat(PingPolicy::Steady);
        heartbeat.due(start + S * 25, true);
        heartbeat.on_received(start + S * 26);
        heartbeat.due(start + S * 50, true);
        heartbeat.on_ping_skipped();
        assert_eq!(heartbeat.on_pong(), None);
        heartbeat.on_received(start + S * 51);
        heartbeat.due(start + S * 75, true);
        assert_eq!(heartbeat.on_pong(), Some(start + S * 75));
    }

    #[test]
    fn a_client_that_is_not_read_is_not_closed() {
        let (mut heartbeat, start) = heartbeat(PingPolicy::WhenSilent);
        assert_eq!(heartbeat.due(start + S * 25, true), Some(HeartbeatAction::Ping));
        assert_eq!(heartbeat.due(start + S * 45, false), None);
        assert_eq!(heartbeat.due(start + S * 69, true), None, "the time begins anew");
        assert_eq!(heartbeat.due(start + S * 70, true), Some(HeartbeatAction::Ping));
    }
}
