//! The receiving end of a connection: a stream of whole messages. Its poll also does the work of
//! the sending side that needs a task: waiting for a blocked socket, deadlines, the end of a close.
//! `long_polling` handles clients that poll.

use std::ops::ControlFlow;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use bytes::{Buf, BytesMut};
use futures_core::Stream;
use futures_util::StreamExt;
use tokio::net::tcp::OwnedReadHalf;
use tokio::time::{Sleep, sleep_until};

use super::Incoming;
use super::flusher::has_arbiter;
use super::message::{Assembler, Item, Limits};
use super::read_pause::ReadPause;
use super::reader::poll_read;
use super::send_state::{SendAction, SendState};
use protocol::close::CloseCode;

mod long_polling;

use long_polling::LongPolling;

/// Messages and reads of one poll, so that a busy connection does not starve others.
const READS_PER_POLL: u8 = 32;
/// A larger unfinished tail is copied into a buffer of its own size.
const KEPT_TAIL: usize = 256;

/// The receiving end of a connection, polled by the task of its connection actor.
///
/// It ends when the peer has ended, the connection is broken, or the time for a close is over. A
/// drop before that cuts the connection, unless its [`super::Outbox`] was closed in order: then the
/// close finishes in a task of its own.
#[derive(Debug)]
pub struct Inbound {
    /// `None` where the client polls, or after the connection has ended.
    reader: Option<OwnedReadHalf>,
    send_state: Arc<SendState>,
    /// Present only on a connection that began with long-polling.
    long_polling: Option<Box<LongPolling>>,
    assembler: Assembler,
    /// Bytes that were read and not yet taken: whole frames, or an unfinished one. No capacity
    /// while the connection is idle.
    pending: BytesMut,
    /// Armed while the socket is blocked or closing.
    timer: Option<Pin<Box<Sleep>>>,
    /// Messages and reads since this task last yielded.
    work_done: u8,
    stage: ReadStage,
    /// Whether the peer has sent a close frame.
    close_received: bool,
    /// Whether this continues a dropped one, only to finish a close.
    detached: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ReadStage {
    /// The client posts; there is no socket.
    Polling,
    Reading,
    /// A close frame or a failure was reported; the connection actor has to answer.
    AwaitingClose,
    /// The peer has ended its side.
    Ended,
    /// Both sides have ended.
    Over,
}

/// What remains to do after a check of the sending side.
enum Upkeep {
    Read,
    Yield(Incoming),
    AwaitClose { sent: bool },
    End,
}

// === impl Inbound ===

impl Inbound {
    /// `first` holds bytes that were read after the request.
    pub(super) fn new(reader: OwnedReadHalf, first: BytesMut, send_state: Arc<SendState>) -> Self {
        let mut inbound = Self::without_reader(send_state, ReadStage::Reading);
        inbound.reader = Some(reader);
        // An empty buffer of the HTTP codec still has kilobytes of capacity.
        inbound.pending = if first.is_empty() { BytesMut::new() } else { first };
        inbound
    }

    fn without_reader(send_state: Arc<SendState>, stage: ReadStage) -> Self {
        Self {
            reader: None,
            send_state,
            long_polling: None,
            assembler: Assembler::default(),
            pending: BytesMut::new(),
            timer: None,
            work_done: 0,
            stage,
            close_received: false,
            detached: false,
        }
    }

    /// A handle that pauses reading.
    pub fn read_pause(&self) -> ReadPause {
        ReadPause::new(Arc::clone(&self.send_state))
    }

    /// Bytes of memory that this connection holds for what it reads.
    #[cfg(test)]
    pub(super) fn held(&self) -> usize {
        self.pending.capacity() + self.assembler.held()
    }

    /// Does the work that the sending side asks for.
    fn upkeep(&mut self, cx: &mut Context<'_>) -> Upkeep {
        loop {
            let (at, then) = match self.send_state.drive(cx) {
                SendAction::None | SendAction::AwaitWritable(None) => {
                    self.timer = None;
                    return Upkeep::Read;
                }
                SendAction::SwitchToSocket => {
                    self.move_to_socket();
                    continue;
                }
                SendAction::ReportOverrun(why) => return Upkeep::Yield(Incoming::Overrun(why)),
                SendAction::End => return Upkeep::End,
                SendAction::AwaitWritable(Some(deadline)) => (deadline, Upkeep::Read),
                SendAction::AwaitClose { by, sent } => (by, Upkeep::AwaitClose { sent }),
            };
            if self.poll_timer(at, cx).is_pending() {
                return then;
            }
            self.timer = None;
            self.send_state.expire(Instant::now().max(at));
        }
    }

    fn poll_timer(&mut self, at: Instant, cx: &mut Context<'_>) -> Poll<()> {
        let at = at.into();
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(at)));
        if timer.deadline() != at {
            timer.as_mut().reset(at);
        }
        timer.as_mut().poll(cx)
    }

    /// The next message; `None` at the end of the stream.
    fn poll_message(&mut self, cx: &mut Context<'_>) -> Poll<Option<Incoming>> {
        loop {
            if let Some(item) = self.take_pending() {
                return Poll::Ready(Some(item));
            }
            if self.should_yield(cx) {
                return Poll::Pending;
            }
            if let ControlFlow::Break(item) = ready!(self.poll_read(cx)) {
                return Poll::Ready(item);
            }
        }
    }

    /// Whether this task has to yield. If so, it is scheduled again after the other tasks.
    fn should_yield(&mut self, cx: &mut Context<'_>) -> bool {
        let work_done = self.work_done >= READS_PER_POLL;
        if work_done {
            self.work_done = 0;
            cx.waker().wake_by_ref();
        }
        work_done
    }

    /// The next message from bytes that were read before.
    fn take_pending(&mut self) -> Option<Incoming> {
        if self.pending.is_empty() {
            return None;
        }
        let mut input = &self.pending[..];
        let item = self.assembler.next(&mut input, limits(&self.send_state));
        let taken = self.pending.len() - input.len();
        self.pending.advance(taken);
        let unfinished = matches!(item, Ok(None));
        if self.pending.is_empty() {
            self.pending = BytesMut::new();
        } else if unfinished && self.pending.capacity() > KEPT_TAIL {
            self.pending = BytesMut::from(&self.pending[..]);
        }
        self.handle_item(item)
    }

    /// Reads once. Breaks with a message, or with `None` at the end. Usually the message is taken
    /// directly from the shared buffer.
    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<ControlFlow<Option<Incoming>>> {
        let Some(reader) = &mut self.reader else { return Poll::Ready(ControlFlow::Break(None)) };
        let (pending, assembler) = (&mut self.pending, &mut self.assembler);
        let limits = limits(&self.send_state);
        let item = ready!(poll_read(reader, cx, |mut input| {
            // Unfinished bytes come first.
            let item =
                if pending.is_empty() { assembler.next(&mut input, limits) } else { Ok(None) };
            pending.extend_from_slice(input);
            item
        }));
        self.work_done += 1;
        Poll::Ready(match item.map(|item| self.handle_item(item)) {
            Some(None) => ControlFlow::Continue(()),
            Some(item) => ControlFlow::Break(item),
            None => ControlFlow::Break(None),
        })
    }

    fn handle_item(&mut self, item: Result<Option<Item>, CloseCode>) -> Option<Incoming> {
        Some(match item {
            Ok(None) => return None,
            Ok(Some(Item::Text(text))) => Incoming::Text(text),
            Ok(Some(Item::Binary(data))) => Incoming::Binary(data),
            Ok(Some(Item::Ping(payload))) => Incoming::Ping(payload),
            Ok(Some(Item::Pong)) => Incoming::Pong,
            Ok(Some(Item::Close(code))) => {
                self.close_received = true;
                self.stop_reading();
                Incoming::Close(code)
            }
            Err(code) => {
                self.stop_reading();
                Incoming::Failed(code)
            }
        })
    }

    /// Ignores everything that follows in the stream.
    fn stop_reading(&mut self) {
        self.stage = ReadStage::AwaitingClose;
        self.pending = BytesMut::new();
        self.assembler.clear();
    }

    /// Reads and discards what still comes. Otherwise the system would answer it with a reset,
    /// which could destroy the last frames on their way. Ends when everything is sent and the peer
    /// has sent a close frame or ended.
    fn poll_until_closed(&mut self, sent: bool, cx: &mut Context<'_>) -> Poll<()> {
        self.drop_posted();
        while self.stage != ReadStage::Ended && !(sent && self.close_received) {
            if self.should_yield(cx) {
                return Poll::Pending;
            }
            match self.poll_close(cx) {
                Poll::Ready(true) => {}
                Poll::Ready(false) => self.stage = ReadStage::Ended,
                Poll::Pending => {
                    self.work_done = 0;
                    return Poll::Pending;
                }
            }
        }
        if sent { Poll::Ready(()) } else { Poll::Pending }
    }

    /// Reads until the peer's close frame; false at the end of the stream. After a close frame or
    /// an invalid frame, bytes are discarded unread.
    fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<bool> {
        if self.stage == ReadStage::Reading {
            while self.take_pending().is_some() {}
        }
        if self.stage == ReadStage::Reading {
            let read = ready!(self.poll_read(cx));
            return Poll::Ready(!matches!(read, ControlFlow::Break(None)));
        }
        let Some(reader) = &mut self.reader else { return Poll::Ready(false) };
        let read = ready!(poll_read(reader, cx, |_| ()));
        self.work_done += 1;
        Poll::Ready(read.is_some())
    }

    /// Notes the result of a poll for a message.
    fn note_progress(&mut self, message: &Poll<Option<Incoming>>) {
        match message {
            Poll::Ready(Some(_)) => self.work_done += 1,
            Poll::Ready(None) => {
                self.stop_reading();
                self.stage = ReadStage::Ended;
            }
            Poll::Pending => self.work_done = 0,
        }
    }

    fn end(&mut self) -> Poll<Option<Incoming>> {
        self.send_state.abort();
        self.stage = ReadStage::Over;
        self.reader = None;
        self.long_polling = None;
        self.timer = None;
        Poll::Ready(None)
    }
}

impl Stream for Inbound {
    type Item = Incoming;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Incoming>> {
        let this = self.get_mut();
        if this.stage == ReadStage::Over {
            return Poll::Ready(None);
        }
        // First of all, so that every change from here on wakes the task.
        this.send_state.task.register(cx.waker());
        this.acknowledge_posted();
        if this.send_state.wants_attention() {
            match this.upkeep(cx) {
                Upkeep::Read => {}
                Upkeep::Yield(incoming) => return Poll::Ready(Some(incoming)),
                Upkeep::End => return this.end(),
                Upkeep::AwaitClose { sent } => {
                    ready!(this.poll_until_closed(sent, cx));
                    return this.end();
                }
            }
        }
        match this.stage {
            ReadStage::Ended | ReadStage::Over => return Poll::Ready(None),
            ReadStage::AwaitingClose => return Poll::Pending,
            ReadStage::Polling | ReadStage::Reading if this.send_state.is_read_paused() => {
                return Poll::Pending;
            }
            ReadStage::Polling | ReadStage::Reading => {}
        }
        if this.should_yield(cx) {
            return Poll::Pending;
        }
        let message = match this.take_posted() {
            Some(posted) => posted,
            None => this.poll_message(cx),
        };
        this.note_progress(&message);
        message
    }
}

impl Drop for Inbound {
    fn drop(&mut self) {
        if self.stage == ReadStage::Over {
            return;
        }
        // A connection actor may stop right after it closed its outbox in order; the close still
        // finishes.
        if self.detached || !self.send_state.is_closing() || !has_arbiter() {
            self.send_state.abort();
            return;
        }
        let mut rest = Self::without_reader(Arc::clone(&self.send_state), self.stage);
        rest.reader = self.reader.take();
        rest.long_polling = self.long_polling.take();
        rest.assembler = std::mem::take(&mut self.assembler);
        rest.pending = std::mem::take(&mut self.pending);
        rest.close_received = self.close_received;
        rest.detached = true;
        actix_rt::spawn(async move { while rest.next().await.is_some() {} });
    }
}

fn limits(send_state: &SendState) -> Limits {
    Limits {
        bytes: send_state.options.max_message_bytes,
        fragments: send_state.options.max_fragments,
    }
}
