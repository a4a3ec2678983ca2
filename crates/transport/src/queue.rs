//! The queue of one socket, with two kinds of frames. Reliable frames keep their order and are
//! never dropped. Newer latest-wins frames replace older ones of the same key in place. Pure: time
//! is an argument, bytes leave through slices.

use std::io::IoSlice;
use std::time::Instant;

use super::frame::Frame;
use super::inline_deque::InlineDeque;

/// What a latest-wins frame is about: a newer frame of the same key replaces it. The transport only
/// compares keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct LatestKey(pub u64);

/// How a waiting frame is treated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FrameKind {
    /// Kept, in order. The time is when the frame was first seen to wait for a blocked socket.
    Reliable(Option<Instant>),
    /// Replaced by a newer frame of its key, and dropped at a limit.
    Latest(LatestKey),
    /// At most one waits.
    Ping,
    /// While the socket is blocked at most one waits, the newest, as section 5.5.3 of RFC 6455
    /// allows.
    Pong,
}

#[derive(Debug)]
struct Entry {
    frame: Frame,
    kind: FrameKind,
}

/// The waiting frames of one socket. An empty queue owns no memory.
#[derive(Debug, Default)]
pub(super) struct Queue {
    entries: InlineDeque<Entry>,
    /// Waiting bytes, without the sent part of the first frame.
    bytes: usize,
    /// Sent bytes of the first frame. A partly sent frame can neither be replaced nor dropped. This
    /// and the next field have 32 bits, because every connection has a queue.
    written: u32,
    /// The number of latest-wins frames, so that a queue without any is not searched.
    latest: u32,
}

// === impl Queue ===

impl Queue {
    /// Adds a reliable frame. `since` is when it began to wait, if known.
    pub(super) fn push(&mut self, frame: Frame, since: Option<Instant>) {
        self.append(frame, FrameKind::Reliable(since));
    }

    /// Adds a latest-wins frame. While the socket is blocked it replaces the first waiting frame of
    /// its key and removes the others. Returns how many were replaced. A socket that is not blocked
    /// gets all frames: they are sent at the end of the turn.
    pub(super) fn push_latest(&mut self, key: LatestKey, frame: Frame, blocked: bool) -> u64 {
        let is_older = |kind| kind == FrameKind::Latest(key);
        let first = if blocked && self.latest > 0 { self.find(is_older) } else { None };
        let Some(first) = first else {
            self.latest += 1;
            self.append(frame, FrameKind::Latest(key));
            return 0;
        };
        let mut replaced = 1;
        while let Some(later) = self.find_behind(first, is_older) {
            self.remove(later);
            replaced += 1;
        }
        if let Some(entry) = self.entries.get_mut(first) {
            self.bytes = self.bytes - entry.frame.len() + frame.len();
            entry.frame = frame;
        }
        replaced
    }

    /// Adds a ping unless one waits. While the socket is blocked the ping goes before all frames of
    /// which nothing is sent, so that a slow peer gets it in time. Returns how many bytes must be
    /// sent until the ping is; `None` where one waits already.
    pub(super) fn push_ping(&mut self, frame: Frame, blocked: bool) -> Option<usize> {
        if self.find(|kind| kind == FrameKind::Ping).is_some() {
            return None;
        }
        let started = self.front().filter(|_| self.written > 0).map(Frame::len);
        let (place, before) = if blocked {
            (usize::from(started.is_some()), started.map_or(0, |length| length - self.written()))
        } else {
            (self.entries.len(), self.bytes)
        };
        self.bytes += frame.len();
        let until = before + frame.len();
        self.entries.insert(place, Entry { frame, kind: FrameKind::Ping });
        Some(until)
    }

    /// Adds a pong. While the socket is blocked it replaces all waiting pongs.
    pub(super) fn push_pong(&mut self, frame: Frame, blocked: bool) {
        while blocked && let Some(index) = self.find(|kind| kind == FrameKind::Pong) {
            self.remove(index);
        }
        self.append(frame, FrameKind::Pong);
    }

    /// Drops the waiting frames of a key.
    pub(super) fn discard_latest(&mut self, key: LatestKey) {
        while self.latest > 0
            && let Some(index) = self.find(|kind| kind == FrameKind::Latest(key))
        {
            self.remove(index);
        }
    }

    /// Drops the latest-wins frame that waits longest. Returns whether there was one.
    pub(super) fn drop_oldest_latest(&mut self) -> bool {
        let oldest = if self.latest == 0 {
            None
        } else {
            self.find(|kind| matches!(kind, FrameKind::Latest(_)))
        };
        oldest.map(|index| self.remove(index)).is_some()
    }

    /// Drops everything except a partly sent frame, which must be sent whole.
    pub(super) fn drop_unstarted(&mut self) {
        let started = if self.written > 0 { self.entries.pop_front() } else { None };
        let written = self.written;
        *self = Self::default();
        if let Some(entry) = started {
            self.bytes = entry.frame.len() - written as usize;
            self.written = written;
            self.latest = u32::from(matches!(entry.kind, FrameKind::Latest(_)));
            self.entries.push_back(entry);
        }
    }

    /// Notes that frames without a time wait since `now`.
    pub(super) fn stamp(&mut self, now: Instant) {
        for entry in self.entries.iter_mut() {
            if let FrameKind::Reliable(since @ None) = &mut entry.kind {
                *since = Some(now);
            }
        }
    }

    /// Since when the first reliable frame waits, if that was noted.
    pub(super) fn waiting_since(&self) -> Option<Instant> {
        self.entries.iter().find_map(|entry| match entry.kind {
            FrameKind::Reliable(since) => since,
            _ => None,
        })
    }

    /// All waiting bytes in order, one slice for each frame.
    pub(super) fn slices(&self) -> impl Iterator<Item = IoSlice<'_>> {
        let mut skip = self.written();
        self.entries
            .iter()
            .map(move |entry| IoSlice::new(&entry.frame.bytes()[std::mem::take(&mut skip)..]))
    }

    /// The first waiting bytes, at most `most`, one slice for each frame.
    pub(super) fn first_bytes(&self, mut most: usize) -> impl Iterator<Item = IoSlice<'_>> {
        let mut skip = self.written();
        self.entries.iter().map_while(move |entry| {
            let bytes = &entry.frame.bytes()[std::mem::take(&mut skip)..];
            let part = &bytes[..bytes.len().min(most)];
            most -= part.len();
            (!part.is_empty()).then(|| IoSlice::new(part))
        })
    }

    /// The unsent part of the only waiting frame; `None` where there is another number of frames.
    pub(super) fn single_frame(&self) -> Option<&[u8]> {
        let first = self.entries.front().filter(|_| self.entries.len() == 1)?;
        Some(&first.frame.bytes()[self.written()..])
    }

    /// Removes the first `count` bytes.
    pub(super) fn advance(&mut self, mut count: usize) {
        self.bytes = self.bytes.saturating_sub(count);
        while let Some(first) = self.entries.front() {
            let left = first.frame.len() - self.written();
            if count < left {
                // No frame is near 4 GiB.
                self.written += u32::try_from(count).unwrap_or(0);
                return;
            }
            count -= left;
            self.written = 0;
            self.latest -= u32::from(matches!(first.kind, FrameKind::Latest(_)));
            self.entries.pop_front();
        }
        // Most sockets are idle most of the time, so the memory of a burst is freed.
        self.entries.release();
    }

    /// The frame that waits longest.
    pub(super) fn front(&self) -> Option<&Frame> {
        self.entries.front().map(|entry| &entry.frame)
    }

    /// Removes the frame that waits longest, whole.
    pub(super) fn pop(&mut self) {
        if !self.entries.is_empty() {
            self.remove(0);
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Frames that wait.
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Bytes that wait.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    fn written(&self) -> usize {
        self.written as usize
    }

    fn append(&mut self, frame: Frame, kind: FrameKind) {
        self.bytes += frame.len();
        self.entries.push_back(Entry { frame, kind });
    }

    /// The first frame of a kind of which nothing is sent.
    fn find(&self, is: impl Fn(FrameKind) -> bool) -> Option<usize> {
        let started = usize::from(self.written > 0);
        self.entries.iter().skip(started).position(|entry| is(entry.kind)).map(|at| at + started)
    }

    fn find_behind(&self, index: usize, is: impl Fn(FrameKind) -> bool) -> Option<usize> {
        let from = index + 1;
        self.entries.iter().skip(from).position(|entry| is(entry.kind)).map(|at| at + from)
    }

    fn remove(&mut self, index: usize) {
        if let Some(entry) = self.entries.remove(index) {
            self.bytes -= entry.frame.len();
            self.latest -= u32::from(matches!(entry.kind, FrameKind::Latest(_)));
        }
        if self.entries.is_empty() {
            (self.bytes, self.written) = (0, 0);
            self.entries.release();
        }
    }
}

#[cfg(test)]
mod tests;
