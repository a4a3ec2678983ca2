//! Who comes in and who goes: rights, snapshots without a gap, presence.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use actix::{ActorFutureExt, AsyncContext, Context, WrapFuture};

use super::stats::SessionDetail;
use super::{Enter, Leave, OrderRoom, Purpose, Rejudge, chat};
use crate::actors::peer::{Answer, Place, RoomNotice};
use crate::actors::shared::unavailable;
use crate::actors::store::PageRange;
use crate::auth::Identity;
use crate::ids::SessionId;
use crate::protocol::client::{Join, MAX_PAGE};
use crate::protocol::error::{ErrorCode, Failure};
use crate::protocol::server::{
    Left, LeftReason, MemberInfo, Presence, Reply, ServerEvent, Snapshot,
};
use crate::room::policy::{Action, judge};
use crate::room::ring::{MessageJson, Page};
use crate::time::Timestamp;
use crate::transport::Frame;

/// How many frames may wait for a member whose snapshot is being read.
const MOST_HELD: usize = 256;

/// A session that is shown the room.
pub(super) struct Member {
    pub(super) place: Place,
    pub(super) identity: Arc<Identity>,
    /// Whether positions from here count, judged once and again when rights change.
    pub(super) may_locate: Result<(), Failure>,
    /// What was sent while the snapshot is read; it follows the snapshot.
    held: Option<Held>,
    /// Whether it has been shown the room.
    shown: bool,
}

/// What became of a frame for a member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pushed {
    /// It is in the outbox.
    Out,
    /// It waits for the member's snapshot.
    Held,
    /// The member takes no more.
    Gone,
}

/// A session that only sends.
pub(super) struct Sender {
    pub(super) place: Place,
    pub(super) identity: Arc<Identity>,
    pub(super) may_locate: Result<(), Failure>,
}

#[derive(Default)]
struct Held {
    /// Frames, with the seq of those that are chat.
    frames: VecDeque<(Frame, Option<i64>)>,
    /// Joins of the same session that wait for the one before.
    joins: VecDeque<(Join, Answer)>,
}

/// How a snapshot is sent.
enum Showing {
    /// To a join.
    Joined(Answer),
    /// To nobody: only the messages that were missed, as live ones.
    Missed,
}

// === impl Member ===

impl Member {
    /// Queues a frame; with its seq, where it is chat.
    pub(super) fn push(&mut self, frame: Frame, seq: Option<i64>) -> Pushed {
        if let Some(held) = &mut self.held {
            held.frames.push_back((frame, seq));
            return if held.frames.len() > MOST_HELD { Pushed::Gone } else { Pushed::Held };
        }
        if let Some(seq) = seq {
            self.place.progress.store(seq, Ordering::Relaxed);
        }
        if self.place.peer.outbox.push(frame).is_ok() { Pushed::Out } else { Pushed::Gone }
    }

    /// Whether a snapshot is being read for it.
    pub(super) fn is_held(&self) -> bool {
        self.held.is_some()
    }

    fn is_gone(&self) -> bool {
        let overheld = self.held.as_ref().is_some_and(|held| held.frames.len() > MOST_HELD);
        overheld || self.place.peer.outbox.is_closed()
    }

    pub(super) fn detail(&self) -> SessionDetail {
        detail(&self.place, &self.identity, true)
    }
}

impl Sender {
    pub(super) fn detail(&self) -> SessionDetail {
        detail(&self.place, &self.identity, false)
    }
}

fn detail(place: &Place, identity: &Identity, member: bool) -> SessionDetail {
    let backlog = place.peer.outbox.backlog();
    SessionDetail {
        session_id: place.peer.id,
        user_id: identity.user.clone(),
        name: identity.name.clone(),
        role: identity.role,
        member,
        backlog_frames: backlog.frames,
        backlog_bytes: backlog.bytes,
    }
}

// === impl OrderRoom ===

impl OrderRoom {
    /// Lets a session in, or tells it why not.
    pub(super) fn admit(&mut self, enter: Enter, ctx: &mut Context<Self>) {
        let Enter { mut place, identity, purpose, .. } = enter;
        if place.peer.outbox.is_closed() {
            return place.give_up();
        }
        if let Err(failure) = self.may_enter(&identity) {
            let order = self.order.clone();
            place.tell(RoomNotice::Refused { order, failure: failure.clone() });
            if let Purpose::Join(_, answer) = purpose {
                answer.refuse(failure);
            }
            return;
        }
        self.used = true;
        let joined = matches!(purpose, Purpose::Join(..));
        let (order, room) = (self.order.clone(), self.handle.clone());
        let progress = Arc::clone(&place.progress);
        place.tell(RoomNotice::Entered { order, room, joined, progress });
        let may_locate = self.may_send_positions(&identity);
        let session = place.peer.id;
        match purpose {
            Purpose::Send => {
                let replaced = self.senders.insert(session, Sender { place, identity, may_locate });
                if let Some(sender) = replaced {
                    sender.place.give_up();
                }
            }
            Purpose::Join(join, answer) => {
                self.seat(place, identity, may_locate, true);
                self.show(session, join, Showing::Joined(answer), ctx);
            }
            Purpose::Rejoin => {
                let since_seq = Some(place.progress());
                self.seat(place, identity, may_locate, false);
                let join = Join { order_id: self.order.clone(), since_seq, limit: MAX_PAGE };
                self.show(session, join, Showing::Missed, ctx);
            }
        }
        self.count_occupants();
    }

    fn may_enter(&self, identity: &Identity) -> Result<(), Failure> {
        let asker = self.shared.asker(identity, &self.order);
        judge(&self.shared.rules, &self.facts, asker, Action::Join, Timestamp::now())?;
        // Staff may see every order, so they may hear that there is none; others come by a right
        // that names it, and an order that only a token names exists from its first write.
        if asker.named || self.exists || !self.roster.is_empty() || self.shared.rules.open {
            return Ok(());
        }
        Err(Failure::new(ErrorCode::NotFound, "no such order"))
    }

    pub(super) fn may_send_positions(&self, identity: &Identity) -> Result<(), Failure> {
        let asker = self.shared.asker(identity, &self.order);
        judge(&self.shared.rules, &self.facts, asker, Action::Locate, Timestamp::now())
    }

    /// Gives a session its seat. One that has a seat keeps it; one that only sent becomes a member.
    fn seat(
        &mut self,
        place: Place,
        identity: Arc<Identity>,
        may_locate: Result<(), Failure>,
        announce: bool,
    ) {
        let session = place.peer.id;
        if self.members.contains_key(&session) {
            return place.give_up();
        }
        if let Some(sender) = self.senders.remove(&session) {
            sender.place.give_up();
        }
        let Identity { user, name, role, .. } = &*identity;
        if self.roster.enter(user, name, *role) && announce {
            let member = MemberInfo { user_id: user, name, role: *role };
            let order = self.order.clone();
            self.send_to_all(
                ServerEvent::PresenceJoined(Presence { order_id: &order, member }),
                None,
            );
        }
        self.members
            .insert(session, Member { place, identity, may_locate, held: None, shown: false });
    }

    /// Shows a member the room as it is now: from memory, or, where that does not reach back far
    /// enough, from the database, while what is sent meanwhile waits.
    fn show(&mut self, session: SessionId, join: Join, showing: Showing, ctx: &mut Context<Self>) {
        let Some(member) = self.members.get_mut(&session) else { return };
        if let (Some(held), Showing::Joined(_)) = (&mut member.held, &showing) {
            if let Showing::Joined(answer) = showing {
                held.joins.push_back((join, answer));
            }
            return;
        }
        if let Some(page) = self.ring.page(join.since_seq, join.limit) {
            return self.send_page(session, &page, showing);
        }
        member.held = Some(Held::default());
        let cut = self.delivery.delivered();
        let since = join.since_seq.map(|since| since.min(cut));
        let limit = since.map_or(join.limit, |since| join.limit.min(cut - since));
        let (store, order) = (self.shared.store.clone(), self.order.clone());
        let read = async move { store.page(order, PageRange::Before(cut + 1), limit).await };
        ctx.spawn(read.into_actor(self).map(move |page, room, ctx| {
            match page {
                Ok(page) => {
                    let found = i64::try_from(page.messages.len()).unwrap_or(0);
                    let recovered = since.is_some_and(|since| since + found == cut);
                    let messages: Vec<MessageJson> = page.messages.iter().map(chat::json).collect();
                    room.release(session, &Page { messages, recovered }, cut, showing, ctx);
                }
                Err(_) => room.give_up_showing(session, showing),
            }
            room.tick(Instant::now(), ctx);
        }));
    }

    /// The page was read: sends it, then what was held back, then serves the next join.
    fn release(
        &mut self,
        session: SessionId,
        page: &Page,
        cut: i64,
        showing: Showing,
        ctx: &mut Context<Self>,
    ) {
        let Some(held) = self.members.get_mut(&session).and_then(|member| member.held.take())
        else {
            return;
        };
        self.send_page_until(session, page, cut, showing);
        let Some(member) = self.members.get_mut(&session) else { return };
        for (frame, seq) in held.frames {
            member.push(frame, seq);
        }
        for (join, answer) in held.joins {
            self.show(session, join, Showing::Joined(answer), ctx);
        }
    }

    /// The page could not be read. A member who was in before stays; a new one is out again.
    fn give_up_showing(&mut self, session: SessionId, showing: Showing) {
        let failure = unavailable("the database does not answer");
        if let Showing::Joined(answer) = showing {
            answer.refuse(failure.clone());
        }
        let Some(member) = self.members.get_mut(&session) else { return };
        let held = member.held.take().unwrap_or_default();
        held.joins.into_iter().for_each(|(_, answer)| answer.refuse(failure.clone()));
        if member.shown {
            for (frame, seq) in held.frames {
                member.push(frame, seq);
            }
        } else if let Some(mut member) = self.remove_member(session, true) {
            member.place.tell(RoomNotice::Refused { order: self.order.clone(), failure });
        }
    }

    fn send_page(&mut self, session: SessionId, page: &Page, showing: Showing) {
        self.send_page_until(session, page, self.delivery.delivered(), showing);
    }

    fn send_page_until(&mut self, session: SessionId, page: &Page, cut: i64, showing: Showing) {
        let Some(member) = self.members.get_mut(&session) else { return };
        member.shown = true;
        member.place.progress.store(cut, Ordering::Relaxed);
        let peer = Arc::clone(&member.place.peer);
        let answer = match showing {
            Showing::Missed if page.recovered => {
                for json in &page.messages {
                    // A session that ends meanwhile is noticed at the next fan-out.
                    peer.tell(&ServerEvent::Chat(json)).ok();
                }
                return;
            }
            // More was missed than fits into a page: the client must page, so it is told.
            Showing::Missed => None,
            Showing::Joined(answer) => Some(answer),
        };
        let snapshot = self.snapshot(page, cut);
        match answer {
            Some(answer) if answer.is_wanted() => answer.ok(Reply::Joined(&snapshot)),
            answer => {
                peer.tell(&ServerEvent::Joined(&snapshot)).ok();
                if let Some(answer) = answer {
                    answer.ok(Reply::Joined(&snapshot));
                }
            }
        }
    }

    fn snapshot<'a>(&'a self, page: &'a Page, cut: i64) -> Snapshot<'a> {
        let ended = crate::room::policy::has_ended(&self.shared.rules, &self.facts);
        Snapshot {
            order_id: &self.order,
            status: self.facts.status.as_deref(),
            driver_id: self.facts.driver_id.as_ref(),
            last_seq: cut,
            recovered: page.recovered,
            messages: page.messages.iter().map(AsRef::as_ref).collect(),
            last_location: self.track.shown(Timestamp::now()).filter(|_| !ended),
            members: self.roster.members().collect(),
        }
    }

    /// Lets a session go.
    pub(super) fn leave(&mut self, leave: Leave) {
        if let Some(waiting) = &mut self.loading {
            let (gone, stay) = std::mem::take(waiting)
                .into_iter()
                .partition(|enter: &Enter| enter.place.peer.id == leave.session);
            *waiting = stay;
            Vec::into_iter(gone).for_each(|enter: Enter| enter.place.give_up());
        }
        if let Some(sender) = self.senders.remove(&leave.session) {
            sender.place.give_up();
        }
        let member = self.remove_member(leave.session, leave.clean);
        if let Some(answer) = leave.answer {
            if let (Some(member), false) = (&member, answer.is_wanted()) {
                let left = Left { order_id: &self.order, reason: LeftReason::Requested };
                member.place.peer.tell(&ServerEvent::Left(left)).ok();
            }
            answer.ok(Reply::Left { remaining: 0 });
        }
        if let Some(member) = member {
            member.place.give_up();
        }
        self.count_occupants();
    }

    /// Takes a member out and tells the others, at once or, after an unclean end, once the grace
    /// has passed.
    fn remove_member(&mut self, session: SessionId, clean: bool) -> Option<Member> {
        let member = self.members.swap_remove(&session)?;
        for lane in self.lanes.values() {
            member.place.peer.outbox.forget(*lane);
        }
        let grace = (!clean).then_some(self.shared.config.rooms.presence_grace);
        let departed = self.roster.leave(&member.identity.user, grace, Instant::now());
        if let Some(departed) = departed {
            self.announce_departure(&departed);
        }
        Some(member)
    }

    fn announce_departure(&mut self, departed: &crate::room::roster::Departed) {
        let order = self.order.clone();
        let presence = Presence { order_id: &order, member: departed.info() };
        self.send_to_all(ServerEvent::PresenceLeft(presence), None);
    }

    /// Tells of the users whose grace has ended.
    pub(super) fn say_goodbyes(&mut self, now: Instant) {
        for departed in self.roster.expired(now) {
            self.announce_departure(&departed);
            self.count_occupants();
        }
    }

    /// Removes members whose sessions have ended, or who waited too long for their snapshot.
    pub(super) fn drop_the_gone(&mut self) {
        let gone: Vec<SessionId> =
            self.members.iter().filter(|(_, m)| m.is_gone()).map(|(id, _)| *id).collect();
        for session in gone {
            if let Some(mut member) = self.remove_member(session, false) {
                let failure = unavailable("the room was too busy to show");
                let order = self.order.clone();
                member.place.tell(RoomNotice::Refused { order, failure });
            }
            self.count_occupants();
        }
    }

    /// Judges again: those without a right any more are told and taken out.
    pub(super) fn rejudge(&mut self, rejudge: Rejudge) {
        if let Some((session, identity)) = rejudge.who {
            self.adopt(session, &identity);
        }
        let members = self.members.values().map(|member| (member.place.peer.id, &member.identity));
        let senders = self.senders.values().map(|sender| (sender.place.peer.id, &sender.identity));
        let banished: Vec<SessionId> = members
            .chain(senders)
            .filter(|(_, identity)| self.may_enter(identity).is_err())
            .map(|(session, _)| session)
            .collect();
        for session in banished {
            self.expel(session);
        }
        self.count_occupants();
    }

    fn adopt(&mut self, session: SessionId, identity: &Arc<Identity>) {
        let may_locate = self.may_send_positions(identity);
        if let Some(member) = self.members.get_mut(&session) {
            member.identity = Arc::clone(identity);
            member.may_locate = may_locate;
        } else if let Some(sender) = self.senders.get_mut(&session) {
            sender.identity = Arc::clone(identity);
            sender.may_locate = may_locate;
        }
    }

    fn expel(&mut self, session: SessionId) {
        let order = self.order.clone();
        let sender = self.senders.remove(&session).map(|sender| sender.place);
        if let Some(member) = self.remove_member(session, true) {
            let left = Left { order_id: &order, reason: LeftReason::Removed };
            member.place.peer.tell(&ServerEvent::Left(left)).ok();
            self.dismiss(member.place);
        }
        if let Some(place) = sender {
            self.dismiss(place);
        }
    }

    fn dismiss(&self, mut place: Place) {
        place.tell(RoomNotice::Removed { order: self.order.clone() });
    }

    pub(super) fn count_occupants(&self) {
        self.handle.stats.occupancy(self.roster.len(), self.members.len(), Timestamp::now());
    }
}
