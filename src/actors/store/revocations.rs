//! Revocations of tokens: all are read at the start, and a new one is written before it takes
//! effect.

use super::{CallerClass, DbConnection, Idempotent, Revocation, Store, StoreError};
use crate::db::revocations::{self, Revoked};
use protocol::error::Failure;
use protocol::ids::BootId;
use protocol::time::Timestamp;

/// What counts now, or why it was refused.
pub type RevokeOutcome = Result<Revoked, Failure>;

// === impl Store ===

impl Store {
    /// Reads every revocation.
    ///
    /// # Errors
    /// If the store is busy or the database unavailable.
    pub async fn revocations(&self) -> Result<Vec<Revocation>, StoreError> {
        self.try_read(revocations::list).await
    }

    /// Writes a revocation, unless one of the same user reaches as far. The author tells
    /// the other nodes of its cluster.
    ///
    /// # Errors
    /// If the store is busy or the database unavailable.
    pub async fn revoke(
        &self,
        revocation: Revocation,
        idempotent: Option<Idempotent<Revocation>>,
        author: BootId,
    ) -> Result<RevokeOutcome, StoreError> {
        let put = move |connection: &mut DbConnection| {
            revocations::put(connection, &revocation, idempotent.as_ref(), author, Timestamp::now())
        };
        self.on_behalf_of(CallerClass::Admin).write("a revocation was not written", put).await
    }
}
