//! The reading half of a socket. All connections of a thread share one read buffer, so an idle
//! connection owns none.

use std::cell::RefCell;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, ReadBuf};
use tokio::net::tcp::OwnedReadHalf;

/// The most bytes of one read.
const BUFFER: usize = 64 * 1024;

thread_local! {
    static SHARED: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Reads once and passes the bytes to `take`, which must copy what it keeps. `None` when the peer
/// has ended or the connection is broken.
///
/// After a read that did not fill the buffer tokio waits for the next readiness by itself, so a
/// second call costs no system call that would only return that nothing is left.
pub(super) fn poll_read<T>(
    reader: &mut OwnedReadHalf,
    cx: &mut Context<'_>,
    take: impl FnOnce(&[u8]) -> T,
) -> Poll<Option<T>> {
    SHARED.with_borrow_mut(|shared| {
        // Once per thread.
        shared.resize(BUFFER, 0);
        let mut buffer = ReadBuf::new(shared);
        let result = ready!(Pin::new(reader).poll_read(cx, &mut buffer));
        let data = buffer.filled();
        Poll::Ready((result.is_ok() && !data.is_empty()).then(|| take(data)))
    })
}
