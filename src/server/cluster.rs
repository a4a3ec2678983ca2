//! Makes this hub a node of its cluster, or a hub alone.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::ServeError;
use crate::actors::cluster::{BusReceiver, Peers};
use crate::actors::shared::ClusterNode;
use crate::actors::store::Store;
use crate::bus::none::SingleNode;
use crate::bus::redis::{RedisBus, RedisOptions};
use crate::bus::{Bus, Node};
use crate::config::Config;
use crate::db::instance_lock::Sharing;
use crate::db::nodes::NodeRow;
use crate::metrics::Metrics;
use crate::process::VERSION;
use crate::relay::Relay;

/// How much longer than its drain a node with another prefix may take to end: one that was killed is
/// there for five seconds more.
const ENTER_MARGIN: Duration = Duration::from_secs(10);
/// How often the start looks whether nodes with another prefix have ended.
const ENTER_INTERVAL: Duration = Duration::from_millis(500);

/// Which hubs may use the database of this one.
pub(super) fn sharing(config: &Config) -> Sharing {
    if config.cluster.redis_url.is_some() { Sharing::Cluster } else { Sharing::Alone }
}

/// Connects to the other nodes, if there may be any.
///
/// # Errors
/// When the database or Redis cannot be reached or used.
pub(super) async fn join(
    config: &Config,
    metrics: &Arc<Metrics>,
    store: &Store,
    relay: Option<Arc<Relay>>,
) -> Result<ClusterNode, ServeError> {
    let node = Node::new(config.cluster.node_name.as_deref());
    let receiver = Arc::<BusReceiver>::default();
    let Some(url) = config.cluster.redis_url.clone() else {
        let bus: Arc<dyn Bus> = Arc::new(SingleNode);
        let peers = Arc::new(Peers::new(Arc::clone(&bus), false));
        return Ok(ClusterNode { bus, node, is_cluster: false, receiver, peers, relay });
    };
    let options = RedisOptions {
        url,
        ca: config.cluster.redis_ca.clone(),
        prefix: config.cluster.redis_prefix.clone(),
        cluster: store.cluster_id().await?,
        node: node.clone(),
    };
    let started = RedisBus::start(options, Arc::clone(metrics), Arc::clone(&receiver) as _).await?;
    let bus: Arc<dyn Bus> = Arc::new(started);
    enter(config, &node, store).await?;
    if let Some(relay) = &relay {
        relay.connect(Arc::clone(&bus), node.boot);
    }
    log::info!(node = &*node.name; "this hub is a node of a cluster");
    let peers = Arc::new(Peers::new(Arc::clone(&bus), true));
    Ok(ClusterNode { bus, node, is_cluster: true, receiver, peers, relay })
}

/// Writes that this node is there. Nodes with another prefix would not hear it, so it waits for
/// their end as for that of a hub that is replaced.
async fn enter(config: &Config, node: &Node, store: &Store) -> Result<(), ServeError> {
    let row = NodeRow {
        boot: node.boot,
        name: node.name.as_ref().to_owned(),
        prefix: config.cluster.redis_prefix.clone(),
        version: VERSION.to_owned(),
        connections: 0,
        rooms: 0,
    };
    let (begun, time_limit) = (Instant::now(), config.drain.drain + ENTER_MARGIN);
    let mut is_told = false;
    while let Some(other) = store.enter_cluster(row.clone()).await? {
        if begun.elapsed() >= time_limit {
            return Err(ServeError::OtherPrefix(other.name, other.prefix));
        }
        if !is_told {
            let (name, prefix) = (other.name, other.prefix);
            log::warn!("the node {name} has REDIS_PREFIX={prefix}; waiting for its end");
            is_told = true;
        }
        tokio::time::sleep(ENTER_INTERVAL).await;
    }
    Ok(())
}
