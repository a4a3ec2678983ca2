//! Sends one request to one endpoint. It follows no redirect, uses no proxy, and connects only to
//! addresses that were judged.

use std::error::Error;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant, UNIX_EPOCH};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::header::{CONTENT_TYPE, HeaderMap, RETRY_AFTER, USER_AGENT};
use http::{Method, Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::{TcpStream, lookup_host};
use tower_service::Service;

use crate::process::VERSION;
use crate::webhooks::address::judge;
use crate::webhooks::endpoints::Endpoint;
use crate::webhooks::health::Failure;
use protocol::time::Timestamp;

/// How long an unused connection is kept.
const IDLE: Duration = Duration::from_secs(30);
/// How much of an answer is read, and for how long: a connection is used again only after its whole
/// answer.
const MAX_ANSWER_BYTES: usize = 16 * 1024;
const ANSWER_TIMEOUT: Duration = Duration::from_secs(1);
/// The longest wait that `Retry-After` may ask for.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(24 * 3600);

/// Sends to one endpoint.
pub struct WebhookClient {
    endpoint: Arc<Endpoint>,
    http: Client<HttpsConnector<CheckedConnector>, Full<Bytes>>,
    max_answer_bytes: usize,
}

/// An endpoint's answer.
#[derive(Debug)]
pub struct Answer {
    /// Its status.
    pub status: StatusCode,
    /// How long it wants to be left alone.
    pub retry_after: Option<Duration>,
    /// The beginning of its body.
    pub body: Vec<u8>,
}

/// Connects to the addresses of a name that are allowed, one after the other.
#[derive(Clone)]
struct CheckedConnector {
    needs_loopback: bool,
    timeout: Duration,
}

// === impl WebhookClient ===

impl WebhookClient {
    /// A client for an endpoint, which keeps up to so many connections.
    ///
    /// # Errors
    /// If the system's TLS library allows no version of TLS.
    pub fn new(endpoint: Arc<Endpoint>, connections: usize) -> Result<Self, rustls::Error> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let own = endpoint.authorities.as_ref().map(|authorities| Arc::clone(&authorities.roots));
        let roots = own.unwrap_or_else(|| {
            Arc::new(webpki_roots::TLS_SERVER_ROOTS.iter().cloned().collect::<RootCertStore>())
        });
        let tls = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_or_http()
            .enable_http1()
            .wrap_connector(CheckedConnector {
                needs_loopback: endpoint.needs_loopback(),
                timeout: endpoint.timeout,
            });
        let http = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .pool_max_idle_per_host(connections)
            .build(connector);
        Ok(Self { endpoint, http, max_answer_bytes: MAX_ANSWER_BYTES })
    }

    /// The same client, which reads so much of an answer.
    #[must_use]
    pub fn reading(self, max_answer_bytes: usize) -> Self {
        Self { max_answer_bytes, ..self }
    }

    /// Posts a body under its id, signed with the time of this try.
    ///
    /// # Errors
    /// Why there is no answer, in one line.
    pub async fn post(&self, id: &str, body: String) -> Result<Answer, String> {
        let request = self.request(id, body).map_err(|error| error.to_string())?;
        let deadline = Instant::now() + self.endpoint.timeout;
        let answered = until(deadline, self.http.request(request)).await;
        let Some(answered) = answered else {
            return Err(format!("no answer within {} ms", self.endpoint.timeout.as_millis()));
        };
        let answer = answered.map_err(|error| last_source(&error))?;
        Ok(read(answer, deadline, self.max_answer_bytes).await)
    }

    fn request(&self, id: &str, body: String) -> Result<Request<Full<Bytes>>, Box<dyn Error>> {
        let timestamp = Timestamp::now().as_millis() / 1000;
        let signature = self.endpoint.sign(id, timestamp, body.as_bytes())?;
        let request = Request::builder()
            .method(Method::POST)
            .uri(self.endpoint.url.clone())
            .header(CONTENT_TYPE, "application/json")
            .header(USER_AGENT, format!("orderhub/{VERSION}"))
            .header("webhook-id", id)
            .header("webhook-timestamp", timestamp)
            .header("webhook-signature", signature);
        Ok(request.body(Full::from(body))?)
    }
}

/// Runs a request until its deadline. The clock is looked at before every step: a process that was
/// stopped in between must not send when it goes on.
async fn until<T>(deadline: Instant, request: impl Future<Output = T>) -> Option<T> {
    let (mut request, mut timer) = (pin!(request), pin!(tokio::time::sleep_until(deadline.into())));
    poll_fn(|context| {
        if Instant::now() >= deadline || timer.as_mut().poll(context).is_ready() {
            return Poll::Ready(None);
        }
        request.as_mut().poll(context).map(Some)
    })
    .await
}

/// The answer with the beginning of its body. What is left of it ends the connection.
async fn read(answer: Response<Incoming>, deadline: Instant, most: usize) -> Answer {
    let (head, mut rest) = answer.into_parts();
    let mut body = Vec::new();
    let whole = async {
        while body.len() < most
            && let Some(Ok(frame)) = rest.frame().await
        {
            body.extend(frame.into_data().unwrap_or_default());
        }
    };
    // The status decides, whatever becomes of the body.
    until(deadline.min(Instant::now() + ANSWER_TIMEOUT), whole).await;
    body.truncate(most);
    Answer { status: head.status, retry_after: retry_after(&head.headers, Timestamp::now()), body }
}

/// The innermost error, which says what happened.
fn last_source(error: &dyn Error) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string().replace(['\n', '\r'], " ")
}

fn retry_after(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let wait = if let Ok(seconds) = text.parse() {
        Duration::from_secs(seconds)
    } else {
        let date = httpdate::parse_http_date(text).ok()?;
        let since_epoch = date.duration_since(UNIX_EPOCH).unwrap_or_default();
        Timestamp::from_secs(0).plus(since_epoch).until_from(now)
    };
    Some(wait.min(MAX_RETRY_AFTER))
}

// === impl Answer ===

impl Answer {
    /// Whether the endpoint has taken the webhook.
    ///
    /// # Errors
    /// Why not, for any status but 2xx.
    pub fn judge(&self) -> Result<(), Failure> {
        if self.status.is_success() {
            return Ok(());
        }
        let hint =
            if self.status.is_redirection() { ", and redirects are not followed" } else { "" };
        Err(Failure {
            reason: format!("it answers {}{hint}", self.status),
            retry_after: self.retry_after,
            is_gone: self.status == StatusCode::GONE,
            is_busy: matches!(
                self.status,
                StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE
            ),
        })
    }
}

// === impl CheckedConnector ===

impl CheckedConnector {
    async fn connect(self, uri: Uri) -> io::Result<TokioIo<TcpStream>> {
        let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
        let default_port = if uri.scheme_str() == Some("https") { 443 } else { 80 };
        let port = uri.port_u16().unwrap_or(default_port);
        let mut addresses = Vec::new();
        let mut problem = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
        for address in lookup_host((host, port)).await? {
            match judge(address.ip(), self.needs_loopback) {
                Ok(()) => addresses.push(address),
                Err(refused) => problem = io::Error::new(io::ErrorKind::PermissionDenied, refused),
            }
        }
        // So that one that does not answer leaves time for the others.
        let share = self.timeout / u32::try_from(addresses.len().max(1)).unwrap_or(u32::MAX);
        for address in addresses {
            match connect(address, share).await {
                Ok(stream) => return Ok(stream),
                Err(error) => problem = error,
            }
        }
        Err(problem)
    }
}

async fn connect(address: SocketAddr, limit: Duration) -> io::Result<TokioIo<TcpStream>> {
    let connected = tokio::time::timeout(limit, TcpStream::connect(address)).await;
    let stream = connected.map_err(|_| {
        io::Error::new(io::ErrorKind::TimedOut, format!("{address} does not answer"))
    })??;
    stream.set_nodelay(true)?;
    Ok(TokioIo::new(stream))
}

impl Service<Uri> for CheckedConnector {
    type Response = TokioIo<TcpStream>;
    type Error = io::Error;
    type Future = BoxFuture<'static, io::Result<Self::Response>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        Box::pin(self.clone().connect(uri))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_seconds_or_a_date_and_has_an_end() {
        let now = Timestamp::from_secs(784_111_777);
        let wait = |text: &str| {
            let headers = HeaderMap::from_iter([(RETRY_AFTER, text.parse().expect("a value"))]);
            retry_after(&headers, now).map(|wait| wait.as_secs())
        };
        assert_eq!((wait("120"), wait(" 0 ")), (Some(120), Some(0)));
        assert_eq!(wait("Sun, 06 Nov 1994 08:50:37 GMT"), Some(60));
        assert_eq!(wait("Sun, 06 Nov 1994 08:40:37 GMT"), Some(0), "in the past");
        assert_eq!(wait("999999999"), Some(86_400));
        assert_eq!((wait("soon"), wait("-1"), wait("1.5")), (None, None, None));
        assert_eq!(retry_after(&HeaderMap::new(), now), None);
    }

    #[tokio::test]
    async fn a_request_whose_deadline_has_passed_takes_no_further_step() {
        let mut polled = false;
        let request = poll_fn(|_| {
            polled = true;
            Poll::Ready(())
        });
        assert_eq!(until(Instant::now(), request).await, None);
        assert!(!polled);
    }
}
