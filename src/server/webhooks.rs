//! Starts what tells webhooks.

use std::sync::{Arc, OnceLock};

use actix::Arbiter;
use tokio::sync::Notify;

use crate::actors::shared::Shared;
use crate::actors::supervisor::SupervisorHandle;
use crate::actors::webhooks::{DispatchContext, Dispatcher, WebhookFile};
use crate::config::{Config, WebhookConfig};
use crate::webhooks::outbox::{Outbox, OutboxSettings};
use crate::webhooks::unread::UnreadRules;

/// What writers and rooms tell endpoints.
pub(super) fn outbox(config: &Config, file: &WebhookFile) -> Arc<Outbox> {
    let machine = || nix::unistd::gethostname().unwrap_or_default().to_string_lossy().into_owned();
    let node = config.cluster.node_name.clone().unwrap_or_else(machine);
    let WebhookConfig { max_rows, unread_after: after, unread_repeat: repeat, .. } =
        config.webhooks;
    let unread = UnreadRules { after, repeat };
    Arc::new(Outbox::new(&file.endpoints, OutboxSettings { max_rows, unread, node }))
}

/// Starts to send what is told, on a thread of its own. `reread` asks to read the file at once.
pub(super) fn start(
    shared: &Arc<Shared>,
    supervisor: &Arc<OnceLock<Arc<SupervisorHandle>>>,
    file: WebhookFile,
    reread: Arc<Notify>,
) -> Option<Arc<Dispatcher>> {
    let (online, rooms) = (Arc::clone(supervisor), Arc::clone(supervisor));
    let context = DispatchContext {
        shared: Arc::clone(shared),
        store: shared.store.clone(),
        outbox: Arc::clone(shared.outbox.as_ref()?),
        metrics: Arc::clone(&shared.metrics),
        schedule: Arc::new(shared.config.webhooks.retry_schedule.clone()),
        concurrency: shared.config.webhooks.concurrency,
        peers: Arc::clone(&shared.peers),
        online: Box::new(move || online.get().map(|handle| handle.addr.clone().recipient())),
        rooms: Box::new(move || rooms.get().map(|handle| handle.addr.clone().recipient())),
    };
    Some(Arc::new(Dispatcher::start(context, file, reread, &Arbiter::new().handle())))
}
