//! What a peer gets, in what order, and what happens when it does not read.

use super::*;

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
fn more_frames_than_an_outbox_is_meant_to_hold_are_no_overrun_for_a_moment() {
    run(async {
        let (mut peer, mut inbound, outbox) = pair(options()).await;
        stall(&mut inbound, &outbox).await;
        for n in 0..1000 {
            outbox.push(message(&n.to_string())).expect("more than 512 for a moment");
        }
        let read = async {
            read_head(&mut peer).await;
            let mut next = 0;
            while next < 1000 {
                let (first, payload) = read_frame(&mut peer).await.expect("a frame");
                if first == 0x81 {
                    assert_eq!(payload, next.to_string().into_bytes());
                    next += 1;
                }
            }
        };
        tokio::select! {
            () = read => {}
            incoming = inbound.next() => panic!("{incoming:?}"),
        }
    });
}

#[test]
fn an_outbox_with_too_many_frames_for_the_send_timeout_is_overrun() {
    run(async {
        let limits = TransportOptions { outbox_messages: 4, ..options() };
        let limits = TransportOptions { send_timeout: Duration::from_millis(300), ..limits };
        let (peer, mut inbound, outbox) = pair(limits).await;
        stall(&mut inbound, &outbox).await;
        (0..6).for_each(|_| outbox.push(message("small")).expect("for a moment"));
        assert_eq!(inbound.next().await, Some(Incoming::Overrun(Overrun::Messages)));
        drop(peer);
    });
}

#[test]
fn little_stands_before_a_ping_to_a_peer_that_takes_its_time() {
    run(async {
        let (mut peer, mut inbound, outbox) = pair(options()).await;
        stall(&mut inbound, &outbox).await;
        (0..20).for_each(|_| outbox.push(big(10_000)).expect("within"));
        let mark = outbox.ping().expect("none waits");
        assert!(mark.overtakes());
        let read = async {
            read_head(&mut peer).await;
            let mut before = 0;
            loop {
                match read_frame(&mut peer).await.expect("a frame") {
                    (0x89, _) => return before,
                    (_, payload) => before += payload.len(),
                }
            }
        };
        let before = tokio::select! {
            before = read => before,
            incoming = inbound.next() => panic!("{incoming:?}"),
        };
        // The buffers of the peer's system and the hub's hold the rest: 200 KB more wait.
        assert!(before < 100_000, "{before}");
        assert!(!outbox.ping().expect("none waits").overtakes() || outbox.is_blocked());
    });
}

#[test]
fn a_peer_that_is_on_its_way_to_a_ping_is_alive() {
    run(async {
        let (mut peer, mut inbound, outbox) = pair(options()).await;
        let mut idle = outbox.ping().expect("none waits");
        read_head(&mut peer).await;
        assert_eq!(read_frame(&mut peer).await.expect("a ping").0, 0x89);
        assert!(!outbox.is_still_receiving(&mut idle), "it has the ping and does not answer");
        stall(&mut inbound, &outbox).await;
        (0..4).for_each(|_| outbox.push(big(10_000)).expect("within"));
        let mut mark = outbox.ping().expect("none waits");
        while outbox.is_still_receiving(&mut mark) {
            tokio::task::yield_now().await;
        }
        assert!(!outbox.is_still_receiving(&mut mark), "it takes nothing");
        let mut taken = 0;
        while !outbox.is_still_receiving(&mut mark) {
            let mut some = [0; 4096];
            taken += peer.read(&mut some).await.expect("bytes");
            assert!(is_quiet(&mut inbound).await && taken < 200_000);
        }
    });
}

#[test]
fn a_waiting_latest_frame_is_replaced_and_leaves_with_its_room() {
    run(async {
        let options = options();
        let metrics = options.metrics.clone();
        let (mut peer, mut inbound, outbox) = pair(options).await;
        stall(&mut inbound, &outbox).await;
        let before = outbox.backlog().frames;
        for n in 0..1000 {
            outbox.push_latest(KEY, message(&format!("at {n}"))).expect("open");
            outbox.push_latest(LatestKey(8), message("elsewhere")).expect("open");
        }
        outbox.push(message("chat")).expect("open");
        outbox.discard_latest(LatestKey(8));
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
                peer.read_exact(&mut [0; 1]).await.expect("a trickle");
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
        let shared = TransportOptions { budget: Arc::new(OutboxBudget::new(150_000)), ..options() };
        let (metrics, budget) = (shared.metrics.clone(), Arc::clone(&shared.budget));
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

#[test]
fn frames_that_a_thread_pushed_before_it_ended_are_sent() {
    run(async {
        let (mut peer, _inbound, outbox) = pair(options()).await;
        read_head(&mut peer).await;
        let last = outbox.clone();
        let arbiter = actix_rt::Arbiter::new();
        arbiter.spawn_fn(move || {
            assert!(actix_rt::Arbiter::current().stop());
            last.push(message("last")).expect("open");
        });
        assert_eq!(read_text(&mut peer).await, "last");
        arbiter.join().expect("the thread ended");
        outbox.push(message("others go on")).expect("open");
        assert_eq!(read_text(&mut peer).await, "others go on");
    });
}
