//! Asks the back end whether a session may enter a room that nothing else lets it enter.

use std::sync::Arc;

use actix::fut::wrap_future;
use actix::{ActorFutureExt, AsyncContext, Context};

use super::Connection;
use super::session::Session;
use super::subscription::Subscription;
use crate::actors::hooks::{JoinHook, JoinVerdict};
use crate::actors::order_room::{EntryKind, UpdateIdentity};
use crate::actors::shared::{Shared, unavailable};
use crate::auth::Identity;
use crate::permits::Permit;
use crate::room::order::OrderFacts;
use protocol::error::Failure;
use protocol::ids::OrderId;

/// The hook, if the back end may be asked about a user who has no right: what the hub was told of a
/// user or an order goes before.
pub(super) fn hook_for<'a>(
    shared: &'a Shared,
    identity: &Identity,
    order: &OrderId,
    facts: &OrderFacts,
) -> Option<&'a Arc<JoinHook>> {
    let rights = shared.rights_of(identity, order, facts);
    let is_settled = rights.subject.banned
        || facts.deleted
        || facts.participants.has_removed(&identity.user)
        || shared.verifier.has_revoked(identity);
    shared.hooks.join.as_ref().filter(|_| !is_settled)
}

impl Session {
    /// Asks whether the session may enter, and enters or is refused.
    pub(super) fn ask_to_enter(
        &mut self,
        hook: &Arc<JoinHook>,
        order: OrderId,
        (kind, permit): (EntryKind, Option<Permit>),
        ctx: &mut Context<Connection>,
    ) {
        let (session_id, identity) = (self.peer.id, Arc::clone(&self.identity));
        let asked = hook.ask(&identity, &order);
        ctx.spawn(wrap_future::<_, Connection>(asked).map(move |verdict, connection, _| {
            let Some(session) = connection.session(session_id) else { return };
            match verdict {
                // The room judges bans, removals and deletions of meanwhile.
                JoinVerdict::Yes(_) if session.shared.verifier.has_revoked(&identity) => {
                    session.refuse_entry(order, Failure::forbidden(), kind);
                }
                JoinVerdict::Yes(role) => {
                    let admitted = Arc::new(identity.admitted_to(&order, role));
                    session.find_room_as(order, kind, permit, Some((identity, admitted)));
                }
                JoinVerdict::No => session.refuse_entry(order, Failure::forbidden(), kind),
                JoinVerdict::Unavailable => {
                    let failure = unavailable("the back end does not say who may join");
                    session.refuse_entry(order, failure, kind);
                }
            }
        }));
    }

    /// Tells a room of the session's new identity; where the back end had let it in, it is asked
    /// again, and without a yes only other grounds count.
    pub(super) fn update_identity(&self, order: &OrderId, subscription: &Subscription) {
        let Some(room) = subscription.room().cloned() else { return };
        let (session, renewal, subscription, by_hook) =
            (self.peer.id, self.renewals, subscription.id, subscription.by_hook);
        let update = move |identity| UpdateIdentity { session, subscription, identity, renewal };
        let identity = Arc::clone(&self.identity);
        let Some(hook) = self.shared.hooks.join.as_ref().filter(|_| by_hook) else {
            return room.addr.do_send(update(identity));
        };
        let (asked, order) = (hook.ask(&identity, order), order.clone());
        actix::spawn(async move {
            let identity = match asked.await {
                JoinVerdict::Yes(role) => Arc::new(identity.admitted_to(&order, role)),
                JoinVerdict::No | JoinVerdict::Unavailable => identity,
            };
            room.addr.do_send(update(identity));
        });
    }
}
