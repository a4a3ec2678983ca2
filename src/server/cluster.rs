//! Makes this hub a node of its cluster, or a hub alone.

use std::sync::Arc;

use super::ServeError;
use crate::actors::cluster::BusReceiver;
use crate::actors::shared::ClusterNode;
use crate::actors::store::Store;
use crate::bus::none::SingleNode;
use crate::bus::redis::{RedisBus, RedisOptions};
use crate::bus::{Bus, Node};
use crate::config::Config;
use crate::db::instance_lock::Sharing;
use crate::metrics::Metrics;
use crate::relay::Relay;

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
        return Ok(ClusterNode {
            bus: Arc::new(SingleNode),
            node,
            is_cluster: false,
            receiver,
            relay,
        });
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
    if let Some(relay) = &relay {
        relay.connect(Arc::clone(&bus), node.boot);
    }
    log::info!(node = &*node.name; "this hub is a node of a cluster");
    Ok(ClusterNode { bus, node, is_cluster: true, receiver, relay })
}
