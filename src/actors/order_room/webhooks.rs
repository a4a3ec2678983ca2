//! Tells webhooks who is in the room, and of the order's driver.

use std::time::Instant;

use super::OrderRoom;
use crate::room::driver_watch::{DriverNews, DriverWatch};
use crate::webhooks::event::EventKind;
use crate::webhooks::outbox::Outbox;
use protocol::events::presence::MemberInfo;

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
        let mut sessions = members.chain(self.senders.values());
        let connected = sessions.find_map(|session| session.location_right.as_ref().ok());
        let is_shown = !self.facts.deleted && self.shared.rules.shows_driver_of(&self.facts);
        let expected = self.facts.driver().or(connected).filter(|_| is_shown);
        let news = watch.observe(connected, expected, now);
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
}
