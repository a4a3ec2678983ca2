//! Who comes in and who goes: rights and presence.

use std::sync::Arc;
use std::time::Instant;

use actix::{Context, Handler};

use super::location::Lane;
use super::snapshot::Held;
use super::stats::SessionDetail;
use super::{Enter, Expel, JoinAgain, Leave, OrderRoom, Purpose, Rejudge};
use crate::actors::peer::{News, Place};
use crate::actors::shared::unavailable;
use crate::auth::Identity;
use crate::ids::{SessionId, UserId};
use crate::protocol::codec::Codec;
use crate::protocol::error::{ErrorCode, Failure};
use crate::protocol::server::{Left, LeftReason, MemberInfo, Presence, ServerEvent};
use crate::room::policy::{Action, judge};
use crate::room::visibility::{Visibility, sees_positions};
use crate::time::Timestamp;
use crate::transport::{Frame, Outbox};

/// By which driver the positions of a session count, or why they do not.
pub(super) type MayLocate = Result<UserId, Box<Failure>>;

/// A session that is shown the room. Fan-out goes through all of them for every event, so what it
/// needs stands here and not behind another pointer, and what is rare does.
pub(super) struct Member {
    /// That of the peer.
    pub(super) outbox: Outbox,
    /// That of the peer.
    pub(super) codec: Codec,
    pub(super) place: Place,
    pub(super) identity: Arc<Identity>,
    /// By which driver positions from here count, judged once and again when rights change.
    pub(super) may_locate: MayLocate,
    /// Which positions are for it, judged at the same times.
    pub(super) visibility: Visibility,
    /// What was sent while the snapshot is read; it follows the snapshot.
    pub(super) held: Option<Box<Held>>,
    /// Whether it has been shown the room.
    pub(super) shown: bool,
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
    pub(super) may_locate: MayLocate,
}

// === impl Purpose ===

impl Purpose {
    /// Tells a session that it is not let in.
    pub fn turn_away(self, mut place: Place, failure: Failure) {
        let answer = match self {
            // The client believes to be in, so this must not be the end: dropped without a word the
            // place tells the session that the room is lost, and it tries again.
            Self::Rejoin { .. } if failure.code == ErrorCode::Unavailable => return,
            Self::Rejoin { .. } => {
                let left = Left { order_id: &place.order, reason: LeftReason::Removed };
                place.peer.tell(&ServerEvent::Left(left)).ok();
                None
            }
            Self::Join(_, answer) => Some(answer),
            Self::Send => None,
        };
        place.tell(News::Refused(failure.clone()));
        if let Some(answer) = answer {
            answer.refuse(failure);
        }
    }
}

// === impl Member ===

impl Member {
    /// Queues a frame; with its seq, where it is chat.
    pub(super) fn push(&mut self, frame: Frame, seq: Option<i64>) -> Pushed {
        if let Some(held) = &mut self.held {
            held.frames.push_back((frame, seq));
            return if held.is_too_full() { Pushed::Gone } else { Pushed::Held };
        }
        let pushed = match seq {
            Some(seq) => self.place.push_chat(&self.outbox, frame, seq),
            None => self.outbox.push(frame),
        };
        if pushed.is_ok() { Pushed::Out } else { Pushed::Gone }
    }

    /// These positions are for it from now on. Where they are less than before, one that still waits
    /// is taken back.
    pub(super) fn see_positions<'a>(
        &mut self,
        visibility: Visibility,
        mut lanes: impl Iterator<Item = &'a Lane>,
    ) {
        let before = std::mem::replace(&mut self.visibility, visibility);
        if visibility.is_less_than(before) {
            lanes.by_ref().for_each(|lane| self.outbox.forget(lane.key));
        }
    }

    /// Whether a snapshot is being read for it.
    pub(super) fn is_held(&self) -> bool {
        self.held.is_some()
    }

    fn is_gone(&self) -> bool {
        self.held.as_ref().is_some_and(|held| held.is_too_full()) || self.outbox.is_closed()
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
        if place.peer.has_ended() {
            return place.give_up();
        }
        if let Err(failure) = self.may_enter(&identity, matches!(purpose, Purpose::Rejoin { .. })) {
            return purpose.turn_away(place, failure);
        }
        self.used = true;
        place.tell(News::Entered(self.handle.clone()));
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
                self.show(session, join, answer, ctx);
            }
            Purpose::Rejoin { returned } => {
                // After a panic the others believe that this user was here all the time.
                self.seat(place, identity, may_locate, returned || !self.after_crash);
                self.catch_member_up(session, ctx);
            }
        }
        self.count_occupants();
    }

    /// A session that is in joins once more; one that only sent becomes a member.
    pub(super) fn join_again(&mut self, again: JoinAgain, ctx: &mut Context<Self>) {
        let JoinAgain { session, join, answer, .. } = again;
        let Some((_, identity)) = self.attached(session) else {
            return answer.refuse(unavailable("the session is not in the room any more"));
        };
        if let Err(failure) = self.may_enter(identity, true) {
            answer.refuse(failure);
            self.expel(session);
        } else {
            if let Some(Sender { place, identity, may_locate }) = self.senders.remove(&session) {
                self.seat(place, identity, may_locate, true);
            }
            self.show(session, join, answer, ctx);
        }
        self.count_occupants();
    }

    /// Whether somebody has the right to be here; `known` are those who were in before.
    fn may_enter(&self, identity: &Identity, known: bool) -> Result<(), Failure> {
        if self.facts.deleted && identity.role.is_staff() {
            return Err(Failure::new(ErrorCode::NotFound, "no such order"));
        }
        let asker = self.shared.asker(identity, &self.order);
        judge(&self.shared.rules, &self.facts, asker, Action::Join, Timestamp::now())?;
        // Staff may see every order, so they may hear that there is none; others come by a right
        // that names it, and an order that only a token names exists from its first write.
        let exists = self.exists || !self.roster.is_empty();
        if known || asker.named || exists || self.shared.rules.open {
            return Ok(());
        }
        Err(Failure::new(ErrorCode::NotFound, "no such order"))
    }

    pub(super) fn may_send_positions(&self, identity: &Identity) -> MayLocate {
        let asker = self.shared.asker(identity, &self.order);
        judge(&self.shared.rules, &self.facts, asker, Action::Locate, Timestamp::now())?;
        Ok(identity.user.clone())
    }

    pub(super) fn visibility(&self, identity: &Identity) -> Visibility {
        let asker = self.shared.asker(identity, &self.order);
        let sees = sees_positions(&self.shared.rules, &self.facts, asker, Timestamp::now());
        sees.unwrap_or(Visibility::NONE)
    }

    /// Gives a session its seat.
    fn seat(
        &mut self,
        place: Place,
        identity: Arc<Identity>,
        may_locate: MayLocate,
        announce: bool,
    ) {
        let session = place.peer.id;
        let Identity { user, name, role, .. } = &*identity;
        if self.roster.enter(user, name, *role) && announce {
            let member = MemberInfo { user_id: user, name, role: *role };
            let order = self.order.clone();
            self.send_to_all(ServerEvent::PresenceJoined(Presence { order_id: &order, member }));
        }
        let (outbox, codec) = (place.peer.outbox.clone(), place.peer.codec);
        let visibility = self.visibility(&identity);
        let (held, shown) = (None, false);
        let member = Member { outbox, codec, place, identity, may_locate, visibility, held, shown };
        self.members.insert(session, member);
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
            self.forget_typing(leave.session, Instant::now());
            sender.place.give_up();
        }
        let member = self.remove_member(leave.session, leave.clean);
        drop(leave.farewell);
        if let Some(member) = member {
            member.place.give_up();
        }
        self.count_occupants();
    }

    /// Takes a member out and tells the others, at once or, after an unclean end, once the grace
    /// has passed.
    pub(super) fn remove_member(&mut self, session: SessionId, clean: bool) -> Option<Member> {
        let member = self.members.swap_remove(&session)?;
        self.forget_latest(&member.outbox);
        self.forget_typing(session, Instant::now());
        let grace = (!clean).then_some(self.shared.config.rooms.presence_grace);
        let departed = self.roster.leave(&member.identity.user, grace, Instant::now());
        if let Some(departed) = departed {
            self.announce_departure(&departed);
        }
        Some(member)
    }

    /// Takes back what still waits of the latest-wins lane.
    pub(super) fn forget_latest(&self, outbox: &Outbox) {
        let lanes = self.lanes.values().map(|lane| lane.key);
        lanes.chain(self.typists.keys()).for_each(|key| outbox.forget(key));
    }

    pub(super) fn announce_departure(&mut self, departed: &crate::room::roster::Departed) {
        let order = self.order.clone();
        let presence = Presence { order_id: &order, member: departed.info() };
        self.send_to_all(ServerEvent::PresenceLeft(presence));
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
            let member = self.remove_member(session, false);
            // One that is still there is dropped without a word: the session hears that it lost
            // the room, and comes back for what it has missed.
            if let Some(ended) = member.filter(|member| member.outbox.is_closed()) {
                ended.place.give_up();
            }
            self.count_occupants();
        }
    }

    /// A session has a new token. Those without a right any more are told and taken out.
    pub(super) fn rejudge(&mut self, rejudge: Rejudge) {
        self.adopt(rejudge.session, &rejudge.identity);
        self.banish();
        self.count_occupants();
    }

    /// Takes out everybody without a right to be here.
    pub(super) fn banish(&mut self) {
        let members = self.members.values().map(|member| (member.place.peer.id, &member.identity));
        let senders = self.senders.values().map(|sender| (sender.place.peer.id, &sender.identity));
        let banished: Vec<SessionId> = members
            .chain(senders)
            .filter(|(_, identity)| self.may_enter(identity, true).is_err())
            .map(|(session, _)| session)
            .collect();
        for session in banished {
            self.expel(session);
        }
    }

    /// Takes a user out.
    pub(super) fn expel_user(&mut self, user: &UserId) {
        let of_user = |identity: &Identity| identity.user == *user;
        let members = self.members.iter().filter(|(_, member)| of_user(&member.identity));
        let senders = self.senders.iter().filter(|(_, sender)| of_user(&sender.identity));
        let sessions: Vec<SessionId> =
            members.map(|(id, _)| *id).chain(senders.map(|(id, _)| *id)).collect();
        for session in sessions {
            self.expel(session);
        }
        if let Some(departed) = self.roster.stop_awaiting(user) {
            self.announce_departure(&departed);
        }
        self.count_occupants();
    }

    fn adopt(&mut self, session: SessionId, identity: &Arc<Identity>) {
        let may_locate = self.may_send_positions(identity);
        let visibility = self.visibility(identity);
        if let Some(member) = self.members.get_mut(&session) {
            member.identity = Arc::clone(identity);
            member.may_locate = may_locate;
            member.see_positions(visibility, self.lanes.values());
        } else if let Some(sender) = self.senders.get_mut(&session) {
            sender.identity = Arc::clone(identity);
            sender.may_locate = may_locate;
        }
    }

    fn expel(&mut self, session: SessionId) {
        let order = self.order.clone();
        let sender = self.senders.remove(&session).map(|sender| sender.place);
        if let Some(mut member) = self.remove_member(session, true) {
            let left = Left { order_id: &order, reason: LeftReason::Removed };
            member.place.peer.tell(&ServerEvent::Left(left)).ok();
            member.place.tell(News::Removed);
        }
        if let Some(mut place) = sender {
            self.forget_typing(session, Instant::now());
            place.tell(News::Removed);
        }
    }

    pub(super) fn count_occupants(&self) {
        self.handle.stats.occupancy(self.roster.len(), self.members.len(), Timestamp::now());
    }
}

impl Handler<Rejudge> for OrderRoom {
    type Result = ();

    fn handle(&mut self, rejudge: Rejudge, ctx: &mut Self::Context) {
        self.rejudge(rejudge);
        self.tick(Instant::now(), ctx);
    }
}

impl Handler<Expel> for OrderRoom {
    type Result = ();

    fn handle(&mut self, Expel(user): Expel, ctx: &mut Self::Context) {
        self.expel_user(&user);
        self.tick(Instant::now(), ctx);
    }
}
