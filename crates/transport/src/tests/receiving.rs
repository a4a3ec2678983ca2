//! What comes out of a connection, and when.

use super::*;

#[test]
fn bytes_behind_the_request_are_read_first() {
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
fn a_read_pause_holds_messages_back_until_it_is_dropped() {
    run(async {
        let (mut peer, mut inbound, _outbox) = pair(options()).await;
        let read_pause = inbound.read_pause();
        peer.write_all(&[client(0x81, b"one"), client(0x81, b"two")].concat()).await.expect("sent");
        assert_eq!(inbound.next().await, Some(Incoming::Text("one".into())));
        let (hold, another) = (read_pause.pause(), read_pause.pause());
        peer.write_all(&client(0x81, b"three")).await.expect("sent");
        for _ in 0..50 {
            assert!(is_quiet(&mut inbound).await);
            tokio::task::yield_now().await;
        }
        drop(another);
        assert!(is_quiet(&mut inbound).await);
        actix_rt::spawn(async move { drop(hold) });
        assert_eq!(inbound.next().await, Some(Incoming::Text("two".into())));
        assert_eq!(inbound.next().await, Some(Incoming::Text("three".into())));
    });
}

#[test]
fn every_ping_is_answered_while_the_socket_takes_it() {
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
        assert_eq!(read_frame(&mut peer).await.expect("pong"), (0x8A, b"1".to_vec()));
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
fn an_idle_connection_is_small() {
    let sizes = (size_of::<Inbound>(), size_of::<send_state::SendState>());
    assert!(sizes.0 <= 96 && sizes.1 <= 224, "{sizes:?}");
}
