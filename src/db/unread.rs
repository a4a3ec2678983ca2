//! What `chat.unread` needs to know of orders: which are to be looked at and when, and what was shown
//! and told to whom.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use diesel::prelude::*;
use diesel::sql_types::{Array, BigInt, Nullable, Text};

use super::connection::DbConnection;
use super::messages::unreadable;
use super::schema::{chat_readers, unread_orders, unread_users};
use crate::webhooks::unread::{Notes, Progress};
use protocol::ids::{OrderId, UserId};
use protocol::role::Role;
use protocol::time::Timestamp;

/// The most users of an order who are looked at.
const MOST_USERS: i64 = 10_000;

/// Locks no row that another hub has: it looks at that order itself.
const CLAIM_ON_POSTGRES: &str = "UPDATE unread_orders SET due_at_ms = $2 WHERE order_id IN \
     (SELECT order_id FROM unread_orders WHERE due_at_ms <= $1 ORDER BY due_at_ms LIMIT $3 \
     FOR UPDATE SKIP LOCKED) RETURNING order_id, version";
/// Each note raises the version: an order that is being looked at is looked at once more then.
const NOTE_DUE_ON_POSTGRES: &str = "INSERT INTO unread_orders (order_id, due_at_ms) \
     SELECT * FROM unnest($1, $2) ON CONFLICT (order_id) DO UPDATE SET \
     due_at_ms = least(unread_orders.due_at_ms, excluded.due_at_ms), \
     version = unread_orders.version + 1";
const NOTE_DUE_ON_SQLITE: &str = "INSERT INTO unread_orders (order_id, due_at_ms) VALUES (?, ?) \
     ON CONFLICT (order_id) DO UPDATE SET \
     due_at_ms = min(unread_orders.due_at_ms, excluded.due_at_ms), \
     version = unread_orders.version + 1";
/// In the order in which chat locks them.
const LOCK_ON_POSTGRES: &str = "SELECT order_id, version FROM unread_orders \
     WHERE order_id = ANY($1) ORDER BY order_id FOR UPDATE";
/// What is stored of a user is only raised. Of a deleted order nothing is written any more.
const WRITE_NOTE_ON_SQLITE: &str = "INSERT INTO unread_users (order_id, user_id, role, \
     joined_at_ms, shown_seq, told_seq, told_at_ms) SELECT ?, ?, ?, ?, ?, ?, ? \
     WHERE NOT EXISTS (SELECT 1 FROM orders WHERE id = ? AND deleted_at_ms IS NOT NULL) \
     ON CONFLICT (order_id, user_id) DO UPDATE SET \
     role = coalesce(excluded.role, unread_users.role), \
     joined_at_ms = coalesce(excluded.joined_at_ms, unread_users.joined_at_ms), \
     shown_seq = max(unread_users.shown_seq, excluded.shown_seq), \
     told_seq = max(unread_users.told_seq, excluded.told_seq), \
     told_at_ms = max(unread_users.told_at_ms, excluded.told_at_ms)";
const WRITE_NOTES_ON_POSTGRES: &str = "INSERT INTO unread_users (order_id, user_id, role, \
     joined_at_ms, shown_seq, told_seq, told_at_ms) SELECT * FROM unnest($1, $2, $3, $4, $5, $6, $7) AS new (id) \
     WHERE NOT EXISTS (SELECT 1 FROM orders WHERE orders.id = new.id AND deleted_at_ms IS NOT NULL) \
     ON CONFLICT (order_id, user_id) DO UPDATE SET \
     role = coalesce(excluded.role, unread_users.role), \
     joined_at_ms = coalesce(excluded.joined_at_ms, unread_users.joined_at_ms), \
     shown_seq = greatest(unread_users.shown_seq, excluded.shown_seq), \
     told_seq = greatest(unread_users.told_seq, excluded.told_seq), \
     told_at_ms = greatest(unread_users.told_at_ms, excluded.told_at_ms)";
const NOTE_USERS_ON_POSTGRES: &str = "INSERT INTO chat_readers (user_id) SELECT unnest($1) \
     ON CONFLICT (user_id) DO NOTHING";

/// A user of an order who joined by a token, or of whom something was shown or told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct UnreadUser {
    /// The role by which a token let the user in, and when.
    pub joined: Option<(Role, Timestamp)>,
    /// How far the user is, without the read mark.
    pub progress: Progress,
}

/// What a round writes and takes.
#[derive(Debug, Clone, Default)]
pub struct Round {
    /// What is new of users.
    pub notes: Notes,
    /// Orders that were looked at, sorted, with their versions then, and when they are to be looked at
    /// again.
    pub settled: Vec<(OrderId, i64, Option<Timestamp>)>,
    /// How long after one webhook a user gets the next for the same order.
    pub repeat: Duration,
    /// The most orders to take.
    pub most: i64,
    /// Until when this hub has them.
    pub until: Timestamp,
}

#[derive(QueryableByName)]
struct ClaimedOrder {
    #[diesel(sql_type = Text)]
    order_id: String,
    #[diesel(sql_type = BigInt)]
    version: i64,
}

#[derive(Queryable)]
struct UserRow {
    user_id: String,
    role: Option<String>,
    joined_at_ms: Option<i64>,
    shown_seq: i64,
    told_seq: i64,
    told_at_ms: i64,
}

/// Sets when the orders that were looked at are due again. Where a message came meanwhile, the version
/// is another one, and the order is looked at once more when the claim ends, or before.
macro_rules! settle {
    ($connection:expr, $round:expr) => {
        for (order, version, next) in &$round.settled {
            let row = unread_orders::table
                .find(order.as_str())
                .filter(unread_orders::version.eq(version));
            match next {
                Some(next) => diesel::update(row)
                    .set(unread_orders::due_at_ms.eq(next.as_millis()))
                    .execute($connection)?,
                None => diesel::delete(row).execute($connection)?,
            };
        }
    };
}

/// Notes that orders are to be looked at, each at this time or before.
///
/// # Errors
/// If a query fails.
pub fn note_due_on_sqlite(
    sqlite: &mut SqliteConnection,
    orders: &[(&str, Timestamp)],
) -> QueryResult<()> {
    orders.iter().try_for_each(|(order, due)| {
        diesel::sql_query(NOTE_DUE_ON_SQLITE)
            .bind::<Text, _>(order)
            .bind::<BigInt, _>(due.as_millis())
            .execute(sqlite)
            .map(drop)
    })
}

/// The same on PostgreSQL. The orders are sorted, so that two transactions never deadlock.
///
/// # Errors
/// If the query fails.
pub fn note_due_on_postgres(
    postgres: &mut PgConnection,
    orders: &[(&str, Timestamp)],
) -> QueryResult<()> {
    if orders.is_empty() {
        return Ok(());
    }
    diesel::sql_query(NOTE_DUE_ON_POSTGRES)
        .bind::<Array<Text>, _>(orders.iter().map(|(order, _)| *order).collect::<Vec<_>>())
        .bind::<Array<BigInt>, _>(orders.iter().map(|(_, due)| due.as_millis()).collect::<Vec<_>>())
        .execute(postgres)
        .map(drop)
}

/// Notes that the apps of these users tell what was read.
///
/// # Errors
/// If a query fails.
pub fn note_readers(connection: &mut DbConnection, users: &BTreeSet<&str>) -> QueryResult<()> {
    match connection {
        DbConnection::Sqlite(sqlite) => users.iter().try_for_each(|user| {
            diesel::insert_into(chat_readers::table)
                .values(chat_readers::user_id.eq(user))
                .on_conflict_do_nothing()
                .execute(sqlite)
                .map(drop)
        }),
        DbConnection::Postgres(postgres) => diesel::sql_query(NOTE_USERS_ON_POSTGRES)
            .bind::<Array<Text>, _>(users.iter().copied().collect::<Vec<_>>())
            .execute(postgres)
            .map(drop),
    }
}

/// Writes what is new, and takes orders that are due: until then another hub, or this one after a
/// restart, does not look at them.
///
/// # Errors
/// If a query fails; nothing is written and nothing is taken then.
pub fn take_round(
    connection: &mut DbConnection,
    round: &Round,
    now: Timestamp,
) -> QueryResult<Vec<(OrderId, i64)>> {
    match connection {
        DbConnection::Sqlite(sqlite) => sqlite.immediate_transaction(|sqlite| {
            write_notes_on_sqlite(sqlite, &note_rows(round))?;
            settle!(sqlite, round);
            note_due_on_sqlite(sqlite, &told_again(round))?;
            let due = unread_orders::table
                .filter(unread_orders::due_at_ms.le(now.as_millis()))
                .order(unread_orders::due_at_ms)
                .limit(round.most)
                .select((unread_orders::order_id, unread_orders::version));
            let taken: Vec<(String, i64)> = due.load(sqlite)?;
            let ids = taken.iter().map(|(id, _)| id);
            diesel::update(unread_orders::table.filter(unread_orders::order_id.eq_any(ids)))
                .set(unread_orders::due_at_ms.eq(round.until.as_millis()))
                .execute(sqlite)?;
            taken.into_iter().map(|(id, version)| claimed(&id, version)).collect()
        }),
        DbConnection::Postgres(postgres) => postgres.transaction(|postgres| {
            lock_on_postgres(postgres, round)?;
            write_notes_on_postgres(postgres, &note_rows(round))?;
            settle!(postgres, round);
            note_due_on_postgres(postgres, &told_again(round))?;
            let taken: Vec<ClaimedOrder> = diesel::sql_query(CLAIM_ON_POSTGRES)
                .bind::<BigInt, _>(now.as_millis())
                .bind::<BigInt, _>(round.until.as_millis())
                .bind::<BigInt, _>(round.most)
                .load(postgres)?;
            taken.iter().map(|one| claimed(&one.order_id, one.version)).collect()
        }),
    }
}

fn claimed(order: &str, version: i64) -> QueryResult<(OrderId, i64)> {
    Ok((OrderId::new(order).map_err(unreadable)?, version))
}

/// Locks all rows that a round changes before it changes one, in the order in which chat does.
fn lock_on_postgres(postgres: &mut PgConnection, round: &Round) -> QueryResult<()> {
    let told = told_again(round).into_iter().map(|(order, _)| order);
    let settled = round.settled.iter().map(|(order, ..)| order.as_str());
    let orders: BTreeSet<&str> = told.chain(settled).collect();
    let locked: Vec<ClaimedOrder> = diesel::sql_query(LOCK_ON_POSTGRES)
        .bind::<Array<Text>, _>(orders.into_iter().collect::<Vec<_>>())
        .load(postgres)?;
    drop(locked);
    Ok(())
}

/// A note as a row.
struct NoteRow<'a> {
    order: &'a str,
    user: &'a str,
    role: Option<&'static str>,
    joined_at_ms: Option<i64>,
    shown: i64,
    told: i64,
    told_at_ms: i64,
}

/// The notes of a round, sorted: two hubs lock the rows in the same order.
fn note_rows(round: &Round) -> Vec<NoteRow<'_>> {
    let mut rows: Vec<_> = round.notes.iter().collect();
    rows.sort_unstable_by_key(|(key, _)| *key);
    rows.into_iter()
        .map(|(key, note)| {
            let (told, told_at) = note.told.unwrap_or_default();
            NoteRow {
                order: key.0.as_str(),
                user: key.1.as_str(),
                role: note.joined.map(|(role, _)| role.as_str()),
                joined_at_ms: note.joined.map(|(_, at)| at.as_millis()),
                shown: note.shown,
                told,
                told_at_ms: told_at.as_millis(),
            }
        })
        .collect()
}

fn write_notes_on_sqlite(sqlite: &mut SqliteConnection, rows: &[NoteRow<'_>]) -> QueryResult<()> {
    rows.iter().try_for_each(|row| {
        diesel::sql_query(WRITE_NOTE_ON_SQLITE)
            .bind::<Text, _>(row.order)
            .bind::<Text, _>(row.user)
            .bind::<Nullable<Text>, _>(row.role)
            .bind::<Nullable<BigInt>, _>(row.joined_at_ms)
            .bind::<BigInt, _>(row.shown)
            .bind::<BigInt, _>(row.told)
            .bind::<BigInt, _>(row.told_at_ms)
            .bind::<Text, _>(row.order)
            .execute(sqlite)
            .map(drop)
    })
}

fn write_notes_on_postgres(postgres: &mut PgConnection, rows: &[NoteRow<'_>]) -> QueryResult<()> {
    if rows.is_empty() {
        return Ok(());
    }
    let numbers = |of: fn(&NoteRow<'_>) -> i64| rows.iter().map(of).collect::<Vec<_>>();
    diesel::sql_query(WRITE_NOTES_ON_POSTGRES)
        .bind::<Array<Text>, _>(rows.iter().map(|row| row.order).collect::<Vec<_>>())
        .bind::<Array<Text>, _>(rows.iter().map(|row| row.user).collect::<Vec<_>>())
        .bind::<Array<Nullable<Text>>, _>(rows.iter().map(|row| row.role).collect::<Vec<_>>())
        .bind::<Array<Nullable<BigInt>>, _>(
            rows.iter().map(|row| row.joined_at_ms).collect::<Vec<_>>(),
        )
        .bind::<Array<BigInt>, _>(numbers(|row| row.shown))
        .bind::<Array<BigInt>, _>(numbers(|row| row.told))
        .bind::<Array<BigInt>, _>(numbers(|row| row.told_at_ms))
        .execute(postgres)
        .map(drop)
}

/// Orders of which something was told, sorted, with the time of the next webhook to the same user.
fn told_again(round: &Round) -> Vec<(&str, Timestamp)> {
    let mut due: BTreeMap<&str, Timestamp> = BTreeMap::new();
    for ((order, _), note) in &round.notes {
        if let Some((_, at)) = note.told {
            let at = at.plus(round.repeat);
            let known = due.entry(order.as_str()).or_insert(at);
            *known = at.min(*known);
        }
    }
    due.into_iter().collect()
}

/// What is stored of the users of an order, or of one of them.
///
/// # Errors
/// If a query fails.
pub fn users_of(
    connection: &mut DbConnection,
    order: &OrderId,
    user: Option<&UserId>,
) -> QueryResult<BTreeMap<UserId, UnreadUser>> {
    let mut query = unread_users::table
        .filter(unread_users::order_id.eq(order.as_str()))
        .select((
            unread_users::user_id,
            unread_users::role,
            unread_users::joined_at_ms,
            unread_users::shown_seq,
            unread_users::told_seq,
            unread_users::told_at_ms,
        ))
        .limit(MOST_USERS)
        .into_boxed();
    if let Some(user) = user {
        query = query.filter(unread_users::user_id.eq(user.as_str()));
    }
    let rows: Vec<UserRow> = query.load(connection)?;
    rows.into_iter().map(UserRow::read).collect()
}

/// Those of these users whose apps tell what was read.
///
/// # Errors
/// If the query fails.
pub fn readers_among(
    connection: &mut DbConnection,
    users: &[UserId],
) -> QueryResult<BTreeSet<String>> {
    let users = users.iter().map(UserId::as_str);
    let rows: Vec<String> = chat_readers::table
        .filter(chat_readers::user_id.eq_any(users))
        .select(chat_readers::user_id)
        .load(connection)?;
    Ok(rows.into_iter().collect())
}

/// Forgets an order that was deleted.
///
/// # Errors
/// If a query fails.
pub(super) fn forget(connection: &mut DbConnection, order: &OrderId) -> QueryResult<()> {
    diesel::delete(unread_orders::table.find(order.as_str())).execute(connection)?;
    let users = unread_users::table.filter(unread_users::order_id.eq(order.as_str()));
    diesel::delete(users).execute(connection).map(drop)
}

// === impl UserRow ===

impl UserRow {
    fn read(self) -> QueryResult<(UserId, UnreadUser)> {
        let role = self.role.as_deref().and_then(Role::from_name);
        let told =
            (self.told_seq > 0).then(|| (self.told_seq, Timestamp::from_millis(self.told_at_ms)));
        let progress = Progress { shown: self.shown_seq, told, ..Progress::default() };
        let joined = role.zip(self.joined_at_ms.map(Timestamp::from_millis));
        Ok((UserId::new(&self.user_id).map_err(unreadable)?, UnreadUser { joined, progress }))
    }
}
