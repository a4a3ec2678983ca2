//! What the requests of a client of long-polling do to its line. Each runs under the line's lock,
//! on whichever thread serves the request.

use std::sync::Arc;

use bytes::Bytes;
use tokio::net::tcp::OwnedWriteHalf;
use tokio::sync::oneshot;

use super::super::line::{Line, State};
use super::super::wire::Sink;
use super::PollError;
use super::mailbox::{Mail, Mailbox, Upgrade};
use super::post::Posted;
use super::probe::Heir;
use crate::protocol::close::CloseCode;

// === impl Line ===

impl Line {
    /// Lets a GET wait, and answers it at once where something waits for it.
    pub(super) fn begin_poll(self: &Arc<Self>) -> Result<oneshot::Receiver<Bytes>, PollError> {
        let mut state = self.lock();
        let mailbox = heard(&mut state)?;
        let Some(answer) = mailbox.wait() else {
            mailbox.overlapped = true;
            self.fail_locked(&mut state, CloseCode::PROTOCOL_ERROR);
            return Err(PollError::Overlap);
        };
        self.write(&mut state);
        let _ = self.settle_and_enforce(state);
        Ok(answer)
    }

    /// Admits a POST.
    pub(super) fn begin_post(&self) -> Result<(), PollError> {
        let mut state = self.lock();
        let mailbox = polled(&mut state)?;
        if mailbox.posting {
            self.fail_locked(&mut state, CloseCode::PROTOCOL_ERROR);
            return Err(PollError::Overlap);
        }
        mailbox.posting = true;
        Ok(())
    }

    /// Leaves the packets of a POST for the session's task.
    pub(super) fn hand_over(&self, posted: Posted) -> Result<(), PollError> {
        polled(&mut self.lock())?.posted = Some(posted);
        self.task.wake();
        Ok(())
    }

    /// Resolves when a GET comes; none where one waits, or none will.
    pub(super) fn expect_poll(&self) -> Option<oneshot::Receiver<()>> {
        polled(&mut self.lock()).ok()?.expect()
    }

    /// The next POST may come.
    pub(in crate::transport) fn end_post(&self) {
        if let Some(mailbox) = self.lock().wire.mailbox() {
            mailbox.posting = false;
        }
    }

    /// The client broke the protocol or a limit. Resolves when a poll has brought it the end; none
    /// where it does not poll any more.
    pub(super) fn fail(&self, code: CloseCode) -> Option<oneshot::Receiver<()>> {
        self.fail_locked(&mut self.lock(), code)
    }

    fn fail_locked(&self, state: &mut State, code: CloseCode) -> Option<oneshot::Receiver<()>> {
        let told = state.wire.mailbox().map(|mailbox| mailbox.fail(code));
        self.task.wake();
        told
    }

    /// The client's connection went away with a request on it.
    pub(super) fn lose(self: &Arc<Self>) {
        let mut state = self.lock();
        if heard(&mut state).is_ok() {
            self.break_off(&mut state);
            self.charge(&mut state);
        }
    }

    /// The WebSocket to go on with is broken.
    pub(in crate::transport) fn lose_heir(self: &Arc<Self>) {
        let mut state = self.lock();
        self.break_off(&mut state);
        self.charge(&mut state);
    }

    /// The client said that it ends the session.
    pub(in crate::transport) fn leave(&self) {
        let mut state = self.lock();
        if let Some(mailbox) = state.wire.mailbox() {
            mailbox.leave();
            self.write(&mut state);
        }
    }

    /// What the session's task takes next of a client of long-polling.
    pub(in crate::transport) fn mail(&self) -> Mail {
        self.lock().wire.mailbox().map_or(Mail::Ended, Mailbox::take)
    }

    /// Admits the attempt of a WebSocket.
    pub(super) fn begin_probe(&self) -> Result<(), PollError> {
        let mut state = self.lock();
        let mailbox = polled(&mut state)?;
        if mailbox.upgrade == Upgrade::Probing {
            return Err(PollError::Overlap);
        }
        mailbox.upgrade = Upgrade::Probing;
        Ok(())
    }

    /// The attempt of a WebSocket is over, in whatever way.
    pub(super) fn end_probe(&self) {
        if let Some(mailbox) = self.lock().wire.mailbox()
            && mailbox.upgrade == Upgrade::Probing
        {
            mailbox.upgrade = Upgrade::None;
        }
    }

    /// Ends the GET that waits with nothing.
    pub(super) fn nudge(&self) {
        let mut state = self.lock();
        if let Some(mailbox) = state.wire.mailbox() {
            mailbox.nudge();
            self.write(&mut state);
        }
    }

    /// Whether no request of long-polling is served any more.
    pub(super) fn has_left_polling(&self) -> bool {
        polled(&mut self.lock()).is_err()
    }

    /// Leaves a WebSocket for the session's task to go on with.
    pub(super) fn bequeath(&self, heir: Heir) -> Result<(), PollError> {
        let mut state = self.lock();
        let mailbox = polled(&mut state)?;
        mailbox.nudge();
        mailbox.upgrade = Upgrade::Done;
        mailbox.heir = Some(Box::new(heir));
        self.write(&mut state);
        // Behind the write, which may have looked after the session's task itself.
        self.call();
        Ok(())
    }

    /// The WebSocket to go on with, and what was posted before it came.
    pub(in crate::transport) fn inherit(&self) -> (Option<Box<Heir>>, Option<Posted>) {
        let mut state = self.lock();
        let Some(mailbox) = state.wire.mailbox() else { return (None, None) };
        (mailbox.heir.take(), mailbox.posted.take())
    }

    /// Goes on with a socket: what waits leaves on it.
    pub(in crate::transport) fn move_to(self: &Arc<Self>, writer: OwnedWriteHalf) {
        let mut state = self.lock();
        if state.wire.is_gone() {
            return;
        }
        state.wire.replace(Sink::Socket(writer.into()));
        self.write(&mut state);
        let _ = self.settle_and_enforce(state);
    }
}

/// The mailbox of a session that is polled, and hears what its client says.
fn polled(state: &mut State) -> Result<&mut Mailbox, PollError> {
    let mailbox = heard(state)?;
    if mailbox.has_failed() { Err(PollError::Ended) } else { Ok(mailbox) }
}

/// The mailbox of a session that its client hears by polls, and be it the end of it.
fn heard(state: &mut State) -> Result<&mut Mailbox, PollError> {
    let gone = state.wire.is_gone();
    match state.wire.mailbox() {
        Some(mailbox) if mailbox.has_ended() => Err(PollError::Ended),
        Some(mailbox) if mailbox.upgrade == Upgrade::Done => Err(PollError::Moved),
        Some(mailbox) => Ok(mailbox),
        None if gone => Err(PollError::Ended),
        None => Err(PollError::Moved),
    }
}
