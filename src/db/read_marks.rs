//! How far users have read the chat of orders.

use std::collections::{BTreeSet, HashSet};

use diesel::prelude::*;
use diesel::sql_types::{Array, BigInt, Text};
use diesel::upsert::excluded;

use super::connection::DbConnection;
use super::messages::unreadable;
use super::schema::{orders, read_marks};
use super::unread;
use super::webhooks::{self, NewEvent};
use crate::webhooks::event::EventKind;
use crate::webhooks::outbox::Listeners;
use crate::webhooks::payload;
use protocol::ids::{OrderId, UserId};
use protocol::time::Timestamp;

/// A deletion waits for this lock, so that no mark is written after it, and so do the marks of other
/// nodes: what endpoints are told of an order is numbered under it, in the order of commits. Rows are
/// locked in the same order as by chat, so that the two never deadlock.
const LOCK_ON_POSTGRES: &str = "SELECT id FROM orders WHERE id = ANY($1) \
     AND deleted_at_ms IS NULL ORDER BY id FOR NO KEY UPDATE";

const PUT_ON_POSTGRES: &str = "INSERT INTO read_marks (order_id, user_id, seq) \
     SELECT order_id, user_id, seq FROM unnest($1, $2, $3) AS new (order_id, user_id, seq) \
     ON CONFLICT (order_id, user_id) DO UPDATE SET seq = excluded.seq \
     WHERE read_marks.seq < excluded.seq RETURNING order_id, user_id";

/// How far a user has read an order's chat.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredReadMark {
    /// The order.
    pub order: OrderId,
    /// The user.
    pub user: UserId,
    /// The highest message that was read; 0 deletes the mark.
    pub seq: i64,
    /// Whether the user said so, and did not only write a message.
    pub is_receipt: bool,
}

/// A mark that was further than the stored one.
#[derive(QueryableByName)]
struct MovedMark {
    #[diesel(sql_type = Text)]
    order_id: String,
    #[diesel(sql_type = Text)]
    user_id: String,
}

#[derive(QueryableByName)]
struct LockedOrderId {
    #[diesel(sql_type = Text)]
    id: String,
}

/// Reads the marks of an order. A room bounds their number.
///
/// # Errors
/// If the query fails.
pub fn of_order(connection: &mut DbConnection, order: &OrderId) -> QueryResult<Vec<(UserId, i64)>> {
    let rows: Vec<(String, i64)> = read_marks::table
        .filter(read_marks::order_id.eq(order.as_str()))
        .select((read_marks::user_id, read_marks::seq))
        .load(connection)?;
    let mark = |(user, seq): (String, i64)| Ok((UserId::new(&user).map_err(unreadable)?, seq));
    rows.into_iter().map(mark).collect()
}

/// Writes marks in one transaction: at most one per user and order, sorted by order and user. A
/// stored mark that is further stays, and missing or deleted orders get none. Marks that move are
/// told to listeners of webhooks.
///
/// # Errors
/// If a query fails; nothing is written then.
pub fn save(
    connection: &mut DbConnection,
    marks: &[StoredReadMark],
    listeners: Option<&Listeners>,
    now: Timestamp,
) -> QueryResult<()> {
    let (gone, put): (Vec<_>, Vec<_>) = marks.iter().partition(|mark| mark.seq == 0);
    match connection {
        DbConnection::Sqlite(sqlite) => sqlite.immediate_transaction(|sqlite| {
            let moved = put_on_sqlite(sqlite, &put)?;
            let Some(listeners) = listeners else { return Ok(()) };
            webhooks::insert_on_sqlite(sqlite, &told(&moved, now), listeners, now)
        })?,
        DbConnection::Postgres(postgres) => postgres.transaction(|postgres| {
            let moved = put_on_postgres(postgres, &put)?;
            let Some(listeners) = listeners else { return Ok(()) };
            webhooks::insert_on_postgres(postgres, &told(&moved, now), listeners, now)
        })?,
    }
    if listeners.is_some_and(|listeners| listeners.unread_due(now).is_some()) {
        let receipts = put.iter().filter(|mark| mark.is_receipt);
        unread::note_readers(connection, &receipts.map(|mark| mark.user.as_str()).collect())?;
    }
    for mark in gone {
        let row = read_marks::table.find((mark.order.as_str(), mark.user.as_str()));
        diesel::delete(row).execute(connection)?;
    }
    Ok(())
}

/// What endpoints are told of marks that moved.
fn told<'a>(moved: &[&'a StoredReadMark], now: Timestamp) -> Vec<NewEvent<'a>> {
    let moved = moved.iter().filter(|mark| mark.is_receipt);
    let event = |mark: &&'a StoredReadMark| NewEvent {
        kind: EventKind::ChatRead,
        order: mark.order.as_str(),
        id: uuid::Uuid::now_v7().to_string(),
        data: payload::chat_read(&mark.order, &mark.user, mark.seq, now),
        at: now,
    };
    moved.map(event).collect()
}

/// Writes marks, and returns those that moved.
fn put_on_sqlite<'a>(
    sqlite: &mut SqliteConnection,
    marks: &[&'a StoredReadMark],
) -> QueryResult<Vec<&'a StoredReadMark>> {
    use diesel::query_dsl::methods::FilterDsl;

    let mut moved = Vec::new();
    let mut living: (Option<&OrderId>, bool) = (None, false);
    for mark in marks {
        if living.0 != Some(&mark.order) {
            let row = orders::table.find(mark.order.as_str()).select(orders::deleted_at_ms);
            let found: Option<Option<i64>> = row.get_result(sqlite).optional()?;
            living = (Some(&mark.order), found == Some(None));
        }
        if !living.1 {
            continue;
        }
        let rows = diesel::insert_into(read_marks::table)
            .values((
                read_marks::order_id.eq(mark.order.as_str()),
                read_marks::user_id.eq(mark.user.as_str()),
                read_marks::seq.eq(mark.seq),
            ))
            .on_conflict((read_marks::order_id, read_marks::user_id))
            .do_update()
            .set(read_marks::seq.eq(excluded(read_marks::seq)))
            .filter(read_marks::seq.lt(excluded(read_marks::seq)))
            .execute(sqlite)?;
        moved.extend((rows > 0).then_some(*mark));
    }
    Ok(moved)
}

/// Writes marks, and returns those that moved.
fn put_on_postgres<'a>(
    postgres: &mut PgConnection,
    marks: &[&'a StoredReadMark],
) -> QueryResult<Vec<&'a StoredReadMark>> {
    let ids: BTreeSet<&str> = marks.iter().map(|mark| mark.order.as_str()).collect();
    let locked: Vec<LockedOrderId> = diesel::sql_query(LOCK_ON_POSTGRES)
        .bind::<Array<Text>, _>(ids.into_iter().collect::<Vec<_>>())
        .load(postgres)?;
    let living: HashSet<&str> = locked.iter().map(|order| order.id.as_str()).collect();
    let marks: Vec<&StoredReadMark> =
        marks.iter().filter(|mark| living.contains(mark.order.as_str())).copied().collect();
    if marks.is_empty() {
        return Ok(Vec::new());
    }
    let column =
        |of: fn(&StoredReadMark) -> &str| marks.iter().map(|mark| of(mark)).collect::<Vec<_>>();
    let moved: Vec<MovedMark> = diesel::sql_query(PUT_ON_POSTGRES)
        .bind::<Array<Text>, _>(column(|mark| mark.order.as_str()))
        .bind::<Array<Text>, _>(column(|mark| mark.user.as_str()))
        .bind::<Array<BigInt>, _>(marks.iter().map(|mark| mark.seq).collect::<Vec<_>>())
        .load(postgres)?;
    let moved: HashSet<(&str, &str)> =
        moved.iter().map(|mark| (mark.order_id.as_str(), mark.user_id.as_str())).collect();
    let has_moved =
        |mark: &&&StoredReadMark| moved.contains(&(mark.order.as_str(), mark.user.as_str()));
    Ok(marks.iter().filter(has_moved).copied().collect())
}

/// Removes the marks of an order whose row is locked.
///
/// # Errors
/// If the query fails.
pub(super) fn forget(connection: &mut DbConnection, order: &OrderId) -> QueryResult<()> {
    let of_order = read_marks::table.filter(read_marks::order_id.eq(order.as_str()));
    diesel::delete(of_order).execute(connection).map(drop)
}
