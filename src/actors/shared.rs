//! What every actor of one hub shares: settings, rights, counters, the store and the bans.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::actors::cluster::{BusReceiver, Peers};
use crate::actors::hooks::Hooks;
use crate::actors::resumes::ResumableSessions;
use crate::actors::store::{ChatWriteError, Store};
use crate::auth::{Identity, Verifier};
use crate::bus::{self, Bus, Node};
use crate::config::{Config, JoinPolicy};
use crate::metrics::{LabelValues, Metrics};
use crate::permits::Permits;
use crate::rate_limit::users::{UserLimits, UserRateTable};
use crate::relay::Relay;
use crate::room::bans::Bans;
use crate::room::fix_times::Correction;
use crate::room::order::OrderFacts;
use crate::room::policy::{Rights, Rules, Subject};
use crate::webhooks::outbox::Outbox;
use protocol::client::ClientEventName;
use protocol::close::CloseCode;
use protocol::codec::Framing;
use protocol::error::{ErrorCode, Failure};
use protocol::ids::OrderId;
use protocol::role::Role;
use protocol::server::ServerEvent;
use protocol::time::Timestamp;

/// How long a client is told to wait where the hub has no better guess.
const RETRY_AFTER: Duration = Duration::from_secs(1);
/// The shortest wait that a client is told.
const SHORTEST_WAIT: Duration = Duration::from_millis(1);
/// One in this many connections may be unauthenticated,
const UNAUTHENTICATED_SHARE: usize = 4;
/// and at least this many.
const MIN_UNAUTHENTICATED: usize = 64;

/// The share of an outbox, in bytes or in messages, above which no large reply is begun: three
/// pages of 48 KiB fit into the rest.
const FILLING: usize = 4;

/// The most bytes of events that wait for their rate, over all connections.
const MAX_BACKLOG_BYTES: usize = 64 * 1024 * 1024;

/// The parts of one hub that all threads use.
pub struct Shared {
    /// The settings.
    pub config: Config,
    /// The rules of the rights policy, from the settings.
    pub rules: Rules,
    /// Verifies tokens.
    pub verifier: Verifier,
    /// The counters.
    pub metrics: Arc<Metrics>,
    /// The store, which owns the database.
    pub store: Store,
    /// What webhooks are told, if there are any.
    pub outbox: Option<Arc<Outbox>>,
    /// What the back end is asked.
    pub hooks: Hooks,
    /// How the nodes of this cluster tell each other what happens.
    pub bus: Arc<dyn Bus>,
    /// This run of this hub.
    pub node: Node,
    /// Whether there may be other nodes.
    pub is_cluster: bool,
    /// Takes what comes over the bus.
    pub bus_receiver: Arc<BusReceiver>,
    /// Tells other nodes what happens in rooms, if there are any.
    pub relay: Option<Arc<Relay>>,
    /// The other nodes.
    pub peers: Arc<Peers>,
    /// When the hub started.
    pub started_at: Timestamp,
    /// The bans.
    pub bans: Bans,
    /// The sessions that can be resumed.
    pub resumes: ResumableSessions,
    /// The rates of each user, over all connections and HTTP.
    pub user_rates: UserRateTable,
    /// Bounds the bytes of events that wait for their rate.
    pub backlog_bytes: Permits,
    /// Held while session records are written at the end of a drain.
    pub resume_write_lock: Arc<tokio::sync::Mutex<()>>,
    /// Bounds the open connections.
    pub connections: Permits,
    /// Bounds the connections that are unauthenticated. They may take only a share, so that idle
    /// unauthenticated clients cannot use up all connections.
    pub unauthenticated: Permits,
    /// Set once, when the hub begins to drain.
    draining: AtomicBool,
    /// A chat message with this content makes its room panic. For tests, in debug builds only.
    pub panic_on: Option<String>,
}

/// This hub among the nodes of its cluster.
pub struct ClusterNode {
    /// How they tell each other what happens.
    pub bus: Arc<dyn Bus>,
    /// This run of this hub.
    pub node: Node,
    /// Whether there may be others.
    pub is_cluster: bool,
    /// Takes what comes over the bus.
    pub receiver: Arc<BusReceiver>,
    /// Tells the others what happens in rooms, if there may be any.
    pub relay: Option<Arc<Relay>>,
    /// The others.
    pub peers: Arc<Peers>,
}

// === impl Shared ===

impl Shared {
    /// The shared state of a hub with these settings.
    pub fn new(
        config: Config,
        verifier: Verifier,
        metrics: Arc<Metrics>,
        store: Store,
        outbox: Option<Arc<Outbox>>,
        hooks: Hooks,
        cluster: ClusterNode,
    ) -> Self {
        let rules = Rules {
            open: config.rooms.join_policy == JoinPolicy::Open,
            terminal_statuses: config.rooms.terminal_statuses.clone(),
            chat_open: config.rooms.chat_open,
            statuses: config.rooms.order_statuses.clone(),
            location_visible: config.rooms.location_visible_statuses.clone(),
            in_force_since: Timestamp::now(),
        };
        let user_rates = UserRateTable::new(UserLimits::new(&config.limits, Instant::now()));
        let connections = Permits::new(config.server.max_connections);
        let unauthenticated = Permits::new(max_unauthenticated(config.server.max_connections));
        // As many records as connections may be open: at a drain all of them end at once.
        let resumes =
            ResumableSessions::new(config.rooms.resume, config.server.max_connections, &metrics);
        let hook = cfg!(debug_assertions).then(|| std::env::var("ORDERHUB_TEST_PANIC_ON").ok());
        Self {
            config,
            rules,
            verifier,
            metrics,
            store,
            outbox,
            hooks,
            peers: cluster.peers,
            started_at: Timestamp::now(),
            bus: cluster.bus,
            node: cluster.node,
            is_cluster: cluster.is_cluster,
            bus_receiver: cluster.receiver,
            relay: cluster.relay,
            bans: Bans::default(),
            resumes,
            user_rates,
            backlog_bytes: Permits::new(MAX_BACKLOG_BYTES),
            resume_write_lock: Arc::default(),
            connections,
            unauthenticated,
            draining: AtomicBool::new(false),
            panic_on: hook.flatten(),
        }
    }

    /// Whether so much waits in an outbox that no large reply should be begun.
    pub fn is_filling(&self, outbox: &transport::Outbox) -> bool {
        let (backlog, limits) = (outbox.backlog(), &self.config.limits);
        backlog.bytes > limits.outbox_bytes / FILLING
            || backlog.frames > limits.outbox_messages / FILLING
    }

    /// Whether the hub is draining.
    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    /// Starts the drain: from now on no new work is accepted.
    pub fn start_draining(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    /// The rights of a user in an order with these facts:
    /// `rights_of(identity, order, facts).to(Action::Join)?`.
    pub fn rights_of<'a>(
        &'a self,
        identity: &'a Identity,
        order: &OrderId,
        facts: &'a OrderFacts,
    ) -> Rights<'a> {
        let (user, now) = (&identity.user, Timestamp::now());
        let is_removed = identity.by_hook && facts.participants.has_removed(user);
        let banned = is_removed || self.bans.from_order(user, order, now);
        let subject = Subject { user, role: identity.role, named: identity.names(order), banned };
        Rights { rules: &self.rules, order: facts, subject, now }
    }
}

/// How many of the connections may be unauthenticated.
pub fn max_unauthenticated(connections: usize) -> usize {
    (connections / UNAUTHENTICATED_SHARE).max(connections.min(MIN_UNAUTHENTICATED))
}

/// The label values of this hub's metrics.
pub const LABEL_VALUES: LabelValues = LabelValues {
    events_in: ClientEventName::NAMES,
    events_out: ServerEvent::NAMES,
    errors: ErrorCode::NAMES,
    closes: CLOSES,
    framings: Framing::NAMES,
    roles: Role::NAMES,
    time_corrections: Correction::NAMES,
    bus: bus::METRIC_LABELS,
};

/// How sessions end: the close codes of the hub, a close by the peer, and a lost connection.
const CLOSES: &[&str] = &{
    let mut reasons = ["peer_closed"; CloseCode::ALL.len() + 2];
    let mut index = 0;
    while index < CloseCode::ALL.len() {
        reasons[index] = CloseCode::ALL[index].reason;
        index += 1;
    }
    reasons[CloseCode::ALL.len() + 1] = "connection_lost";
    reasons
};

/// The index of a reason in the metrics.
pub fn close_index(reason: &str) -> usize {
    CLOSES.iter().position(|known| *known == reason).unwrap_or(usize::MAX)
}

/// A refusal because something is down or full for a moment.
pub fn unavailable(message: &'static str) -> Failure {
    Failure::unavailable(message, RETRY_AFTER)
}

/// A refusal of what exceeds the user's rate.
pub fn rate_limited(message: &'static str, wait: Duration) -> Failure {
    Failure::new(ErrorCode::RateLimited, message).retry_after(wait.max(SHORTEST_WAIT))
}

/// The refusal of a message that the back end rejects.
pub fn hook_failure(reason: Option<String>) -> Failure {
    let reason = reason.filter(|reason| !reason.is_empty());
    let reason = reason.map_or_else(|| "the message was rejected".into(), std::borrow::Cow::from);
    Failure::new(ErrorCode::Rejected, reason)
}

/// The refusal for a message that was not stored.
pub fn chat_failure(error: ChatWriteError) -> Failure {
    match error {
        ChatWriteError::Conflict => {
            Failure::new(ErrorCode::Conflict, "this clientMsgId was used with other content")
        }
        ChatWriteError::Gone => Failure::new(ErrorCode::OrderClosed, "the order was deleted"),
        ChatWriteError::Refused => {
            Failure::new(ErrorCode::InvalidPayload, "the database cannot store this message")
        }
        ChatWriteError::Outdated => unavailable("the order has just changed"),
        ChatWriteError::Unavailable => unavailable("the message could not be stored"),
    }
}
