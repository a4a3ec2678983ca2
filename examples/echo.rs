//! The transport alone, as an echo at `/ws`: for public conformance suites and for a look at what
//! a connection costs without rooms.
//!
//! Prints the address it listens on, one line, and serves until it is killed.
#![expect(clippy::print_stdout, reason = "the address on stdout is what a test suite waits for")]

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::{Duration, Instant};

use actix::prelude::*;
use actix_codec::Framed;
use actix_http::body::BodySize;
use actix_http::header::SEC_WEBSOCKET_KEY;
use actix_http::{HttpService, Request, Response, StatusCode, h1, ws};
use actix_service::{fn_service, map_config};
use actix_web::App;
use actix_web::dev::AppConfig;
use clap::Parser;
use futures_util::SinkExt;
use orderhub::metrics::{Metrics, Vocabulary};
use orderhub::protocol::close::CloseCode;
use orderhub::transport::{
    Frame, Inbound, Incoming, Outbox, TransportOptions, accept, switching_protocols,
};
use tokio::net::TcpStream;

/// Echoes WebSocket messages at /ws.
#[derive(Parser, Debug, Clone)]
struct Args {
    /// Address to listen on; port 0 picks one
    #[arg(long, default_value = "127.0.0.1:9001")]
    bind: SocketAddr,
    /// Milliseconds between pings
    #[arg(long, default_value_t = 25_000)]
    ping_interval_ms: u64,
    /// Milliseconds that a peer has to show a sign of life after a ping
    #[arg(long, default_value_t = 20_000)]
    pong_timeout_ms: u64,
    /// The largest message, in bytes
    #[arg(long, default_value_t = 16 * 1024 * 1024)]
    max_message_bytes: usize,
}

impl Args {
    fn transport(&self) -> TransportOptions {
        let words = Vocabulary::default();
        TransportOptions {
            max_message_bytes: self.max_message_bytes,
            max_fragments: usize::MAX,
            // An echo has as much to send as its peer: room for a few of the largest messages.
            outbox_bytes: self.max_message_bytes.saturating_mul(4).saturating_add(1 << 20),
            outbox_messages: 1 << 20,
            ..TransportOptions::new(Arc::new(Metrics::new(&words)))
        }
    }
}

/// One connected client.
struct Echo {
    outbox: Outbox,
    /// Taken when the actor starts: its context reads it from then on.
    inbound: Option<Inbound>,
    ping_interval: Duration,
    pong_timeout: Duration,
    /// When the peer was last heard.
    heard: Instant,
}

impl Actor for Echo {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        if let Some(inbound) = self.inbound.take() {
            ctx.add_stream(inbound);
        }
        ctx.run_later(self.ping_interval, Self::ping);
    }
}

// === impl Echo ===

impl Echo {
    fn ping(&mut self, ctx: &mut Context<Self>) {
        self.outbox.ping();
        let pinged = Instant::now();
        ctx.run_later(self.pong_timeout, move |echo, ctx| {
            if echo.heard < pinged {
                echo.outbox.finish(None, CloseCode::NO_PONG);
            } else {
                ctx.run_later(echo.ping_interval, Self::ping);
            }
        });
    }
}

impl StreamHandler<Incoming> for Echo {
    // When the stream ends, after a close has lingered, the actor stops: that is the default.
    fn handle(&mut self, incoming: Incoming, _: &mut Self::Context) {
        self.heard = Instant::now();
        // A refusal means that the connection is ending, which the stream will say.
        let _ = match incoming {
            Incoming::Text(text) => {
                self.outbox.push(Frame::text(|out| out.extend_from_slice(text.as_bytes())))
            }
            Incoming::Binary(data) => {
                self.outbox.push(Frame::binary(|out| out.extend_from_slice(&data)))
            }
            Incoming::Ping(payload) => {
                self.outbox.pong(payload);
                Ok(())
            }
            Incoming::Pong => Ok(()),
            Incoming::Close(code) => {
                self.outbox.answer_close(code);
                Ok(())
            }
            Incoming::Failed(close) => {
                self.outbox.finish(None, close);
                Ok(())
            }
            Incoming::Overrun(_) => {
                self.outbox.finish(None, CloseCode::SLOW_READER);
                Ok(())
            }
        };
    }
}

type Socket = Framed<TcpStream, h1::Codec>;

/// Takes every request that asks for a WebSocket, whatever its path and method.
async fn upgrade(
    (request, mut socket): (Request, Socket),
    args: Arc<Args>,
    options: Arc<TransportOptions>,
) -> Result<(), actix_web::Error> {
    if request.path() != "/ws" {
        return refuse(&mut socket, Response::new(StatusCode::NOT_FOUND).drop_body()).await;
    }
    if let Err(error) = ws::verify_handshake(request.head()) {
        return refuse(&mut socket, Response::from(error).drop_body()).await;
    }
    let key =
        request.head().headers().get(SEC_WEBSOCKET_KEY).map_or(&b""[..], |key| key.as_bytes());
    let (inbound, outbox) = accept(socket, switching_protocols(key, None), &options)?;
    let echo = Echo {
        outbox,
        inbound: Some(inbound),
        ping_interval: Duration::from_millis(args.ping_interval_ms),
        pong_timeout: Duration::from_millis(args.pong_timeout_ms),
        heard: Instant::now(),
    };
    echo.start();
    Ok(())
}

async fn refuse(socket: &mut Socket, mut response: Response<()>) -> Result<(), actix_web::Error> {
    response.head_mut().set_connection_type(actix_http::ConnectionType::Close);
    Ok(socket.send(h1::Message::Item((response, BodySize::Sized(0)))).await?)
}

fn main() -> io::Result<()> {
    let args = Arc::new(Args::parse());
    let options = Arc::new(args.transport());
    let listener = TcpListener::bind(args.bind)?;
    println!("{}", listener.local_addr()?);
    System::new().block_on(async move {
        actix_server::Server::build()
            .listen("echo", listener, move || {
                let (args, options) = (Arc::clone(&args), Arc::clone(&options));
                HttpService::build()
                    .upgrade(fn_service(move |upgraded| {
                        upgrade(upgraded, Arc::clone(&args), Arc::clone(&options))
                    }))
                    .h1(map_config(App::new(), |()| AppConfig::default()))
                    .tcp()
            })?
            .run()
            .await
    })
}
