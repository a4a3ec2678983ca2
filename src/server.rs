//! Builds the hub from store, supervisor and addresses, and stops it.

mod cluster;
mod drain;
mod limits;
mod ownership;
mod signals;
mod webhooks;

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use actix::Arbiter;
use actix_http::{HttpService, KeepAlive};
use actix_server::Server;
use actix_service::{ServiceFactoryExt as _, map_config};
use actix_web::App;
use actix_web::dev::AppConfig;
use actix_web::middleware::from_fn;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::sync::Notify;

use crate::actors::hooks::Hooks;
use crate::actors::shared::{LABEL_VALUES, Shared};
use crate::actors::store::{Revocation, Store, StoreError, StoreOptions, TrailOptions};
use crate::actors::webhooks::WebhookFile;
use crate::auth::Verifier;
use crate::bus::redis::StartError;
use crate::cluster::{Listening, NodeTasks};
use crate::config::{Config, ConfigError};
use crate::db::instance_lock::{Holder, LockError};
use crate::db::migrate::{self, MigrateError};
use crate::db::pool::DbError;
use crate::db::pooler::{self, PoolerError};
use crate::http::budget::ByteBudget;
use crate::http::connection::{
    ConnectionAcceptor, ConnectionLimits, HttpStream, ListenerKind, raw_socket,
};
use crate::http::{self, DemoLimits, Hub, RouteSet};
use crate::metrics::Metrics;
use crate::process::VERSION;
use crate::relay::Relay;
use crate::room::bans::BanScope;
use crate::webhooks::outbox::Outbox;
use ownership::DatabaseOwnership;
use protocol::time::Timestamp;
use transport::engineio::PollingSessions;
use transport::{OutboxBudget, TransportMetrics, TransportOptions};

/// Connections that the kernel queues while the hub is busy.
const BACKLOG: i32 = 4096;
/// Connections that may be accepted and not yet admitted, without those of `ADMIN_BIND`.
const MAX_UNADMITTED: usize = 128;
/// Bytes of an answer that may wait for its socket.
const WRITE_BUFFER: usize = 16 * 1024;
/// How long the start waits for the keys of a key server. The clients of the process before are
/// already reconnecting.
const KEYS_TIMEOUT: Duration = Duration::from_secs(2);
/// How often the node's rates are sampled.
const SAMPLE_INTERVAL: Duration = Duration::from_secs(5);

/// Why the hub could not run.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The address is in use, or does not belong to this machine.
    #[error("BIND_ADDR: cannot listen on {0}: {1}")]
    Bind(SocketAddr, #[source] io::Error),
    /// The database cannot be reached or brought up to date.
    #[error("DATABASE_URL: {0}")]
    Database(#[from] DbError),
    /// The database is behind a pooler that does not keep a connection's session.
    #[error("DATABASE_URL: {0}")]
    Pooler(#[from] PoolerError),
    /// The database cannot be brought up to date.
    #[error("DATABASE_URL: {0}")]
    Migrate(#[from] MigrateError),
    /// The store cannot start or be read.
    #[error("DATABASE_URL: {0}")]
    Store(#[from] StoreError),
    /// The hub could not find out whether another hub uses the database.
    #[error("DATABASE_URL: {0}")]
    Lock(#[from] LockError),
    /// Another hub uses the database, and has not ended within this many seconds; and what else can
    /// be done.
    #[error("DATABASE_URL: another hub uses this database ({0}) and has not ended within {1} s{2}")]
    InUse(Holder, u64, &'static str),
    /// The database accepts queries and has answered none for this many seconds.
    #[error("DATABASE_URL: the database has not answered within {0} s")]
    Silent(u64),
    /// Another hub has taken the database over while this one could not reach it.
    #[error("DATABASE_URL: another hub has taken this database over ({0})")]
    TakenOver(Holder),
    /// A hook is wrong.
    #[error(transparent)]
    Hook(#[from] ConfigError),
    /// A node with another prefix uses the database, which would not hear this one.
    #[error("REDIS_PREFIX: the node {0} of this database has {1}; all nodes need the same")]
    OtherPrefix(String, String),
    /// The other nodes cannot be reached.
    #[error(transparent)]
    Bus(#[from] StartError),
    /// The system refused an operation.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Runs the hub until a signal stops it and it has drained. `listening` is called once with the
/// address, when clients can connect.
///
/// # Errors
/// When the hub cannot start, or loses its database to another hub.
pub fn run(
    config: Config,
    verifier: Verifier,
    webhooks: Option<WebhookFile>,
    listening: impl FnOnce(SocketAddr, &Config),
) -> Result<(), ServeError> {
    actix_rt::System::new().block_on(async move {
        // First of all: a stop signal during the start must also end or drain the hub.
        let mut stop = pin!(signals::stop()?);
        let (keys, endpoints) = (verifier.reread(), Arc::<Notify>::default());
        let reread = Arc::clone(&endpoints);
        signals::on_hangup(move || {
            log::info!("SIGHUP: JWT_JWKS, API_KEYS_FILE and WEBHOOKS_FILE are read again");
            keys.ask();
            reread.notify_one();
        })?;
        let start = async {
            // Before the lock: behind a pooler, the lock would stay in a shared session.
            let url = config.database.url.clone();
            ownership::run_on_thread(move || pooler::check(&url)).await??;
            let lock = ownership::acquire(&config).await?;
            start_hub(config, verifier, webhooks, endpoints).await.map(|hub| (lock, hub))
        };
        let (mut lock, (hub, node_tasks)) = tokio::select! {
            started = start => started?,
            () = &mut stop => return Ok(()),
        };
        let config = &hub.shared.config;
        let mut owned = DatabaseOwnership::hold_lock(
            move || lock.acquire(),
            cluster::sharing(config),
            Arc::clone(hub.shared.store.file_guard()),
        )?;
        let (listener, address) = bind(config.server.bind)?;
        let admin = config.server.admin_bind.map(bind).transpose()?;
        let server = serve(&hub, listener, address, admin.map(|(listener, _)| listener))?;
        let handle = server.handle();
        let running = actix_rt::spawn(server);
        actix_rt::spawn(sample_and_sweep(hub.clone()));
        log::info!(version = VERSION, pid = std::process::id(); "listens on {address}");
        listening(address, config);
        let lost = tokio::select! {
            () = &mut stop => None,
            holder = owned.lost() => Some(holder),
        };
        drain::drain(&hub, node_tasks.as_ref(), handle).await;
        running.await.map_err(io::Error::other)??;
        lost.map_or(Ok(()), |holder| Err(ServeError::TakenOver(holder)))
    })
}

/// Starts what all addresses share.
async fn start_hub(
    config: Config,
    verifier: Verifier,
    file: Option<WebhookFile>,
    reread: Arc<Notify>,
) -> Result<(Hub, Option<NodeTasks>), ServeError> {
    let mut metrics = Metrics::new(&LABEL_VALUES);
    metrics.show_limits(limits::limits(&config));
    let metrics = Arc::new(metrics);
    let outbox = file.as_ref().map(|file| webhooks::outbox(&config, file));
    let relay = config.cluster.redis_url.is_some().then(Arc::<Relay>::default);
    let options = store_options(&config, outbox.clone(), relay.clone());
    verifier.watch_keys()?;
    let (url, auto_migrate) = (options.url.clone(), config.database.auto_migrate);
    let checked = ownership::run_on_thread(move || {
        if auto_migrate { migrate::bring_up_to_date(&url).map(drop) } else { migrate::check(&url) }
    });
    ownership::warn_if_slow("bringing the tables up to date", checked).await??;
    let arbiter = Arbiter::new().handle();
    let store = Store::start(&options, Arc::clone(&metrics), &arbiter)?;
    let hooks = Hooks::open(&config.hooks, &metrics)?;
    let transport = Arc::new(transport_options(&config, &metrics));
    let node = cluster::join(&config, &metrics, &store, relay).await?;
    let shared = Shared::new(config, verifier, metrics, store, outbox, hooks, node);
    let shared = Arc::new(shared);
    let listening = if shared.is_cluster { Some(Listening::begin(&shared).await?) } else { None };
    restore_bans(&shared).await?;
    for Revocation { user_id, issued_before } in shared.store.revocations().await? {
        shared.verifier.revoke(user_id, issued_before);
    }
    if let Some(settled) = shared.verifier.wait_for_keys() {
        // With the keys, no client has to connect twice. Without them the hub serves the clients
        // that it can.
        tokio::time::timeout(KEYS_TIMEOUT, settled).await.ok();
    }
    let (supervisor_handle, rates, started) = (Arc::default(), Arc::default(), Instant::now());
    let dispatcher =
        file.and_then(|file| webhooks::start(&shared, &supervisor_handle, file, reread));
    if let Some(hook) = &shared.hooks.join {
        hook.put_orders_with(http::order_writer(&shared, &supervisor_handle));
    }
    let engine_sessions = Arc::new(PollingSessions::new(http::SOCKET_IO_PATH));
    let connection_limits =
        Arc::new(ConnectionLimits::new(&shared.config, shared.connections.clone()));
    let (byte_budget, readiness) = (Arc::new(ByteBudget::new(&shared.config.http)), Arc::default());
    let hub = Hub {
        shared,
        supervisor_handle,
        transport,
        engine_sessions,
        unsupported_clients: Arc::default(),
        connection_limits,
        byte_budget,
        demo_limits: Arc::new(DemoLimits::new(started)),
        rates,
        readiness,
        dispatcher,
        follower: listening.as_ref().map(|listening| Arc::clone(&listening.follower)),
        started,
    };
    let node_tasks = listening.map(|listening| NodeTasks::start(hub.clone(), listening));
    Ok((hub, node_tasks))
}

fn store_options(
    config: &Config,
    outbox: Option<Arc<Outbox>>,
    relay: Option<Arc<Relay>>,
) -> StoreOptions {
    let (database, rooms) = (&config.database, &config.rooms);
    let trail =
        TrailOptions { interval: rooms.trail_interval, retention: rooms.location_retention };
    StoreOptions {
        url: database.url.clone(),
        sharing: cluster::sharing(config),
        pool_size: database.pool_size,
        trail,
        outbox,
        relay,
    }
}

fn transport_options(config: &Config, metrics: &Arc<Metrics>) -> TransportOptions {
    let limits = &config.limits;
    TransportOptions {
        max_message_bytes: limits.max_message_bytes,
        outbox_bytes: limits.outbox_bytes,
        outbox_messages: limits.outbox_messages,
        send_timeout: limits.send_timeout,
        io_uring: config.server.io_uring && can_use_io_uring(),
        budget: Arc::new(OutboxBudget::default()),
        metrics: TransportMetrics {
            conflated: metrics.conflated.clone(),
            outbox_bytes: metrics.outbox_bytes.clone(),
        },
        ..TransportOptions::default()
    }
}

fn can_use_io_uring() -> bool {
    match transport::check_io_uring() {
        Ok(()) => {
            log::info!("io_uring is in use: one system call writes many sockets");
            true
        }
        Err(error) => {
            log::info!("io_uring is not available ({error}): each socket is written on its own");
            false
        }
    }
}

async fn restore_bans(shared: &Shared) -> Result<(), ServeError> {
    let now = Timestamp::now();
    for ban in shared.store.bans().await? {
        let scope = ban.order_id.map_or(BanScope::Hub, BanScope::Order);
        shared.bans.insert(scope, ban.user_id, ban.until, now);
    }
    Ok(())
}

/// Listens on an address. With port 0 the system picks the port.
fn bind(address: SocketAddr) -> Result<(TcpListener, SocketAddr), ServeError> {
    let listen = || {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
        socket.set_reuse_address(true)?;
        socket.bind(&address.into())?;
        socket.listen(BACKLOG)?;
        let listener = TcpListener::from(socket);
        let bound = listener.local_addr()?;
        Ok((listener, bound))
    };
    listen().map_err(|error| ServeError::Bind(address, error))
}

/// The HTTP application of an address. A macro, because the type of an actix application with
/// middleware has no name that a function could return.
macro_rules! app {
    ($hub:expr, $listener:expr) => {{
        let app = App::new()
            .wrap(from_fn(http::head_as_get))
            .wrap(from_fn(http::refuse_escaped_paths))
            .wrap(from_fn(http::limit_call_time))
            .wrap(http::cors(&$hub.shared.config.server.allowed_origins))
            .wrap(from_fn(http::one_request_if_unauthenticated))
            .configure(http::routes(&$hub, $listener));
        map_config(app, |()| AppConfig::default())
    }};
}

/// The service of requests for a WebSocket, by the routes that they may have.
macro_rules! upgrades {
    ($routes:expr) => {{
        let app = App::new().wrap(from_fn(http::refuse_escaped_paths)).configure($routes);
        transport::upgrade_service(map_config(app, |()| AppConfig::default()), raw_socket)
    }};
}

/// The HTTP parser of an address, fed by [`ConnectionAcceptor`], which also has the timeouts.
macro_rules! parser {
    ($upgrade:expr, $app:expr) => {
        HttpService::build()
            .keep_alive(KeepAlive::Os)
            .client_request_timeout(Duration::ZERO)
            // A client that closes its side while it polls is gone: its session must learn that.
            .h1_allow_half_closed(false)
            .h1_write_buffer_size(WRITE_BUFFER)
            .on_connect_ext(|stream: &HttpStream, data| {
                data.insert(Rc::clone(stream.connection()));
            })
            .upgrade($upgrade)
            .h1($app)
    };
}

fn serve(
    hub: &Hub,
    listener: TcpListener,
    address: SocketAddr,
    admin: Option<TcpListener>,
) -> Result<Server, ServeError> {
    let kind = match admin {
        Some(_) => RouteSet::Public,
        None => RouteSet::Everything { local: address.ip().is_loopback() },
    };
    let (server, http) = (&hub.shared.config.server, &hub.shared.config.http);
    let acceptor = |listener_kind| {
        let (connection_limits, metrics) =
            (Arc::clone(&hub.connection_limits), Arc::clone(&hub.shared.metrics));
        ConnectionAcceptor::new(listener_kind, &hub.shared.config, connection_limits, metrics)
    };
    let most = http.max_connections + server.max_connections + MAX_UNADMITTED;
    let (for_clients, public) = (hub.clone(), acceptor(ListenerKind::Public));
    let mut builder = Server::build()
        .workers(server.workers)
        // As many as may be admitted, and some that are being refused. Upgraded sockets do not
        // count here; the hub counts all connections itself.
        .max_concurrent_connections(most.div_ceil(server.workers))
        // actix's handlers would cut every upgraded socket at once.
        .disable_signals()
        .shutdown_timeout(1)
        .listen("hub", listener, move || {
            // Runs on each worker's thread before it serves. The first worker gets the supervisor.
            for_clients.supervisor();
            let upgrades = upgrades!(http::client_routes(&for_clients));
            let parser = parser!(upgrades, app!(for_clients, kind));
            public.clone().serve(parser.map_err(http::count_errors(&for_clients.shared.metrics)))
        })?;
    if let Some(listener) = admin {
        let (for_admins, private) = (hub.clone(), acceptor(ListenerKind::Admin));
        builder = builder.listen("admin", listener, move || {
            let parser = parser!(upgrades!(http::not_found), app!(for_admins, RouteSet::Admin));
            private.clone().serve(parser.map_err(http::count_errors(&for_admins.shared.metrics)))
        })?;
    }
    Ok(builder.run())
}

/// Samples the node's rates, and forgets the sessions that can no longer be resumed.
async fn sample_and_sweep(hub: Hub) {
    let mut ticks = tokio::time::interval(SAMPLE_INTERVAL);
    loop {
        ticks.tick().await;
        let now = Instant::now();
        hub.rates.sample(&hub.shared, now);
        hub.shared.resumes.sweep(now);
    }
}
