//! What the nodes of a cluster share in the database.

use super::{Store, StoreError};
use crate::db::cluster;

impl Store {
    /// The id of this database's cluster of hubs.
    ///
    /// # Errors
    /// If the store is busy or the database unavailable.
    pub async fn cluster_id(&self) -> Result<String, StoreError> {
        self.write("the cluster's id was not stored", cluster::id).await
    }
}
