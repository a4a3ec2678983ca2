//! Connections over loopback: what a peer sees, and what the two ends of a connection do.

use std::collections::HashMap;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use actix_codec::{Framed, FramedParts};
use actix_http::h1;
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

use super::*;
use crate::metrics::Vocabulary;

const HEAD: &[u8] = b"HEAD\r\n\r\n";
const KEY: LatestKey = LatestKey(7);

fn run<T>(test: impl Future<Output = T>) -> T {
    actix_rt::System::new().block_on(async {
        tokio::time::timeout(Duration::from_secs(20), test).await.expect("in time")
    })
}

fn options() -> TransportOptions {
    let words = Vocabulary {
        events_in: &[],
        events_out: &[],
        errors: &[],
        closes: &[],
        framings: &[],
        roles: &[],
    };
    TransportOptions::new(Arc::new(Metrics::new(&words)))
}

/// The peer's socket and the two ends of the hub's.
async fn pair(options: TransportOptions) -> (TcpStream, Inbound, Outbox) {
    pair_after(options, b"").await
}

/// The same, with what the peer sent behind its request.
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

/// Reads on to the close frame and the end of the stream behind it.
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

/// Whether nothing comes out of a connection now.
async fn is_quiet(inbound: &mut Inbound) -> bool {
    poll_fn(|cx| Poll::Ready(inbound.poll_next_unpin(cx).is_pending())).await
}

/// Pushes until the socket takes no more.
async fn stall(inbound: &mut Inbound, outbox: &Outbox) {
    while outbox.backlog().frames == 0 {
        outbox.push(big(10_000)).expect("room");
        // The flusher's turn, and then the connection's own.
        for _ in 0..4 {
            tokio::task::yield_now().await;
            assert!(is_quiet(inbound).await);
        }
    }
}

#[test]
fn the_head_and_the_pushes_of_a_turn_leave_in_one_write() {
    run(async {
        let (mut peer, _inbound, outbox) = pair(options()).await;
        read_head(&mut peer).await;
        let before = outbox.writes();
        for n in 0..50 {
            outbox.push(message(&n.to_string())).expect("open");
        }
        for n in 0..50 {
            assert_eq!(read_text(&mut peer).await, n.to_string());
        }
        assert_eq!(outbox.writes() - before, 1);
        assert_eq!(outbox.backlog(), Backlog::default());
    });
}

#[test]
fn what_came_behind_the_request_is_read_first() {
    run(async {
        let early = client(0x81, b"early");
        let (mut peer, mut inbound, _outbox) = pair_after(options(), &early[..8]).await;
        peer.write_all(&early[8..]).await.expect("sent");
        peer.write_all(&client(0x81, b"later")).await.expect("sent");
        assert_eq!(inbound.next().await, Some(Incoming::Text("early".into())));
        assert_eq!(inbound.next().await, Some(Incoming::Text("later".into())));
        drop(peer);
        assert_eq!(inbound.next().await, None);
        assert_eq!(inbound.held(), 0);
    });
}

#[test]
fn a_message_larger_than_a_read_is_no_end_and_leaves_no_memory_behind() {
    run(async {
        let options = TransportOptions { max_message_bytes: 1 << 20, ..options() };
        let (mut peer, mut inbound, _outbox) = pair(options).await;
        let data = vec![b'm'; 1 << 20];
        let frame = client(0x82, &data);
        let send = async move {
            peer.write_all(&frame).await.expect("sent");
            peer
        };
        let (_peer, incoming) = tokio::join!(send, inbound.next());
        assert_eq!(incoming, Some(Incoming::Binary(data.into())));
        assert!(is_quiet(&mut inbound).await);
        assert_eq!(inbound.held(), 0);
    });
}

#[test]
fn a_failure_is_told_once_and_closes_with_its_code() {
    run(async {
        let (mut peer, mut inbound, outbox) = pair(options()).await;
        peer.write_all(b"\x82\xFF\x40\0\0\0\0\0\0\0 and more").await.expect("sent");
        assert_eq!(inbound.next().await, Some(Incoming::Failed(CloseCode::TOO_BIG)));
        assert!(is_quiet(&mut inbound).await);
        outbox.finish(Some(message("last")), CloseCode::TOO_BIG);
        outbox.finish(None, CloseCode::INTERNAL);
        assert_eq!(outbox.push(message("late")), Err(Closed));
        let read = async {
            read_head(&mut peer).await;
            assert_eq!(read_text(&mut peer).await, "last");
            let close = read_close(&mut peer).await;
            drop(peer);
            close
        };
        let (close, end) = tokio::join!(read, inbound.next());
        assert_eq!((close, end), ((1009, "message_too_big".into()), None));
    });
}

#[test]
fn a_peers_close_is_mirrored() {
    run(async {
        for (payload, code) in [(&b"\x0F\xA0bye"[..], Some(4000)), (b"", None)] {
            let (mut peer, mut inbound, outbox) = pair(options()).await;
            peer.write_all(&client(0x88, payload)).await.expect("sent");
            assert_eq!(inbound.next().await, Some(Incoming::Close(code)));
            outbox.answer_close(code);
            let read = async {
                read_head(&mut peer).await;
                let answer = read_frame(&mut peer).await.expect("the answer");
                assert_eq!(peer.read(&mut [0; 8]).await.expect("no reset"), 0);
                drop(peer);
                answer
            };
            let (answer, end) = tokio::join!(read, inbound.next());
            assert_eq!(answer, (0x88, payload[..payload.len().min(2)].to_vec()));
            assert_eq!(end, None);
        }
    });
}

#[test]
fn a_reader_that_stops_overruns_and_reads_why_when_it_comes_back() {
    run(async {
        let (mut peer, mut inbound, outbox) = pair(options()).await;
        stall(&mut inbound, &outbox).await;
        let refused = (0..100).find(|_| outbox.push(big(10_000)).is_err());
        assert!(refused.is_some_and(|pushes| pushes > 20), "the limit is bytes that wait");
        assert!(outbox.is_closed());
        assert!(outbox.backlog().frames <= 1, "only a frame that is half written is kept");
        assert_eq!(inbound.next().await, Some(Incoming::Overrun(Overrun::Bytes)));
        outbox.finish(Some(message("bye")), CloseCode::SLOW_READER);
        let read = async {
            read_head(&mut peer).await;
            let close = read_close(&mut peer).await;
            drop(peer);
            close
        };
        let (close, end) = tokio::join!(read, inbound.next());
        assert_eq!((close, end), ((4008, "slow_reader".into()), None));
    });
}

#[test]
fn a_burst_within_one_turn_is_no_overrun() {
    run(async {
        let options = TransportOptions { outbox_messages: 4, outbox_bytes: 1000, ..options() };
        let (mut peer, _inbound, outbox) = pair(options).await;
        read_head(&mut peer).await;
        for n in 0..100 {
            outbox.push(message(&format!("{n:0100}"))).expect("the socket takes it");
        }
        for n in 0..100 {
            assert_eq!(read_text(&mut peer).await, format!("{n:0100}"));
        }
    });
}

#[test]
fn too_many_frames_overrun_too() {
    run(async {
        let (_peer, mut inbound, outbox) = pair(options()).await;
        stall(&mut inbound, &outbox).await;
        while outbox.push(message("small")).is_ok() {}
        assert_eq!(inbound.next().await, Some(Incoming::Overrun(Overrun::Messages)));
    });
}

#[test]
fn a_waiting_latest_frame_is_replaced_and_leaves_with_its_room() {
    run(async {
        let options = options();
        let metrics = Arc::clone(&options.metrics);
        let (mut peer, mut inbound, outbox) = pair(options).await;
        stall(&mut inbound, &outbox).await;
        let before = outbox.backlog().frames;
        for n in 0..1000 {
            outbox.push_latest(KEY, message(&format!("at {n}"))).expect("open");
            outbox.push_latest(LatestKey(8), message("elsewhere")).expect("open");
        }
        outbox.push(message("chat")).expect("open");
        outbox.forget(LatestKey(8));
        assert_eq!(outbox.backlog().frames, before + 2);
        assert_eq!(metrics.conflated.get(), 2 * 999);
        let read = async {
            read_head(&mut peer).await;
            while read_frame(&mut peer).await.expect("a frame") != (0x81, b"at 999".to_vec()) {}
            assert_eq!(read_text(&mut peer).await, "chat");
        };
        tokio::select! {
            () = read => {}
            incoming = inbound.next() => panic!("{incoming:?}"),
        }
    });
}

#[test]
fn latest_frames_make_room_before_anything_else_goes() {
    run(async {
        let (_peer, mut inbound, outbox) = pair(options()).await;
        stall(&mut inbound, &outbox).await;
        for key in 0..100 {
            outbox.push_latest(LatestKey(key), big(10_000)).expect("never an overrun");
            assert!(outbox.backlog().bytes <= 256 * 1024);
        }
        for _ in 0..20 {
            outbox.push(big(10_000)).expect("latest frames give way");
        }
        assert!(is_quiet(&mut inbound).await);
    });
}

#[test]
fn a_trickling_reader_does_not_reset_the_time_a_frame_waits() {
    run(async {
        let send_timeout = Duration::from_millis(200);
        let (mut peer, mut inbound, outbox) =
            pair(TransportOptions { send_timeout, ..options() }).await;
        read_head(&mut peer).await;
        stall(&mut inbound, &outbox).await;
        let started = Instant::now();
        let trickle = async {
            let mut pace = tokio::time::interval(Duration::from_millis(5));
            loop {
                pace.tick().await;
                peer.read_exact(&mut [0; 16]).await.expect("a trickle");
            }
        };
        tokio::select! {
            () = trickle => {}
            incoming = inbound.next() => {
                assert_eq!(incoming, Some(Incoming::Overrun(Overrun::Stalled)));
            }
        }
        assert!(started.elapsed() < Duration::from_secs(5));
    });
}

#[test]
fn the_largest_outbox_pays_when_the_node_holds_too_much() {
    run(async {
        let shared = TransportOptions { budget: Arc::new(Budget::new(150_000)), ..options() };
        let (metrics, budget) = (Arc::clone(&shared.metrics), Arc::clone(&shared.budget));
        let (_small_peer, mut small_in, small) = pair(shared.clone()).await;
        let (_large_peer, mut large_in, large) = pair(shared).await;
        stall(&mut small_in, &small).await;
        stall(&mut large_in, &large).await;
        (0..8).for_each(|_| large.push(big(10_000)).expect("within"));
        assert_eq!(usize::try_from(metrics.outbox_bytes.get()), Ok(budget.waiting()));
        let refused = (0..20).any(|_| {
            let _ = small.push(big(4_000));
            large.is_closed()
        });
        assert!(refused && !small.is_closed());
        assert_eq!(large_in.next().await, Some(Incoming::Overrun(Overrun::Node)));
        drop((small_in, small, large_in, large));
        assert_eq!((metrics.outbox_bytes.get(), budget.waiting()), (0, 0));
    });
}

#[test]
fn a_close_frame_survives_what_the_peer_had_sent_unread() {
    run(async {
        let (mut peer, mut inbound, outbox) = pair(options()).await;
        read_head(&mut peer).await;
        let chatter = client(0x81, &vec![b'c'; 50_000]).repeat(20);
        let (mut reading, mut writing) = peer.split();
        let write = async {
            writing.write_all(&chatter).await.expect("swallowed");
            writing.shutdown().await.expect("ended");
        };
        let read = async {
            let mut all = Vec::new();
            reading.read_to_end(&mut all).await.expect("no reset");
            all
        };
        outbox.finish(None, CloseCode::RESTART);
        let ((), all, end) = tokio::join!(write, read, inbound.next());
        assert_eq!(&all[..4], b"\x88\x09\x03\xF4");
        assert_eq!(end, None);
    });
}

#[test]
fn a_session_that_stops_after_finish_still_says_goodbye() {
    run(async {
        let (mut peer, inbound, outbox) = pair(options()).await;
        peer.write_all(&client(0x81, b"unread")).await.expect("sent");
        outbox.finish(None, CloseCode::NORMAL);
        drop((inbound, outbox));
        read_head(&mut peer).await;
        assert_eq!(read_close(&mut peer).await, (1000, "normal".into()));
    });
}

#[test]
fn a_session_that_dies_cuts_its_connection() {
    run(async {
        let (mut peer, inbound, outbox) = pair(options()).await;
        read_head(&mut peer).await;
        drop(inbound);
        assert!(outbox.is_closed());
        assert_eq!(peer.read(&mut [0; 8]).await.expect("an end"), 0);
        outbox.finish(None, CloseCode::NORMAL);
    });
}

#[test]
fn an_abort_ends_the_stream_though_nobody_reads_the_socket() {
    run(async {
        let (mut peer, mut inbound, outbox) = pair(options()).await;
        read_head(&mut peer).await;
        inbound.gate().pause();
        assert!(is_quiet(&mut inbound).await);
        let aborted = outbox.clone();
        std::thread::spawn(move || aborted.abort());
        assert_eq!(inbound.next().await, None);
        assert_eq!(peer.read(&mut [0; 8]).await.expect("an end"), 0);
    });
}

#[test]
fn a_close_that_nobody_answers_ends_with_the_linger_time() {
    run(async {
        let linger = Duration::from_millis(100);
        let (mut peer, mut inbound, outbox) = pair(TransportOptions { linger, ..options() }).await;
        read_head(&mut peer).await;
        stall(&mut inbound, &outbox).await;
        outbox.finish(None, CloseCode::NORMAL);
        let started = Instant::now();
        assert_eq!(inbound.next().await, None);
        assert!((100..5000).contains(&started.elapsed().as_millis()));
        assert_eq!(outbox.backlog(), Backlog::default());
    });
}

#[test]
fn a_gate_holds_messages_back_and_lets_them_go_on() {
    run(async {
        let (mut peer, mut inbound, _outbox) = pair(options()).await;
        let gate = inbound.gate();
        peer.write_all(&[client(0x81, b"one"), client(0x81, b"two")].concat()).await.expect("sent");
        assert_eq!(inbound.next().await, Some(Incoming::Text("one".into())));
        gate.pause();
        peer.write_all(&client(0x81, b"three")).await.expect("sent");
        for _ in 0..50 {
            assert!(is_quiet(&mut inbound).await);
            tokio::task::yield_now().await;
        }
        actix_rt::spawn(async move { gate.resume() });
        assert_eq!(inbound.next().await, Some(Incoming::Text("two".into())));
        assert_eq!(inbound.next().await, Some(Incoming::Text("three".into())));
    });
}

#[test]
fn pings_are_answered_by_the_newest_pong() {
    run(async {
        let (mut peer, mut inbound, outbox) = pair(options()).await;
        read_head(&mut peer).await;
        peer.write_all(&[client(0x89, b"1"), client(0x89, b"2"), client(0x8A, b"")].concat())
            .await
            .expect("sent");
        for _ in 0..2 {
            match inbound.next().await {
                Some(Incoming::Ping(payload)) => outbox.pong(payload),
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(inbound.next().await, Some(Incoming::Pong));
        outbox.ping();
        assert_eq!(read_frame(&mut peer).await.expect("pong"), (0x8A, b"2".to_vec()));
        assert_eq!(read_frame(&mut peer).await.expect("ping"), (0x89, Vec::new()));
    });
}

#[test]
fn a_peer_that_never_stops_talking_lets_others_run() {
    run(async {
        let many = client(0x81, b"x").repeat(1000);
        let (_peer, inbound, _outbox) = pair_after(options(), &many).await;
        let mut inbound = pin!(inbound);
        let (mut seen, mut turns) = (0, 0);
        while seen < 1000 {
            let in_turn = poll_fn(|cx| {
                let mut in_turn = 0;
                while let Poll::Ready(Some(_)) = inbound.as_mut().poll_next_unpin(cx) {
                    in_turn += 1;
                }
                Poll::Ready(in_turn)
            })
            .await;
            assert!(in_turn <= 32);
            seen += in_turn;
            turns += 1;
        }
        assert!(turns >= 1000 / 32);
    });
}

#[test]
fn frames_of_several_threads_all_arrive_in_their_order() {
    run(async {
        let options =
            TransportOptions { outbox_messages: 100_000, outbox_bytes: 1 << 30, ..options() };
        let (mut peer, mut inbound, outbox) = pair(options).await;
        let arbiters: Vec<_> = (0..3).map(|_| actix_rt::Arbiter::new()).collect();
        let push = |thread: usize, outbox: Outbox| {
            (0..500).for_each(|n| outbox.push(message(&format!("{thread} {n}"))).expect("open"));
        };
        for (thread, arbiter) in arbiters.iter().enumerate() {
            let outbox = outbox.clone();
            arbiter.spawn_fn(move || push(thread, outbox));
        }
        // A thread without an arbiter.
        let bare = outbox.clone();
        std::thread::spawn(move || push(3, bare));
        let read = async {
            read_head(&mut peer).await;
            let mut next = HashMap::<String, usize>::new();
            for _ in 0..4 * 500 {
                let text = read_text(&mut peer).await;
                let (thread, n) = text.split_once(' ').expect("two words");
                let next = next.entry(thread.to_owned()).or_default();
                assert_eq!(n.parse(), Ok(*next));
                *next += 1;
            }
        };
        tokio::select! {
            () = read => {}
            incoming = inbound.next() => panic!("{incoming:?}"),
        }
        assert!(arbiters.iter().all(actix_rt::Arbiter::stop));
    });
}
