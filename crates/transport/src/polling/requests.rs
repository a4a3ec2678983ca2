//! The effects of long-polling requests on the sending side. Each runs under its lock, on the
//! thread that serves the request.

use std::sync::Arc;

use bytes::Bytes;
use tokio::net::tcp::OwnedWriteHalf;
use tokio::sync::oneshot;

use super::super::frame_writer::Sink;
use super::super::send_state::{SendInner, SendState};
use super::PollError;
use super::poll_state::{PollEvent, PollState, Upgrade};
use super::post::PostedPackets;
use super::probe::UpgradedSocket;
use protocol::close::CloseCode;

// === impl SendState ===

impl SendState {
    /// Registers a GET, and answers it at once if something waits.
    pub(super) fn begin_poll(self: &Arc<Self>) -> Result<oneshot::Receiver<Bytes>, PollError> {
        let mut state = self.lock();
        let poll_state = heard(&mut state)?;
        let Some(answer) = poll_state.begin_get() else {
            poll_state.overlapped = true;
            self.fail_locked(&mut state, CloseCode::PROTOCOL_ERROR);
            return Err(PollError::Overlap);
        };
        self.write(&mut state);
        let _ = self.charge_and_enforce(state);
        Ok(answer)
    }

    /// Admits a POST.
    pub(super) fn begin_post(&self) -> Result<(), PollError> {
        let mut state = self.lock();
        let poll_state = active_poll_state(&mut state)?;
        if poll_state.post_in_progress {
            self.fail_locked(&mut state, CloseCode::PROTOCOL_ERROR);
            return Err(PollError::Overlap);
        }
        poll_state.post_in_progress = true;
        Ok(())
    }

    /// Leaves the packets of a POST for the connection's task.
    pub(super) fn deliver_posted(&self, posted: PostedPackets) -> Result<(), PollError> {
        active_poll_state(&mut self.lock())?.posted = Some(posted);
        self.task.wake();
        Ok(())
    }

    /// Resolves when a GET comes; `None` where one waits already or requests are refused.
    pub(super) fn await_next_poll(&self) -> Option<oneshot::Receiver<()>> {
        active_poll_state(&mut self.lock()).ok()?.await_next_get()
    }

    /// Allows the next POST.
    pub(crate) fn end_post(&self) {
        if let Some(poll_state) = self.lock().writer.poll_state() {
            poll_state.post_in_progress = false;
        }
    }

    /// Notes that the client broke the protocol or a limit. The receiver resolves when a GET has
    /// brought the end; `None` where the client does not poll any more.
    pub(super) fn fail(&self, code: CloseCode) -> Option<oneshot::Receiver<()>> {
        self.fail_locked(&mut self.lock(), code)
    }

    fn fail_locked(&self, state: &mut SendInner, code: CloseCode) -> Option<oneshot::Receiver<()>> {
        let told = state.writer.poll_state().map(|poll_state| poll_state.fail(code));
        self.task.wake();
        told
    }

    /// Ends the connection after a request of the client was cut off.
    pub(super) fn connection_lost(self: &Arc<Self>) {
        let mut state = self.lock();
        if heard(&mut state).is_ok() {
            self.mark_broken(&mut state);
            self.charge(&mut state);
        }
    }

    /// Ends the connection because the WebSocket of its upgrade is broken.
    pub(crate) fn fail_upgrade(self: &Arc<Self>) {
        let mut state = self.lock();
        self.mark_broken(&mut state);
        self.charge(&mut state);
    }

    /// Notes that the client sent a close packet.
    pub(crate) fn client_closed(&self) {
        let mut state = self.lock();
        if let Some(poll_state) = state.writer.poll_state() {
            poll_state.client_closed();
            self.write(&mut state);
        }
    }

    /// What the connection's task takes next from a polling client.
    pub(crate) fn next_poll_event(&self) -> PollEvent {
        self.lock().writer.poll_state().map_or(PollEvent::Ended, PollState::take)
    }

    /// Admits a WebSocket's attempt.
    pub(super) fn begin_probe(&self) -> Result<(), PollError> {
        let mut state = self.lock();
        let poll_state = active_poll_state(&mut state)?;
        if poll_state.upgrade == Upgrade::Probing {
            return Err(PollError::Overlap);
        }
        poll_state.upgrade = Upgrade::Probing;
        Ok(())
    }

    /// Ends a WebSocket's attempt, successful or not.
    pub(super) fn end_probe(&self) {
        if let Some(poll_state) = self.lock().writer.poll_state()
            && poll_state.upgrade == Upgrade::Probing
        {
            poll_state.upgrade = Upgrade::None;
        }
    }

    /// Answers the waiting GET with a noop.
    pub(super) fn send_noop(&self) {
        let mut state = self.lock();
        if let Some(poll_state) = state.writer.poll_state() {
            poll_state.send_noop();
            self.write(&mut state);
        }
    }

    /// Whether long-polling requests are refused.
    pub(super) fn has_left_polling(&self) -> bool {
        active_poll_state(&mut self.lock()).is_err()
    }

    /// Leaves a WebSocket for the connection's task to continue with.
    pub(super) fn offer_upgrade(&self, upgraded: UpgradedSocket) -> Result<(), PollError> {
        let mut state = self.lock();
        let poll_state = active_poll_state(&mut state)?;
        poll_state.send_noop();
        poll_state.upgrade = Upgrade::Done;
        poll_state.upgraded = Some(Box::new(upgraded));
        self.write(&mut state);
        // After the write, which may have changed what the connection's task is asked to do.
        self.wake_task();
        Ok(())
    }

    /// The WebSocket to continue with, and packets that were posted before.
    pub(crate) fn take_upgrade(&self) -> (Option<Box<UpgradedSocket>>, Option<PostedPackets>) {
        let mut state = self.lock();
        let Some(poll_state) = state.writer.poll_state() else { return (None, None) };
        (poll_state.upgraded.take(), poll_state.posted.take())
    }

    /// Continues with a socket. What waits is sent on it.
    pub(crate) fn switch_to(self: &Arc<Self>, writer: OwnedWriteHalf) {
        let mut state = self.lock();
        if state.writer.is_gone() {
            return;
        }
        state.writer.replace(Sink::Socket(writer.into()));
        self.write(&mut state);
        let _ = self.charge_and_enforce(state);
    }
}

/// The poll state of a connection whose client polls and has not broken the protocol.
fn active_poll_state(state: &mut SendInner) -> Result<&mut PollState, PollError> {
    let poll_state = heard(state)?;
    if poll_state.has_failed() { Err(PollError::Ended) } else { Ok(poll_state) }
}

/// The poll state of a connection that still answers GETs, even if only with its end.
fn heard(state: &mut SendInner) -> Result<&mut PollState, PollError> {
    let gone = state.writer.is_gone();
    match state.writer.poll_state() {
        Some(poll_state) if poll_state.has_ended() => Err(PollError::Ended),
        Some(poll_state) if poll_state.upgrade == Upgrade::Done => Err(PollError::Moved),
        Some(poll_state) => Ok(poll_state),
        None if gone => Err(PollError::Ended),
        None => Err(PollError::Moved),
    }
}
