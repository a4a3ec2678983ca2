//! HTTP connections around their parser: how many there may be, what they may send and when, and
//! how they end.
//!
//! A connection is admitted ([`ConnectionLimits`]). The hub waits for its first head, and only then
//! makes a parser for it. While a request is served, its body is read as its route consumes it. A
//! connection that ends is read for a short time, so that its client reads the last answer and gets
//! no reset.

mod head;
mod limits;
mod state;
mod stream;

use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Poll, ready};
use std::time::{Duration, Instant};

use actix_codec::{Framed, FramedParts};
use actix_http::h1;
use actix_service::{Service, ServiceFactory, fn_factory, fn_service};
use socket2::SockRef;
use tokio::net::TcpStream;
use tokio::time::sleep_until;

use self::state::Expired;
use super::connection_errors::{count_malformed, count_timeout};
use crate::config::Config;
use crate::metrics::Metrics;
use transport::{RawSocket, lingering_close};

pub use limits::{AddressPermit, ConnectionLimits, LimitKey, LimitReached, Requester};
pub(in crate::http) use limits::{ConnectionSlot, RequestSlot};
pub use state::{HttpConnection, Timeouts};
pub use stream::HttpStream;

/// How long a connection may stay idle between an answer and the next head.
const IDLE: Duration = Duration::from_secs(5);
/// The same for proxies, which keep few connections for many clients. It is longer than nginx keeps
/// a connection, or nginx would send a request on a closed one.
const IDLE_PROXY: Duration = Duration::from_secs(75);

/// The answer when a connection limit is reached.
const FULL_RESPONSE: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\n\
    content-type: application/problem+json\r\ncontent-length: 123\r\nretry-after: 5\r\n\
    connection: close\r\n\r\n\
    {\"type\":\"about:blank\",\"title\":\"Service Unavailable\",\"status\":503,\
    \"code\":\"unavailable\",\"detail\":\"too many HTTP connections\"}";
/// The answer to a client whose head does not come in time.
const TIMEOUT_RESPONSE: &[u8] = b"HTTP/1.1 408 Request Timeout\r\n\
    content-length: 0\r\nconnection: close\r\n\r\n";

/// The address that a connection came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ListenerKind {
    /// The clients' address.
    Public,
    /// `ADMIN_BIND`.
    Admin,
}

/// Accepts the connections of one address.
#[derive(Clone)]
pub struct ConnectionAcceptor {
    listener_kind: ListenerKind,
    connection_limits: Arc<ConnectionLimits>,
    metrics: Arc<Metrics>,
    timeouts: Timeouts,
}

// === impl ConnectionAcceptor ===

impl ConnectionAcceptor {
    /// The acceptor of an address of a hub with these settings.
    pub fn new(
        listener_kind: ListenerKind,
        config: &Config,
        connection_limits: Arc<ConnectionLimits>,
        metrics: Arc<Metrics>,
    ) -> Self {
        let send = config.limits.send_timeout;
        let timeouts = Timeouts { head: config.server.connect_timeout, idle: IDLE, send };
        Self { listener_kind, connection_limits, metrics, timeouts }
    }

    fn admit(&self, peer: SocketAddr) -> Result<ConnectionSlot, LimitReached> {
        match self.listener_kind {
            ListenerKind::Public => self.connection_limits.admit(peer.ip()),
            ListenerKind::Admin => self.connection_limits.admit_admin(),
        }
    }

    /// Serves connections with a parser and the services behind it.
    pub fn serve<F>(
        self,
        parser: F,
    ) -> impl ServiceFactory<TcpStream, Config = (), Response = (), Error = (), InitError = ()>
    where
        F: ServiceFactory<(HttpStream, Option<SocketAddr>), Config = (), Response = ()>,
        F::Service: 'static,
    {
        fn_factory(move || {
            let (made, acceptor) = (parser.new_service(()), Rc::new(self.clone()));
            async move {
                let parser = Rc::new(made.await.map_err(drop)?);
                Ok(fn_service(move |stream| {
                    let (parser, acceptor) = (Rc::clone(&parser), Rc::clone(&acceptor));
                    async move {
                        acceptor.serve_connection(stream, &*parser).await;
                        Ok(())
                    }
                }))
            }
        })
    }

    async fn serve_connection<P>(&self, stream: TcpStream, parser: &P)
    where
        P: Service<(HttpStream, Option<SocketAddr>), Response = ()>,
    {
        // A peer without an address is gone already.
        let Ok(peer) = stream.peer_addr() else { return };
        let slot = match self.admit(peer) {
            Ok(slot) => slot,
            Err(full) => return self.refuse_connection(&stream, full),
        };
        let idle = if slot.is_shared() { IDLE_PROXY } else { IDLE };
        let timeouts = Timeouts { idle, ..self.timeouts };
        let connection = Rc::new(HttpConnection::new(slot, timeouts, Instant::now()));
        let stream = HttpStream::new(stream, Rc::clone(&connection));
        if let Some(stream) = self.first_head(stream, &connection).await {
            let served =
                run_until_deadline(Box::pin(parser.call((stream, Some(peer)))), &connection).await;
            // Other ends need no count, or were counted.
            if served.is_none() {
                count_timeout(&self.metrics);
            }
        }
        if connection.is_too_long() {
            count_malformed(&self.metrics);
        }
        if let Some(stream) = connection.released_socket.take()
            && !connection.has_ended()
        {
            lingering_close(stream).await;
        }
    }

    /// Waits for the first head. Until then a connection has no parser.
    async fn first_head(
        &self,
        mut stream: HttpStream,
        connection: &HttpConnection,
    ) -> Option<HttpStream> {
        let head = std::future::poll_fn(|cx| stream.poll_first_head(cx));
        if run_until_deadline(head, connection).await == Some(true) {
            return Some(stream);
        }
        if stream.has_begun() && !connection.has_ended() {
            count_timeout(&self.metrics);
            stream.say(TIMEOUT_RESPONSE);
        }
        None
    }

    /// Answers that a limit is reached, without waiting for the client.
    fn refuse_connection(&self, stream: &TcpStream, full: LimitReached) {
        self.metrics.http_refused.inc(full as usize);
        let socket = SockRef::from(stream);
        // Unread bytes would turn the answer into a reset.
        let mut unread = [std::mem::MaybeUninit::uninit(); 4096];
        let told = socket.recv(&mut unread).and_then(|_| socket.send(FULL_RESPONSE));
        if let Err(error) = told.or_else(|_| socket.send(FULL_RESPONSE)) {
            log::debug!("a client was not told that there is no place: {error}");
        }
    }
}

/// Serves a connection as long as it meets its deadlines; `None` when it misses one.
async fn run_until_deadline<F: Future + Unpin>(
    mut served: F,
    connection: &HttpConnection,
) -> Option<F::Output> {
    let mut alarm = pin!(sleep_until(Instant::now().into()));
    let mut is_armed = false;
    std::future::poll_fn(|cx| {
        loop {
            if let Poll::Ready(output) = Pin::new(&mut served).poll(cx) {
                return Poll::Ready(Some(output));
            }
            let Some(deadline) = connection.deadline() else { return Poll::Pending };
            // An alarm that comes too early is set again then.
            if !is_armed || alarm.deadline() > deadline.into() {
                alarm.as_mut().reset(deadline.into());
                is_armed = true;
            }
            ready!(alarm.as_mut().poll(cx));
            is_armed = false;
            let now = Instant::now();
            let is_over = connection.deadline().is_some_and(|deadline| deadline <= now);
            if is_over && connection.expire(now) == Expired::Abort {
                return Poll::Ready(None);
            }
        }
    })
    .await
}

/// The socket of a request for a WebSocket, with the permits of its connection.
pub fn raw_socket(framed: Framed<HttpStream, h1::Codec>) -> Option<RawSocket> {
    let parts = framed.into_parts();
    let slot = parts.io.connection().slot.take();
    let (stream, ahead) = parts.io.into_parts()?;
    let mut read = parts.read_buf;
    read.unsplit(ahead);
    let mut raw = FramedParts::with_read_buf(stream, parts.codec, read);
    raw.write_buf = parts.write_buf;
    Some(RawSocket::new(Framed::from_parts(raw), Box::new(slot)))
}
