//! Orders: their state, and the last position of their driver.

use diesel::pg::Pg;
use diesel::prelude::*;
use diesel::query_builder::{AstPass, QueryFragment, QueryId};
use diesel::sql_types::{Array, BigInt, Text};
use diesel::upsert::excluded;

use super::connection::DbConnection;
use super::messages::{self, PageRange, unreadable};
use super::schema::orders;
use crate::ids::{OrderId, UserId};
use crate::protocol::chat::ChatMessage;
use crate::protocol::location::Position;
use crate::time::Timestamp;

/// What a room needs of an order when it opens.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct LoadedOrder {
    /// What the back end calls its state; none until it has set one.
    pub status: Option<String>,
    /// The assigned driver.
    pub driver_id: Option<UserId>,
    /// The assigned driver's name.
    pub driver_name: Option<String>,
    /// When it reached a terminal status.
    pub ended_at: Option<Timestamp>,
    /// The highest number given to a message.
    pub last_seq: i64,
    /// The revision of its rights.
    pub rev: i64,
    /// The last position written.
    pub last_position: Option<Position>,
    /// Whether it is known and not deleted.
    pub exists: bool,
    /// Its newest messages, ascending, up to `last_seq`.
    pub recent: Vec<ChatMessage>,
}

#[derive(Queryable, Selectable)]
#[diesel(table_name = orders)]
struct OrderRow {
    status: Option<String>,
    driver_id: Option<String>,
    driver_name: Option<String>,
    ended_at_ms: Option<i64>,
    last_seq: i64,
    rev: i64,
    last_location: Option<String>,
    deleted_at_ms: Option<i64>,
}

/// Reads an order with its newest `recent` messages. An unknown order has the defaults.
///
/// # Errors
/// Where the query fails.
pub fn load(
    connection: &mut DbConnection,
    order: &OrderId,
    recent: i64,
) -> QueryResult<LoadedOrder> {
    // Not `first`: its bound LIMIT makes SQLite prepare the statement anew each time, which was
    // half the cost of opening a room.
    let row = orders::table
        .find(order.as_str())
        .select(OrderRow::as_select())
        .get_result(connection)
        .optional()?;
    let Some(row) = row else { return Ok(LoadedOrder::default()) };
    // Messages committed since the row was read are left out, so both show one moment.
    let range = PageRange::Before(row.last_seq.saturating_add(1));
    let recent = if recent > 0 && row.last_seq > 0 {
        messages::page(connection, order, range, recent)?.messages
    } else {
        Vec::new()
    };
    Ok(LoadedOrder { recent, ..LoadedOrder::try_from(row)? })
}

/// Whether the database answers and has its tables.
///
/// # Errors
/// Where the query fails.
pub fn probe(connection: &mut DbConnection) -> QueryResult<()> {
    orders::table.select(orders::rev).first::<i64>(connection).optional().map(drop)
}

/// Whether the database takes writes: a statement that needs the lock and the right to write, and
/// changes nothing.
///
/// # Errors
/// Where the query fails.
pub fn probe_writes(connection: &mut DbConnection) -> QueryResult<()> {
    // No order has an empty id.
    diesel::update(orders::table.find(""))
        .set(orders::rev.eq(orders::rev))
        .execute(connection)
        .map(drop)
}

/// Writes last positions, each a JSON text, in one transaction. An order that is not known yet
/// begins to exist; a deleted one stays as it is.
///
/// # Errors
/// Where the query fails.
pub fn save_positions(
    connection: &mut DbConnection,
    positions: &[(OrderId, Position)],
    now: Timestamp,
) -> QueryResult<()> {
    let mut rows = positions
        .iter()
        .map(|(order, position)| Ok((order.as_str(), serde_json::to_string(position)?)))
        .collect::<Result<Vec<_>, serde_json::Error>>()
        .map_err(|error| diesel::result::Error::SerializationError(Box::new(error)))?;
    // The order in which chat locks them, so that the two never wait for each other in a ring.
    rows.sort_unstable_by_key(|(order, _)| *order);
    match connection {
        DbConnection::Sqlite(sqlite) => sqlite.immediate_transaction(|sqlite| {
            rows.iter().try_for_each(|(order, json)| save_position(sqlite, order, json, now))
        }),
        DbConnection::Postgres(postgres) => {
            let (ids, json) = rows.iter().map(|(order, json)| (*order, json.as_str())).unzip();
            SavePositions { ids, json, now_ms: now.as_millis() }.execute(postgres).map(drop)
        }
    }
}

fn save_position(
    sqlite: &mut SqliteConnection,
    order: &str,
    json: &str,
    now: Timestamp,
) -> QueryResult<()> {
    use diesel::query_dsl::methods::FilterDsl;

    let now_ms = now.as_millis();
    diesel::insert_into(orders::table)
        .values((
            orders::id.eq(order),
            orders::last_location.eq(json),
            orders::created_at_ms.eq(now_ms),
            orders::updated_at_ms.eq(now_ms),
        ))
        .on_conflict(orders::id)
        .do_update()
        .set((
            orders::last_location.eq(excluded(orders::last_location)),
            orders::updated_at_ms.eq(excluded(orders::updated_at_ms)),
        ))
        .filter(orders::deleted_at_ms.is_null())
        .execute(sqlite)
        .map(drop)
}

/// All positions in one statement, prepared once for any number of them.
struct SavePositions<'a> {
    ids: Vec<&'a str>,
    json: Vec<&'a str>,
    now_ms: i64,
}

// === impl SavePositions ===

impl QueryId for SavePositions<'_> {
    type QueryId = SavePositions<'static>;
    const HAS_STATIC_QUERY_ID: bool = true;
}

impl RunQueryDsl<PgConnection> for SavePositions<'_> {}

impl QueryFragment<Pg> for SavePositions<'_> {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        out.push_sql(
            "INSERT INTO orders (id, last_location, created_at_ms, updated_at_ms) \
             SELECT new.id, new.json, new.now_ms, new.now_ms FROM (SELECT unnest(",
        );
        out.push_bind_param::<Array<Text>, _>(&self.ids)?;
        out.push_sql(") AS id, unnest(");
        out.push_bind_param::<Array<Text>, _>(&self.json)?;
        out.push_sql(") AS json, ");
        out.push_bind_param::<BigInt, _>(&self.now_ms)?;
        out.push_sql(
            " AS now_ms) AS new ORDER BY new.id COLLATE \"C\" ON CONFLICT (id) DO UPDATE SET \
             last_location = excluded.last_location, updated_at_ms = excluded.updated_at_ms \
             WHERE orders.deleted_at_ms IS NULL",
        );
        Ok(())
    }
}

// === impl LoadedOrder ===

impl TryFrom<OrderRow> for LoadedOrder {
    type Error = diesel::result::Error;

    fn try_from(row: OrderRow) -> Result<Self, Self::Error> {
        Ok(Self {
            status: row.status,
            driver_id: row.driver_id.map(|id| UserId::new(&id)).transpose().map_err(unreadable)?,
            driver_name: row.driver_name,
            ended_at: row.ended_at_ms.map(Timestamp::from_millis),
            last_seq: row.last_seq,
            rev: row.rev,
            // A position that cannot be read is no reason to keep everybody out of the room.
            last_position: row.last_location.and_then(|json| serde_json::from_str(&json).ok()),
            exists: row.deleted_at_ms.is_none(),
            recent: Vec::new(),
        })
    }
}
