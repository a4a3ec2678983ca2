//! HTTP: upgrades to WebSocket, Engine.IO, the API for back ends and for admins with its
//! description, health and metrics, and one form of errors.

mod accept_header;
mod admin;
mod admission;
mod api;
mod authentication;
mod authorization;
mod body;
pub mod budget;
mod calls;
pub mod connection;
mod connection_errors;
mod cors;
mod decoding;
mod demo;
mod health;
mod nodes;
mod openapi;
pub mod origin;
mod path_id;
mod paths;
pub mod problem;
mod request_body;
mod request_head;
mod request_lifecycle;
pub mod rooms;
mod socketio;
pub mod stats;
mod timeouts;
mod upgrade;
mod webhooks;

use std::sync::{Arc, OnceLock};

use actix::Arbiter;
use actix_web::web::{self, ServiceConfig};

pub use self::api::hook_orders::order_writer;
use self::problem::Problem;
use crate::actors::shared::Shared;
use crate::actors::supervisor::{Supervisor, SupervisorHandle};
use crate::actors::webhooks::Dispatcher;
use crate::cluster::LogFollower;
use crate::log_once::LogOnce;
use transport::TransportOptions;
use transport::engineio::PollingSessions;

pub use connection_errors::count_errors;
pub use cors::cors;
pub use demo::DemoLimits;
pub use paths::{head_as_get, refuse_escaped_paths};
pub use request_lifecycle::one_request_if_unauthenticated;
pub use socketio::PATH as SOCKET_IO_PATH;
pub use timeouts::limit_call_time;

/// The state that the routes of one hub share.
#[derive(Clone)]
pub struct Hub {
    /// The state that all actors share.
    pub shared: Arc<Shared>,
    /// The handle of the supervisor; see [`Hub::supervisor`].
    pub supervisor_handle: Arc<OnceLock<Arc<SupervisorHandle>>>,
    /// Options of accepted sockets.
    pub transport: Arc<TransportOptions>,
    /// Engine.IO sessions that began with long-polling, by id.
    pub engine_sessions: Arc<PollingSessions>,
    /// User agents of Socket.IO clients with an unsupported version, logged once each.
    pub unsupported_clients: Arc<LogOnce>,
    /// The limits of HTTP connections.
    pub connection_limits: Arc<connection::ConnectionLimits>,
    /// The budget of bytes for requests and answers in progress.
    pub byte_budget: Arc<budget::ByteBudget>,
    /// Events per second.
    pub rates: Arc<stats::Rates>,
    /// When the database last passed a probe.
    pub readiness: Arc<health::ReadinessCache>,
    /// What the demo may still do.
    pub demo_limits: Arc<DemoLimits>,
    /// What sends webhooks, if there are any.
    pub dispatcher: Option<Arc<Dispatcher>>,
    /// How far this node has carried out the log of its cluster; none where it is alone.
    pub follower: Option<Arc<LogFollower>>,
    /// When the hub started.
    pub started: std::time::Instant,
}

impl Hub {
    /// The supervisor. It starts on the thread of the first caller, which is a worker's. So a join
    /// mostly finds supervisor, connection and room on one thread, and a hub with one worker never
    /// wakes another thread for it.
    pub fn supervisor(&self) -> &Arc<SupervisorHandle> {
        self.supervisor_handle
            .get_or_init(|| Supervisor::launch(Arc::clone(&self.shared), &Arbiter::current()))
    }

    /// The supervisor, for threads that are no worker's: none before the first worker runs.
    pub fn running_supervisor(&self) -> Option<&Arc<SupervisorHandle>> {
        self.supervisor_handle.get()
    }
}

/// Which routes an address serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RouteSet {
    /// All routes. Operation (`/metrics`, `/docs`) needs no token on loopback only.
    Everything {
        /// Whether the address is a loopback address.
        local: bool,
    },
    /// Clients and back ends; operation has an address of its own.
    Public,
    /// Operation: `/admin`, `/metrics` and the API's description.
    Admin,
}

impl RouteSet {
    /// Whether `/metrics` and `/docs` need no token at this address.
    fn is_open_to_operators(self) -> bool {
        matches!(self, Self::Everything { local: true } | Self::Admin)
    }
}

/// The routes of client connections: requests for a WebSocket have these alone.
pub fn client_routes(hub: &Hub) -> impl FnOnce(&mut ServiceConfig) + use<> {
    let hub = hub.clone();
    move |config| {
        let engine = Arc::new(socketio::engine(&hub));
        config
            .app_data(web::Data::new(hub))
            .service(web::resource("/ws").to(upgrade::serve))
            .configure(engine.routes())
            .configure(not_found);
    }
}

/// Answers every path that has no route.
pub fn not_found(config: &mut ServiceConfig) {
    config.default_service(web::to(|| async { Problem::not_found() }));
}

/// The routes of an address.
pub fn routes(hub: &Hub, route_set: RouteSet) -> impl FnOnce(&mut ServiceConfig) + use<> {
    let hub = hub.clone();
    move |config| {
        if route_set != RouteSet::Admin {
            config.configure(client_routes(&hub)).configure(api::Calls::register);
            if hub.shared.config.serves_demo() {
                config.configure(demo::routes);
            }
        }
        config
            .app_data(web::Data::new(hub))
            .app_data(web::Data::new(route_set))
            .app_data(web::PayloadConfig::new(body::MAX_BODY))
            .app_data(problem::query_config())
            .app_data(problem::path_config())
            .configure(health::Probes::register)
            .configure(not_found);
        if route_set != RouteSet::Public {
            config
                .configure(health::MetricsCall::register)
                .configure(openapi::routes)
                .configure(admin::Calls::register);
        }
    }
}
