//! The store: every read and write of the database, behind one handle.
//!
//! Chat is committed in groups: what arrives while the last batch commits forms the next
//! (`batcher`). Writes and reads have threads and connections of their own, so a slow read never
//! delays chat. Everything that waits holds a permit, because actor queues are unbounded.

mod batcher;
mod chat;
mod cluster;
mod commit_chat;
mod db_thread;
mod error;
mod group_queue;
mod health;
mod idempotency;
mod orders;
mod pending_chat;
mod positions;
mod queries;
mod queue_limit;
mod read_marks;
mod read_queue;
mod relay;
mod resumes;
mod revocations;
mod sweeps;
mod trail;
mod unread;
mod webhooks;

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use actix::{Actor, Addr, ArbiterHandle, System};
use tokio::sync::Semaphore;

pub use self::unread::UnreadOrder;
use crate::config::DatabaseUrl;
pub use crate::db::bans::Ban;
pub use crate::db::cluster_log::Added;
pub use crate::db::commit_batch::StoredChat;
use crate::db::connection::DbConnection;
use crate::db::file_guard::FileGuard;
pub use crate::db::idempotency::{Idempotent, IdempotentCall, StoredAnswer};
pub use crate::db::instance_lock::Sharing;
pub use crate::db::messages::{NewMessage, Page, PageRange};
pub use crate::db::order_changes::{AppliedChange, ChangeNote, Decide, OrderChange};
pub use crate::db::orders::{LoadedOrder, OrderFilter, StoredOrder};
use crate::db::pool::DbPool;
pub use crate::db::revocations::Revocation;
pub use crate::db::trail::{TrailPage, TrailPoint, TrailRange};
use crate::db::{bans, messages, orders as order_rows, participants};
use crate::metrics::Metrics;
use crate::relay::Relay;
use crate::room::order::OrderFacts;
use crate::webhooks::outbox::Outbox;
use batcher::Batcher;
pub use db_thread::ANSWER_TIMEOUT;
use db_thread::{DbThread, DbThreads, with_timeout};
pub use error::{ChatWriteError, StoreError};
use health::Health;
use orders::ChangeQueue;
pub use orders::{ChangeOutcome, ChangeRequest, CommittedChange, OrderChanged};
pub use pending_chat::{ChatPosted, ChatWritten};
use protocol::ids::{BootId, OrderId, UserId};
use protocol::time::Timestamp;
use queue_limit::QueueLimit;
pub use read_marks::MAX_WAITING_MARKS;
use read_marks::ReadMarkWriter;
pub use read_queue::CallerClass;
use read_queue::ReadQueue;
use resumes::TakeQueue;
pub use trail::TrailOptions;

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
    /// Which hubs may use it at the same time.
    pub sharing: Sharing,
    /// Connections in all; the store uses at least one more than it has writers.
    pub pool_size: u32,
    /// How much of the trail is kept.
    pub trail: TrailOptions,
    /// Who is told of what is written, if there are webhooks.
    pub outbox: Option<Arc<Outbox>>,
    /// Tells other nodes of what is written, if there are any.
    pub relay: Option<Arc<Relay>>,
}

/// A handle to the store. Clones are the same store.
#[derive(Clone)]
pub struct Store {
    batchers: Arc<[Addr<Batcher>]>,
    writers: DbThreads,
    readers: DbThreads,
    /// Chat that waits or is being committed.
    chat: Arc<QueueLimit>,
    /// Positions that wait or are being written.
    positions: Arc<QueueLimit>,
    /// The class of the callers of this handle.
    caller: CallerClass,
    /// The permits of each [`CallerClass`]: for reads, changes, bans, and taking session records
    /// out.
    permits: Arc<[Arc<Semaphore>; CallerClass::COUNT]>,
    /// Reads that wait for a thread.
    reads: Arc<ReadQueue>,
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
    /// and, on `arbiter`, a batcher per writer and the sweeps. Connections open in the background.
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
        let writer_count: u32 = match options.url {
            DatabaseUrl::Sqlite(_) => 1,
            DatabaseUrl::Postgres(_) => 2,
        };
        let pool_size = options.pool_size.max(writer_count + 1);
        let pool = DbPool::new(&options.url, pool_size, options.sharing);
        let file_guard = Arc::clone(pool.file_guard());
        let health = Arc::new(Health::new(Arc::clone(&metrics)));
        let thread = DbThread::new(pool, Arc::clone(&health), options.outbox.clone())
            .with_relay(options.relay.clone());
        let writers = DbThreads::start(writer_count, thread.clone());
        let readers = DbThreads::start(pool_size - writer_count, thread);
        let marks = ReadMarkWriter::start(writers.clone(), arbiter);
        let trail = options.trail;
        sweeps::start(&writers, trail, arbiter);
        let batcher = |_| {
            let (writers, metrics) = (writers.clone(), Arc::clone(&metrics));
            Batcher::start_in_arbiter(arbiter, move |_| {
                Batcher::new(writers, trail.interval, metrics)
            })
        };
        let permits = std::array::from_fn(|_| Arc::new(Semaphore::new(MAX_WAITING_READS)));
        let (chat, positions) = (metrics.store_queue.clone(), metrics.positions_queue.clone());
        Ok(Self {
            batchers: (0..writer_count).map(batcher).collect(),
            writers,
            readers,
            chat: QueueLimit::new(MAX_WAITING_MESSAGES, MAX_WAITING_BYTES, chat),
            positions: QueueLimit::new(MAX_WAITING_POSITIONS, MAX_WAITING_POINTS, positions),
            caller: CallerClass::User,
            permits: Arc::new(permits),
            reads: Arc::default(),
            changes: Arc::default(),
            marks,
            take_queue: Arc::default(),
            ping_turn: Arc::new(Semaphore::new(1)),
            trail,
            health,
            metrics,
            file_guard,
        })
    }

    /// The guard against a database that must not be used any more.
    pub fn file_guard(&self) -> &Arc<FileGuard> {
        &self.file_guard
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
    /// past lifts one; expired ones are deleted on the way. The author tells the other nodes of
    /// its cluster by the entry that is returned.
    ///
    /// # Errors
    /// If the store is busy or the database unavailable.
    pub async fn put_ban(&self, ban: Ban, author: BootId) -> Result<Option<Added>, StoreError> {
        let put = move |connection: &mut DbConnection| {
            bans::put(connection, &ban, author, Timestamp::now())
        };
        self.on_behalf_of(CallerClass::Admin).write("a ban was not written", put).await
    }

    /// Checks that the database answers, has its tables and takes writes.
    ///
    /// # Errors
    /// If it does not.
    pub async fn ping(&self) -> Result<(), StoreError> {
        // One ping at a time: while the database is locked, each delays chat by a timeout, and
        // while the database hangs, none of them ends.
        let turn = async || {
            let turn = Arc::clone(&self.ping_turn).acquire_owned().await;
            turn.map_err(|_| StoreError::Closed)
        };
        let first = self.on_behalf_of(CallerClass::Admin);
        with_timeout(Arc::clone(&self.health), async {
            first.read_with_permit(order_rows::probe, turn().await?).await?;
            let failed = "the database takes no writes";
            self.write_with_permit(failed, order_rows::probe_writes, turn().await?).await
        })
        .await
    }

    /// Moves SQLite's write-ahead log into the database's own file; that file alone is then a
    /// complete copy.
    ///
    /// # Errors
    /// If the database is unavailable, or another process reads it.
    pub async fn checkpoint(&self) -> Result<(), StoreError> {
        let moved = self.writers.run(|thread| thread.try_query(DbConnection::checkpoint));
        Ok(moved.await??)
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

    /// An order always has the same batcher, and a batcher has one batch in flight. So the messages
    /// of an order are numbered in the order of admission.
    fn batcher_of(&self, order: &OrderId) -> &Addr<Batcher> {
        let mut hasher = DefaultHasher::new();
        order.hash(&mut hasher);
        let batchers = self.batchers.len() as u64;
        // The remainder is less than the number of batchers.
        &self.batchers[usize::try_from(hasher.finish() % batchers).unwrap_or(0)]
    }
}
