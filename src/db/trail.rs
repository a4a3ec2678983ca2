//! The trail: the positions of an order's driver, one point every few seconds.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Bound::Excluded;
use std::time::Duration;

use diesel::prelude::*;
use diesel::query_builder::{AstPass, QueryFragment, QueryId};
use diesel::sql_types::{Array, BigInt, Double, Nullable, Text};
use diesel::sqlite::Sqlite;

use super::connection::{DbConnection, yield_now_and_then};
use super::last_positions::{position_rows, save_positions_on_postgres, save_positions_on_sqlite};
use super::messages::unreadable;
use super::schema::trail;
use protocol::ids::{OrderId, UserId};
use protocol::location::Position;
use protocol::time::Timestamp;

/// How many points are deleted at once. More would delay the work that waits behind.
pub const MAX_EXPIRED: i64 = 500;
/// How many points a page may have beyond its limit, if drivers have points at the same time.
const MAX_TIES: i64 = 16;

/// Inserts all points at once. They are far enough from each other and from the stored ones.
/// Inserts nothing for an order that was deleted while the points were queued.
const INSERT_ON_POSTGRES: &str = "INSERT INTO trail (order_id, at_ms, driver_id, lat, lng, accuracy, heading, speed, altitude) \
     SELECT * FROM unnest($1, $2, $3, $4, $5, $6, $7, $8, $9) \
     AS new (order_id, at_ms, driver_id, lat, lng, accuracy, heading, speed, altitude) \
     WHERE NOT EXISTS (SELECT 1 FROM orders \
     WHERE orders.id = new.order_id AND orders.deleted_at_ms IS NOT NULL) ON CONFLICT DO NOTHING";

/// The stored points of an order between two times.
const FIND_ON_POSTGRES: &str = "SELECT trail.order_id, trail.driver_id, trail.at_ms \
     FROM unnest($1, $2, $3) AS near (order_id, after_ms, before_ms) JOIN trail \
     ON trail.order_id = near.order_id AND trail.at_ms > near.after_ms \
     AND trail.at_ms < near.before_ms";

/// A point of a trail.
#[derive(Debug, Clone, PartialEq)]
pub struct TrailPoint {
    /// When.
    pub at: Timestamp,
    /// The driver.
    pub driver_id: UserId,
    /// Latitude in degrees.
    pub lat: f64,
    /// Longitude in degrees.
    pub lng: f64,
    /// Radius in metres.
    pub accuracy: Option<f64>,
    /// Degrees from north, clockwise.
    pub heading: Option<f64>,
    /// Metres per second.
    pub speed: Option<f64>,
    /// Metres.
    pub altitude: Option<f64>,
}

/// A part of a trail, sorted by time.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct TrailPage {
    /// The points.
    pub points: Vec<TrailPoint>,
    /// The time of the next point, if there are more.
    pub next: Option<Timestamp>,
}

/// Which part of a trail to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TrailRange {
    /// From this time on.
    pub since: Timestamp,
    /// Before this time.
    pub until: Timestamp,
    /// How many points.
    pub limit: i64,
}

#[derive(QueryableByName)]
struct ExistingPoint {
    #[diesel(sql_type = Text)]
    order_id: String,
    #[diesel(sql_type = Text)]
    driver_id: String,
    #[diesel(sql_type = BigInt)]
    at_ms: i64,
}

#[derive(Queryable, Selectable)]
#[diesel(table_name = trail)]
struct TrailRow {
    at_ms: i64,
    driver_id: String,
    lat: f64,
    lng: f64,
    accuracy: Option<f64>,
    heading: Option<f64>,
    speed: Option<f64>,
    altitude: Option<f64>,
}

/// Writes last positions and points of trails, all in one transaction. A point that is nearer than
/// `interval` to another or to a stored one is left out.
///
/// # Errors
/// If a query fails; nothing is written then.
pub fn save(
    connection: &mut DbConnection,
    lasts: &[(OrderId, Position)],
    points: &[(OrderId, Position)],
    interval: Duration,
    now: Timestamp,
) -> QueryResult<()> {
    let interval_ms = i64::try_from(interval.as_millis()).unwrap_or(i64::MAX).max(1);
    let lasts = position_rows(lasts)?;
    match connection {
        DbConnection::Sqlite(sqlite) => sqlite.immediate_transaction(|sqlite| {
            save_positions_on_sqlite(sqlite, &lasts, now)?;
            // A statement is a function call on SQLite, so each row has its own, prepared once.
            points.iter().enumerate().try_for_each(|(place, point)| {
                yield_now_and_then(place);
                InsertPoint::new(point, interval_ms).execute(sqlite).map(drop)
            })
        }),
        DbConnection::Postgres(postgres) => postgres.transaction(|postgres| {
            save_positions_on_postgres(postgres, &lasts, now)?;
            insert_on_postgres(postgres, points, interval_ms)
        }),
    }
}

/// Inserts one point on SQLite, under the conditions that PostgreSQL checks for all of them.
struct InsertPoint<'a> {
    order: &'a OrderId,
    position: &'a Position,
    at_ms: i64,
    /// The driver must have no other point between these two times.
    after_ms: i64,
    before_ms: i64,
}

// === impl InsertPoint ===

impl<'a> InsertPoint<'a> {
    fn new((order, position): &'a (OrderId, Position), interval_ms: i64) -> Self {
        let at_ms = position.taken_at().as_millis();
        let (after_ms, before_ms) =
            (at_ms.saturating_sub(interval_ms), at_ms.saturating_add(interval_ms));
        Self { order, position, at_ms, after_ms, before_ms }
    }
}

impl QueryId for InsertPoint<'_> {
    type QueryId = InsertPoint<'static>;
    const HAS_STATIC_QUERY_ID: bool = true;
}

impl RunQueryDsl<SqliteConnection> for InsertPoint<'_> {}

impl QueryFragment<Sqlite> for InsertPoint<'_> {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Sqlite>) -> QueryResult<()> {
        let Self { order, position, at_ms, after_ms, before_ms } = self;
        let (order, driver) = (order.as_str(), position.driver_id.as_str());
        out.push_sql(
            "INSERT INTO trail (order_id, driver_id, at_ms, lat, lng, accuracy, heading, speed, \
             altitude) SELECT ",
        );
        out.push_bind_param::<Text, _>(order)?;
        out.push_sql(", ");
        out.push_bind_param::<Text, _>(driver)?;
        out.push_sql(", ");
        out.push_bind_param::<BigInt, _>(at_ms)?;
        for degrees in [&position.lat, &position.lng] {
            out.push_sql(", ");
            out.push_bind_param::<Double, _>(degrees)?;
        }
        let Position { accuracy, heading, speed, altitude, .. } = position;
        for known in [accuracy, heading, speed, altitude] {
            out.push_sql(", ");
            out.push_bind_param::<Nullable<Double>, _>(known)?;
        }
        out.push_sql(" WHERE NOT EXISTS (SELECT 1 FROM trail WHERE order_id = ");
        out.push_bind_param::<Text, _>(order)?;
        out.push_sql(" AND at_ms > ");
        out.push_bind_param::<BigInt, _>(after_ms)?;
        out.push_sql(" AND at_ms < ");
        out.push_bind_param::<BigInt, _>(before_ms)?;
        out.push_sql(" AND driver_id = ");
        out.push_bind_param::<Text, _>(driver)?;
        out.push_sql(") AND NOT EXISTS (SELECT 1 FROM orders WHERE id = ");
        out.push_bind_param::<Text, _>(order)?;
        out.push_sql(" AND deleted_at_ms IS NOT NULL) ON CONFLICT DO NOTHING");
        Ok(())
    }
}

fn insert_on_postgres(
    postgres: &mut PgConnection,
    points: &[(OrderId, Position)],
    interval_ms: i64,
) -> QueryResult<()> {
    fn column<'a, T>(
        points: &[&'a (OrderId, Position)],
        field: impl Fn(&'a OrderId, &'a Position) -> T,
    ) -> Vec<T> {
        points.iter().map(|(order, position)| field(order, position)).collect()
    }
    if points.is_empty() {
        return Ok(());
    }
    // A statement does not see the rows that it inserts itself, so the distances are checked here.
    // No other writer writes points of these orders.
    let known = find_on_postgres(postgres, points, interval_ms)?;
    let points = &drop_too_near(&known, points, interval_ms);
    diesel::sql_query(INSERT_ON_POSTGRES)
        .bind::<Array<Text>, _>(column(points, |order, _| order.as_str()))
        .bind::<Array<BigInt>, _>(column(points, |_, position| position.taken_at().as_millis()))
        .bind::<Array<Text>, _>(column(points, |_, position| position.driver_id.as_str()))
        .bind::<Array<Double>, _>(column(points, |_, position| position.lat))
        .bind::<Array<Double>, _>(column(points, |_, position| position.lng))
        .bind::<Array<Nullable<Double>>, _>(column(points, |_, position| position.accuracy))
        .bind::<Array<Nullable<Double>>, _>(column(points, |_, position| position.heading))
        .bind::<Array<Nullable<Double>>, _>(column(points, |_, position| position.speed))
        .bind::<Array<Nullable<Double>>, _>(column(points, |_, position| position.altitude))
        .execute(postgres)
        .map(drop)
}

fn find_on_postgres(
    postgres: &mut PgConnection,
    points: &[(OrderId, Position)],
    interval_ms: i64,
) -> QueryResult<Vec<ExistingPoint>> {
    let mut spans: BTreeMap<&str, (i64, i64)> = BTreeMap::new();
    for point in points {
        let InsertPoint { order, after_ms, before_ms, .. } = InsertPoint::new(point, interval_ms);
        let span = spans.entry(order.as_str()).or_insert((after_ms, before_ms));
        *span = (span.0.min(after_ms), span.1.max(before_ms));
    }
    diesel::sql_query(FIND_ON_POSTGRES)
        .bind::<Array<Text>, _>(spans.keys().copied().collect::<Vec<_>>())
        .bind::<Array<BigInt>, _>(spans.values().map(|span| span.0).collect::<Vec<_>>())
        .bind::<Array<BigInt>, _>(spans.values().map(|span| span.1).collect::<Vec<_>>())
        .load(postgres)
}

/// Removes points that are too near in time to a stored one, or to an earlier one in the list, of
/// the same order and driver.
fn drop_too_near<'a>(
    known: &[ExistingPoint],
    points: &'a [(OrderId, Position)],
    interval_ms: i64,
) -> Vec<&'a (OrderId, Position)> {
    let mut times: HashMap<(&str, &str), BTreeSet<i64>> = HashMap::new();
    for ExistingPoint { order_id, driver_id, at_ms } in known {
        times.entry((order_id, driver_id)).or_default().insert(*at_ms);
    }
    let mut found = Vec::with_capacity(points.len());
    for point in points {
        let InsertPoint { order, position, at_ms, after_ms, before_ms } =
            InsertPoint::new(point, interval_ms);
        let times = times.entry((order.as_str(), position.driver_id.as_str())).or_default();
        let mut near = times.range((Excluded(after_ms), Excluded(before_ms)));
        if near.next().is_none() {
            times.insert(at_ms);
            found.push(point);
        }
    }
    found
}

/// Reads a part of an order's trail. It may exceed its limit by points of the same time.
///
/// # Errors
/// If the query fails.
pub fn page(
    connection: &mut DbConnection,
    order: &OrderId,
    range: TrailRange,
) -> QueryResult<TrailPage> {
    let limit = range.limit.max(1);
    let rows: Vec<TrailRow> = trail::table
        .filter(trail::order_id.eq(order.as_str()))
        .filter(trail::at_ms.ge(range.since.as_millis()))
        .filter(trail::at_ms.lt(range.until.as_millis()))
        .order((trail::at_ms, trail::driver_id))
        .limit(limit.saturating_add(MAX_TIES + 1))
        .select(TrailRow::as_select())
        .load(connection)?;
    // The next page begins at a time, so a page must hold all points of its last time.
    let asked = usize::try_from(limit).unwrap_or(usize::MAX).min(rows.len());
    let is_tie = |end: &usize| rows[*end].at_ms == rows[*end - 1].at_ms;
    let end = (asked..rows.len()).find(|end| *end == 0 || !is_tie(end)).unwrap_or(rows.len());
    let next = rows.get(end).map(|row| Timestamp::from_millis(row.at_ms));
    let points = rows.into_iter().take(end).map(TrailRow::point).collect::<QueryResult<_>>()?;
    Ok(TrailPage { points, next })
}

/// Deletes some of the points from before `before`, the oldest first; true if there may be more.
///
/// # Errors
/// If a query fails.
pub fn delete_expired(connection: &mut DbConnection, before: Timestamp) -> QueryResult<bool> {
    let expired = trail::at_ms.lt(before.as_millis());
    // Two statements without a transaction: an expired point stays expired in between.
    let last: Option<i64> = trail::table
        .filter(expired)
        .order(trail::at_ms)
        .offset(MAX_EXPIRED - 1)
        .limit(1)
        .select(trail::at_ms)
        .get_result(connection)
        .optional()?;
    let upto = last.unwrap_or(before.as_millis() - 1);
    diesel::delete(trail::table.filter(trail::at_ms.le(upto))).execute(connection)?;
    Ok(last.is_some())
}

/// Deletes some of an order's points up to a time; true if there may be more.
///
/// # Errors
/// If a query fails.
pub(super) fn purge(
    connection: &mut DbConnection,
    order: &str,
    upto: Timestamp,
) -> QueryResult<bool> {
    let of_order = trail::order_id.eq(order);
    let last: Option<i64> = trail::table
        .filter(of_order)
        .filter(trail::at_ms.le(upto.as_millis()))
        .order(trail::at_ms)
        .offset(MAX_EXPIRED - 1)
        .limit(1)
        .select(trail::at_ms)
        .get_result(connection)
        .optional()?;
    let part = trail::table.filter(of_order);
    let upto = last.unwrap_or(upto.as_millis());
    diesel::delete(part.filter(trail::at_ms.le(upto))).execute(connection)?;
    Ok(last.is_some())
}

// === impl TrailRow ===

impl TrailRow {
    fn point(self) -> QueryResult<TrailPoint> {
        Ok(TrailPoint {
            at: Timestamp::from_millis(self.at_ms),
            driver_id: UserId::new(&self.driver_id).map_err(unreadable)?,
            lat: self.lat,
            lng: self.lng,
            accuracy: self.accuracy,
            heading: self.heading,
            speed: self.speed,
            altitude: self.altitude,
        })
    }
}
