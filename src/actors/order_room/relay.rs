//! What the room hears from its like on other nodes, and what it looks up in the database where it
//! may have heard too little. What came from another node is shown to the members and never written.

use std::sync::Arc;
use std::time::{Duration, Instant};

use actix::{ActorFutureExt, AsyncContext, Context, Handler, Message, WrapFuture};
use tokio::time::timeout;

use super::OrderRoom;
use super::chat::WrittenBy;
use crate::actors::cluster::BusStateChanged;
use crate::actors::shared::unavailable;
use crate::actors::store::{
    AppliedChange, ChangeNote, CommittedChange, NewMessage, StoreError, StoredOrder,
};
use crate::bus::{Batch, Confirmation, Kind, Received, Subscription, Topic};
use crate::relay::{self, Relay};
use protocol::ids::OrderId;
use protocol::time::Timestamp;

/// How long a room waits for the confirmation of its subscription before it reads the order without.
const CONFIRM_TIMEOUT: Duration = Duration::from_millis(300);
/// How many events may wait for the order to be read. What is beyond is looked up.
const MAX_HELD: usize = 256;

/// Events of other nodes about this room's order, in their order.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct BusEvents(pub Batch);

/// What a room keeps for what it hears from other nodes.
pub(super) struct RoomRelay {
    pub(super) relay: Arc<Relay>,
    /// Its subscription to the order, from when the order is read for the first time.
    subscription: Option<Subscription>,
    /// What came while the order was being read.
    held: Vec<Received>,
    /// Whether more came than is held.
    has_missed: bool,
    /// Messages that the store gave back, with their tokens: the order has changed since their
    /// senders' rights were judged.
    outdated: Vec<(u64, Box<NewMessage>)>,
    /// Whether the order is being read again.
    is_rereading: bool,
}

impl RoomRelay {
    pub(super) fn new(relay: Arc<Relay>) -> Box<Self> {
        Box::new(Self {
            relay,
            subscription: None,
            held: Vec::new(),
            has_missed: false,
            outdated: Vec::new(),
            is_rereading: false,
        })
    }

    /// Subscribes to the order, unless that is done.
    fn subscribe(&mut self, order: &OrderId) -> Option<Confirmation> {
        if self.subscription.is_some() {
            return None;
        }
        let (subscription, confirmation) = self.relay.subscribe(Topic::Order(order.clone()))?;
        self.subscription = Some(subscription);
        Some(confirmation)
    }

    fn hold(&mut self, event: Received) {
        if self.held.len() < MAX_HELD {
            self.held.push(event);
        } else {
            self.has_missed = true;
        }
    }
}

impl OrderRoom {
    /// Subscribes to the order before it is read, so that nothing is missed in between. Resolves
    /// when the subscription is confirmed, or when that takes too long.
    pub(super) fn subscribe(
        &mut self,
        ctx: &mut Context<Self>,
    ) -> impl Future<Output = ()> + use<> {
        let order = &self.order;
        let confirmation = self.relay.as_mut().and_then(|relay| relay.subscribe(order));
        let (room, order) = (ctx.address(), self.order.clone());
        async move {
            let Some(mut confirmation) = confirmation else { return };
            if timeout(CONFIRM_TIMEOUT, &mut confirmation).await.is_err() {
                // The bus is slow. What comes before the confirmation may be missed.
                actix::spawn(async move {
                    if confirmation.await.is_ok() {
                        log::debug!(order = order.as_str(); "a subscription was confirmed late");
                        room.do_send(LookAgain);
                    }
                });
            }
        }
    }

    /// Handles what came while the order was read.
    pub(super) fn release_relayed(&mut self, ctx: &mut Context<Self>) {
        let Some(relay) = &mut self.relay else { return };
        let (held, has_missed) = (std::mem::take(&mut relay.held), relay.has_missed);
        relay.has_missed = false;
        for event in held {
            self.on_relayed(event, Instant::now());
        }
        if has_missed {
            self.reread_order(ctx);
        }
    }

    fn on_relayed(&mut self, event: Received, now: Instant) {
        if self.loading.is_some() {
            if let Some(relay) = &mut self.relay {
                relay.hold(event);
            }
            return;
        }
        match event.kind {
            Kind::Chat => self.on_relayed_chat(&event.data, now),
            // What is not for rooms has another topic.
            _ => {}
        }
    }

    fn on_relayed_chat(&mut self, data: &[u8], now: Instant) {
        if let Some((message, json)) = relay::chat::read(data, &self.order) {
            self.exists |= !self.facts.deleted;
            self.deliver(&message, json, WrittenBy::AnotherNode, now);
        }
    }

    /// Reads the order again, and what it has more than the room.
    pub(super) fn reread_order(&mut self, ctx: &mut Context<Self>) {
        let Some(relay) = self.relay.as_mut().filter(|relay| !relay.is_rereading) else { return };
        relay.is_rereading = true;
        let (store, order) = (self.shared.store.clone(), self.order.clone());
        let read = async move { store.stored_order(order).await };
        ctx.spawn(read.into_actor(self).map(|read, room, ctx| {
            room.on_order_reread(read);
            room.tick(Instant::now(), ctx);
        }));
    }

    fn on_order_reread(&mut self, read: Result<Option<StoredOrder>, StoreError>) {
        let Some(relay) = &mut self.relay else { return };
        relay.is_rereading = false;
        match read {
            Ok(Some(order)) => {
                self.delivery.learn(order.last_seq, Instant::now());
                self.apply_stored(order);
            }
            Ok(None) => {}
            Err(error) => {
                log::warn!(order = self.order.as_str(); "cannot read an order again: {error}");
            }
        }
        self.give_up_outdated();
    }

    /// Applies the state of the order in the database, if it is newer.
    fn apply_stored(&mut self, order: StoredOrder) {
        let before = self.facts.clone();
        let changed = AppliedChange { before, order, created: false, raised: true, answer: None };
        let note = ChangeNote::default();
        self.order_changed(&CommittedChange { changed, note, at: Timestamp::now() });
    }

    /// The store gave a message back, because the order has changed since its sender's right was
    /// judged. It is judged anew by the newest state.
    pub(super) fn judge_again(
        &mut self,
        token: u64,
        message: Box<NewMessage>,
        ctx: &mut Context<Self>,
    ) {
        if message.judged_by < Some(self.rev) {
            return self.post_again(token, message);
        }
        if let Some(relay) = &mut self.relay {
            relay.outdated.push((token, message));
        }
        self.reread_order(ctx);
    }

    /// Judges and posts the messages that the store gave back, once the room has a newer state.
    pub(super) fn post_outdated(&mut self) {
        let rev = self.rev;
        let Some(relay) = &mut self.relay else { return };
        let is_due = |(_, message): &mut (u64, Box<NewMessage>)| message.judged_by < Some(rev);
        for (token, message) in relay.outdated.extract_if(.., is_due).collect::<Vec<_>>() {
            self.post_again(token, message);
        }
    }

    /// The newest state could not be read.
    fn give_up_outdated(&mut self) {
        let Some(relay) = &mut self.relay else { return };
        for (token, _) in std::mem::take(&mut relay.outdated) {
            if let Some(write) = self.writes.remove(&token) {
                write.answer.refuse(unavailable("the order has just changed"));
            }
        }
    }
}

/// The room may have missed something.
#[derive(Message)]
#[rtype(result = "()")]
pub struct LookAgain;

impl Handler<BusEvents> for OrderRoom {
    type Result = ();

    fn handle(&mut self, BusEvents(batch): BusEvents, ctx: &mut Context<Self>) {
        let now = Instant::now();
        for event in batch.events {
            self.on_relayed(event, now);
        }
        self.tick(now, ctx);
    }
}

impl Handler<LookAgain> for OrderRoom {
    type Result = ();

    fn handle(&mut self, _: LookAgain, ctx: &mut Context<Self>) {
        match &mut self.relay {
            Some(relay) if self.loading.is_some() => relay.has_missed = true,
            _ => self.reread_order(ctx),
        }
    }
}

impl Handler<BusStateChanged> for OrderRoom {
    type Result = ();

    fn handle(&mut self, _: BusStateChanged, _: &mut Context<Self>) {}
}
