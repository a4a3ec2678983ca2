//! What comes and goes by long-polling.

use std::time::Duration;

use protocol::close::CloseCode;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use transport::{Closed, Frame, Incoming, LatestKey, Overrun};

use super::support::*;

const PLACE: LatestKey = LatestKey(7);

#[test]
fn packets_of_a_post_come_in_order_and_so_do_their_answers() {
    run(async {
        let mut server = Server::start(options());
        let (poller, mut session) = server.poller().await;
        for post in 0..10 {
            let body = format!("4{post}a\u{1e}bAQIDBA==\u{1e}4{post}b");
            assert_eq!(poller.post(body).await, (200, "ok".to_owned()));
        }
        let mut expected = Vec::new();
        for post in 0..10 {
            for packet in [format!("4{post}a"), "bAQIDBA==".to_owned(), format!("4{post}b")] {
                let heard = match packet.strip_prefix('b') {
                    Some(_) => Incoming::Binary(vec![1, 2, 3, 4].into()),
                    None => Incoming::Text(packet.as_str().into()),
                };
                assert_eq!(session.hears().await, Some(heard));
                expected.push(packet);
            }
        }
        // All of it waited: answers have as much as python-engineio takes.
        for packets in expected.chunks(16) {
            assert_eq!(poller.get().await, (200, packets.join("\u{1e}")));
        }
    });
}

#[test]
fn answers_have_a_content_type_and_are_not_cached() {
    run(async {
        let mut server = Server::start(options());
        let (poller, session) = server.poller().await;
        session.outbox.push(text("4hello")).expect("open");
        let http = reqwest::Client::new();
        for (request, kind) in [
            (http.get(poller.url()), "text/plain; charset=UTF-8"),
            (http.post(poller.url()).body("4x"), "text/html"),
            (http.get(poller.url().replace("sid=", "sid=x")), "application/json"),
        ] {
            let answer = within(request.send()).await.expect("an answer");
            assert_eq!(answer.headers()["content-type"], kind);
            assert_eq!(answer.headers()["cache-control"], "no-store");
        }
    });
}

#[test]
fn a_body_torn_in_the_middle_of_a_character_is_whole_again() {
    run(async {
        let mut server = Server::start(options());
        let (poller, mut session) = server.poller().await;
        let path = poller.url().replace(&format!("http://{}", server.addr), "");
        let body = "4\u{1F69A}".as_bytes();
        let head = format!("POST {path} HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\n");
        let mut socket = raw(server.addr, &head).await;
        socket.set_nodelay(true).expect("open");
        for byte in body {
            socket.write_all(&[*byte]).await.expect("sent");
            tokio::task::yield_now().await;
        }
        let mut status = [0; 15];
        within(socket.read_exact(&mut status)).await.expect("an answer");
        assert_eq!(&status, b"HTTP/1.1 200 OK");
        assert_eq!(session.hears().await, Some(Incoming::Text("4\u{1F69A}".into())));
    });
}

#[test]
fn a_poll_waits_for_what_comes_and_gets_a_turn_in_one_answer() {
    run(async {
        let mut server = Server::start(options());
        let (poller, session) = server.poller().await;
        let poll = poller.start_get(&session).await;
        assert_eq!(poller.post("4one\u{1e}4two").await.0, 200);
        assert_eq!(poll.await.expect("answered"), (200, "4one\u{1e}4two".to_owned()));
        // A WebSocket's pongs mean nothing here; Engine.IO's own ping waits once.
        session.outbox.ping_with(text("2"));
        session.outbox.ping_with(text("2"));
        session.outbox.pong(b"x".to_vec().into());
        assert_eq!(poller.get().await, (200, "2".to_owned()));
    });
}

#[test]
fn a_held_session_takes_nothing_and_its_post_is_not_answered() {
    run(async {
        let mut server = Server::start(options());
        let (poller, mut session) = server.poller().await;
        let (hold, other) = (session.read_pause.pause(), session.read_pause.pause());
        let posting = poller.clone();
        let post = tokio::spawn(async move { posting.post("4a\u{1e}4b").await });
        let poll = poller.start_get(&session).await;
        drop(other);
        session.outbox.push(text("4held")).expect("open");
        assert_eq!(poll.await.expect("answered"), (200, "4held".to_owned()));
        assert!(!post.is_finished() && session.heard.try_recv().is_err());
        drop(hold);
        assert_eq!(post.await.expect("answered"), (200, "ok".to_owned()));
        assert_eq!(session.hears().await, Some(Incoming::Text("4a".into())));
    });
}

#[test]
fn a_slow_poller_gets_the_newest_place_only() {
    run(async {
        let mut server = Server::start(options());
        let (poller, session) = server.poller().await;
        for n in 0..1000 {
            session.outbox.push_latest(PLACE, text(&format!("4at {n}"))).expect("open");
        }
        session.outbox.push(text("4chat")).expect("open");
        assert_eq!(poller.get().await, (200, "4at 999\u{1e}4chat".to_owned()));
    });
}

#[test]
fn an_answer_has_at_most_sixteen_packets_and_the_next_one_the_rest() {
    run(async {
        let mut server = Server::start(options());
        let (poller, session) = server.poller().await;
        let poll = poller.start_get(&session).await;
        let packets: Vec<_> = (0..40).map(|n| format!("4at {n}")).collect();
        session.outbox.push(text("4first")).expect("open");
        assert_eq!(poll.await.expect("answered"), (200, "4first".to_owned()));
        for (key, packet) in (0..).zip(&packets) {
            session.outbox.push_latest(LatestKey(key), text(packet)).expect("open");
        }
        // What only a WebSocket has takes no place.
        session.outbox.pong(b"x".to_vec().into());
        for (count, packets) in [16, 16, 8].into_iter().zip(packets.chunks(16)) {
            let (status, body) = poller.get().await;
            assert_eq!((status, body.split('\u{1e}').count()), (200, count));
            assert_eq!(body, packets.join("\u{1e}"));
        }
    });
}

#[test]
fn a_large_backlog_is_answered_in_pieces_and_an_endless_one_gives_up() {
    run(async {
        let mut server = Server::start(options());
        let (poller, mut session) = server.poller().await;
        let packet = format!("4{}", "x".repeat(9_999));
        (0..20).for_each(|_| session.outbox.push(text(&packet)).expect("within"));
        let (status, body) = poller.get().await;
        assert!(status == 200 && body.len() <= 64 * 1024, "{}", body.len());
        assert_eq!(poller.packets(14).await.len(), 14);
        // One that is larger than a piece is not cut, and base64 counts.
        let large = Frame::binary(|out| out.resize(out.len() + 90_000, 0));
        session.outbox.push(large.clone()).expect("within");
        session.outbox.push(text("4next")).expect("within");
        assert_eq!(poller.get().await.1.len(), 1 + 120_000);
        assert_eq!(poller.get().await.1, "4next");
        while session.outbox.push(large.clone()).is_ok() {}
        assert_eq!(session.hears().await, Some(Incoming::Overrun(Overrun::Bytes)));
        // It hung up, and its client comes back.
        assert_eq!(poller.get().await.0, 400);
    });
}

#[test]
fn the_end_waits_for_a_poll_as_long_as_a_close_lingers() {
    run(async {
        let mut server = Server::start(options());
        let (poller, mut session) = server.poller().await;
        session.outbox.push(text("4before")).expect("open");
        session.outbox.hang_up(Some(text("4last")), CloseCode::RESTART);
        assert_eq!(session.outbox.push(text("4late")), Err(Closed));
        assert_eq!(poller.get().await, (200, "4before\u{1e}4last".to_owned()));
        assert_eq!(poller.get().await.0, 400, "it may come back, so it hears no `1`");
        assert!(session.is_lost().await);
        session.until_forgotten(&server).await;
        poller.is_unknown().await;

        let (poller, mut session) = server.poller().await;
        let poll = poller.start_get(&session).await;
        session.outbox.finish(Some(text("4last")), CloseCode::REMOVED);
        assert_eq!(poll.await.expect("answered"), (200, "4last".to_owned()));
        assert_eq!(poller.get().await, (200, "1".to_owned()));
        assert!(session.is_lost().await);

        let close_timeout = Duration::from_millis(50);
        let mut server =
            Server::start(with_transport(|transport| transport.close_timeout = close_timeout));
        let (poller, mut session) = server.poller().await;
        session.outbox.hang_up(Some(text("4last")), CloseCode::RESTART);
        assert!(session.is_lost().await);
        session.until_forgotten(&server).await;
        poller.is_unknown().await;
    });
}

#[test]
fn a_client_that_did_not_answer_a_ping_is_closed_at_once() {
    run(async {
        let mut server = Server::start(options());
        let (poller, mut session) = server.poller().await;
        session.outbox.push(text("4before")).expect("open");
        session.outbox.hang_up(None, CloseCode::NO_PONG);
        assert!(session.is_lost().await);
        session.until_forgotten(&server).await;
        poller.is_unknown().await;

        let (poller, session) = server.poller().await;
        let poll = poller.start_get(&session).await;
        session.outbox.hang_up(None, CloseCode::NO_PONG);
        assert_eq!(poll.await.expect("answered").0, 400);
    });
}

#[test]
fn a_client_that_ends_its_session_has_its_poll_ended_too() {
    run(async {
        let mut server = Server::start(options());
        let (poller, mut session) = server.poller().await;
        let poll = poller.start_get(&session).await;
        assert_eq!(poller.post("4quiet\u{1e}1\u{1e}4never").await, (200, "ok".to_owned()));
        assert_eq!(poll.await.expect("answered"), (200, "6".to_owned()));
        assert_eq!(session.hears().await, Some(Incoming::Text("4quiet".into())));
        assert_eq!(session.hears().await, Some(Incoming::Text("1".into())));
        assert!(session.is_lost().await);
        session.until_forgotten(&server).await;
        poller.is_unknown().await;

        // Without a poll, and with one that comes behind it.
        let (poller, _session) = server.poller().await;
        assert_eq!(poller.post("1").await, (200, "ok".to_owned()));
        poller.is_unknown().await;
        let (poller, _session) = server.poller().await;
        let (post, poll) = tokio::join!(poller.post("1"), poller.get());
        assert_eq!((post.0, poll), (200, (200, "6".to_owned())));
    });
}

#[test]
fn polls_of_a_session_share_a_connection_and_unauthenticated_clients_get_one_answer() {
    run(async {
        let mut server = Server::start(options());
        let (poller, session) = server.poller().await;
        let path = poller.url().replace(&format!("http://{}", server.addr), "");
        let request = format!("GET {path} HTTP/1.1\r\nHost: h\r\n\r\n");
        let mut socket = raw(server.addr, &request).await;
        for n in 0..3 {
            session.outbox.push(text(&format!("4poll {n}"))).expect("open");
            let mut answer = String::new();
            while !answer.ends_with(&format!("4poll {n}")) {
                let mut piece = [0; 1024];
                let read = within(socket.read(&mut piece)).await.expect("no end");
                assert!(read > 0, "the connection is kept");
                answer.push_str(std::str::from_utf8(&piece[..read]).expect("text"));
            }
            assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
            socket.write_all(request.as_bytes()).await.expect("sent");
        }
        session.until_polled().await;
        for query in ["EIO=4&transport=polling", "EIO=4&transport=polling&sid=x"] {
            let request = format!("GET /socket.io/?{query} HTTP/1.1\r\nHost: h\r\n\r\n");
            let answer = rest(raw(server.addr, &request).await).await;
            assert!(answer.contains("connection: close"), "{answer}");
        }
    });
}
