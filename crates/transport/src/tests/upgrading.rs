//! A WebSocket replaces GETs and POSTs.

use super::polling::{polling_pair, post};
use super::*;

#[test]
fn waiting_frames_follow_on_the_websocket_and_posted_input_comes_first() {
    run(async {
        let (mut inbound, outbox, polling, ended) = polling_pair(options());
        let hold = inbound.read_pause().pause();
        let delivery = post(&polling, "4posted\u{1e}4too").await;
        outbox.push(message("4one")).expect("open");
        outbox.push(big(3)).expect("open");
        let (mut peer, probe_in, probe_out) = pair(options()).await;
        let probe = polling.probe().expect("the first");
        assert_eq!(polling.probe().err(), Some(PollError::Overlap));
        peer.write_all(&client(0x81, b"4sent")).await.expect("sent");
        probe_out.push(message("3probe")).expect("open");
        probe.take_over(probe_in).expect("moved");
        assert!(probe_out.is_closed());
        for error in [polling.poll().err(), polling.post().err(), polling.probe().err()] {
            assert_eq!(error, Some(PollError::Moved));
        }
        // The sending side moves even if nothing is read.
        let read = async {
            read_head(&mut peer).await;
            assert_eq!(read_text(&mut peer).await, "3probe");
            assert_eq!(read_text(&mut peer).await, "4one");
            assert_eq!(read_frame(&mut peer).await.expect("binary").1, b"xxx");
        };
        tokio::select! {
            () = read => {}
            incoming = inbound.next() => panic!("{incoming:?}"),
        }
        drop(hold);
        for text in ["4posted", "4too", "4sent"] {
            assert_eq!(inbound.next().await, Some(Incoming::Text(text.into())));
        }
        assert_eq!(delivery.await, Ok(()));
        outbox.push(message("4later")).expect("open");
        assert_eq!(read_text(&mut peer).await, "4later");
        assert_eq!(polling.poll().err(), Some(PollError::Moved));
        drop(peer);
        assert_eq!(inbound.next().await, None);
        assert!(!ended.load(Ordering::Relaxed));
        drop(inbound);
        assert!(ended.load(Ordering::Relaxed));
        assert_eq!(polling.poll().err(), Some(PollError::Ended));
    });
}

#[test]
fn half_a_message_that_was_read_before_the_move_is_finished_after_it() {
    run(async {
        let (mut inbound, _outbox, polling, _) = polling_pair(options());
        let (mut peer, mut probe_in, _probe_out) = pair(options()).await;
        let large = vec![b'4'; 60_000];
        let (first, second) = (client(0x01, &large[..30_000]), client(0x80, &large[30_000..]));
        let bytes = [client(0x81, b"5"), first, second].concat();
        let (early, late) = bytes.split_at(40_000);
        peer.write_all(early).await.expect("sent");
        assert_eq!(probe_in.next().await, Some(Incoming::Text("5".into())));
        // What has arrived so far is in the probe's buffer or still in the socket.
        assert!(is_quiet(&mut probe_in).await);
        polling.probe().expect("the first").take_over(probe_in).expect("moved");
        let send = async {
            peer.write_all(late).await.expect("sent");
            peer
        };
        let (_peer, incoming) = tokio::join!(send, inbound.next());
        assert_eq!(incoming, Some(Incoming::Text(String::from_utf8(large).expect("text").into())));
    });
}

#[test]
fn a_websocket_that_comes_too_late_is_cut() {
    run(async {
        let (inbound, _outbox, polling, _) = polling_pair(options());
        let (mut peer, probe_in, _probe_out) = pair(options()).await;
        read_head(&mut peer).await;
        let probe = polling.probe().expect("the first");
        drop(inbound);
        assert!(probe.is_over());
        assert_eq!(probe.take_over(probe_in), Err(PollError::Ended));
        assert_eq!(peer.read(&mut [0; 8]).await.expect("an end"), 0);
    });
}

#[test]
fn a_websocket_that_has_not_sent_its_own_cannot_take_over_and_may_be_tried_again() {
    run(async {
        let (_inbound, _outbox, polling, _) = polling_pair(options());
        let (_peer, mut probe_in, probe_out) = pair(options()).await;
        stall(&mut probe_in, &probe_out).await;
        let probe = polling.probe().expect("the first");
        assert_eq!(probe.take_over(probe_in), Err(PollError::Ended));
        assert!(polling.probe().is_ok());
    });
}

#[test]
fn a_session_that_closes_during_an_upgrade_sends_its_close_on_the_websocket() {
    run(async {
        let (mut inbound, outbox, polling, _) = polling_pair(options());
        let (mut peer, probe_in, _probe_out) = pair(options()).await;
        read_head(&mut peer).await;
        polling.probe().expect("the first").take_over(probe_in).expect("moved");
        outbox.finish(Some(message("4last")), CloseCode::RESTART);
        let read = async {
            assert_eq!(read_text(&mut peer).await, "4last");
            let close = read_close(&mut peer).await;
            drop(peer);
            close
        };
        let (close, end) = tokio::join!(read, inbound.next());
        assert_eq!((close, end), ((1012, "restart".into()), None));
    });
}

#[test]
fn a_session_on_another_thread_is_woken_by_its_websocket_there() {
    run(async {
        let (mut inbound, outbox, polling, _) = polling_pair(options());
        let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
        let arbiter = actix_rt::Arbiter::new();
        arbiter.spawn_fn(move || {
            actix_rt::spawn(async move {
                while let Some(incoming) = inbound.next().await {
                    tell.send((std::thread::current().id(), incoming)).expect("heard");
                }
            });
        });
        let (mut peer, probe_in, _probe_out) = pair(options()).await;
        read_head(&mut peer).await;
        polling.probe().expect("the first").take_over(probe_in).expect("moved");
        outbox.push(message("4pushed from here")).expect("open");
        assert_eq!(read_text(&mut peer).await, "4pushed from here");
        peer.write_all(&client(0x81, b"4hello")).await.expect("sent");
        let (thread, incoming) = told.recv().await.expect("told");
        assert_eq!(incoming, Incoming::Text("4hello".into()));
        assert_ne!(thread, std::thread::current().id());
        arbiter.stop();
    });
}
