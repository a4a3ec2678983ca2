//! The participants of orders, and the users who were removed from them.

use std::collections::HashMap;

use diesel::prelude::*;

use super::connection::DbConnection;
use super::messages::unreadable;
use super::schema::{orders, participants};
use crate::room::order::{OrderFacts, ParticipantState, Participants};
use protocol::ids::{OrderId, UserId};
use protocol::role::Role;

/// Reads all participants of an order. Writers bound their number.
///
/// # Errors
/// If the query fails.
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
            // An unknown role, which a newer version may have written, gives no right.
            let role = Role::from_name(&role).unwrap_or_default();
            Ok((user, ParticipantState { role, name, removed }))
        })
        .collect()
}

/// Reads for each of these orders only what this user's right to be in its room depends on. Unknown
/// orders are absent.
///
/// # Errors
/// If a query fails.
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

/// Writes the changed participants. The order's row is locked.
///
/// # Errors
/// If a query fails.
pub(super) fn save(
    connection: &mut DbConnection,
    order: &OrderId,
    before: &Participants,
    after: &Participants,
) -> QueryResult<()> {
    for (user, standing) in after.all().filter(|(user, now)| before.get(user) != Some(*now)) {
        put(connection, order, user, standing)?;
    }
    // Participants are deleted only together with the whole order.
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
    // Diesel has upserts only per database, so a macro writes the statement once for both.
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
