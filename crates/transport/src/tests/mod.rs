//! Connections over loopback: a peer's socket on one side, the two ends of the hub's on the other.

use std::collections::HashMap;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;
use std::time::{Duration, Instant};

use actix_codec::{Framed, FramedParts};
use actix_http::h1;
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

use super::*;

mod closing;
mod io_uring;
mod polling;
mod receiving;
mod sending;
mod upgrading;

const HEAD: &[u8] = b"HEAD\r\n\r\n";
const KEY: LatestKey = LatestKey(7);

fn run<T>(test: impl Future<Output = T>) -> T {
    actix_rt::System::new().block_on(async {
        tokio::time::timeout(Duration::from_secs(20), test).await.expect("in time")
    })
}

fn options() -> TransportOptions {
    TransportOptions::default()
}

/// The peer's socket and the two ends of the hub's.
async fn pair(options: TransportOptions) -> (TcpStream, Inbound, Outbox) {
    pair_after(options, b"").await
}

/// Like `pair`, with bytes that the peer sent after its request.
async fn pair_after(options: TransportOptions, first: &[u8]) -> (TcpStream, Inbound, Outbox) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
    let socket = TcpSocket::new_v4().expect("socket");
    socket.set_recv_buffer_size(16 * 1024).expect("buffer");
    let peer = socket.connect(listener.local_addr().expect("address")).await.expect("connect");
    let (accepted, _) = listener.accept().await.expect("accept");
    let parts = FramedParts::with_read_buf(accepted, h1::Codec::default(), BytesMut::from(first));
    let (inbound, outbox) =
        accept(Framed::from_parts(parts), Bytes::from_static(HEAD), &Arc::new(options))
            .expect("accepted");
    (peer, inbound, outbox)
}

fn message(text: &str) -> Frame {
    Frame::text(|out| out.extend_from_slice(text.as_bytes()))
}

fn big(bytes: usize) -> Frame {
    Frame::binary(|out| out.resize(out.len() + bytes, b'x'))
}

/// A client's frame, masked with zeros.
fn client(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![first];
    if payload.len() < 126 {
        frame.push(0x80 | u8::try_from(payload.len()).expect("short"));
    } else {
        frame.push(0xFF);
        frame.extend_from_slice(&(payload.len() as u64).to_be_bytes());
    }
    frame.extend_from_slice(&[0; 4]);
    frame.extend_from_slice(payload);
    frame
}

async fn read_head(peer: &mut TcpStream) {
    let mut head = [0; HEAD.len()];
    peer.read_exact(&mut head).await.expect("the head");
    assert_eq!(head, HEAD);
}

/// The next frame that the hub sent: its first byte and its payload.
async fn read_frame(peer: &mut TcpStream) -> io::Result<(u8, Vec<u8>)> {
    let mut head = [0; 2];
    peer.read_exact(&mut head).await?;
    let length = match head[1] {
        126 => u64::from(peer.read_u16().await?),
        127 => peer.read_u64().await?,
        short => u64::from(short),
    };
    let mut payload = vec![0; usize::try_from(length).expect("length")];
    peer.read_exact(&mut payload).await?;
    Ok((head[0], payload))
}

async fn read_text(peer: &mut TcpStream) -> String {
    let (first, payload) = read_frame(peer).await.expect("a frame");
    assert_eq!(first, 0x81);
    String::from_utf8(payload).expect("text")
}

/// Reads until the close frame and the end of the stream after it.
async fn read_close(peer: &mut TcpStream) -> (u16, String) {
    loop {
        let (first, payload) = read_frame(peer).await.expect("a frame, no reset");
        if first == 0x88 {
            let mut rest = Vec::new();
            peer.read_to_end(&mut rest).await.expect("an end, no reset");
            assert_eq!(rest, b"");
            let code = u16::from_be_bytes([payload[0], payload[1]]);
            return (code, String::from_utf8(payload[2..].to_vec()).expect("text"));
        }
    }
}

/// Whether the connection yields nothing now.
async fn is_quiet(inbound: &mut Inbound) -> bool {
    poll_fn(|cx| Poll::Ready(inbound.poll_next_unpin(cx).is_pending())).await
}

/// Pushes until the socket takes no more.
async fn stall(inbound: &mut Inbound, outbox: &Outbox) {
    loop {
        outbox.push(big(10_000)).expect("room");
        // The flusher's turn, and then the connection's own.
        for _ in 0..4 {
            tokio::task::yield_now().await;
            assert!(is_quiet(inbound).await);
        }
        // A moment later the system may take some more.
        if outbox.backlog().frames >= 3 {
            return;
        }
    }
}
