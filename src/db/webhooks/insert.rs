//! Writes rows of the outbox, within the transaction of what they tell of.

use diesel::pg::Pg;
use diesel::prelude::*;
use diesel::query_builder::{AstPass, QueryFragment, QueryId};
use diesel::sql_types::{Array, BigInt, Bool, SmallInt, Text};

use super::{DEAD, NEW};
use crate::db::connection::DbConnection;
use crate::db::schema::webhook_outbox;
use crate::webhooks::event::EventKind;
use crate::webhooks::outbox::{Listener, Listeners};
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
    listeners: &Listeners,
    now: Timestamp,
) -> QueryResult<()> {
    match connection {
        DbConnection::Sqlite(sqlite) => insert_on_sqlite(sqlite, events, listeners, now),
        DbConnection::Postgres(postgres) => insert_on_postgres(postgres, events, listeners, now),
    }
}

/// The rows: an event and the endpoint that hears of it.
fn rows<'a>(
    events: &'a [NewEvent<'a>],
    listeners: &'a Listeners,
) -> impl Iterator<Item = (&'a NewEvent<'a>, &'a Listener)> {
    events
        .iter()
        .flat_map(move |event| listeners.of(event.kind).map(move |listener| (event, listener)))
}

/// As [`insert`].
///
/// # Errors
/// If the query fails.
pub fn insert_on_sqlite(
    sqlite: &mut SqliteConnection,
    events: &[NewEvent<'_>],
    listeners: &Listeners,
    now: Timestamp,
) -> QueryResult<()> {
    for (event, listener) in rows(events, listeners) {
        let (state, died) = if listener.admit_row() {
            (NEW, None)
        } else {
            (DEAD, Some((now.as_millis(), NO_ROOM)))
        };
        diesel::insert_into(webhook_outbox::table)
            .values((
                webhook_outbox::endpoint.eq(&*listener.name),
                webhook_outbox::order_id.eq(event.order),
                webhook_outbox::id.eq(&event.id),
                webhook_outbox::kind.eq(event.kind.as_str()),
                webhook_outbox::data.eq(&event.data),
                webhook_outbox::created_at_ms.eq(event.at.as_millis()),
                webhook_outbox::state.eq(state),
                webhook_outbox::done_at_ms.eq(died.map(|(at, _)| at)),
                webhook_outbox::error.eq(died.map(|(_, why)| why)),
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
    listeners: &Listeners,
    now: Timestamp,
) -> QueryResult<()> {
    let mut query = InsertRows { now_ms: now.as_millis(), ..InsertRows::default() };
    for (event, listener) in rows(events, listeners) {
        query.endpoints.push(&listener.name);
        query.dead.push(!listener.admit_row());
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
    /// Whether as many wait as may.
    dead: Vec<bool>,
    now_ms: i64,
}

impl QueryId for InsertRows<'_> {
    type QueryId = InsertRows<'static>;
    const HAS_STATIC_QUERY_ID: bool = true;
}

impl RunQueryDsl<PgConnection> for InsertRows<'_> {}

impl QueryFragment<Pg> for InsertRows<'_> {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        out.push_sql(
            "INSERT INTO webhook_outbox (endpoint, order_id, id, kind, data, created_at_ms, state, \
             done_at_ms, error) SELECT endpoint, order_id, id, kind, data, created_at_ms, \
             CASE WHEN dead THEN ",
        );
        out.push_bind_param::<SmallInt, _>(&DEAD)?;
        out.push_sql(" ELSE ");
        out.push_bind_param::<SmallInt, _>(&NEW)?;
        out.push_sql(" END, CASE WHEN dead THEN ");
        out.push_bind_param::<BigInt, _>(&self.now_ms)?;
        out.push_sql(" END, CASE WHEN dead THEN ");
        out.push_bind_param::<Text, _>(&NO_ROOM)?;
        out.push_sql(" END");
        out.push_sql(" FROM unnest(");
        for texts in [&self.endpoints, &self.orders, &self.ids, &self.kinds, &self.data] {
            out.push_bind_param::<Array<Text>, _>(texts)?;
            out.push_sql(", ");
        }
        out.push_bind_param::<Array<BigInt>, _>(&self.created)?;
        out.push_sql(", ");
        out.push_bind_param::<Array<Bool>, _>(&self.dead)?;
        // Numbers are drawn in this order.
        out.push_sql(
            ") WITH ORDINALITY AS new (endpoint, order_id, id, kind, data, created_at_ms, dead, \
             place) \
             ORDER BY place",
        );
        Ok(())
    }
}
