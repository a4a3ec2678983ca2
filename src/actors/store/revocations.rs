//! Revocations of tokens: all are read at the start, and each is written before it counts.

use std::sync::Arc;

use actix::{Handler, Message};
use tokio::sync::OwnedSemaphorePermit;

use super::writer::Writer;
use super::{Answer, Caller, Once, Revocation, Store, StoreError};
use crate::db::revocations;
use crate::protocol::error::Failure;
use crate::time::Timestamp;

/// What counts now, and what is answered to a call that counts once; or why that is not done.
pub type Revoked = Result<(Revocation, Option<Answer>), Failure>;

/// Write a revocation.
#[derive(Message)]
#[rtype(result = "Result<Revoked, StoreError>")]
pub(super) struct Revoke {
    revocation: Revocation,
    once: Option<Once<Revocation>>,
    /// Given back when it is written.
    permit: OwnedSemaphorePermit,
}

// === impl Store ===

impl Store {
    /// Reads every revocation.
    ///
    /// # Errors
    /// Where the store is busy or the database unavailable.
    pub async fn revocations(&self) -> Result<Vec<Revocation>, StoreError> {
        self.ask(revocations::list).await
    }

    /// Writes a revocation, unless one of the same user reaches as far.
    ///
    /// # Errors
    /// Where the store is busy or the database unavailable.
    pub async fn revoke(
        &self,
        revocation: Revocation,
        once: Option<Once<Revocation>>,
    ) -> Result<Revoked, StoreError> {
        let places = &self.places[Caller::Admin as usize];
        let permit = Arc::clone(places).try_acquire_owned().map_err(|_| StoreError::Busy)?;
        let revoke = Revoke { revocation, once, permit };
        self.writers.send(revoke).await.map_err(|_| StoreError::Closed)?
    }
}

// === impl Writer ===

impl Handler<Revoke> for Writer {
    type Result = Result<Revoked, StoreError>;

    fn handle(&mut self, revoke: Revoke, _: &mut Self::Context) -> Self::Result {
        let Revoke { revocation, once, permit } = revoke;
        let now = Timestamp::now();
        // It may run twice: a revocation only ever moves on.
        let written = self
            .run_twice(|connection| revocations::put(connection, &revocation, once.as_ref(), now));
        drop(permit);
        written.map_err(|failure| self.failed("a revocation was not written", failure))
    }
}
