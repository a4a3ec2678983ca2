//! The orders that a location without `orderId` is for: those that the driver serves. They are read
//! when the first such location comes, and then kept up to date by order changes.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use actix::fut::wrap_future;
use actix::{ActorFutureExt, AsyncContext, Context};

use super::Connection;
use super::session::Session;
use super::subscribing::MAX_QUEUED;
use crate::actors::peer::Answer;
use crate::actors::shared::unavailable;
use crate::actors::store::{CommittedChange, StoreError};
use crate::room::order::location_targets;
use protocol::client::Fix;
use protocol::ids::OrderId;

/// How long locations do without the database's orders after a failed read.
const READ_AGAIN_AFTER: Duration = Duration::from_secs(5);

/// The orders that back ends assigned to the user and that have not ended.
pub(super) enum OpenOrders {
    /// Not needed so far, or the read failed: then the earliest time of the next read.
    Unread(Option<Instant>),
    /// They are being read.
    Reading {
        /// Locations that wait for it.
        waiting: Vec<(Fix, Answer)>,
        /// Changes that arrived meanwhile, which the read may not contain: an order, and whether it
        /// is open.
        told: Vec<(OrderId, bool)>,
    },
    /// They are known.
    Known(BTreeSet<OrderId>),
}

// === impl OpenOrders ===

impl OpenOrders {
    /// Notes whether an order is open.
    fn set(&mut self, order: &OrderId, is_open: bool) {
        match self {
            // A later read will contain this.
            Self::Unread(_) => {}
            Self::Reading { told, .. } => told.push((order.clone(), is_open)),
            Self::Known(orders) if is_open => drop(orders.insert(order.clone())),
            Self::Known(orders) => drop(orders.remove(order)),
        }
    }

    /// Takes the outcome of the read. Returns the locations that waited for it.
    fn finish_read(
        &mut self,
        found: Result<Vec<OrderId>, StoreError>,
        now: Instant,
    ) -> Vec<(Fix, Answer)> {
        let next = match &found {
            Ok(orders) => Self::Known(orders.iter().cloned().collect()),
            Err(_) => Self::Unread(Some(now + READ_AGAIN_AFTER)),
        };
        let Self::Reading { waiting, told } = std::mem::replace(self, next) else {
            return Vec::new();
        };
        for (order, is_open) in told {
            self.set(&order, is_open);
        }
        waiting
    }
}

// === impl Session ===

impl Session {
    /// Sends a fix to all orders that the driver serves.
    pub(super) fn send_fix_to_open_orders(
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
                    OpenOrders::Reading { waiting: vec![(fix, answer)], told: Vec::new() };
                self.read_open_orders(ctx);
            }
            // Positions need no database: they go to the orders that the token names.
            OpenOrders::Unread(_) | OpenOrders::Known(_) => {
                let orders = self.own_orders();
                self.send_fix_to_orders(&orders, fix, answer, now, ctx);
            }
        }
    }

    fn read_open_orders(&self, ctx: &mut Context<Connection>) {
        let (store, user) = (self.shared.store.clone(), self.identity.user.clone());
        let session_id = self.peer.id;
        let read = wrap_future::<_, Connection>(async move { store.open_orders(user).await });
        ctx.spawn(read.map(move |found, connection, ctx| {
            let Some(session) = connection.session(session_id) else { return };
            if let Err(error) = &found {
                log::debug!(session:% = session_id; "cannot read a driver's orders: {error}");
            }
            let now = Instant::now();
            for (fix, answer) in session.open_orders.finish_read(found, now) {
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
        let joined = self
            .subscriptions
            .iter()
            .filter(|(_, subscription)| subscription.joins > 0)
            .map(|(order, _)| order);
        let open = match &self.open_orders {
            OpenOrders::Known(open) => Some(open),
            OpenOrders::Unread(_) | OpenOrders::Reading { .. } => None,
        };
        location_targets(
            self.identity.orders.iter().chain(joined).chain(open.into_iter().flatten()),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(id: &str) -> OrderId {
        id.parse().expect("id")
    }

    #[test]
    fn what_is_told_while_they_are_read_counts_more_than_the_read() {
        let mut orders = OpenOrders::Reading { waiting: Vec::new(), told: Vec::new() };
        orders.set(&order("o1"), true);
        orders.set(&order("o2"), false);
        orders.finish_read(Ok(vec![order("o2"), order("o3")]), Instant::now());
        let OpenOrders::Known(known) = &orders else { panic!("not known") };
        assert_eq!(known.iter().map(OrderId::as_str).collect::<Vec<_>>(), ["o1", "o3"]);
    }

    #[test]
    fn what_cannot_be_read_is_read_again_later() {
        let mut orders = OpenOrders::Reading { waiting: Vec::new(), told: Vec::new() };
        let now = Instant::now();
        orders.finish_read(Err(StoreError::Busy), now);
        orders.set(&order("o1"), true);
        let OpenOrders::Unread(Some(again)) = orders else { panic!("not unread") };
        assert_eq!(again, now + READ_AGAIN_AFTER);
    }
}
