//! Carries out what every node must: bans, removals from rooms, ends of sessions, revocations.

use std::sync::Arc;
use std::time::Duration;

use actix::MailboxError;
use futures_util::future::{join, join_all};
use tokio::time::timeout;

use crate::actors::cluster::Question;
use crate::actors::order_room::RemoveUser;
use crate::actors::supervisor::{Disconnect, DisconnectUser, GetRoom, UserConnections};
use crate::db::cluster_log::{Added, Entry};
use crate::http::Hub;
use crate::room::bans::BanScope;
use protocol::close::CloseCode;
use protocol::ids::{OrderId, UserId};
use protocol::time::Timestamp;

/// How long the caller waits for the nodes.
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

/// Has all nodes carry out an entry, this one too, and waits until they have. `added` is the entry in
/// the log. This node carries it out when it reads the log, so that the order of entries is the same
/// everywhere. A hub alone carries it out at once.
///
/// # Errors
/// If the hub stops.
pub async fn carry_out_everywhere(
    hub: &Hub,
    entry: &Entry,
    added: Option<Added>,
) -> Result<Done, MailboxError> {
    let (Some(Added { number, mut nodes }), Some(follower)) = (added, &hub.follower) else {
        know(hub, entry);
        return Ok(Done { closed: end(hub, entry).await?, pending: Vec::new() });
    };
    let (own, peers) = (&hub.shared.node, &hub.shared.peers);
    nodes.retain(|node| node.boot != own.boot);
    let question = Some(Question::Log(number));
    let others = peers.ask_also::<usize>(question, &nodes, OTHERS_TIMEOUT);
    let here = timeout(OTHERS_TIMEOUT, follower.result_of(number));
    let (here, others) = join(here, others).await;
    let (mut closed, mut pending) = (others.answers.iter().sum::<usize>(), others.silent);
    match here {
        Ok(Some(here)) => closed += here,
        // The log cannot be read just now, or a worker does not answer.
        Ok(None) | Err(_) => pending.push(Arc::clone(&own.name)),
    }
    Ok(Done { closed, pending })
}

/// From now on this node knows of an entry: who is barred does not get in any more.
pub(super) fn know(hub: &Hub, entry: &Entry) {
    match entry {
        Entry::Ban { order, user, until, .. } => {
            let scope = order.clone().map_or(BanScope::Hub, BanScope::Order);
            hub.shared.bans.insert(scope, user.clone(), *until, Timestamp::now());
            hub.shared.hooks.forget_user(user);
        }
        Entry::Revoke { user, issued_before } => {
            hub.shared.verifier.revoke(user.clone(), *issued_before);
            hub.shared.hooks.forget_user(user);
        }
    }
}

/// Removes those whom an entry bars from this node, which has no sessions and rooms before its first
/// worker runs. How many connections were closed.
///
/// # Errors
/// If the hub stops.
pub(super) async fn end(hub: &Hub, entry: &Entry) -> Result<usize, MailboxError> {
    match entry {
        Entry::Ban { order: Some(order), user, .. } => {
            remove_from_room(hub, order, user).await.map(|()| 0)
        }
        Entry::Ban { order: None, user, reason, .. } => {
            end_sessions(hub, user, reason.clone()).await
        }
        Entry::Revoke { user, issued_before } => close_revoked(hub, user, *issued_before).await,
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
