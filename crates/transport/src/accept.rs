//! Takes over the raw socket of a granted upgrade.

use std::io;
use std::sync::Arc;
#[cfg(target_os = "linux")]
use std::time::Duration;

use actix_codec::Framed;
use actix_http::h1;
use bytes::Bytes;
use socket2::SockRef;
use tokio::net::TcpStream;

use super::TransportOptions;
use super::flusher::schedule;
use super::frame::Frame;
use super::frame_writer::Sink;
use super::inbound::Inbound;
use super::outbox::Outbox;
use super::queue::Queue;
use super::send_state::SendState;

/// The kernel's send buffer, in bytes (the kernel doubles this for its own bookkeeping).
///
/// By default the kernel buffers megabytes for one stalled phone before it blocks, and no limit of
/// the hub sees them. 128 KiB still carry 5 Mbit/s over a round trip of 200 ms.
const SEND_BUFFER: usize = 128 * 1024;

/// Unsent bytes that the kernel may hold. The hub can neither replace these bytes nor send a ping
/// before them: at 1.5 KiB a second, they and one more write take ten seconds. Bytes in flight do
/// not count, so a fast connection is not slowed down.
#[cfg(target_os = "linux")]
const NOTSENT_LOWAT: u32 = 8 * 1024;

/// How much longer than the outbox the kernel waits for a peer that takes nothing. The outbox times
/// out first, so the connection knows why it ends.
#[cfg(target_os = "linux")]
const USER_TIMEOUT_MARGIN: Duration = Duration::from_millis(500);

/// Makes a connection from a socket whose upgrade was granted.
///
/// `response_head` is the whole 101 response. It is the first entry of the outbox, so it is sent
/// together with what is pushed in the same turn. [`Inbound`] first reads what the client sent after
/// its request.
///
/// # Errors
/// The system's error when an option cannot be set: the peer is gone already.
pub fn accept(
    framed: Framed<TcpStream, h1::Codec>,
    response_head: Bytes,
    options: &Arc<TransportOptions>,
) -> io::Result<(Inbound, Outbox)> {
    let parts = framed.into_parts();
    let socket = SockRef::from(&parts.io);
    socket.set_tcp_nodelay(true)?;
    socket.set_send_buffer_size(SEND_BUFFER)?;
    #[cfg(target_os = "linux")]
    socket.set_tcp_user_timeout(Some(options.send_timeout + USER_TIMEOUT_MARGIN))?;
    #[cfg(target_os = "linux")]
    if let Err(error) = socket.set_tcp_notsent_lowat(NOTSENT_LOWAT) {
        log::debug!("the system may keep more unsent bytes than it should: {error}");
    }

    let mut queue = Queue::default();
    // Unsent answers to requests that the client sent before the upgrade.
    if !parts.write_buf.is_empty() {
        queue.push(Frame::raw(parts.write_buf.freeze()), None);
    }
    queue.push(Frame::raw(response_head), None);

    let (reader, writer) = parts.io.into_split();
    let send_state =
        Arc::new(SendState::new(Sink::Socket(writer.into()), queue, Arc::clone(options)));
    schedule(&send_state);
    Ok((Inbound::new(reader, parts.read_buf, Arc::clone(&send_state)), Outbox::new(send_state)))
}
