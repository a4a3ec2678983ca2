//! Entering and leaving: rights and presence.

use std::sync::Arc;
use std::time::Instant;

use actix::{Context, Handler};

use super::location::DriverLane;
use super::snapshot::HeldFrames;
use super::stats::SessionDetail;
use super::{Enter, EntryKind, JoinAgain, Leave, OrderRoom, RemoveUser, UpdateIdentity};
use crate::actors::peer::{MembershipEvent, MembershipGuard};
use crate::actors::shared::unavailable;
use crate::auth::Identity;
use crate::ids::{SessionId, UserId};
use crate::protocol::codec::Codec;
use crate::protocol::error::{ErrorCode, Failure};
use crate::protocol::server::{Left, LeftReason, MemberInfo, Presence, ServerEvent};
use crate::room::policy::{Action, authorize};
use crate::room::visibility::{Visibility, position_visibility};
use crate::time::Timestamp;
use crate::transport::{Frame, Outbox};
use crate::webhooks::event::EventKind;

/// The driver for whom the positions of a session count, or why they do not count.
pub(super) type LocationRight = Result<UserId, Box<Failure>>;

/// A session that is shown the room. Fan-out visits all members for every event, so the fields that
/// it needs are inline, and rare ones are boxed.
pub(super) struct Member {
    /// The peer's.
    pub(super) outbox: Outbox,
    /// The peer's.
    pub(super) codec: Codec,
    pub(super) guard: MembershipGuard,
    pub(super) identity: Arc<Identity>,
    /// The driver for whom its positions count. Computed once, and again when rights change.
    pub(super) location_right: LocationRight,
    /// Which positions it may see. Computed at the same times.
    pub(super) visibility: Visibility,
    /// Frames that are held back while the snapshot is read; they follow the snapshot.
    pub(super) held: Option<Box<HeldFrames>>,
    /// Whether it got a snapshot.
    pub(super) has_snapshot: bool,
}

/// The outcome of a push to a member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PushOutcome {
    /// It is in the outbox.
    Sent,
    /// It waits for the member's snapshot.
    Held,
    /// The member's outbox is closed, or it holds too many frames.
    Gone,
}

/// A session that only sends.
pub(super) struct Sender {
    pub(super) guard: MembershipGuard,
    pub(super) identity: Arc<Identity>,
    pub(super) location_right: LocationRight,
}

// === impl EntryKind ===

impl EntryKind {
    /// Tells a session that it may not enter.
    pub fn refuse(self, mut guard: MembershipGuard, failure: Failure) {
        let answer = match self {
            // The client is in the room from its point of view, so this must not be the end. The
            // dropped guard tells the session that the room is lost, and the session tries again.
            Self::Rejoin { .. } if failure.code == ErrorCode::Unavailable => return,
            Self::Rejoin { .. } => {
                let left = Left { order_id: &guard.order, reason: LeftReason::Removed };
                guard.peer.tell(&ServerEvent::Left(left)).ok();
                None
            }
            Self::Join(_, answer) => Some(answer),
            Self::SendOnly => None,
        };
        guard.notify(MembershipEvent::Refused(failure.clone()));
        if let Some(answer) = answer {
            answer.refuse(failure);
        }
    }
}

// === impl Member ===

impl Member {
    /// Queues a frame, with its `seq` where it is chat.
    pub(super) fn push(&mut self, frame: Frame, seq: Option<i64>) -> PushOutcome {
        if let Some(held) = &mut self.held {
            held.frames.push_back((frame, seq));
            return if held.is_too_full() { PushOutcome::Gone } else { PushOutcome::Held };
        }
        let pushed = match seq {
            Some(seq) => self.guard.push_chat(&self.outbox, frame, seq),
            None => self.outbox.push(frame),
        };
        if pushed.is_ok() { PushOutcome::Sent } else { PushOutcome::Gone }
    }

    /// Sets which positions the member may see. Where it sees fewer than before, a waiting position
    /// is discarded.
    pub(super) fn set_visibility<'a>(
        &mut self,
        visibility: Visibility,
        mut lanes: impl Iterator<Item = &'a DriverLane>,
    ) {
        let before = std::mem::replace(&mut self.visibility, visibility);
        if visibility.is_less_than(before) {
            lanes.by_ref().for_each(|lane| self.outbox.discard_latest(lane.key));
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
        detail(&self.guard, &self.identity, true)
    }
}

impl Sender {
    pub(super) fn detail(&self) -> SessionDetail {
        detail(&self.guard, &self.identity, false)
    }
}

fn detail(guard: &MembershipGuard, identity: &Identity, member: bool) -> SessionDetail {
    let backlog = guard.peer.outbox.backlog();
    SessionDetail {
        session_id: guard.peer.id,
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
    /// Lets a session in, or refuses it.
    pub(super) fn admit(&mut self, enter: Enter, ctx: &mut Context<Self>) {
        let Enter { mut guard, identity, kind, .. } = enter;
        if guard.peer.has_ended() {
            return guard.release();
        }
        if let Err(failure) =
            self.authorize_entry(&identity, matches!(kind, EntryKind::Rejoin { .. }))
        {
            return kind.refuse(guard, failure);
        }
        self.used = true;
        guard.notify(MembershipEvent::Entered(self.handle.clone()));
        let location_right = self.location_right(&identity);
        let session = guard.peer.id;
        match kind {
            EntryKind::SendOnly => {
                let replaced =
                    self.senders.insert(session, Sender { guard, identity, location_right });
                if let Some(sender) = replaced {
                    sender.guard.release();
                }
            }
            EntryKind::Join(join, answer) => {
                self.add_member(guard, identity, location_right, true);
                self.send_snapshot(session, join, answer, ctx);
            }
            EntryKind::Rejoin { returned } => {
                // After a panic the other members have not seen this user leave.
                self.add_member(guard, identity, location_right, returned || !self.after_crash);
                self.catch_up_member(session, ctx);
            }
        }
        self.count_occupants();
    }

    /// A session in the room joins once more; one that only sent becomes a member.
    pub(super) fn join_again(&mut self, again: JoinAgain, ctx: &mut Context<Self>) {
        let JoinAgain { session, join, answer, .. } = again;
        let Some((_, identity)) = self.peer_and_identity(session) else {
            return answer.refuse(unavailable("the session is not in the room any more"));
        };
        if let Err(failure) = self.authorize_entry(identity, true) {
            answer.refuse(failure);
            self.remove_session(session);
        } else {
            if let Some(Sender { guard, identity, location_right }) = self.senders.remove(&session)
            {
                self.add_member(guard, identity, location_right, true);
            }
            self.send_snapshot(session, join, answer, ctx);
        }
        self.count_occupants();
    }

    /// Whether a user may be here. `known` is set for sessions that were in before.
    fn authorize_entry(&self, identity: &Identity, known: bool) -> Result<(), Failure> {
        if self.facts.deleted && identity.role.is_staff() {
            return Err(Failure::new(ErrorCode::NotFound, "no such order"));
        }
        let subject = self.shared.subject(identity, &self.order);
        authorize(&self.shared.rules, &self.facts, subject, Action::Join, Timestamp::now())?;
        // Staff may see every order, so they may be told that an order does not exist. Other users
        // come with a right that names the order, and an order that only a token names exists from
        // its first write.
        let exists = self.exists || !self.roster.is_empty();
        if known || subject.named || exists || self.shared.rules.open {
            return Ok(());
        }
        Err(Failure::new(ErrorCode::NotFound, "no such order"))
    }

    pub(super) fn location_right(&self, identity: &Identity) -> LocationRight {
        let subject = self.shared.subject(identity, &self.order);
        authorize(&self.shared.rules, &self.facts, subject, Action::Locate, Timestamp::now())?;
        Ok(identity.user.clone())
    }

    pub(super) fn visibility(&self, identity: &Identity) -> Visibility {
        let subject = self.shared.subject(identity, &self.order);
        let sees = position_visibility(&self.shared.rules, &self.facts, subject, Timestamp::now());
        sees.unwrap_or(Visibility::NONE)
    }

    /// Makes a session a member.
    fn add_member(
        &mut self,
        guard: MembershipGuard,
        identity: Arc<Identity>,
        location_right: LocationRight,
        announce: bool,
    ) {
        let session = guard.peer.id;
        let Identity { user, name, role, .. } = &*identity;
        if self.roster.enter(user, name, *role) && announce {
            let member = MemberInfo { user_id: user, name, role: *role };
            self.tell_member(EventKind::MemberJoined, &member);
            let order = self.order.clone();
            self.send_to_all(ServerEvent::PresenceJoined(Presence { order_id: &order, member }));
        }
        let (outbox, codec) = (guard.peer.outbox.clone(), guard.peer.codec);
        let visibility = self.visibility(&identity);
        let (held, has_snapshot) = (None, false);
        let member = Member {
            outbox,
            codec,
            guard,
            identity,
            location_right,
            visibility,
            held,
            has_snapshot,
        };
        self.members.insert(session, member);
    }

    /// Removes a session that leaves.
    pub(super) fn leave(&mut self, leave: Leave) {
        if let Some(waiting) = &mut self.loading {
            let (gone, stay) = std::mem::take(waiting)
                .into_iter()
                .partition(|enter: &Enter| enter.guard.peer.id == leave.session);
            *waiting = stay;
            Vec::into_iter(gone).for_each(|enter: Enter| enter.guard.release());
        }
        if let Some(sender) = self.senders.remove(&leave.session) {
            self.forget_typing(leave.session, Instant::now());
            sender.guard.release();
        }
        let member = self.remove_member(leave.session, leave.clean);
        drop(leave.reply);
        if let Some(member) = member {
            member.guard.release();
        }
        self.count_occupants();
    }

    /// Removes a member and tells the others: at once, or, after an unclean end, when the grace has
    /// passed.
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

    /// Discards what still waits in the latest-wins lane.
    pub(super) fn forget_latest(&self, outbox: &Outbox) {
        let lanes = self.lanes.values().map(|lane| lane.key);
        lanes.chain(self.typing_users.keys()).for_each(|key| outbox.discard_latest(key));
    }

    pub(super) fn announce_departure(&mut self, departed: &crate::room::roster::Departed) {
        self.tell_member(EventKind::MemberLeft, &departed.info());
        let order = self.order.clone();
        let presence = Presence { order_id: &order, member: departed.info() };
        self.send_to_all(ServerEvent::PresenceLeft(presence));
    }

    /// Announces that users whose grace has ended have left.
    pub(super) fn announce_expired(&mut self, now: Instant) {
        for departed in self.roster.expired(now) {
            self.announce_departure(&departed);
            self.count_occupants();
        }
    }

    /// Removes members whose sessions have ended, or that held too many frames during their
    /// snapshot.
    pub(super) fn remove_closed_members(&mut self) {
        let gone: Vec<SessionId> =
            self.members.iter().filter(|(_, m)| m.is_gone()).map(|(id, _)| *id).collect();
        for session in gone {
            let member = self.remove_member(session, false);
            // The guard of a live session is dropped: the session is told that it lost the room,
            // and comes back for what it missed.
            if let Some(ended) = member.filter(|member| member.outbox.is_closed()) {
                ended.guard.release();
            }
            self.count_occupants();
        }
    }

    /// Applies a session's new token. Sessions without a right to be here are told and removed.
    pub(super) fn update_identity(&mut self, update: UpdateIdentity) {
        self.set_identity(update.session, &update.identity);
        self.remove_unauthorized();
        self.count_occupants();
    }

    /// Removes all sessions without a right to be here.
    pub(super) fn remove_unauthorized(&mut self) {
        let members = self.members.values().map(|member| (member.guard.peer.id, &member.identity));
        let senders = self.senders.values().map(|sender| (sender.guard.peer.id, &sender.identity));
        let unauthorized: Vec<SessionId> = members
            .chain(senders)
            .filter(|(_, identity)| self.authorize_entry(identity, true).is_err())
            .map(|(session, _)| session)
            .collect();
        for session in unauthorized {
            self.remove_session(session);
        }
    }

    /// Removes all sessions of a user.
    pub(super) fn remove_user(&mut self, user: &UserId) {
        let of_user = |identity: &Identity| identity.user == *user;
        let members = self.members.iter().filter(|(_, member)| of_user(&member.identity));
        let senders = self.senders.iter().filter(|(_, sender)| of_user(&sender.identity));
        let sessions: Vec<SessionId> =
            members.map(|(id, _)| *id).chain(senders.map(|(id, _)| *id)).collect();
        for session in sessions {
            self.remove_session(session);
        }
        if let Some(departed) = self.roster.stop_awaiting(user) {
            self.announce_departure(&departed);
        }
        self.count_occupants();
    }

    fn set_identity(&mut self, session: SessionId, identity: &Arc<Identity>) {
        let location_right = self.location_right(identity);
        let visibility = self.visibility(identity);
        if let Some(member) = self.members.get_mut(&session) {
            member.identity = Arc::clone(identity);
            member.location_right = location_right;
            member.set_visibility(visibility, self.lanes.values());
        } else if let Some(sender) = self.senders.get_mut(&session) {
            sender.identity = Arc::clone(identity);
            sender.location_right = location_right;
        }
    }

    fn remove_session(&mut self, session: SessionId) {
        let order = self.order.clone();
        let sender = self.senders.remove(&session).map(|sender| sender.guard);
        if let Some(mut member) = self.remove_member(session, true) {
            let left = Left { order_id: &order, reason: LeftReason::Removed };
            member.guard.peer.tell(&ServerEvent::Left(left)).ok();
            member.guard.notify(MembershipEvent::Removed);
        }
        if let Some(mut guard) = sender {
            self.forget_typing(session, Instant::now());
            guard.notify(MembershipEvent::Removed);
        }
    }

    pub(super) fn count_occupants(&self) {
        self.handle.stats.occupancy(self.roster.len(), self.members.len(), Timestamp::now());
    }
}

impl Handler<UpdateIdentity> for OrderRoom {
    type Result = ();

    fn handle(&mut self, update: UpdateIdentity, ctx: &mut Self::Context) {
        self.update_identity(update);
        self.tick(Instant::now(), ctx);
    }
}

impl Handler<RemoveUser> for OrderRoom {
    type Result = ();

    fn handle(&mut self, RemoveUser(user): RemoveUser, ctx: &mut Self::Context) {
        self.remove_user(&user);
        self.tick(Instant::now(), ctx);
    }
}
