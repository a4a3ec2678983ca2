//! Tells webhooks who is in the room, who was shown what, and of the order's driver.

use std::collections::{BTreeMap, HashSet};
use std::time::Instant;

use actix::{Context, Handler, MessageResult};

use super::OrderRoom;
use super::members::Member;
use crate::actors::webhooks::{FindSeen, SeenInRoom};
use crate::auth::Identity;
use crate::room::driver_watch::{DriverNews, DriverWatch};
use crate::webhooks::event::EventKind;
use crate::webhooks::outbox::Outbox;
use crate::webhooks::unread::Note;
use protocol::events::presence::MemberInfo;
use protocol::ids::UserId;
use protocol::time::Timestamp;

impl OrderRoom {
    /// A watch for the order's driver, if there are webhooks.
    pub(super) fn driver_watch(shared: &crate::actors::shared::Shared) -> Option<Box<DriverWatch>> {
        shared.outbox.as_ref()?;
        let (grace, stale_after) =
            (shared.config.rooms.presence_grace, shared.config.webhooks.stale_after);
        Some(Box::new(DriverWatch::new(grace, stale_after, Instant::now())))
    }

    /// Where to tell; none without webhooks, and none while the hub drains: all members go then.
    fn outbox(&self) -> Option<&Outbox> {
        self.shared.outbox.as_deref().filter(|_| !self.shared.is_draining())
    }

    /// Tells that a user is in the room, or is not any more.
    pub(super) fn tell_member(&self, kind: EventKind, member: &MemberInfo<'_>) {
        if let Some(outbox) = self.outbox() {
            let MemberInfo { user_id, name, role } = *member;
            outbox.tell_member(kind, &self.order, (user_id, name, role));
        }
    }

    /// Looks at the order's driver, and tells what is new.
    pub(super) fn watch_driver(&mut self, now: Instant) {
        let Some(mut watch) = self.driver_watch.take() else { return };
        let members = self.members.values().map(|member| &member.session);
        let sessions = members.chain(self.senders.values());
        let connected = sessions.filter_map(|session| session.location_right.as_ref().ok());
        let connected: Vec<_> = connected.collect();
        let is_shown = !self.facts.deleted && self.shared.rules.shows_driver_of(&self.facts);
        let news = watch.observe(&connected, self.facts.driver(), is_shown, now);
        self.driver_watch = Some(watch);
        for one in &news {
            self.tell_driver(one);
        }
    }

    /// Notes that a position came. Returns whether the driver was stale until now: then the next
    /// time to be so is not set yet.
    pub(super) fn watch_fix(&mut self) -> bool {
        let (Some(watch), Some(position)) = (&mut self.driver_watch, self.track.last()) else {
            return false;
        };
        let Some(news) = watch.fix(&position.driver_id, Instant::now()) else { return false };
        self.tell_driver(&news);
        true
    }

    fn tell_driver(&self, (kind, driver): &DriverNews) {
        if let Some(outbox) = self.outbox() {
            outbox.tell_driver(*kind, &self.order, driver);
        }
    }

    /// Notes that a user joined by a token, not as staff that only looks in, nor because a back end
    /// said so: that may end without a word to the hub.
    pub(super) fn note_joined(&self, identity: &Identity) {
        let is_member = identity.names(&self.order) || self.shared.rules.open;
        if let Some(outbox) = self.shared.outbox.as_deref()
            && is_member
            && !identity.by_hook
            && !identity.role.is_staff()
        {
            let joined = Some((identity.role, Timestamp::now()));
            let note = || Note { joined, ..Note::default() };
            outbox.note_unread(&self.order, &identity.user, note);
        }
    }

    /// Notes what a member was sent, who leaves now or whose room ends.
    pub(super) fn note_shown(&self, member: &Member) {
        if let Some(outbox) = self.shared.outbox.as_deref().filter(|_| member.has_snapshot) {
            let note = || Note { shown: self.delivery.delivered(), ..Note::default() };
            outbox.note_unread(&self.order, &member.session.identity.user, note);
        }
    }

    /// The same of all members.
    pub(super) fn note_all_shown(&self) {
        self.members.values().for_each(|member| self.note_shown(member));
    }
}

impl Handler<FindSeen> for OrderRoom {
    type Result = MessageResult<FindSeen>;

    fn handle(&mut self, find: FindSeen, _: &mut Context<Self>) -> Self::Result {
        if self.loading.is_some() {
            // The database knows more.
            return MessageResult(BTreeMap::new());
        }
        let is_shown = |member: &&Member| {
            member.has_snapshot && !member.is_held() && !member.outbox.is_closed()
        };
        let joined: HashSet<&UserId> = self
            .members
            .values()
            .filter(is_shown)
            .map(|member| &member.session.identity.user)
            .collect();
        let delivered = self.delivery.delivered();
        let seen = find.users.into_iter().map(|user| {
            let shown = if joined.contains(&user) { delivered } else { 0 };
            let seen = SeenInRoom { read: self.read_marks.of(&user), shown };
            (user, seen)
        });
        MessageResult(seen.collect())
    }
}
