//! Taking up a session again: what is known under its pid, and the rights to it as they are now.

use std::sync::Arc;
use std::time::{Duration, Instant};

use actix::Context;

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
use crate::session::resume::{Due, Pushes, Record, RoomMark};

/// How long a session may take to end for its client's next connection.
const PATIENCE: Duration = Duration::from_secs(2);

/// How often to look whether another connection is done with a record that it has claimed.
const CLAIMED_PAUSE: Duration = Duration::from_millis(20);

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
    /// What else it may not have got.
    due: Due,
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
    let allowed = may_return(&shared, &identity, rooms).await;
    (identity, Resumed { claimed, offset, allowed })
}

async fn look_up(shared: &Shared, pid: Pid, identity: &Identity) -> Option<Record> {
    let give_up_at = Instant::now() + PATIENCE;
    let mut asked = false;
    loop {
        let now = Instant::now();
        match shared.resumes.claim(pid, &identity.user, now) {
            Claim::Detached(record) => return Some(*record),
            Claim::Attached(_) | Claim::Claimed if now >= give_up_at => return None,
            // One that is gone already has left its record behind, too.
            Claim::Attached(owner) if !std::mem::replace(&mut asked, true) => {
                owner.send(HandOver { pid }).timeout(give_up_at - now).await.ok();
            }
            // In other hands for a moment; asked again if they keep it.
            Claim::Attached(_) | Claim::Claimed => {
                asked = false;
                actix_rt::time::sleep(CLAIMED_PAUSE).await;
            }
            Claim::Unknown => {
                let taken = shared.store.take_resume(pid, identity.user.clone()).await;
                return taken.unwrap_or_else(|error| {
                    log::warn!("cannot look for a session to take up again: {error}");
                    None
                });
            }
        }
    }
}

/// For each room whether its user may still be there. The token alone does not tell: a back end may
/// have taken away what it gives. Where the database does not answer the room itself judges, once
/// it does.
async fn may_return(shared: &Shared, identity: &Identity, rooms: &[RoomMark]) -> Vec<bool> {
    if rooms.is_empty() {
        return Vec::new();
    }
    let orders: Vec<OrderId> = rooms.iter().map(|room| room.order.clone()).collect();
    let known = shared.store.standing(orders, identity.user.clone()).await;
    let known = known.inspect_err(|error| log::warn!("cannot look for rights to return: {error}"));
    let unknown = OrderFacts::default();
    let may = |order: &OrderId| match &known {
        Ok(known) => {
            let facts = known.get(order).unwrap_or(&unknown);
            shared.may_join(identity, order, facts).is_ok()
        }
        Err(_) => !shared.asker(identity, order).banned,
    };
    rooms.iter().map(|room| may(&room.order)).collect()
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
        let marks = placed.marks.into_iter().map(|(_, since)| since).zip(placed.dues);
        let rooms = record.rooms().iter().cloned().zip(marks).zip(allowed);
        let rooms =
            rooms.map(|((mark, (since, due)), allowed)| Again { mark, since, due, allowed });
        let rooms = rooms.chain(removed.into_iter().map(Again::removed)).collect();
        let names = if recovered {
            let pushes = Pushes::new(offset);
            Names { session: record.session, pid: Some(record.pid), pushes }
        } else {
            claimed.shared.resumes.remove(record.pid);
            Names::new(true, offset)
        };
        (names, LinkId(record.last_link), rooms)
    }
}

impl Again {
    /// A room that the client was put out of while it was away.
    fn removed(order: OrderId) -> Self {
        let mark = RoomMark { order, joins: 0, link: 0, progress: -1 };
        Self { mark, since: -1, due: Due::default(), allowed: false }
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
        // Looked at before the pushes: what is told in between is in these.
        let told: Vec<_> = self.links.values().filter_map(Link::told).collect();
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
        Some(record.put_out_of(self.removed()).having_told(told))
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
        for Again { mark, since, due, allowed } in rooms {
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
                if let Some(mut pushes) = self.peer.pushes() {
                    pushes.owe(link.id.0, due);
                }
                Purpose::Rejoin { returned: true }
            };
            self.links.insert(mark.order.clone(), link);
            self.wait_for_turn(mark.order, purpose);
        }
        self.take_turns(ctx);
    }
}
