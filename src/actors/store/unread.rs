//! What `chat.unread` asks of the database.

use std::collections::BTreeMap;

use super::{CallerClass, DbConnection, LoadedOrder, Store, StoreError};
use crate::db::unread::{self, Round, UnreadUser};
use protocol::chat::ChatKind;
use protocol::ids::{OrderId, UserId};
use protocol::time::Timestamp;

/// How many of the newest messages are looked at.
const RECENT: i64 = 50;

/// An order, and how far its users are with its chat.
#[derive(Debug, Clone)]
pub struct UnreadOrder {
    /// The order with its newest messages.
    pub order: LoadedOrder,
    /// Those who take part in it, and those who joined by a token.
    pub users: BTreeMap<UserId, UnreadUser>,
}

// === impl Store ===

impl Store {
    /// Writes what is new of users, and takes orders that are to be looked at.
    ///
    /// # Errors
    /// If the store is busy or the database unavailable.
    pub async fn unread_round(&self, round: Round) -> Result<Vec<(OrderId, i64)>, StoreError> {
        let take = move |connection: &mut DbConnection| {
            unread::take_round(connection, &round, Timestamp::now())
        };
        let store = self.on_behalf_of(CallerClass::Admin);
        store.write("unread messages were not looked for", take).await
    }

    /// Reads an order, with how far all its users are, or only one of them.
    ///
    /// # Errors
    /// If the store is busy or the database unavailable.
    pub async fn unread_order(
        &self,
        order_id: OrderId,
        user: Option<UserId>,
    ) -> Result<UnreadOrder, StoreError> {
        let store = self.on_behalf_of(CallerClass::Admin);
        // Before the read: those that are written meanwhile are found by the read.
        let receipts = self.unwritten_receipts(&order_id);
        let order = store.load_order(order_id.clone(), RECENT).await?;
        let involved: Vec<UserId> = order.facts.involved_users().cloned().collect();
        let read = move |connection: &mut DbConnection| {
            let mut users = unread::users_of(connection, &order_id, user.as_ref())?;
            for one in involved.iter().filter(|one| user.as_ref().is_none_or(|user| user == *one)) {
                users.entry(one.clone()).or_default();
            }
            let ids: Vec<UserId> = users.keys().cloned().collect();
            let readers = unread::readers_among(connection, &ids)?;
            for (id, user) in &mut users {
                user.progress.reads = readers.contains(id.as_str());
            }
            Ok(users)
        };
        let mut users = store.try_read(read).await?;
        // A user who sends a message has read all before it.
        let written = order.recent.iter().filter(|message| message.kind != ChatKind::System);
        let written = written.map(|message| (&message.sender_id, message.seq));
        for (id, seq) in order.read_marks.iter().map(|(id, seq)| (id, *seq)).chain(written) {
            if let Some(UnreadUser { progress, .. }) = users.get_mut(id) {
                progress.read = progress.read.max(seq);
            }
        }
        for id in receipts {
            if let Some(user) = users.get_mut(&id) {
                user.progress.reads = true;
            }
        }
        Ok(UnreadOrder { order, users })
    }
}
