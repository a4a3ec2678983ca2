//! Idempotent calls: the answer is kept under the caller's key, in the same transaction as the
//! effect, so that one never exists without the other.

use std::sync::Arc;
use std::time::Duration;

use diesel::prelude::*;
use diesel::query_dsl::methods::FilterDsl;

use super::connection::DbConnection;
use super::schema::idempotency as table;
use protocol::error::Failure;
use protocol::time::Timestamp;

/// How long an answer is kept.
const RETENTION: Duration = Duration::from_secs(24 * 3600);
/// How many expired answers are deleted at once, plus those that expire in the same millisecond as
/// the last one. More would delay the work that waits behind.
pub const MAX_EXPIRED: usize = 500;

/// What identifies a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdempotentCall {
    /// The caller.
    pub caller: String,
    /// The route, with the ids in its path.
    pub route: String,
    /// The caller's key.
    pub key: String,
    /// A hash of the body.
    pub body_hash: String,
}

/// The stored answer to a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredAnswer {
    /// The status.
    pub status: u16,
    /// The body.
    pub body: String,
}

/// An idempotent call, and how its effect becomes an answer.
pub struct Idempotent<T> {
    /// The call.
    pub call: IdempotentCall,
    /// Makes the answer from the effect.
    pub answer: Arc<dyn Fn(&T) -> StoredAnswer + Send + Sync>,
}

impl<T> Clone for Idempotent<T> {
    fn clone(&self) -> Self {
        Self { call: self.call.clone(), answer: Arc::clone(&self.answer) }
    }
}

/// The outcome of a call that may be idempotent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CallOutcome<T> {
    /// The call was done now. If it has a key, this is its answer.
    New(T, Option<StoredAnswer>),
    /// The call was done before, with this answer.
    Replayed(StoredAnswer),
}

/// Which call has a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyClaim {
    /// The key was free and belongs to this call now.
    Free,
    /// The same call had the key before, with this answer.
    Answered(StoredAnswer),
    /// A call with another body has the key.
    OtherBody,
}

/// The row of a call. A macro, because its type has no name that a function could return.
macro_rules! row {
    ($call:expr) => {
        table::table.find(($call.caller.as_str(), $call.route.as_str(), $call.key.as_str()))
    };
}

/// Applies an effect once, inside the caller's transaction. A refused call has no effect and leaves
/// the key free.
///
/// # Errors
/// If a query fails; the caller must roll back then.
pub fn apply_once<T>(
    connection: &mut DbConnection,
    idempotent: Option<&Idempotent<T>>,
    now: Timestamp,
    effect: impl FnOnce(&mut DbConnection) -> QueryResult<Result<T, Failure>>,
) -> QueryResult<Result<CallOutcome<T>, Failure>> {
    let Some(Idempotent { call, answer }) = idempotent else {
        return Ok(effect(connection)?.map(|done| CallOutcome::New(done, None)));
    };
    match claim(connection, call, now)? {
        KeyClaim::Answered(answer) => Ok(Ok(CallOutcome::Replayed(answer))),
        KeyClaim::OtherBody => Ok(Err(Failure::idempotency_key_reused())),
        KeyClaim::Free => match effect(connection)? {
            Ok(done) => {
                let answer = answer(&done);
                store_answer(connection, call, &answer)?;
                Ok(Ok(CallOutcome::New(done, Some(answer))))
            }
            Err(failure) => {
                diesel::delete(row!(call)).execute(connection)?;
                Ok(Err(failure))
            }
        },
    }
}

/// Takes a key for a call. If another transaction has the key, this waits for its end.
///
/// # Errors
/// If a query fails.
pub fn claim(
    connection: &mut DbConnection,
    call: &IdempotentCall,
    now: Timestamp,
) -> QueryResult<KeyClaim> {
    // Diesel has upserts only per database, so a macro writes the statement once for both.
    macro_rules! insert_on {
        ($connection:expr) => {{
            let fresh = (
                table::body_hash.eq(&call.body_hash),
                table::status.eq(0),
                table::answer.eq(""),
                table::expires_at_ms.eq(now.plus(RETENTION).as_millis()),
            );
            let insert = diesel::insert_into(table::table)
                .values((
                    table::caller.eq(&call.caller),
                    table::route.eq(&call.route),
                    table::key.eq(&call.key),
                    fresh,
                ))
                .on_conflict((table::caller, table::route, table::key))
                .do_update()
                .set(fresh);
            FilterDsl::filter(insert, table::expires_at_ms.le(now.as_millis()))
                .execute($connection)?
        }};
    }
    let taken = match connection {
        DbConnection::Sqlite(sqlite) => insert_on!(sqlite),
        DbConnection::Postgres(postgres) => insert_on!(postgres),
    };
    if taken > 0 {
        return Ok(KeyClaim::Free);
    }
    let (body_hash, status, body): (String, i32, String) = row!(call)
        .select((table::body_hash, table::status, table::answer))
        .get_result(connection)?;
    if body_hash != call.body_hash {
        return Ok(KeyClaim::OtherBody);
    }
    Ok(KeyClaim::Answered(StoredAnswer { status: u16::try_from(status).unwrap_or(0), body }))
}

fn store_answer(
    connection: &mut DbConnection,
    call: &IdempotentCall,
    answer: &StoredAnswer,
) -> QueryResult<()> {
    let kept = (table::status.eq(i32::from(answer.status)), table::answer.eq(&answer.body));
    diesel::update(row!(call)).set(kept).execute(connection).map(drop)
}

/// Deletes some of the answers that have expired at `now`, and returns how many.
///
/// # Errors
/// If a query fails.
pub fn delete_expired(connection: &mut DbConnection, now: Timestamp) -> QueryResult<usize> {
    let step = i64::try_from(MAX_EXPIRED).unwrap_or(i64::MAX);
    let first: Vec<i64> = QueryDsl::filter(table::table, table::expires_at_ms.le(now.as_millis()))
        .order(table::expires_at_ms)
        .limit(step)
        .select(table::expires_at_ms)
        .load(connection)?;
    let Some(last) = first.last() else { return Ok(0) };
    diesel::delete(QueryDsl::filter(table::table, table::expires_at_ms.le(*last)))
        .execute(connection)
}
