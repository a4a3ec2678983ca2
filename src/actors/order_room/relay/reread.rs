//! Reading the order again, where another node has changed more than the room has heard, and
//! starting anew, where the database has less.

use std::time::Instant;

use actix::{
    ActorContext as _, ActorFutureExt as _, AsyncContext as _, Context, Handler, WrapFuture as _,
};

use super::{CatchUp, OrderRoom, Reread, StartAnew};
use crate::actors::store::{AppliedChange, ChangeNote, CommittedChange, StoreError, StoredOrder};
use protocol::time::Timestamp;

impl OrderRoom {
    /// Reads the order again, and what it has more than the room.
    pub(in crate::actors::order_room) fn reread_order(&mut self, ctx: &mut Context<Self>) {
        let Some(relay) = &mut self.relay else { return };
        if relay.reread != Reread::Idle {
            relay.reread = Reread::OnceMore;
            return;
        }
        relay.reread = Reread::UnderWay;
        let (store, order) = (self.shared.store.clone(), self.order.clone());
        let read = async move { store.stored_order(order).await };
        ctx.spawn(read.into_actor(self).map(|read, room, ctx| {
            room.on_order_reread(read, ctx);
            room.tick(Instant::now(), ctx);
        }));
    }

    fn on_order_reread(
        &mut self,
        read: Result<Option<StoredOrder>, StoreError>,
        ctx: &mut Context<Self>,
    ) {
        let Some(relay) = &mut self.relay else { return };
        let again = std::mem::replace(&mut relay.reread, Reread::Idle) == Reread::OnceMore;
        match read {
            Ok(Some(order)) => {
                let facts = &order.facts;
                let is_remade = !facts.deleted && facts.remade_at != self.facts.remade_at;
                self.delivery.learn(order.last_seq, Instant::now());
                self.apply_stored(order);
                if is_remade {
                    // All have left with the deletion. A new room finds out which chat is gone.
                    self.starts_anew = true;
                    return ctx.stop();
                }
            }
            Ok(None) => {}
            Err(error) => {
                log::warn!(order = self.order.as_str(); "cannot read an order again: {error}");
            }
        }
        if again {
            return self.reread_order(ctx);
        }
        self.give_up_outdated();
        if let Some(relay) = &mut self.relay {
            relay.early_position = None;
        }
    }

    /// Applies the state of the order in the database, if it is newer.
    fn apply_stored(&mut self, order: StoredOrder) {
        let before = self.facts.clone();
        let changed = AppliedChange { before, order, created: false, raised: true, answer: None };
        let note = ChangeNote::default();
        self.order_changed(&CommittedChange { changed, note, at: Timestamp::now() });
    }
}

impl Handler<CatchUp> for OrderRoom {
    type Result = ();

    fn handle(&mut self, CatchUp { last_seq, rev }: CatchUp, ctx: &mut Context<Self>) {
        if self.loading.is_some() {
            if let Some(relay) = &mut self.relay {
                relay.has_missed = true;
            }
            return;
        }
        let now = Instant::now();
        self.delivery.learn(last_seq, now);
        if rev > self.rev {
            self.reread_order(ctx);
        }
        self.tick(now, ctx);
    }
}

impl Handler<StartAnew> for OrderRoom {
    type Result = ();

    fn handle(&mut self, StartAnew { last_seq, rev }: StartAnew, ctx: &mut Context<Self>) {
        log::error!(
            order = self.order.as_str(), last_seq = last_seq, rev = rev;
            "the database has lost what was committed: message {} of revision {} was sent",
            self.delivery.delivered(), self.rev
        );
        self.shared.metrics.bus.rooms_ahead.inc();
        // The members come back to a room that reads the order.
        self.starts_anew = true;
        ctx.stop();
    }
}
