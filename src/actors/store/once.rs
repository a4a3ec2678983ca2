//! Keys of calls that count once: taken for a call of many parts, and forgotten when they have expired.

use std::sync::Arc;

use actix::{Handler, Message};
use tokio::sync::OwnedSemaphorePermit;

use super::writer::Writer;
use super::{Call, Store, StoreError};
use crate::db::idempotency::{self, Claim, SWEEP_STEP};
use crate::time::Timestamp;

/// Take a key for a call whose parts count once each.
#[derive(Message)]
#[rtype(result = "Result<bool, StoreError>")]
pub(super) struct BeginCall {
    call: Call,
    /// Given back when it is done.
    permit: OwnedSemaphorePermit,
}

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
        let permit = Arc::clone(&self.asking).try_acquire_owned().map_err(|_| StoreError::Busy)?;
        let begin = BeginCall { call, permit };
        self.writers.send(begin).await.map_err(|_| StoreError::Closed)?
    }

    /// Has answers forgotten that have expired, in small steps behind what waits.
    pub fn sweep_answers(&self) {
        self.writers.do_send(SweepAnswers);
    }
}

// === impl Writer ===

impl Handler<BeginCall> for Writer {
    type Result = Result<bool, StoreError>;

    fn handle(
        &mut self,
        BeginCall { call, permit }: BeginCall,
        _: &mut Self::Context,
    ) -> Self::Result {
        let now = Timestamp::now();
        // It may run twice: the same call may come as often as it likes.
        let claimed = self.run_twice(|connection| idempotency::claim(connection, &call, now));
        drop(permit);
        claimed
            .map(|claim| claim != Claim::OtherBody)
            .map_err(|failure| self.failed("a key of a call was not written", failure))
    }
}

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
