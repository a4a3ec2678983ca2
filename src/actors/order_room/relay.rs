//! What the room hears from its like on other nodes, and what it looks up in the database where it
//! may have heard too little. What came from another node is shown to the members and never written.

mod reread;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use actix::{ActorFutureExt, AsyncContext, Context, Handler, Message, WrapFuture};
use bytes::Bytes;
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::OrderRoom;
use super::chat::Origin;
use super::lanes::next_latest_key;
use super::outdated::Outdated;
use crate::actors::cluster::BusStateChanged;
use crate::bus::{Batch, Confirmation, Kind, Received, Subscription, Topic, Unconfirmed};
use crate::relay::hello::Hello;
use crate::relay::interest::Interest;
use crate::relay::position::RelayedPosition;
use crate::relay::presence::RemoteMembers;
use crate::relay::receipt::RelayedReceipt;
use crate::relay::typing::RelayedTyping;
use crate::relay::{self, Relay, RelayedData as _};
use protocol::ids::{BootId, OrderId, SessionId};
use protocol::time::Timestamp;

/// How long a room waits for the confirmation of its subscription before it reads the order without.
const CONFIRM_TIMEOUT: Duration = Duration::from_millis(300);
/// How long the room waits to be told how many rooms may answer to its first hello,
/// and for their answers. What comes later is told to members as events.
const ANSWER_TIMEOUT: Duration = Duration::from_millis(300);
/// How many receipts may wait for their messages. Beyond it they are not shown.
const MAX_RECEIPTS: usize = 64;
/// How many events may wait for the order to be read. What is beyond is looked up.
const MAX_HELD: usize = 256;

/// Events of other nodes about this room's order, in their order.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct BusEvents(pub Batch);

/// A position that waits until the room knows the state by which it was judged.
pub(super) struct EarlyPosition {
    pub(super) event: Received,
    pub(super) relayed: RelayedPosition,
    pub(super) is_answer: bool,
}

/// Whether the order is being read again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reread {
    Idle,
    UnderWay,
    /// And once more behind that, since that read may have begun too early.
    OnceMore,
}

/// What a room keeps for what it hears from other nodes.
pub(super) struct RoomRelay {
    pub(super) relay: Arc<Relay>,
    /// Its subscription to the order, from when the order is read for the first time.
    subscription: Option<Subscription>,
    /// What came while the order was being read.
    held: Vec<Received>,
    /// Whether more came than is held.
    has_missed: bool,
    /// Messages that the store gave back, or that wait behind them.
    pub(super) outdated: Outdated,
    /// The newest position that was judged by a newer state of the order than the room knows.
    early_position: Option<EarlyPosition>,
    reread: Reread,
    /// Which nodes have the room.
    pub(super) interest: Interest,
    /// Who is in the rooms of other nodes.
    pub(super) members: RemoteMembers,
    /// Whether other nodes are to be told who is in this room.
    pub(super) has_new_members: bool,
    /// How many nodes got the last hello, once the server has said so.
    pub(super) count: Option<oneshot::Receiver<usize>>,
    /// Until when the room waits for the answers to its first hello.
    pub(super) opens_at: Option<Instant>,
    /// A device for each node on which users type.
    pub(super) typists: HashMap<BootId, SessionId>,
    /// Receipts for messages that this room has not sent out yet.
    receipts: Vec<RelayedReceipt>,
}

impl RoomRelay {
    pub(super) fn new(relay: Arc<Relay>) -> Box<Self> {
        Box::new(Self {
            relay,
            subscription: None,
            held: Vec::new(),
            has_missed: false,
            outdated: Outdated::default(),
            early_position: None,
            reread: Reread::Idle,
            interest: Interest::default(),
            members: RemoteMembers::default(),
            has_new_members: false,
            count: None,
            opens_at: None,
            typists: HashMap::new(),
            receipts: Vec::new(),
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

    fn hold(&mut self, event: &Received) {
        if self.held.len() < MAX_HELD {
            // Not a part of the whole message, whose place is free again.
            let data = Bytes::copy_from_slice(&event.data);
            self.held.push(Received { data, ..event.clone() });
        } else {
            self.has_missed = true;
        }
    }
}

impl OrderRoom {
    /// Subscribes to the order and says hello before the order is read, so that nothing is missed in
    /// between. Resolves when the subscription is confirmed, or when that takes too long.
    pub(super) fn subscribe(
        &mut self,
        ctx: &mut Context<Self>,
    ) -> impl Future<Output = ()> + use<> {
        let order = &self.order;
        let confirmation = self.relay.as_mut().and_then(|relay| relay.subscribe(order));
        let room = ctx.address();
        async move {
            let Some(mut confirmation) = confirmation else { return };
            match timeout(CONFIRM_TIMEOUT, &mut confirmation).await {
                Ok(Ok(())) => room.do_send(Confirmed { in_time: true }),
                // Everything is compared when the bus is up again.
                Ok(Err(Unconfirmed)) => {}
                Err(_) => drop(actix::spawn(async move {
                    if confirmation.await.is_ok() {
                        room.do_send(Confirmed { in_time: false });
                    }
                })),
            }
        }
    }

    /// The subscription is confirmed: the others are told of this room.
    fn on_confirmed(&mut self, in_time: bool, now: Instant, ctx: &mut Context<Self>) {
        self.say_hello(true, now);
        let Some(relay) = &mut self.relay else { return };
        // What came before the confirmation may have been missed.
        relay.has_missed |= !in_time;
        if self.loading.is_none() {
            return self.release_relayed(ctx);
        }
        let until = now + ANSWER_TIMEOUT;
        relay.opens_at = Some(until);
        let Some(count) = relay.count.take() else { return };
        ctx.spawn(count.into_actor(self).map(|count, room, ctx| {
            room.on_hello_counted(count.ok());
            room.tick(Instant::now(), ctx);
        }));
    }

    /// When the room does not wait for answers any more.
    pub(super) fn answers_due(&self) -> Option<Instant> {
        self.loading.as_ref()?.order.as_ref()?;
        self.relay.as_ref()?.opens_at
    }

    /// Opens the room with the order that was read: once the others have answered, so that its first
    /// snapshot shows their members and the last position.
    pub(super) fn open_when_answered(&mut self, now: Instant, ctx: &mut Context<Self>) {
        let relay = self.relay.as_ref();
        let waits = relay.is_some_and(|relay| {
            relay.opens_at.is_some_and(|until| now < until) && !relay.interest.is_answered()
        });
        if waits {
            return;
        }
        if let Some(order) = self.loading.as_mut().and_then(|loading| loading.order.take()) {
            self.open(order, ctx);
            self.ask_if_unasked(now);
        }
    }

    /// Handles what came while the order was read.
    pub(super) fn release_relayed(&mut self, ctx: &mut Context<Self>) {
        let Some(relay) = &mut self.relay else { return };
        let (held, has_missed) = (std::mem::take(&mut relay.held), relay.has_missed);
        relay.has_missed = false;
        let now = Instant::now();
        for event in held {
            match Hello::read(&event.data).filter(|_| event.kind == Kind::Hello) {
                // The rest was done when it came.
                Some(hello) => self.on_hello_progress(&hello, &event, now, ctx),
                None => self.on_relayed(&event, now, ctx),
            }
        }
        if has_missed {
            self.reread_order(ctx);
        }
    }

    /// Keeps an event until the order is read.
    pub(super) fn hold_relayed(&mut self, event: &Received) {
        if let Some(relay) = &mut self.relay {
            relay.hold(event);
        }
    }

    fn on_relayed(&mut self, event: &Received, now: Instant, ctx: &mut Context<Self>) {
        match event.kind {
            // Who is there does not depend on the order.
            Kind::Hello => self.on_hello(event, now, ctx),
            Kind::Presence => self.on_presence(event, now),
            _ if self.loading.is_some() => self.hold_relayed(event),
            Kind::Chat => self.on_relayed_chat(&event.data, now),
            Kind::Position => {
                let read = relay::position::read(&event.data, Timestamp::now());
                self.on_relayed_position(event, read, false, now, ctx);
            }
            Kind::Typing => {
                self.notice_node(event, now);
                self.on_relayed_typing(event, now);
            }
            Kind::Receipt => {
                self.notice_node(event, now);
                if let Some(receipt) = RelayedReceipt::read(&event.data) {
                    self.on_relayed_receipt(receipt, now);
                }
            }
            // The supervisor handles changes of orders; what is not for rooms has another topic.
            _ => {}
        }
    }

    /// Keeps a position until the order is read again, in place of an older one.
    pub(super) fn keep_position(&mut self, early: EarlyPosition) {
        if let Some(relay) = &mut self.relay {
            relay.early_position = Some(early);
        }
    }

    /// Shows the position that waited, if the room knows enough by now.
    fn show_early_position(&mut self) {
        let rev = self.rev;
        let Some(relay) = &mut self.relay else { return };
        if let Some(early) = relay.early_position.take_if(|early| early.relayed.rev <= rev) {
            self.show_relayed_position(&early.event, early.relayed, early.is_answer);
        }
    }

    /// Does what has waited for a newer state of the order.
    pub(super) fn on_newer_state(&mut self) {
        self.post_outdated();
        self.show_early_position();
    }

    fn on_relayed_typing(&mut self, event: &Received, now: Instant) {
        let Some(RelayedTyping { user_id, typing }) = RelayedTyping::read(&event.data) else {
            return;
        };
        let Some(relay) = &mut self.relay else { return };
        let device = *relay.typists.entry(event.from.boot).or_insert_with(SessionId::random);
        self.typing_users.set(&user_id, device, typing, now, next_latest_key);
    }

    /// A receipt of another node. It is shown once the messages are here that it covers.
    fn on_relayed_receipt(&mut self, receipt: RelayedReceipt, now: Instant) {
        if receipt.seq > self.delivery.delivered() {
            self.delivery.learn(receipt.seq, now);
            if let Some(relay) = &mut self.relay
                && relay.receipts.len() < MAX_RECEIPTS
            {
                relay.receipts.push(receipt);
            }
            return;
        }
        self.show_relayed_receipt(&receipt);
    }

    /// Shows the receipts whose messages are here by now.
    pub(super) fn release_receipts(&mut self) {
        let delivered = self.delivery.delivered();
        let Some(relay) = self.relay.as_mut().filter(|relay| !relay.receipts.is_empty()) else {
            return;
        };
        let is_due = |receipt: &mut RelayedReceipt| receipt.seq <= delivered;
        let due: Vec<_> = relay.receipts.extract_if(.., is_due).collect();
        for receipt in &due {
            self.show_relayed_receipt(receipt);
        }
    }

    fn on_relayed_chat(&mut self, data: &[u8], now: Instant) {
        if let Some((message, json)) = relay::chat::read(data, &self.order) {
            self.exists |= !self.facts.deleted;
            self.deliver(&message, json, Origin::AnotherNode, now);
        }
    }
}

/// The subscription to the order is confirmed.
#[derive(Message)]
#[rtype(result = "()")]
struct Confirmed {
    /// Whether the room has waited for it.
    in_time: bool,
}

/// Another node, or the database, has more than this room had.
#[derive(Message)]
#[rtype(result = "()")]
pub struct CatchUp {
    /// The newest message.
    pub last_seq: i64,
    /// The revision of the order.
    pub rev: i64,
}

/// The database has less than this room has sent out.
#[derive(Message)]
#[rtype(result = "()")]
pub struct StartAnew {
    /// The newest message in the database.
    pub last_seq: i64,
    /// The revision of the order in the database.
    pub rev: i64,
}

impl Handler<Confirmed> for OrderRoom {
    type Result = ();

    fn handle(&mut self, Confirmed { in_time }: Confirmed, ctx: &mut Context<Self>) {
        self.on_confirmed(in_time, Instant::now(), ctx);
    }
}

impl Handler<BusEvents> for OrderRoom {
    type Result = ();

    fn handle(&mut self, BusEvents(batch): BusEvents, ctx: &mut Context<Self>) {
        let now = Instant::now();
        for event in &batch.events {
            self.on_relayed(event, now, ctx);
        }
        self.tick(now, ctx);
    }
}

impl Handler<BusStateChanged> for OrderRoom {
    type Result = ();

    /// After the bus was down, the rooms of other nodes say hello one after the other, and the
    /// supervisor gives each its turn.
    fn handle(&mut self, _: BusStateChanged, _: &mut Context<Self>) {
        if let Some(relay) = &mut self.relay {
            relay.interest.be_unsure();
            self.handle.stats.set_hello_due();
        }
    }
}
