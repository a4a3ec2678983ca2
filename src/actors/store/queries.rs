//! One query on behalf of a caller: it waits for a permit and for a thread, and its caller gets an
//! answer in time.

use std::sync::Arc;
use std::time::Instant;

use diesel::QueryResult;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::timeout;

use super::db_thread::{DbThread, QUEUE_TIMEOUT, with_timeout};
use super::{CallerClass, Store, StoreError};
use crate::db::connection::DbConnection;

/// Work that may happen twice, as a job for a thread. It is not begun if its caller is about to
/// give up. `failed` is what the log says when it fails.
fn query_job<T>(
    failed: &'static str,
    work: impl FnMut(&mut DbConnection) -> QueryResult<T> + Send + 'static,
    permit: OwnedSemaphorePermit,
) -> impl FnOnce(&DbThread) -> Result<T, StoreError> + Send + 'static {
    let asked = Instant::now();
    move |thread| {
        // Released when the query has run, not when its caller goes away.
        let _permit = permit;
        if asked.elapsed() > QUEUE_TIMEOUT {
            return Err(StoreError::Busy);
        }
        thread.query(failed, work)
    }
}

impl Store {
    /// A handle to the same store for this class of callers.
    #[must_use]
    pub fn on_behalf_of(&self, caller: CallerClass) -> Self {
        Self { caller, ..self.clone() }
    }

    /// A permit of this class of callers, if one is free.
    pub(super) fn try_permit(&self) -> Result<OwnedSemaphorePermit, StoreError> {
        let permits = Arc::clone(&self.permits[self.caller as usize]);
        permits.try_acquire_owned().map_err(|_| StoreError::Busy)
    }

    /// Waits for a permit. After a stop or a network failure all clients come at once; they wait
    /// here, each on its own connection, instead of being told that the store is busy.
    pub(super) async fn wait_for_permit(&self) -> Result<OwnedSemaphorePermit, StoreError> {
        let permits = Arc::clone(&self.permits[self.caller as usize]);
        let permit = timeout(QUEUE_TIMEOUT, permits.acquire_owned());
        permit.await.map_err(|_| StoreError::Busy)?.map_err(|_| StoreError::Closed)
    }

    /// Reads as soon as a permit is free.
    pub(super) async fn wait_and_read<T: Send + 'static>(
        &self,
        work: impl FnMut(&mut DbConnection) -> QueryResult<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        with_timeout(Arc::clone(&self.health), async {
            self.read_with_permit(work, self.wait_for_permit().await?).await
        })
        .await
    }

    pub(super) async fn try_read<T: Send + 'static>(
        &self,
        work: impl FnMut(&mut DbConnection) -> QueryResult<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        let permit = self.try_permit()?;
        with_timeout(Arc::clone(&self.health), self.read_with_permit(work, permit)).await
    }

    /// Reads without a timeout.
    pub(super) async fn read_with_permit<T: Send + 'static>(
        &self,
        work: impl FnMut(&mut DbConnection) -> QueryResult<T> + Send + 'static,
        permit: OwnedSemaphorePermit,
    ) -> Result<T, StoreError> {
        let query = query_job("a read failed", work, permit);
        self.reads.run(&self.readers, self.caller, query).await
    }

    /// Runs work on a writer that may happen twice.
    pub(super) async fn write<T: Send + 'static>(
        &self,
        failed: &'static str,
        work: impl FnMut(&mut DbConnection) -> QueryResult<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        let permit = self.try_permit()?;
        let written = self.write_with_permit(failed, work, permit);
        with_timeout(Arc::clone(&self.health), written).await
    }

    /// As [`Self::write`], without a timeout.
    pub(super) async fn write_with_permit<T: Send + 'static>(
        &self,
        failed: &'static str,
        work: impl FnMut(&mut DbConnection) -> QueryResult<T> + Send + 'static,
        permit: OwnedSemaphorePermit,
    ) -> Result<T, StoreError> {
        self.writers.run(query_job(failed, work, permit)).await?
    }
}
