//! The sessions of this node by user. A user may have several, up to a limit.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use actix::{Context, Handler, Message, MessageResult, Recipient};

use super::{SessionEntry, Supervisor};
use crate::actors::broadcast::{PushOutcome, broadcast};
use crate::actors::peer::Peer;
use crate::actors::reachable::Reachable;
use crate::actors::store::CommittedChange;
use crate::actors::webhooks::FindOnline;
use crate::permits::Permit;
use protocol::back_end::BackEndEvent;
use protocol::close::CloseCode;
use protocol::ids::{ConnectionId, SessionId, UserId};
use protocol::time::Timestamp;

/// How many sessions a second a drain closes, unless its configured spread is shorter.
const CLOSES_PER_SECOND: u64 = 1000;
/// The shortest time until a client comes back after a drain.
const FIRST_RETURN_MS: u64 = 1000;
/// The least time over which returning clients are spread.
const LEAST_SPREAD_MS: u64 = 5000;

/// The address of a session's connection, with the messages that the supervisor sends it.
pub trait SessionAddress: Reachable<UserOrderChanged> + Reachable<Disconnect> {}

impl<T: Reachable<UserOrderChanged> + Reachable<Disconnect>> SessionAddress for T {}

/// Registers a new session.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Register {
    /// The session.
    pub peer: Arc<Peer>,
    /// Its connection, which two sessions of one user may share.
    pub connection: ConnectionId,
    /// The address of that connection.
    pub address: Arc<dyn SessionAddress>,
    /// The user.
    pub user: UserId,
}

/// An order that concerns a session's user has changed.
#[derive(Clone, Message)]
#[rtype(result = "()")]
pub struct UserOrderChanged {
    /// The session.
    pub session: SessionId,
    /// The committed change.
    pub change: Arc<CommittedChange>,
}

impl Handler<FindOnline> for Supervisor {
    type Result = MessageResult<FindOnline>;

    fn handle(&mut self, FindOnline(users): FindOnline, _: &mut Context<Self>) -> Self::Result {
        let online = users.into_iter().filter(|user| self.users.contains_key(user));
        MessageResult(online.collect())
    }
}

/// Removes a session that has ended.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Unregister {
    /// The session.
    pub session: SessionId,
    /// The user.
    pub user: UserId,
}

/// The hub ends a connection. The answer says whether it ends.
#[derive(Debug, Clone, Message)]
#[rtype(result = "bool")]
pub struct Disconnect {
    /// The close code.
    pub close: CloseCode,
    /// An admin's reason, in place of that of the code.
    pub reason: Option<String>,
    /// After how many milliseconds the client should reconnect.
    pub reconnect_after_ms: Option<u64>,
    /// How long to wait before the close.
    pub delay: Duration,
    /// The user whom it concerns, where several share the connection; sessions of the others can be
    /// resumed. `None` concerns all.
    pub user: Option<UserId>,
    /// Ends the connection only if that user has a session on it whose token may have been issued
    /// before this time.
    pub issued_before: Option<Timestamp>,
}

/// Asks for the addresses that end a user's connections.
#[derive(Message)]
#[rtype(result = "Vec<Recipient<Disconnect>>")]
pub struct UserConnections(pub UserId);

/// Ends every session of a user. The answer is their number.
#[derive(Message)]
#[rtype(result = "usize")]
pub struct DisconnectUser {
    /// The user.
    pub user: UserId,
    /// How they end.
    pub end: Disconnect,
}

/// Sends an event of a back end to users. The answer is the number of connections that it reached.
#[derive(Message)]
#[rtype(result = "usize")]
pub struct NotifyUsers {
    /// The users who get it.
    pub users: BTreeSet<UserId>,
    /// The event.
    pub event: BackEndEvent,
    /// The permit of the supervisor's queue.
    pub permit: Permit,
}

/// Ends every session of the node, spread over a while. The answer is their number.
#[derive(Message)]
#[rtype(result = "usize")]
pub struct DisconnectAll {
    /// How they end.
    pub close: CloseCode,
    /// The time over which the closes are spread.
    pub spread: Duration,
}

impl Supervisor {
    /// Tells every session of the users involved before or after a change. The room is told first,
    /// so a session that leaves it meanwhile is told at least once.
    pub(super) fn notify_involved(&self, change: &Arc<CommittedChange>) {
        let (before, after) = (&change.changed.before, &change.changed.order.facts);
        let users: BTreeSet<&UserId> =
            before.involved_users().chain(after.involved_users()).collect();
        for entry in users.into_iter().flat_map(|user| self.sessions_of(user)) {
            let (session, change) = (entry.peer.id, Arc::clone(change));
            entry.address.tell(UserOrderChanged { session, change });
        }
    }

    fn sessions_of(&self, user: &UserId) -> &[SessionEntry] {
        self.users.get(user).map_or(&[], Vec::as_slice)
    }
}

impl Handler<Register> for Supervisor {
    type Result = ();

    /// A connection beyond the user's limit ends the oldest one.
    fn handle(&mut self, register: Register, _: &mut Context<Self>) {
        let Register { peer, connection, address, user } = register;
        let most = self.shared.config.limits.max_connections_per_user;
        self.subscribe_user(&user);
        // Nearly every user has one session; a first push would allocate room for four.
        let sessions = self.users.entry(user.clone()).or_insert_with(|| Vec::with_capacity(1));
        sessions.push(SessionEntry { peer, connection, address });
        if sessions.len() > most
            && let Some(oldest) = oldest_of_too_many(sessions, most)
        {
            // All sessions on that connection end with it.
            let ending: Vec<_> =
                sessions.extract_if(.., |entry| entry.connection == oldest).collect();
            if let Some(entry) = ending.first() {
                entry.address.tell(Disconnect::now(CloseCode::REPLACED).of(user));
            }
        }
    }
}

impl Handler<Unregister> for Supervisor {
    type Result = ();

    fn handle(&mut self, Unregister { session, user }: Unregister, _: &mut Context<Self>) {
        let Some(sessions) = self.users.get_mut(&user) else { return };
        sessions.retain(|entry| entry.peer.id != session);
        if sessions.is_empty() {
            self.users.remove(&user);
            self.unsubscribe_user(&user);
        }
    }
}

impl Handler<UserConnections> for Supervisor {
    type Result = MessageResult<UserConnections>;

    fn handle(&mut self, message: UserConnections, _: &mut Context<Self>) -> Self::Result {
        let sessions = self.sessions_of(&message.0).iter();
        let connections: BTreeMap<_, _> =
            sessions.map(|entry| (entry.connection, &entry.address)).collect();
        MessageResult(connections.into_values().map(|address| address.recipient()).collect())
    }
}

impl Handler<DisconnectUser> for Supervisor {
    type Result = usize;

    fn handle(&mut self, message: DisconnectUser, _: &mut Context<Self>) -> usize {
        let DisconnectUser { user, end } = message;
        let sessions = self.sessions_of(&user);
        for entry in sessions {
            entry.address.tell(end.clone().of(user.clone()));
        }
        sessions.len()
    }
}

impl Handler<NotifyUsers> for Supervisor {
    type Result = usize;

    fn handle(&mut self, message: NotifyUsers, _: &mut Context<Self>) -> usize {
        let mut connections = BTreeSet::new();
        let sessions = message.users.iter().flat_map(|user| self.sessions_of(user));
        broadcast(message.event.event(), &self.shared.metrics, sessions, |entry, event| {
            if entry.peer.has_ended() {
                return PushOutcome::Gone;
            }
            let outcome = entry.peer.outbox.push(event.frame(entry.peer.codec)).into();
            if outcome == PushOutcome::Sent {
                connections.insert(entry.connection);
            }
            outcome
        });
        connections.len()
    }
}

impl Handler<DisconnectAll> for Supervisor {
    type Result = usize;

    /// Ends one session after the other, and spreads the times at which clients come back.
    fn handle(&mut self, message: DisconnectAll, _: &mut Context<Self>) -> usize {
        let DisconnectAll { close, spread } = message;
        let sessions: Vec<_> = self.users.values().flatten().collect();
        for (index, entry) in sessions.iter().enumerate() {
            let (delay, reconnect_after_ms) =
                drain_schedule(index as u64, sessions.len() as u64, spread);
            entry.address.tell(Disconnect {
                delay,
                reconnect_after_ms: Some(reconnect_after_ms),
                ..Disconnect::now(close)
            });
        }
        sessions.len()
    }
}

impl Disconnect {
    /// Closes at once.
    pub fn now(close: CloseCode) -> Self {
        let (reason, reconnect_after_ms, delay) = (None, None, Duration::ZERO);
        Self { close, reason, reconnect_after_ms, delay, user: None, issued_before: None }
    }

    /// Limits it to this user, where others may share the connection.
    #[must_use]
    pub fn of(self, user: UserId) -> Self {
        Self { user: Some(user), ..self }
    }
}

/// The oldest connection of a user who has more than `most`.
fn oldest_of_too_many(sessions: &[SessionEntry], most: usize) -> Option<ConnectionId> {
    let connections: BTreeSet<ConnectionId> =
        sessions.iter().map(|entry| entry.connection).collect();
    (connections.len() > most).then(|| sessions.first().map(|entry| entry.connection)).flatten()
}

/// When one of `count` sessions is closed, and how long after that its client comes back. The
/// returns are spread evenly from 1 s to 5 s, or over as long as 1,000 a second take. Each client
/// gets a different time.
fn drain_schedule(index: u64, count: u64, spread: Duration) -> (Duration, u64) {
    let share = |whole: u64| whole * index / count.max(1);
    let spread_ms = u64::try_from(spread.as_millis()).unwrap_or(u64::MAX);
    let delay = Duration::from_millis(share(spread_ms.min(closing_ms(count))));
    let latest = LEAST_SPREAD_MS.max(FIRST_RETURN_MS + closing_ms(count));
    (delay, FIRST_RETURN_MS + share(latest - FIRST_RETURN_MS))
}

/// How many milliseconds it takes to close, or to take back, `count` sessions at that rate.
fn closing_ms(count: u64) -> u64 {
    count * 1000 / CLOSES_PER_SECOND
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_come_back_at_different_times() {
        for count in [1, 3, 4000, 20_000] {
            let spread = Duration::from_secs(4);
            let all: Vec<_> =
                (0..count).map(|index| drain_schedule(index, count, spread)).collect();
            let returns: BTreeSet<u64> = all.iter().map(|(_, after)| *after).collect();
            assert_eq!(returns.len() as u64, count, "different for each of {count}");
            assert!(
                returns.first() == Some(&1000) && all.iter().all(|(delay, _)| *delay <= spread)
            );
            assert!(returns.last() <= Some(&(count + 1000).max(5000)));
        }
        assert_eq!(drain_schedule(1, 2, Duration::from_secs(4)).0, Duration::from_millis(1));
    }
}
