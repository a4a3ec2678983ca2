//! Carries out what every node must: bans, removals from rooms, ends of sessions, revocations.

use std::sync::Arc;
use std::time::Duration;

use actix::MailboxError;
use futures_util::future::{join, join_all};

use crate::actors::cluster::{Answers, Question};
use crate::actors::order_room::RemoveUser;
use crate::actors::supervisor::{Disconnect, DisconnectUser, GetRoom, UserConnections};
use crate::db::cluster_log::Entry;
use crate::http::Hub;
use crate::room::bans::BanScope;
use protocol::close::CloseCode;
use protocol::ids::{OrderId, UserId};
use protocol::time::Timestamp;

/// How long the caller waits for the other nodes.
const OTHERS_TIMEOUT: Duration = Duration::from_secs(1);
/// When clients reconnect. By then a new token has a later second than the revoked ones: `iat`
/// counts seconds.
const RETURN_AFTER_MS: u64 = 1000;

/// What was done.
#[derive(Debug)]
pub struct Done {
    /// How many connections were closed, on all nodes that have answered.
    pub closed: usize,
    /// The nodes that have not said that they are done. They do it when they read the log.
    pub pending: Vec<Arc<str>>,
}

/// Carries out an entry here, and waits until the other nodes have done so. `number` is that of its
/// row in the log; none where there are no other nodes.
///
/// # Errors
/// If the hub stops.
pub async fn carry_out_everywhere(
    hub: &Hub,
    entry: &Entry,
    number: Option<i64>,
) -> Result<Done, MailboxError> {
    let others = async {
        match number {
            Some(number) => {
                hub.shared.peers.ask::<usize>(Question::Log(number), OTHERS_TIMEOUT).await
            }
            None => Answers { answers: Vec::new(), silent: Vec::new() },
        }
    };
    let (here, others) = join(carry_out(hub, entry), others).await;
    let closed = here? + others.answers.iter().sum::<usize>();
    Ok(Done { closed, pending: others.silent })
}

/// Carries out an entry on this node, which has no sessions and rooms before its first worker runs. How
/// many connections were closed.
///
/// # Errors
/// If the hub stops.
pub(super) async fn carry_out(hub: &Hub, entry: &Entry) -> Result<usize, MailboxError> {
    match entry {
        Entry::Ban { order, user, until, reason } => {
            let scope = order.clone().map_or(BanScope::Hub, BanScope::Order);
            hub.shared.bans.insert(scope, user.clone(), *until, Timestamp::now());
            hub.shared.hooks.forget_user(user);
            match order {
                Some(order) => remove_from_room(hub, order, user).await.map(|()| 0),
                None => end_sessions(hub, user, reason.clone()).await,
            }
        }
        Entry::Revoke { user, issued_before } => {
            hub.shared.verifier.revoke(user.clone(), *issued_before);
            hub.shared.hooks.forget_user(user);
            close_revoked(hub, user, *issued_before).await
        }
    }
}

async fn remove_from_room(hub: &Hub, order: &OrderId, user: &UserId) -> Result<(), MailboxError> {
    let Some(supervisor) = hub.running_supervisor() else { return Ok(()) };
    if let Some(room) = supervisor.addr.send(GetRoom(order.clone())).await? {
        room.addr.do_send(RemoveUser(user.clone()));
    }
    Ok(())
}

async fn end_sessions(
    hub: &Hub,
    user: &UserId,
    reason: Option<String>,
) -> Result<usize, MailboxError> {
    let end = Disconnect { reason, ..Disconnect::now(CloseCode::REMOVED) };
    let Some(supervisor) = hub.running_supervisor() else { return Ok(0) };
    supervisor.addr.send(DisconnectUser { user: user.clone(), end }).await
}

/// Closes the user's connections that used a revoked token. One that registers after this checks
/// revocations after that, and finds this one.
async fn close_revoked(
    hub: &Hub,
    user: &UserId,
    issued_before: Timestamp,
) -> Result<usize, MailboxError> {
    let Some(supervisor) = hub.running_supervisor() else { return Ok(0) };
    let connections = supervisor.addr.send(UserConnections(user.clone())).await?;
    let end = Disconnect {
        reconnect_after_ms: Some(RETURN_AFTER_MS),
        issued_before: Some(issued_before),
        ..Disconnect::now(CloseCode::TOKEN_REVOKED).of(user.clone())
    };
    let ends = join_all(connections.iter().map(|connection| connection.send(end.clone()))).await;
    // A connection that is gone has ended by itself.
    Ok(ends.into_iter().filter(|ended| matches!(ended, Ok(true))).count())
}
