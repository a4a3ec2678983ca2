//! Handles CONNECT to a Socket.IO namespace: verifies the token, and resumes an earlier session.

use std::sync::Arc;
use std::time::{Duration, Instant};

use actix::fut::wrap_future;
use actix::{ActorFutureExt, AsyncContext, Context};
use serde::Serialize;

use super::Connection;
use super::framing::ConnectionFraming;
use super::resume::{self, FoundSession};
use super::session::{EndReason, SessionStart};
use crate::actors::shared::rate_limited;
use crate::auth::{Identity, TokenProblem};
use crate::rate_limit::users::{FLOOD_PAUSE, RateKind};
use protocol::close::CloseCode;
use protocol::codec::Codec;
use protocol::error::{ErrorCode, Failure};
use protocol::ids::{Pid, SessionId};
use protocol::socketio::auth::Auth;
use protocol::socketio::offset::parse_offset;
use protocol::socketio::{Namespace, write};
use transport::Frame;

/// The payload of a CONNECT reply.
#[derive(Serialize)]
struct ConnectAck {
    sid: SessionId,
    /// The id to resume the session with, where it can be resumed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pid: Option<Pid>,
}

/// The payload of a `CONNECT_ERROR`, from which stock clients make an `Error`.
#[derive(Serialize)]
struct ConnectError<'a> {
    message: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<ConnectErrorData>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ConnectErrorData {
    code: ErrorCode,
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_after_ms: Option<u64>,
}

/// What a CONNECT may still wait for.
#[derive(Clone, Copy)]
struct LoginRetries {
    /// Whether it may wait for keys that are being fetched.
    await_keys: bool,
    /// How often it may wait for the user's rate of logins.
    rate_waits: u8,
}

impl Connection {
    /// Handles a CONNECT to a namespace.
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
                return self.send_connect_error(
                    &name,
                    &ConnectError { message: "Invalid namespace", data: None },
                );
            }
        };
        if self.session_in(namespace).is_some() {
            return self.close(CloseCode::PROTOCOL_ERROR, ctx);
        }
        self.authenticate_connect(
            namespace,
            auth,
            LoginRetries { await_keys: true, rate_waits: 3 },
            now,
            ctx,
        );
    }

    fn authenticate_connect(
        &mut self,
        namespace: Namespace,
        auth: Auth,
        retries: LoginRetries,
        now: Instant,
        ctx: &mut Context<Self>,
    ) {
        if self.shared.is_draining() {
            return self.close(CloseCode::RESTART, ctx);
        }
        match self.authenticate(&auth) {
            Ok(identity) => self.check_login_rate(identity, namespace, auth, retries, now, ctx),
            // Stock clients do not retry after a CONNECT_ERROR; after a close they do.
            Err(failure) if failure.code == ErrorCode::Unavailable => {
                let settled = self.shared.verifier.wait_for_keys();
                let Some(settled) = settled.filter(|_| retries.await_keys) else {
                    return self.close(CloseCode::TRY_LATER, ctx);
                };
                // The token's key may be among those that are being fetched.
                let retries = LoginRetries { await_keys: false, ..retries };
                self.continue_after(settled, ctx, move |connection, (), ctx| {
                    connection.authenticate_connect(namespace, auth, retries, Instant::now(), ctx);
                });
            }
            Err(failure) if failure.retry_after_ms.is_some() => {
                self.close_for_new_token(&failure, now, ctx);
            }
            Err(failure) => self.reject_connect(namespace.as_str(), &failure),
        }
    }

    /// Closes the connection after the wait that the failure asks for. A client does not reconnect
    /// after a `CONNECT_ERROR`; for a new connection it asks its app for a new token.
    fn close_for_new_token(&mut self, failure: &Failure, now: Instant, ctx: &mut Context<Self>) {
        self.shared.metrics.rejected.inc(failure.code as usize);
        let wait = Duration::from_millis(failure.retry_after_ms.unwrap_or_default());
        // The wait bounds how often the client tries, however fast it reconnects.
        self.continue_in(wait, now, ctx, move |connection, ctx| {
            // Other sessions of the connection are not concerned, and come back as well.
            connection.outbox.hang_up(None, CloseCode::TOKEN_REVOKED);
            connection.begin_close(EndReason::lost(CloseCode::TOKEN_REVOKED.reason), ctx);
        });
    }

    /// Takes the next step of a CONNECT when a future resolves, unless the connection has ended by
    /// then. The socket is not read meanwhile: input may be for the new session.
    fn continue_after<T: 'static>(
        &self,
        future: impl Future<Output = T> + 'static,
        ctx: &mut Context<Self>,
        step: impl FnOnce(&mut Self, T, &mut Context<Self>) + 'static,
    ) {
        let read_pause = self.read_pause.pause();
        ctx.spawn(wrap_future::<_, Self>(future).map(move |output, connection, ctx| {
            if !connection.ended {
                step(connection, output, ctx);
            }
            drop(read_pause);
        }));
    }

    /// Takes the next step after a time, by which the login deadline is extended.
    fn continue_in(
        &mut self,
        wait: Duration,
        now: Instant,
        ctx: &mut Context<Self>,
        step: impl FnOnce(&mut Self, &mut Context<Self>) + 'static,
    ) {
        self.framing.extend_login_deadline(now + wait + self.shared.config.server.connect_timeout);
        let pause = actix_rt::time::sleep(wait);
        self.continue_after(pause, ctx, move |connection, (), ctx| step(connection, ctx));
    }

    /// The identity of the token: the one in the packet, or else the one in the request that opened
    /// the connection. A header may be set by a library for all requests of an app, and be
    /// outdated.
    fn authenticate(&self, auth: &Auth) -> Result<Identity, Failure> {
        let handshake_token = || match &self.framing {
            ConnectionFraming::SocketIo(io) => {
                io.handshake_token.as_deref().map_err(|problem| *problem)
            }
            ConnectionFraming::Plain => Err(TokenProblem::Missing),
        };
        let in_packet = auth.token.as_deref().filter(|token| !token.trim().is_empty());
        let token =
            in_packet.map_or_else(handshake_token, Ok).map_err(|problem| match problem {
                TokenProblem::Missing => {
                    Failure::new(ErrorCode::Unauthenticated, "no token: send it as auth.token")
                }
                problem => problem.into(),
            })?;
        self.shared.authenticate_user(token)
    }

    /// Starts the session if the user's rate of logins allows it and no flood pause runs.
    fn check_login_rate(
        &mut self,
        identity: Identity,
        namespace: Namespace,
        auth: Auth,
        mut retries: LoginRetries,
        now: Instant,
        ctx: &mut Context<Self>,
    ) {
        let rates = self.shared.user_rates.of(&identity.user, now);
        // A client that waits for a flood pause uses no login.
        let flood_wait = rates.flood_wait(now);
        let wait = match flood_wait.map_or_else(|| rates.take(RateKind::Login, now), Err) {
            Ok(()) => return self.accept_connect(identity, namespace, auth, ctx),
            Err(wait) if flood_wait.is_some() => wait,
            Err(wait) if retries.rate_waits == 0 || wait > FLOOD_PAUSE => {
                return self
                    .reject_connect(namespace.as_str(), &rate_limited("too many logins", wait));
            }
            Err(wait) => {
                retries.rate_waits -= 1;
                wait
            }
        };
        // A stock client does not retry after a CONNECT_ERROR. A client that waits is let in later.
        self.continue_in(wait, now, ctx, move |connection, ctx| {
            connection.authenticate_connect(namespace, auth, retries, Instant::now(), ctx);
        });
    }

    fn accept_connect(
        &mut self,
        identity: Identity,
        namespace: Namespace,
        auth: Auth,
        ctx: &mut Context<Self>,
    ) {
        let resumes = auth.resume && !self.shared.config.rooms.resume.is_zero();
        let codec = Codec::SocketIo { namespace, offsets: resumes };
        let offset = auth.offset.as_deref().and_then(parse_offset);
        let pid = auth.pid.as_deref().and_then(|pid| pid.parse::<Pid>().ok());
        let Some(pid) = pid.filter(|_| resumes) else {
            let state = SessionStart::new(resumes, offset);
            return self.start_session(identity, codec, state, ctx);
        };
        // The token is valid and the client may have a session to resume, so a drain waits for this
        // connection.
        self.framing.mark_authenticated();
        let shared = Arc::clone(&self.shared);
        let find = resume::find_session(shared, pid, identity, namespace, offset);
        // A session that is found for a connection that has ended is kept for the next try.
        self.continue_after(find, ctx, move |connection, (identity, found), ctx| {
            connection.resume_session(identity, codec, found, ctx);
        });
    }

    /// Resumes the session that was found, or starts a new one.
    fn resume_session(
        &mut self,
        identity: Identity,
        codec: Codec,
        found: FoundSession,
        ctx: &mut Context<Self>,
    ) {
        if self.shared.is_draining() {
            return self.close(CloseCode::RESTART, ctx);
        }
        let (state, last_subscription, rooms) = found.into_start();
        let session_id = state.session_id;
        self.start_session(identity, codec, state, ctx);
        if let Some(session) = self.session(session_id) {
            session.restore_rooms(last_subscription, rooms, ctx);
        }
    }

    /// Sends the reply to CONNECT.
    pub(super) fn send_connect_ack(&self, codec: Codec, state: &SessionStart) {
        let Codec::SocketIo { namespace, .. } = codec else { return };
        let ack = ConnectAck { sid: state.session_id, pid: state.pid };
        let frame = Frame::text(|out| write::connect(namespace.as_str(), &ack, out));
        // A broken connection ends by its stream.
        self.outbox.push(frame).ok();
    }

    pub(super) fn reject_connect(&self, namespace: &str, failure: &Failure) {
        self.shared.metrics.rejected.inc(failure.code as usize);
        let data = ConnectErrorData { code: failure.code, retry_after_ms: failure.retry_after_ms };
        self.send_connect_error(
            namespace,
            &ConnectError { message: &failure.message, data: Some(data) },
        );
    }

    fn send_connect_error(&self, namespace: &str, refusal: &ConnectError<'_>) {
        self.outbox.push(Frame::text(|out| write::connect_error(namespace, refusal, out))).ok();
    }
}
