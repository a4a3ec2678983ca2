//! A POST whose packets go to the connection.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use bytestring::ByteString;
use tokio::sync::oneshot;

use super::super::Incoming;
use super::super::send_state::SendState;
use super::PollError;
use protocol::close::CloseCode;
use protocol::socketio::engine;
use protocol::socketio::payload::{self, Part, SEPARATOR};

/// How long the end of a connection waits for a GET that can bring it.
const LAST_POLL_WAIT: Duration = Duration::from_millis(100);

/// A POST in progress. A drop before its whole body came or was refused means that the client's
/// connection is lost, and ends the session. The packets of a whole body are taken even if the
/// client does not wait for the answer.
#[derive(Debug)]
#[must_use = "dropped, it ends the session"]
pub struct Post {
    send_state: Arc<SendState>,
    /// Packets with a close packet among them, while a last GET may still come.
    last_packets: Option<PostedPackets>,
    stage: PostStage,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum PostStage {
    /// The body is arriving.
    Reading,
    /// The POST was refused.
    Refused,
    /// The packets were delivered to the connection.
    Delivered,
}

/// The packets of a POST, taken one by one. They stay in the body, so packets that are not taken
/// yet are never larger than that.
#[derive(Debug)]
pub(crate) struct PostedPackets {
    body: ByteString,
    /// Where the next packet begins; `None` after the last one.
    next: Option<usize>,
    /// Resolves when all packets are taken.
    taken: oneshot::Sender<()>,
}

// === impl Post ===

impl Post {
    pub(super) fn new(send_state: Arc<SendState>) -> Self {
        Self { send_state, last_packets: None, stage: PostStage::Reading }
    }

    /// Delivers the packets of a body to the connection. Resolves when all are taken.
    ///
    /// # Errors
    /// [`PollError`]. [`PollError::Malformed`] where a packet, its base64 or the UTF-8 of the body
    /// is invalid: no packet is taken, and the connection ends.
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

    /// Waits for the GET that a client sends while it closes. The POST and the GET arrive on
    /// different TCP connections, and the slower one must not be lost.
    async fn await_last_poll(&mut self, posted: PostedPackets) -> Option<PostedPackets> {
        self.last_packets = Some(posted);
        if let Some(poll) = self.send_state.await_next_poll() {
            // Goes on whether it came or not.
            let _ = tokio::time::timeout(LAST_POLL_WAIT, poll).await;
        }
        self.last_packets.take()
    }

    /// Ends the connection because of this POST, with this close code. Resolves when a GET has
    /// brought the end, or none came in time: clients whose POST is refused ignore the answer to a
    /// GET after that.
    pub async fn refuse(mut self, code: CloseCode) {
        self.stage = PostStage::Refused;
        if let Some(told) = self.send_state.fail(code) {
            // Goes on whether a GET came or not.
            let _ = tokio::time::timeout(LAST_POLL_WAIT, told).await;
        }
    }

    /// Takes nothing of this POST; the connection continues.
    pub fn decline(mut self) {
        self.stage = PostStage::Refused;
    }
}

impl Drop for Post {
    fn drop(&mut self) {
        match (self.last_packets.take(), self.stage) {
            // A client that closes need not wait for the answer.
            (Some(posted), _) => drop(self.send_state.deliver_posted(posted)),
            (None, PostStage::Reading) => self.send_state.connection_lost(),
            (None, PostStage::Refused) => self.send_state.end_post(),
            // The connection's task allows the next POST.
            (None, PostStage::Delivered) => {}
        }
    }
}

// === impl PostedPackets ===

impl PostedPackets {
    /// The next packet; `None` after the last one.
    pub(crate) fn take(&mut self) -> Option<Incoming> {
        let start = self.next?;
        let rest = &self.body[start..];
        let length = rest.find(SEPARATOR).unwrap_or(rest.len());
        let packet = &rest[..length];
        let behind = start + length + SEPARATOR.len_utf8();
        self.next = (behind <= self.body.len()).then_some(behind);
        // All packets were validated when the body came.
        match payload::read(packet)? {
            Part::Text(engine::CLOSE) => {
                self.next = None;
                Some(Incoming::Text(engine::CLOSE.into()))
            }
            Part::Text(text) => Some(Incoming::Text(self.body.slice_ref(text))),
            Part::Binary(data) => Some(Incoming::Binary(data.into())),
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.next.is_none()
    }

    /// Reports that all packets are taken.
    pub(crate) fn finish(self) {
        // The client may have gone.
        let _ = self.taken.send(());
    }
}
