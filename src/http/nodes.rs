//! `/admin/v1/nodes`: the nodes of the cluster.

use std::sync::Arc;
use std::time::Instant;

use actix_web::web;
use serde::Serialize;
use utoipa::ToSchema;

use super::Hub;
use super::authorization::{May, ReadNode};
use super::openapi::problems::Refused;
use crate::actors::cluster::Peer;
use crate::process::VERSION;
use protocol::time::Timestamp;

/// The nodes of the cluster.
#[derive(Serialize, ToSchema)]
pub(super) struct NodeList {
    /// In the order of their starts.
    nodes: Vec<NodeView>,
}

/// A node of the cluster.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct NodeView {
    /// `NODE_NAME`, or the name of the machine and a part of the boot id.
    #[schema(value_type = String)]
    name: Arc<str>,
    /// Another one at each start.
    boot_id: String,
    /// The version of the program.
    version: String,
    /// By the node's own clock.
    started_at: Timestamp,
    /// Its open sessions.
    connections: i64,
    /// Its rooms.
    rooms: i64,
    /// How long ago it was heard, by the bus or through the database; 0 for the one that answers.
    heard_ms_ago: u64,
    /// Whether it is the one that answers.
    #[serde(rename = "self")]
    is_self: bool,
}

/// Lists the nodes of the cluster
///
/// Those that were heard within five seconds. A hub alone lists itself.
#[utoipa::path(get, path = "/admin/v1/nodes", tag = "Admin", operation_id = "list_nodes",
    security(("token" = []), ("apiKey" = ["admin:read"])),
    responses((status = 200, description = "As of now", body = NodeList), Refused))]
pub(super) async fn nodes(hub: web::Data<Hub>, _: May<ReadNode>) -> web::Json<NodeList> {
    let shared = &hub.shared;
    let own = NodeView {
        name: Arc::clone(&shared.node.name),
        boot_id: shared.node.boot.to_string(),
        version: VERSION.to_owned(),
        started_at: shared.started_at,
        connections: shared.metrics.connections.total(),
        rooms: shared.metrics.rooms.get(),
        heard_ms_ago: 0,
        is_self: true,
    };
    let others = shared.peers.present(Instant::now()).into_iter().map(NodeView::of_peer);
    let mut nodes: Vec<NodeView> = others.chain([own]).collect();
    // The beginning of a boot id is its time.
    nodes.sort_by(|one, other| one.boot_id.cmp(&other.boot_id));
    web::Json(NodeList { nodes })
}

impl NodeView {
    fn of_peer(Peer { node, beat, silent_for }: Peer) -> Self {
        Self {
            name: node.name,
            boot_id: node.boot.to_string(),
            version: beat.version,
            started_at: beat.started_at,
            connections: beat.connections,
            rooms: beat.rooms,
            heard_ms_ago: u64::try_from(silent_for.as_millis()).unwrap_or(u64::MAX),
            is_self: false,
        }
    }
}
