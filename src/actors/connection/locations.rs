//! Sends the fixes of a driver to their orders: those that the client names, or all that the driver
//! serves.

use std::sync::Arc;
use std::time::Instant;

use actix::fut::wrap_future;
use actix::{ActorFutureExt, AsyncContext, Context};

use super::Connection;
use super::session::{MAX_QUEUED, Session};
use super::subscription::RoomEvent;
use crate::actors::peer::{Answer, LocationReply, split_answer};
use crate::actors::shared::unavailable;
use crate::actors::store::CommittedChange;
use crate::room::order::location_targets;
use crate::session::open_orders::OpenOrders;
use protocol::client::ClientEventName;
use protocol::events::location::{Fix, Location, Target};
use protocol::ids::OrderId;

impl Session {
    /// Sends a fix to its orders. Nearly all events are fixes for one order without an ack: making
    /// an [`Answer`] for each would cost more than all the rest here.
    pub(super) fn update_location(
        &mut self,
        location: Location,
        ack: Option<u64>,
        now: Instant,
        ctx: &mut Context<Connection>,
    ) {
        let Location { target, fix } = location;
        let answer =
            |session: &Self| Answer::new(Arc::clone(&session.peer), ClientEventName::Location, ack);
        match target {
            Target::One(order) => {
                let reply = match ack {
                    None => LocationReply::NotRequested,
                    Some(_) => LocationReply::Single(Box::new(answer(self))),
                };
                self.route(order, RoomEvent::UpdateLocation(fix, reply), now, ctx);
            }
            Target::Many(orders) => self.send_fix(&orders, fix, answer(self), now, ctx),
            Target::All => self.send_fix_to_open_orders(fix, answer(self), now, ctx),
        }
    }

    /// Sends a fix to several orders, with one answer.
    fn send_fix(
        &mut self,
        orders: &[OrderId],
        fix: Fix,
        answer: Answer,
        now: Instant,
        ctx: &mut Context<Connection>,
    ) {
        for (order, reply) in orders.iter().zip(split_answer(answer, orders)) {
            self.route(order.clone(), RoomEvent::UpdateLocation(fix, reply), now, ctx);
        }
    }

    fn send_fix_to_open_orders(
        &mut self,
        fix: Fix,
        answer: Answer,
        now: Instant,
        ctx: &mut Context<Connection>,
    ) {
        match &mut self.open_orders {
            OpenOrders::Reading { waiting, .. } if waiting.len() < MAX_QUEUED => {
                waiting.push((fix, answer));
            }
            OpenOrders::Reading { .. } => answer.refuse(unavailable("the orders are being read")),
            OpenOrders::Unread(not_before) if not_before.is_none_or(|at| now >= at) => {
                self.open_orders =
                    OpenOrders::Reading { waiting: vec![(fix, answer)], changes: Vec::new() };
                self.read_open_orders(ctx);
            }
            // Positions need no database: they go to the orders that the token names.
            OpenOrders::Unread(_) | OpenOrders::Known(_) => {
                let orders = self.own_orders();
                self.send_fix(&orders, fix, answer, now, ctx);
            }
        }
    }

    fn read_open_orders(&self, ctx: &mut Context<Connection>) {
        let (store, user) = (self.shared.store.clone(), self.identity.user.clone());
        let session_id = self.peer.id;
        let read = wrap_future::<_, Connection>(async move { store.open_orders(user).await });
        ctx.spawn(read.map(move |orders, connection, ctx| {
            let Some(session) = connection.session(session_id) else { return };
            if let Err(error) = &orders {
                log::debug!(session:% = session_id; "cannot read a driver's orders: {error}");
            }
            let now = Instant::now();
            for (fix, answer) in session.open_orders.finish_read(orders, now) {
                session.send_fix_to_open_orders(fix, answer, now, ctx);
            }
        }));
    }

    /// Handles a change of an order, which may have become one of the user's, or have ceased to be.
    pub(super) fn update_open_order(&mut self, change: &CommittedChange) {
        let order = &change.changed.order;
        let is_open = order.facts.is_served_by(&self.identity.user);
        self.open_orders.set(&order.id, is_open);
    }

    /// The orders that the user serves, that the token names, and that the session has joined.
    fn own_orders(&self) -> Vec<OrderId> {
        let subscriptions = self.subscriptions.iter();
        let joined = subscriptions.filter(|(_, subscription)| subscription.joins > 0);
        let joined = joined.map(|(order, _)| order);
        location_targets(self.identity.orders.iter().chain(joined).chain(self.open_orders.known()))
    }
}
