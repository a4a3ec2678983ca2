//! `/engine.io/`: every Engine.IO message comes back. Its session also carries what `/socket.io/`
//! says.

use std::time::{Duration, Instant};

use actix::prelude::*;
use actix_http::RequestHead;
use actix_web::http::header::HeaderMap;
use bytes::Bytes;
use protocol::close::CloseCode;
use protocol::socketio::engine::{EnginePacket, PING};
use transport::engineio::{EngineHandler, HandshakeRefusal, NewSession};
use transport::{Frame, Inbound, Incoming, Outbox};

use crate::Args;

/// So much too soon a pong is missed: timers are up to two milliseconds late, and a client that
/// counts the same time as the server must not find its session alive.
const TIMER_SLACK: Duration = Duration::from_millis(4);

/// What is said inside of Engine.IO messages.
pub trait Talk: 'static {
    /// Takes a text message.
    fn text(&mut self, message: &str, outbox: &Outbox) -> Result<(), CloseCode>;
    /// Takes a binary message.
    fn binary(&mut self, data: Bytes, outbox: &Outbox) -> Result<(), CloseCode>;
}

/// The host of `/engine.io/`.
pub struct Echoes {
    ping_interval: Duration,
    pong_timeout: Duration,
}

/// Says what it hears.
struct Echo;

/// One connected client.
pub struct Session<T> {
    outbox: Outbox,
    /// Taken when the actor starts: its context reads it from then on.
    inbound: Option<Inbound>,
    talk: T,
    ping_interval: Duration,
    pong_timeout: Duration,
    /// When the next ping is due.
    next_ping: Instant,
    /// When the answer to the last ping is missed; none when it has come.
    missed: Option<Instant>,
}

// === impl Echoes ===

impl Echoes {
    pub fn new(args: &Args) -> Self {
        Self { ping_interval: args.ping_interval(), pong_timeout: args.pong_timeout() }
    }

    /// Begins a session.
    pub fn begin<T: Talk + Unpin>(&self, new_session: NewSession, talk: T) {
        // Nobody logs in here: whoever comes is welcome to keep its connections.
        new_session.outbox.mark_authenticated();
        let session = Session {
            outbox: new_session.outbox,
            inbound: Some(new_session.inbound),
            talk,
            ping_interval: self.ping_interval,
            pong_timeout: self.pong_timeout,
            next_ping: Instant::now() + self.ping_interval,
            missed: None,
        };
        session.start();
    }
}

impl EngineHandler for Echoes {
    type HandshakeData = ();

    fn allows_origin(&self, _: &HeaderMap) -> bool {
        true
    }

    fn on_handshake(&self, _: &RequestHead) -> Result<(), HandshakeRefusal> {
        Ok(())
    }

    fn on_connect(&self, (): (), new_session: NewSession) {
        self.begin(new_session, Echo);
    }
}

impl Talk for Echo {
    fn text(&mut self, message: &str, outbox: &Outbox) -> Result<(), CloseCode> {
        say(outbox, |out| {
            out.push(b'4');
            out.extend_from_slice(message.as_bytes());
        });
        Ok(())
    }

    fn binary(&mut self, data: Bytes, outbox: &Outbox) -> Result<(), CloseCode> {
        // A refusal means that the connection is ending, which the stream will say.
        let _ = outbox.push(Frame::binary(|out| out.extend_from_slice(&data)));
        Ok(())
    }
}

/// Sends a text packet.
pub fn say(outbox: &Outbox, write: impl FnOnce(&mut Vec<u8>)) {
    // A refusal means that the connection is ending, which the stream will say.
    let _ = outbox.push(Frame::text(write));
}

// === impl Session ===

impl<T: Talk + Unpin> Actor for Session<T> {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        if let Some(inbound) = self.inbound.take() {
            ctx.add_stream(inbound);
        }
        self.sleep(ctx);
    }
}

impl<T: Talk + Unpin> Session<T> {
    /// Comes back when something is due.
    fn sleep(&self, ctx: &mut Context<Self>) {
        let next = self.missed.map_or(self.next_ping, |missed| missed.min(self.next_ping));
        ctx.run_later(next.saturating_duration_since(Instant::now()), Self::wake);
    }

    fn wake(&mut self, ctx: &mut Context<Self>) {
        let now = Instant::now();
        if self.missed.is_some_and(|missed| missed <= now) {
            self.outbox.hang_up(None, CloseCode::NO_PONG);
            return;
        }
        if self.next_ping <= now {
            self.outbox.ping_with(Frame::text(|out| out.extend_from_slice(PING.as_bytes())));
            let patience = self.pong_timeout.saturating_sub(TIMER_SLACK);
            self.missed.get_or_insert(self.next_ping + patience);
            self.next_ping += self.ping_interval;
        }
        self.sleep(ctx);
    }

    fn packet(&mut self, packet: &str) -> Result<(), CloseCode> {
        match EnginePacket::parse(packet) {
            Some(EnginePacket::Message(message)) => self.talk.text(message, &self.outbox),
            Some(EnginePacket::Pong(_)) => {
                self.missed = None;
                Ok(())
            }
            Some(EnginePacket::Close) => Err(CloseCode::NORMAL),
            Some(EnginePacket::Upgrade | EnginePacket::Noop) => Ok(()),
            Some(EnginePacket::Open(_) | EnginePacket::Ping(_)) | None => {
                Err(CloseCode::PROTOCOL_ERROR)
            }
        }
    }
}

impl<T: Talk + Unpin> StreamHandler<Incoming> for Session<T> {
    // When the stream ends, after a close has lingered, the actor stops: that is the default.
    fn handle(&mut self, incoming: Incoming, _: &mut Self::Context) {
        let result = match incoming {
            Incoming::Text(packet) => self.packet(&packet),
            Incoming::Binary(data) => self.talk.binary(data, &self.outbox),
            Incoming::Ping(payload) => {
                self.outbox.pong(payload);
                Ok(())
            }
            Incoming::Pong => Ok(()),
            Incoming::Close(code) => {
                self.outbox.answer_close(code);
                Ok(())
            }
            Incoming::Failed(close) => Err(close),
            Incoming::Overrun(_) => Err(CloseCode::SLOW_READER),
        };
        if let Err(close) = result {
            self.outbox.hang_up(None, close);
        }
    }
}
