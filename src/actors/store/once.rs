//! Keys of calls that count once: taken for a call of many parts, and forgotten when they have expired.

use actix::{Handler, Message};

use super::writer::Writer;
use super::{Call, DbConnection, Store, StoreError};
use crate::db::idempotency::{self, Claim, SWEEP_STEP};
use crate::time::Timestamp;

/// Delete the answers that have expired.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct SweepAnswers;

// === impl Store ===

impl Store {
    /// Takes a key for a call whose parts have keys of their own. False where a call with another
    /// body has it.
    ///
    /// # Errors
    /// Where the store is busy or the database unavailable.
    pub async fn begin_call(&self, call: Call) -> Result<bool, StoreError> {
        let claim = move |connection: &mut DbConnection| {
            idempotency::claim(connection, &call, Timestamp::now())
        };
        let claimed = self.write("a key of a call was not written", claim).await;
        claimed.map(|claim| claim != Claim::OtherBody)
    }

    /// Has answers forgotten that have expired, in small steps behind what waits.
    pub fn sweep_answers(&self) {
        self.writers.do_send(SweepAnswers);
    }
}

// === impl Writer ===

impl Handler<SweepAnswers> for Writer {
    type Result = ();

    fn handle(&mut self, _: SweepAnswers, ctx: &mut Self::Context) {
        match self.run(|connection| idempotency::delete_expired(connection, Timestamp::now())) {
            // There may be more: they wait behind the chat that has come meanwhile.
            Ok(deleted) if deleted >= SWEEP_STEP => ctx.address().do_send(SweepAnswers),
            Ok(_) => {}
            Err(failure) => drop(self.failed("expired answers were not deleted", failure)),
        }
    }
}
