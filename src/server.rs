//! Builds the hub from store, supervisor and addresses, and stops it.

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
use actix_server::{Server, ServerHandle};
use actix_service::{ServiceFactoryExt as _, map_config};
use actix_web::App;
use actix_web::dev::AppConfig;
use actix_web::middleware::from_fn;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::sync::Notify;

use crate::actors::hooks::Hooks;
use crate::actors::order_room::{RoomBarrier, SaveRoomState};
use crate::actors::shared::{LABEL_VALUES, Shared};
use crate::actors::store::{Revocation, Store, StoreError, StoreOptions, TrailOptions};
use crate::actors::supervisor::{DisconnectAll, GetRooms, SupervisorHandle};
use crate::actors::webhooks::WebhookFile;
use crate::auth::Verifier;
use crate::config::{Config, ConfigError};
use crate::db::instance_lock::{Holder, LockError};
use crate::db::migrate::{self, MigrateError};
use crate::db::pool::DbError;
use crate::db::pooler::{self, PoolerError};
use crate::http::budget::ByteBudget;
use crate::http::connection::{
    ConnectionAcceptor, ConnectionLimits, HttpStream, ListenerKind, raw_socket,
};
use crate::http::{self, Hub, RouteSet};
use crate::metrics::Metrics;
use crate::process::VERSION;
use crate::room::bans::BanScope;
use crate::webhooks::outbox::Outbox;
use ownership::DatabaseOwnership;
use protocol::close::CloseCode;
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
/// The share of `DRAIN_SECS` that chat may take when the database is slow.
const CHAT_SHARE: f64 = 0.5;
/// The share of `DRAIN_SECS` after which all sessions must have ended. The rest is for storing the
/// last positions.
const CLOSED_SHARE: f64 = 0.85;
/// The share of the remaining time over which closes are spread. The rest is for the connections to
/// end.
const CLOSING_SHARE: f64 = 0.8;
/// How often the records of closed sessions are stored during the drain, for the next process.
const SAVE_INTERVAL: Duration = Duration::from_millis(200);
/// The least time that each step of the drain gets. A step ends as soon as it is done.
const MIN_STEP: Duration = Duration::from_secs(1);

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
    /// Another hub uses the database, and has not ended within this many seconds.
    #[error("DATABASE_URL: another hub uses this database ({0}) and has not ended within {1} s")]
    InUse(Holder, u64),
    /// The database accepts queries and has answered none for this many seconds.
    #[error("DATABASE_URL: the database has not answered within {0} s")]
    Silent(u64),
    /// Another hub has taken the database over while this one could not reach it.
    #[error("DATABASE_URL: another hub has taken this database over ({0})")]
    TakenOver(Holder),
    /// A hook is wrong.
    #[error(transparent)]
    Hook(#[from] ConfigError),
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
        let (mut lock, hub) = tokio::select! {
            started = start => started?,
            () = &mut stop => return Ok(()),
        };
        let config = &hub.shared.config;
        let mut owned = DatabaseOwnership::hold_lock(
            move || lock.acquire(),
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
        drain(&hub, handle).await;
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
) -> Result<Hub, ServeError> {
    let mut metrics = Metrics::new(&LABEL_VALUES);
    metrics.show_limits(limits::limits(&config));
    let metrics = Arc::new(metrics);
    let outbox = file.as_ref().map(|file| webhooks::outbox(&config, file));
    let options = store_options(&config, outbox.clone());
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
    let shared = Arc::new(Shared::new(config, verifier, metrics, store, outbox, hooks));
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
    Ok(Hub {
        shared,
        supervisor_handle,
        transport,
        engine_sessions,
        unsupported_clients: Arc::default(),
        connection_limits,
        byte_budget,
        rates,
        readiness,
        dispatcher,
        started,
    })
}

fn store_options(config: &Config, outbox: Option<Arc<Outbox>>) -> StoreOptions {
    let (database, rooms) = (&config.database, &config.rooms);
    let trail =
        TrailOptions { interval: rooms.trail_interval, retention: rooms.location_retention };
    StoreOptions { url: database.url.clone(), pool_size: database.pool_size, trail, outbox }
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
            log::info!("io_uring: many sockets are written by one system call");
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

/// Stops the hub in an order that loses nothing that was acknowledged, and tells every client when
/// to come back.
async fn drain(hub: &Hub, server: ServerHandle) {
    let drain = &hub.shared.config.drain;
    log::info!("draining");
    // From here on the hub is not ready, and takes no upgrades and no chat.
    hub.shared.start_draining();
    tokio::time::sleep(drain.delay).await;
    let began = Instant::now();
    run_step(step_deadline(began, drain.drain.mul_f64(CHAT_SHARE)), "chat", finish_chat(hub)).await;
    // Time that chat took is deducted from the time for closing sessions. So there is time to store
    // the last positions, even if a client does not read its last frames.
    let closed = step_deadline(began, drain.drain.mul_f64(CLOSED_SHARE));
    let spread = (closed - Instant::now()).mul_f64(CLOSING_SHARE);
    let end_all = DisconnectAll { close: CloseCode::RESTART, spread };
    match hub.supervisor().addr.send(end_all).await {
        Ok(count) => log::info!("closing {count} sessions"),
        Err(error) => log::error!("the supervisor is gone: {error}"),
    }
    run_step(closed, "sessions", wait_for_sessions(hub)).await;
    let written = step_deadline(began, drain.drain);
    run_step(written, "positions", persist_rooms(hub.supervisor())).await;
    run_step(written, "read marks", save_marks(hub)).await;
    run_step(written, "sessions to be taken up again", save_sessions(hub)).await;
    if let Some(dispatcher) = &hub.dispatcher {
        run_step(written, "webhooks", dispatcher.stop()).await;
    }
    run_step(written, "the store", hub.shared.store.drained()).await;
    run_step(written, "the database's file", checkpoint_database(hub)).await;
    server.stop(false).await;
    log::info!("stopped");
}

/// The deadline of a step: a share of the whole, but at least `MIN_STEP` from now.
fn step_deadline(began: Instant, share: Duration) -> Instant {
    (began + share).max(Instant::now() + MIN_STEP)
}

/// Resolves when every message that a room has admitted is stored, acknowledged and sent out.
async fn finish_chat(hub: &Hub) {
    // After this, the store has every message that a room took before it saw the drain,
    settle_rooms(hub).await;
    hub.shared.store.drained().await;
    // and after this, the rooms have handled all results of the store.
    settle_rooms(hub).await;
}

/// Resolves when every room has handled all messages sent to it so far.
async fn settle_rooms(hub: &Hub) {
    let rooms = hub.supervisor().addr.send(GetRooms).await.unwrap_or_default();
    // A room that has stopped meanwhile has nothing left to handle.
    futures_util::future::join_all(rooms.iter().map(|room| room.addr.send(RoomBarrier))).await;
}

/// Runs a step of the drain until its deadline.
async fn run_step(deadline: Instant, what: &str, step: impl Future<Output = ()>) {
    if tokio::time::timeout_at(deadline.into(), step).await.is_err() {
        log::warn!("the time of the drain had passed before {what} were done");
    }
}

/// Resolves when the last session has ended and its outbox is flushed. Unauthenticated connections
/// have nothing to lose.
async fn wait_for_sessions(hub: &Hub) {
    let mut ticks = tokio::time::interval(Duration::from_millis(20));
    let mut kept = Instant::now();
    while hub.shared.connections.taken() > hub.shared.unauthenticated.taken() {
        ticks.tick().await;
        // Clients may reach the next process before this one has closed its last session.
        if kept.elapsed() > SAVE_INTERVAL {
            save_sessions(hub).await;
            kept = Instant::now();
        }
    }
}

/// Stores the records of sessions that were just closed, for the next process. It goes on by itself
/// after its deadline; the calls run one after the other.
async fn save_sessions(hub: &Hub) {
    let (shared, turn) = (Arc::clone(&hub.shared), Arc::clone(&hub.shared.resume_write_lock));
    let keep = async move {
        let _turn = turn.lock().await;
        let records = shared.resumes.drain(Instant::now());
        let expires = Timestamp::now().plus(shared.config.rooms.resume);
        if let Err(error) = shared.store.save_resume_records(records, expires).await {
            // No stored data is lost: these clients join their rooms again.
            log::warn!("sessions cannot be taken up again after this: {error}");
        }
    };
    if let Err(error) = actix_rt::spawn(keep).await {
        log::error!("writing sessions to be taken up again panicked: {error}");
    }
}

/// Stores the read marks that are not stored yet.
async fn save_marks(hub: &Hub) {
    if let Err(error) = hub.shared.store.flush_read_marks().await {
        log::warn!("some of what was read is unread again after this: {error}");
    }
}

/// Merges the log into the database file, so that the file alone can be copied.
async fn checkpoint_database(hub: &Hub) {
    if let Err(error) = hub.shared.store.checkpoint().await {
        // Nothing is lost: the next start reads the log beside the file.
        log::warn!("the database's log stays beside its file: {error}");
    }
}

async fn persist_rooms(supervisor: &SupervisorHandle) {
    let rooms = supervisor.addr.send(GetRooms).await.unwrap_or_default();
    let saves = rooms.iter().map(|room| room.addr.send(SaveRoomState));
    for saved in futures_util::future::join_all(saves).await {
        if let Err(error) = saved {
            log::debug!("a room was gone before its position was saved: {error}");
        }
    }
}
