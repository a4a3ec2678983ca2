//! Keys of idempotent calls that have many parts.

use super::{DbConnection, IdempotentCall, Store, StoreError};
use crate::db::idempotency::{self, KeyClaim};
use protocol::time::Timestamp;

impl Store {
    /// Claims a key for a call whose parts have keys of their own. False if a call with another
    /// body has the key.
    ///
    /// # Errors
    /// If the store is busy or the database unavailable.
    pub async fn claim_key(&self, call: IdempotentCall) -> Result<bool, StoreError> {
        let claim = move |connection: &mut DbConnection| {
            idempotency::claim(connection, &call, Timestamp::now())
        };
        let claimed = self.write("a key of a call was not written", claim).await;
        claimed.map(|claim| claim != KeyClaim::OtherBody)
    }
}
