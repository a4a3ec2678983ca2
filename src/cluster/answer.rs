//! Answers the questions of other nodes, and notes their beats and answers.

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};
use tokio::sync::{Semaphore, mpsc};
use tokio::time::timeout;

use super::follow::LogFollower;
use super::presence;
use crate::actors::cluster::{Asked, Question};
use crate::actors::order_room::Announce;
use crate::actors::supervisor::{GetRoom, NotifyUsers};
use crate::actors::webhooks::FindOnline;
use crate::bus::{Batch, Kind, Received};
use crate::http::{Hub, rooms, stats};
use protocol::back_end::BackEndEvent;
use protocol::ids::OrderId;

/// How long an answer may take. No node waits longer for one.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);
/// How many questions are answered at once. The nodes that ask more give up.
const MAX_QUESTIONS: usize = 256;
/// The largest answer. A larger one would keep chat waiting behind it.
const MAX_ANSWER_BYTES: usize = 256 * 1024;

/// Takes what other nodes tell this one, until the hub ends.
pub(super) async fn answer_all(
    hub: Hub,
    mut batches: mpsc::UnboundedReceiver<Batch>,
    follower: Arc<LogFollower>,
) {
    let turns = Arc::new(Semaphore::new(MAX_QUESTIONS));
    while let Some(batch) = batches.recv().await {
        for event in batch.events {
            take(&hub, event, &follower, &turns);
        }
    }
}

fn take(hub: &Hub, event: Received, follower: &Arc<LogFollower>, turns: &Arc<Semaphore>) {
    match event.kind {
        Kind::Beat => presence::hear(&hub.shared, &event.from, &event.data),
        Kind::Answer => hub.shared.peers.answered(event.from.boot, &event.data),
        _ => {
            let Ok(turn) = Arc::clone(turns).try_acquire_owned() else { return };
            let (hub, follower) = (hub.clone(), Arc::clone(follower));
            // The places of its batch are free: a question that takes long must not make the bus deaf.
            actix_rt::spawn(async move {
                reply(&hub, &event, &follower).await;
                drop(turn);
            });
        }
    }
}

/// Answers a question. One that cannot be answered in time is not: the asking node has given up.
async fn reply(hub: &Hub, event: &Received, follower: &LogFollower) {
    let Ok(Asked { number, question }) = serde_json::from_slice(&event.data) else { return };
    if let Ok(Some(answer)) = timeout(ANSWER_TIMEOUT, answer(hub, question, follower)).await
        && answer.get().len() <= MAX_ANSWER_BYTES
    {
        hub.shared.peers.reply(event.from.boot, number, answer);
    }
}

async fn answer(hub: &Hub, question: Question, follower: &LogFollower) -> Option<Box<RawValue>> {
    match question {
        Question::Log(number) => json(&follower.result_of(number).await?),
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
        Question::Rooms { after, limit, sort } => {
            json(&rooms::own_rooms(hub, after, limit, sort).await.ok()?)
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
