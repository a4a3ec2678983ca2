//! Chat in PostgreSQL.

use std::str::FromStr as _;

use chrono::{DateTime, Utc};
use deadpool_postgres::{Manager, ManagerConfig, Pool, RecyclingMethod};
use serde::Serialize;
use tokio_postgres::{NoTls, Row};
use uuid::Uuid;

use crate::auth::User;

/// As many connections as the gateway of NestJS has.
const CONNECTIONS: usize = 10;

const TABLES: &str = "
    CREATE TABLE IF NOT EXISTS orders (id text PRIMARY KEY, last_seq integer NOT NULL);
    CREATE TABLE IF NOT EXISTS messages (
        id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
        order_id text NOT NULL REFERENCES orders,
        seq integer NOT NULL,
        sender_id text NOT NULL,
        sender_name text NOT NULL,
        sender_role text NOT NULL,
        content text NOT NULL,
        type text NOT NULL,
        client_msg_id text,
        created_at timestamptz NOT NULL DEFAULT now(),
        UNIQUE (order_id, seq)
    );";

/// One statement, so one round trip and one commit: it takes the order's next number and stores the message under it.
const SAVE: &str = "
    WITH next AS (
        INSERT INTO orders (id, last_seq) VALUES ($1, 1)
        ON CONFLICT (id) DO UPDATE SET last_seq = orders.last_seq + 1
        RETURNING last_seq
    )
    INSERT INTO messages (order_id, seq, sender_id, sender_name, sender_role, content, type, client_msg_id)
    SELECT $1, last_seq, $2, $3, $4, $5, $6, $7 FROM next
    RETURNING id, seq, created_at";

const LAST_SEQ: &str = "SELECT last_seq FROM orders WHERE id = $1";

const NEWEST: &str = "
    SELECT id, order_id, seq, sender_id, sender_name, sender_role, content, type, created_at, client_msg_id
    FROM messages WHERE order_id = $1 AND seq > $2 ORDER BY seq DESC LIMIT $3";

/// A stored message.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Message {
    pub id: Uuid,
    pub order_id: String,
    pub seq: i32,
    pub sender_id: String,
    pub sender_name: String,
    pub sender_role: String,
    pub content: String,
    pub r#type: String,
    pub created_at: DateTime<Utc>,
    pub client_msg_id: Option<String>,
}

/// Why chat failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Database(#[from] tokio_postgres::Error),
    #[error(transparent)]
    Pool(#[from] deadpool_postgres::PoolError),
    #[error(transparent)]
    Build(#[from] deadpool_postgres::BuildError),
}

/// The table of messages.
pub struct Chat {
    pool: Pool,
}

impl Chat {
    pub async fn open(url: &str) -> Result<Self, Error> {
        let config = tokio_postgres::Config::from_str(url)?;
        let manager = ManagerConfig { recycling_method: RecyclingMethod::Fast };
        let manager = Manager::from_config(config, NoTls, manager);
        let pool = Pool::builder(manager).max_size(CONNECTIONS).build()?;
        pool.get().await?.batch_execute(TABLES).await?;
        Ok(Self { pool })
    }

    pub async fn save(
        &self,
        user: &User,
        order_id: String,
        content: String,
        r#type: String,
        client_msg_id: Option<String>,
    ) -> Result<Message, Error> {
        let client = self.pool.get().await?;
        let save = client.prepare_cached(SAVE).await?;
        let sender_name = user.name.as_ref().unwrap_or(&user.sub);
        let sender_role = user.role.as_deref().unwrap_or("customer");
        let row = client
            .query_one(
                &save,
                &[
                    &order_id,
                    &user.sub,
                    sender_name,
                    &sender_role,
                    &content,
                    &r#type,
                    &client_msg_id,
                ],
            )
            .await?;
        Ok(Message {
            id: row.try_get(0)?,
            order_id,
            seq: row.try_get(1)?,
            sender_id: user.sub.clone(),
            sender_name: sender_name.clone(),
            sender_role: sender_role.to_owned(),
            content,
            r#type,
            created_at: row.try_get(2)?,
            client_msg_id,
        })
    }

    /// The number of the last message, and the newest ones, ascending.
    pub async fn history(
        &self,
        order_id: &str,
        since_seq: i32,
        limit: i64,
    ) -> Result<(i32, Vec<Message>), Error> {
        let client = self.pool.get().await?;
        let last = client.prepare_cached(LAST_SEQ).await?;
        let last_seq = match client.query_opt(&last, &[&order_id]).await? {
            Some(row) => row.try_get(0)?,
            None => 0,
        };
        if limit == 0 || last_seq <= since_seq {
            return Ok((last_seq, Vec::new()));
        }
        let newest = client.prepare_cached(NEWEST).await?;
        let rows = client.query(&newest, &[&order_id, &since_seq, &limit]).await?;
        let messages = rows.iter().rev().map(read).collect::<Result<_, _>>()?;
        Ok((last_seq, messages))
    }
}

fn read(row: &Row) -> Result<Message, tokio_postgres::Error> {
    Ok(Message {
        id: row.try_get(0)?,
        order_id: row.try_get(1)?,
        seq: row.try_get(2)?,
        sender_id: row.try_get(3)?,
        sender_name: row.try_get(4)?,
        sender_role: row.try_get(5)?,
        content: row.try_get(6)?,
        r#type: row.try_get(7)?,
        created_at: row.try_get(8)?,
        client_msg_id: row.try_get(9)?,
    })
}
