//! Shows the room to a new member: a snapshot, then live events, without a gap.

use std::collections::VecDeque;
use std::sync::atomic::Ordering;
use std::time::Instant;

use actix::{ActorFutureExt, AsyncContext, Context, WrapFuture};

use super::members::{HeldFrames, RoomSession};
use super::read_ahead::Waiting;
use super::{OrderRoom, chat};
use crate::actors::peer::{Answer, MembershipEvent};
use crate::actors::shared::unavailable;
use crate::actors::store::{self, PageRange, StoreError};
use crate::room::recent_messages::SnapshotPage;
use crate::room::visibility::Visibility;
use crate::session::resume::{SnapshotRequest, Unconfirmed};
use protocol::client::Reply;
use protocol::events::join::{Join, Snapshot};
use protocol::ids::{SessionId, UserId};
use protocol::server::ServerEvent;
use protocol::time::Timestamp;
use transport::Frame;

/// A read for a snapshot that is under way.
struct SnapshotRead {
    session: SessionId,
    read: u64,
    /// The newest message that it will show.
    cut: i64,
    /// What the client asked for.
    request: SnapshotRequest,
    answer: Answer,
}

impl OrderRoom {
    /// Sends a member a snapshot of the room: from memory, or, where that does not reach back far
    /// enough, from the database. Events are held back meanwhile.
    pub(super) fn send_snapshot(
        &mut self,
        session: SessionId,
        join: Join,
        answer: Answer,
        ctx: &mut Context<Self>,
    ) {
        let Some(member) = self.members.get_mut(&session) else { return };
        if let Some(held) = &mut member.held {
            return held.queue(join, answer);
        }
        if let Some(since) = join.since_seq.filter(|since| self.is_behind(Some(*since))) {
            return self.read_ahead(session, since, Waiting::Snapshot(join, answer), ctx);
        }
        let cut = self.delivery.delivered();
        let request = SnapshotRequest { since: join.since_seq, limit: join.limit };
        if let Some(page) = self.recent_messages.page(join.since_seq, join.limit) {
            self.send_snapshot_page(session, &page, request, cut, answer);
            return self.on_snapshot_sent(session);
        }
        let read = self.take_token();
        if let Some(member) = self.members.get_mut(&session) {
            member.held = Some(Box::new(HeldFrames::new(read)));
        }
        let page = self.read_page(PageRange::Before(cut + 1), snapshot_limit(request, cut));
        let reading = SnapshotRead { session, read, cut, request, answer };
        ctx.spawn(page.into_actor(self).map(move |page, room, ctx| {
            room.on_snapshot_read(reading, page, ctx);
            room.tick(Instant::now(), ctx);
        }));
    }

    /// Handles the outcome of the read: sends the page, then what was held back, then serves the
    /// next join.
    fn on_snapshot_read(
        &mut self,
        reading: SnapshotRead,
        page: Result<store::Page, StoreError>,
        ctx: &mut Context<Self>,
    ) {
        let SnapshotRead { session, read, cut, request, answer } = reading;
        // If the session has left meanwhile, the dropped answer says so.
        let member = self.members.get_mut(&session);
        let Some(held) = member.and_then(|member| member.take_held(read)) else { return };
        let Ok(page) = page else { return self.abort_snapshot(session, *held, Some(answer)) };
        self.send_snapshot_page(session, &snapshot_page(&page, request, cut), request, cut, answer);
        self.on_snapshot_sent(session);
        self.resume_delivery(session, *held, ctx);
    }

    /// A member has its snapshot; one that came back has all that it missed.
    pub(super) fn on_snapshot_sent(&mut self, session: SessionId) {
        if let Some(member) = self.members.get_mut(&session) {
            member.has_snapshot = true;
            member.session.guard.finish_catch_up();
        }
    }

    /// Sends the frames that were held back, then serves the joins that waited.
    pub(super) fn resume_delivery(
        &mut self,
        session: SessionId,
        held: HeldFrames,
        ctx: &mut Context<Self>,
    ) {
        self.release(session, held.frames);
        for (join, answer) in held.joins {
            self.send_snapshot(session, join, answer, ctx);
        }
    }

    /// Sends what was held back.
    fn release(&mut self, session: SessionId, frames: VecDeque<(Frame, Option<i64>)>) {
        let Some(member) = self.members.get_mut(&session) else { return };
        for (frame, seq) in frames {
            // A closed member is noticed at the next fan-out.
            member.push(frame, seq);
        }
        // Changes of the order may have been among them.
        member.session.guard.mark_sent();
    }

    /// The page could not be read. A member that already had a snapshot stays; a new one is
    /// removed.
    pub(super) fn abort_snapshot(
        &mut self,
        session: SessionId,
        held: HeldFrames,
        answer: Option<Answer>,
    ) {
        let failure = unavailable("the database does not answer");
        let joining = answer.is_some();
        if let Some(answer) = answer {
            answer.refuse(failure.clone());
        }
        held.joins.into_iter().for_each(|(_, answer)| answer.refuse(failure.clone()));
        if self.members.get(&session).is_some_and(|member| member.has_snapshot) {
            self.on_snapshot_sent(session);
            return self.release(session, held.frames);
        }
        // A client that comes back after a panic is in the room from its point of view. The guard
        // is dropped, so its session is told that it lost the room, and tries again.
        if let Some(member) = self.remove_member(session, joining).filter(|_| joining) {
            member.session.guard.end(MembershipEvent::Refused(failure));
        }
        self.count_occupants();
    }

    /// Sends a member a snapshot with this page, which ends at `cut`.
    pub(super) fn send_snapshot_page(
        &mut self,
        session: SessionId,
        page: &SnapshotPage,
        request: SnapshotRequest,
        cut: i64,
        answer: Answer,
    ) {
        let Some(member) = self.members.get(&session) else { return };
        let RoomSession { guard, identity, .. } = &member.session;
        // Noted before it counts as sent: if the session ends in between, it is not taken for seen.
        guard.begin_send(Unconfirmed { snapshot: Some(request), order: None });
        guard.sent_seq.store(cut, Ordering::Relaxed);
        let snapshot = self.snapshot(page, cut, member.visibility, &identity.user);
        if !answer.is_wanted() {
            guard.peer.tell(&ServerEvent::Joined(&snapshot)).ok();
        }
        answer.ok(Reply::Join(&snapshot));
        guard.mark_sent();
    }

    fn snapshot<'a>(
        &'a self,
        page: &'a SnapshotPage,
        cut: i64,
        visibility: Visibility,
        user: &UserId,
    ) -> Snapshot<'a> {
        let last = self.track.shown(Timestamp::now());
        Snapshot {
            order_id: &self.order,
            status: self.facts.status.as_deref(),
            driver_id: self.facts.driver_id.as_ref(),
            last_seq: cut,
            unread: self.read_marks.unread(user, self.floor, cut),
            recovered: page.recovered,
            messages: page.messages.iter().map(AsRef::as_ref).collect(),
            last_location: last.filter(|last| visibility.shows_position(last.position)),
            members: self.all_members(),
            read_marks: self.shown_marks(),
        }
    }
}

/// How many messages up to `cut` a snapshot shows at most.
pub(super) fn snapshot_limit(request: SnapshotRequest, cut: i64) -> i64 {
    request.since.map_or(request.limit, |since| request.limit.min((cut - since).max(0)))
}

/// Makes a snapshot's page of what was read up to `cut`.
pub(super) fn snapshot_page(
    page: &store::Page,
    request: SnapshotRequest,
    cut: i64,
) -> SnapshotPage {
    let found = i64::try_from(page.messages.len()).unwrap_or(0);
    let recovered = request.since.is_some_and(|since| since.min(cut) + found == cut);
    SnapshotPage { messages: page.messages.iter().map(chat::json).collect(), recovered }
}
