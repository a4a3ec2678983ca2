//! Removes sessions: those that lost their right to be here, those of a user whom an admin removes,
//! and those that have ended.

use std::sync::Arc;
use std::time::Instant;

use actix::{Context, Handler, Message};

use super::OrderRoom;
use super::members::RoomSession;
use super::rights::{location_right, visibility};
use crate::actors::peer::{MembershipEvent, SubscriptionId};
use crate::auth::Identity;
use protocol::events::leave::{Left, LeftReason};
use protocol::ids::{SessionId, UserId};
use protocol::server::ServerEvent;

/// A session has a new token, so its rights are checked again.
#[derive(Message)]
#[rtype(result = "()")]
pub struct UpdateIdentity {
    /// The session.
    pub session: SessionId,
    /// The subscription for which it counts.
    pub subscription: SubscriptionId,
    /// The identity of the new token.
    pub identity: Arc<Identity>,
    /// Rises with every token of the session: an older one may come later.
    pub renewal: u64,
}

/// An admin removes a user, whatever their rights.
#[derive(Message)]
#[rtype(result = "()")]
pub struct RemoveUser(pub UserId);

impl OrderRoom {
    /// Removes all sessions without a right to be here, and computes the rights of the others
    /// again.
    pub(super) fn reauthorize_all(&mut self) {
        self.remove_unauthorized();
        let Self { members, senders, lanes, shared, order, facts, .. } = self;
        for member in members.values_mut() {
            let rights = shared.rights_of(&member.session.identity, order, facts);
            let (location_right, visibility) = (location_right(rights), visibility(rights));
            member.session.location_right = location_right;
            member.set_visibility(visibility, lanes.values());
        }
        for sender in senders.values_mut() {
            sender.location_right =
                location_right(shared.rights_of(&sender.identity, order, facts));
        }
    }

    fn remove_unauthorized(&mut self) {
        self.remove_where(|room, identity| room.authorize_entry(identity, true).is_err());
    }

    fn remove_where(&mut self, unwanted: impl Fn(&Self, &Identity) -> bool) {
        let members = self.members.values().map(|member| &member.session);
        let sessions: Vec<SessionId> = members
            .chain(self.senders.values())
            .filter(|session| unwanted(self, &session.identity))
            .map(|session| session.guard.peer.id)
            .collect();
        for session in sessions {
            self.remove_session(session);
        }
    }

    /// Removes a session and tells its client.
    pub(super) fn remove_session(&mut self, session: SessionId) {
        let sender = self.senders.remove(&session);
        if let Some(member) = self.remove_member(session, true) {
            let guard = member.session.guard;
            let left = Left { order_id: &self.order, reason: LeftReason::Removed };
            guard.peer.tell(&ServerEvent::Left(left)).ok();
            guard.end(MembershipEvent::Removed);
        }
        if let Some(sender) = sender {
            self.forget_typing(session, Instant::now());
            sender.guard.end(MembershipEvent::Removed);
        }
    }

    /// Users who may not be here any more are not expected back after a lost connection.
    pub(super) fn stop_awaiting(&mut self, user: &UserId) {
        if let Some(departed) = self.roster.stop_awaiting(user) {
            self.announce_departure(&departed);
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
                ended.session.guard.release();
            }
            self.count_occupants();
        }
    }
}

impl Handler<UpdateIdentity> for OrderRoom {
    type Result = ();

    fn handle(&mut self, update: UpdateIdentity, ctx: &mut Context<Self>) {
        let Self { members, senders, lanes, shared, order, facts, .. } = self;
        let rights = shared.rights_of(&update.identity, order, facts);
        let is_newer = |known: &RoomSession| {
            known.guard.subscription == update.subscription && known.renewal <= update.renewal
        };
        if let Some(member) = members.get_mut(&update.session) {
            if is_newer(&member.session) {
                member.set_visibility(visibility(rights), lanes.values());
                member.session.renew(location_right(rights), update.identity, update.renewal);
            }
        } else if let Some(sender) = senders.get_mut(&update.session)
            && is_newer(sender)
        {
            sender.renew(location_right(rights), update.identity, update.renewal);
        }
        self.remove_unauthorized();
        self.count_occupants();
        self.tick(Instant::now(), ctx);
    }
}

impl Handler<RemoveUser> for OrderRoom {
    type Result = ();

    fn handle(&mut self, RemoveUser(user): RemoveUser, ctx: &mut Context<Self>) {
        self.remove_where(|_, identity| identity.user == user);
        self.stop_awaiting(&user);
        self.count_occupants();
        self.tick(Instant::now(), ctx);
    }
}
