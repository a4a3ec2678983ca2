//! The sessions of this node by user. A user may have several, up to a limit.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;
use std::time::Duration;

use actix::Recipient;

use super::{Disconnect, Register, Supervisor, UserOrderChanged};
use crate::actors::broadcast::Broadcast;
use crate::actors::peer::Peer;
use crate::actors::store::CommittedChange;
use crate::ids::{ConnectionId, SessionId, UserId};
use crate::protocol::back_end::BackEndEvent;
use crate::protocol::close::CloseCode;

/// How many sessions a second a drain closes, unless its configured spread is shorter.
const CLOSES_PER_SECOND: u64 = 1000;
/// The shortest time until a client comes back after a drain.
const FIRST_RETURN_MS: u64 = 1000;
/// The least time over which returning clients are spread.
const LEAST_SPREAD_MS: u64 = 5000;

/// An open session.
pub(super) struct SessionEntry {
    peer: Arc<Peer>,
    connection: ConnectionId,
}

impl Supervisor {
    /// Registers a session. A connection beyond the user's limit ends the oldest one.
    pub(super) fn register(&mut self, register: Register) {
        let Register { peer, connection, user } = register;
        let most = self.shared.config.limits.max_connections_per_user;
        // Nearly every user has one session; a first push would allocate room for four.
        let sessions = self.users.entry(user.clone()).or_insert_with(|| Vec::with_capacity(1));
        sessions.push(SessionEntry { peer, connection });
        if sessions.len() > most
            && let Some(oldest) = oldest_of_too_many(sessions, most)
        {
            // All sessions on that connection end with it.
            let (ending, stay): (Vec<_>, Vec<_>) = std::mem::take(sessions)
                .into_iter()
                .partition(|entry: &SessionEntry| entry.connection == oldest);
            *sessions = stay;
            if let Some(entry) = ending.first() {
                entry.peer.connection.tell(Disconnect::now(CloseCode::REPLACED).of(user));
            }
        }
    }

    pub(super) fn unregister(&mut self, user: &UserId, session: SessionId) {
        let Some(sessions) = self.users.get_mut(user) else { return };
        sessions.retain(|entry| entry.peer.id != session);
        if sessions.is_empty() {
            self.users.remove(user);
        }
    }

    /// Tells every session of the users involved before or after a change. The room is told first,
    /// so a session that leaves it meanwhile is told at least once.
    pub(super) fn notify_involved(&self, change: &Arc<CommittedChange>) {
        let (before, after) = (&change.changed.before, &change.changed.order.facts);
        let users: BTreeSet<&UserId> =
            before.involved_users().chain(after.involved_users()).collect();
        for entry in users.into_iter().filter_map(|user| self.users.get(user)).flatten() {
            let (session, change) = (entry.peer.id, Arc::clone(change));
            entry.peer.connection.tell(UserOrderChanged { session, change });
        }
    }

    /// Sends an event to every session of these users. Returns how many connections got it.
    pub(super) fn notify_users(&self, users: &BTreeSet<UserId>, event: &BackEndEvent) -> usize {
        let event = event.event();
        self.shared.metrics.events_out.inc(event.index());
        let mut broadcast = Broadcast::new(event);
        let (mut delivered, mut connections) = (0, BTreeSet::new());
        for entry in users.iter().filter_map(|user| self.users.get(user)).flatten() {
            let frame = broadcast.frame(entry.peer.codec);
            if !entry.peer.has_ended() && entry.peer.outbox.push(frame).is_ok() {
                delivered += 1;
                connections.insert(entry.connection);
            }
        }
        self.shared.metrics.deliveries.inc_by(delivered);
        connections.len()
    }

    /// Those of these users who are connected.
    pub(super) fn online_of(&self, users: Vec<UserId>) -> HashSet<UserId> {
        users.into_iter().filter(|user| self.users.contains_key(user)).collect()
    }

    /// The addresses that end each connection of a user.
    pub(super) fn connections_of(&self, user: &UserId) -> Vec<Recipient<Disconnect>> {
        let sessions = self.users.get(user).map_or(&[][..], Vec::as_slice);
        let ways: BTreeMap<_, _> =
            sessions.iter().map(|entry| (entry.connection, &entry.peer.connection)).collect();
        ways.into_values().map(|connection| connection.recipient()).collect()
    }

    pub(super) fn disconnect_user(&self, user: &UserId, end: &Disconnect) -> usize {
        let sessions = self.users.get(user).map_or(&[][..], Vec::as_slice);
        for entry in sessions {
            entry.peer.connection.tell(end.clone().of(user.clone()));
        }
        sessions.len()
    }

    /// Ends every session, one after the other, and spreads the times at which clients come back.
    pub(super) fn disconnect_all(&self, close: CloseCode, spread: Duration) -> usize {
        let sessions: Vec<_> = self.users.values().flatten().collect();
        for (index, entry) in sessions.iter().enumerate() {
            let (delay, reconnect_after_ms) =
                drain_schedule(index as u64, sessions.len() as u64, spread);
            entry.peer.connection.tell(Disconnect {
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
