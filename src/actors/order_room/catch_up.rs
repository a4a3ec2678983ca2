//! Brings a member that comes back up to date: the snapshot that may not have arrived, what changed
//! in the order, and all the chat that it missed, as live events.

use std::sync::Arc;
use std::time::{Duration, Instant};

use actix::{ActorFutureExt, AsyncContext, Context, WrapFuture};

use super::members::HeldFrames;
use super::read_ahead::Waiting;
use super::snapshot::{snapshot_limit, snapshot_page};
use super::{OrderRoom, chat};
use crate::actors::peer::Answer;
use crate::actors::shared::Shared;
use crate::actors::store::{self, PageRange, StoreError};
use crate::room::order_diff::{OrderDiff, as_facts};
use crate::room::recent_messages::MessageJson;
use crate::session::resume::{KnownOrder, SnapshotRequest, Unconfirmed};
use protocol::client::ClientEventName;
use protocol::events::chat::ChatPush;
use protocol::events::history::MAX_PAGE;
use protocol::ids::SessionId;
use protocol::server::ServerEvent;
use protocol::time::Timestamp;

/// How long to wait for a client that has not taken the last page yet.
const PAUSE: Duration = Duration::from_millis(10);

/// A catch-up that is under way.
#[derive(Clone, Copy)]
struct CatchUp {
    session: SessionId,
    /// The number of the read: the session may have left and come back before an older read has
    /// ended.
    read: u64,
    /// The last missing message. Events after it are held back meanwhile.
    cut: i64,
    /// The snapshot to send first, up to the last message that the member has.
    request: Option<SnapshotRequest>,
}

impl OrderRoom {
    /// Sends a member what it missed since its last message: from memory, or, where that does not
    /// reach back far enough, page by page from the database, at the pace of its client.
    pub(super) fn catch_up_member(&mut self, session: SessionId, ctx: &mut Context<Self>) {
        let Some(member) = self.members.get(&session) else { return };
        let seen = member.session.guard.sent_seq();
        if self.is_behind(Some(seen)) {
            return self.read_ahead(session, seen, Waiting::CatchUp, ctx);
        }
        self.catch_up(session, ctx);
    }

    /// The same for a member that has seen no more than the room has sent out.
    pub(super) fn catch_up(&mut self, session: SessionId, ctx: &mut Context<Self>) {
        let (cut, read) = (self.delivery.delivered(), self.take_token());
        let Some(member) = self.members.get(&session) else { return };
        let Unconfirmed { snapshot: request, order: known } = member.session.guard.unsent();
        if request.is_none()
            && let Some(known) = known
        {
            self.send_order_diff(session, known);
        }
        let Some(member) = self.members.get_mut(&session) else { return };
        let page = self
            .recent_messages
            .page(Some(member.session.guard.sent_seq()), catch_up_page_size(&self.shared));
        if let Some(page) = page.filter(|page| page.recovered && request.is_none()) {
            // The page holds all messages up to the cut, without a gap.
            let first = cut + 1 - i64::try_from(page.messages.len()).unwrap_or(cut);
            self.send_missed(session, (first..).zip(&page.messages));
            return self.on_snapshot_sent(session);
        }
        member.held = Some(Box::new(HeldFrames::new(read)));
        self.read_next_page(CatchUp { session, read, cut, request }, ctx);
    }

    /// Sends a member how the order changed since what it was last told.
    fn send_order_diff(&mut self, session: SessionId, known: KnownOrder) {
        let Some(member) = self.members.get_mut(&session) else { return };
        let before = as_facts(known);
        let diff = OrderDiff::new(&self.order, &before, &self.facts, Timestamp::now());
        for event in [diff.unassigned(), diff.status(), diff.assigned()].into_iter().flatten() {
            member.tell(&event);
        }
        member.session.guard.mark_sent();
    }

    /// Reads the next page, or waits until the client has taken the one before.
    fn read_next_page(&mut self, catch_up: CatchUp, ctx: &mut Context<Self>) {
        let CatchUp { session, read, cut, request } = catch_up;
        let Some(member) = self.members.get(&session) else { return };
        if member.held.as_ref().is_none_or(|held| !held.is_for(read)) {
            return;
        }
        if self.shared.is_filling(&member.outbox) {
            ctx.run_later(PAUSE, move |room, ctx| room.read_next_page(catch_up, ctx));
            return;
        }
        let after = member.session.guard.sent_seq();
        let (range, limit) = match request {
            Some(request) => (PageRange::Before(after + 1), snapshot_limit(request, after)),
            None => (PageRange::Between { after, upto: cut }, catch_up_page_size(&self.shared)),
        };
        let page = self.read_page(range, limit);
        ctx.spawn(page.into_actor(self).map(move |page, room, ctx| {
            room.on_page_read(catch_up, page, ctx);
            room.tick(Instant::now(), ctx);
        }));
    }

    fn on_page_read(
        &mut self,
        catch_up: CatchUp,
        page: Result<store::Page, StoreError>,
        ctx: &mut Context<Self>,
    ) {
        let CatchUp { session, read, cut, request } = catch_up;
        // The session has left meanwhile.
        let member = self.members.get_mut(&session);
        let Some(held) = member.and_then(|member| member.take_held(read)) else { return };
        let Ok(page) = page else { return self.abort_snapshot(session, *held, None) };
        let last = match request {
            Some(request) => self.resend_snapshot(session, &page, request),
            // No page: the order was deleted meanwhile, and created again.
            None => Some(page.messages.last().map_or(cut, |last| last.seq)),
        };
        let Some(last) = last else { return self.abort_snapshot(session, *held, None) };
        if request.is_none() {
            let messages: Vec<MessageJson> = page.messages.iter().map(chat::json).collect();
            let seqs = page.messages.iter().map(|message| message.seq);
            self.send_missed(session, seqs.zip(&messages));
        }
        let Some(member) = self.members.get_mut(&session) else { return };
        if last >= cut {
            self.on_snapshot_sent(session);
            return self.resume_delivery(session, *held, ctx);
        }
        member.held = Some(held);
        self.read_next_page(CatchUp { request: None, ..catch_up }, ctx);
    }

    /// Sends a member the snapshot that it asked for before, up to the last message that it has;
    /// what came since follows as live events. Returns the `seq` of that message.
    fn resend_snapshot(
        &mut self,
        session: SessionId,
        page: &store::Page,
        request: SnapshotRequest,
    ) -> Option<i64> {
        let guard = &self.members.get(&session)?.session.guard;
        let (peer, upto) = (Arc::clone(&guard.peer), guard.sent_seq());
        let answer = Answer::new(peer, ClientEventName::Join, None);
        self.send_snapshot_page(
            session,
            &snapshot_page(page, request, upto),
            request,
            upto,
            answer,
        );
        Some(upto)
    }

    /// Sends messages as live events.
    fn send_missed<'a>(
        &mut self,
        session: SessionId,
        messages: impl Iterator<Item = (i64, &'a MessageJson)>,
    ) {
        let Some(member) = self.members.get_mut(&session) else { return };
        for (seq, json) in messages {
            member.tell(&ServerEvent::Chat(ChatPush { order_id: &self.order, seq, json }));
        }
    }
}

/// How many missed messages are sent at once. They fit into an outbox that is nearly empty.
fn catch_up_page_size(shared: &Shared) -> i64 {
    let fitting = i64::try_from(shared.config.limits.outbox_messages / 2).unwrap_or(MAX_PAGE);
    fitting.min(MAX_PAGE)
}
