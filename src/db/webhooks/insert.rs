//! Writes rows of the outbox, within the transaction of what they tell of.

use std::sync::Arc;

use diesel::pg::Pg;
use diesel::prelude::*;
use diesel::query_builder::{AstPass, QueryFragment, QueryId};
use diesel::sql_types::{Array, BigInt, SmallInt, Text};

use super::{DEAD, NEW};
use crate::db::connection::DbConnection;
use crate::db::schema::webhook_outbox;
use crate::webhooks::event::EventKind;
use crate::webhooks::outbox::Audience;
use protocol::time::Timestamp;

/// Why a row is dead from its beginning.
const NO_ROOM: &str = "WEBHOOK_MAX_ROWS waited already";

/// Something to tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewEvent<'a> {
    /// What it tells of.
    pub kind: EventKind,
    /// The order, or an empty text.
    pub order: &'a str,
    /// The `webhook-id`, the same for every endpoint.
    pub id: String,
    /// JSON of its data.
    pub data: String,
    /// When it happened.
    pub at: Timestamp,
}

/// Writes a row for each event and each endpoint that hears of it, in the order of the events.
///
/// # Errors
/// If the query fails.
pub fn insert(
    connection: &mut DbConnection,
    events: &[NewEvent<'_>],
    audience: Audience<'_>,
    now: Timestamp,
) -> QueryResult<()> {
    match connection {
        DbConnection::Sqlite(sqlite) => insert_on_sqlite(sqlite, events, audience, now),
        DbConnection::Postgres(postgres) => insert_on_postgres(postgres, events, audience, now),
    }
}

/// The rows: an event and the endpoint that hears of it.
fn rows<'a>(
    events: &'a [NewEvent<'a>],
    audience: Audience<'a>,
) -> impl Iterator<Item = (&'a NewEvent<'a>, &'a Arc<str>)> {
    events.iter().flat_map(move |event| {
        audience.listeners.of(event.kind).map(move |endpoint| (event, endpoint))
    })
}

/// The state of new rows, and when they died.
fn state(audience: Audience<'_>, now: Timestamp) -> (i16, Option<i64>, Option<&'static str>) {
    if audience.is_full { (DEAD, Some(now.as_millis()), Some(NO_ROOM)) } else { (NEW, None, None) }
}

/// As [`insert`].
///
/// # Errors
/// If the query fails.
pub fn insert_on_sqlite(
    sqlite: &mut SqliteConnection,
    events: &[NewEvent<'_>],
    audience: Audience<'_>,
    now: Timestamp,
) -> QueryResult<()> {
    let (state, done_at_ms, error) = state(audience, now);
    for (event, endpoint) in rows(events, audience) {
        diesel::insert_into(webhook_outbox::table)
            .values((
                webhook_outbox::endpoint.eq(&**endpoint),
                webhook_outbox::order_id.eq(event.order),
                webhook_outbox::id.eq(&event.id),
                webhook_outbox::kind.eq(event.kind.as_str()),
                webhook_outbox::data.eq(&event.data),
                webhook_outbox::created_at_ms.eq(event.at.as_millis()),
                webhook_outbox::state.eq(state),
                webhook_outbox::done_at_ms.eq(done_at_ms),
                webhook_outbox::error.eq(error),
            ))
            .execute(sqlite)?;
    }
    Ok(())
}

/// As [`insert`], with one statement.
///
/// # Errors
/// If the query fails.
pub fn insert_on_postgres(
    postgres: &mut PgConnection,
    events: &[NewEvent<'_>],
    audience: Audience<'_>,
    now: Timestamp,
) -> QueryResult<()> {
    let (state, done_at_ms, error) = state(audience, now);
    let mut query = InsertRows { state, done_at_ms, error, ..InsertRows::default() };
    for (event, endpoint) in rows(events, audience) {
        query.endpoints.push(endpoint);
        query.orders.push(event.order);
        query.ids.push(&event.id);
        query.kinds.push(event.kind.as_str());
        query.data.push(&event.data);
        query.created.push(event.at.as_millis());
    }
    if query.ids.is_empty() { Ok(()) } else { query.execute(postgres).map(drop) }
}

/// Rows, column by column. The statement is the same for any number of rows, so it is prepared once.
#[derive(Default)]
struct InsertRows<'a> {
    endpoints: Vec<&'a str>,
    orders: Vec<&'a str>,
    ids: Vec<&'a str>,
    kinds: Vec<&'a str>,
    data: Vec<&'a str>,
    created: Vec<i64>,
    state: i16,
    done_at_ms: Option<i64>,
    error: Option<&'static str>,
}

impl QueryId for InsertRows<'_> {
    type QueryId = InsertRows<'static>;
    const HAS_STATIC_QUERY_ID: bool = true;
}

impl RunQueryDsl<PgConnection> for InsertRows<'_> {}

impl QueryFragment<Pg> for InsertRows<'_> {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        use diesel::sql_types::Nullable;

        out.push_sql(
            "INSERT INTO webhook_outbox (endpoint, order_id, id, kind, data, created_at_ms, state, \
             done_at_ms, error) SELECT endpoint, order_id, id, kind, data, created_at_ms, ",
        );
        out.push_bind_param::<SmallInt, _>(&self.state)?;
        out.push_sql(", ");
        out.push_bind_param::<Nullable<BigInt>, _>(&self.done_at_ms)?;
        out.push_sql(", ");
        out.push_bind_param::<Nullable<Text>, _>(&self.error)?;
        out.push_sql(" FROM unnest(");
        for texts in [&self.endpoints, &self.orders, &self.ids, &self.kinds, &self.data] {
            out.push_bind_param::<Array<Text>, _>(texts)?;
            out.push_sql(", ");
        }
        out.push_bind_param::<Array<BigInt>, _>(&self.created)?;
        // Numbers are drawn in this order.
        out.push_sql(
            ") WITH ORDINALITY AS new (endpoint, order_id, id, kind, data, created_at_ms, place) \
             ORDER BY place",
        );
        Ok(())
    }
}
