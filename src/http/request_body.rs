//! A request's body as a route reads it: on demand, with a time limit, and charged to the byte
//! budget.

use std::cell::{Cell, RefCell};
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use actix_web::dev::Payload;
use actix_web::error::PayloadError;
use actix_web::web::Bytes;
use futures_core::Stream;
use tokio::time::{Sleep, sleep};

use super::budget::Charge;
use super::connection::HttpConnection;

/// A body. The payload itself is shared, so that it can be kept until the answer is sent.
pub(super) struct RequestBody {
    payload: Rc<RefCell<Payload>>,
    /// Set when the end was read.
    has_ended: Rc<Cell<bool>>,
    /// The connection that is asked for more bytes.
    connection: Option<Rc<HttpConnection>>,
    charge: Option<Rc<RefCell<Charge>>>,
    /// How many bytes may still come.
    left: usize,
    time_limit: Option<Duration>,
    /// Armed when the route first waits.
    deadline: Option<Pin<Box<Sleep>>>,
}

// === impl RequestBody ===

impl RequestBody {
    pub(super) fn new(
        payload: Rc<RefCell<Payload>>,
        has_ended: Rc<Cell<bool>>,
        connection: Option<Rc<HttpConnection>>,
        charge: Option<Rc<RefCell<Charge>>>,
        most: usize,
        time_limit: Option<Duration>,
    ) -> Self {
        Self { payload, has_ended, connection, charge, left: most, time_limit, deadline: None }
    }

    fn count(&mut self, bytes: Bytes) -> Result<Bytes, PayloadError> {
        self.left = self.left.checked_sub(bytes.len()).ok_or(PayloadError::Overflow)?;
        let counted = self.charge.as_ref().map_or(Ok(()), |it| it.borrow_mut().grow(bytes.len()));
        counted.map_err(|_| PayloadError::Io(io::ErrorKind::OutOfMemory.into()))?;
        Ok(bytes)
    }
}

impl Stream for RequestBody {
    type Item = Result<Bytes, PayloadError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let next = Pin::new(&mut *self.payload.borrow_mut()).poll_next(cx);
        match next {
            Poll::Ready(None) => {
                self.has_ended.set(true);
                return Poll::Ready(None);
            }
            Poll::Ready(Some(read)) => {
                return Poll::Ready(Some(read.and_then(|bytes| self.count(bytes))));
            }
            Poll::Pending => {}
        }
        // The connection's task reads the bytes, and that is the task that polls this.
        if self.connection.as_ref().is_some_and(|connection| connection.request_more_body()) {
            cx.waker().wake_by_ref();
        }
        let Some(time_limit) = self.time_limit else { return Poll::Pending };
        let deadline = self.deadline.get_or_insert_with(|| Box::pin(sleep(time_limit)));
        ready!(deadline.as_mut().poll(cx));
        Poll::Ready(Some(Err(PayloadError::Io(io::ErrorKind::TimedOut.into()))))
    }
}

/// Why the hub refused a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BodyRefusal {
    /// The body did not come in time.
    TooSlow,
    /// Too many bytes are in progress.
    Full,
}

/// The refusal in an error of a body, if the hub refused it.
pub(super) fn body_refusal(error: &actix_web::Error) -> Option<BodyRefusal> {
    match error.as_error()? {
        PayloadError::Io(error) if error.kind() == io::ErrorKind::TimedOut => {
            Some(BodyRefusal::TooSlow)
        }
        PayloadError::Io(error) if error.kind() == io::ErrorKind::OutOfMemory => {
            Some(BodyRefusal::Full)
        }
        _ => None,
    }
}
