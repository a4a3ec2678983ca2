//! Looks for messages that were not shown to someone in time, and tells them as `chat.unread`. What
//! is told is judged again, and made anew, before every try.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::{DispatchContext, FindSeen, SeenInRoom};
use crate::actors::store::{StoreError, UnreadOrder};
use crate::db::unread::{Round, UnreadUser};
use crate::room::order::OrderFacts;
use crate::room::policy::{Action, Rights, Subject};
use crate::webhooks::event::EventKind;
use crate::webhooks::momentary::MomentaryEvent;
use crate::webhooks::payload;
use crate::webhooks::unread::{MOST_SHOWN, Note, Verdict, webhook_id};
use protocol::ids::{OrderId, UserId};
use protocol::role::Role;
use protocol::time::Timestamp;

/// How often orders are looked for.
const INTERVAL: Duration = Duration::from_secs(1);
/// The most orders of one round.
const MOST_ORDERS: i64 = 64;
/// The most users of whom one round writes something: chat waits for it.
const MOST_NOTES: usize = 256;
/// How long this hub has an order that it looks at.
const CLAIM: Duration = Duration::from_secs(30);
/// Within this time what is being told is looked at again, in case the hub ends meanwhile.
const LOOK_AGAIN: Duration = Duration::from_secs(10);

/// An order that was looked at, its version then, and when it is to be looked at again.
type Settled = (OrderId, i64, Option<Timestamp>);

/// Runs until the dispatcher is stopped. Returns what is still to be written.
pub(super) async fn run(
    context: Arc<DispatchContext>,
    mut stopped: watch::Receiver<bool>,
) -> Vec<Settled> {
    let (mut ticks, mut settled) = (tokio::time::interval(INTERVAL), Vec::new());
    while !*stopped.borrow() {
        tokio::select! {
            _ = ticks.tick() => {}
            _ = stopped.changed() => continue,
        }
        if context.outbox.listeners().unread_due(Timestamp::now()).is_none() {
            continue;
        }
        let mut is_more = true;
        while is_more && !*stopped.borrow() {
            // The store has logged why it failed; the orders are due again when the claim ends.
            let orders = round(&context, std::mem::take(&mut settled), MOST_ORDERS).await;
            let is_written = orders.is_ok();
            let orders = orders.unwrap_or_default();
            is_more = !orders.is_empty() || (is_written && has_notes(&context));
            for (order, version) in orders {
                if let Ok(next) = look_at(&context, &order).await {
                    settled.push((order, version, next));
                }
            }
            // As chat locks them.
            settled.sort_unstable();
        }
    }
    settled
}

/// Writes what is still to be written when nothing is sent any more.
pub(super) async fn finish(context: &DispatchContext, mut settled: Vec<Settled>) {
    while context.outbox.listeners().unread_due(Timestamp::now()).is_some() {
        // The store has logged why it failed; the rest is lost with this life of the hub.
        let is_written = round(context, std::mem::take(&mut settled), 0).await.is_ok();
        if !is_written || !has_notes(context) {
            return;
        }
    }
}

fn has_notes(context: &DispatchContext) -> bool {
    context.outbox.unread().has_more()
}

/// Writes what is new, and takes orders.
async fn round(
    context: &DispatchContext,
    settled: Vec<Settled>,
    most: i64,
) -> Result<Vec<(OrderId, i64)>, StoreError> {
    let (book, rules) = (context.outbox.unread(), context.outbox.unread_rules());
    let until = Timestamp::now().plus(CLAIM);
    let round = Round { notes: book.take(MOST_NOTES), settled, repeat: rules.repeat, most, until };
    let orders = context.shared.store.unread_round(round).await?;
    book.written();
    Ok(orders)
}

/// Tells of an order what is to be told now. Returns when it is to be looked at again.
async fn look_at(
    context: &DispatchContext,
    order: &OrderId,
) -> Result<Option<Timestamp>, StoreError> {
    let state = read(context, order, None).await?;
    let (now, rules) = (Timestamp::now(), context.outbox.unread_rules());
    let (newest, mut next) = (&state.order.recent, None::<Timestamp>);
    for (user, found) in &state.users {
        let verdict = found.progress.judge(user, newest, rules, now);
        if verdict == Verdict::Nothing
            || role_of(context, order, &state.order.facts, user, found).is_none()
        {
            continue;
        }
        let again = if let Verdict::Later(at) = verdict { at } else { now.plus(LOOK_AGAIN) };
        next = Some(next.map_or(again, |next| next.min(again)));
        if let Verdict::Tell(_) = verdict {
            let seq = state.order.last_seq;
            context.outbox.put(MomentaryEvent {
                id: webhook_id(order, user, seq),
                kind: EventKind::ChatUnread,
                order: order.clone(),
                user: user.clone(),
                data: String::new(),
                seq,
                at: now,
            });
        }
    }
    Ok(next)
}

/// How far the users of an order are: as it is stored, as it is noted, and as its room knows it.
async fn read(
    context: &DispatchContext,
    order: &OrderId,
    user: Option<&UserId>,
) -> Result<UnreadOrder, StoreError> {
    // Before the read: what is written meanwhile is found by the read.
    let noted = user.map(|user| context.outbox.unread().of(order, user)).unwrap_or_default();
    let mut state = context.shared.store.unread_order(order.clone(), user.cloned()).await?;
    let users: Vec<UserId> = state.users.keys().cloned().collect();
    let in_room = find_seen(context, order, users).await;
    for (id, user) in &mut state.users {
        let progress = &mut user.progress;
        progress.add(noted);
        progress.add(context.outbox.unread().of(order, id));
        if let Some(SeenInRoom { read, shown }) = in_room.get(id) {
            progress.read = progress.read.max(*read);
            if *shown > progress.shown {
                progress.shown = *shown;
                // It is noted in its room only when its user leaves.
                let note = Note { shown: *shown, ..Note::default() };
                context.outbox.unread().note(order, id, note);
            }
        }
    }
    Ok(state)
}

async fn find_seen(
    context: &DispatchContext,
    order: &OrderId,
    users: Vec<UserId>,
) -> BTreeMap<UserId, SeenInRoom> {
    let Some(rooms) = (context.rooms)() else { return BTreeMap::new() };
    rooms.send(FindSeen { order: order.clone(), users }).await.unwrap_or_default()
}

/// The role in which a user is told of an order's messages; none for those who may not read them.
fn role_of(
    context: &DispatchContext,
    order: &OrderId,
    facts: &OrderFacts,
    user: &UserId,
    found: &UnreadUser,
) -> Option<Role> {
    let (shared, now) = (&context.shared, Timestamp::now());
    let is_valid =
        |(_, since): &(Role, Timestamp)| !shared.verifier.has_revoked_since(user, *since);
    let joined = found.joined.filter(is_valid).map(|(role, _)| role);
    let by_back_end = facts.participants.role_of(user);
    let by_back_end =
        by_back_end.or_else(|| (facts.driver_id.as_ref() == Some(user)).then_some(Role::Driver));
    let subject = Subject {
        user,
        role: joined.unwrap_or(Role::Customer),
        named: joined.is_some(),
        banned: shared.bans.from_order(user, order, now),
    };
    let rights = Rights { rules: &shared.rules, order: facts, subject, now };
    rights.to(Action::Read).ok().and(by_back_end.or(joined))
}

/// The data of an event as of now, and the newest message that it tells of; none if there is nothing
/// to tell any more.
pub(super) async fn data(
    context: &DispatchContext,
    event: &MomentaryEvent,
) -> Result<Option<(String, i64)>, StoreError> {
    let MomentaryEvent { order, user, .. } = event;
    let state = read(context, order, Some(user)).await?;
    let Some(found) = state.users.get(user) else { return Ok(None) };
    let (now, mut progress) = (Timestamp::now(), found.progress);
    let rules = context.outbox.unread_rules();
    // Another endpoint may have been told of these messages, or this user just now of older ones.
    if progress.told.is_some_and(|(seq, at)| event.seq > seq && now < at.plus(rules.repeat)) {
        return Ok(None);
    }
    progress.told = None;
    let facts = &state.order.facts;
    let (Verdict::Tell(seen), Some(role)) = (
        progress.judge(user, &state.order.recent, rules, now),
        role_of(context, order, facts, user, found),
    ) else {
        return Ok(None);
    };
    let newest: Vec<_> = state.order.recent.iter().filter(|one| one.seq > seen).collect();
    let shown = &newest[newest.len().saturating_sub(MOST_SHOWN)..];
    let unread = state.order.last_seq - seen.max(state.order.floor);
    let online = is_online(context, user).await;
    let data = payload::chat_unread(order, user, unread, shown, role, online);
    Ok(Some((data, state.order.last_seq)))
}

async fn is_online(context: &DispatchContext, user: &UserId) -> bool {
    let online = context.online_among(vec![user.clone()]).await;
    online.is_some_and(|online| !online.is_empty())
}
