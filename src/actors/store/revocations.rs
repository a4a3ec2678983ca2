//! Revocations of tokens: all are read at the start, and a new one is written before it takes
//! effect.

use super::{CallerClass, DbConnection, Idempotent, Revocation, Store, StoreError, StoredAnswer};
use crate::db::revocations;
use protocol::error::Failure;
use protocol::time::Timestamp;

/// The revocation that counts now, and the answer of an idempotent call; or why it was refused.
pub type RevokeOutcome = Result<(Revocation, Option<StoredAnswer>), Failure>;

// === impl Store ===

impl Store {
    /// Reads every revocation.
    ///
    /// # Errors
    /// If the store is busy or the database unavailable.
    pub async fn revocations(&self) -> Result<Vec<Revocation>, StoreError> {
        self.try_read(revocations::list).await
    }

    /// Writes a revocation, unless one of the same user reaches as far.
    ///
    /// # Errors
    /// If the store is busy or the database unavailable.
    pub async fn revoke(
        &self,
        revocation: Revocation,
        idempotent: Option<Idempotent<Revocation>>,
    ) -> Result<RevokeOutcome, StoreError> {
        let put = move |connection: &mut DbConnection| {
            revocations::put(connection, &revocation, idempotent.as_ref(), Timestamp::now())
        };
        self.on_behalf_of(CallerClass::Admin).write("a revocation was not written", put).await
    }
}
