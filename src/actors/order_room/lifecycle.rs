//! How a room starts and ends: loads the order, and detects that the room is idle.

use std::time::{Duration, Instant};

use actix::{
    ActorContext, ActorFutureExt, AsyncContext, Context, Handler, Message, ResponseActFuture,
    WrapFuture,
};

use super::{Enter, Loading, OrderRoom, RoomReport, chat};
use crate::actors::shared::unavailable;
use crate::actors::store::{LoadedOrder, PageRange, StoreError};
use crate::room::delivery::Delivery;
use crate::room::order_diff::known_order;
use crate::room::read_marks::ReadMarks;
use crate::room::recent_messages::RecentMessages;
use crate::room::track::PositionTracker;
use protocol::chat::ChatKind;
use protocol::events::history::DEFAULT_PAGE;
use protocol::time::Timestamp;

/// How long after its start a room that follows a panic looks for late writes.
const LATE_WRITES: [Duration; 2] = [Duration::from_millis(500), Duration::from_secs(5)];

/// Saves the room's last position and read marks. The last position is in the database when this is
/// answered.
#[derive(Message)]
#[rtype(result = "()")]
pub struct SaveRoomState;

/// Answered when all earlier messages to the room were handled.
#[derive(Message)]
#[rtype(result = "()")]
pub struct RoomBarrier;

/// Stops the room, which the supervisor has forgotten.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Stop;

impl OrderRoom {
    /// Reads the order; sessions that enter wait for it.
    pub(super) fn load(&mut self, ctx: &mut Context<Self>) {
        let (store, order) = (self.shared.store.clone(), self.order.clone());
        let subscribed = self.subscribe(ctx);
        let read = async move {
            subscribed.await;
            store.load_order(order, DEFAULT_PAGE).await
        };
        ctx.spawn(read.into_actor(self).map(|loaded, room, ctx| {
            match loaded {
                Ok(order) => room.on_loaded(order),
                Err(error) => room.on_load_failed(&error),
            }
            room.tick(Instant::now(), ctx);
        }));
    }

    /// The room opens when the rooms of other nodes have answered, at the next tick if there are none.
    fn on_loaded(&mut self, order: LoadedOrder) {
        if let Some(loading) = &mut self.loading {
            loading.order = Some(order);
        }
    }

    /// Opens the room to those who wait.
    pub(super) fn open(&mut self, order: LoadedOrder, ctx: &mut Context<Self>) {
        let Some(Loading { waiting, change, has_new_chat, .. }) =
            self.loading.take().map(|all| *all)
        else {
            return;
        };
        self.set_order(order);
        if let Some(change) = change {
            self.order_changed(&change.0);
        }
        self.release_relayed(ctx);
        for enter in waiting {
            self.admit(enter, ctx);
        }
        if has_new_chat {
            self.read_missing(PageRange::After(self.delivery.delivered()), ctx);
        }
        self.look_for_late_writes(ctx);
    }

    /// The next session that enters makes the room try again.
    fn on_load_failed(&mut self, error: &StoreError) {
        log::warn!(order = self.order.as_str(); "cannot read an order: {error}");
        let Some(loading) = &mut self.loading else { return };
        let failure = unavailable("the database does not answer");
        for Enter { guard, kind, .. } in std::mem::take(&mut loading.waiting) {
            kind.refuse(guard, failure.clone());
        }
    }

    fn set_order(&mut self, order: LoadedOrder) {
        self.exists = order.exists;
        (self.facts, self.rev) = (order.facts, order.rev);
        self.handle.stats.set_known_order(known_order(&self.facts));
        self.delivery = Delivery::new(order.last_seq);
        self.handle.stats.set_progress(order.last_seq, order.rev);
        self.floor = order.floor;
        let before = order.recent.first().map_or(order.last_seq, |first| first.seq - 1);
        self.recent_messages = RecentMessages::new(before);
        for message in &order.recent {
            self.recent_messages.push(message.seq, chat::json(message));
        }
        self.track = PositionTracker::new(order.last_position, Timestamp::now(), Instant::now());
        self.read_marks = ReadMarks::new(order.read_marks);
        // Chat is always stored, a read mark may not be. A user has read up to their own last
        // message.
        for message in order.recent.iter().filter(|message| message.kind != ChatKind::System) {
            self.read_marks.advance(&message.sender_id, message.seq);
        }
    }

    fn look_for_late_writes(&mut self, ctx: &mut Context<Self>) {
        if !self.after_crash {
            return;
        }
        for wait in LATE_WRITES {
            ctx.run_later(wait, |room, ctx| {
                room.read_missing(PageRange::After(room.delivery.delivered()), ctx);
            });
        }
    }

    /// Whether the room is empty and waits for no write.
    fn is_idle(&self) -> bool {
        self.members.is_empty()
            && self.senders.is_empty()
            && self.roster.is_empty()
            && self.writes.is_empty()
            && self.asked_chat.is_empty()
            && self.loading.as_ref().is_none_or(|loading| loading.waiting.is_empty())
            && self.driver_watch.as_ref().is_none_or(|watch| watch.is_settled())
    }

    /// When an idle room is to be forgotten.
    pub(super) fn idle_due(&self) -> Option<Instant> {
        // A room that let no session in holds nothing worth keeping.
        let wait = if self.used { self.shared.config.rooms.room_idle } else { Duration::ZERO };
        self.idle_since.map(|since| since + wait)
    }

    /// Notes since when the room is idle. After a while it saves the position and asks the
    /// supervisor to forget the room.
    pub(super) fn watch_idleness(&mut self, now: Instant, ctx: &mut Context<Self>) {
        if !self.is_idle() {
            self.idle_since = None;
            return;
        }
        self.idle_since.get_or_insert(now);
        if self.idle_due().is_none_or(|due| due > now) {
            return;
        }
        // The supervisor does not answer while a forwarded entry is on its way. Then the wait
        // starts again, and the room does not ask at once.
        self.idle_since = Some(now + Duration::from_secs(1));
        // Taken now: a session that enters while the position is saved keeps the room alive.
        let entries_handled = self.entries_handled;
        let save = self.save_position();
        ctx.spawn(save.into_actor(self).map(move |saved, room, _| {
            room.track_dirty |= !saved;
            if room.save_read_marks() && saved && room.is_idle() {
                let (order, epoch) = (room.order.clone(), room.epoch);
                room.reports.do_send(RoomReport::Idle { order, epoch, entries_handled });
            }
        }));
    }

    /// Writes the last position, if the database does not have it. Returns whether that worked.
    fn save_position(&mut self) -> impl Future<Output = bool> + 'static {
        let (store, order) = (self.shared.store.clone(), self.order.clone());
        let dirty = std::mem::take(&mut self.track_dirty);
        let position = self.track.last().filter(|_| dirty).cloned();
        async move {
            let Some(position) = position else { return true };
            let saved = store.save_position(order.clone(), position).await;
            if let Err(error) = &saved {
                log::warn!(order = order.as_str(); "cannot save a position: {error}");
            }
            saved.is_ok()
        }
    }
}

impl Handler<SaveRoomState> for OrderRoom {
    type Result = ResponseActFuture<Self, ()>;

    fn handle(&mut self, _: SaveRoomState, _: &mut Context<Self>) -> Self::Result {
        let save = self.save_position();
        self.save_read_marks();
        self.note_all_shown();
        Box::pin(save.into_actor(self).map(|saved, room, _| room.track_dirty |= !saved))
    }
}

impl Handler<RoomBarrier> for OrderRoom {
    type Result = ();

    fn handle(&mut self, _: RoomBarrier, _: &mut Context<Self>) {}
}

impl Handler<Stop> for OrderRoom {
    type Result = ();

    fn handle(&mut self, _: Stop, ctx: &mut Context<Self>) {
        self.stopped = true;
        self.say_goodbye();
        ctx.stop();
    }
}
