//! Revocations: users whose older tokens no longer count.

use std::collections::HashMap;
use std::sync::{PoisonError, RwLock};

use super::Identity;
use crate::ids::UserId;
use crate::time::Timestamp;

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
        let all = self.issued_before.read().unwrap_or_else(PoisonError::into_inner);
        all.get(&identity.user).is_some_and(|before| identity.is_older_than(*before))
    }
}
