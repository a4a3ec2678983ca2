//! Sends an event to many sessions: one encoding for each codec in use, one push for each session.

use crate::metrics::Metrics;
use protocol::codec::Codec;
use protocol::server::ServerEvent;
use transport::{Closed, Frame};

/// An event, encoded once for each codec.
pub(super) struct EncodedEvent<'a> {
    event: ServerEvent<'a>,
    /// The frame of each codec, made at its first use.
    frames: [Option<Frame>; Codec::COUNT],
}

/// The outcome of a push to one session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PushOutcome {
    /// It is in the outbox.
    Sent,
    /// It waits for the session's snapshot.
    Held,
    /// The outbox is closed, or too many frames wait for the snapshot.
    Gone,
}

/// The outcome of a broadcast.
#[derive(Debug, Default)]
pub(super) struct BroadcastOutcome {
    /// Sessions that got it.
    pub(super) sent: usize,
    /// Sessions that get it after their snapshot.
    pub(super) held: usize,
    /// Whether a session is gone.
    pub(super) gone: bool,
}

/// Sends an event to all of these sessions. `push` sends it to one of them.
pub(super) fn broadcast<S>(
    event: ServerEvent<'_>,
    metrics: &Metrics,
    sessions: impl Iterator<Item = S>,
    mut push: impl FnMut(S, &mut EncodedEvent<'_>) -> PushOutcome,
) -> BroadcastOutcome {
    metrics.events_out.inc(event.index());
    let (mut event, mut outcome) = (EncodedEvent::new(event), BroadcastOutcome::default());
    for session in sessions {
        match push(session, &mut event) {
            PushOutcome::Sent => outcome.sent += 1,
            PushOutcome::Held => outcome.held += 1,
            PushOutcome::Gone => outcome.gone = true,
        }
    }
    metrics.deliveries.inc_by(outcome.sent as u64);
    outcome
}

// === impl EncodedEvent ===

impl<'a> EncodedEvent<'a> {
    pub(super) fn new(event: ServerEvent<'a>) -> Self {
        Self { event, frames: Default::default() }
    }

    /// The event as sessions of this codec get it.
    pub(super) fn frame(&mut self, codec: Codec) -> Frame {
        self.frames[codec.index()]
            .get_or_insert_with(|| Frame::text(|buffer| codec.event(&self.event, buffer)))
            .clone()
    }
}

// === impl PushOutcome ===

impl From<Result<(), Closed>> for PushOutcome {
    fn from(pushed: Result<(), Closed>) -> Self {
        if pushed.is_ok() { Self::Sent } else { Self::Gone }
    }
}
