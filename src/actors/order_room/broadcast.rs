//! Fan-out: one encoding per codec in use, one push per member.

use super::OrderRoom;
use super::entry::Pushed;
use crate::protocol::codec::Codec;
use crate::protocol::server::ServerEvent;
use crate::transport::Frame;

/// An event on its way to many members.
pub(super) struct Broadcast<'a> {
    event: ServerEvent<'a>,
    /// The frame of each codec, once somebody needs it.
    frames: [Option<Frame>; Codec::COUNT],
}

impl<'a> Broadcast<'a> {
    pub(super) fn new(event: ServerEvent<'a>) -> Self {
        Self { event, frames: Default::default() }
    }

    pub(super) fn frame(&mut self, codec: Codec) -> Frame {
        self.frames[codec.index()]
            .get_or_insert_with(|| Frame::text(|buffer| codec.event(&self.event, buffer)))
            .clone()
    }
}

impl OrderRoom {
    /// Sends an event to every member, reliably and in order. True where a member turned out to be
    /// gone.
    pub(super) fn send_to_all(&mut self, event: ServerEvent<'_>) -> bool {
        let seq = event.chat_seq();
        self.shared.metrics.events_out.inc(event.index());
        let mut broadcast = Broadcast::new(event);
        let (mut delivered, mut gone) = (0, false);
        for member in self.members.values_mut() {
            let frame = broadcast.frame(member.codec);
            match member.push(frame, seq) {
                Pushed::Out => delivered += 1,
                Pushed::Held => {}
                Pushed::Gone => gone = true,
            }
        }
        self.shared.metrics.deliveries.inc_by(delivered);
        gone
    }
}
