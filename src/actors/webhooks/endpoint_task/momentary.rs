//! Events that are only true for a moment: they are in no table, and keep no order.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Instant;

use futures_util::FutureExt as _;
use tokio::task::JoinError;

use super::{EndpointTask, MAX_ATTEMPTS, post};
use crate::actors::webhooks::client::WebhookClient;
use crate::actors::webhooks::delivery::random;
use crate::actors::webhooks::{DispatchContext, unread};
use crate::metrics::WebhookResult;
use crate::webhooks::event::EventKind;
use crate::webhooks::health::{Admission, Attempt, Failure};
use crate::webhooks::momentary::MomentaryEvent;
use crate::webhooks::unread::Note;
use protocol::time::Timestamp;

/// What became of an event that is in no table.
pub(super) enum Told {
    /// It was sent.
    Sent(Attempt),
    /// There is nothing to tell any more.
    Over,
    /// The database did not say whether there is.
    Undecided,
}

impl EndpointTask {
    /// How many events that are in no table may be begun. They take none of the orders' places.
    /// They wait in their own queue while no turn records how the last ones ended.
    pub(super) fn momentary_room(&self) -> usize {
        if self.attempts.len() >= MAX_ATTEMPTS {
            return 0;
        }
        let most = match self.admission() {
            Admission::Open => self.context.concurrency.div_ceil(4),
            // Where no order waits, an event shows as well whether the endpoint is back.
            Admission::Probe if self.running.is_empty() && self.ready.is_empty() => 1,
            _ => 0,
        };
        most.saturating_sub(self.momentary.len())
    }

    pub(super) fn begin_momentary(&mut self) {
        let (room, admission) = (self.momentary_room(), self.admission());
        let taken = self
            .queue
            .with_momentary(|queue| (queue.take(room, Instant::now()), queue.take_dropped()));
        self.count(WebhookResult::Dropped, taken.1);
        for event in taken.0 {
            let (client, context) = (Arc::clone(&self.client), Arc::clone(&self.context));
            self.momentary.spawn_local(async move {
                let sent = AssertUnwindSafe(send_momentary(&client, &context, &event));
                let sent = sent.catch_unwind().await;
                let sent = sent.unwrap_or_else(|_| Some(Err(Failure::new("sending it panicked"))));
                let attempt = |result| {
                    let at = Timestamp::now();
                    Told::Sent(Attempt { admission, is_new: true, at, result })
                };
                let told = match sent {
                    Some(Ok(true)) => attempt(Ok(())),
                    Some(Ok(false)) => Told::Over,
                    Some(Err(failure)) => attempt(Err(failure)),
                    None => Told::Undecided,
                };
                (event, told)
            });
        }
    }

    pub(super) fn on_told(&mut self, ended: Result<(MomentaryEvent, Told), JoinError>) {
        // It catches its panics itself.
        let Ok((event, told)) = ended else { return };
        let is_done = match &told {
            Told::Sent(attempt) => attempt.result.is_ok(),
            Told::Over => true,
            Told::Undecided => false,
        };
        let schedule = &self.context.schedule;
        self.queue.with_momentary(|queue| {
            queue.finish(&event, is_done, schedule, random(), Instant::now());
        });
        let Told::Sent(attempt) = told else { return };
        let is_known_up = self.state.streak == 0 && self.admission() == Admission::Open;
        if is_done && is_known_up {
            self.count(WebhookResult::Delivered, 1);
            self.quiet = Some(attempt);
        } else {
            self.on_attempt(attempt);
        }
    }
}

/// Sends an event. `Some(Ok(false))` if there is nothing to tell any more, and nothing if the database
/// does not say whether there is.
async fn send_momentary(
    client: &WebhookClient,
    context: &DispatchContext,
    event: &MomentaryEvent,
) -> Option<Result<bool, Failure>> {
    let MomentaryEvent { id, kind, order, user, at, .. } = event;
    let is_unread = *kind == EventKind::ChatUnread;
    let told = if is_unread {
        // The store has logged why it failed.
        unread::data(context, event).await.ok()?
    } else {
        Some((event.data.clone(), event.seq))
    };
    let Some((data, seq)) = told else { return Some(Ok(false)) };
    let sent = post(client, id, *kind, *at, &data).await;
    if is_unread && sent.is_ok() {
        let told = Some((seq, Timestamp::now()));
        context.outbox.unread().note(order, user, Note { told, ..Note::default() });
    }
    Some(sent.map(|()| true))
}
