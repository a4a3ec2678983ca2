//! The way into a room: asked for by the first event, told by the room, and taken again when the
//! room is lost.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use actix::fut::wrap_future;
use actix::{ActorFutureExt, Arbiter, AsyncContext, Context};

use super::Session;
use super::links::{Link, LinkState};
use super::login::Login;
use super::routing::RoomEvent;
use crate::actors::order_room::{Leave, Purpose, Rejudge, RoomHandle};
use crate::actors::peer::{Farewell, News, Place, RoomNotice};
use crate::actors::shared::unavailable;
use crate::actors::store::{LoadedOrder, StoreError};
use crate::actors::supervisor::FindRoom;
use crate::ids::OrderId;
use crate::permits::Permit;
use crate::protocol::error::{ErrorCode, Failure};
use crate::room::order::{MOST_DRIVEN, OrderFacts};

/// How many events may wait for rooms before the socket is not read.
pub(super) const MOST_WAITING: usize = 32;
/// How many rooms a session may send to without having joined them.
const MOST_SENDING: usize = MOST_DRIVEN;
/// How long to wait before another try to come back into a room that was lost.
const RETRY_AFTER: Duration = Duration::from_secs(1);

impl Login {
    /// The first event for a room: the session has to be let in.
    pub(super) fn begin(
        &mut self,
        order: OrderId,
        event: RoomEvent,
        now: Instant,
        ctx: &mut Context<Session>,
    ) {
        if let RoomEvent::Leave { answer, .. } = event {
            return answer.refuse(Failure::new(ErrorCode::NotJoined, "not in this room"));
        }
        if let Some(failure) = self.refusals.find(&order, now) {
            return event.refuse(failure.clone());
        }
        if let Err(failure) = self.has_room_for(&order, &event) {
            return event.refuse(failure);
        }
        self.last_link.0 += 1;
        let mut link = Link::entering(self.last_link, Arc::clone(&self.identity));
        let purpose = match event {
            RoomEvent::Join(join, answer) => {
                self.forget_removal(&order);
                link.joins = 1;
                Purpose::Join(join, answer.counted(order.clone(), link.id))
            }
            event => {
                link.state = LinkState::Entering(VecDeque::from([event]));
                self.kept_waiting();
                Purpose::Send
            }
        };
        self.links.insert(order.clone(), link);
        self.ask_to_enter(order, purpose, None, ctx);
    }

    /// Whether one more room may be joined, or sent to.
    pub(super) fn has_room_for(&self, order: &OrderId, event: &RoomEvent) -> Result<(), Failure> {
        let joins = matches!(event, RoomEvent::Join(..));
        let known = self.links.get(order).is_some_and(|link| link.joins > 0 || !joins);
        if known || (joins && self.identity.role.is_staff()) {
            return Ok(());
        }
        let joined = self.links.values().filter(|link| link.joins > 0).count();
        let (used, most) = if joins {
            (joined, self.shared.config.limits.max_rooms_per_connection)
        } else {
            (self.links.len() - joined, MOST_SENDING)
        };
        if used < most {
            return Ok(());
        }
        Err(Failure::new(ErrorCode::TooManyRooms, "too many rooms on one connection"))
    }

    /// Asks to be let in. A room is only founded for somebody with a right to it: where the token
    /// gives none, the database is asked first.
    pub(super) fn ask_to_enter(
        &mut self,
        order: OrderId,
        purpose: Purpose,
        turn: Option<Permit>,
        ctx: &mut Context<Session>,
    ) {
        let by_token = self.shared.may_join(&self.identity, &order, &OrderFacts::default());
        let Err(failure) = by_token else { return self.find_room(order, purpose, turn) };
        if self.shared.asker(&self.identity, &order).banned {
            return self.turn_back(order, failure, purpose);
        }
        let (store, wanted) = (self.shared.store.clone(), order.clone());
        let session = self.peer.id;
        let read = wrap_future::<_, Session>(async move { store.load_order(wanted, 0).await });
        ctx.spawn(read.map(move |loaded, connection, _| {
            let Some(login) = connection.login(session) else { return };
            match login.may_enter(&order, loaded) {
                Ok(()) => login.find_room(order, purpose, turn),
                Err(failure) => login.turn_back(order, failure, purpose),
            }
        }));
    }

    fn may_enter(
        &self,
        order: &OrderId,
        loaded: Result<LoadedOrder, StoreError>,
    ) -> Result<(), Failure> {
        let loaded = loaded.map_err(|_| unavailable("the database does not answer"))?;
        self.shared.may_join(&self.identity, order, &loaded.facts)
    }

    /// However many sessions ask at the same moment, none is refused for that: each asks once for
    /// each room that it is on its way into, and they are bounded.
    fn find_room(&mut self, order: OrderId, purpose: Purpose, turn: Option<Permit>) {
        let Some(place) = self.place(&order) else { return };
        self.supervisor.addr.do_send(FindRoom {
            place: place.taking(turn),
            identity: Arc::clone(&self.identity),
            purpose,
            arbiter: Arbiter::current(),
        });
    }

    /// The place that the session will have; none where it has ended meanwhile.
    fn place(&mut self, order: &OrderId) -> Option<Place> {
        let link = self.links.get_mut(order)?;
        link.identity = Arc::clone(&self.identity);
        let progress = Arc::clone(&link.progress);
        Some(Place::new(Arc::clone(&self.peer), order.clone(), link.id, progress))
    }

    /// Not let in, before any room was asked. It is heard like a room's word.
    fn turn_back(&mut self, order: OrderId, failure: Failure, purpose: Purpose) {
        if let Some(place) = self.place(&order) {
            purpose.turn_away(place, failure);
        }
    }

    /// A room has something to say about the session's place there.
    pub(super) fn notice(&mut self, notice: RoomNotice, ctx: &mut Context<Session>) {
        let RoomNotice { order, link, news, .. } = notice;
        if self.links.get(&order).is_some_and(|known| known.id == link) {
            self.hear_of_room(order, news, ctx);
        }
        // Else the session has left, or ended; whoever was to be told of that was. It may have been
        // that room's turn all the same.
        self.take_turns(ctx);
    }

    fn hear_of_room(&mut self, order: OrderId, news: News, ctx: &mut Context<Session>) {
        match news {
            News::Entered(room) => self.entered(order, room, ctx),
            News::Refused(failure) => self.refused(order, &failure),
            News::CaughtUp => {}
            News::Removed => {
                self.note_removal(&order);
                self.close_link(&order, &Failure::forbidden());
            }
            News::NotJoined => self.not_joined(&order),
            News::Lost => self.lost(order, ctx),
        }
    }

    fn entered(&mut self, order: OrderId, room: Arc<RoomHandle>, ctx: &mut Context<Session>) {
        let Some(link) = self.links.get_mut(&order) else { return };
        if !Arc::ptr_eq(&link.identity, &self.identity) {
            // A new token came while the room judged the one before.
            let (session, identity) = (self.peer.id, Arc::clone(&self.identity));
            room.addr.do_send(Rejudge { session, identity });
        }
        link.opened(Instant::now());
        let unwanted = link.was_shown() && link.joins == 0;
        let before = std::mem::replace(&mut link.state, LinkState::Open(room));
        if unwanted {
            self.walk_out(&order, None);
        }
        if let LinkState::Entering(queue) = before {
            self.go_on(&order, queue, ctx);
        }
    }

    /// Routes what has waited. A leave among it may close the link: then the next event begins
    /// anew.
    fn go_on(&mut self, order: &OrderId, queue: VecDeque<RoomEvent>, ctx: &mut Context<Session>) {
        self.served(queue.len());
        let now = Instant::now();
        for event in queue {
            self.route_one(order.clone(), event, now, ctx);
        }
    }

    fn refused(&mut self, order: OrderId, failure: &Failure) {
        // One who was in was told that it is out.
        if self.links.get(&order).is_some_and(Link::was_shown) {
            self.note_removal(&order);
        }
        self.close_link(&order, failure);
        // A ban costs nothing to look up, and may end sooner than the memory of it.
        if !self.shared.asker(&self.identity, &order).banned {
            self.refusals.remember(order, failure, Instant::now());
        }
    }

    fn close_link(&mut self, order: &OrderId, failure: &Failure) {
        let Some(link) = self.take_link(order) else { return };
        if let LinkState::Entering(queue) = link.state {
            self.served(queue.len());
            for event in queue {
                event.refuse(failure.clone());
            }
        }
    }

    /// Ends a tie. What the client has seen by it may still be the last that it saw at all.
    fn take_link(&mut self, order: &OrderId) -> Option<Link> {
        let link = self.links.swap_remove(order)?;
        if let Some(mut pushes) = self.peer.pushes() {
            pushes.leave(link.id.0, order);
        }
        Some(link)
    }

    /// A join was refused that was counted when it was sent.
    fn not_joined(&mut self, order: &OrderId) {
        let Some(link) = self.links.get_mut(order) else { return };
        link.joins = link.joins.saturating_sub(1);
        // One on the way in hears the rest in a moment.
        if link.joins == 0 && !matches!(link.state, LinkState::Entering(_)) {
            self.walk_out(order, None);
        }
    }

    /// Leaves a room that no join holds any more. Without a farewell the client knows.
    pub(super) fn walk_out(&mut self, order: &OrderId, farewell: Option<Farewell>) {
        let room = self.take_link(order).and_then(|link| link.room().cloned());
        if let Some(room) = room {
            room.addr.do_send(Leave { session: self.peer.id, farewell, clean: true });
        }
    }

    /// The room is gone. A session that was in goes back in with the next one, and its client
    /// sees nothing of it.
    fn lost(&mut self, order: OrderId, ctx: &mut Context<Session>) {
        let Some(link) = self.links.get_mut(&order) else { return };
        if !link.was_shown() || link.joins == 0 {
            return self.close_link(&order, &unavailable("the room was interrupted"));
        }
        let now = Instant::now();
        // The next room was lost too, or the database is down: not at once again.
        let again = link.came_back.is_some_and(|at| now < at + RETRY_AFTER);
        match std::mem::replace(&mut link.state, LinkState::Away) {
            LinkState::Open(_) if !again => self.come_back(order, ctx),
            LinkState::Open(_) => self.come_back_later(order, ctx),
            LinkState::Entering(queue) => {
                self.go_on(&order, queue, ctx);
                self.come_back_later(order, ctx);
            }
            LinkState::Away => {}
        }
    }

    fn come_back(&mut self, order: OrderId, ctx: &mut Context<Session>) {
        let Some(link) = self.links.get_mut(&order) else { return };
        link.came_back = Some(Instant::now());
        link.state = LinkState::Entering(VecDeque::new());
        self.wait_for_turn(order, Purpose::Rejoin { returned: false });
        self.take_turns(ctx);
    }

    fn come_back_later(&mut self, order: OrderId, ctx: &mut Context<Session>) {
        // A leave among what waited may have ended it.
        let Some(link) = self.links.get(&order).filter(|link| link.is_away()) else { return };
        let id = link.id;
        let session = self.peer.id;
        ctx.run_later(RETRY_AFTER, move |connection, ctx| {
            let Some(login) = connection.login(session) else { return };
            let link = login.links.get(&order);
            if link.is_some_and(|link| link.id == id && link.is_away()) {
                login.come_back(order, ctx);
            }
        });
    }

    /// So many events no longer wait.
    fn served(&mut self, events: usize) {
        self.waiting -= events;
        if self.waiting < MOST_WAITING {
            self.crowded = None;
        }
    }

    /// One more event waits for a room.
    pub(super) fn kept_waiting(&mut self) {
        self.waiting += 1;
        if self.waiting >= MOST_WAITING && self.crowded.is_none() {
            self.crowded = Some(self.gate.hold());
        }
    }
}
