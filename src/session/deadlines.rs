//! Deadlines of a session: when to ping, when a pong is overdue, when the token ends.
//!
//! One timer serves them all: it is armed for [`Deadlines::next`] and asks [`Deadlines::due`].

use std::time::{Duration, Instant};

/// How long before the token's end the client is told.
const EXPIRY_NOTICE: Duration = Duration::from_secs(60);

/// What is to be done now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Due {
    /// Send a ping.
    Ping,
    /// Nothing was heard since the ping: the peer is gone.
    NoPong,
    /// Tell the client that its token ends soon.
    Expiring,
    /// The token has ended.
    Expired,
}

/// The deadlines of one session.
#[derive(Debug, Clone)]
pub struct Deadlines {
    ping_every: Duration,
    pong_within: Duration,
    /// When anything was heard last.
    heard: Instant,
    /// When the ping that waits for its pong was sent.
    pinged: Option<Instant>,
    /// When the session ends with its token.
    expires: Instant,
    /// When the client is told that it will.
    notice: Instant,
    /// Whether the client was told of it.
    told: bool,
}

impl Deadlines {
    /// Of a session that starts now and ends with its token at `expires`, which is the token's
    /// own end and the leeway for clocks.
    pub fn new(
        now: Instant,
        ping_every: Duration,
        pong_within: Duration,
        expires: Instant,
        leeway: Duration,
    ) -> Self {
        let notice = notice(expires, leeway);
        Self { ping_every, pong_within, heard: now, pinged: None, expires, notice, told: false }
    }

    /// Something came from the client: it is alive. Says whether a ping had waited for that.
    pub fn heard(&mut self, now: Instant) -> bool {
        self.heard = now;
        self.pinged.take().is_some()
    }

    /// The token was replaced by one with which the session ends at `expires`.
    pub fn renewed(&mut self, expires: Instant, leeway: Duration) {
        self.expires = expires;
        self.notice = notice(expires, leeway);
        self.told = false;
    }

    /// The next moment at which something may be due.
    pub fn next(&self) -> Instant {
        let beat = match self.pinged {
            Some(pinged) => pinged + self.pong_within,
            None => self.heard + self.ping_every,
        };
        beat.min(if self.told { self.expires } else { self.notice })
    }

    /// What is due, the most important first. Each is named once: asking again goes on with the
    /// next.
    ///
    /// While the hub is not `listening` to the client its pongs are not seen either, so its
    /// silence is not held against it.
    pub fn due(&mut self, now: Instant, listening: bool) -> Option<Due> {
        if now >= self.expires {
            return Some(Due::Expired);
        }
        if !listening {
            self.heard(now);
        }
        if self.pinged.is_some_and(|pinged| now >= pinged + self.pong_within) {
            return Some(Due::NoPong);
        }
        if !self.told && now >= self.notice {
            self.told = true;
            return Some(Due::Expiring);
        }
        if self.pinged.is_none() && now >= self.heard + self.ping_every {
            self.pinged = Some(now);
            return Some(Due::Ping);
        }
        None
    }
}

/// A while before the token's own end; the leeway is not for clients to count on.
fn notice(expires: Instant, leeway: Duration) -> Instant {
    expires.checked_sub(EXPIRY_NOTICE + leeway).unwrap_or(expires)
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: Duration = Duration::from_secs(1);

    fn deadlines(start: Instant, expires_in: Duration) -> Deadlines {
        Deadlines::new(start, S * 25, S * 20, start + expires_in, S * 5)
    }

    #[test]
    fn a_silent_peer_is_pinged_and_then_given_up() {
        let start = Instant::now();
        let mut deadlines = deadlines(start, S * 3600);
        assert_eq!(deadlines.next(), start + S * 25);
        assert_eq!(deadlines.due(start + S * 24, true), None);
        assert_eq!(deadlines.due(start + S * 25, true), Some(Due::Ping));
        assert_eq!(deadlines.due(start + S * 25, true), None);
        assert_eq!(deadlines.next(), start + S * 45);
        assert_eq!(deadlines.due(start + S * 45, true), Some(Due::NoPong));
    }

    #[test]
    fn whatever_is_heard_counts_as_a_pong() {
        let start = Instant::now();
        let mut deadlines = deadlines(start, S * 3600);
        deadlines.due(start + S * 25, true);
        deadlines.heard(start + S * 40);
        assert_eq!(deadlines.due(start + S * 45, true), None);
        assert_eq!(deadlines.next(), start + S * 65);
    }

    #[test]
    fn the_end_of_a_token_is_told_once_and_then_comes() {
        let start = Instant::now();
        let mut deadlines = deadlines(start, S * 75);
        deadlines.heard(start + S * 10);
        assert_eq!(deadlines.next(), start + S * 10);
        assert_eq!(deadlines.due(start + S * 10, true), Some(Due::Expiring));
        assert_eq!(deadlines.due(start + S * 10, true), None);
        assert_eq!(deadlines.due(start + S * 75, true), Some(Due::Expired));
        deadlines.renewed(start + S * 200, S * 5);
        assert_eq!(deadlines.due(start + S * 76, true), Some(Due::Ping));
    }

    #[test]
    fn who_is_not_listened_to_is_not_given_up_but_its_token_ends() {
        let start = Instant::now();
        let mut deadlines = deadlines(start, S * 100);
        assert_eq!(deadlines.due(start + S * 25, true), Some(Due::Ping));
        assert_eq!(deadlines.due(start + S * 45, false), Some(Due::Expiring));
        assert_eq!(deadlines.due(start + S * 45, false), None);
        assert_eq!(deadlines.due(start + S * 69, true), None, "the time begins anew");
        assert_eq!(deadlines.due(start + S * 70, true), Some(Due::Ping));
        assert_eq!(deadlines.due(start + S * 100, false), Some(Due::Expired));
    }
}
