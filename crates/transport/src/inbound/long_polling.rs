//! What a polling client posts, and its move to a WebSocket.

use std::any::Any;
use std::sync::Arc;
use std::task::Poll;

use super::super::Incoming;
use super::super::frame_writer::Sink;
use super::super::polling::{PollEvent, PostedPackets, UpgradedSocket};
use super::super::send_state::SendState;
use super::{Inbound, ReadStage};
use protocol::socketio::engine;

/// Present only on a connection that began with long-polling.
#[derive(Debug)]
pub(super) struct LongPolling {
    /// The POST whose packets are taken now.
    posted: Option<PostedPackets>,
    /// Dropped when the connection has ended.
    _id_guard: Box<dyn Any + Send>,
}

// === impl Inbound ===

impl Inbound {
    /// The receiving end of a connection whose client polls.
    pub(crate) fn from_polling(send_state: Arc<SendState>, id_guard: Box<dyn Any + Send>) -> Self {
        let mut inbound = Self::without_reader(send_state, ReadStage::Polling);
        inbound.long_polling = Some(Box::new(LongPolling { posted: None, _id_guard: id_guard }));
        inbound
    }

    /// Answers a POST after the connection actor has handled all its packets, which is when it
    /// polls again.
    pub(super) fn acknowledge_posted(&mut self) {
        let Some(long_polling) = &mut self.long_polling else { return };
        if let Some(posted) = long_polling.posted.take_if(|posted| posted.is_empty()) {
            // First: the client may send the next POST as soon as this one is answered.
            self.send_state.end_post();
            posted.finish();
        }
    }

    /// The next packet of a POST. `None` where a socket is read and all earlier posted packets are
    /// taken.
    pub(super) fn take_posted(&mut self) -> Option<Poll<Option<Incoming>>> {
        let long_polling = self.long_polling.as_mut()?;
        loop {
            if let Some(incoming) = long_polling.posted.as_mut().and_then(PostedPackets::take) {
                if self.stage == ReadStage::Polling
                    && incoming == Incoming::Text(engine::CLOSE.into())
                {
                    self.send_state.client_closed();
                    self.stage = ReadStage::AwaitingClose;
                }
                return Some(Poll::Ready(Some(incoming)));
            }
            if self.stage != ReadStage::Polling {
                return None;
            }
            match self.send_state.next_poll_event() {
                PollEvent::Packets(posted) => long_polling.posted = Some(posted),
                PollEvent::None => return Some(Poll::Pending),
                PollEvent::Ended => return Some(Poll::Ready(None)),
                PollEvent::Failed(code) => {
                    self.stop_reading();
                    return Some(Poll::Ready(Some(Incoming::Failed(code))));
                }
            }
        }
    }

    /// Drops packets that will not be taken, which refuses their POST.
    pub(super) fn drop_posted(&mut self) {
        let Some(long_polling) = &mut self.long_polling else { return };
        let taken = long_polling.posted.take();
        if taken.is_some() || matches!(self.send_state.next_poll_event(), PollEvent::Packets(_)) {
            self.send_state.end_post();
        }
    }

    /// Continues on this thread with the WebSocket that a probe left.
    pub(super) fn move_to_socket(&mut self) {
        let (upgraded, posted) = self.send_state.take_upgrade();
        let (Some(mut upgraded), Some(long_polling)) = (upgraded, &mut self.long_polling) else {
            return;
        };
        // At most one POST is in progress, so no packets of an earlier one are left.
        if posted.is_some() {
            long_polling.posted = posted;
        }
        let (assembler, pending) =
            (std::mem::take(&mut upgraded.assembler), std::mem::take(&mut upgraded.pending));
        let Some((reader, writer)) = upgraded.into_split() else {
            self.send_state.fail_upgrade();
            return;
        };
        self.assembler = assembler;
        self.pending = pending;
        self.reader = Some(reader);
        if self.stage == ReadStage::Polling {
            self.stage = ReadStage::Reading;
        }
        self.send_state.switch_to(writer);
    }

    /// Gives up the socket, so that another connection can continue with it. `None` where this
    /// connection has ended or has unsent bytes.
    pub(crate) fn into_upgraded_socket(mut self) -> Option<UpgradedSocket> {
        let reader = self.reader.take()?;
        self.send_state.flush();
        let Some(Sink::Socket(writer)) = self.send_state.take_sink() else { return None };
        self.stage = ReadStage::Over;
        let (assembler, pending) =
            (std::mem::take(&mut self.assembler), std::mem::take(&mut self.pending));
        UpgradedSocket::new(reader, writer.into_half(), assembler, pending)
    }
}
