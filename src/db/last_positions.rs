//! The last position of each order's driver, of many orders at once.

use diesel::pg::Pg;
use diesel::prelude::*;
use diesel::query_builder::{AstPass, QueryFragment, QueryId};
use diesel::sql_types::{Array, BigInt, Text};
use diesel::upsert::excluded;

use super::connection::yield_now_and_then;
use super::schema::orders;
use protocol::ids::OrderId;
use protocol::location::Position;
use protocol::time::Timestamp;

/// Last positions, each as JSON text.
pub(super) fn position_rows(positions: &[(OrderId, Position)]) -> QueryResult<Vec<(&str, String)>> {
    let mut rows = positions
        .iter()
        .map(|(order, position)| Ok((order.as_str(), serde_json::to_string(position)?)))
        .collect::<Result<Vec<_>, serde_json::Error>>()
        .map_err(|error| diesel::result::Error::SerializationError(Box::new(error)))?;
    // The order in which chat locks rows, so that the two never deadlock.
    rows.sort_unstable_by_key(|(order, _)| *order);
    Ok(rows)
}

/// Writes last positions. An unknown order is created; a deleted one stays as it is.
pub(super) fn save_positions_on_sqlite(
    sqlite: &mut SqliteConnection,
    rows: &[(&str, String)],
    now: Timestamp,
) -> QueryResult<()> {
    rows.iter().enumerate().try_for_each(|(place, (order, json))| {
        yield_now_and_then(place);
        save_position(sqlite, order, json, now)
    })
}

/// The same on PostgreSQL, in one statement.
pub(super) fn save_positions_on_postgres(
    postgres: &mut PgConnection,
    rows: &[(&str, String)],
    now: Timestamp,
) -> QueryResult<()> {
    if rows.is_empty() {
        return Ok(());
    }
    let (ids, json) = rows.iter().map(|(order, json)| (*order, json.as_str())).unzip();
    let now_text = now.to_string();
    SavePositions { ids, json, now_ms: now.as_millis(), now_text }.execute(postgres).map(drop)
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

/// All positions in one statement, which is prepared once for any number of them.
struct SavePositions<'a> {
    ids: Vec<&'a str>,
    json: Vec<&'a str>,
    now_ms: i64,
    now_text: String,
}

/// The time of a stored position, as text that sorts by time.
const TAKEN_AT: &str = "last_location from '\"timestamp\":\"([0-9TZ:.-]+)\"'";

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
             WHERE orders.deleted_at_ms IS NULL AND NOT coalesce(",
        );
        // Another node may have written a newer one. A time ahead of the clock is no reason.
        out.push_sql(&format!(
            "substring(orders.{TAKEN_AT}) > substring(excluded.{TAKEN_AT}) \
             AND substring(orders.{TAKEN_AT}) <= "
        ));
        out.push_bind_param::<Text, _>(&self.now_text)?;
        out.push_sql(", false)");
        Ok(())
    }
}
