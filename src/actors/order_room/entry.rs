//! Entering and leaving, and the presence that others are shown of it.

use std::sync::Arc;
use std::time::Instant;

use actix::{Context, Handler, Message};

use super::members::{Member, RoomSession};
use super::rights::{location_right, visibility};
use super::{Enter, Entered, EntryKind, OrderRoom};
use crate::actors::peer::{Answer, LeaveReply};
use crate::auth::Identity;
use crate::room::roster::Departed;
use crate::webhooks::event::EventKind;
use protocol::events::join::Join;
use protocol::events::presence::{MemberInfo, Presence};
use protocol::ids::SessionId;
use protocol::server::ServerEvent;
use protocol::time::Timestamp;
use transport::Outbox;

/// A session that is already in the room joins: once more, or for the first time after it only
/// sent.
#[derive(Message)]
#[rtype(result = "()")]
pub struct JoinAgain {
    /// The session.
    pub session: SessionId,
    /// Which messages the snapshot shows.
    pub join: Join,
    /// Takes the snapshot.
    pub answer: Answer,
}

/// A session leaves. The client is told if it asked to leave.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Leave {
    /// The session.
    pub session: SessionId,
    /// The reply for its client. `None` where the session has ended.
    pub reply: Option<LeaveReply>,
    /// Whether the client left in an orderly way, or its connection was lost.
    pub clean: bool,
}

impl OrderRoom {
    /// Lets a session in, or refuses it.
    pub(super) fn admit(&mut self, enter: Enter, ctx: &mut Context<Self>) {
        let Enter { guard, identity, kind, connection } = enter;
        if guard.peer.is_gone() {
            return guard.release();
        }
        if let Err(failure) =
            self.authorize_entry(&identity, matches!(kind, EntryKind::Rejoin { .. }))
        {
            return kind.refuse(guard, failure);
        }
        self.used = true;
        let (id, order, room) = (guard.peer.id, guard.order.clone(), Arc::clone(&self.handle));
        connection.tell(Entered { session: id, order, subscription: guard.subscription, room });
        let location_right = location_right(self.rights_of(&identity));
        let session = RoomSession { guard, identity, location_right, renewal: 0 };
        match kind {
            EntryKind::SendOnly => {
                if let Some(replaced) = self.senders.insert(id, session) {
                    replaced.guard.release();
                }
            }
            EntryKind::Join(join, answer) => {
                self.add_member(session, true);
                self.send_snapshot(id, join, answer, ctx);
            }
            EntryKind::Rejoin { returned } => {
                // After a panic the other members have not seen this user leave.
                self.add_member(session, returned || !self.after_crash);
                self.catch_up_member(id, ctx);
            }
        }
        self.count_occupants();
    }

    /// A session in the room joins once more; one that only sent becomes a member.
    fn join_again(&mut self, again: JoinAgain, ctx: &mut Context<Self>) {
        let JoinAgain { session, join, answer } = again;
        let identity = match self.session(session) {
            Ok(known) => &known.identity,
            Err(failure) => return answer.refuse(failure),
        };
        if let Err(failure) = self.authorize_entry(identity, true) {
            answer.refuse(failure);
            self.remove_session(session);
        } else {
            if let Some(sender) = self.senders.remove(&session) {
                self.add_member(sender, true);
            }
            self.send_snapshot(session, join, answer, ctx);
        }
        self.count_occupants();
    }

    /// Makes a session a member.
    fn add_member(&mut self, session: RoomSession, announce: bool) {
        let Identity { user, name, role, .. } = &*session.identity;
        let is_elsewhere = self.relay.as_ref().is_some_and(|relay| relay.has(user));
        let is_new = self.roster.enter(user, name, *role);
        if is_new && announce && !is_elsewhere {
            let member = MemberInfo { user_id: user, name, role: *role };
            self.tell_member(EventKind::MemberJoined, &member);
            let order = self.order.clone();
            self.send_to_all(ServerEvent::PresenceJoined(Presence { order_id: &order, member }));
        }
        self.note_joined(&session.identity);
        if is_new {
            self.note_new_members();
        }
        let visibility = visibility(self.rights_of(&session.identity));
        self.members.insert(session.guard.peer.id, Member::new(session, visibility));
    }

    fn leave(&mut self, leave: Leave) {
        let Leave { session, reply, clean } = leave;
        if let Some(loading) = &mut self.loading {
            let of_session = |enter: &mut Enter| enter.guard.peer.id == session;
            loading.waiting.extract_if(.., of_session).for_each(|enter| enter.guard.release());
        }
        if let Some(sender) = self.senders.remove(&session) {
            self.forget_typing(session, Instant::now());
            sender.guard.release();
        }
        let member = self.remove_member(session, clean);
        drop(reply);
        if let Some(member) = member {
            member.session.guard.release();
        }
        self.count_occupants();
    }

    /// Removes a member and tells the others: at once, or, after an unclean end, when the grace has
    /// passed.
    pub(super) fn remove_member(&mut self, session: SessionId, clean: bool) -> Option<Member> {
        let member = self.members.swap_remove(&session)?;
        self.note_shown(&member);
        self.forget_latest(&member.outbox);
        self.forget_typing(session, Instant::now());
        let grace = (!clean).then_some(self.shared.config.rooms.presence_grace);
        let user = &member.session.identity.user;
        if let Some(departed) = self.roster.leave(user, grace, Instant::now()) {
            self.announce_departure(&departed);
        }
        Some(member)
    }

    /// Discards what still waits in the latest-wins lane.
    pub(super) fn forget_latest(&self, outbox: &Outbox) {
        let lanes = self.lanes.values().map(|lane| lane.key);
        lanes.chain(self.typing_users.keys()).for_each(|key| outbox.discard_latest(key));
    }

    pub(super) fn announce_departure(&mut self, departed: &Departed) {
        self.note_new_members();
        // On another node the user is still there.
        if self.relay.as_ref().is_some_and(|relay| relay.has(&departed.user)) {
            return;
        }
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

    pub(super) fn count_occupants(&self) {
        self.handle.stats.occupancy(self.roster.len(), self.members.len(), Timestamp::now());
    }
}

impl Handler<JoinAgain> for OrderRoom {
    type Result = ();

    fn handle(&mut self, again: JoinAgain, ctx: &mut Context<Self>) {
        self.join_again(again, ctx);
        self.tick(Instant::now(), ctx);
    }
}

impl Handler<Leave> for OrderRoom {
    type Result = ();

    fn handle(&mut self, leave: Leave, ctx: &mut Context<Self>) {
        self.leave(leave);
        self.tick(Instant::now(), ctx);
    }
}

impl Handler<Enter> for OrderRoom {
    type Result = ();

    fn handle(&mut self, enter: Enter, ctx: &mut Self::Context) {
        self.entries_handled += 1;
        match &mut self.loading {
            Some(loading) => {
                loading.waiting.push(enter);
                if loading.waiting.len() == 1 {
                    self.load(ctx);
                }
            }
            None => self.admit(enter, ctx),
        }
        self.tick(Instant::now(), ctx);
    }
}
