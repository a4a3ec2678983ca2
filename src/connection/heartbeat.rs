//! Whether the peer is still there: when to ping, and when its answer is overdue.

use std::time::{Duration, Instant};

/// What is to be done now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeartbeatAction {
    /// Send a ping.
    Ping,
    /// Nothing was heard since the ping: the peer is gone.
    NoPong,
}

/// What decides when the next ping is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PingPolicy {
    /// The peer's silence. Whoever talks need not be asked.
    WhenSilent,
    /// The time alone: an Engine.IO client gives its server up when no ping comes, whatever else
    /// it hears.
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
    /// From when the time to the next ping counts.
    since: Instant,
    /// When the ping that waits for its pong was sent.
    pinged: Option<Instant>,
    /// Pings whose pong has not come, whatever else has.
    unanswered: u32,
    /// Whether the last ping was sent before something that was pushed earlier.
    overtaking: bool,
}

impl Heartbeat {
    /// Of a connection that starts now.
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

    /// Something came from the client: it is alive. Says whether a ping had waited for that.
    pub fn on_received(&mut self, now: Instant) -> bool {
        if self.ping_policy == PingPolicy::WhenSilent {
            self.since = now;
        }
        self.pinged.take().is_some()
    }

    /// A pong came: its client has got all that was sent before the ping that it answers. Says until
    /// when that was, where it is the last ping of a steady beat.
    pub fn on_pong(&mut self) -> Option<Instant> {
        self.unanswered = self.unanswered.saturating_sub(1);
        // One that is late answers an older ping.
        (self.unanswered == 0 && !self.overtaking).then_some(self.since)
    }

    /// The ping that was just sent has overtaken what still waits: its pong does not say that this has
    /// arrived.
    pub fn on_ping_overtook(&mut self) {
        self.overtaking = true;
    }

    /// The ping that is due was not sent, because an older one waits: there is one pong for the two,
    /// and it does not say that what was pushed between them has arrived.
    pub fn on_ping_skipped(&mut self) {
        self.unanswered = self.unanswered.saturating_sub(1);
        self.overtaking = true;
    }

    /// The pong is late, but the peer is still taking what was sent before the ping: it gets the same
    /// time once more.
    pub fn extend_deadline(&mut self, now: Instant) {
        self.pinged = Some(now);
    }

    /// The next moment at which something may be due.
    pub fn next(&self) -> Instant {
        match self.pinged {
            Some(pinged) => pinged + self.pong_within(),
            None => self.since + self.ping_every(),
        }
    }

    /// What is due; asking again goes on with what comes next.
    ///
    /// While the hub is not `listening` to the client its pongs are not seen either, so its
    /// silence is not held against it.
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
        // A timer that comes late must not shift all that follow, unless it missed a whole beat.
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

/// Every connection has a heartbeat, so it is kept small.
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
    fn a_silent_peer_is_pinged_and_then_given_up() {
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
    fn whatever_is_heard_counts_as_a_pong() {
        let (mut heartbeat, start) = heartbeat(PingPolicy::WhenSilent);
        heartbeat.due(start + S * 25, true);
        assert!(heartbeat.on_received(start + S * 40));
        assert!(!heartbeat.on_received(start + S * 40));
        assert_eq!(heartbeat.due(start + S * 45, true), None);
        assert_eq!(heartbeat.next(), start + S * 65);
    }

    #[test]
    fn a_steady_beat_comes_whatever_is_heard() {
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
    fn a_slow_peer_gets_its_time_again_as_long_as_it_is_spared() {
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
    fn the_pong_of_a_ping_that_has_overtaken_others_says_nothing_of_them() {
        let (mut heartbeat, start) = heartbeat(PingPolicy::Steady);
        heartbeat.due(start + S * 25, true);
        heartbeat.on_ping_overtook();
        assert_eq!(heartbeat.on_pong(), None);
        heartbeat.on_received(start + S * 26);
        heartbeat.due(start + S * 50, true);
        assert_eq!(heartbeat.on_pong(), Some(start + S * 50));
    }

    #[test]
    fn the_pong_of_a_ping_that_waited_for_two_beats_answers_both() {
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
    fn who_is_not_listened_to_is_not_given_up() {
        let (mut heartbeat, start) = heartbeat(PingPolicy::WhenSilent);
        assert_eq!(heartbeat.due(start + S * 25, true), Some(HeartbeatAction::Ping));
        assert_eq!(heartbeat.due(start + S * 45, false), None);
        assert_eq!(heartbeat.due(start + S * 69, true), None, "the time begins anew");
        assert_eq!(heartbeat.due(start + S * 70, true), Some(HeartbeatAction::Ping));
    }
}
