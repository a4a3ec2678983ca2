//! HTTP: the upgrade to WebSocket, Engine.IO, the back ends' and the admin API with its description,
//! health and metrics; and one form for errors.

mod accept;
mod access;
mod admin;
mod api;
mod body;
pub mod budget;
pub mod connection;
mod connection_errors;
mod cors;
pub mod engineio;
mod exact;
mod health;
mod openapi;
mod origin;
mod paths;
mod patience;
pub mod problem;
mod request_body;
mod rooms;
mod serving;
mod socketio;
pub mod upgrade;

use std::sync::{Arc, OnceLock};

use actix::Arbiter;
use actix_web::web::{self, ServiceConfig};

use self::problem::Problem;
use crate::actors::shared::Shared;
use crate::actors::supervisor::{Supervisor, SupervisorHandle};
use crate::log_once::LogOnce;
use crate::transport::TransportOptions;

pub use connection_errors::count_errors;
pub use cors::cors;
pub use paths::plain_requests;
pub use patience::in_time;
pub use serving::one_request_for_strangers;
pub use socketio::PATH as SOCKET_IO_PATH;

/// What the routes of one hub work with.
#[derive(Clone)]
pub struct Hub {
    /// What all actors share.
    pub shared: Arc<Shared>,
    /// Who knows the rooms; see [`Hub::supervisor`].
    pub registry: Arc<OnceLock<Arc<SupervisorHandle>>>,
    /// How sockets are taken over.
    pub transport: Arc<TransportOptions>,
    /// The sessions of Engine.IO, each with the id that its client knows it by.
    pub engine_sessions: Arc<engineio::Sessions>,
    /// User agents of Socket.IO clients whose version is not served.
    pub unsupported_clients: Arc<LogOnce>,
    /// How many HTTP connections there may be.
    pub admission: Arc<connection::Admission>,
    /// How many bytes of requests and answers may be under way.
    pub bytes: Arc<budget::ByteBudget>,
    /// What the node does in a second.
    pub rates: Arc<crate::http::admin::Rates>,
    /// When the database last took a probe.
    pub ready: Arc<health::LastReady>,
    /// When the hub started.
    pub started: std::time::Instant,
}

impl Hub {
    /// Who knows the rooms. It runs on the thread that asks first, which is a worker's: a join
    /// then mostly finds supervisor, session and room on one thread, and a hub with one worker
    /// never wakes another for it.
    pub fn supervisor(&self) -> &Arc<SupervisorHandle> {
        self.registry
            .get_or_init(|| Supervisor::launch(Arc::clone(&self.shared), &Arbiter::current()))
    }
}

/// Which routes an address serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Listener {
    /// Everything; operation (`/metrics`, `/docs`) without a token on loopback only.
    Everything {
        /// Whether only this machine can reach it.
        local: bool,
    },
    /// Clients and back ends, where operation has an address of its own.
    Public,
    /// Operation: `/admin`, `/metrics` and the API's description.
    Admin,
}

impl Listener {
    /// Whether whoever reaches this address may see `/metrics` and `/docs`.
    fn trusts_everybody(self) -> bool {
        matches!(self, Self::Everything { local: true } | Self::Admin)
    }
}

/// The routes of an address.
pub fn routes(hub: &Hub, listener: Listener) -> impl FnOnce(&mut ServiceConfig) + use<> {
    let hub = hub.clone();
    let engine = Arc::new(socketio::engine(&hub));
    move |config| {
        config
            .app_data(web::Data::new(hub))
            .app_data(web::Data::new(listener))
            .app_data(web::PayloadConfig::new(body::MAX_BODY))
            .app_data(problem::query_config())
            .app_data(problem::path_config())
            .configure(health::routes)
            .service(web::resource("/ws").to(|| async { Problem::upgrade_required() }))
            .default_service(web::to(|| async { Problem::not_found() }));
        if listener != Listener::Admin {
            config.configure(engine.routes()).configure(api::routes);
        }
        if listener != Listener::Public {
            config
                .configure(health::metrics_route)
                .configure(openapi::routes)
                .configure(admin::routes);
        }
    }
}
