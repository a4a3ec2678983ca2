//! Taking up a session again: what is known under its pid, and the rights to it as they are now.

use std::sync::Arc;
use std::time::{Duration, Instant};

use actix::Context;
use futures_util::future::join_all;

use super::Session;
use super::connecting::Names;
use super::links::Link;
use super::login::Login;
use crate::actors::order_room::Purpose;
use crate::actors::peer::{Answer, LinkId};
use crate::actors::resumes::{Claim, HandOver};
use crate::actors::shared::Shared;
use crate::auth::Identity;
use crate::ids::{OrderId, Pid};
use crate::protocol::client::{ClientEventName, DEFAULT_PAGE, Join};
use crate::protocol::server::{Left, LeftReason, ServerEvent};
use crate::protocol::socketio::Namespace;
use crate::room::order::OrderFacts;
use crate::room::policy::{Action, judge};
use crate::session::resume::{Pushes, Record, RoomMark};
use crate::time::Timestamp;

/// How long a session may take to end for its client's next connection.
const PATIENCE: Duration = Duration::from_secs(2);

/// A record that was claimed. Dropped before it was taken up, it is kept for the next try.
struct Claimed {
    record: Option<Record>,
    shared: Arc<Shared>,
}

/// What a client finds again.
pub(super) struct Resumed {
    claimed: Claimed,
    offset: Option<(OrderId, i64)>,
    /// Its rooms, each with whether it may still be there.
    allowed: Vec<bool>,
}

/// A room that a client comes back to.
pub(super) struct Again {
    mark: RoomMark,
    /// The last chat message that the client has; -1 where it was never shown the room.
    since: i64,
    allowed: bool,
}

/// Looks for what was kept under a pid, wherever it is, and for the rights to its rooms.
pub(super) async fn find(
    shared: Arc<Shared>,
    pid: Pid,
    identity: Identity,
    namespace: Namespace,
    offset: Option<(OrderId, i64)>,
) -> (Identity, Resumed) {
    let record = look_up(&shared, pid, &identity).await;
    let mut claimed = Claimed { record, shared: Arc::clone(&shared) };
    if claimed.record.as_ref().is_some_and(|record| record.namespace != namespace) {
        claimed = Claimed { record: None, shared: Arc::clone(&shared) };
    }
    let rooms = claimed.record.as_ref().map_or(&[][..], Record::rooms);
    let allowed = join_all(rooms.iter().map(|room| may_return(&shared, &identity, &room.order)));
    let allowed = allowed.await;
    (identity, Resumed { claimed, offset, allowed })
}

async fn look_up(shared: &Shared, pid: Pid, identity: &Identity) -> Option<Record> {
    match shared.resumes.claim(pid, &identity.user, Instant::now()) {
        Claim::Detached(record) => Some(record),
        Claim::Attached(owner) => {
            // One that is gone already has left its record behind, too.
            owner.send(HandOver { pid }).timeout(PATIENCE).await.ok();
            match shared.resumes.claim(pid, &identity.user, Instant::now()) {
                Claim::Detached(record) => Some(record),
                _ => None,
            }
        }
        Claim::Unknown => {
            let taken = shared.store.take_resume(pid, identity.user.clone()).await;
            taken.unwrap_or_else(|error| {
                log::warn!("cannot look for a session to take up again: {error}");
                None
            })
        }
    }
}

/// Whether somebody may still be in a room. Where the database does not answer the room itself
/// judges, once it does.
async fn may_return(shared: &Shared, identity: &Identity, order: &OrderId) -> bool {
    let may = |facts: &OrderFacts| {
        let asker = shared.asker(identity, order);
        judge(&shared.rules, facts, asker, Action::Join, Timestamp::now()).is_ok()
    };
    if may(&OrderFacts::default()) {
        return true;
    }
    let loaded = shared.store.load_order(order.clone(), 0).await;
    loaded.is_err() || loaded.is_ok_and(|loaded| may(&loaded.facts))
}

// === impl Resumed ===

impl Resumed {
    /// The names under which the client goes on, the last number of a tie that they used, and its
    /// rooms. The old names only where the client will have everything: it then believes that
    /// nothing happened.
    pub(super) fn take_up(self) -> (Names, LinkId, Vec<Again>) {
        let Self { mut claimed, offset, allowed } = self;
        let Some(record) = claimed.record.take() else {
            return (Names::new(true, offset), LinkId::default(), Vec::new());
        };
        let placed = record.place(offset.as_ref().map(|(order, seq)| (order, *seq)));
        let removed: Vec<OrderId> = record.removed().cloned().collect();
        let recovered =
            placed.found && removed.is_empty() && allowed.iter().all(|allowed| *allowed);
        let marks = placed.marks.into_iter().map(|(_, since)| since);
        let rooms = record.rooms().iter().cloned().zip(marks).zip(allowed);
        let rooms = rooms.map(|((mark, since), allowed)| Again { mark, since, allowed });
        let rooms = rooms.chain(removed.into_iter().map(Again::removed)).collect();
        let names = if recovered {
            let pushes = Pushes::new(offset);
            Names { session: record.session, pid: Some(record.pid), pushes }
        } else {
            Names::new(true, offset)
        };
        (names, LinkId(record.last_link), rooms)
    }
}

impl Again {
    /// A room that the client was put out of while it was away.
    fn removed(order: OrderId) -> Self {
        let mark = RoomMark { order, joins: 0, link: 0, progress: -1 };
        Self { mark, since: -1, allowed: false }
    }
}

impl Drop for Claimed {
    fn drop(&mut self) {
        if let Some(record) = self.record.take() {
            self.shared.resumes.detach(record, Instant::now());
        }
    }
}

// === impl Login ===

impl Login {
    /// What is kept of this login for its return; none where it cannot return.
    ///
    /// Taken under the lock that pushes take: each of them is either in it or will be missed.
    pub(super) fn record(&self) -> Option<Record> {
        let (pid, namespace) = (self.pid?, self.peer.codec.namespace()?);
        let pushes = self.peer.pushes()?;
        let joined = self.links.iter().filter(|(_, link)| link.joins > 0);
        let rooms = joined.map(|(order, link)| RoomMark {
            order: order.clone(),
            joins: link.joins,
            link: link.id.0,
            progress: link.progress(),
        });
        let (user, session) = (self.identity.user.clone(), self.peer.id);
        let last_link = self.last_link.0;
        let record = Record::new(pid, user, session, namespace, last_link, rooms, pushes.clone());
        Some(record.put_out_of(self.removed()))
    }

    /// Comes back into the rooms that it was in: the client sees nothing of it but what it has
    /// missed.
    pub(super) fn come_in_again(
        &mut self,
        last_link: LinkId,
        rooms: Vec<Again>,
        ctx: &mut Context<Session>,
    ) {
        // No number of a tie is used twice in a session, and this goes on with an older one.
        self.last_link = last_link;
        for Again { mark, since, allowed } in rooms {
            if !allowed {
                let left = Left { order_id: &mark.order, reason: LeftReason::Removed };
                self.peer.tell(&ServerEvent::Left(left)).ok();
                continue;
            }
            self.last_link.0 += 1;
            let mut link = Link::entering(self.last_link, Arc::clone(&self.identity));
            link.restore(mark.joins);
            let purpose = if since < 0 {
                let answer = Answer::new(Arc::clone(&self.peer), ClientEventName::Join, None);
                let order_id = mark.order.clone();
                Purpose::Join(Join { order_id, since_seq: None, limit: DEFAULT_PAGE }, answer)
            } else {
                link.set_progress(since);
                Purpose::Rejoin { returned: true }
            };
            self.links.insert(mark.order.clone(), link);
            self.ask_to_enter(mark.order, purpose, ctx);
        }
    }
}
