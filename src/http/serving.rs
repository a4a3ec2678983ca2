//! One request from its head to the last byte of its answer: who sent it, what its body may take,
//! and whether another may follow it on its connection.

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
use actix_web::{HttpMessage, HttpRequest, HttpResponse, ResponseError};

use super::access::identify_in_time;
use super::budget::{BodyCharge, Charge, MAX_UNKNOWN_BODY};
use super::connection::{Connection, Full, RequestPlace, Sender, Subject};
use super::engineio::Sessions;
use super::patience::is_call;
use super::problem::Problem;
use super::request_body::RequestBody;
use super::upgrade::client_address;
use super::{Hub, Listener};
use crate::auth::Principal;
use crate::protocol::role::Role;
use crate::transport::Polling;

/// What is handed to the connection at once of an answer.
const PART: usize = 8 * 1024;

/// An answer, and what its request holds until it is sent.
pub struct Answer {
    body: BoxBody,
    /// What is left of the last piece of the body.
    rest: Bytes,
    _serving: Serving,
}

/// What a request holds.
#[derive(Default)]
struct Serving {
    connection: Option<Rc<Connection>>,
    /// Kept until the answer is sent: the parser would wait for the rest of a body that is dropped.
    payload: Option<Rc<RefCell<Payload>>>,
    /// Whether the body was read to its end.
    has_ended: Rc<Cell<bool>>,
    charge: Option<Rc<RefCell<Charge>>>,
    place: RequestPlace,
}

/// Who sent a request.
struct Origin {
    known: Option<Principal>,
    /// The Engine.IO session that it names.
    session: Option<(Box<str>, Polling)>,
}

/// Ends the connection behind the answer to somebody unknown, whose body is not read, and behind an
/// answer whose request was not read to its end.
///
/// Known is who has a token, and who names an Engine.IO session in which somebody has logged in: its
/// polls follow each other on one connection. Of a session in which nobody has yet, which anybody
/// may begin, POSTs are read (up to a limit, for a time), for the login is in one of them.
///
/// # Errors
/// Those of the route.
pub async fn one_request_for_strangers<B: MessageBody + 'static>(
    mut request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<Answer>, actix_web::Error> {
    let mut serving = Serving::begin(&mut request);
    let mut origin = Origin::of(&request).await;
    let sender = origin.sender();
    if let Err(full) = serving.admit(&request, &sender) {
        let refusal = request.into_response(refused(full).error_response());
        return Ok(serving.answer(refusal, false));
    }
    if origin.may_send_body(request.method()) {
        serving.open_body(&mut request, most_bytes(&sender));
    }
    if let Some(known) = origin.known.take() {
        request.extensions_mut().insert(known);
    }
    let answer = next.call(request).await?.map_into_boxed_body();
    // Looked at behind the answer: the login may have come while a poll waited.
    let may_go_on = !matches!(sender, Sender::Unknown) || origin.has_logged_in();
    Ok(serving.answer(answer, may_go_on))
}

fn refused(full: Full) -> Problem {
    use crate::protocol::error::{ErrorCode, Failure};
    match full {
        Full::Node => Problem::unavailable("too much is under way", 1),
        Full::Address => Problem::unavailable("too many requests without a token", 1),
        Full::User => Failure::new(ErrorCode::RateLimited, "too much of this user is under way")
            .retry_after(Duration::from_secs(1))
            .into(),
    }
}

/// How long a body may be, as far as that depends on who sends it.
fn most_bytes(sender: &Sender) -> usize {
    match sender {
        Sender::Unknown => MAX_UNKNOWN_BODY,
        Sender::Trusted | Sender::Known(_) => usize::MAX,
    }
}

/// Answers without reading the body, and ends the connection behind that.
pub(super) fn answer_unread(
    response: HttpResponse<BoxBody>,
    unread: Payload,
) -> HttpResponse<BoxBody> {
    let mut serving = Serving::default();
    serving.payload = Some(Rc::new(RefCell::new(unread)));
    let mut response =
        response.map_body(|_, body| Answer::new(body, serving)).map_into_boxed_body();
    response.head_mut().set_connection_type(ConnectionType::Close);
    response
}

fn hub(request: &HttpRequest) -> Option<&web::Data<Hub>> {
    request.app_data()
}

// === impl Origin ===

impl Origin {
    async fn of(request: &ServiceRequest) -> Self {
        let known = identify_in_time(request.request()).await.ok();
        let sessions = request.app_data::<web::Data<Sessions>>().filter(|_| known.is_none());
        let session = sessions.and_then(|sessions| sessions.of(request.head()));
        Self { known, session }
    }

    fn has_logged_in(&self) -> bool {
        self.session.as_ref().is_some_and(|(_, session)| session.is_vouched_for())
    }

    fn may_send_body(&self, method: &Method) -> bool {
        let may_log_in = self.session.is_some() && method == Method::POST;
        self.known.is_some() || self.has_logged_in() || may_log_in
    }

    fn sender(&self) -> Sender {
        match &self.known {
            Some(Principal::Service(_)) => Sender::Trusted,
            Some(Principal::Identity(user)) if matches!(user.role, Role::Service | Role::Admin) => {
                Sender::Trusted
            }
            Some(Principal::Identity(user)) => Sender::Known(Subject::User(user.user.clone())),
            None => match &self.session {
                Some((sid, session)) if session.is_vouched_for() => {
                    Sender::Known(Subject::Session(sid.clone()))
                }
                _ => Sender::Unknown,
            },
        }
    }
}

// === impl Serving ===

impl Serving {
    fn begin(request: &mut ServiceRequest) -> Self {
        let connection = request.request().conn_data::<Rc<Connection>>().cloned();
        let payload = match request.take_payload() {
            Payload::None => None,
            payload => Some(Rc::new(RefCell::new(payload))),
        };
        if let Some(connection) = &connection {
            connection.begun(payload.is_some());
        }
        let has_ended = Rc::new(Cell::new(payload.is_none()));
        let place = RequestPlace::default();
        Self { connection, payload, has_ended, charge: None, place }
    }

    /// Takes a place for the request.
    fn admit(&mut self, request: &ServiceRequest, sender: &Sender) -> Result<(), Full> {
        let Some(hub) = hub(request.request()) else { return Ok(()) };
        // Metrics must be read when strangers have filled their own pool.
        let listener = request.app_data::<web::Data<Listener>>();
        let is_operator = listener.is_some_and(|listener| ***listener == Listener::Admin);
        let payer = if is_operator { &Sender::Trusted } else { sender };
        self.charge = Some(Rc::new(RefCell::new(hub.bytes.charge(payer))));
        let Some(connection) = &self.connection else { return Ok(()) };
        let client = client_address(request.head(), &hub.shared.config.server.trusted_proxies);
        let judged = hub.admission.judge(&mut connection.admitted.borrow_mut(), sender, client);
        self.place =
            judged.inspect_err(|full| hub.shared.metrics.http_refused.inc(*full as usize))?;
        Ok(())
    }

    /// Lets the route read the body: that of a call only for some time.
    fn open_body(&self, request: &mut ServiceRequest, most: usize) {
        let Some(payload) = &self.payload else { return };
        let patience = hub(request.request()).filter(|_| is_call(request.path()));
        let body = RequestBody::new(
            Rc::clone(payload),
            Rc::clone(&self.has_ended),
            self.connection.clone(),
            self.charge.clone(),
            most,
            patience.map(|hub| hub.shared.config.server.connect_timeout),
        );
        if let Some(charge) = &self.charge {
            request.extensions_mut().insert(BodyCharge(Rc::clone(charge)));
        }
        request.set_payload(Payload::Stream { payload: Box::pin(body) });
    }

    fn is_read(&self) -> bool {
        self.has_ended.get() || self.connection.as_ref().is_some_and(|it| it.is_read())
    }

    fn answer(self, answer: ServiceResponse<BoxBody>, may_go_on: bool) -> ServiceResponse<Answer> {
        let mut answer = match self.charge_answer(answer.response().body().size()) {
            Ok(()) => answer,
            Err(full) => answer.into_response(refused(full).error_response()),
        };
        if !may_go_on || !self.is_read() {
            answer.response_mut().head_mut().set_connection_type(ConnectionType::Close);
        }
        answer.map_body(|_, body| Answer::new(body, self))
    }

    fn charge_answer(&self, size: BodySize) -> Result<(), Full> {
        match (size, &self.charge) {
            (BodySize::Sized(bytes), Some(charge)) if bytes > PART as u64 => {
                charge.borrow_mut().grow(usize::try_from(bytes).unwrap_or(usize::MAX))
            }
            _ => Ok(()),
        }
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        if let Some(connection) = &self.connection {
            if self.has_ended.get() {
                connection.body_ended();
            }
            connection.answered(Instant::now());
        }
    }
}

// === impl Answer ===

impl Answer {
    fn new(body: BoxBody, serving: Serving) -> Self {
        Self { body, rest: Bytes::new(), _serving: serving }
    }
}

impl MessageBody for Answer {
    type Error = <BoxBody as MessageBody>::Error;

    fn size(&self) -> BodySize {
        self.body.size()
    }

    /// Gives the body part by part: what is given is copied for the socket, all at once.
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
        let part = PART.min(self.rest.len());
        Poll::Ready(Some(Ok(self.rest.split_to(part))))
    }
}
