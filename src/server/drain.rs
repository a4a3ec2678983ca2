//! The drain: stops the hub in an order that loses nothing.

use std::sync::Arc;
use std::time::{Duration, Instant};

use actix_server::ServerHandle;

use super::ownership;
use crate::actors::order_room::{RoomBarrier, SaveRoomState};
use crate::actors::supervisor::{DisconnectAll, GetRooms, SupervisorHandle};
use crate::cluster::NodeTasks;
use crate::http::Hub;
use protocol::close::CloseCode;
use protocol::time::Timestamp;

/// The share of `DRAIN_SECS` that chat may take when the database is slow.
const CHAT_SHARE: f64 = 0.5;
/// The share of `DRAIN_SECS` after which all sessions must have ended. The rest is for storing the
/// last positions.
const CLOSED_SHARE: f64 = 0.85;
/// The share of the remaining time over which closes are spread. The rest is for the connections to
/// end.
const CLOSING_SHARE: f64 = 0.8;
/// How often the records of closed sessions are stored during the drain, for the next process.
const SAVE_INTERVAL: Duration = Duration::from_millis(200);
/// The least time that each step of the drain gets. A step ends as soon as it is done.
const MIN_STEP: Duration = Duration::from_secs(1);

/// Stops the hub in an order that loses nothing that was acknowledged, and tells every client when
/// to come back.
pub(super) async fn drain(hub: &Hub, node_tasks: Option<&NodeTasks>, server: ServerHandle) {
    let drain = &hub.shared.config.drain;
    log::info!("draining");
    // From here on the hub is not ready, and takes no upgrades and no chat.
    hub.shared.start_draining();
    tokio::time::sleep(drain.delay).await;
    let began = Instant::now();
    let stored = step_deadline(began, drain.drain.mul_f64(CHAT_SHARE));
    run_step(stored, "storing chat", finish_chat(hub)).await;
    // Time that chat took is deducted from the time for closing sessions. So there is time to store
    // the last positions, even if a client does not read its last frames.
    let closed = step_deadline(began, drain.drain.mul_f64(CLOSED_SHARE));
    let spread = (closed - Instant::now()).mul_f64(CLOSING_SHARE);
    let end_all = DisconnectAll { close: CloseCode::RESTART, spread };
    match hub.supervisor().addr.send(end_all).await {
        Ok(count) => log::info!("closing {count} sessions"),
        Err(error) => log::error!("the supervisor is gone: {error}"),
    }
    run_step(closed, "closing sessions", wait_for_sessions(hub)).await;
    let written = step_deadline(began, drain.drain);
    run_step(written, "storing positions", persist_rooms(hub.supervisor())).await;
    run_step(written, "storing read marks", save_marks(hub)).await;
    run_step(written, "storing session records", save_sessions(hub)).await;
    if let Some(dispatcher) = &hub.dispatcher {
        run_step(written, "stopping webhooks", dispatcher.stop()).await;
    }
    if let Some(tasks) = node_tasks {
        run_step(written, "stopping the tasks of the node", tasks.stop(hub)).await;
    }
    run_step(written, "emptying the store's queue", hub.shared.store.drained()).await;
    run_step(written, "merging the write-ahead log", checkpoint_database(hub)).await;
    run_step(written, "closing the bus", close_bus(hub)).await;
    server.stop(false).await;
    log::info!("stopped");
}

/// The deadline of a step: a share of the whole, but at least `MIN_STEP` from now.
fn step_deadline(began: Instant, share: Duration) -> Instant {
    (began + share).max(Instant::now() + MIN_STEP)
}

/// Resolves when every message that a room has admitted is stored, acknowledged and sent out.
async fn finish_chat(hub: &Hub) {
    // After this, the store has every message that a room took before it saw the drain,
    settle_rooms(hub).await;
    hub.shared.store.drained().await;
    // and after this, the rooms have handled all results of the store.
    settle_rooms(hub).await;
}

/// Resolves when every room has handled all messages sent to it so far.
async fn settle_rooms(hub: &Hub) {
    let rooms = hub.supervisor().addr.send(GetRooms).await.unwrap_or_default();
    // A room that has stopped meanwhile has nothing left to handle.
    futures_util::future::join_all(rooms.iter().map(|room| room.addr.send(RoomBarrier))).await;
}

/// Runs a step of the drain until its deadline.
async fn run_step(deadline: Instant, step: &str, work: impl Future<Output = ()>) {
    if tokio::time::timeout_at(deadline.into(), work).await.is_err() {
        log::warn!("drain: {step} did not finish in time");
    }
}

/// Resolves when the last session has ended and its outbox is flushed. Unauthenticated connections
/// have nothing to lose.
async fn wait_for_sessions(hub: &Hub) {
    let mut ticks = tokio::time::interval(Duration::from_millis(20));
    let mut kept = Instant::now();
    while hub.shared.connections.taken() > hub.shared.unauthenticated.taken() {
        ticks.tick().await;
        // Clients may reach the next process before this one has closed its last session.
        if kept.elapsed() > SAVE_INTERVAL {
            save_sessions(hub).await;
            kept = Instant::now();
        }
    }
}

/// Stores the records of sessions that were just closed, for the next process. It goes on by itself
/// after its deadline; the calls run one after the other.
async fn save_sessions(hub: &Hub) {
    let (shared, turn) = (Arc::clone(&hub.shared), Arc::clone(&hub.shared.resume_write_lock));
    let keep = async move {
        let _turn = turn.lock().await;
        let records = shared.resumes.drain(Instant::now());
        let expires = Timestamp::now().plus(shared.config.rooms.resume);
        if let Err(error) = shared.store.save_resume_records(records, expires).await {
            // No stored data is lost: these clients join their rooms again.
            log::warn!(
                "cannot save session records, so these clients join their rooms again: {error}"
            );
        }
    };
    if let Err(error) = actix_rt::spawn(keep).await {
        log::error!("saving session records panicked: {error}");
    }
}

/// Stores the read marks that are not stored yet.
async fn save_marks(hub: &Hub) {
    if let Err(error) = hub.shared.store.flush_read_marks().await {
        log::warn!(
            "cannot store some read marks, so these messages count as unread again: {error}"
        );
    }
}

/// Merges the log into the database file, so that the file alone can be copied.
async fn checkpoint_database(hub: &Hub) {
    if let Err(error) = hub.shared.store.checkpoint().await {
        // Nothing is lost: the next start reads the log beside the file.
        log::warn!("cannot merge the write-ahead log into the database file: {error}");
    }
}

/// Publishes what waits for the other nodes.
async fn close_bus(hub: &Hub) {
    let bus = Arc::clone(&hub.shared.bus);
    if let Err(error) = ownership::run_on_thread(move || bus.close()).await {
        log::warn!("the other nodes may not have heard the last events: {error}");
    }
}

async fn persist_rooms(supervisor: &SupervisorHandle) {
    let rooms = supervisor.addr.send(GetRooms).await.unwrap_or_default();
    let saves = rooms.iter().map(|room| room.addr.send(SaveRoomState));
    for saved in futures_util::future::join_all(saves).await {
        if let Err(error) = saved {
            log::debug!("a room was gone before its position was saved: {error}");
        }
    }
}
