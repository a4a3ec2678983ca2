//! Bringing a member up to date who comes back: the snapshot that may not have arrived, what has
//! become of the order, and all the chat that it has missed, as if it were live.

use std::sync::Arc;
use std::time::{Duration, Instant};

use actix::{ActorFutureExt, AsyncContext, Context, WrapFuture};

use super::snapshot::{Held, as_shown, most};
use super::{OrderRoom, chat};
use crate::actors::news::{News, as_told};
use crate::actors::peer::Answer;
use crate::actors::shared::Shared;
use crate::actors::store::{self, PageRange, StoreError};
use crate::ids::SessionId;
use crate::protocol::client::{ClientEventName, MAX_PAGE};
use crate::protocol::server::ServerEvent;
use crate::room::ring::MessageJson;
use crate::session::resume::{Due, Shown, Told};
use crate::time::Timestamp;
use crate::transport::Frame;

/// How long to wait for a client that is still taking in the page before.
const PAUSE: Duration = Duration::from_millis(10);

/// A member that is being brought up to date.
#[derive(Clone, Copy)]
struct CatchingUp {
    session: SessionId,
    /// Which read: the session may have left and come back before this one has ended.
    read: u64,
    /// The last message that is missing; what comes behind it is held back meanwhile.
    cut: i64,
    /// What it is to be shown first, up to the last message that it has.
    shown: Option<Shown>,
}

impl OrderRoom {
    /// Sends a member what it has missed since its last message: from memory, or, where that does
    /// not reach back far enough, page by page from the database, at the pace of its client.
    pub(super) fn catch_member_up(&mut self, session: SessionId, ctx: &mut Context<Self>) {
        let (cut, read) = (self.delivery.delivered(), self.number());
        let Some(member) = self.members.get(&session) else { return };
        let Due { shown, told } = member.place.unpaid();
        if shown.is_none()
            && let Some(told) = told
        {
            self.tell_what_has_changed(session, told);
        }
        let Some(member) = self.members.get_mut(&session) else { return };
        let page = self.ring.page(Some(member.place.progress()), most_missed(&self.shared));
        if let Some(page) = page.filter(|page| page.recovered && shown.is_none()) {
            // They are all that there is up to the cut, without a gap.
            let first = cut + 1 - i64::try_from(page.messages.len()).unwrap_or(cut);
            self.send_missed(session, (first..).zip(&page.messages));
            return self.has_shown(session);
        }
        member.held = Some(Box::new(Held::new(read)));
        self.read_missed(CatchingUp { session, read, cut, shown }, ctx);
    }

    /// Tells a member how the order is, if that is not what it was told before.
    fn tell_what_has_changed(&mut self, session: SessionId, told: Told) {
        let Some(member) = self.members.get_mut(&session) else { return };
        let before = as_told(told);
        let news = News::between(&self.order, &before, &self.facts, Timestamp::now());
        for event in [news.unassigned(), news.status(), news.assigned()].into_iter().flatten() {
            self.shared.metrics.events_out.inc(event.index());
            // A session that ends meanwhile is noticed at the next fan-out.
            member.push(Frame::text(|buffer| member.codec.event(&event, buffer)), None);
        }
        member.place.paid();
    }

    /// Reads the next page, or waits for the client to take in the one before.
    fn read_missed(&mut self, catching_up: CatchingUp, ctx: &mut Context<Self>) {
        let CatchingUp { session, read, cut, shown } = catching_up;
        let Some(member) = self.members.get(&session) else { return };
        if member.held.as_ref().is_none_or(|held| !held.is_for(read)) {
            return;
        }
        if self.shared.is_filling(&member.outbox) {
            ctx.run_later(PAUSE, move |room, ctx| room.read_missed(catching_up, ctx));
            return;
        }
        let after = member.place.progress();
        let (range, limit) = match shown {
            Some(shown) => (PageRange::Before(after + 1), most(shown, after)),
            None => (PageRange::Between { after, upto: cut }, most_missed(&self.shared)),
        };
        let (store, order) = (self.shared.store.clone(), self.order.clone());
        let page = async move { store.page(order, range, limit).await };
        ctx.spawn(page.into_actor(self).map(move |page, room, ctx| {
            room.read_some(catching_up, page, ctx);
            room.tick(Instant::now(), ctx);
        }));
    }

    fn read_some(
        &mut self,
        catching_up: CatchingUp,
        page: Result<store::Page, StoreError>,
        ctx: &mut Context<Self>,
    ) {
        let CatchingUp { session, read, cut, shown } = catching_up;
        // Where the session has left meanwhile there is nobody to tell.
        let Some(held) = self.take_held(session, read) else { return };
        let Ok(page) = page else { return self.give_up_showing(session, *held, None) };
        let last = match shown {
            Some(shown) => self.show_once_more(session, &page, shown),
            // Nothing is left of what was missed: the order was deleted meanwhile, and made again.
            None => Some(page.messages.last().map_or(cut, |last| last.seq)),
        };
        let Some(last) = last else { return self.give_up_showing(session, *held, None) };
        if shown.is_none() {
            let messages: Vec<MessageJson> = page.messages.iter().map(chat::json).collect();
            let seqs = page.messages.iter().map(|message| message.seq);
            self.send_missed(session, seqs.zip(&messages));
        }
        let Some(member) = self.members.get_mut(&session) else { return };
        if last >= cut {
            self.has_shown(session);
            return self.go_on(session, *held, ctx);
        }
        member.held = Some(held);
        self.read_missed(CatchingUp { shown: None, ..catching_up }, ctx);
    }

    /// Shows a member the room as it asked for it before, up to the last message that it has; what
    /// came since follows as if it were live. Gives back the number of that message.
    fn show_once_more(
        &mut self,
        session: SessionId,
        page: &store::Page,
        shown: Shown,
    ) -> Option<i64> {
        let place = &self.members.get(&session)?.place;
        let (peer, upto) = (Arc::clone(&place.peer), place.progress());
        let answer = Answer::new(peer, ClientEventName::Join, None);
        self.send_page(session, &as_shown(page, shown, upto), shown, upto, answer);
        Some(upto)
    }

    /// Sends messages as if they were live.
    fn send_missed<'a>(
        &mut self,
        session: SessionId,
        messages: impl Iterator<Item = (i64, &'a MessageJson)>,
    ) {
        let Some(member) = self.members.get_mut(&session) else { return };
        for (seq, json) in messages {
            let event = ServerEvent::Chat { order_id: &self.order, seq, json };
            self.shared.metrics.events_out.inc(event.index());
            let frame = Frame::text(|buffer| member.codec.event(&event, buffer));
            // A session that ends meanwhile is noticed at the next fan-out.
            member.push(frame, Some(seq));
        }
    }
}

/// How many messages go out at once to one who has missed them: they fit into an outbox in which
/// little waits.
fn most_missed(shared: &Shared) -> i64 {
    let fitting = i64::try_from(shared.config.limits.outbox_messages / 2).unwrap_or(MAX_PAGE);
    fitting.min(MAX_PAGE)
}
