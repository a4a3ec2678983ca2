//! Many sockets in one turn: each peer gets the same bytes, whether one system call writes all
//! sockets or each has its own.

use super::*;

/// More than two calls of the ring, the last one not full.
const SOCKETS: usize = super::super::ring::MAX_SENDS * 2 + 3;

fn both_ways(test: impl AsyncFn(TransportOptions)) {
    for io_uring in [true, false] {
        run(test(TransportOptions { io_uring, ..options() }));
    }
}

#[test]
fn all_sockets_of_a_turn_get_their_frames_in_one_write_each() {
    both_ways(async |options| {
        let mut sockets = Vec::new();
        for _ in 0..SOCKETS {
            let (mut peer, inbound, outbox) = pair(options.clone()).await;
            read_head(&mut peer).await;
            sockets.push((peer, inbound, outbox));
        }
        for turn in 0..3 {
            let writes: Vec<_> = sockets.iter().map(|(.., outbox)| outbox.writes()).collect();
            for (n, (.., outbox)) in sockets.iter().enumerate() {
                // Some have more than one frame.
                for part in 0..=n % 3 / 2 {
                    outbox.push(message(&format!("{turn} {n} {part}"))).expect("open");
                }
            }
            for (n, (peer, ..)) in sockets.iter_mut().enumerate() {
                for part in 0..=n % 3 / 2 {
                    assert_eq!(read_text(peer).await, format!("{turn} {n} {part}"));
                }
            }
            for ((.., outbox), before) in sockets.iter().zip(writes) {
                assert_eq!((outbox.writes() - before, outbox.backlog()), (1, Backlog::default()));
            }
        }
        let uring_writes = if options.io_uring && check_io_uring().is_ok() { 3 } else { 0 };
        assert!(sockets.iter().all(|(.., outbox)| outbox.uring_writes() == uring_writes));
    });
}

#[test]
fn more_frames_than_one_write_takes_arrive_in_their_order() {
    both_ways(async |options| {
        let (mut peer, _inbound, outbox) = pair(options.clone()).await;
        let (mut other_peer, _other_inbound, other) = pair(options).await;
        read_head(&mut peer).await;
        read_head(&mut other_peer).await;
        for n in 0..200 {
            outbox.push(message(&n.to_string())).expect("open");
            other.push(message(&format!("other {n}"))).expect("open");
        }
        for n in 0..200 {
            assert_eq!(read_text(&mut peer).await, n.to_string());
            assert_eq!(read_text(&mut other_peer).await, format!("other {n}"));
        }
    });
}

#[test]
fn sockets_that_are_full_or_gone_do_not_delay_others() {
    both_ways(async |options| {
        let options = TransportOptions { outbox_bytes: 1 << 20, ..options };
        let (mut slow_peer, mut slow_in, slow) = pair(options.clone()).await;
        let (lost_peer, mut lost_in, lost) = pair(options.clone()).await;
        let (mut large_peer, mut large_in, large) = pair(options.clone()).await;
        let (mut fine_peer, _fine_in, fine) = pair(options).await;
        for peer in [&mut large_peer, &mut fine_peer] {
            read_head(peer).await;
        }
        stall(&mut slow_in, &slow).await;
        lost_peer.set_zero_linger().expect("a reset instead of an end");
        drop(lost_peer);
        // One frame that is more than a socket takes at once.
        let long = "x".repeat(800_000);
        for (outbox, text) in [(&slow, "late"), (&lost, "lost"), (&large, &*long), (&fine, "fine")]
        {
            outbox.push(message(text)).expect("queued");
        }
        assert_eq!(read_text(&mut fine_peer).await, "fine");
        assert_eq!(lost_in.next().await, None);
        let heard = async {
            assert!(read_text(&mut large_peer).await == long, "whole");
            read_head(&mut slow_peer).await;
            while read_frame(&mut slow_peer).await.expect("a frame") != (0x81, b"late".to_vec()) {}
        };
        tokio::select! {
            () = heard => {}
            incoming = large_in.next() => panic!("{incoming:?}"),
            incoming = slow_in.next() => panic!("{incoming:?}"),
        }
    });
}

#[test]
fn a_socket_that_fills_up_in_a_shared_write_goes_on_when_its_peer_reads() {
    both_ways(async |options| {
        let io_uring = options.io_uring;
        let (mut slow_peer, mut slow_in, slow) = pair(options.clone()).await;
        let (mut fine_peer, _fine_in, fine) = pair(options).await;
        read_head(&mut fine_peer).await;
        let long = |n: usize| format!("{n:03000}");
        let mut pushed = 0;
        while !slow.is_blocked() {
            slow.push(message(&long(pushed))).expect("open");
            fine.push(message("fine")).expect("open");
            assert_eq!(read_text(&mut fine_peer).await, "fine");
            pushed += 1;
        }
        let heard = async {
            read_head(&mut slow_peer).await;
            for n in 0..pushed {
                assert_eq!(read_text(&mut slow_peer).await, long(n));
            }
        };
        tokio::select! {
            () = heard => {}
            incoming = slow_in.next() => panic!("{incoming:?}"),
        }
        assert_eq!(slow.backlog(), Backlog::default());
        assert_eq!(slow.uring_writes() > 0, io_uring && check_io_uring().is_ok());
    });
}

#[test]
fn a_panic_in_a_shared_write_cuts_its_connections_and_no_others() {
    run(async {
        if check_io_uring().is_err() {
            return;
        }
        let (mut peer, mut inbound, outbox) = pair(options()).await;
        let (mut next_peer, mut next_in, next) = pair(options()).await;
        let (mut later_peer, _later_in, later) = pair(options()).await;
        for peer in [&mut peer, &mut next_peer, &mut later_peer] {
            read_head(peer).await;
        }
        outbox.sabotage_uring();
        outbox.push(message("boom")).expect("queued");
        next.push(message("beside")).expect("queued");
        assert_eq!((inbound.next().await, next_in.next().await), (None, None));
        assert_eq!(outbox.push(message("late")), Err(Closed));
        for outbox in [&later, &later] {
            outbox.push(message("fine")).expect("open");
            assert_eq!(read_text(&mut later_peer).await, "fine");
        }
    });
}

#[test]
fn a_last_word_and_the_end_leave_together_with_what_others_get() {
    both_ways(async |options| {
        // The end comes by itself, not by the close timeout.
        let options = TransportOptions { close_timeout: Duration::from_secs(60), ..options };
        let (mut peer, mut inbound, outbox) = pair(options.clone()).await;
        let (mut other_peer, _other_in, other) = pair(options).await;
        read_head(&mut peer).await;
        read_head(&mut other_peer).await;
        outbox.finish(None, CloseCode::NORMAL);
        other.push(message("fine")).expect("open");
        assert_eq!(read_text(&mut other_peer).await, "fine");
        let read = async {
            let close = read_close(&mut peer).await;
            drop(peer);
            close
        };
        let (close, end) = tokio::join!(read, inbound.next());
        assert_eq!((close, end), ((1000, "normal".into()), None));
    });
}

#[test]
fn threads_that_write_the_same_sockets_in_other_orders_do_not_lock_each_other_out() {
    const TURNS: usize = 300;
    both_ways(async |options| {
        let options = TransportOptions { outbox_messages: 3 * TURNS, ..options };
        let mut peers = Vec::new();
        let mut outboxes = Vec::new();
        let mut inbounds = Vec::new();
        for _ in 0..40 {
            let (mut peer, inbound, outbox) = pair(options.clone()).await;
            read_head(&mut peer).await;
            peers.push(peer);
            inbounds.push(inbound);
            outboxes.push(outbox);
        }
        let arbiters: Vec<_> = (0..3).map(|_| actix_rt::Arbiter::new()).collect();
        for (thread, arbiter) in arbiters.iter().enumerate() {
            let mut outboxes = outboxes.clone();
            outboxes.rotate_left(thread * 13);
            if thread == 1 {
                outboxes.reverse();
            }
            arbiter.spawn(async move {
                for turn in 0..TURNS {
                    for outbox in &outboxes {
                        outbox.push(message(&format!("{thread} {turn}"))).expect("open");
                    }
                    tokio::task::yield_now().await;
                }
            });
        }
        // The task of a blocked socket continues by itself.
        let attend =
            async { futures_util::future::join_all(inbounds.iter_mut().map(Inbound::next)).await };
        let read = futures_util::future::join_all(peers.iter_mut().map(async |peer| {
            let mut next = [0; 3];
            for _ in 0..3 * TURNS {
                let text = read_text(peer).await;
                let (thread, turn) = text.split_once(' ').expect("two words");
                let next = &mut next[thread.parse::<usize>().expect("a thread")];
                assert_eq!(turn.parse(), Ok(*next));
                *next += 1;
            }
        }));
        tokio::select! {
            _ = read => {}
            ended = attend => panic!("{ended:?}"),
        }
        assert!(arbiters.iter().all(actix_rt::Arbiter::stop));
    });
}
