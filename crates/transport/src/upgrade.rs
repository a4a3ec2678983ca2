//! Requests for a WebSocket, as requests of an actix-web application. A route takes the raw socket
//! of its request and answers the handshake. If it leaves the socket, its response is sent instead.

use std::any::Any;
use std::cell::Cell;
use std::convert::Infallible;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use actix_codec::{Encoder, Framed};
use actix_http::body::{BodySize, MessageBody, to_bytes};
use actix_http::{ConnectionType, HttpMessage, Request, Response, h1};
use actix_service::{Service, ServiceFactory, fn_factory, fn_service};
use actix_web::dev::ServiceResponse;
use actix_web::http::header::{HeaderMap, HeaderValue, SEC_WEBSOCKET_PROTOCOL};
use actix_web::{HttpRequest, HttpResponse};
use actix_web_actors::ws::{self, HandshakeError};
use bytes::BytesMut;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::{Inbound, Outbox, TransportOptions, accept};

/// How long a client may take to read a refusal.
const REFUSAL_TIMEOUT: Duration = Duration::from_secs(5);
/// How long, and for how many bytes, a connection is still read after its last answer.
const LINGER: Duration = Duration::from_secs(2);
const LINGER_BYTES: usize = 1024 * 1024;

/// The raw socket of a request for a WebSocket.
pub struct RawSocket {
    /// The socket, with what its parser has read ahead.
    framed: Framed<TcpStream, h1::Codec>,
    /// The permit of the HTTP connection.
    permit: Box<dyn Any>,
}

/// A connection that was made from a raw socket.
pub struct Accepted {
    /// The receiving end.
    pub inbound: Inbound,
    /// The sending end.
    pub outbox: Outbox,
    /// The permit of the HTTP connection, for as long as the connection has no other.
    pub permit: Box<dyn Any>,
}

/// The socket in the extensions of its request.
struct Offered(Rc<Cell<Option<RawSocket>>>);

// === impl RawSocket ===

impl RawSocket {
    /// A socket with the permit that its connection holds until it has another.
    pub fn new(framed: Framed<TcpStream, h1::Codec>, permit: Box<dyn Any>) -> Self {
        Self { framed, permit }
    }

    /// Whether a request has a socket: whether it is a request for a WebSocket.
    pub fn is_offered(request: &HttpRequest) -> bool {
        request.extensions().contains::<Offered>()
    }

    /// Makes a connection of a request's socket. `response` is the 101 response of [`handshake`].
    /// What the route returns after that is not sent.
    ///
    /// # Errors
    /// When the peer is gone, or the request has no socket any more.
    pub fn accept(
        request: &HttpRequest,
        response: HttpResponse,
        options: &Arc<TransportOptions>,
    ) -> io::Result<Accepted> {
        let socket = request.extensions().get::<Offered>().and_then(|offered| offered.0.take());
        let Self { mut framed, permit } = socket.ok_or(io::ErrorKind::NotConnected)?;
        let (response, mut head) = (Response::from(response).drop_body(), BytesMut::new());
        let response = h1::Message::Item((response, BodySize::None));
        framed.codec_mut().encode(response, &mut head)?;
        let (inbound, outbox) = accept(framed, head.freeze(), options)?;
        Ok(Accepted { inbound, outbox, permit })
    }
}

/// The service that routes requests for a WebSocket through an application. `socket` takes the
/// socket from its parser; it returns `None` where the peer is gone.
pub fn upgrade_service<T, F, B>(
    app: F,
    socket: fn(Framed<T, h1::Codec>) -> Option<RawSocket>,
) -> impl ServiceFactory<
    (Request, Framed<T, h1::Codec>),
    Config = (),
    Response = (),
    Error = Infallible,
    InitError = (),
>
where
    T: 'static,
    F: ServiceFactory<
            Request,
            Config = (),
            Response = ServiceResponse<B>,
            Error = actix_web::Error,
        >,
    F::Service: 'static,
    B: MessageBody + 'static,
{
    fn_factory(move || {
        let made = app.new_service(());
        async move {
            let app = Rc::new(made.await.map_err(drop)?);
            Ok(fn_service(move |(request, framed)| {
                let app = Rc::clone(&app);
                async move {
                    if let Some(socket) = socket(framed) {
                        serve(&*app, request, socket).await;
                    }
                    Ok(())
                }
            }))
        }
    })
}

async fn serve<S, B>(app: &S, request: Request, socket: RawSocket)
where
    S: Service<Request, Response = ServiceResponse<B>, Error = actix_web::Error>,
    B: MessageBody + 'static,
{
    let offered = Rc::new(Cell::new(Some(socket)));
    request.extensions_mut().insert(Offered(Rc::clone(&offered)));
    let response = match app.call(request).await {
        Ok(response) => Response::from(response).map_into_boxed_body(),
        Err(error) => error.into(),
    };
    let Some(socket) = offered.take() else { return };
    if timeout(REFUSAL_TIMEOUT, send_and_close(socket.framed, response)).await.is_err() {
        log::debug!("a client did not read its refusal");
    }
}

/// Sends a response and ends the connection.
async fn send_and_close(
    framed: Framed<TcpStream, h1::Codec>,
    response: Response<impl MessageBody>,
) {
    let (mut response, body) = response.into_parts();
    response.head_mut().set_connection_type(ConnectionType::Close);
    let Ok(body) = to_bytes(body).await else { return };
    if let Ok(framed) = h1::SendResponse::new(framed, response.set_body(body)).await {
        lingering_close(framed.into_parts().io).await;
    }
}

/// Ends a connection so that its peer can read the last answer. Closing a socket with unread bytes
/// resets the connection, and the peer loses what it has not read yet.
pub async fn lingering_close(mut stream: TcpStream) {
    let end = async {
        stream.shutdown().await?;
        let (mut unread, mut left) = (vec![0; 8 * 1024], LINGER_BYTES);
        loop {
            match stream.read(&mut unread).await? {
                0 => return io::Result::Ok(()),
                count if count >= left => return Ok(()),
                count => left -= count,
            }
        }
    };
    if !matches!(timeout(LINGER, end).await, Ok(Ok(()))) {
        log::trace!("a client did not end its side of a connection");
    }
}

/// The 101 response to a request for a WebSocket, with the subprotocol if the client offers it.
///
/// # Errors
/// What is wrong with the request (RFC 6455, section 4.2.1).
pub fn handshake(
    request: &HttpRequest,
    subprotocol: Option<&'static str>,
) -> Result<HttpResponse, HandshakeError> {
    // actix-web-actors also takes drafts of the protocol, and a key of any length.
    actix_http::ws::verify_handshake(request.head())?;
    let mut response = ws::handshake(request)?;
    if let Some(subprotocol) = subprotocol.filter(|name| offers(request.headers(), name)) {
        let chosen = HeaderValue::from_static(subprotocol);
        response.insert_header((SEC_WEBSOCKET_PROTOCOL, chosen));
    }
    Ok(response.finish())
}

/// Whether a client offers a subprotocol. The list may come in several lines, of which
/// actix-web-actors reads one.
fn offers(headers: &HeaderMap, subprotocol: &str) -> bool {
    let lines = headers.get_all(SEC_WEBSOCKET_PROTOCOL).filter_map(|line| line.to_str().ok());
    lines.flat_map(|line| line.split(',')).any(|offer| offer.trim() == subprotocol)
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    fn request(lines: &[(&'static str, &'static str)]) -> HttpRequest {
        let base = [
            ("connection", "Upgrade"),
            ("upgrade", "websocket"),
            ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ];
        let request = TestRequest::default();
        let lines = base.iter().chain(lines).copied();
        lines.fold(request, TestRequest::append_header).to_http_request()
    }

    #[test]
    fn the_response_accepts_the_key_of_the_specification() {
        let response = handshake(&request(&[("sec-websocket-version", "13")]), None);
        let response = response.expect("a good handshake");
        let accept = response.headers().get("sec-websocket-accept").map(HeaderValue::as_bytes);
        assert_eq!(accept, Some(&b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="[..]));
        let draft = handshake(&request(&[("sec-websocket-version", "8")]), None);
        assert_eq!(draft.err(), Some(HandshakeError::UnsupportedVersion));
    }

    #[test]
    fn a_subprotocol_is_chosen_from_any_line_of_the_list() {
        for (first, second, expected) in [
            ("orderhub.v1", "x", true),
            ("x", "y, orderhub.v1", true),
            ("x", "orderhub.v10", false),
        ] {
            let request = request(&[
                ("sec-websocket-version", "13"),
                ("sec-websocket-protocol", first),
                ("sec-websocket-protocol", second),
            ]);
            let response = handshake(&request, Some("orderhub.v1")).expect("a good handshake");
            let chosen = response.headers().get(SEC_WEBSOCKET_PROTOCOL);
            assert_eq!(chosen.is_some_and(|chosen| chosen == "orderhub.v1"), expected, "{second}");
        }
    }
}
