//! The way into a namespace of Socket.IO: a token, and what the client had before.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use actix::fut::wrap_future;
use actix::{ActorFutureExt, AsyncContext, Context};
use serde::Serialize;

use super::Session;
use super::dialect::Dialect;
use super::ending::End;
use super::resuming::{self, Resumed};
use crate::actors::shared::too_fast;
use crate::auth::{AuthError, Identity, TokenProblem};
use crate::ids::{OrderId, Pid, SessionId};
use crate::protocol::close::CloseCode;
use crate::protocol::codec::Codec;
use crate::protocol::error::{ErrorCode, Failure};
use crate::protocol::socketio::auth::Auth;
use crate::protocol::socketio::offset::parse_offset;
use crate::protocol::socketio::{Namespace, write};
use crate::session::resume::Pushes;
use crate::session::users::{FLOOD_PAUSE, Kind};
use crate::time::Timestamp;
use crate::transport::Frame;

/// The payload of a CONNECT reply.
#[derive(Serialize)]
struct Welcome {
    sid: SessionId,
    /// By what the session can be taken up again, where it can.
    #[serde(skip_serializing_if = "Option::is_none")]
    pid: Option<Pid>,
}

/// The payload of a `CONNECT_ERROR`; stock clients make an `Error` of it.
#[derive(Serialize)]
struct Refusal<'a> {
    message: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<RefusalData>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct RefusalData {
    code: ErrorCode,
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_after_ms: Option<u64>,
}

/// For what a login may still wait.
#[derive(Clone, Copy)]
struct Patience {
    /// Whether for keys that are being fetched.
    keys: bool,
    /// How often for the user's rate of logins.
    turns: u8,
}

/// Under which names a client comes into a namespace.
pub(super) struct Names {
    pub(super) session: SessionId,
    pub(super) pid: Option<Pid>,
    /// What it has been sent of chat, and will be.
    pub(super) pushes: Pushes,
}

// === impl Session ===

impl Session {
    /// A client wants into a namespace.
    pub(super) fn connect(
        &mut self,
        namespace: Result<Namespace, String>,
        auth: Auth,
        now: Instant,
        ctx: &mut Context<Self>,
    ) {
        let namespace = match namespace {
            Ok(namespace) => namespace,
            Err(name) => {
                return self
                    .turn_away(&name, &Refusal { message: "Invalid namespace", data: None });
            }
        };
        if self.login_in(namespace).is_some() {
            return self.finish(CloseCode::PROTOCOL_ERROR, ctx);
        }
        self.judge_login(namespace, auth, Patience { keys: true, turns: 3 }, now, ctx);
    }

    fn judge_login(
        &mut self,
        namespace: Namespace,
        auth: Auth,
        patience: Patience,
        now: Instant,
        ctx: &mut Context<Self>,
    ) {
        if self.shared.is_draining() {
            return self.finish(CloseCode::RESTART, ctx);
        }
        match self.identify(&auth) {
            Ok(identity) => self.count_login(identity, namespace, auth, patience, now, ctx),
            // To stock clients a CONNECT_ERROR is final; after the close they come back.
            Err(failure) if failure.code == ErrorCode::Unavailable => {
                let settled = self.shared.verifier.settling();
                let Some(settled) = settled.filter(|_| patience.keys) else {
                    return self.finish(CloseCode::TRY_LATER, ctx);
                };
                // The token's key may be among those that are being fetched. What the client says
                // meanwhile waits as well: it may be meant for the session that is to come.
                let hold = self.gate.hold();
                ctx.spawn(wrap_future::<_, Self>(settled).map(move |(), session, ctx| {
                    if !session.ended {
                        let patience = Patience { keys: false, ..patience };
                        session.judge_login(namespace, auth, patience, Instant::now(), ctx);
                    }
                    drop(hold);
                }));
            }
            Err(failure) if failure.retry_after_ms.is_some() => self.turn_back(&failure, now, ctx),
            Err(failure) => self.refuse_login(namespace.as_str(), &failure),
        }
    }

    /// Ends the connection of a client whose next token may count, once that is worth a try. It would
    /// take a `CONNECT_ERROR` for final, and it asks its app for a token before each connection.
    fn turn_back(&mut self, failure: &Failure, now: Instant, ctx: &mut Context<Self>) {
        self.shared.metrics.rejected.inc(failure.code as usize);
        let wait = Duration::from_millis(failure.retry_after_ms.unwrap_or_default());
        // However fast the client comes back, it does not try more often than that.
        let hold = self.gate.hold();
        self.dialect.log_in_by(now + wait + self.shared.config.server.connect_timeout);
        ctx.run_later(wait, move |session, ctx| {
            if !session.ended {
                // Others who use the connection have done nothing, and come back as well.
                session.outbox.hang_up(None, CloseCode::TOKEN_REVOKED);
                session.leave_everything(End::lost(CloseCode::TOKEN_REVOKED.reason), ctx);
            }
            drop(hold);
        });
    }

    /// Who the token says it is: that of the packet, or else that of the request which opened the
    /// connection. A header may be set by a library for all requests of an app, and be old.
    fn identify(&self, auth: &Auth) -> Result<Identity, Failure> {
        let offered = || match &self.dialect {
            Dialect::SocketIo(io) => io.offered.as_deref().map_err(|problem| *problem),
            Dialect::Plain => Err(TokenProblem::Missing),
        };
        let in_packet = auth.token.as_deref().filter(|token| !token.trim().is_empty());
        let token = in_packet.map_or_else(offered, Ok).map_err(|problem| match problem {
            TokenProblem::Missing => unauthenticated("no token: send it as auth.token"),
            problem => unauthenticated(problem.to_string()),
        })?;
        let now = Timestamp::now();
        let identity = self.shared.verifier.verify(token, now).map_err(|error| {
            if let AuthError::Invalid(reason) = &error {
                log::debug!("a token was refused: {reason}");
            }
            Failure::from(&error)
        })?;
        match self.shared.bans.from_hub(&identity.user, now) {
            Some(_) => Err(Failure::new(ErrorCode::Forbidden, "removed by an admin")),
            None => Ok(identity),
        }
    }

    /// Lets a user in who does not come too often, and has not just been cut for a flood.
    fn count_login(
        &mut self,
        identity: Identity,
        namespace: Namespace,
        auth: Auth,
        mut patience: Patience,
        now: Instant,
        ctx: &mut Context<Self>,
    ) {
        let rates = self.shared.users.of(&identity.user, now);
        // One that has to wait anyway costs no login.
        let held_off = rates.held_off(now);
        let wait = match held_off.map_or_else(|| rates.take(Kind::Login, now), Err) {
            Ok(()) => return self.admit_login(identity, namespace, auth, ctx),
            Err(wait) if held_off.is_some() => wait,
            Err(wait) if patience.turns == 0 || wait > FLOOD_PAUSE => {
                return self.refuse_login(namespace.as_str(), &too_fast("too many logins", wait));
            }
            Err(wait) => {
                patience.turns -= 1;
                wait
            }
        };
        // A stock client takes a CONNECT_ERROR for final. One that waits comes in by itself.
        let hold = self.gate.hold();
        self.dialect.log_in_by(now + wait + self.shared.config.server.connect_timeout);
        ctx.run_later(wait, move |session, ctx| {
            if !session.ended {
                session.judge_login(namespace, auth, patience, Instant::now(), ctx);
            }
            drop(hold);
        });
    }

    fn admit_login(
        &mut self,
        identity: Identity,
        namespace: Namespace,
        auth: Auth,
        ctx: &mut Context<Self>,
    ) {
        let resumes = auth.resume && !self.shared.config.rooms.resume.is_zero();
        let codec = Codec::SocketIo { namespace, offsets: resumes };
        let offset = auth.offset.as_deref().and_then(parse_offset);
        let asked = auth.pid.as_deref().and_then(|pid| pid.parse::<Pid>().ok());
        let Some(pid) = asked.filter(|_| resumes) else {
            let names = Names::new(resumes, offset);
            return self.log_in(identity, codec, names, ctx);
        };
        // What the client sends behind its CONNECT waits until it is known what it had.
        let hold = self.gate.hold();
        // It has something to lose: a drain waits for it.
        self.dialect.used();
        let shared = Arc::clone(&self.shared);
        let find = async move { resuming::find(shared, pid, identity, namespace, offset).await };
        ctx.spawn(wrap_future::<_, Self>(find).map(move |(identity, resumed), session, ctx| {
            session.take_up_login(identity, codec, resumed, ctx);
            drop(hold);
        }));
    }

    /// Goes on where the client was, or begins anew where that cannot be told.
    fn take_up_login(
        &mut self,
        identity: Identity,
        codec: Codec,
        resumed: Resumed,
        ctx: &mut Context<Self>,
    ) {
        if self.ended {
            // Dropped, what was found is kept for the next try.
            return;
        }
        if self.shared.is_draining() {
            return self.finish(CloseCode::RESTART, ctx);
        }
        let (names, last_link, rooms) = resumed.take_up();
        let session = names.session;
        self.log_in(identity, codec, names, ctx);
        if let Some(login) = self.login(session) {
            login.come_in_again(last_link, rooms, ctx);
        }
    }

    /// Sends the reply to CONNECT.
    pub(super) fn welcome(&self, codec: Codec, names: &Names) {
        let Codec::SocketIo { namespace, .. } = codec else { return };
        let welcome = Welcome { sid: names.session, pid: names.pid };
        let frame = Frame::text(|out| write::connect(namespace.as_str(), &welcome, out));
        // A connection that broke already ends by its stream.
        self.outbox.push(frame).ok();
    }

    pub(super) fn refuse_login(&self, namespace: &str, failure: &Failure) {
        self.shared.metrics.rejected.inc(failure.code as usize);
        let data = RefusalData { code: failure.code, retry_after_ms: failure.retry_after_ms };
        self.turn_away(namespace, &Refusal { message: &failure.message, data: Some(data) });
    }

    fn turn_away(&self, namespace: &str, refusal: &Refusal<'_>) {
        self.outbox.push(Frame::text(|out| write::connect_error(namespace, refusal, out))).ok();
    }
}

fn unauthenticated(message: impl Into<Cow<'static, str>>) -> Failure {
    Failure::new(ErrorCode::Unauthenticated, message)
}

// === impl Names ===

impl Names {
    /// New ones. The client may present `offset` again, as long as it gets no other.
    pub(super) fn new(resumes: bool, offset: Option<(OrderId, i64)>) -> Self {
        Self {
            session: SessionId::random(),
            // Without randomness nobody could be told from a stranger.
            pid: resumes.then(Pid::random).and_then(Result::ok),
            pushes: Pushes::new(offset),
        }
    }
}
