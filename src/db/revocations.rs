//! Revocations: users whose tokens are valid only if they were issued at a certain time or later.

use diesel::prelude::*;
use diesel::query_dsl::methods::FilterDsl;

use super::cluster_log::{self, Added, Entry};
use super::connection::DbConnection;
use super::idempotency::{self, CallOutcome, Idempotent, StoredAnswer};
use super::messages::unreadable;
use super::schema::revocations;
use protocol::error::Failure;
use protocol::ids::{BootId, UserId};
use protocol::time::Timestamp;

/// A revocation of a user's tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Revocation {
    /// The user.
    pub user_id: UserId,
    /// Tokens that were issued before this are not valid.
    pub issued_before: Timestamp,
}

/// All revocations, in no particular order.
///
/// # Errors
/// If the query fails.
pub fn list(connection: &mut DbConnection) -> QueryResult<Vec<Revocation>> {
    let rows: Vec<(String, i64)> = revocations::table.load(connection)?;
    rows.into_iter()
        .map(|(user, ms)| {
            let user_id = UserId::new(&user).map_err(unreadable)?;
            Ok(Revocation { user_id, issued_before: Timestamp::from_millis(ms) })
        })
        .collect()
}

/// The revocation that counts now, the answer of an idempotent call, and the entry by which the
/// other nodes of the author's cluster hear of it; SQLite has none.
pub type Revoked = (Revocation, Option<StoredAnswer>, Option<Added>);

/// Writes a revocation, unless a stored one of the same user reaches as far. Each call tells the
/// other nodes, so that a repeated one closes what the first one left open.
///
/// # Errors
/// If a query fails; nothing is written then.
pub fn put(
    connection: &mut DbConnection,
    revocation: &Revocation,
    idempotent: Option<&Idempotent<Revocation>>,
    author: BootId,
    now: Timestamp,
) -> QueryResult<Result<Revoked, Failure>> {
    connection.transaction(|connection| {
        if let DbConnection::Postgres(postgres) = connection {
            cluster_log::lock(postgres)?;
        }
        let done = idempotency::apply_once(connection, idempotent, now, |connection| {
            raise(connection, revocation)?;
            find(connection, &revocation.user_id).map(Ok)
        })?;
        let (counts, answer) = match done {
            Ok(CallOutcome::New(counts, answer)) => (counts, answer),
            Ok(CallOutcome::Replayed(answer)) => {
                (find(connection, &revocation.user_id)?, Some(answer))
            }
            Err(failure) => return Ok(Err(failure)),
        };
        let entry = match connection {
            DbConnection::Sqlite(_) => None,
            DbConnection::Postgres(postgres) => {
                Some(cluster_log::add(postgres, author, &counts.entry())?)
            }
        };
        Ok(Ok((counts, answer, entry)))
    })
}

impl Revocation {
    /// What every node carries out.
    pub fn entry(&self) -> Entry {
        Entry::Revoke { user: self.user_id.clone(), issued_before: self.issued_before }
    }
}

fn find(connection: &mut DbConnection, user: &UserId) -> QueryResult<Revocation> {
    let ms = revocations::table
        .find(user.as_str())
        .select(revocations::issued_before_ms)
        .get_result(connection)?;
    Ok(Revocation { user_id: user.clone(), issued_before: Timestamp::from_millis(ms) })
}

/// Raises the time of the revocation; never lowers it.
fn raise(connection: &mut DbConnection, revocation: &Revocation) -> QueryResult<()> {
    // Diesel has upserts only per database, so a macro writes the statement once for both.
    macro_rules! raise_on {
        ($connection:expr) => {{
            let ms = revocation.issued_before.as_millis();
            let insert = diesel::insert_into(revocations::table)
                .values((
                    revocations::user_id.eq(revocation.user_id.as_str()),
                    revocations::issued_before_ms.eq(ms),
                ))
                .on_conflict(revocations::user_id)
                .do_update()
                .set(revocations::issued_before_ms.eq(ms));
            FilterDsl::filter(insert, revocations::issued_before_ms.lt(ms))
                .execute($connection)
                .map(drop)
        }};
    }
    match connection {
        DbConnection::Sqlite(sqlite) => raise_on!(sqlite),
        DbConnection::Postgres(postgres) => raise_on!(postgres),
    }
}
