//! Bans: which user may not enter one order or the whole hub, and until when.

use diesel::prelude::*;

use super::cluster_log::{self, Added, Entry};
use super::connection::DbConnection;
use super::messages::unreadable;
use super::schema::bans;
use protocol::ids::{BootId, OrderId, UserId};
use protocol::time::Timestamp;

/// A ban of one user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ban {
    /// The order, or none for the whole hub.
    pub order_id: Option<OrderId>,
    /// The banned user.
    pub user_id: UserId,
    /// When the ban ends.
    pub until: Timestamp,
    /// What the user is told.
    pub reason: String,
}

/// The bans that hold at `now`, in no particular order.
///
/// # Errors
/// If the query fails.
pub fn list(connection: &mut DbConnection, now: Timestamp) -> QueryResult<Vec<Ban>> {
    let rows: Vec<(String, String, i64, String)> =
        bans::table.filter(bans::until_ms.gt(now.as_millis())).load(connection)?;
    rows.into_iter()
        .map(|(order, user, until_ms, reason)| {
            let order = Some(order).filter(|order| !order.is_empty());
            Ok(Ban {
                order_id: order.map(|id| OrderId::new(&id)).transpose().map_err(unreadable)?,
                user_id: UserId::new(&user).map_err(unreadable)?,
                until: Timestamp::from_millis(until_ms),
                reason,
            })
        })
        .collect()
}

/// Writes a ban in place of an earlier one of the same user and order, and deletes those that have
/// expired at `now`: a ban that ends in the past lifts one. Returns the entry by which the other nodes
/// of the author's cluster hear of it; SQLite has none.
///
/// # Errors
/// If the query fails.
pub fn put(
    connection: &mut DbConnection,
    ban: &Ban,
    author: BootId,
    now: Timestamp,
) -> QueryResult<Option<Added>> {
    // Diesel has upserts only per database, so a macro writes the statement once for both.
    macro_rules! put_on {
        ($connection:expr) => {{
            let order = ban.order_id.as_ref().map_or("", OrderId::as_str);
            let changed =
                (bans::until_ms.eq(ban.until.as_millis()), bans::reason.eq(ban.reason.as_str()));
            diesel::insert_into(bans::table)
                .values((bans::order_id.eq(order), bans::user_id.eq(ban.user_id.as_str()), changed))
                .on_conflict((bans::order_id, bans::user_id))
                .do_update()
                .set(changed)
                .execute($connection)?;
            diesel::delete(bans::table.filter(bans::until_ms.le(now.as_millis())))
                .execute($connection)?;
        }};
    }
    match connection {
        DbConnection::Sqlite(sqlite) => sqlite.immediate_transaction(|sqlite| {
            put_on!(sqlite);
            Ok(None)
        }),
        DbConnection::Postgres(postgres) => postgres.transaction(|postgres| {
            cluster_log::lock(postgres)?;
            put_on!(postgres);
            cluster_log::add(postgres, author, &ban.entry()).map(Some)
        }),
    }
}

impl Ban {
    /// What every node carries out.
    pub fn entry(&self) -> Entry {
        Entry::Ban {
            order: self.order_id.clone(),
            user: self.user_id.clone(),
            until: self.until,
            reason: Some(self.reason.clone()).filter(|reason| !reason.is_empty()),
        }
    }
}
