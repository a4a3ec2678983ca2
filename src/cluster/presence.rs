//! Says that this node is there, every second over the bus and every two in the database, and notices
//! which others are.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{Mutex, watch};
use tokio::time::{MissedTickBehavior, interval, timeout};

use crate::actors::cluster::{Beat, BeatHeard, CutOff, NodeGone, NodeThere};
use crate::actors::shared::Shared;
use crate::actors::store::StoreError;
use crate::bus::{Event, Kind, Node, Topic};
use crate::db::nodes::{NodeRow, SeenNode};
use crate::http::Hub;
use crate::process::VERSION;
use crate::relay::beat::BeatContent;

/// How often a node beats over the bus.
const BEAT_INTERVAL: Duration = Duration::from_secs(1);
/// How often a node writes its row, and reads those of the others.
const ROW_INTERVAL: Duration = Duration::from_secs(2);
/// How long a node that stops tries to remove its row.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(1);

/// Beats until the hub stops, and forgets nodes that do not.
pub(super) async fn beat(hub: Hub, mut stopped: watch::Receiver<bool>) {
    let mut ticks = interval(BEAT_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut last, mut was_cut_off) = (Instant::now(), false);
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            _ = stopped.wait_for(|stopped| *stopped) => return,
        }
        publish(&hub.shared, own_beat(&hub.shared, false));
        let now = Instant::now();
        let is_cut_off = hub.shared.peers.has_cut_off(now);
        if is_cut_off != std::mem::replace(&mut was_cut_off, is_cut_off)
            && let Some(rooms) = hub.shared.bus_receiver.rooms()
        {
            rooms.tell(CutOff(is_cut_off));
        }
        // A node that stood still has not heard the others because of itself.
        if now - last < 2 * BEAT_INTERVAL {
            forget_gone(&hub.shared, now);
        }
        last = now;
    }
}

/// Writes this node's row until the hub stops.
pub(super) async fn write_row(hub: Hub, turn: Arc<Mutex<()>>, mut stopped: watch::Receiver<bool>) {
    let mut ticks = interval(ROW_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            _ = stopped.wait_for(|stopped| *stopped) => return,
        }
        let _turn = turn.lock().await;
        if *stopped.borrow() {
            return;
        }
        // The store logs a failure. Meanwhile the bus says who is there.
        read_rows(&hub.shared).await.ok();
    }
}

/// Writes this node's row, and reads those of the others.
///
/// # Errors
/// If the database is unavailable.
pub(super) async fn read_rows(shared: &Shared) -> Result<(), StoreError> {
    let seen = shared.store.beat(own_row(shared)).await?;
    note_rows(shared, seen, Instant::now());
    Ok(())
}

/// Says that this node stops, once nothing writes its row any more.
pub(super) async fn leave(shared: &Shared, turn: &Mutex<()>) {
    let remove = async {
        let _turn = turn.lock().await;
        shared.store.leave_cluster(shared.node.boot).await
    };
    // A row that stays counts as gone after a few seconds.
    timeout(LEAVE_TIMEOUT, remove).await.ok();
    publish(shared, own_beat(shared, true));
}

/// Notes a beat that came over the bus.
pub(super) fn hear(shared: &Shared, from: &Node, data: &[u8]) {
    let Ok(mut beat) = serde_json::from_slice::<Beat>(data) else { return };
    let (leaves, content, now) = (beat.leaves, std::mem::take(&mut beat.content), Instant::now());
    let is_news = shared.peers.heard(from, beat, now);
    shared.peers.heard_over_bus(from.boot, now);
    if let Some(rooms) = shared.bus_receiver.rooms().filter(|_| !content.is_empty()) {
        rooms.tell(BeatHeard(content));
    }
    match (is_news, leaves) {
        (true, true) => {
            log::info!(node = &*from.name; "another node has stopped");
            tell_gone(shared, from);
        }
        (true, false) => tell_new(shared, from),
        (false, _) => {}
    }
}

/// Notes the nodes that wrote their rows a moment ago.
fn note_rows(shared: &Shared, seen: Vec<SeenNode>, now: Instant) {
    for row in seen.into_iter().filter(|row| row.boot != shared.node.boot) {
        let Some(at) = now.checked_sub(row.silent_for) else { continue };
        let node = Node { name: row.name.into(), boot: row.boot };
        let beat = Beat {
            version: row.version,
            started_at: row.started,
            connections: row.connections,
            rooms: row.rooms,
            leaves: false,
            content: BeatContent::default(),
        };
        if shared.peers.heard(&node, beat, at) {
            tell_new(shared, &node);
        }
    }
}

fn forget_gone(shared: &Shared, now: Instant) {
    for node in shared.peers.take_gone(now) {
        log::warn!(node = &*node.name; "another node was not heard for five seconds");
        tell_gone(shared, &node);
    }
}

fn tell_new(shared: &Shared, node: &Node) {
    log::info!(node = &*node.name; "another node is there");
    count(shared);
    if let Some(rooms) = shared.bus_receiver.rooms() {
        rooms.tell(NodeThere(node.clone()));
    }
}

fn tell_gone(shared: &Shared, node: &Node) {
    count(shared);
    if let Some(rooms) = shared.bus_receiver.rooms() {
        rooms.tell(NodeGone(node.clone()));
    }
}

/// Counts this node too.
fn count(shared: &Shared) {
    let nodes = shared.peers.present(Instant::now()).len() + 1;
    shared.metrics.bus.nodes.set(i64::try_from(nodes).unwrap_or(i64::MAX));
}

fn publish(shared: &Shared, beat: Beat) {
    match serde_json::to_vec(&beat) {
        Ok(data) => shared.bus.publish(&Topic::All, Event::new(Kind::Beat, data)),
        Err(error) => log::error!("a beat cannot be written: {error}"),
    }
}

fn own_beat(shared: &Shared, leaves: bool) -> Beat {
    let content = shared.relay.as_ref().map(|relay| relay.beat_content());
    Beat {
        version: VERSION.to_owned(),
        started_at: shared.started_at,
        connections: shared.metrics.connections.total(),
        rooms: shared.metrics.rooms.get(),
        leaves,
        content: content.unwrap_or_default(),
    }
}

/// The row of this node, as of now.
fn own_row(shared: &Shared) -> NodeRow {
    NodeRow {
        boot: shared.node.boot,
        name: shared.node.name.as_ref().to_owned(),
        prefix: shared.config.cluster.redis_prefix.clone(),
        version: VERSION.to_owned(),
        connections: shared.metrics.connections.total(),
        rooms: shared.metrics.rooms.get(),
    }
}
