//! Compares the rooms of this node with the database, and with what other nodes say in their beats. A
//! room that has less reads the rest; one that has more starts anew.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use actix::{ActorFutureExt, AsyncContext, Context, Handler, WrapFuture};

use super::Supervisor;
use crate::actors::cluster::{BeatHeard, CutOff, NodeGone, NodeThere};
use crate::actors::order_room::{CatchUp, SayHello, StartAnew};
use crate::actors::store::StoreError;
use crate::relay::commits::Commit;
use crate::relay::comparison::{AFTER_RECONNECT, AFTER_VANISHING};
use protocol::ids::OrderId;

/// How often the next orders are chosen.
const TICK: Duration = Duration::from_secs(1);
/// The least time from an answer to the next query, so that many rooms say hello one after the
/// other.
const PAUSE: Duration = Duration::from_millis(20);

/// How far a room was when the database was asked.
type Before = HashMap<OrderId, (i64, i64)>;

impl Supervisor {
    /// Compares from now on, if there are other nodes.
    pub(super) fn start_comparing(&mut self, ctx: &mut Context<Self>) {
        let Some(relay) = &self.shared.relay else { return };
        self.comparison.set_up(relay.is_up(), Instant::now());
        let Some(boot) = relay.boot() else { return };
        // Each node at another time of the second.
        let jitter = boot.as_bytes().iter().fold(0, |sum, byte| sum + u64::from(*byte)) % 1000;
        ctx.run_later(Duration::from_millis(jitter), |_, ctx| {
            ctx.run_interval(TICK, |supervisor, ctx| {
                let now = Instant::now();
                let is_up = supervisor.shared.relay.as_ref().is_some_and(|relay| relay.is_up());
                supervisor.comparison.set_up(is_up, now);
                let orders = supervisor.rooms.keys().collect();
                supervisor.comparison.tick(&orders, now);
                supervisor.compare_next(ctx);
            });
        });
    }

    /// Asks the database for the next orders.
    pub(super) fn compare_next(&mut self, ctx: &mut Context<Self>) {
        while let Some(orders) = self.comparison.next_query() {
            for entry in orders.iter().filter_map(|order| self.rooms.get(order)) {
                if entry.handle.stats.take_hello_due() {
                    entry.handle.addr.do_send(SayHello);
                }
            }
            let progress = |order: &OrderId| {
                Some((order.clone(), self.rooms.get(order)?.handle.stats.progress()?))
            };
            let before: Before = orders.iter().filter_map(progress).collect();
            let store = self.shared.store.clone();
            let read = async move {
                store
                    .progress_of(before.keys().cloned().collect())
                    .await
                    .map(|stored| (before, stored))
            };
            ctx.spawn(read.into_actor(self).map(|read, supervisor, ctx| {
                supervisor.comparison.answered();
                supervisor.on_compared(read);
                ctx.run_later(PAUSE, Self::compare_next);
            }));
        }
    }

    fn on_compared(&mut self, read: Result<(Before, Vec<Commit>), StoreError>) {
        // While the database is down there is nothing to compare with.
        let Ok((before, stored)) = read else { return };
        let stored: HashMap<_, _> =
            stored.into_iter().map(|one| (one.order_id, (one.last_seq, one.rev))).collect();
        for (order, (seq_before, rev_before)) in before {
            let (last_seq, rev) = stored.get(&order).copied().unwrap_or_default();
            // What a room has sent out was committed before the database was asked.
            if last_seq < seq_before || rev < rev_before {
                if let Some(entry) = self.rooms.get(&order) {
                    entry.handle.addr.do_send(StartAnew { last_seq, rev });
                }
            } else {
                self.catch_up(&order, last_seq, rev);
            }
        }
    }

    /// Tells a room how far its order is, if the room is not so far.
    fn catch_up(&self, order: &OrderId, last_seq: i64, rev: i64) {
        let Some(entry) = self.rooms.get(order) else { return };
        let is_behind = |(seq, known_rev): (i64, i64)| seq < last_seq || known_rev < rev;
        if entry.handle.stats.progress().is_none_or(is_behind) {
            entry.handle.addr.do_send(CatchUp { last_seq, rev });
        }
    }
}

impl Handler<BeatHeard> for Supervisor {
    type Result = ();

    fn handle(&mut self, BeatHeard(content): BeatHeard, ctx: &mut Context<Self>) {
        for Commit { order_id, last_seq, rev } in &content.commits {
            self.catch_up(order_id, *last_seq, *rev);
        }
        for order in content.dropped.iter().filter(|order| self.rooms.contains_key(*order)) {
            self.comparison.add(order);
        }
        if content.more {
            self.comparison.hurry(Instant::now() + TICK);
        }
        self.compare_next(ctx);
    }
}

impl Handler<NodeGone> for Supervisor {
    type Result = ();

    fn handle(&mut self, gone: NodeGone, _: &mut Context<Self>) {
        self.comparison.hurry(Instant::now() + AFTER_VANISHING);
        self.relayed.note_gone(gone.0.boot);
        // A node that hears nobody cannot say who is gone.
        if self.comparison.hears_others(Instant::now()) {
            for entry in self.rooms.values() {
                entry.handle.addr.do_send(gone.clone());
            }
        }
    }
}

impl Handler<NodeThere> for Supervisor {
    type Result = ();

    /// A node that was taken for gone has stood still, and its rooms do not know that they were
    /// forgotten. All say hello anew, one after the other.
    fn handle(&mut self, NodeThere(node): NodeThere, _: &mut Context<Self>) {
        if self.relayed.take_gone(node.boot) {
            for entry in self.rooms.values() {
                entry.handle.stats.set_hello_due();
            }
            self.comparison.hurry(Instant::now() + AFTER_RECONNECT);
        }
    }
}

impl Handler<CutOff> for Supervisor {
    type Result = ();

    fn handle(&mut self, CutOff(is_cut_off): CutOff, _: &mut Context<Self>) {
        self.comparison.set_cut_off(is_cut_off, Instant::now());
    }
}
