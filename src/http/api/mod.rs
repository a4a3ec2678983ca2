//! `/api/v1`: what back ends set and read, and what participants may read.

mod bulk_orders;
mod caller;
mod events;
mod fix_upload;
mod forms;
mod geojson;
pub mod hook_orders;
mod idempotency;
pub(super) mod json;
mod locations;
mod messages;
mod orders;
mod trackers;
mod trail;
mod users;
mod view;

use std::sync::Arc;

pub(super) use self::orders::checked_status;
use super::Hub;
use super::calls::calls;
use super::problem::Problem;
use crate::actors::store::{
    AppliedChange, ChangeNote, ChangeOutcome, ChangeRequest, CommittedChange, Idempotent,
    OrderChange, StoreError,
};
use crate::actors::supervisor::SupervisorBarrier;
use crate::room::change::{OrderCommand, StoredState};
use protocol::error::{ErrorCode, Failure};
use protocol::ids::OrderId;
use protocol::time::Timestamp;

calls! { Calls:
    orders::{
        list, show, put, delete, set_status, assign, put_participant, remove_participant
    },
    bulk_orders::{put_all},
    events::{to_room, to_user, to_users},
    messages::{list, post},
    trail::{show},
    locations::{post_to_order, post_to_open_orders},
    trackers::{owntracks, overland, osmand, osmand_form},
    users::{revoke},
}

/// Changes an order. Returns after the change was forwarded, so members and users get it before
/// anything that is sent after the answer.
pub(super) async fn change(
    hub: &Hub,
    order: OrderId,
    command: OrderCommand,
    note: ChangeNote,
    idempotent: Option<Idempotent<AppliedChange>>,
) -> Result<Arc<CommittedChange>, Problem> {
    let changed = begin_change(hub, order, command, note, idempotent).await;
    await_forwarded(hub).await?;
    changed.map_err(store_problem).and_then(|outcome| outcome.map_err(Problem::from))
}

/// Begins to change an order. The change is admitted at once, even if the future is dropped: a
/// caller that goes away cancels nothing.
fn begin_change(
    hub: &Hub,
    order: OrderId,
    command: OrderCommand,
    note: ChangeNote,
    idempotent: Option<Idempotent<AppliedChange>>,
) -> impl Future<Output = Result<ChangeOutcome, StoreError>> + use<> {
    let shared = Arc::clone(&hub.shared);
    let decide = move |known: &StoredState, command: &OrderCommand| {
        shared.rules.decide(known, command, Timestamp::now())
    };
    let change = OrderChange { order, command, decide: Arc::new(decide), note, idempotent };
    let tell = hub.supervisor().addr.clone().recipient();
    hub.shared.store.change_order(ChangeRequest { change, tell })
}

/// Resolves when committed changes are on their way to rooms and sessions.
async fn await_forwarded(hub: &Hub) -> Result<(), Problem> {
    hub.supervisor().addr.send(SupervisorBarrier).await.map_err(|_| super::admin::hub_stopping())
}

pub(in crate::http) fn store_problem(error: StoreError) -> Problem {
    store_failure(&error).into()
}

/// The caller's view of a store's failure. The details are in the log.
fn store_failure(error: &StoreError) -> Failure {
    match error {
        StoreError::Refused(_) => {
            Failure::new(ErrorCode::Internal, "the database refused, the log says why")
        }
        _ => crate::actors::shared::unavailable("the database does not answer"),
    }
}

/// A stored answer is invalid. Only a manual change of the database can cause this.
fn unreadable_answer() -> Problem {
    Failure::new(ErrorCode::Internal, "the answer that was kept cannot be read").into()
}
