//! How connections end: what both sides get, and that they do end.

use super::*;

#[test]
fn a_failure_is_reported_once_and_closes_with_its_code() {
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
fn a_hang_up_ends_tcp_behind_what_waits_and_has_no_close_frame() {
    run(async {
        for last in [&["one", "last"][..], &[]] {
            let (mut peer, mut inbound, outbox) = pair(options()).await;
            read_head(&mut peer).await;
            peer.write_all(&client(0x81, b"unread")).await.expect("sent");
            outbox.hang_up(last.iter().map(|text| message(text)), CloseCode::RESTART);
            outbox.finish(None, CloseCode::INTERNAL);
            assert_eq!(outbox.push(message("late")), Err(Closed));
            let read = async {
                for text in last {
                    assert_eq!(read_text(&mut peer).await, *text);
                }
                assert_eq!(peer.read(&mut [0; 8]).await.expect("no reset"), 0);
                drop(peer);
            };
            // The peer has ended, so this does not take the close timeout.
            let ((), end) = tokio::join!(read, inbound.next());
            assert_eq!(end, None);
        }
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
fn a_session_that_stops_after_finish_still_sends_its_close() {
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
fn an_abort_ends_the_stream_of_an_unread_socket() {
    run(async {
        let (mut peer, mut inbound, outbox) = pair(options()).await;
        read_head(&mut peer).await;
        let _hold = inbound.read_pause().pause();
        assert!(is_quiet(&mut inbound).await);
        let aborted = outbox.clone();
        std::thread::spawn(move || aborted.abort());
        assert_eq!(inbound.next().await, None);
        assert_eq!(peer.read(&mut [0; 8]).await.expect("an end"), 0);
    });
}

#[test]
fn an_unanswered_close_ends_with_the_linger_time() {
    run(async {
        let close_timeout = Duration::from_millis(100);
        let (mut peer, mut inbound, outbox) =
            pair(TransportOptions { close_timeout, ..options() }).await;
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
fn a_panic_while_writing_ends_one_connection() {
    run(async {
        let (mut peer, mut inbound, outbox) = pair(options()).await;
        let (mut other_peer, _other_inbound, other) = pair(options()).await;
        read_head(&mut peer).await;
        read_head(&mut other_peer).await;
        outbox.sabotage();
        outbox.push(message("boom")).expect("queued");
        other.push(message("fine")).expect("queued");
        assert_eq!(read_text(&mut other_peer).await, "fine");
        assert_eq!(inbound.next().await, None);
        assert_eq!(peer.read(&mut [0; 8]).await.expect("an end"), 0);
    });
}

#[test]
fn a_vanished_peer_ends_the_stream_after_its_last_messages() {
    run(async {
        let (mut peer, mut inbound, outbox) = pair(options()).await;
        read_head(&mut peer).await;
        peer.write_all(&client(0x81, b"last words")).await.expect("sent");
        peer.set_zero_linger().expect("a reset instead of an end");
        drop(peer);
        // Pushes until a write fails. The failure must not drop what was received before.
        while outbox.push(message("hello?")).is_ok() {
            tokio::task::yield_now().await;
        }
        assert_eq!(inbound.next().await, Some(Incoming::Text("last words".into())));
        assert_eq!(inbound.next().await, None);
    });
}
