//! What comes by long-polling, and the move to a WebSocket.

use std::any::Any;
use std::sync::Arc;
use std::task::Poll;

use super::super::Incoming;
use super::super::line::Line;
use super::super::polling::{Heir, Mail, Posted};
use super::super::wire::Sink;
use super::{Inbound, Stage};
use crate::protocol::socketio::engine;

/// What only a connection has that began with long-polling.
#[derive(Debug)]
pub(super) struct Polled {
    /// The POST whose packets are being taken.
    posted: Option<Posted>,
    /// Dropped when the connection has ended.
    _tenure: Box<dyn Any + Send>,
}

// === impl Inbound ===

impl Inbound {
    /// The receiving end of a connection whose client polls.
    pub(in crate::transport) fn polled(line: Arc<Line>, tenure: Box<dyn Any + Send>) -> Self {
        let mut inbound = Self::without_reader(line, Stage::Polling);
        inbound.polled = Some(Box::new(Polled { posted: None, _tenure: tenure }));
        inbound
    }

    /// Has a POST answered all of whose packets the session has handled: it comes back for more.
    pub(super) fn settle_posted(&mut self) {
        let Some(polled) = &mut self.polled else { return };
        if let Some(posted) = polled.posted.take_if(|posted| posted.is_empty()) {
            // First: once it is answered the next one may come.
            self.line.end_post();
            posted.finish();
        }
    }

    /// The next of what was posted; none where there is a socket to read and nothing was left from
    /// before it.
    pub(super) fn take_posted(&mut self) -> Option<Poll<Option<Incoming>>> {
        let polled = self.polled.as_mut()?;
        loop {
            if let Some(incoming) = polled.posted.as_mut().and_then(Posted::take) {
                if self.stage == Stage::Polling && incoming == Incoming::Text(engine::CLOSE.into())
                {
                    self.line.leave();
                    self.stage = Stage::Deaf;
                }
                return Some(Poll::Ready(Some(incoming)));
            }
            if self.stage != Stage::Polling {
                return None;
            }
            match self.line.mail() {
                Mail::Posted(posted) => polled.posted = Some(posted),
                Mail::None => return Some(Poll::Pending),
                Mail::Ended => return Some(Poll::Ready(None)),
                Mail::Failed(code) => {
                    self.deafen();
                    return Some(Poll::Ready(Some(Incoming::Failed(code))));
                }
            }
        }
    }

    /// Forgets what was posted and will not be taken any more, which refuses its POST.
    pub(super) fn drop_posted(&mut self) {
        let Some(polled) = &mut self.polled else { return };
        let taken = polled.posted.take();
        if taken.is_some() || matches!(self.line.mail(), Mail::Posted(_)) {
            self.line.end_post();
        }
    }

    /// Goes on with the WebSocket that a probe left, on this thread.
    pub(super) fn move_to_socket(&mut self) {
        let (heir, posted) = self.line.inherit();
        let (Some(mut heir), Some(polled)) = (heir, &mut self.polled) else { return };
        // At most one POST is under way, so nothing is left of one before it.
        if posted.is_some() {
            polled.posted = posted;
        }
        let (assembler, pending) =
            (std::mem::take(&mut heir.assembler), std::mem::take(&mut heir.pending));
        let Some((reader, writer)) = heir.settle() else {
            self.line.lose_heir();
            return;
        };
        self.assembler = assembler;
        self.pending = pending;
        self.reader = Some(reader);
        if self.stage == Stage::Polling {
            self.stage = Stage::Reading;
        }
        self.line.move_to(writer);
    }

    /// The socket of a connection that has sent all that it had to send, for another one to go on
    /// with; none where it has ended, or has not.
    pub(in crate::transport) fn into_heir(mut self) -> Option<Heir> {
        let reader = self.reader.take()?;
        self.line.flush();
        let Some(Sink::Socket(writer)) = self.line.release() else { return None };
        self.stage = Stage::Over;
        let (assembler, pending) =
            (std::mem::take(&mut self.assembler), std::mem::take(&mut self.pending));
        Heir::new(reader, writer.into_half(), assembler, pending)
    }
}
