//! What the requests of a client of long-polling do to its sending side. Each runs under its lock,
//! on whichever thread serves the request.

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
use crate::protocol::close::CloseCode;

// === impl SendState ===

impl SendState {
    /// Lets a GET wait, and answers it at once where something waits for it.
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

    /// Leaves the packets of a POST for the session's task.
    pub(super) fn deliver_posted(&self, posted: PostedPackets) -> Result<(), PollError> {
        active_poll_state(&mut self.lock())?.posted = Some(posted);
        self.task.wake();
        Ok(())
    }

    /// Resolves when a GET comes; none where one waits, or none will.
    pub(super) fn await_next_poll(&self) -> Option<oneshot::Receiver<()>> {
        active_poll_state(&mut self.lock()).ok()?.await_next_get()
    }

    /// The next POST may come.
    pub(in crate::transport) fn end_post(&self) {
        if let Some(poll_state) = self.lock().writer.poll_state() {
            poll_state.post_in_progress = false;
        }
    }

    /// The client broke the protocol or a limit. Resolves when a poll has brought it the end; none
    /// where it does not poll any more.
    pub(super) fn fail(&self, code: CloseCode) -> Option<oneshot::Receiver<()>> {
        self.fail_locked(&mut self.lock(), code)
    }

    fn fail_locked(&self, state: &mut SendInner, code: CloseCode) -> Option<oneshot::Receiver<()>> {
        let told = state.writer.poll_state().map(|poll_state| poll_state.fail(code));
        self.task.wake();
        told
    }

    /// The client's connection went away with a request on it.
    pub(super) fn connection_lost(self: &Arc<Self>) {
        let mut state = self.lock();
        if heard(&mut state).is_ok() {
            self.mark_broken(&mut state);
            self.charge(&mut state);
        }
    }

    /// The WebSocket to go on with is broken.
    pub(in crate::transport) fn fail_upgrade(self: &Arc<Self>) {
        let mut state = self.lock();
        self.mark_broken(&mut state);
        self.charge(&mut state);
    }

    /// The client said that it ends the session.
    pub(in crate::transport) fn client_closed(&self) {
        let mut state = self.lock();
        if let Some(poll_state) = state.writer.poll_state() {
            poll_state.client_closed();
            self.write(&mut state);
        }
    }

    /// What the session's task takes next of a client of long-polling.
    pub(in crate::transport) fn next_poll_event(&self) -> PollEvent {
        self.lock().writer.poll_state().map_or(PollEvent::Ended, PollState::take)
    }

    /// Admits the attempt of a WebSocket.
    pub(super) fn begin_probe(&self) -> Result<(), PollError> {
        let mut state = self.lock();
        let poll_state = active_poll_state(&mut state)?;
        if poll_state.upgrade == Upgrade::Probing {
            return Err(PollError::Overlap);
        }
        poll_state.upgrade = Upgrade::Probing;
        Ok(())
    }

    /// The attempt of a WebSocket is over, in whatever way.
    pub(super) fn end_probe(&self) {
        if let Some(poll_state) = self.lock().writer.poll_state()
            && poll_state.upgrade == Upgrade::Probing
        {
            poll_state.upgrade = Upgrade::None;
        }
    }

    /// Ends the GET that waits with nothing.
    pub(super) fn send_noop(&self) {
        let mut state = self.lock();
        if let Some(poll_state) = state.writer.poll_state() {
            poll_state.send_noop();
            self.write(&mut state);
        }
    }

    /// Whether no request of long-polling is served any more.
    pub(super) fn has_left_polling(&self) -> bool {
        active_poll_state(&mut self.lock()).is_err()
    }

    /// Leaves a WebSocket for the session's task to go on with.
    pub(super) fn offer_upgrade(&self, upgraded: UpgradedSocket) -> Result<(), PollError> {
        let mut state = self.lock();
        let poll_state = active_poll_state(&mut state)?;
        poll_state.send_noop();
        poll_state.upgrade = Upgrade::Done;
        poll_state.upgraded = Some(Box::new(upgraded));
        self.write(&mut state);
        // Behind the write, which may have looked after the session's task itself.
        self.wake_task();
        Ok(())
    }

    /// The WebSocket to go on with, and what was posted before it came.
    pub(in crate::transport) fn take_upgrade(
        &self,
    ) -> (Option<Box<UpgradedSocket>>, Option<PostedPackets>) {
        let mut state = self.lock();
        let Some(poll_state) = state.writer.poll_state() else { return (None, None) };
        (poll_state.upgraded.take(), poll_state.posted.take())
    }

    /// Goes on with a socket: what waits leaves on it.
    pub(in crate::transport) fn switch_to(self: &Arc<Self>, writer: OwnedWriteHalf) {
        let mut state = self.lock();
        if state.writer.is_gone() {
            return;
        }
        state.writer.replace(Sink::Socket(writer.into()));
        self.write(&mut state);
        let _ = self.charge_and_enforce(state);
    }
}

/// The poll state of a session that is polled, and hears what its client says.
fn active_poll_state(state: &mut SendInner) -> Result<&mut PollState, PollError> {
    let poll_state = heard(state)?;
    if poll_state.has_failed() { Err(PollError::Ended) } else { Ok(poll_state) }
}

/// The mailbox of a session that its client hears by polls, and be it the end of it.
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
