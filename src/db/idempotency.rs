//! Calls that count once: what was answered under a caller's own key is kept in the transaction of
//! the effect, so there is never one without the other.

use std::sync::Arc;
use std::time::Duration;

use diesel::prelude::*;
use diesel::query_dsl::methods::FilterDsl;

use super::connection::DbConnection;
use super::schema::idempotency as table;
use crate::protocol::error::Failure;
use crate::time::Timestamp;

/// How long an answer is kept.
const RETENTION: Duration = Duration::from_secs(24 * 3600);
/// How many expired answers are deleted at once, and those that expire in the same millisecond as
/// the last: more would hold up who waits behind it.
pub const MAX_EXPIRED: usize = 500;

/// A call, as it is known again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdempotentCall {
    /// Who called.
    pub caller: String,
    /// What was called, with the ids in its path.
    pub route: String,
    /// The caller's key.
    pub key: String,
    /// A hash of the body.
    pub body_hash: String,
}

/// What a call was answered with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredAnswer {
    /// The status.
    pub status: u16,
    /// The body.
    pub body: String,
}

/// A call that is to count once, and how its effect is told.
pub struct Idempotent<T> {
    /// The call.
    pub call: IdempotentCall,
    /// What is answered to its effect.
    pub answer: Arc<dyn Fn(&T) -> StoredAnswer + Send + Sync>,
}

impl<T> Clone for Idempotent<T> {
    fn clone(&self) -> Self {
        Self { call: self.call.clone(), answer: Arc::clone(&self.answer) }
    }
}

/// What came of a call that may count once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CallOutcome<T> {
    /// This has happened, and where the call has a key this is answered.
    New(T, Option<StoredAnswer>),
    /// It had happened before, and this was answered.
    Replayed(StoredAnswer),
}

/// Whose a key is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyClaim {
    /// This call's: it was free.
    Free,
    /// The same call had it before, and was answered this.
    Answered(StoredAnswer),
    /// A call with another body has it.
    OtherBody,
}

/// The row of a call. A macro, because its type has no name that a function could return.
macro_rules! row {
    ($call:expr) => {
        table::table.find(($call.caller.as_str(), $call.route.as_str(), $call.key.as_str()))
    };
}

/// Has an effect happen once, inside a transaction of the caller's. What is refused has none, and
/// leaves the key free.
///
/// # Errors
/// Where a query fails; the transaction must end then.
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

/// Takes a key for a call. While another transaction has it, this waits for its end.
///
/// # Errors
/// Where a query fails.
pub fn claim(
    connection: &mut DbConnection,
    call: &IdempotentCall,
    now: Timestamp,
) -> QueryResult<KeyClaim> {
    // Diesel knows upserts per database only, so the statement is spelled once and run on either.
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

/// Deletes some of the answers that have expired at `now`, and says how many.
///
/// # Errors
/// Where a query fails.
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
