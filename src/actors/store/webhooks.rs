//! What endpoints are told of what is written, and the turns of those who send it.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::db_thread::DbThread;
use super::{CallerClass, DbConnection, Store, StoreError};
use crate::db::webhooks::{
    self, DeadRow, EndpointCounts, MAX_STEP, NewEvent, Replay, TurnOutcome, TurnRequest,
};
use crate::webhooks::event::EventKind;
use crate::webhooks::health::EndpointState;
use crate::webhooks::outbox::Listeners;
use protocol::time::Timestamp;

// === impl Store ===

impl Store {
    /// Takes a turn for an endpoint. It waits behind the chat that waits.
    ///
    /// # Errors
    /// If the store is busy or the database unavailable. What was to be recorded may have been all
    /// the same; recording it again has no effect.
    pub async fn webhook_turn(&self, request: TurnRequest) -> Result<TurnOutcome, StoreError> {
        let turn =
            move |connection: &mut DbConnection| webhooks::take_turn(connection, &request, None);
        self.webhook_write("a turn of a webhook was not taken", turn).await
    }

    /// Writes something to tell that no other transaction writes.
    ///
    /// # Errors
    /// If the store is busy or the database unavailable.
    pub async fn tell_webhooks(
        &self,
        kind: EventKind,
        listeners: Arc<Listeners>,
        data: String,
    ) -> Result<(), StoreError> {
        let (id, at) = (uuid::Uuid::now_v7().to_string(), Timestamp::now());
        let insert = move |connection: &mut DbConnection| {
            let event = NewEvent { kind, order: "", id: id.clone(), data: data.clone(), at };
            webhooks::insert(connection, &[event], &listeners, at)
        };
        self.webhook_write("a webhook was not written", insert).await
    }

    /// Counts the rows of every endpoint.
    ///
    /// # Errors
    /// If the store is busy or the database unavailable.
    pub async fn webhook_counts(&self) -> Result<BTreeMap<String, EndpointCounts>, StoreError> {
        self.on_behalf_of(CallerClass::Admin).try_read(webhooks::counts).await
    }

    /// Reads how endpoints fare.
    ///
    /// # Errors
    /// If the store is busy or the database unavailable.
    pub async fn webhook_states(&self) -> Result<HashMap<String, EndpointState>, StoreError> {
        self.on_behalf_of(CallerClass::Admin).try_read(webhooks::states).await
    }

    /// Reads dead rows of an endpoint after a number.
    ///
    /// # Errors
    /// If the store is busy or the database unavailable.
    pub async fn dead_webhooks(
        &self,
        endpoint: String,
        after: i64,
        limit: i64,
    ) -> Result<Vec<DeadRow>, StoreError> {
        let read = move |connection: &mut DbConnection| {
            webhooks::dead(connection, &endpoint, after, limit)
        };
        self.on_behalf_of(CallerClass::Admin).try_read(read).await
    }

    /// Makes dead rows of an endpoint new again, some at a time. Returns how many.
    ///
    /// # Errors
    /// If the store is busy or the database unavailable; some may have been made new by then.
    pub async fn replay_webhooks(
        &self,
        endpoint: String,
        replay: Replay,
    ) -> Result<usize, StoreError> {
        let mut replayed = 0;
        loop {
            let (endpoint, replay) = (endpoint.clone(), replay.clone());
            let step = move |connection: &mut DbConnection| {
                webhooks::replay(connection, &endpoint, &replay)
            };
            let count = self.webhook_write("dead webhooks were not taken up again", step).await?;
            replayed += count;
            if i64::try_from(count).is_ok_and(|count| count < MAX_STEP) {
                return Ok(replayed);
            }
        }
    }

    /// Starts an endpoint that is stopped or down.
    ///
    /// # Errors
    /// If the store is busy or the database unavailable.
    pub async fn enable_webhook(&self, endpoint: String) -> Result<(), StoreError> {
        let enable = move |connection: &mut DbConnection| {
            webhooks::enable(connection, &endpoint, Timestamp::now())
        };
        self.webhook_write("a webhook was not started", enable).await
    }

    /// Deletes what was delivered or died long ago, some rows at a time, and all of endpoints that are
    /// in no file for as long. `known` are in the file; `left` have rows and are not.
    ///
    /// # Errors
    /// If the store is busy or the database unavailable.
    pub async fn delete_old_webhooks(
        &self,
        known: Vec<String>,
        left: Vec<String>,
    ) -> Result<(), StoreError> {
        loop {
            let (known, left) = (known.clone(), left.clone());
            let step = move |connection: &mut DbConnection| {
                webhooks::delete_done(connection, &known, &left, Timestamp::now())
            };
            let deleted = self.webhook_write("old webhooks were not deleted", step).await?;
            if i64::try_from(deleted).is_ok_and(|deleted| deleted < MAX_STEP) {
                return Ok(());
            }
        }
    }

    /// Deletes so many of an endpoint's dead rows, the oldest, some at a time. Returns how many.
    ///
    /// # Errors
    /// If the store is busy or the database unavailable; some may have been deleted by then.
    pub async fn delete_dead_webhooks(
        &self,
        endpoint: String,
        surplus: i64,
    ) -> Result<u64, StoreError> {
        let mut left = surplus;
        while left > 0 {
            let (endpoint, most) = (endpoint.clone(), left.min(MAX_STEP));
            let step = move |connection: &mut DbConnection| {
                webhooks::delete_dead(connection, &endpoint, most)
            };
            let deleted = self.webhook_write("dead webhooks were not deleted", step).await?;
            if deleted == 0 {
                break;
            }
            left -= i64::try_from(deleted).unwrap_or(left);
        }
        Ok(u64::try_from(surplus - left).unwrap_or(0))
    }

    async fn webhook_write<T: Send + 'static>(
        &self,
        failed: &'static str,
        work: impl FnMut(&mut DbConnection) -> diesel::QueryResult<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.on_behalf_of(CallerClass::Admin).write(failed, work).await
    }
}

// === impl DbThread ===

impl DbThread {
    /// The endpoints that listen now; none without webhooks.
    pub(super) fn listeners(&self) -> Option<Arc<Listeners>> {
        self.outbox.as_ref().map(|outbox| outbox.listeners())
    }

    /// Wakes those who send, after a commit that may have written rows of these kinds.
    pub(super) fn announce(&self, kinds: &[EventKind]) {
        if let Some(outbox) = &self.outbox {
            outbox.announce(kinds);
        }
    }
}
