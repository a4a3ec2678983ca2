//! What every actor of one hub shares: settings, rights, counters, the store and the bans.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::actors::resumes::ResumableSessions;
use crate::actors::store::{ChatWriteError, Store};
use crate::auth::{Identity, Verifier};
use crate::config::{Config, JoinPolicy};
use crate::ids::OrderId;
use crate::metrics::{LabelValues, Metrics};
use crate::permits::Permits;
use crate::protocol::client::ClientEventName;
use crate::protocol::close::CloseCode;
use crate::protocol::codec::Framing;
use crate::protocol::error::{ErrorCode, Failure};
use crate::protocol::role::Role;
use crate::protocol::server::ServerEvent;
use crate::rate_limit::users::{UserLimits, UserRateTable};
use crate::room::bans::Bans;
use crate::room::fix_times::Correction;
use crate::room::order::OrderFacts;
use crate::room::policy::{Action, Rules, Subject, authorize};
use crate::time::Timestamp;
use crate::transport::Outbox;

/// What a client is told to wait where the hub has no better guess.
const RETRY_AFTER: Duration = Duration::from_secs(1);
/// A client that is told to wait is never told to wait for nothing.
const SHORTEST_WAIT: Duration = Duration::from_millis(1);
/// One in so many connections may be unauthenticated,
const UNAUTHENTICATED_SHARE: usize = 4;
/// and so many in any case.
const MIN_UNAUTHENTICATED: usize = 64;

/// The share of an outbox, in bytes or in messages, beyond which nothing is begun that fills it
/// further: three pages of 48 KiB fit into the rest.
const FILLING: usize = 4;

/// The most bytes of events that wait for their rate, over all connections.
const MAX_BACKLOG_BYTES: usize = 64 * 1024 * 1024;

/// The parts of one hub that all threads use.
pub struct Shared {
    /// The settings.
    pub config: Config,
    /// The rules of rights, from the settings.
    pub rules: Rules,
    /// Who checks tokens.
    pub verifier: Verifier,
    /// The counters.
    pub metrics: Arc<Metrics>,
    /// The database.
    pub store: Store,
    /// Who is kept out.
    pub bans: Bans,
    /// What ended sessions need to be taken up again.
    pub resumes: ResumableSessions,
    /// What each user has used of the rates, over all connections and HTTP.
    pub users: UserRateTable,
    /// The bytes of events that wait for their rate, of which there is a limit.
    pub backlog_bytes: Permits,
    /// Held while records of sessions are written at the end.
    pub resume_write_lock: Arc<tokio::sync::Mutex<()>>,
    /// Open connections, of which there is a limit.
    pub connections: Permits,
    /// Those of them that nobody uses: whose clients have not said yet who they are. They may take
    /// a share only, or whoever opens connections and says nothing would keep everybody out.
    pub unauthenticated: Permits,
    /// Set once, when the hub goes down.
    draining: AtomicBool,
    /// A chat message with this content makes its room panic. For tests, in debug builds only.
    pub panic_on: Option<String>,
}

// === impl Shared ===

impl Shared {
    /// Of a hub with these settings.
    pub fn new(config: Config, verifier: Verifier, metrics: Arc<Metrics>, store: Store) -> Self {
        let rules = Rules {
            open: config.rooms.join_policy == JoinPolicy::Open,
            terminal: config.rooms.terminal_statuses.clone(),
            chat_open: config.rooms.chat_open,
            statuses: config.rooms.order_statuses.clone(),
            location_visible: config.rooms.location_visible_statuses.clone(),
            in_force_since: Timestamp::now(),
        };
        let users = UserRateTable::new(UserLimits::new(&config.limits, Instant::now()));
        let connections = Permits::new(config.server.max_connections);
        let unauthenticated = Permits::new(max_unauthenticated(config.server.max_connections));
        // As many as may be open: at a drain all of them end at once.
        let resumes =
            ResumableSessions::new(config.rooms.resume, config.server.max_connections, &metrics);
        let hook = cfg!(debug_assertions).then(|| std::env::var("ORDERHUB_TEST_PANIC_ON").ok());
        Self {
            config,
            rules,
            verifier,
            metrics,
            store,
            bans: Bans::default(),
            resumes,
            users,
            backlog_bytes: Permits::new(MAX_BACKLOG_BYTES),
            resume_write_lock: Arc::default(),
            connections,
            unauthenticated,
            draining: AtomicBool::new(false),
            panic_on: hook.flatten(),
        }
    }

    /// Whether so much waits in an outbox that nothing should be begun which fills it further.
    pub fn is_filling(&self, outbox: &Outbox) -> bool {
        let (backlog, limits) = (outbox.backlog(), &self.config.limits);
        backlog.bytes > limits.outbox_bytes / FILLING
            || backlog.frames > limits.outbox_messages / FILLING
    }

    /// Whether the hub is going down.
    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    /// From now on nothing new begins.
    pub fn start_draining(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    /// Whether somebody may be in the room of an order, by what is known of it.
    ///
    /// # Errors
    /// As [`authorize`] says.
    pub fn may_join(
        &self,
        identity: &Identity,
        order: &OrderId,
        facts: &OrderFacts,
    ) -> Result<(), Failure> {
        authorize(&self.rules, facts, self.subject(identity, order), Action::Join, Timestamp::now())
    }

    /// A user as policy sees it.
    pub fn subject<'a>(&self, identity: &'a Identity, order: &OrderId) -> Subject<'a> {
        Subject {
            user: &identity.user,
            role: identity.role,
            named: identity.names(order),
            banned: self.bans.from_order(&identity.user, order, Timestamp::now()),
        }
    }
}

/// How many of the connections may be those of clients that have not said who they are.
pub fn max_unauthenticated(connections: usize) -> usize {
    (connections / UNAUTHENTICATED_SHARE).max(connections.min(MIN_UNAUTHENTICATED))
}

/// The words of this hub's metrics.
pub const LABEL_VALUES: LabelValues = LabelValues {
    events_in: ClientEventName::NAMES,
    events_out: ServerEvent::NAMES,
    errors: ErrorCode::NAMES,
    closes: CLOSES,
    framings: Framing::NAMES,
    roles: Role::NAMES,
    time_corrections: Correction::NAMES,
};

/// How sessions end: the hub's own reasons, and the peer's.
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

/// The place of a reason in the metrics.
pub fn close_index(reason: &str) -> usize {
    CLOSES.iter().position(|known| *known == reason).unwrap_or(usize::MAX)
}

/// Something is down or full for a moment.
pub fn unavailable(message: &'static str) -> Failure {
    Failure::unavailable(message, RETRY_AFTER)
}

/// There was more than the user's rate allows.
pub fn rate_limited(message: &'static str, wait: Duration) -> Failure {
    Failure::new(ErrorCode::RateLimited, message).retry_after(wait.max(SHORTEST_WAIT))
}

/// Why a message was not stored, for whoever wrote it.
pub fn chat_failure(error: ChatWriteError) -> Failure {
    match error {
        ChatWriteError::Conflict => {
            Failure::new(ErrorCode::Conflict, "this clientMsgId was used with other content")
        }
        ChatWriteError::Gone => Failure::new(ErrorCode::OrderClosed, "the order was deleted"),
        ChatWriteError::Refused => {
            Failure::new(ErrorCode::InvalidPayload, "the database cannot store this message")
        }
        ChatWriteError::Unavailable => unavailable("the message could not be stored"),
    }
}
