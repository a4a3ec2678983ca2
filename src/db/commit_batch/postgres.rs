//! A batch on PostgreSQL. Every statement is a round trip, so each step is one statement with
//! arrays in place of rows. Its text is the same for any number of rows, so it is prepared once.

use diesel::connection::SimpleConnection;
use diesel::pg::{Pg, PgConnection};
use diesel::prelude::*;
use diesel::query_builder::{AstPass, Query, QueryFragment, QueryId};
use diesel::sql_types::{Array, BigInt, Bool, Nullable, SqlType, Text};

use super::{ChatTables, LockedOrder, LockedOrders, MessageKey};
use crate::db::messages::{MessageRow, NewMessage, insert_hashes};
use crate::db::schema::messages;
use crate::db::unread;
use crate::db::webhooks::{self, NewEvent};
use crate::webhooks::outbox::Listeners;
use protocol::time::Timestamp;

impl ChatTables for PgConnection {
    fn lock_orders(&mut self, ids: &[&str], now: Timestamp) -> QueryResult<LockedOrders> {
        let locked: Vec<LockedRow> = LockOrders { ids }.load(self)?;
        if locked.len() == ids.len() {
            return Ok(not_deleted(locked));
        }
        // If the missing rows were created now, they would be locked after rows with higher ids,
        // and two nodes could wait for each other. So the locks are released and all are taken
        // again.
        self.batch_execute("ROLLBACK AND CHAIN")?;
        Ok(not_deleted(CreateOrders { ids, now_ms: now.as_millis() }.load(self)?))
    }

    fn find_keys(&mut self, keys: &[MessageKey<'_>]) -> QueryResult<Vec<MessageRow>> {
        let mut query = FindKeys::default();
        for (order, sender, key) in keys {
            query.orders.push(*order);
            query.senders.push(*sender);
            query.keys.push(*key);
        }
        query.load(self)
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
        let column = |of: fn(&NewMessage) -> &str| rows.iter().map(|row| of(row.1)).collect();
        let query = InsertMessages {
            orders: column(|message| message.order_id.as_str()),
            seqs: rows.iter().map(|row| row.0).collect(),
            ids: column(|message| &message.id),
            senders: column(|message| message.sender_id.as_str()),
            names: column(|message| &message.sender_name),
            roles: column(|message| message.sender_role.as_str()),
            kinds: column(|message| message.kind.as_str()),
            contents: column(|message| &message.content),
            keys: rows.iter().map(|row| row.1.client_msg_id.as_deref()).collect(),
            created: rows.iter().map(|row| row.1.created_at.as_millis()).collect(),
        };
        query.execute(self).map(drop)
    }

    fn insert_hashes(&mut self, rows: &[(i64, &NewMessage)]) -> QueryResult<()> {
        insert_hashes!(self, rows);
        Ok(())
    }

    fn set_last_seqs(&mut self, orders: &[(&str, i64)], now: Timestamp) -> QueryResult<()> {
        let (ids, seqs) = orders.iter().copied().unzip();
        SetLastSeqs { ids, seqs, now_ms: now.as_millis() }.execute(self).map(drop)
    }

    fn note_unread(&mut self, orders: &[&str], due: Timestamp) -> QueryResult<()> {
        let orders: Vec<_> = orders.iter().map(|order| (*order, due)).collect();
        unread::note_due_on_postgres(self, &orders)
    }

    fn tell(
        &mut self,
        events: &[NewEvent<'_>],
        listeners: &Listeners,
        now: Timestamp,
    ) -> QueryResult<()> {
        webhooks::insert_on_postgres(self, events, listeners, now)
    }
}

/// The types of a [`LockedRow`].
type OrderColumns = (Text, BigInt, BigInt, Bool, Nullable<BigInt>);

/// An order: its id, its `last_seq`, its `rev`, whether it was deleted, its `purge_to`.
type LockedRow = (String, i64, i64, bool, Option<i64>);

fn not_deleted(rows: Vec<LockedRow>) -> LockedOrders {
    let not_deleted = rows.into_iter().filter(|(_, _, _, deleted, _)| !deleted);
    not_deleted
        .map(|(id, last_seq, rev, _, purge_to)| (id, LockedOrder { last_seq, rev, purge_to }))
        .collect()
}

/// Names a hand-written statement for Diesel's cache of prepared statements.
macro_rules! prepared {
    ($name:ident) => {
        impl QueryId for $name<'_> {
            type QueryId = $name<'static>;
            const HAS_STATIC_QUERY_ID: bool = true;
        }

        impl RunQueryDsl<PgConnection> for $name<'_> {}
    };
    ($name:ident returns $columns:ty) => {
        prepared!($name);

        impl Query for $name<'_> {
            type SqlType = $columns;
        }
    };
}

/// The common case: every order exists.
struct LockOrders<'a> {
    ids: &'a [&'a str],
}
prepared!(LockOrders returns OrderColumns);

impl QueryFragment<Pg> for LockOrders<'_> {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        out.push_sql(
            "SELECT id, last_seq, rev, deleted_at_ms IS NOT NULL, purge_to FROM orders \
             WHERE id = ANY(",
        );
        out.push_bind_param::<Array<Text>, [&str]>(self.ids)?;
        out.push_sql(") ORDER BY id FOR UPDATE");
        Ok(())
    }
}

/// Locks the orders that exist and creates the others, in one pass by id. An upsert needs an update
/// that changes nothing to lock a row and return it.
struct CreateOrders<'a> {
    ids: &'a [&'a str],
    now_ms: i64,
}
prepared!(CreateOrders returns OrderColumns);

impl QueryFragment<Pg> for CreateOrders<'_> {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        out.push_sql(
            "INSERT INTO orders (id, created_at_ms, updated_at_ms) \
             SELECT new.id, new.now_ms, new.now_ms FROM (SELECT unnest(",
        );
        out.push_bind_param::<Array<Text>, [&str]>(self.ids)?;
        out.push_sql(") AS id, ");
        out.push_bind_param::<BigInt, _>(&self.now_ms)?;
        out.push_sql(
            " AS now_ms) AS new ORDER BY new.id COLLATE \"C\" ON CONFLICT (id) DO UPDATE SET \
             last_seq = orders.last_seq RETURNING id, last_seq, rev, deleted_at_ms IS NOT NULL, \
             purge_to",
        );
        Ok(())
    }
}

/// One index lookup per key. The LIMIT keeps the planner from using a join.
#[derive(Default)]
struct FindKeys<'a> {
    orders: Vec<&'a str>,
    senders: Vec<&'a str>,
    keys: Vec<&'a str>,
}
prepared!(FindKeys returns messages::SqlType);

impl QueryFragment<Pg> for FindKeys<'_> {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        out.push_sql("SELECT m.* FROM unnest(");
        out.push_bind_param::<Array<Text>, _>(&self.orders)?;
        out.push_sql(", ");
        out.push_bind_param::<Array<Text>, _>(&self.senders)?;
        out.push_sql(", ");
        out.push_bind_param::<Array<Text>, _>(&self.keys)?;
        out.push_sql(
            ") AS wanted (order_id, sender_id, key) CROSS JOIN LATERAL (\
             SELECT order_id, seq, id, sender_id, sender_name, sender_role, kind, content, \
             client_msg_id, created_at_ms FROM messages \
             WHERE messages.order_id = wanted.order_id AND messages.sender_id = wanted.sender_id \
             AND messages.client_msg_id = wanted.key LIMIT 1) AS m",
        );
        Ok(())
    }
}

/// Rows, column by column.
struct InsertMessages<'a> {
    orders: Vec<&'a str>,
    seqs: Vec<i64>,
    ids: Vec<&'a str>,
    senders: Vec<&'a str>,
    names: Vec<&'a str>,
    roles: Vec<&'a str>,
    kinds: Vec<&'a str>,
    contents: Vec<&'a str>,
    keys: Vec<Option<&'a str>>,
    created: Vec<i64>,
}
prepared!(InsertMessages);

impl QueryFragment<Pg> for InsertMessages<'_> {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        fn bind<'b, ST, T>(out: &mut AstPass<'_, 'b, Pg>, column: &'b Vec<T>) -> QueryResult<()>
        where
            Pg: diesel::sql_types::HasSqlType<Array<ST>>,
            ST: SqlType,
            Vec<T>: diesel::serialize::ToSql<Array<ST>, Pg>,
        {
            out.push_sql(", ");
            out.push_bind_param::<Array<ST>, _>(column)
        }
        out.push_sql(
            "INSERT INTO messages (order_id, seq, id, sender_id, sender_name, sender_role, kind, \
             content, client_msg_id, created_at_ms) SELECT * FROM unnest(",
        );
        out.push_bind_param::<Array<Text>, _>(&self.orders)?;
        bind::<BigInt, _>(&mut out, &self.seqs)?;
        bind::<Text, _>(&mut out, &self.ids)?;
        bind::<Text, _>(&mut out, &self.senders)?;
        bind::<Text, _>(&mut out, &self.names)?;
        bind::<Text, _>(&mut out, &self.roles)?;
        bind::<Text, _>(&mut out, &self.kinds)?;
        bind::<Text, _>(&mut out, &self.contents)?;
        bind::<Nullable<Text>, _>(&mut out, &self.keys)?;
        bind::<BigInt, _>(&mut out, &self.created)?;
        out.push_sql(")");
        Ok(())
    }
}

/// The rows are locked already, so the order of this update does not matter. The ids are passed
/// twice: the list of ids makes even a plan from the time of an empty table use the index.
struct SetLastSeqs<'a> {
    ids: Vec<&'a str>,
    seqs: Vec<i64>,
    now_ms: i64,
}
prepared!(SetLastSeqs);

impl QueryFragment<Pg> for SetLastSeqs<'_> {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        out.push_sql("UPDATE orders SET last_seq = new.last_seq, updated_at_ms = ");
        out.push_bind_param::<BigInt, _>(&self.now_ms)?;
        out.push_sql(" FROM unnest(");
        out.push_bind_param::<Array<Text>, _>(&self.ids)?;
        out.push_sql(", ");
        out.push_bind_param::<Array<BigInt>, _>(&self.seqs)?;
        out.push_sql(") AS new (id, last_seq) WHERE orders.id = new.id AND orders.id = ANY(");
        out.push_bind_param::<Array<Text>, _>(&self.ids)?;
        out.push_sql(")");
        Ok(())
    }
}
