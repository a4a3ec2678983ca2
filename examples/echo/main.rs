//! The transport and both codecs without rooms: for public conformance suites and for a look at
//! what a connection costs.
//!
//! `/ws` echoes WebSocket messages, `/engine.io/` Engine.IO messages; `/socket.io/` has the
//! namespaces `/` and `/custom`, says `auth` with the payload of a CONNECT, answers `message` with
//! `message-back` and `message-with-ack` with an ack of the same arguments.
//!
//! Prints the address it listens on, one line, and serves until it is killed.
#![expect(clippy::print_stdout, reason = "the address on stdout is what a test suite waits for")]

mod engine;
mod plain;
mod socketio;

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use actix::System;
use actix_http::{HttpService, StatusCode};
use actix_service::map_config;
use actix_web::dev::AppConfig;
use actix_web::{App, HttpRequest, HttpResponse, web};
use clap::Parser;
use orderhub::config::Origins;
use transport::engineio::{Engine, Options, PollingSessions};
use transport::{Accepted, RawSocket, TransportOptions, handshake, upgrade_service};

/// What `/ws` takes at least, in bytes: as much as conformance suites send.
const PLAIN_MESSAGE_BYTES: usize = 16 * 1024 * 1024;

/// Echoes WebSocket messages at /ws, Engine.IO at /engine.io/, Socket.IO at /socket.io/.
#[derive(Parser, Debug, Clone)]
pub struct Args {
    /// Address to listen on; port 0 picks one
    #[arg(long, default_value = "127.0.0.1:9001")]
    bind: SocketAddr,
    /// Milliseconds between pings
    #[arg(long, default_value_t = 25_000)]
    ping_interval_ms: u64,
    /// Milliseconds that a peer has to show a sign of life after a ping
    #[arg(long, default_value_t = 20_000)]
    pong_timeout_ms: u64,
    /// The largest Engine.IO message and body, in bytes; /ws takes 16 MiB even where this is less
    #[arg(long, default_value_t = 1_000_000)]
    max_message_bytes: usize,
}

impl Args {
    fn ping_interval(&self) -> Duration {
        Duration::from_millis(self.ping_interval_ms)
    }

    fn pong_timeout(&self) -> Duration {
        Duration::from_millis(self.pong_timeout_ms)
    }

    fn engine(&self) -> Options {
        Options {
            ping_interval: self.ping_interval(),
            ping_timeout: self.pong_timeout(),
            subprotocol: None,
            request_timeout: Options::DEFAULT_REQUEST_TIMEOUT,
            transport: Arc::new(transport(self.max_message_bytes)),
        }
    }
}

fn transport(max_message_bytes: usize) -> TransportOptions {
    TransportOptions {
        max_message_bytes,
        max_fragments: usize::MAX,
        // An echo has as much to send as its peer: room for a few of the largest messages.
        outbox_bytes: max_message_bytes.saturating_mul(4).saturating_add(1 << 20),
        outbox_messages: 1 << 20,
        ..TransportOptions::default()
    }
}

/// What the route of `/ws` needs.
struct Plain {
    args: Args,
    options: Arc<TransportOptions>,
}

/// Answers a request to `/ws`.
async fn serve_plain(
    request: HttpRequest,
    plain: web::Data<Plain>,
) -> Result<HttpResponse, actix_web::Error> {
    let response = handshake(&request, None)?;
    let Accepted { inbound, outbox, .. } = RawSocket::accept(&request, response, &plain.options)?;
    plain::Echo::begin(inbound, outbox, &plain.args);
    Ok(HttpResponse::new(StatusCode::SWITCHING_PROTOCOLS))
}

fn main() -> io::Result<()> {
    let args = Args::parse();
    let plain_options = Arc::new(transport(args.max_message_bytes.max(PLAIN_MESSAGE_BYTES)));
    let plain = Arc::new(Plain { args: args.clone(), options: plain_options });
    let options = args.engine();
    // One for all workers: the requests of a session come in anywhere.
    let (engines, socketios) = (
        Arc::new(PollingSessions::new("/engine.io")),
        Arc::new(PollingSessions::new("/socket.io")),
    );
    let listener = TcpListener::bind(args.bind)?;
    println!("{}", listener.local_addr()?);
    System::new().block_on(async move {
        actix_server::Server::build()
            .listen("echo", listener, move || {
                let engine =
                    Engine::new(engine::Echoes::new(&args), options.clone(), Arc::clone(&engines));
                let socketio = Engine::new(
                    socketio::Echoes::new(&args),
                    options.clone(),
                    Arc::clone(&socketios),
                );
                let (engine, socketio) = (Arc::new(engine), Arc::new(socketio));
                let app = App::new()
                    .wrap(orderhub::http::cors(&Origins::Any))
                    .configure(engine.routes())
                    .configure(socketio.routes());
                let upgrades = App::new()
                    .app_data(web::Data::from(Arc::clone(&plain)))
                    .service(web::resource("/ws").to(serve_plain))
                    .configure(engine.routes())
                    .configure(socketio.routes());
                let upgrades = map_config(upgrades, |()| AppConfig::default());
                HttpService::build()
                    // A client that ends its side of a poll's connection is gone.
                    .h1_allow_half_closed(false)
                    .upgrade(upgrade_service(upgrades, |socket| {
                        Some(RawSocket::new(socket, Box::new(())))
                    }))
                    .h1(map_config(app, |()| AppConfig::default()))
                    .tcp()
            })?
            .run()
            .await
    })
}
