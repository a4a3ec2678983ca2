//! The store: every read and write of the database, behind one handle.
//!
//! Chat is committed in groups: what arrives while the last batch commits forms the next
//! (`batcher`). Writes and reads have threads and connections of their own, so a slow read never
//! delays chat. Everything that waits holds a permit, because actor queues are unbounded.

mod batcher;
mod health;
mod idempotency;
mod orders;
mod positions;
mod posted_chat;
mod queue_limit;
mod read_marks;
mod read_queue;
mod reader;
mod resumes;
mod revocations;
mod trail;
mod webhooks;
mod writer;

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::Instant;

use actix::{Actor, Addr, ArbiterHandle, Message, Recipient, SyncArbiter, System};
use diesel::QueryResult;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use crate::config::DatabaseUrl;
pub use crate::db::bans::Ban;
use crate::db::connection::DbConnection;
use crate::db::file_guard::FileGuard;
pub use crate::db::idempotency::{Idempotent, IdempotentCall, StoredAnswer};
pub use crate::db::messages::{NewMessage, Page, PageRange};
pub use crate::db::order_changes::{AppliedChange, ChangeNote, Decide, OrderChange};
pub use crate::db::orders::{LoadedOrder, OrderFilter, StoredOrder};
use crate::db::pool::{DbError, DbPool};
pub use crate::db::revocations::Revocation;
pub use crate::db::trail::{TrailPage, TrailPoint, TrailRange};
use crate::db::{bans, messages, orders as order_rows, participants};
use crate::ids::{OrderId, UserId};
use crate::metrics::Metrics;
use crate::protocol::chat::ChatMessage;
use crate::room::order::OrderFacts;
use crate::time::Timestamp;
use crate::webhooks::outbox::Outbox;
use batcher::{Batcher, PendingChat, QueueChat, ReplyGuard};
use health::Health;
use idempotency::DeleteExpiredAnswers;
pub use orders::{ChangeOutcome, ChangeRequest, CommittedChange, OrderChanged};
use orders::{ChangeQueue, PurgeUnfinished};
pub use posted_chat::ChatPosted;
use posted_chat::ChatReply;
use queue_limit::QueueLimit;
pub use read_marks::MAX_WAITING_MARKS;
use read_marks::ReadMarkWriter;
pub use read_queue::CallerClass;
use read_queue::ReadQueue;
pub use reader::ANSWER_TIMEOUT;
use reader::{QUEUE_TIMEOUT, Reader, RunQuery, with_timeout};
use resumes::{DeleteExpiredResumes, TakeQueue};
use trail::DeleteExpiredTrail;
pub use trail::TrailOptions;
use writer::{CheckpointWal, Writer};

/// The most chat messages that wait for a commit.
pub const MAX_WAITING_MESSAGES: usize = 4096;
/// The most bytes of chat that wait for a commit.
pub const MAX_WAITING_BYTES: usize = 8 * 1024 * 1024;
/// The most positions that wait to be written: last positions, including those that a newer one has
/// replaced, and parts of trails.
pub const MAX_WAITING_POSITIONS: usize = 4096;
/// The most points of trails that wait to be written.
pub const MAX_WAITING_POINTS: usize = 65_536;
/// The most reads and changes that wait for a connection, for each [`CallerClass`].
pub const MAX_WAITING_READS: usize = 1024;

/// Options of the store.
#[derive(Clone)]
pub struct StoreOptions {
    /// The database. Its tables must be up to date ([`crate::db::migrate`]).
    pub url: DatabaseUrl,
    /// Connections in all; the store uses at least one more than it has writers.
    pub pool_size: u32,
    /// How much of the trail is kept.
    pub trail: TrailOptions,
    /// Who is told of what is written, if there are webhooks.
    pub outbox: Option<Arc<Outbox>>,
}

/// Why the store did not do what it was asked. Chat has an error type of its own,
/// [`ChatWriteError`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// Too much waits already, or this has waited too long.
    #[error("the store is busy")]
    Busy,
    /// The database cannot serve now.
    #[error("the database is unavailable: {0}")]
    Unavailable(String),
    /// The database refused this, and would again.
    #[error("the database refused: {0}")]
    Refused(String),
    /// The store has stopped, or there is no actor system to start it in.
    #[error("the store is closed")]
    Closed,
}

impl From<DbError> for StoreError {
    fn from(error: DbError) -> Self {
        if error.is_unavailable() {
            Self::Unavailable(error.to_string())
        } else {
            Self::Refused(error.to_string())
        }
    }
}

/// A chat message to store, and the actor that gets the answer.
#[derive(Debug, Clone)]
pub struct ChatWrite {
    /// The message.
    pub message: NewMessage,
    /// Returned with the answer.
    pub token: u64,
    /// Gets the answer. The message is stored even if this actor is gone by then.
    pub reply: Recipient<ChatWritten>,
}

/// The answer to a [`ChatWrite`]. Sent exactly once for each admitted write, and for the messages
/// of one order in the order of their numbers.
#[derive(Debug, Clone, Message)]
#[rtype(result = "()")]
pub struct ChatWritten {
    /// The token of the write.
    pub token: u64,
    /// Committed, or not.
    pub outcome: Result<StoredChat, ChatWriteError>,
}

/// A committed message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredChat {
    /// As it is stored; for a retry, the first message.
    pub message: ChatMessage,
    /// A retry: members have got the message already, or are getting it.
    pub duplicate: bool,
}

/// Why a message was not stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ChatWriteError {
    /// The sender has used the same key for other content.
    #[error("the key belongs to another message")]
    Conflict,
    /// Its order was deleted.
    #[error("the order was deleted")]
    Gone,
    /// The database refused it, and would again.
    #[error("the database refused it")]
    Refused,
    /// The database did not store it. If the connection was lost during the commit, it may have
    /// been stored all the same; a retry with the same key finds out.
    #[error("the store is unavailable")]
    Unavailable,
}

/// A handle to the store. Clones are the same store.
#[derive(Clone)]
pub struct Store {
    batchers: Arc<[Addr<Batcher>]>,
    writers: Addr<Writer>,
    readers: Addr<Reader>,
    /// Chat that waits or is being committed.
    chat: Arc<QueueLimit>,
    /// Positions that wait or are being written.
    positions: Arc<QueueLimit>,
    /// The class of the callers of this handle.
    caller: CallerClass,
    /// The permits of this class: for reads, changes, bans, and taking session records out.
    permits: Arc<Semaphore>,
    /// The permits of each [`CallerClass`].
    permits_by_class: Arc<[Arc<Semaphore>; CallerClass::COUNT]>,
    /// Reads that wait for a thread.
    read_queue: Arc<ReadQueue>,
    /// Changes of orders that wait.
    changes: Arc<ChangeQueue>,
    /// Read marks that wait to be written.
    marks: ReadMarkWriter,
    /// Requests that wait to take a session record out.
    take_queue: Arc<TakeQueue>,
    /// Held by the one ping that runs.
    ping_turn: Arc<Semaphore>,
    /// How much of the trail is kept.
    trail: TrailOptions,
    health: Arc<Health>,
    metrics: Arc<Metrics>,
    file_guard: Arc<FileGuard>,
}

// === impl Store ===

impl Store {
    /// Starts the writers (SQLite 1, PostgreSQL 2), the readers (the rest of the pool, at least 1)
    /// and, on `arbiter`, a batcher per writer. Connections open in the background; expired session
    /// records are deleted there.
    ///
    /// # Errors
    /// [`StoreError::Closed`] outside of an actor system.
    pub fn start(
        options: &StoreOptions,
        metrics: Arc<Metrics>,
        arbiter: &ArbiterHandle,
    ) -> Result<Self, StoreError> {
        if !System::is_registered() {
            return Err(StoreError::Closed);
        }
        let writers: u32 = match options.url {
            DatabaseUrl::Sqlite(_) => 1,
            DatabaseUrl::Postgres(_) => 2,
        };
        let size = options.pool_size.max(writers + 1);
        let pool = DbPool::new(&options.url, size);
        let file_guard = Arc::clone(pool.file_guard());
        let health = Arc::new(Health::new(Arc::clone(&metrics)));
        let counters = Arc::clone(&metrics);
        let outbox = options.outbox.clone();
        let writer =
            Writer::new(pool.clone(), Arc::clone(&health), counters, options.trail, outbox);
        let reader = Reader::new(pool, Arc::clone(&health));
        let writer = SyncArbiter::start(writers as usize, move || writer.clone());
        let readers = SyncArbiter::start((size - writers) as usize, move || reader.clone());
        let marks = ReadMarkWriter::start(writer.clone(), arbiter);
        writer.do_send(DeleteExpiredResumes);
        writer.do_send(DeleteExpiredAnswers);
        writer.do_send(PurgeUnfinished);
        writer.do_send(DeleteExpiredTrail);
        let batcher = |number| {
            let (writer, metrics) = (writer.clone(), Arc::clone(&metrics));
            Batcher::start_in_arbiter(arbiter, move |_| Batcher::new(writer, metrics, number == 0))
        };
        let permits_by_class = std::array::from_fn(|_| Arc::new(Semaphore::new(MAX_WAITING_READS)));
        Ok(Self {
            batchers: (0..writers).map(batcher).collect(),
            writers: writer,
            readers,
            chat: QueueLimit::new(
                MAX_WAITING_MESSAGES,
                MAX_WAITING_BYTES,
                metrics.store_queue.clone(),
            ),
            positions: QueueLimit::new(
                MAX_WAITING_POSITIONS,
                MAX_WAITING_POINTS,
                metrics.positions_queue.clone(),
            ),
            caller: CallerClass::User,
            permits: Arc::clone(&permits_by_class[CallerClass::User as usize]),
            permits_by_class: Arc::new(permits_by_class),
            read_queue: Arc::default(),
            changes: Arc::default(),
            marks,
            take_queue: Arc::default(),
            ping_turn: Arc::new(Semaphore::new(1)),
            trail: options.trail,
            health,
            metrics,
            file_guard,
        })
    }

    /// The guard against a database that must not be used any more.
    pub fn file_guard(&self) -> &Arc<FileGuard> {
        &self.file_guard
    }

    /// Admits a message for the next batch of its order's writer.
    ///
    /// # Errors
    /// Returns the write when [`MAX_WAITING_MESSAGES`] or [`MAX_WAITING_BYTES`] already wait, or
    /// the store has stopped.
    #[expect(clippy::result_large_err, reason = "a refused message goes back to its owner whole")]
    pub fn write_chat(&self, write: ChatWrite) -> Result<(), ChatWrite> {
        let Some(permit) = self.admit(&write.message) else { return Err(write) };
        let ChatWrite { message, token, reply } = write;
        self.queue(message, ChatReply::Room { token, to: reply }, permit);
        Ok(())
    }

    /// A permit for a message; none if too much waits or the store has stopped.
    fn admit(&self, message: &NewMessage) -> Option<queue_limit::QueuePermit> {
        let connected = self.batcher_of(&message.order_id).connected();
        connected.then(|| self.chat.try_admit(message.size())).flatten()
    }

    fn queue(&self, message: NewMessage, reply: ChatReply, permit: queue_limit::QueuePermit) {
        let reply_guard = ReplyGuard::new(reply, permit, Instant::now());
        self.batcher_of(&message.order_id).do_send(QueueChat(PendingChat { message, reply_guard }));
    }

    /// Reads for each of these orders what this user's right to be in its room depends on. Unknown
    /// orders are absent.
    ///
    /// # Errors
    /// If the store is busy for long, or the database unavailable.
    pub async fn rights_of(
        &self,
        orders: Vec<OrderId>,
        user: UserId,
    ) -> Result<HashMap<OrderId, OrderFacts>, StoreError> {
        let read = move |connection: &mut DbConnection| {
            participants::rights_of(connection, &orders, &user)
        };
        self.wait_and_read(read).await
    }

    /// Reads a page of messages, ascending; it ends at `limit` or 48 KiB of encoded messages.
    ///
    /// # Errors
    /// If the store is busy or the database unavailable.
    pub async fn page(
        &self,
        order: OrderId,
        range: PageRange,
        limit: i64,
    ) -> Result<Page, StoreError> {
        self.wait_and_read(move |connection| messages::page(connection, &order, range, limit)).await
    }

    /// Reads the bans that hold now.
    ///
    /// # Errors
    /// If the store is busy or the database unavailable.
    pub async fn bans(&self) -> Result<Vec<Ban>, StoreError> {
        self.try_read(|connection| bans::list(connection, Timestamp::now())).await
    }

    /// Writes a ban in place of an earlier one of the same user and order. A ban that ends in the
    /// past lifts one; expired ones are deleted on the way.
    ///
    /// # Errors
    /// If the store is busy or the database unavailable.
    pub async fn put_ban(&self, ban: Ban) -> Result<(), StoreError> {
        let put =
            move |connection: &mut DbConnection| bans::put(connection, &ban, Timestamp::now());
        self.on_behalf_of(CallerClass::Admin).write("a ban was not written", put).await
    }

    /// Checks that the database answers, has its tables and takes writes.
    ///
    /// # Errors
    /// If it does not.
    pub async fn ping(&self) -> Result<(), StoreError> {
        // One ping at a time: while the database is locked, each delays chat by a timeout, and
        // while the database hangs, none of them ends.
        let turn = || Arc::clone(&self.ping_turn).acquire_owned();
        let first = self.on_behalf_of(CallerClass::Admin);
        with_timeout(Arc::clone(&self.health), async {
            first
                .read_with_permit(order_rows::probe, turn().await.map_err(|_| StoreError::Closed)?)
                .await?;
            let turn = turn().await.map_err(|_| StoreError::Closed)?;
            let query =
                RunQuery::new("the database takes no writes", order_rows::probe_writes, turn);
            self.writers.send(query).await.map_err(|_| StoreError::Closed)?
        })
        .await
    }

    /// Moves SQLite's write-ahead log into the database's own file; that file alone is then a
    /// complete copy.
    ///
    /// # Errors
    /// If the database is unavailable, or another process reads it.
    pub async fn checkpoint(&self) -> Result<(), StoreError> {
        self.writers.send(CheckpointWal).await.map_err(|_| StoreError::Closed)?
    }

    /// Resolves when no chat and no position waits or is being written.
    pub async fn drained(&self) {
        loop {
            self.chat.wait_until_empty().await;
            self.positions.wait_until_empty().await;
            if self.chat.is_empty() {
                return;
            }
        }
    }

    /// Reports that a caller has waited [`ANSWER_TIMEOUT`] for a message to be stored, and gives
    /// up.
    pub fn report_timeout(&self) {
        self.health.report_timeout();
    }

    /// Chat messages that wait or are being committed.
    pub fn queued(&self) -> usize {
        self.chat.count()
    }

    /// An order always has the same writer, so its messages are numbered in the order of admission.
    fn batcher_of(&self, order: &OrderId) -> &Addr<Batcher> {
        let mut hasher = DefaultHasher::new();
        order.hash(&mut hasher);
        let writers = self.batchers.len() as u64;
        // The remainder is less than the number of writers.
        &self.batchers[usize::try_from(hasher.finish() % writers).unwrap_or(0)]
    }

    /// Waits for a permit. After a stop or a network failure all clients come at once; they wait
    /// here, each on its own connection, instead of being told that the store is busy.
    async fn wait_for_permit(&self) -> Result<OwnedSemaphorePermit, StoreError> {
        let permit = timeout(QUEUE_TIMEOUT, Arc::clone(&self.permits).acquire_owned());
        permit.await.map_err(|_| StoreError::Busy)?.map_err(|_| StoreError::Closed)
    }

    /// Reads as soon as a permit is free.
    async fn wait_and_read<T: Send + 'static>(
        &self,
        work: impl FnMut(&mut DbConnection) -> QueryResult<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        with_timeout(Arc::clone(&self.health), async {
            let permit = self.wait_for_permit().await?;
            self.read_with_permit(work, permit).await
        })
        .await
    }

    async fn try_read<T: Send + 'static>(
        &self,
        work: impl FnMut(&mut DbConnection) -> QueryResult<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        let permit = Arc::clone(&self.permits).try_acquire_owned().map_err(|_| StoreError::Busy)?;
        with_timeout(Arc::clone(&self.health), self.read_with_permit(work, permit)).await
    }

    async fn read_with_permit<T: Send + 'static>(
        &self,
        work: impl FnMut(&mut DbConnection) -> QueryResult<T> + Send + 'static,
        permit: OwnedSemaphorePermit,
    ) -> Result<T, StoreError> {
        self.queue_read(RunQuery::new("a read failed", work, permit)).await
    }

    /// Runs work on a writer that may happen twice; `failed` is what the log says when it fails.
    async fn write<T: Send + 'static>(
        &self,
        failed: &'static str,
        work: impl FnMut(&mut DbConnection) -> QueryResult<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        let permit = Arc::clone(&self.permits).try_acquire_owned().map_err(|_| StoreError::Busy)?;
        let query = RunQuery::new(failed, work, permit);
        let done = async { self.writers.send(query).await.map_err(|_| StoreError::Closed)? };
        with_timeout(Arc::clone(&self.health), done).await
    }
}
