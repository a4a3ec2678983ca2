//! One hub uses a database, or a cluster of hubs that hear each other. Bans, revoked tokens and
//! rooms are in a hub's memory, so a hub that does not hear the others would admit users whom they
//! have banned.
//!
//! The lock lives as long as the process. In PostgreSQL it is an advisory lock of a session of its
//! own, which the nodes of a cluster share and a hub alone does not; for SQLite it is a locked file
//! beside the database. Both end with the process, however it ends.
//!
//! PostgreSQL may lose the lock and keep the hub's other connections, or accept new ones after a
//! crash. So each working connection of a hub holds a second, shared lock ([`admit`]), one of two:
//! that of hubs alone or that of clusters. A hub alone that starts waits until no connection holds
//! either, a node of a cluster until none holds the first. After that, no hub that it does not hear
//! changes what it reads.

mod file;
mod holder;

use std::fs::File;
use std::io;
use std::path::PathBuf;

use diesel::connection::SimpleConnection as _;
use diesel::prelude::*;
use diesel::sql_types::{Bool, Text};

pub use self::holder::Holder;
use self::holder::{own_host, own_name};
use super::connection::DbConnection;
use crate::config::DatabaseUrl;

/// The lock of a hub alone, which the nodes of a cluster share.
const LOCK: u32 = 1_869_768_821;

/// The lock that the working connections of a hub alone share.
const USERS_OF_ONE: u32 = 1_869_768_822;
/// The lock that the working connections of all nodes of a cluster share.
const USERS_OF_CLUSTER: u32 = 1_869_768_823;

/// Who has the lock. A session's name has at most 63 bytes.
const HOLDER: &str = "SELECT coalesce(a.application_name, '') AS name, coalesce(to_char(\
     a.backend_start AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"'), '') AS since \
     FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid \
     WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 2 AND l.classid = 1869768821 \
     AND l.objid::bigint = (hashtext(coalesce(current_schema(), ''))::bigint & 4294967295) \
     AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())";

/// Follows [`HOLDER`]: a hub alone.
const IS_ALONE: &str = " AND l.mode = 'ExclusiveLock'";

/// Ends the connections of a hub that has lost the lock, if they belong to the same user.
/// Connections of other users end when their hub notices. Others that only look whether they share
/// the lock have it exclusively.
const END_USERS: &str = "SELECT count(pg_terminate_backend(a.pid)) > 0 AS yes \
     FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid \
     WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 2 AND l.classid = $1::oid \
     AND l.mode = 'ShareLock' \
     AND l.objid::bigint = (hashtext(coalesce(current_schema(), ''))::bigint & 4294967295) \
     AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database()) \
     AND a.usename = session_user";

/// Names a server session uniquely, also across restarts and failovers.
const BACKEND: &str = "format('%s since %s', a.pid, extract(epoch FROM a.backend_start))";

/// Which hubs may use a database at the same time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sharing {
    /// This one alone.
    Alone,
    /// All nodes of its cluster.
    Cluster,
}

/// The result of a check of the lock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LockState {
    /// This process has it.
    Held,
    /// Another process has it.
    HeldByOther(Holder),
}

/// Why the holder of the lock is unknown.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// There is no connection.
    #[error("{0}")]
    Connection(#[from] ConnectionError),
    /// The database refused or vanished.
    #[error("the database failed: {0}")]
    Database(#[from] diesel::result::Error),
    /// A session that this process lost still exists on the server, and may have the lock.
    #[error("an earlier session of this hub still has the lock, and was told to end")]
    Earlier,
    /// The previous hub has lost the lock, and some of its connections have not ended yet.
    #[error("connections of another hub are still open")]
    StillUsed,
    /// The check panicked, which is a bug.
    #[error("a panic while looking at the lock")]
    Panic,
    /// The file cannot be made, read or locked.
    #[error("cannot lock {path}: {error}", path = .0.display(), error = .1)]
    File(PathBuf, #[source] io::Error),
}

/// The lock of one database, for this process.
pub struct InstanceLock {
    host: String,
    place: LockLocation,
}

enum LockLocation {
    File {
        database: PathBuf,
        /// The locked file and its path.
        held: Option<(File, PathBuf)>,
    },
    Server {
        url: DatabaseUrl,
        sharing: Sharing,
        session: Option<LockSession>,
        /// The server's name for the session that has the lock or may have it. The session may live
        /// on at the server after this process has lost its connection.
        acquiring_session: Option<String>,
        /// Whether no hub that this process does not hear has used the database once.
        alone: bool,
    },
}

/// A PostgreSQL session for the lock alone.
struct LockSession {
    connection: DbConnection,
    /// The server's name for it.
    backend: String,
    sharing: Sharing,
    /// Whether it has the lock.
    held: bool,
}

// === impl InstanceLock ===

impl InstanceLock {
    /// The lock of this database, not taken yet.
    pub fn new(url: &DatabaseUrl, sharing: Sharing) -> Self {
        let place = match url {
            DatabaseUrl::Sqlite(path) => LockLocation::File { database: path.clone(), held: None },
            DatabaseUrl::Postgres(_) => LockLocation::Server {
                url: url.clone(),
                sharing,
                session: None,
                acquiring_session: None,
                alone: false,
            },
        };
        Self { host: own_host(), place }
    }

    /// Takes the lock, or checks that it is still held and takes it again if it was lost. Blocks
    /// until the database answers.
    ///
    /// # Errors
    /// If it is unknown who has the lock.
    pub fn acquire(&mut self) -> Result<LockState, LockError> {
        match &mut self.place {
            LockLocation::File { database, held } => file::acquire(database, held, &self.host),
            LockLocation::Server { url, sharing, session, acquiring_session, alone } => {
                if let Some(session) = session {
                    match session.acquire(acquiring_session, alone) {
                        Err(LockError::Database(_)) => {}
                        known => return known,
                    }
                }
                // There is no session yet, or it was lost: a new one is opened at once.
                *session = None;
                session.insert(LockSession::open(url, *sharing)?).acquire(acquiring_session, alone)
            }
        }
    }
}

// === PostgreSQL ===

/// Registers a connection that works for this process, unless a hub that this one does not hear has
/// the lock. It may work until such a hub starts and takes the lock.
///
/// # Errors
/// If such a hub has the lock or is about to take it, or if the database does not answer.
pub fn admit(connection: &mut DbConnection, sharing: Sharing) -> ConnectionResult<()> {
    if matches!(connection, DbConnection::Sqlite(_)) {
        return Ok(());
    }
    // First, because from here on a hub that starts waits for the end of this connection.
    let shared = format!("SELECT pg_try_advisory_lock_shared({}) AS yes", sharing.users_key());
    let failed = ConnectionError::CouldntSetupConfiguration;
    let is_shared = query_bool(connection, &shared).map_err(failed)?;
    let holder = match sharing {
        Sharing::Alone => holder(connection, "").map_err(failed)?,
        Sharing::Cluster => holder(connection, IS_ALONE).map_err(failed)?,
    };
    let is_another = |holder: &NamedSession| holder.name != own_name();
    if !is_shared || holder.as_ref().is_some_and(is_another) {
        let other = holder.map_or_else(|| Holder::from_lock_file(""), |holder| holder.told());
        return Err(ConnectionError::BadConnection(format!(
            "another hub uses the database ({other})"
        )));
    }
    Ok(())
}

// === impl Sharing ===

impl Sharing {
    /// The key of the lock that working connections share.
    fn users_key(self) -> String {
        match self {
            Self::Alone => key(USERS_OF_ONE),
            Self::Cluster => key(USERS_OF_CLUSTER),
        }
    }

    /// The locks of connections of hubs that this one does not hear.
    fn others(self) -> &'static [u32] {
        match self {
            Self::Alone => &[USERS_OF_ONE, USERS_OF_CLUSTER],
            Self::Cluster => &[USERS_OF_ONE],
        }
    }

    /// How its session takes the lock.
    fn take(self) -> &'static str {
        match self {
            Self::Alone => "pg_try_advisory_lock",
            Self::Cluster => "pg_try_advisory_lock_shared",
        }
    }
}

/// A lock's key in a statement: a constant for all hubs, and the schema, since a database may hold
/// several.
fn key(lock: u32) -> String {
    format!("{lock}, hashtext(coalesce(current_schema(), ''))")
}

/// The session that has the lock.
#[derive(QueryableByName)]
struct NamedSession {
    #[diesel(sql_type = Text)]
    name: String,
    #[diesel(sql_type = Text)]
    since: String,
}

fn holder(connection: &mut DbConnection, which: &str) -> QueryResult<Option<NamedSession>> {
    diesel::sql_query(format!("{HOLDER}{which}")).get_result(connection).optional()
}

fn query_bool(connection: &mut DbConnection, question: &str) -> QueryResult<bool> {
    #[derive(QueryableByName)]
    struct Answer {
        #[diesel(sql_type = Bool)]
        yes: bool,
    }
    let Answer { yes } = diesel::sql_query(question).get_result(connection)?;
    Ok(yes)
}

impl NamedSession {
    fn told(&self) -> Holder {
        Holder::from_session(&self.name, &self.since)
    }
}

impl LockSession {
    fn open(url: &DatabaseUrl, sharing: Sharing) -> Result<Self, LockError> {
        #[derive(QueryableByName)]
        struct Backend {
            #[diesel(sql_type = Text)]
            backend: String,
        }
        let mut connection = DbConnection::open(url)?;
        connection.batch_execute(&format!("SET application_name = '{}'", own_name()))?;
        let own = format!(
            "SELECT {BACKEND} AS backend FROM pg_stat_activity a WHERE a.pid = pg_backend_pid()"
        );
        let Backend { backend } = diesel::sql_query(own).get_result(&mut connection)?;
        Ok(Self { connection, backend, sharing, held: false })
    }

    /// As [`Self::take`]. It also ends every connection of hubs that this one does not hear, until
    /// it has been `alone` once.
    fn acquire(
        &mut self,
        acquiring_session: &mut Option<String>,
        alone: &mut bool,
    ) -> Result<LockState, LockError> {
        let claim = self.take(acquiring_session)?;
        if claim == LockState::Held && !*alone {
            if self.sharing == Sharing::Alone && self.sees_cluster()? {
                self.release(acquiring_session)?;
                return Ok(LockState::HeldByOther(Holder("the nodes of a cluster".to_owned())));
            }
            for lock in self.sharing.others() {
                self.wait_for_users(*lock)?;
            }
            *alone = true;
        }
        Ok(claim)
    }

    /// Whether nodes were there a moment ago. After a failover they may not have the lock again yet,
    /// and a hub alone would lock all of them out.
    fn sees_cluster(&mut self) -> QueryResult<bool> {
        Ok(self.query_bool("SELECT to_regclass('nodes') IS NOT NULL AS yes")?
            && self.query_bool(
                "SELECT count(*) > 0 AS yes FROM nodes \
                 WHERE beat_at > clock_timestamp() - interval '20 seconds'",
            )?)
    }

    /// Gives the lock back.
    fn release(&mut self, acquiring_session: &mut Option<String>) -> QueryResult<()> {
        self.query_bool(&format!("SELECT pg_advisory_unlock({}) AS yes", key(LOCK)))?;
        (self.held, *acquiring_session) = (false, None);
        Ok(())
    }

    /// Checks that no connection holds this lock, and ends those that do.
    fn wait_for_users(&mut self, lock: u32) -> Result<(), LockError> {
        let key = key(lock);
        // Taken and released at once: from now on this process's own connections may share it.
        let is_free = self.query_bool(&format!("SELECT pg_try_advisory_lock({key}) AS yes"))?
            && self.query_bool(&format!("SELECT pg_advisory_unlock({key}) AS yes"))?;
        if is_free {
            return Ok(());
        }
        // Where that is not allowed, the other hub ends them when it sees the lock.
        if let Err(error) = self.query_bool(&END_USERS.replace("$1", &lock.to_string())) {
            log::warn!("the connections of another hub cannot be ended: {error}");
        }
        Err(LockError::StillUsed)
    }

    /// Takes the lock, or checks that the session is alive and may write. `acquiring_session` is
    /// the session that may have it.
    fn take(&mut self, acquiring_session: &mut Option<String>) -> Result<LockState, LockError> {
        if self.held {
            // After a failover the lock must be on the server that takes the writes.
            let writes = self.query_bool("SELECT NOT pg_is_in_recovery() AS yes")?;
            return if writes {
                Ok(LockState::Held)
            } else {
                Err(diesel::result::Error::NotFound.into())
            };
        }
        if let Some(earlier) = acquiring_session
            && self.terminate_earlier(earlier)?
        {
            return Err(LockError::Earlier);
        }
        // Set before the query: if its answer is lost, the lock may have been taken.
        *acquiring_session = Some(self.backend.clone());
        let take = format!("SELECT {}({}) AS yes", self.sharing.take(), key(LOCK));
        self.held = self.query_bool(&take)?;
        if self.held {
            return Ok(LockState::Held);
        }
        *acquiring_session = None;
        let other = holder(&mut self.connection, "")?;
        Ok(LockState::HeldByOther(
            other.map_or_else(|| Holder::from_lock_file(""), |other| other.told()),
        ))
    }

    /// Ends an earlier session of this process; returns whether it still existed. A pooler may have
    /// given that session to this connection or, without its lock and name, to any other.
    fn terminate_earlier(&mut self, earlier: &str) -> QueryResult<bool> {
        self.query_bool(&format!(
            "SELECT count(pg_terminate_backend(a.pid)) > 0 AS yes FROM pg_stat_activity a \
             WHERE {BACKEND} = '{earlier}' AND a.pid <> pg_backend_pid() \
             AND a.application_name = current_setting('application_name')"
        ))
    }

    fn query_bool(&mut self, question: &str) -> QueryResult<bool> {
        query_bool(&mut self.connection, question)
    }
}

#[cfg(test)]
mod tests;
