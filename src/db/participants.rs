//! Who takes part in orders, and who was removed from them.

use std::collections::HashMap;

use diesel::prelude::*;

use super::connection::DbConnection;
use super::messages::unreadable;
use super::schema::{orders, participants};
use crate::ids::{OrderId, UserId};
use crate::protocol::role::Role;
use crate::room::order::{OrderFacts, ParticipantState, Participants};

/// Reads all of whom an order knows. There is a bound on how many are written.
///
/// # Errors
/// Where the query fails.
pub fn of_order(connection: &mut DbConnection, order: &str) -> QueryResult<Participants> {
    let rows: Vec<(String, String, Option<String>, bool)> = participants::table
        .filter(participants::order_id.eq(order))
        .select((
            participants::user_id,
            participants::role,
            participants::name,
            participants::removed,
        ))
        .load(connection)?;
    rows.into_iter()
        .map(|(user, role, name, removed)| {
            let user = UserId::new(&user).map_err(unreadable)?;
            // A role that a newer version has written gives no right that this one knows.
            let role = Role::from_name(&role).unwrap_or_default();
            Ok((user, ParticipantState { role, name, removed }))
        })
        .collect()
}

/// Reads of each of these orders what this user's right to be in its room depends on, and nothing
/// else. Unknown orders are absent.
///
/// # Errors
/// Where a query fails.
pub fn rights_of(
    connection: &mut DbConnection,
    of: &[OrderId],
    user: &UserId,
) -> QueryResult<HashMap<OrderId, OrderFacts>> {
    let ids = || of.iter().map(OrderId::as_str);
    let rows: Vec<(String, Option<String>, Option<i64>)> = orders::table
        .filter(orders::id.eq_any(ids()))
        .select((orders::id, orders::driver_id, orders::deleted_at_ms))
        .load(connection)?;
    let parts: Vec<(String, String, bool)> = participants::table
        .filter(participants::order_id.eq_any(ids()))
        .filter(participants::user_id.eq(user.as_str()))
        .select((participants::order_id, participants::role, participants::removed))
        .load(connection)?;
    let mut parts: HashMap<String, ParticipantState> = parts
        .into_iter()
        .map(|(order, role, removed)| {
            let role = Role::from_name(&role).unwrap_or_default();
            (order, ParticipantState { role, name: None, removed })
        })
        .collect();
    rows.into_iter()
        .map(|(id, driver_id, deleted_at)| {
            let part = parts.remove(&id).map(|standing| (user.clone(), standing));
            let facts = OrderFacts {
                driver_id: driver_id.map(|id| UserId::new(&id)).transpose().map_err(unreadable)?,
                deleted: deleted_at.is_some(),
                participants: part.into_iter().collect(),
                ..OrderFacts::default()
            };
            Ok((OrderId::new(&id).map_err(unreadable)?, facts))
        })
        .collect()
}

/// Writes what has changed. The order's row is locked.
///
/// # Errors
/// Where a query fails.
pub(super) fn save(
    connection: &mut DbConnection,
    order: &OrderId,
    before: &Participants,
    after: &Participants,
) -> QueryResult<()> {
    for (user, standing) in after.all().filter(|(user, now)| before.get(user) != Some(*now)) {
        put(connection, order, user, standing)?;
    }
    // Nobody is forgotten but with the whole order.
    if after.all().next().is_none() && before.all().next().is_some() {
        diesel::delete(participants::table.filter(participants::order_id.eq(order.as_str())))
            .execute(connection)?;
    }
    Ok(())
}

fn put(
    connection: &mut DbConnection,
    order: &OrderId,
    user: &UserId,
    standing: &ParticipantState,
) -> QueryResult<()> {
    // Diesel knows upserts per database only, so the statement is spelled once and run on either.
    macro_rules! put_on {
        ($connection:expr) => {{
            let changed = (
                participants::role.eq(standing.role.as_str()),
                participants::name.eq(standing.name.as_deref()),
                participants::removed.eq(standing.removed),
            );
            diesel::insert_into(participants::table)
                .values((
                    participants::order_id.eq(order.as_str()),
                    participants::user_id.eq(user.as_str()),
                    changed,
                ))
                .on_conflict((participants::order_id, participants::user_id))
                .do_update()
                .set(changed)
                .execute($connection)
                .map(drop)
        }};
    }
    match connection {
        DbConnection::Sqlite(sqlite) => put_on!(sqlite),
        DbConnection::Postgres(postgres) => put_on!(postgres),
    }
}
