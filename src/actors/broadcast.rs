//! An event for many sessions: one encoding per codec in use.

use crate::transport::Frame;
use protocol::codec::Codec;
use protocol::server::ServerEvent;

pub(super) struct Broadcast<'a> {
    event: ServerEvent<'a>,
    /// The frame of each codec, made at its first use.
    frames: [Option<Frame>; Codec::COUNT],
}

impl<'a> Broadcast<'a> {
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
