//! Orders that the back end brings along when it lets a user join.

use std::sync::{Arc, OnceLock, Weak};

use futures_util::FutureExt as _;
use serde_json::value::RawValue;

use super::forms::{AllowedValues, OrderForm};
use super::json::{FromText as _, Json};
use crate::actors::hooks::OrderWriter;
use crate::actors::shared::Shared;
use crate::actors::store::{ChangeNote, ChangeRequest, OrderChange};
use crate::actors::supervisor::{SupervisorBarrier, SupervisorHandle};
use crate::room::change::{OrderCommand, OrderPatch, StoredState};
use protocol::error::{ErrorCode, Failure};
use protocol::ids::OrderId;
use protocol::time::Timestamp;

/// Puts an order that an answer brings, as `PUT` would. It counts where the order does not exist or
/// has an older version.
pub fn order_writer(
    shared: &Arc<Shared>,
    supervisor: &Arc<OnceLock<Arc<SupervisorHandle>>>,
) -> OrderWriter {
    // The hub owns the hook that owns this.
    let (shared, supervisor) = (Arc::downgrade(shared), Arc::clone(supervisor));
    Box::new(move |order, text| {
        put(Weak::clone(&shared), Arc::clone(&supervisor), order, text)
            .map(|put| put.unwrap_or(false))
            .boxed()
    })
}

/// False if the order cannot be put; nothing if the hub is about to stop.
async fn put(
    shared: Weak<Shared>,
    supervisor: Arc<OnceLock<Arc<SupervisorHandle>>>,
    order: OrderId,
    text: Box<RawValue>,
) -> Option<bool> {
    let (shared, supervisor) = (shared.upgrade()?, supervisor.get()?);
    let patch = match read(&shared, &order, &text) {
        Ok(patch) => patch,
        Err(failure) => {
            log::warn!(order = order.as_str(); "JOIN_HOOK_URL: the order in its answer: {failure}");
            return Some(false);
        }
    };
    let rules = Arc::clone(&shared);
    let decide = move |known: &StoredState, command: &OrderCommand| {
        if is_settled(known, command) {
            return Err(Failure::new(ErrorCode::Stale, "the hub knows the order"));
        }
        rules.rules.decide(known, command, Timestamp::now())
    };
    let command = OrderCommand::Patch(patch);
    let (decide, note) = (Arc::new(decide), ChangeNote::default());
    let change = OrderChange { order, command, decide, note, idempotent: None };
    let tell = supervisor.addr.clone().recipient();
    let outcome = shared.store.change_order(ChangeRequest { change, tell }).await.ok()?;
    supervisor.addr.send(SupervisorBarrier).await.ok()?;
    Some(!matches!(outcome, Err(failure) if failure.code != ErrorCode::Stale))
}

fn read(shared: &Shared, order: &OrderId, text: &RawValue) -> Result<OrderPatch, Failure> {
    let Json(mut form) = Json::<OrderForm>::from_text(text.get().to_owned())?;
    if form.take_order().is_some_and(|named| named != *order) {
        return Err(Failure::invalid("orderId", "is another order than was asked about"));
    }
    let config = &shared.config;
    let (statuses, roles) = (config.rooms.order_statuses.as_ref(), &config.auth.role_map);
    form.patch(AllowedValues { statuses, roles })
}

/// Whether what the hub knows goes before: an order that is there and not older, and one that was
/// deleted.
fn is_settled(known: &StoredState, command: &OrderCommand) -> bool {
    let OrderCommand::Patch(OrderPatch { version, .. }) = command else { return true };
    known.facts.deleted || (known.exists && (version.is_none() || *version <= known.version))
}
