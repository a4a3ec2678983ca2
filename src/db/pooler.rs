//! Checks that connections keep their server sessions. Behind a pooler that reassigns sessions
//! after each transaction (PgBouncer with `pool_mode=transaction`), settings and prepared
//! statements belong to another client, and an answer may belong to another query. Such an address
//! is refused at the start.

use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use diesel::connection::SimpleConnection;
use diesel::prelude::*;

use super::connection::DbConnection;
use crate::config::DatabaseUrl;

/// How long the whole check may take. If two connections share one session, the second waits for
/// the first, which waits for the check.
const CHECK_TIMEOUT: Duration = Duration::from_secs(10);

/// Why the address cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PoolerError {
    /// There is no connection.
    #[error("{0}")]
    Connection(#[from] ConnectionError),
    /// A query failed.
    #[error("the database failed: {0}")]
    Database(#[from] diesel::result::Error),
    /// The server takes no transactions: PgBouncer with `pool_mode=statement`.
    #[error("it accepts no transaction; in PgBouncer set pool_mode=session: {0}")]
    NoTransactions(diesel::result::Error),
    /// A connection was moved to another server session.
    #[error(
        "it points to a pooler that shares server sessions between connections; the hub needs one for \
         each: in PgBouncer set pool_mode=session"
    )]
    SharedSessions,
    /// A second connection got no answer while the first was in use.
    #[error(
        "a second connection got no answer; behind a pooler like PgBouncer the hub needs \
         pool_mode=session and at least DATABASE_POOL server sessions"
    )]
    TooFewSessions,
}

/// The server session behind a connection.
#[derive(QueryableByName)]
struct ServerSession {
    #[diesel(sql_type = diesel::sql_types::Integer)]
    pid: i32,
}

/// Checks that each of two connections to this address has a server session and keeps it. SQLite
/// has none.
///
/// # Errors
/// If they share or change sessions, or the database cannot be reached.
pub fn check(url: &DatabaseUrl) -> Result<(), PoolerError> {
    if matches!(url, DatabaseUrl::Sqlite(_)) {
        return Ok(());
    }
    let (done, checked) = mpsc::channel();
    let url = url.clone();
    // On a thread of its own, because a query without an answer cannot be ended.
    thread::spawn(move || {
        let result = DbConnection::open(&url)
            .and_then(|first| Ok((first, DbConnection::open(&url)?)))
            .map_err(PoolerError::from)
            .and_then(|(first, second)| compare(first, second));
        // After a timeout the receiver is gone.
        done.send(result).ok();
    });
    checked.recv_timeout(CHECK_TIMEOUT).unwrap_or(Err(PoolerError::TooFewSessions))
}

/// Uses two connections in turn. A pooler that reassigns sessions then gives one connection the
/// other's session, whether it hands out the most or the least recently used one.
fn compare(mut first: DbConnection, mut second: DbConnection) -> Result<(), PoolerError> {
    first.batch_execute("BEGIN").map_err(PoolerError::NoTransactions)?;
    let mut sessions = (session(&mut first)?, session(&mut second)?);
    first.batch_execute("COMMIT")?;
    for _ in 0..4 {
        first.batch_execute("BEGIN")?;
        let now = (session(&mut first)?, session(&mut second)?);
        first.batch_execute("COMMIT")?;
        if now != sessions {
            return Err(PoolerError::SharedSessions);
        }
        (first, second) = (second, first);
        sessions = (sessions.1, sessions.0);
    }
    Ok(())
}

fn session(connection: &mut DbConnection) -> QueryResult<i32> {
    let session: ServerSession =
        diesel::sql_query("SELECT pg_backend_pid() AS pid").get_result(connection)?;
    Ok(session.pid)
}
