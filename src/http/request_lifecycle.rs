//! The life of one request from its head to the last byte of its answer: its sender, the limits of
//! its body, and whether the connection is kept alive.

use std::cell::{Cell, RefCell};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use actix_http::ConnectionType;
use actix_web::body::{BodySize, BoxBody, MessageBody};
use actix_web::dev::{Payload, ServiceRequest, ServiceResponse};
use actix_web::http::Method;
use actix_web::middleware::Next;
use actix_web::web::{self, Bytes};
use actix_web::{HttpMessage, HttpRequest, ResponseError};

use super::authentication::authenticate;
use super::budget::{BodyCharge, Charge, MAX_UNKNOWN_BODY};
use super::connection::{HttpConnection, LimitKey, LimitReached, RequestSlot, Requester};
use super::problem::Problem;
use super::request_body::RequestBody;
use super::request_head::client_address;
use super::timeouts::is_call;
use super::{Hub, RouteSet};
use crate::auth::Principal;
use protocol::role::Role;
use transport::Polling;
use transport::engineio::PollingSessions;

/// How many bytes of an answer the connection gets at once.
const CHUNK_BYTES: usize = 8 * 1024;

/// The body of an answer, with what its request holds until it is sent.
pub struct ResponseBody {
    body: BoxBody,
    /// The rest of the last piece of the body.
    rest: Bytes,
    _resources: RequestResources,
}

/// What a request holds until it is answered.
struct RequestResources {
    connection: Option<Rc<HttpConnection>>,
    /// Kept until the answer is sent: if the body were dropped, the parser would wait for its rest.
    payload: Option<Rc<RefCell<Payload>>>,
    /// Whether the body was read to its end.
    has_ended: Rc<Cell<bool>>,
    charge: Option<Rc<RefCell<Charge>>>,
    place: RequestSlot,
}

/// The sender of a request.
struct RequestAuth {
    known: Option<Principal>,
    /// The Engine.IO session that the request names.
    session: Option<(Box<str>, Polling)>,
}

/// Closes the connection after the answer to an unauthenticated request, whose body is not read,
/// and after an answer to a request that was not read to its end.
///
/// Authenticated is a request with a valid token, or one that names an Engine.IO session in which a
/// user is authenticated: the polls of a session follow each other on one connection. Anyone may
/// start a session. While it is unauthenticated its POSTs are read all the same (up to a limit, for
/// a time), because one of them has the token.
///
/// # Errors
/// The errors of the route.
pub async fn one_request_if_unauthenticated<B: MessageBody + 'static>(
    mut request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<ResponseBody>, actix_web::Error> {
    let mut resources = RequestResources::begin(&mut request);
    let auth = RequestAuth::of(&request).await;
    let requester = auth.requester();
    if let Err(full) = resources.admit(&request, &requester) {
        let refusal = request.into_response(limit_problem(full).error_response());
        return Ok(resources.respond(refusal, false));
    }
    if auth.may_send_body(request.method()) {
        resources.open_body(&mut request, max_body_bytes(&requester));
    }
    let answer = next.call(request).await?.map_into_boxed_body();
    // Checked after the answer: the session may have been authenticated while a poll waited.
    let keep_alive = !matches!(requester, Requester::Unauthenticated) || auth.is_authenticated();
    Ok(resources.respond(answer, keep_alive))
}

fn limit_problem(full: LimitReached) -> Problem {
    use protocol::error::{ErrorCode, Failure};
    match full {
        LimitReached::Node => Problem::unavailable("the hub has too many requests in progress", 1),
        LimitReached::Address => Problem::unavailable("too many requests without a token", 1),
        LimitReached::User => {
            Failure::new(ErrorCode::RateLimited, "too much of this user is under way")
                .retry_after(Duration::from_secs(1))
                .into()
        }
    }
}

/// The largest body, depending on the sender.
fn max_body_bytes(requester: &Requester) -> usize {
    match requester {
        Requester::Unauthenticated => MAX_UNKNOWN_BODY,
        Requester::Trusted | Requester::Authenticated(_) => usize::MAX,
    }
}

fn hub(request: &HttpRequest) -> Option<&web::Data<Hub>> {
    request.app_data()
}

// === impl RequestAuth ===

impl RequestAuth {
    async fn of(request: &ServiceRequest) -> Self {
        let known = authenticate(request.request()).await;
        let sessions = request.app_data::<web::Data<PollingSessions>>().filter(|_| known.is_none());
        let session = sessions.and_then(|sessions| sessions.of(request.head()));
        Self { known, session }
    }

    fn is_authenticated(&self) -> bool {
        self.session.as_ref().is_some_and(|(_, session)| session.is_authenticated())
    }

    fn may_send_body(&self, method: &Method) -> bool {
        let may_log_in = self.session.is_some() && method == Method::POST;
        self.known.is_some() || self.is_authenticated() || may_log_in
    }

    fn requester(&self) -> Requester {
        match &self.known {
            Some(Principal::Service(_)) => Requester::Trusted,
            Some(Principal::Identity(user)) if matches!(user.role, Role::Service | Role::Admin) => {
                Requester::Trusted
            }
            Some(Principal::Identity(user)) => {
                Requester::Authenticated(LimitKey::User(user.user.clone()))
            }
            None => match &self.session {
                Some((sid, session)) if session.is_authenticated() => {
                    Requester::Authenticated(LimitKey::Session(sid.clone()))
                }
                _ => Requester::Unauthenticated,
            },
        }
    }
}

// === impl RequestResources ===

impl RequestResources {
    fn begin(request: &mut ServiceRequest) -> Self {
        let connection = request.request().conn_data::<Rc<HttpConnection>>().cloned();
        let payload = match request.take_payload() {
            Payload::None => None,
            payload => Some(Rc::new(RefCell::new(payload))),
        };
        if let Some(connection) = &connection {
            connection.request_began(payload.is_some());
        }
        let has_ended = Rc::new(Cell::new(payload.is_none()));
        let place = RequestSlot::default();
        Self { connection, payload, has_ended, charge: None, place }
    }

    /// Takes permits for the request.
    fn admit(
        &mut self,
        request: &ServiceRequest,
        requester: &Requester,
    ) -> Result<(), LimitReached> {
        let Some(hub) = hub(request.request()) else { return Ok(()) };
        // Metrics must be readable when unauthenticated clients have used up their own pool.
        let route_set = request.app_data::<web::Data<RouteSet>>();
        let is_operator = route_set.is_some_and(|route_set| ***route_set == RouteSet::Admin);
        let payer = if is_operator { &Requester::Trusted } else { requester };
        self.charge = Some(Rc::new(RefCell::new(hub.byte_budget.charge(payer))));
        let Some(connection) = &self.connection else { return Ok(()) };
        let client = client_address(request.head(), &hub.shared.config.server.trusted_proxies);
        let counted = hub.connection_limits.count_request(
            &mut connection.slot.borrow_mut(),
            requester,
            client,
        );
        self.place =
            counted.inspect_err(|full| hub.shared.metrics.http_refused.inc(*full as usize))?;
        Ok(())
    }

    /// Lets the route read the body. The body of an API call has a time limit.
    fn open_body(&self, request: &mut ServiceRequest, most: usize) {
        let Some(payload) = &self.payload else { return };
        let time_limit = hub(request.request()).filter(|_| is_call(request.path()));
        let body = RequestBody::new(
            Rc::clone(payload),
            Rc::clone(&self.has_ended),
            self.connection.clone(),
            self.charge.clone(),
            most,
            time_limit.map(|hub| hub.shared.config.server.connect_timeout),
        );
        if let Some(charge) = &self.charge {
            request.extensions_mut().insert(BodyCharge(Rc::clone(charge)));
        }
        request.set_payload(Payload::Stream { payload: Box::pin(body) });
    }

    fn is_body_read(&self) -> bool {
        self.has_ended.get() || self.connection.as_ref().is_some_and(|it| it.is_body_read())
    }

    fn respond(
        self,
        answer: ServiceResponse<BoxBody>,
        keep_alive: bool,
    ) -> ServiceResponse<ResponseBody> {
        let mut answer = match self.charge_response(answer.response().body().size()) {
            Ok(()) => answer,
            Err(full) => answer.into_response(limit_problem(full).error_response()),
        };
        if !keep_alive || !self.is_body_read() {
            answer.response_mut().head_mut().set_connection_type(ConnectionType::Close);
        }
        answer.map_body(|_, body| ResponseBody::new(body, self))
    }

    fn charge_response(&self, size: BodySize) -> Result<(), LimitReached> {
        match (size, &self.charge) {
            (BodySize::Sized(bytes), Some(charge)) if bytes > CHUNK_BYTES as u64 => {
                charge.borrow_mut().grow(usize::try_from(bytes).unwrap_or(usize::MAX))
            }
            _ => Ok(()),
        }
    }
}

impl Drop for RequestResources {
    fn drop(&mut self) {
        if let Some(connection) = &self.connection {
            if self.has_ended.get() {
                connection.body_ended();
            }
            connection.response_ready(Instant::now());
        }
    }
}

// === impl ResponseBody ===

impl ResponseBody {
    fn new(body: BoxBody, resources: RequestResources) -> Self {
        Self { body, rest: Bytes::new(), _resources: resources }
    }
}

impl MessageBody for ResponseBody {
    type Error = <BoxBody as MessageBody>::Error;

    fn size(&self) -> BodySize {
        self.body.size()
    }

    /// Yields the body in parts: the connection copies each part at once for the socket.
    fn poll_next(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, Self::Error>>> {
        if self.rest.is_empty() {
            match std::task::ready!(Pin::new(&mut self.body).poll_next(cx)) {
                Some(Ok(bytes)) => self.rest = bytes,
                other => return Poll::Ready(other),
            }
        }
        let part = CHUNK_BYTES.min(self.rest.len());
        Poll::Ready(Some(Ok(self.rest.split_to(part))))
    }
}
