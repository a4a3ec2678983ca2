//! Orders: their state, and the last position of their driver.

use diesel::prelude::*;

use super::connection::DbConnection;
use super::messages::{self, PageRange, unreadable};
use super::participants;
use super::read_marks;
use super::schema::{orders, participants as participant_rows};
use crate::relay::commits::Commit;
use crate::room::order::OrderFacts;
use protocol::chat::ChatMessage;
use protocol::ids::{OrderId, UserId};
use protocol::location::Position;
use protocol::role::Role;
use protocol::time::Timestamp;

/// What a room reads of an order when it opens.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct LoadedOrder {
    /// What rights depend on.
    pub facts: OrderFacts,
    /// The highest number given to a message.
    pub last_seq: i64,
    /// The revision of its rights.
    pub rev: i64,
    /// The last position written.
    pub last_position: Option<Position>,
    /// Whether the order was stored and is not deleted.
    pub exists: bool,
    /// Messages up to this number are of an earlier order with the same id, which was deleted. Read
    /// only if messages were asked for.
    pub floor: i64,
    /// Its newest messages, ascending, up to `last_seq`.
    pub recent: Vec<ChatMessage>,
    /// How far users have read. Read only if messages were asked for.
    pub read_marks: Vec<(UserId, i64)>,
}

/// An order as it is stored.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredOrder {
    /// The order's id.
    pub id: OrderId,
    /// What rights depend on.
    pub facts: OrderFacts,
    /// The back end's own version of it.
    pub version: Option<i64>,
    /// The revision of its rights.
    pub rev: i64,
    /// The highest number given to a message.
    pub last_seq: i64,
    /// The last position written.
    pub last_position: Option<Position>,
    /// When the hub first wrote it.
    pub created_at: Timestamp,
    /// When the hub last wrote it.
    pub updated_at: Timestamp,
}

/// Which orders a list shows: those that match every filter that is set.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OrderFilter {
    /// Orders in this status.
    pub status: Option<String>,
    /// Orders of this driver.
    pub driver: Option<UserId>,
    /// Orders with this participant.
    pub participant: Option<UserId>,
}

#[derive(Queryable, Selectable)]
#[diesel(table_name = orders)]
struct OrderRow {
    id: String,
    status: Option<String>,
    driver_id: Option<String>,
    driver_name: Option<String>,
    ended_at_ms: Option<i64>,
    shown_since_ms: Option<i64>,
    dispatched: bool,
    last_seq: i64,
    rev: i64,
    version: Option<i64>,
    last_location: Option<String>,
    created_at_ms: i64,
    updated_at_ms: i64,
    deleted_at_ms: Option<i64>,
    purge_trail_ms: Option<i64>,
}

/// Reads an order with its newest `recent` messages. An unknown order has the defaults.
///
/// # Errors
/// If a query fails.
pub fn load(
    connection: &mut DbConnection,
    order: &OrderId,
    recent: i64,
) -> QueryResult<LoadedOrder> {
    let Some(stored) = find(connection, order)? else { return Ok(LoadedOrder::default()) };
    let StoredOrder { facts, last_seq, rev, last_position, .. } = stored;
    let exists = !facts.deleted;
    // Excludes messages that were committed after the row was read, so that both show the same
    // moment.
    let range = PageRange::Before(last_seq.saturating_add(1));
    let mut loaded =
        LoadedOrder { facts, last_seq, rev, last_position, exists, ..Default::default() };
    if exists && recent > 0 && last_seq > 0 {
        let page = messages::page(connection, order, range, recent)?;
        loaded.floor = match loaded.facts.remade_at {
            Some(_) => messages::first_seq(connection, order)?.map_or(last_seq, |first| first - 1),
            None => 0,
        };
        let beyond = |(_, seq): &(UserId, i64)| *seq > loaded.floor;
        loaded.read_marks =
            read_marks::of_order(connection, order)?.into_iter().filter(beyond).collect();
        loaded.recent = page.messages;
    }
    Ok(loaded)
}

/// Reads an order, also a deleted one.
///
/// # Errors
/// If a query fails.
pub fn find(connection: &mut DbConnection, order: &OrderId) -> QueryResult<Option<StoredOrder>> {
    // Not `first`: its bound LIMIT makes SQLite prepare the statement anew each time, which was
    // half the cost of opening a room.
    let row = orders::table
        .find(order.as_str())
        .select(OrderRow::as_select())
        .get_result(connection)
        .optional()?;
    row.map(|row| row.stored(connection)).transpose()
}

/// Reads the newest message and the revision of these orders. Unknown ones are absent.
///
/// # Errors
/// If the query fails.
pub fn progress_of(connection: &mut DbConnection, of: &[OrderId]) -> QueryResult<Vec<Commit>> {
    let rows: Vec<(String, i64, i64)> = orders::table
        .filter(orders::id.eq_any(of.iter().map(OrderId::as_str)))
        .select((orders::id, orders::last_seq, orders::rev))
        .load(connection)?;
    let progress = |(id, last_seq, rev): (String, i64, i64)| {
        let order_id = OrderId::new(&id).map_err(unreadable)?;
        Ok(Commit { order_id, last_seq, rev })
    };
    rows.into_iter().map(progress).collect()
}

/// Reads the orders after `after`, by ascending id: orders that are created meanwhile do not
/// disturb the paging.
///
/// # Errors
/// If a query fails.
pub fn list(
    connection: &mut DbConnection,
    filter: &OrderFilter,
    after: Option<&OrderId>,
    limit: i64,
) -> QueryResult<Vec<StoredOrder>> {
    let mut query = orders::table
        .filter(orders::deleted_at_ms.is_null())
        .filter(orders::id.gt(after.map_or("", OrderId::as_str)))
        .order(orders::id)
        .limit(limit)
        .select(OrderRow::as_select())
        .into_boxed();
    if let Some(status) = &filter.status {
        query = query.filter(orders::status.eq(status));
    }
    if let Some(driver) = &filter.driver {
        query = query.filter(orders::driver_id.eq(driver.as_str()));
    }
    if let Some(user) = &filter.participant {
        let theirs = participant_rows::table
            .filter(participant_rows::user_id.eq(user.as_str()))
            .filter(diesel::dsl::not(participant_rows::removed))
            .select(participant_rows::order_id);
        query = query.filter(orders::id.eq_any(theirs));
    }
    let rows = query.load(connection)?;
    rows.into_iter().map(|row| row.stored(connection)).collect()
}

/// Reads the open orders of which back ends made this user the driver.
///
/// # Errors
/// If a query fails.
pub fn open_of_driver(
    connection: &mut DbConnection,
    user: &UserId,
    limit: i64,
) -> QueryResult<Vec<OrderId>> {
    let open = orders::ended_at_ms.is_null().and(orders::deleted_at_ms.is_null());
    let mut ids: Vec<String> = orders::table
        .filter(orders::driver_id.eq(user.as_str()))
        .filter(open)
        .select(orders::id)
        .order(orders::id)
        .limit(limit)
        .load(connection)?;
    let by_part: Vec<String> = participant_rows::table
        .inner_join(orders::table.on(orders::id.eq(participant_rows::order_id)))
        .filter(participant_rows::user_id.eq(user.as_str()))
        .filter(participant_rows::role.eq(Role::Driver.as_str()))
        .filter(diesel::dsl::not(participant_rows::removed))
        .filter(diesel::dsl::not(orders::dispatched))
        .filter(open)
        .select(orders::id)
        .order(orders::id)
        .limit(limit)
        .load(connection)?;
    ids.extend(by_part);
    ids.iter().map(|id| OrderId::new(id).map_err(unreadable)).collect()
}

/// Whether the database answers and has its tables.
///
/// # Errors
/// If the query fails.
pub fn probe(connection: &mut DbConnection) -> QueryResult<()> {
    orders::table.select(orders::rev).first::<i64>(connection).optional().map(drop)
}

/// Checks that the database takes writes, by a statement that needs the lock and the right to write
/// and changes nothing. SQLite writes a page to the disk for it, which fails on a full disk.
///
/// # Errors
/// If the query fails.
pub fn probe_writes(connection: &mut DbConnection) -> QueryResult<()> {
    if let DbConnection::Sqlite(sqlite) = connection {
        return rewrite_version(sqlite);
    }
    // No order has an empty id.
    diesel::update(orders::table.find(""))
        .set(orders::rev.eq(orders::rev))
        .execute(connection)
        .map(drop)
}

/// Writes the user version of the file, unchanged.
fn rewrite_version(sqlite: &mut SqliteConnection) -> QueryResult<()> {
    #[derive(QueryableByName)]
    struct Version {
        #[diesel(sql_type = diesel::sql_types::Integer)]
        user_version: i32,
    }
    sqlite.immediate_transaction(|sqlite| {
        let read = diesel::sql_query("SELECT user_version FROM pragma_user_version");
        let Version { user_version } = read.get_result(sqlite)?;
        diesel::sql_query(format!("PRAGMA user_version = {user_version}")).execute(sqlite).map(drop)
    })
}

// === impl OrderRow ===

impl OrderRow {
    fn stored(self, connection: &mut DbConnection) -> QueryResult<StoredOrder> {
        let participants = participants::of_order(connection, &self.id)?;
        let deleted = self.deleted_at_ms.is_some();
        let remade_at = self.purge_trail_ms.filter(|_| !deleted).map(Timestamp::from_millis);
        let of_this_order = |last: &Position| remade_at.is_none_or(|at| last.taken_at() >= at);
        Ok(StoredOrder {
            id: OrderId::new(&self.id).map_err(unreadable)?,
            facts: OrderFacts {
                status: self.status,
                driver_id: self
                    .driver_id
                    .map(|id| UserId::new(&id))
                    .transpose()
                    .map_err(unreadable)?,
                driver_name: self.driver_name,
                ended_at: self.ended_at_ms.map(Timestamp::from_millis),
                shown_since: self.shown_since_ms.map(Timestamp::from_millis),
                dispatched: self.dispatched,
                deleted,
                remade_at,
                participants,
            },
            version: self.version,
            rev: self.rev,
            last_seq: self.last_seq,
            // An unreadable position must not prevent users from joining the room.
            last_position: self
                .last_location
                .and_then(|json| serde_json::from_str(&json).ok())
                .filter(of_this_order),
            created_at: Timestamp::from_millis(self.created_at_ms),
            updated_at: Timestamp::from_millis(self.updated_at_ms),
        })
    }
}
