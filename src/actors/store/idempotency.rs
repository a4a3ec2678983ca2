//! Keys of idempotent calls: claimed for a call of many parts, and deleted when they have expired.

use actix::{Handler, Message};

use super::writer::Writer;
use super::{DbConnection, IdempotentCall, Store, StoreError};
use crate::db::idempotency::{self, KeyClaim, MAX_EXPIRED};
use protocol::time::Timestamp;

#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct DeleteExpiredAnswers;

// === impl Store ===

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

    /// Starts to delete expired answers, in small steps behind the work that waits.
    pub fn delete_expired_answers(&self) {
        self.writers.do_send(DeleteExpiredAnswers);
    }
}

// === impl Writer ===

impl Handler<DeleteExpiredAnswers> for Writer {
    type Result = ();

    fn handle(&mut self, _: DeleteExpiredAnswers, ctx: &mut Self::Context) {
        match self.run(|connection| idempotency::delete_expired(connection, Timestamp::now())) {
            // There may be more; they wait behind the chat that has arrived meanwhile.
            Ok(deleted) if deleted >= MAX_EXPIRED => ctx.address().do_send(DeleteExpiredAnswers),
            Ok(_) => {}
            Err(failure) => drop(self.report_failure("expired answers were not deleted", failure)),
        }
    }
}
