//! Close codes: why the hub ends a connection, and whether the client should come back.

/// A WebSocket close code (RFC 6455, section 7.4) as the hub sends it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CloseCode {
    /// The number on the wire.
    pub code: u16,
    /// The reason on the wire and in metrics.
    pub reason: &'static str,
    /// Whether the client should connect again.
    pub retry: bool,
}

impl CloseCode {
    /// The client asked for it.
    pub const NORMAL: Self = terminal(1000, "normal");
    /// A frame that RFC 6455 does not allow.
    pub const PROTOCOL_ERROR: Self = terminal(1002, "protocol_error");
    /// A binary message, which the plain framing does not have.
    pub const UNSUPPORTED: Self = terminal(1003, "binary_unsupported");
    /// Text that is not UTF-8.
    pub const INVALID_UTF8: Self = terminal(1007, "invalid_utf8");
    /// A message in too many fragments.
    pub const POLICY: Self = terminal(1008, "too_many_fragments");
    /// A message over the limit.
    pub const TOO_BIG: Self = terminal(1009, "message_too_big");
    /// The hub failed; its log says why.
    pub const INTERNAL: Self = retry(1011, "internal");
    /// The hub restarts.
    pub const RESTART: Self = retry(1012, "restart");
    /// Too many connections on this node.
    pub const TRY_LATER: Self = retry(1013, "try_again_later");
    /// Ten messages that were no envelopes.
    pub const BAD_ENVELOPES: Self = terminal(4000, "bad_envelopes");
    /// The client reads too slowly; what it missed is in the database.
    pub const SLOW_READER: Self = retry(4008, "slow_reader");
    /// The client did not answer a ping.
    pub const NO_PONG: Self = retry(4009, "no_pong");
    /// A hundred events refused by the rate limit.
    pub const FLOOD: Self = retry(4029, "rate_limited");
    /// No token, or one that is not valid.
    pub const UNAUTHENTICATED: Self = retry(4401, "unauthenticated");
    /// The token has expired.
    pub const TOKEN_EXPIRED: Self = retry(4401, "token_expired");
    /// The token was revoked; a newer one counts.
    pub const TOKEN_REVOKED: Self = retry(4401, "token_revoked");
    /// Removed by an admin.
    pub const REMOVED: Self = terminal(4403, "removed");
    /// A newer connection of the same user replaced this one.
    pub const REPLACED: Self = terminal(4409, "replaced");

    /// Whether a Socket.IO client must be told to stay away. It does not see the code, and
    /// reconnects after every other close.
    pub fn is_terminal(self) -> bool {
        self.code == Self::BAD_ENVELOPES.code
            || ((4400..4500).contains(&self.code) && self.code != Self::UNAUTHENTICATED.code)
    }

    /// Every code that the hub sends, for metrics.
    pub const ALL: [Self; 18] = [
        Self::NORMAL,
        Self::PROTOCOL_ERROR,
        Self::UNSUPPORTED,
        Self::INVALID_UTF8,
        Self::POLICY,
        Self::TOO_BIG,
        Self::INTERNAL,
        Self::RESTART,
        Self::TRY_LATER,
        Self::BAD_ENVELOPES,
        Self::SLOW_READER,
        Self::NO_PONG,
        Self::FLOOD,
        Self::UNAUTHENTICATED,
        Self::TOKEN_EXPIRED,
        Self::TOKEN_REVOKED,
        Self::REMOVED,
        Self::REPLACED,
    ];
}

const fn terminal(code: u16, reason: &'static str) -> CloseCode {
    CloseCode { code, reason, retry: false }
}

const fn retry(code: u16, reason: &'static str) -> CloseCode {
    CloseCode { code, reason, retry: true }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_range_4400_to_4499_is_terminal_but_for_4401() {
        for close in CloseCode::ALL.iter().filter(|close| (4400..4500).contains(&close.code)) {
            assert_eq!(close.retry, close.code == 4401, "{close:?}");
        }
    }

    #[test]
    fn reasons_fit_into_a_close_frame() {
        assert!(CloseCode::ALL.iter().all(|close| close.reason.len() <= 123));
    }
}
