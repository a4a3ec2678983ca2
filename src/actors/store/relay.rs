//! What other nodes are told of what was committed, and the state of orders that rooms compare with.

use super::db_thread::DbThread;
use super::{Store, StoreError, StoredOrder};
use crate::db::commit_batch::{ChatRefusal, StoredChat};
use crate::db::orders;
use crate::relay::commits::Commit;
use protocol::ids::OrderId;

impl Store {
    /// Reads an order as it is stored, also a deleted one.
    ///
    /// # Errors
    /// If the store is busy or the database unavailable.
    pub async fn stored_order(&self, order: OrderId) -> Result<Option<StoredOrder>, StoreError> {
        self.wait_and_read(move |connection| orders::find(connection, &order)).await
    }

    /// Reads how far these orders are. Unknown ones are absent.
    ///
    /// # Errors
    /// If the store is busy or the database unavailable.
    pub async fn progress_of(&self, orders: Vec<OrderId>) -> Result<Vec<Commit>, StoreError> {
        self.wait_and_read(move |connection| orders::progress_of(connection, &orders)).await
    }
}

impl DbThread {
    /// Tells other nodes of chat. An order always has the same writer, so they are told in the order
    /// of the numbers.
    pub(super) fn relay_chat(&self, written: &[Result<StoredChat, ChatRefusal>]) {
        if let Some(relay) = &self.relay {
            written.iter().flatten().for_each(|stored| relay.chat_committed(&stored.message));
        }
    }
}
