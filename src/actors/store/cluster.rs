//! What the nodes of a cluster share in the database. It is read and written as on behalf of an admin,
//! so that it does not wait behind users.

use super::{CallerClass, DbConnection, Store, StoreError};
use crate::db::cluster;
use crate::db::cluster_log::{self, LogPage};
use crate::db::nodes::{self, NodeRow, SeenNode};
use protocol::ids::BootId;

impl Store {
    /// The id of this database's cluster of hubs.
    ///
    /// # Errors
    /// If the store is busy or the database unavailable.
    pub async fn cluster_id(&self) -> Result<String, StoreError> {
        self.write("the cluster's id was not stored", cluster::id).await
    }

    /// Writes the first row of this node, unless a node is there that has another prefix; that one
    /// is returned.
    ///
    /// # Errors
    /// If the store is busy or the database unavailable.
    pub async fn enter_cluster(&self, node: NodeRow) -> Result<Option<SeenNode>, StoreError> {
        let enter = move |connection: &mut DbConnection| nodes::enter(connection, &node);
        self.write("the node was not written", enter).await
    }

    /// Writes that this node is there, and reads which nodes are.
    ///
    /// # Errors
    /// If the store is busy or the database unavailable.
    pub async fn beat(&self, node: NodeRow) -> Result<Vec<SeenNode>, StoreError> {
        let beat = move |connection: &mut DbConnection| {
            nodes::write(connection, &node)?;
            nodes::list(connection)
        };
        self.on_behalf_of(CallerClass::Admin).write("the node was not written", beat).await
    }

    /// Removes the row of this node, which stops.
    ///
    /// # Errors
    /// If the store is busy or the database unavailable.
    pub async fn leave_cluster(&self, boot: BootId) -> Result<(), StoreError> {
        let leave = move |connection: &mut DbConnection| nodes::leave(connection, boot);
        self.on_behalf_of(CallerClass::Admin).write("the node was not removed", leave).await
    }

    /// The number of the last entry of the cluster's log.
    ///
    /// # Errors
    /// If the store is busy or the database unavailable.
    pub async fn last_log_entry(&self) -> Result<i64, StoreError> {
        self.try_read(cluster_log::last).await
    }

    /// The first rows of the cluster's log after a number.
    ///
    /// # Errors
    /// If the store is busy or the database unavailable.
    pub async fn log_after(&self, id: i64) -> Result<LogPage, StoreError> {
        let read = move |connection: &mut DbConnection| cluster_log::after(connection, id);
        self.on_behalf_of(CallerClass::Admin).try_read(read).await
    }
}
