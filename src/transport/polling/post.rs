//! A POST: its packets on their way to the session.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use bytestring::ByteString;
use tokio::sync::oneshot;

use super::super::Incoming;
use super::super::send_state::SendState;
use super::PollError;
use crate::protocol::close::CloseCode;
use crate::protocol::socketio::engine;
use crate::protocol::socketio::payload::{self, Part, SEPARATOR};

/// How long the end of a session waits for a poll to end with it, or to bring it.
const LAST_POLL_WAIT: Duration = Duration::from_millis(100);

/// A POST that is under way. Dropped before its whole body came, or was refused, it says that the
/// client's connection is lost, and its session with it. What came whole the session takes, whether
/// the client waits for the answer or not.
#[derive(Debug)]
#[must_use = "dropped, it ends the session"]
pub struct Post {
    send_state: Arc<SendState>,
    /// Packets with the end of the session among them, while its last poll may still come.
    last_packets: Option<PostedPackets>,
    stage: PostStage,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum PostStage {
    /// The body is on its way.
    Reading,
    /// It was refused.
    Refused,
    /// The session has it.
    Delivered,
}

/// The packets of a POST, taken one by one. They stay in the body that came: what a session has
/// not taken yet is never larger than that.
#[derive(Debug)]
pub(in crate::transport) struct PostedPackets {
    body: ByteString,
    /// Where the next packet begins; none behind the last one.
    next: Option<usize>,
    /// Told when the session has taken all.
    taken: oneshot::Sender<()>,
}

// === impl Post ===

impl Post {
    pub(super) fn new(send_state: Arc<SendState>) -> Self {
        Self { send_state, last_packets: None, stage: PostStage::Reading }
    }

    /// Hands the packets of a body to the session, and resolves when it has taken all of them.
    ///
    /// # Errors
    /// [`PollError`]; on [`PollError::Malformed`], where a packet, its base64 or the UTF-8 of the
    /// body is not valid, the session has taken none of them, and ends.
    pub async fn deliver(mut self, body: Bytes) -> Result<(), PollError> {
        let Ok(body) = ByteString::try_from(body) else {
            self.refuse(CloseCode::INVALID_UTF8).await;
            return Err(PollError::Malformed);
        };
        if !payload::is_valid(&body) {
            self.refuse(CloseCode::PROTOCOL_ERROR).await;
            return Err(PollError::Malformed);
        }
        let is_last = body.split(SEPARATOR).any(|packet| packet == engine::CLOSE);
        let (taken, all_taken) = oneshot::channel();
        let posted = PostedPackets { body, next: Some(0), taken };
        let posted = if is_last { self.await_last_poll(posted).await } else { Some(posted) };
        self.stage = PostStage::Delivered;
        self.send_state.deliver_posted(posted.ok_or(PollError::Ended)?)?;
        all_taken.await.map_err(|_| PollError::Ended)
    }

    /// Gives the poll that a client has under way while it ends its session the time to come: the
    /// two travel on connections of their own, and neither may be lost because it was the slower.
    async fn await_last_poll(&mut self, posted: PostedPackets) -> Option<PostedPackets> {
        self.last_packets = Some(posted);
        if let Some(poll) = self.send_state.await_next_poll() {
            // Whether it came or not.
            let _ = tokio::time::timeout(LAST_POLL_WAIT, poll).await;
        }
        self.last_packets.take()
    }

    /// Ends the session because of this POST, with the code that its session is to hear. Resolves
    /// when a poll has brought the client what the session says last, or none has in time: clients
    /// that are refused a POST do not look at the answer to a poll any more.
    pub async fn refuse(mut self, code: CloseCode) {
        self.stage = PostStage::Refused;
        if let Some(told) = self.send_state.fail(code) {
            // Whether a poll came or not.
            let _ = tokio::time::timeout(LAST_POLL_WAIT, told).await;
        }
    }

    /// Takes nothing of this POST; the session goes on.
    pub fn decline(mut self) {
        self.stage = PostStage::Refused;
    }
}

impl Drop for Post {
    fn drop(&mut self) {
        match (self.last_packets.take(), self.stage) {
            // Whoever ends a session need not wait for the answer.
            (Some(posted), _) => drop(self.send_state.deliver_posted(posted)),
            (None, PostStage::Reading) => self.send_state.connection_lost(),
            (None, PostStage::Refused) => self.send_state.end_post(),
            // The session's task says when the next one may come.
            (None, PostStage::Delivered) => {}
        }
    }
}

// === impl PostedPackets ===

impl PostedPackets {
    /// The next packet; none behind the last one.
    pub(in crate::transport) fn take(&mut self) -> Option<Incoming> {
        let start = self.next?;
        let rest = &self.body[start..];
        let length = rest.find(SEPARATOR).unwrap_or(rest.len());
        let packet = &rest[..length];
        let behind = start + length + SEPARATOR.len_utf8();
        self.next = (behind <= self.body.len()).then_some(behind);
        // Every packet could be read when the body came.
        match payload::read(packet)? {
            Part::Text(engine::CLOSE) => {
                self.next = None;
                Some(Incoming::Text(engine::CLOSE.into()))
            }
            Part::Text(text) => Some(Incoming::Text(self.body.slice_ref(text))),
            Part::Binary(data) => Some(Incoming::Binary(data.into())),
        }
    }

    /// Whether all is taken.
    pub(in crate::transport) fn is_empty(&self) -> bool {
        self.next.is_none()
    }

    /// Says that the session has taken all.
    pub(in crate::transport) fn finish(self) {
        // A client that has gone away does not need to hear it.
        let _ = self.taken.send(());
    }
}
