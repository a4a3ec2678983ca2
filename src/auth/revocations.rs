//! Revocations: users whose older tokens are no longer valid.

use std::collections::HashMap;
use std::sync::{PoisonError, RwLock};
use std::time::Duration;

use super::{AuthError, Identity};
use protocol::ids::UserId;
use protocol::time::Timestamp;

/// How far a back end's clock may be behind the hub's.
const MOST_BEHIND: Duration = Duration::from_secs(30);

/// Every revocation, shared by all threads. The database keeps them across restarts.
#[derive(Debug, Default)]
pub(super) struct Revocations {
    issued_before: RwLock<HashMap<UserId, Timestamp>>,
}

impl Revocations {
    /// From now on tokens of this user are valid only if they were issued then or later. The time
    /// is only ever raised.
    pub(super) fn insert(&self, user: UserId, issued_before: Timestamp) {
        let mut all = self.issued_before.write().unwrap_or_else(PoisonError::into_inner);
        let known = all.entry(user).or_insert(issued_before);
        *known = issued_before.max(*known);
    }

    /// Whether a token was revoked.
    pub(super) fn refuse(&self, identity: &Identity) -> bool {
        self.refusing(identity).is_some()
    }

    /// Whether a user's tokens were revoked since this time.
    pub(super) fn has_one_since(&self, user: &UserId, since: Timestamp) -> bool {
        let all = self.issued_before.read().unwrap_or_else(PoisonError::into_inner);
        all.get(user).is_some_and(|before| *before >= since)
    }

    /// Checks a token that a client sends at an instant.
    pub(super) fn judge(&self, identity: &Identity, now: Timestamp) -> Result<(), AuthError> {
        match self.refusing(identity) {
            None => Ok(()),
            Some(before) if may_be_newer(identity, before, now) => Err(AuthError::RevokedJustNow),
            Some(_) => Err(AuthError::Revoked),
        }
    }

    /// The revocation that makes a token invalid.
    fn refusing(&self, identity: &Identity) -> Option<Timestamp> {
        let all = self.issued_before.read().unwrap_or_else(PoisonError::into_inner);
        all.get(&identity.user).copied().filter(|before| identity.may_be_issued_before(*before))
    }
}

/// Whether a revoked token may in fact have been issued after the revocation, by a clock that is
/// behind or in the same second. Its user's next token may be valid then. Accepting this one would
/// also accept tokens that were issued right before the revocation.
fn may_be_newer(identity: &Identity, before: Timestamp, now: Timestamp) -> bool {
    identity.issued_at.is_some_and(|issued_at| issued_at.plus(MOST_BEHIND) >= before)
        && now < before.plus(MOST_BEHIND)
}
