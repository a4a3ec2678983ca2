//! Answers the questions of other nodes, and notes their beats and answers.

use std::sync::Arc;

use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};
use tokio::sync::mpsc;

use super::follow::LogFollower;
use super::presence;
use crate::actors::cluster::{Asked, BusBatch, Question};
use crate::actors::order_room::Announce;
use crate::actors::supervisor::{GetRoom, ListRooms, NotifyUsers};
use crate::actors::webhooks::FindOnline;
use crate::bus::{Batch, Kind, Received};
use crate::http::{Hub, rooms, stats};
use protocol::back_end::BackEndEvent;
use protocol::ids::OrderId;

/// Takes what other nodes tell this one, until the hub ends.
pub(super) async fn answer_all(
    hub: Hub,
    mut batches: mpsc::UnboundedReceiver<Batch>,
    follower: Arc<LogFollower>,
) {
    while let Some(batch) = batches.recv().await {
        // Each event by itself: a question that takes long holds only its own place.
        for (_, part) in batch.by(|event| (event.from.boot, event.number)) {
            take(&hub, part, &follower);
        }
    }
}

fn take(hub: &Hub, part: Batch, follower: &Arc<LogFollower>) {
    let Some(event) = part.events.first() else { return };
    match event.kind {
        Kind::Beat => {
            presence::hear(&hub.shared, &event.from, &event.data);
            // It also says what concerns rooms.
            if let Some(rooms) = hub.shared.bus_receiver.rooms() {
                rooms.tell(BusBatch(part));
            }
        }
        Kind::Answer => hub.shared.peers.answered(event.from.boot, &event.data),
        _ => {
            let (hub, follower) = (hub.clone(), Arc::clone(follower));
            actix_rt::spawn(async move {
                for event in &part.events {
                    reply(&hub, event, &follower).await;
                }
            });
        }
    }
}

/// Answers a question. One that cannot be answered is not: the asking node gives up after its time.
async fn reply(hub: &Hub, event: &Received, follower: &LogFollower) {
    let Ok(Asked { number, question }) = serde_json::from_slice(&event.data) else { return };
    if let Some(answer) = answer(hub, question, follower).await {
        hub.shared.peers.reply(event.from.boot, number, answer);
    }
}

async fn answer(hub: &Hub, question: Question, follower: &LogFollower) -> Option<Box<RawValue>> {
    match question {
        Question::Log(number) => json(&follower.result_of(number).await),
        Question::Online(users) => {
            json(&hub.running_supervisor()?.addr.send(FindOnline(users)).await.ok()?)
        }
        Question::NotifyUsers { users, event, data } => {
            let event = BackEndEvent::new(event, data).ok()?;
            let supervisor = hub.running_supervisor()?;
            let permit = supervisor.permits.take()?;
            json(&supervisor.addr.send(NotifyUsers { users, event, permit }).await.ok()?)
        }
        Question::Announce { order, event, data } => {
            json(&announce(hub, order, BackEndEvent::new(event, data).ok()?).await?)
        }
        Question::Stats => json(&stats::own(hub)),
        Question::Rooms { after, limit } => {
            json(&hub.running_supervisor()?.addr.send(ListRooms { after, limit }).await.ok()?)
        }
        Question::Room(order) => json(&rooms::own_room(hub, order).await.ok()?),
    }
}

async fn announce(hub: &Hub, order: OrderId, event: BackEndEvent) -> Option<usize> {
    let Some(room) = hub.running_supervisor()?.addr.send(GetRoom(order)).await.ok()? else {
        return Some(0);
    };
    let permit = room.permit()?;
    Some(room.addr.send(Announce { event, permit }).await.unwrap_or(0))
}

fn json(answer: &impl Serialize) -> Option<Box<RawValue>> {
    to_raw_value(answer).inspect_err(|error| log::error!("an answer: {error}")).ok()
}
