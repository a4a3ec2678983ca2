//! The end of a token while its session is open: the client is warned, then disconnected.

use std::time::{Duration, Instant};

/// How long before the token's end the client is warned.
const NOTICE: Duration = Duration::from_secs(60);

/// What is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExpiryEvent {
    /// Tell the client that its token ends soon.
    Expiring,
    /// The token has ended.
    Expired,
}

/// When the token of one session ends.
#[derive(Debug, Clone)]
pub struct Expiry {
    /// When the session ends with its token.
    ends: Instant,
    /// When the client is warned.
    notice: Instant,
    /// Whether the client was warned.
    warned: bool,
}

impl Expiry {
    /// The expiry of a session that ends at `ends`: the token's own end plus the leeway for clocks.
    pub fn new(ends: Instant, leeway: Duration) -> Self {
        // The warning refers to the token's own end, without the leeway.
        let notice = ends.checked_sub(NOTICE + leeway).unwrap_or(ends);
        Self { ends, notice, warned: false }
    }

    /// When something is due next.
    pub fn next(&self) -> Instant {
        if self.warned { self.ends } else { self.notice }
    }

    /// What is due. The end takes precedence over the warning, which is returned once.
    pub fn due(&mut self, now: Instant) -> Option<ExpiryEvent> {
        if now >= self.ends {
            return Some(ExpiryEvent::Expired);
        }
        if self.warned || now < self.notice {
            return None;
        }
        self.warned = true;
        Some(ExpiryEvent::Expiring)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: Duration = Duration::from_secs(1);

    #[test]
    fn a_client_is_warned_once_before_its_token_ends() {
        let start = Instant::now();
        let mut expiry = Expiry::new(start + S * 75, S * 5);
        assert_eq!(expiry.next(), start + S * 10);
        assert_eq!(expiry.due(start + S * 9), None);
        assert_eq!(expiry.due(start + S * 10), Some(ExpiryEvent::Expiring));
        assert_eq!(expiry.due(start + S * 10), None);
        assert_eq!(expiry.next(), start + S * 75);
        assert_eq!(expiry.due(start + S * 75), Some(ExpiryEvent::Expired));
        assert_eq!(expiry.due(start + S * 75), Some(ExpiryEvent::Expired));
    }

    #[test]
    fn a_token_that_ends_at_once_is_not_announced() {
        let start = Instant::now();
        assert_eq!(Expiry::new(start, S * 5).due(start), Some(ExpiryEvent::Expired));
    }
}
