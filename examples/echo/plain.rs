//! `/ws`: every WebSocket message comes back.

use std::time::{Duration, Instant};

use actix::prelude::*;
use protocol::close::CloseCode;
use transport::{Frame, Inbound, Incoming, Outbox};

use crate::Args;

/// One connected client.
pub struct Echo {
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
    /// Begins to echo.
    pub fn begin(inbound: Inbound, outbox: Outbox, args: &Args) {
        let echo = Self {
            outbox,
            inbound: Some(inbound),
            ping_interval: args.ping_interval(),
            pong_timeout: args.pong_timeout(),
            heard: Instant::now(),
        };
        echo.start();
    }

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
