//! A batch on SQLite. A statement is a function call there, so each row has its own statement,
//! prepared once.

use std::collections::HashMap;

use diesel::prelude::*;
use diesel::sqlite::SqliteConnection;

use super::{ChatTables, LockedOrder, LockedOrders, MessageKey};
use crate::db::messages::{MessageRow, NewMessage, insert_hashes};
use crate::db::schema::{messages, orders};
use crate::db::unread;
use crate::db::webhooks::{self, NewEvent};
use crate::webhooks::outbox::Listeners;
use protocol::time::Timestamp;

impl ChatTables for SqliteConnection {
    fn lock_orders(&mut self, ids: &[&str], now: Timestamp) -> QueryResult<LockedOrders> {
        // BEGIN IMMEDIATE has locked the whole database already.
        let mut locked = HashMap::with_capacity(ids.len());
        for id in ids {
            let columns = (orders::last_seq, orders::rev, orders::deleted_at_ms, orders::purge_to);
            let found: Option<(i64, i64, Option<i64>, Option<i64>)> =
                orders::table.find(*id).select(columns).first(self).optional()?;
            let order = match found {
                Some((last_seq, rev, None, purge_to)) => LockedOrder { last_seq, rev, purge_to },
                Some((_, _, Some(_), _)) => continue,
                None => create_order(self, id, now)?,
            };
            locked.insert((*id).to_owned(), order);
        }
        Ok(locked)
    }

    fn find_keys(&mut self, keys: &[MessageKey<'_>]) -> QueryResult<Vec<MessageRow>> {
        let mut found = Vec::new();
        for (order, sender, key) in keys {
            let row = messages::table
                .filter(messages::order_id.eq(*order))
                .filter(messages::sender_id.eq(*sender))
                .filter(messages::client_msg_id.eq(*key))
                .first(self)
                .optional()?;
            found.extend(row);
        }
        Ok(found)
    }

    fn free_keys(&mut self, messages: &[(String, i64)]) -> QueryResult<()> {
        for (order, seq) in messages {
            diesel::update(messages::table.find((order, seq)))
                .set(messages::client_msg_id.eq(None::<&str>))
                .execute(self)?;
        }
        Ok(())
    }

    fn insert(&mut self, rows: &[(i64, &NewMessage)]) -> QueryResult<()> {
        for (seq, message) in rows {
            diesel::insert_into(messages::table)
                .values((
                    messages::order_id.eq(message.order_id.as_str()),
                    messages::seq.eq(*seq),
                    messages::id.eq(message.id.as_str()),
                    messages::sender_id.eq(message.sender_id.as_str()),
                    messages::sender_name.eq(message.sender_name.as_str()),
                    messages::sender_role.eq(message.sender_role.as_str()),
                    messages::kind.eq(message.kind.as_str()),
                    messages::content.eq(message.content.as_str()),
                    messages::client_msg_id.eq(message.client_msg_id.as_deref()),
                    messages::created_at_ms.eq(message.created_at.as_millis()),
                ))
                .execute(self)?;
        }
        Ok(())
    }

    fn insert_hashes(&mut self, rows: &[(i64, &NewMessage)]) -> QueryResult<()> {
        insert_hashes!(self, rows);
        Ok(())
    }

    fn set_last_seqs(&mut self, orders: &[(&str, i64)], now: Timestamp) -> QueryResult<()> {
        for (id, last_seq) in orders {
            diesel::update(orders::table.find(*id))
                .set((orders::last_seq.eq(*last_seq), orders::updated_at_ms.eq(now.as_millis())))
                .execute(self)?;
        }
        Ok(())
    }

    fn note_unread(&mut self, orders: &[&str], due: Timestamp) -> QueryResult<()> {
        let orders: Vec<_> = orders.iter().map(|order| (*order, due)).collect();
        unread::note_due_on_sqlite(self, &orders)
    }

    fn tell(
        &mut self,
        events: &[NewEvent<'_>],
        listeners: &Listeners,
        now: Timestamp,
    ) -> QueryResult<()> {
        webhooks::insert_on_sqlite(self, events, listeners, now)
    }
}

fn create_order(
    sqlite: &mut SqliteConnection,
    id: &str,
    now: Timestamp,
) -> QueryResult<LockedOrder> {
    diesel::insert_into(orders::table)
        .values((
            orders::id.eq(id),
            orders::created_at_ms.eq(now.as_millis()),
            orders::updated_at_ms.eq(now.as_millis()),
        ))
        .execute(sqlite)?;
    Ok(LockedOrder::default())
}
