//! Revocations of tokens: all are read at the start, and each is written before it counts.

use super::{CallerClass, DbConnection, Idempotent, Revocation, Store, StoreError, StoredAnswer};
use crate::db::revocations;
use crate::protocol::error::Failure;
use crate::time::Timestamp;

/// What counts now, and what is answered to a call that counts once; or why that is not done.
pub type RevokeOutcome = Result<(Revocation, Option<StoredAnswer>), Failure>;

// === impl Store ===

impl Store {
    /// Reads every revocation.
    ///
    /// # Errors
    /// Where the store is busy or the database unavailable.
    pub async fn revocations(&self) -> Result<Vec<Revocation>, StoreError> {
        self.try_read(revocations::list).await
    }

    /// Writes a revocation, unless one of the same user reaches as far.
    ///
    /// # Errors
    /// Where the store is busy or the database unavailable.
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
