//! Revocations: users whose older tokens no longer count.

use std::collections::HashMap;
use std::sync::{PoisonError, RwLock};
use std::time::Duration;

use super::{AuthError, Identity};
use crate::ids::UserId;
use crate::time::Timestamp;

/// How far the clock of a back end may be behind the hub's.
const MOST_BEHIND: Duration = Duration::from_secs(30);

/// Every revocation, known to all threads. The database keeps them over a restart.
#[derive(Debug, Default)]
pub(super) struct Revocations {
    issued_before: RwLock<HashMap<UserId, Timestamp>>,
}

impl Revocations {
    /// From now on tokens of this user count only if they were issued then or later. It only ever
    /// moves on.
    pub(super) fn insert(&self, user: UserId, issued_before: Timestamp) {
        let mut all = self.issued_before.write().unwrap_or_else(PoisonError::into_inner);
        let known = all.entry(user).or_insert(issued_before);
        *known = issued_before.max(*known);
    }

    /// Whether a token no longer counts.
    pub(super) fn refuse(&self, identity: &Identity) -> bool {
        self.refusing(identity).is_some()
    }

    /// Judges a token that is shown at an instant.
    pub(super) fn judge(&self, identity: &Identity, now: Timestamp) -> Result<(), AuthError> {
        match self.refusing(identity) {
            None => Ok(()),
            Some(before) if may_be_newer(identity, before, now) => Err(AuthError::RevokedJustNow),
            Some(_) => Err(AuthError::Revoked),
        }
    }

    /// The revocation by which a token does not count.
    fn refusing(&self, identity: &Identity) -> Option<Timestamp> {
        let all = self.issued_before.read().unwrap_or_else(PoisonError::into_inner);
        all.get(&identity.user).copied().filter(|before| identity.is_older_than(*before))
    }
}

/// Whether a token that was revoked may have been issued after that, by a clock that is behind or in
/// the same second. The next token of its user may count then. Counting this one would spare tokens
/// that were issued right before.
fn may_be_newer(identity: &Identity, before: Timestamp, now: Timestamp) -> bool {
    identity.issued_at.is_some_and(|issued_at| issued_at.plus(MOST_BEHIND) >= before)
        && now < before.plus(MOST_BEHIND)
}
