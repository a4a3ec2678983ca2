//! The rooms of the same order on other nodes: which there are, who is in them, and what this one
//! tells them.

use std::time::Instant;

use actix::{Context, Handler, Message};
use bytes::Bytes;
use serde_json::value::RawValue;

use super::OrderRoom;
use super::chat::Origin;
use super::relay::{EarlyPosition, RoomRelay};
use crate::actors::cluster::NodeGone;
use crate::bus::{Event, Kind, PositionKey, Received, Topic};
use crate::relay::RelayedData as _;
use crate::relay::hello::Hello;
use crate::relay::interest::Audience;
use crate::relay::position::{self, RelayedPosition};
use crate::relay::presence::{NodeMembers, RemoteUser};
use crate::room::policy::counts_as_driver;
use crate::room::track::RelayedFrom;
use protocol::events::location::LocationUpdate;
use protocol::events::presence::{MemberInfo, Presence};
use protocol::ids::{BootId, UserId};
use protocol::server::ServerEvent;
use protocol::time::Timestamp;

/// The room says hello, since it may have missed others.
#[derive(Message)]
#[rtype(result = "()")]
pub struct SayHello;

impl RoomRelay {
    /// Publishes an event to the rooms of other nodes, if there may be any.
    pub(super) fn tell(&self, order: &Topic, kind: Kind, data: impl FnOnce() -> Vec<u8>) {
        if self.interest.audience() != Audience::Nobody {
            self.relay.publish(order, Event::new(kind, data()));
        }
    }

    /// Publishes a position: only to the nodes that have the room.
    fn tell_position(&mut self, update: &LocationUpdate<'_>, rev: i64, now: Instant) {
        let audience = self.interest.audience_of_position(now);
        if audience == Audience::Nobody {
            return;
        }
        let (order, driver) = (update.order_id.clone(), update.position.driver_id.clone());
        let data = position::write(update, rev, true, Timestamp::now());
        let event = Event::position(PositionKey { order: order.clone(), driver }, data);
        match audience {
            Audience::Nobody => {}
            Audience::Anybody => self.relay.publish(&Topic::Order(order), event),
            Audience::Nodes(nodes) => {
                for node in nodes {
                    self.relay.publish(&Topic::Node(*node), event.clone());
                }
            }
        }
    }

    /// Whether a user is in the room of another node.
    pub(super) fn has(&self, user: &UserId) -> bool {
        self.members.contains(user)
    }
}

impl OrderRoom {
    fn topic(&self) -> Topic {
        Topic::Order(self.order.clone())
    }

    /// Tells other nodes of an event, if they may have the room.
    pub(super) fn tell_nodes(&self, kind: Kind, data: impl FnOnce() -> Vec<u8>) {
        if let Some(relay) = &self.relay {
            relay.tell(&self.topic(), kind, data);
        }
    }

    /// Tells other nodes of the last position.
    pub(super) fn tell_nodes_position(&mut self, battery: Option<f64>) {
        let (Some(relay), Some(position)) = (&mut self.relay, self.track.last()) else { return };
        let update = LocationUpdate { order_id: &self.order, position, battery };
        relay.tell_position(&update, self.rev, Instant::now());
    }

    /// Says what this room knows, and perhaps asks the others for the same.
    pub(super) fn say_hello(&mut self, asks: bool, now: Instant) {
        self.speak(asks, None, now);
    }

    fn speak(&mut self, asks: bool, to: Option<BootId>, now: Instant) {
        let position = self.track.last().and_then(|position| {
            let update = LocationUpdate { order_id: &self.order, position, battery: None };
            let text = position::json(&update, self.rev, Timestamp::now());
            RawValue::from_string(String::from_utf8(text).ok()?).ok()
        });
        let users =
            self.loading.is_none().then(|| self.roster.members().map(RemoteUser::of).collect());
        let (last_seq, rev) = (self.delivery.delivered(), self.rev);
        let to = to.map(|boot| boot.to_string());
        let hello = Hello { room: self.epoch, asks, to, last_seq, rev, users, position };
        let topic = self.topic();
        let Some(relay) = &mut self.relay else { return };
        let mut event = Event::new(Kind::Hello, hello.write());
        if asks {
            relay.interest.ask(now);
            let (counted, count) = event.counted();
            (event, relay.count) = (counted, Some(count));
        }
        relay.relay.publish(&topic, event);
        relay.has_new_members = false;
    }

    /// The server has said how many nodes got the last question, this one among them.
    pub(super) fn on_hello_counted(&mut self, count: Option<usize>) {
        let Some(relay) = &mut self.relay else { return };
        match count {
            Some(count) => relay.interest.expect(count.saturating_sub(1)),
            // It was not published, so there is nothing to wait for.
            None => relay.opens_at = None,
        }
    }

    /// Asks who has the room, if that was not done: the bus was down, or the order was being read.
    pub(super) fn ask_if_unasked(&mut self, now: Instant) {
        let Some(relay) = &self.relay else { return };
        if relay.relay.is_up() && !relay.interest.has_asked() {
            self.say_hello(true, now);
        }
    }

    /// The room of another node says what it knows.
    pub(super) fn on_hello(&mut self, event: &Received, now: Instant, ctx: &mut Context<Self>) {
        let Some(mut hello) = Hello::read(&event.data) else { return };
        let Some(relay) = &mut self.relay else { return };
        if relay.interest.heard(event.from.boot, hello.room, now).is_none() {
            return;
        }
        let own = relay.relay.boot().map(|boot| boot.to_string());
        if hello.to.is_some() && hello.to == own {
            relay.interest.answered(event.from.boot);
        }
        if hello.asks {
            self.speak(false, Some(event.from.boot), now);
        }
        if let Some(users) = hello.users.take() {
            self.replace_members(event, users);
        }
        if self.loading.is_some() {
            return self.hold_relayed(event);
        }
        self.on_hello_progress(&hello, event, now, ctx);
    }

    /// What the other room has more than this one.
    pub(super) fn on_hello_progress(
        &mut self,
        hello: &Hello,
        event: &Received,
        now: Instant,
        ctx: &mut Context<Self>,
    ) {
        self.delivery.learn(hello.last_seq, now);
        if hello.rev > self.rev {
            self.reread_order(ctx);
        }
        if let Some(position) = &hello.position {
            let read = position::read_json(position.get().as_bytes(), Timestamp::now());
            self.on_relayed_position(event, read, true, now, ctx);
        }
    }

    /// Another node has other users in its room, or none any more.
    pub(super) fn on_presence(&mut self, event: &Received, now: Instant) {
        let Some(list) = NodeMembers::read(&event.data) else { return };
        let Some(relay) = &mut self.relay else { return };
        if list.closed {
            if relay.interest.ended(event.from.boot, list.room) {
                self.forget_node(event.from.boot);
            }
        } else if relay.interest.heard(event.from.boot, list.room, now).is_some() {
            self.replace_members(event, list.users);
        }
    }

    /// A room was heard that this one may not know of: then each tells the other what it knows.
    pub(super) fn notice_node(&mut self, event: &Received, now: Instant) {
        let Some(relay) = &mut self.relay else { return };
        if relay.interest.is_new(event.from.boot) {
            self.say_hello(true, now);
        }
    }

    fn replace_members(&mut self, event: &Received, users: Vec<RemoteUser>) {
        let Some(relay) = &mut self.relay else { return };
        let diff = relay.members.replace(event.from.boot, event.number, users);
        for user in &diff.joined {
            self.announce_remote(user, true);
        }
        for user in &diff.left {
            self.announce_remote(user, false);
        }
    }

    fn forget_node(&mut self, node: BootId) {
        let left = self.relay.as_mut().map(|relay| relay.members.remove(node));
        for user in &left.unwrap_or_default() {
            self.announce_remote(user, false);
        }
    }

    /// Tells the members that a user came to or left another node, and is not on this one.
    fn announce_remote(&mut self, user: &RemoteUser, has_joined: bool) {
        if self.roster.contains(&user.user_id) {
            return;
        }
        let order = self.order.clone();
        let presence = Presence { order_id: &order, member: user.info() };
        self.send_to_all(if has_joined {
            ServerEvent::PresenceJoined(presence)
        } else {
            ServerEvent::PresenceLeft(presence)
        });
    }

    /// All users in the room, on whichever nodes, sorted by id.
    pub(super) fn all_members(&self) -> Vec<MemberInfo<'_>> {
        let mut members: Vec<_> = self.roster.members().collect();
        if let Some(relay) = self.relay.as_ref().filter(|relay| !relay.members.is_empty()) {
            let elsewhere = relay.members.users().map(RemoteUser::info);
            members.extend(elsewhere.filter(|user| !self.roster.contains(user.user_id)));
            members.sort_by_key(|member| member.user_id);
            members.dedup_by_key(|member| member.user_id);
        }
        members
    }

    /// A position that another node has accepted.
    pub(super) fn on_relayed_position(
        &mut self,
        event: &Received,
        read: Option<RelayedPosition>,
        is_answer: bool,
        now: Instant,
        ctx: &mut Context<Self>,
    ) {
        let Some(relayed) = read.filter(|relayed| relayed.order == self.order) else { return };
        if relayed.has_room
            && self.relay.as_ref().is_some_and(|r| r.interest.is_new(event.from.boot))
        {
            self.notice_node(event, now);
        }
        if relayed.rev > self.rev {
            // By the newer state the members may not see it.
            let event = Received { data: Bytes::new(), ..event.clone() };
            self.keep_position(EarlyPosition { event, relayed, is_answer });
            return self.reread_order(ctx);
        }
        self.show_relayed_position(event, relayed, is_answer);
    }

    /// Judges a position that another node has accepted, and shows it. It is not written.
    pub(super) fn show_relayed_position(
        &mut self,
        event: &Received,
        relayed: RelayedPosition,
        is_answer: bool,
    ) {
        let RelayedPosition { position, battery, .. } = relayed;
        let Some(own) = self.relay.as_ref().and_then(|relay| relay.relay.boot()) else { return };
        if !counts_as_driver(&self.shared.rules, &self.facts, &position.driver_id) {
            self.shared.metrics.locations_dropped.inc();
            return;
        }
        let from = RelayedFrom { by: (event.from.boot, event.number), own, is_answer };
        if self.track.accept_relayed(position, from, Instant::now()) {
            // The node that took it writes it.
            self.track_dirty = false;
            self.show_position(battery, Timestamp::now(), Origin::AnotherNode);
        }
    }

    /// Does what is due with regard to other nodes.
    pub(super) fn keep_up_with_nodes(&mut self, now: Instant) {
        let Some(relay) = &mut self.relay else { return };
        if let Some(count) = relay.count.as_mut().and_then(|count| count.try_recv().ok()) {
            relay.count = None;
            relay.interest.expect(count.saturating_sub(1));
        }
        let asks_again = self.loading.is_none() && relay.interest.is_to_ask_again(now);
        let is_refresh_due = relay.interest.is_refresh_due(now);
        let silent = if is_refresh_due { relay.interest.take_silent(now) } else { Vec::new() };
        let has_new_members = std::mem::take(&mut relay.has_new_members);
        let expired = relay.members.expired(now);
        for user in &expired {
            self.announce_remote(user, false);
        }
        for node in silent {
            self.forget_node(node);
        }
        if asks_again {
            self.say_hello(true, now);
        } else if is_refresh_due {
            self.say_hello(false, now);
        } else if has_new_members && self.loading.is_none() {
            self.tell_nodes(Kind::Presence, || {
                let users = self.roster.members().map(RemoteUser::of).collect();
                NodeMembers { room: self.epoch, users, closed: false }.write()
            });
        }
    }

    /// When there is something to do with regard to other nodes.
    pub(super) fn nodes_due(&self) -> Option<Instant> {
        let relay = self.relay.as_ref()?;
        relay.members.next_expiry().into_iter().chain(relay.interest.next_due()).min()
    }

    /// The users of this node in the room are other ones.
    pub(super) fn note_new_members(&mut self) {
        if let Some(relay) = &mut self.relay {
            relay.has_new_members = true;
        }
    }

    /// The room ends.
    pub(super) fn say_goodbye(&self) {
        self.tell_nodes(Kind::Presence, || {
            NodeMembers { room: self.epoch, users: Vec::new(), closed: true }.write()
        });
    }
}

impl Handler<NodeGone> for OrderRoom {
    type Result = ();

    fn handle(&mut self, NodeGone(node): NodeGone, ctx: &mut Context<Self>) {
        let now = Instant::now();
        let grace = self.shared.config.rooms.presence_grace;
        let Some(relay) = &mut self.relay else { return };
        relay.interest.left(node.boot);
        relay.typists.remove(&node.boot);
        // As if each of its users had lost the connection.
        relay.members.expire_at(node.boot, now + grace);
        self.tick(now, ctx);
    }
}

impl Handler<SayHello> for OrderRoom {
    type Result = ();

    fn handle(&mut self, _: SayHello, _: &mut Context<Self>) {
        // A room that is being read says hello when it opens.
        if self.loading.is_none() {
            self.say_hello(true, Instant::now());
        }
    }
}
