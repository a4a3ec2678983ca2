//! A PostgreSQL database, a Redis, and hubs that share them.

use reqwest::Method;

use super::redis_server::RedisServer;
use super::support::{Database, Hub, HubBuilder, until};

/// What the hubs of a cluster share.
pub struct TestCluster {
    pub database: Database,
    pub redis: RedisServer,
}

impl TestCluster {
    /// An empty database and a new Redis, where there are servers for both.
    pub fn create() -> Option<Self> {
        let database = Database::postgres()?;
        let redis = RedisServer::start(&[])?;
        Some(Self { database, redis })
    }

    /// A node of this name, which does not limit how fast a test may act.
    pub fn node(&self, name: &str) -> HubBuilder {
        self.database
            .hub()
            .without_rates()
            .env("REDIS_URL", self.redis.url())
            .env("NODE_NAME", name)
            .env("DATABASE_POOL", 4)
    }

    /// This many nodes, called `node-0` and so on.
    pub fn nodes<const N: usize>(&self) -> [Hub; N] {
        std::array::from_fn(|index| self.node(&format!("node-{index}")).start())
    }
}

/// Waits until each of these nodes knows all.
pub async fn know_each_other(nodes: &[&Hub]) {
    for hub in nodes {
        until("the nodes to know each other", async || names(hub).await.len() == nodes.len()).await;
    }
}

/// The nodes that a hub knows, in the order of their starts.
pub async fn names(hub: &Hub) -> Vec<String> {
    let (status, list) = hub.admin(Method::GET, "/admin/v1/nodes").await;
    assert_eq!(status, 200, "{list}");
    let nodes = list["nodes"].as_array().expect("nodes").iter();
    nodes.map(|node| node["name"].as_str().expect("a name").to_owned()).collect()
}
