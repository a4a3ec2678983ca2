//! What is refused, and which of it ends the session.

use std::time::Duration;

use protocol::close::CloseCode;
use reqwest::Method;
use tokio::io::AsyncWriteExt;
use transport::{Incoming, Overrun};

use super::support::*;

#[test]
fn requests_that_begin_no_session_get_the_reason() {
    run(async {
        let server = Server::start(options());
        let http = reqwest::Client::new();
        for (method, query, code) in [
            (Method::GET, "EIO=4", 0),
            (Method::GET, "EIO=4&transport=carrier-pigeon", 0),
            (Method::GET, "EIO=4&transport=polling&sid=nobody", 1),
            (Method::POST, "EIO=4&transport=polling&sid=nobody", 1),
            (Method::POST, "EIO=4&transport=polling", 2),
            (Method::PUT, "EIO=4&transport=polling", 2),
            (Method::GET, "EIO=4&transport=websocket", 3),
            (Method::GET, "EIO=3&transport=polling", 5),
            (Method::GET, "transport=polling", 5),
        ] {
            for slash in ["/", ""] {
                let url = format!("http://{}/socket.io{slash}?{query}", server.addr);
                let answer = send(http.request(method.clone(), url)).await;
                assert_eq!(answer, refusal(code), "{method} {query}");
            }
        }
        let url = format!("http://{}/socket.io/?EIO=4&transport=polling", server.addr);
        assert_eq!(send(http.get(url).header("x-banned", "1")).await, refusal(4));
        assert_eq!(server.sessions.count(), 0);
    });
}

#[test]
fn websockets_that_begin_no_session_are_refused_before_the_upgrade() {
    run(async {
        let server = Server::start(options());
        for (query, code) in [
            ("EIO=4", 0),
            ("EIO=4&transport=websocket&sid=nobody", 1),
            ("EIO=4&transport=polling", 3),
            ("EIO=3&transport=websocket", 5),
        ] {
            let url = format!("ws://{}/socket.io/?{query}", server.addr);
            match tokio_tungstenite::connect_async(url).await {
                Err(tokio_tungstenite::tungstenite::Error::Http(answer)) => {
                    let body = answer.body().clone().unwrap_or_default();
                    let body = String::from_utf8(body).expect("text");
                    assert_eq!((answer.status().as_u16(), body), refusal(code), "{query}");
                }
                other => panic!("{query}: {other:?}"),
            }
        }
    });
}

#[test]
fn a_body_that_is_no_payload_ends_the_session() {
    run(async {
        let mut server = Server::start(options());
        for (body, close) in [
            (&b"abc"[..], CloseCode::PROTOCOL_ERROR),
            (b"", CloseCode::PROTOCOL_ERROR),
            (b"4fine\x1e", CloseCode::PROTOCOL_ERROR),
            (b"4fine\x1ex", CloseCode::PROTOCOL_ERROR),
            (b"4fine\x1ebAQ*D", CloseCode::PROTOCOL_ERROR),
            (b"4\xFF", CloseCode::INVALID_UTF8),
        ] {
            let (poller, mut session) = server.poller().await;
            let poll = poller.start_get(&session).await;
            assert_eq!(poller.post(body.to_vec()).await, refusal(3), "{body:?}");
            assert_eq!(poll.await.expect("answered"), (200, GOODBYE.to_owned()));
            assert_eq!(session.hears().await, Some(Incoming::Failed(close)), "and nothing else");
            assert!(session.is_lost().await);
            poller.is_unknown().await;
        }
    });
}

#[test]
fn a_body_over_the_limit_ends_the_session_in_every_encoding() {
    run(async {
        let mut server = Server::start(options());
        let (poller, session) = server.poller().await;
        let fits = format!("4{}", "x".repeat(LIMIT - 1));
        assert_eq!(poller.post(fits.clone()).await.0, 200);
        assert_eq!(poller.get().await.1, fits);
        // In bytes, not in characters.
        let poll = poller.start_get(&session).await;
        let (status, _) = poller.post(format!("4{}", "\u{e4}".repeat(LIMIT / 2))).await;
        assert_eq!(status, 413);
        assert_eq!(poll.await.expect("answered"), (200, GOODBYE.to_owned()));
        poller.is_unknown().await;

        let (poller, mut session) = server.poller().await;
        let path = poller.url().replace(&format!("http://{}", server.addr), "");
        let mut socket = raw(
            server.addr,
            &format!("POST {path} HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"),
        )
        .await;
        for _ in 0..3 {
            let chunk = format!("190\r\n{}\r\n", "4".repeat(400));
            socket.write_all(chunk.as_bytes()).await.expect("sent");
        }
        assert!(rest(socket).await.starts_with("HTTP/1.1 413"));
        assert_eq!(session.hears().await, Some(Incoming::Failed(CloseCode::TOO_BIG)));
        poller.hears_goodbye().await;
    });
}

#[test]
fn a_second_poll_ends_the_session_and_the_first_gets_the_close() {
    run(async {
        let mut server = Server::start(options());
        let (poller, mut session) = server.poller().await;
        let first = poller.start_get(&session).await;
        assert_eq!(poller.get().await, refusal(3));
        assert_eq!(first.await.expect("answered"), (200, GOODBYE.to_owned()));
        let failed = Incoming::Failed(CloseCode::PROTOCOL_ERROR);
        assert_eq!(session.hears().await, Some(failed));
        poller.is_unknown().await;
    });
}

#[test]
fn a_second_post_ends_the_session() {
    run(async {
        let mut server = Server::start(options());
        let (poller, mut session) = server.poller().await;
        // Neither is answered before the other has come.
        let hold = session.read_pause.pause();
        let post = |body| {
            let poller = poller.clone();
            Box::pin(async move { poller.post(body).await })
        };
        let (second, first) =
            futures_util::future::select(post("4quiet a"), post("4quiet b")).await.factor_first();
        drop(hold);
        let answers = [second, first.await];
        assert!(answers.contains(&refusal(3)), "{answers:?}");
        assert_eq!(session.fails().await, Some(CloseCode::PROTOCOL_ERROR));
        poller.hears_goodbye().await;
    });
}

#[test]
fn a_body_that_does_not_come_ends_the_session() {
    run(async {
        let request_timeout = Duration::from_millis(100);
        let mut server =
            Server::start(transport::engineio::Options { request_timeout, ..options() });
        let (poller, mut session) = server.poller().await;
        let path = poller.url().replace(&format!("http://{}", server.addr), "");
        let head = format!("POST {path} HTTP/1.1\r\nHost: h\r\nContent-Length: 6\r\n\r\n4");
        let socket = raw(server.addr, &head).await;
        assert!(rest(socket).await.starts_with("HTTP/1.1 408"));
        let failed = Incoming::Failed(CloseCode::PROTOCOL_ERROR);
        assert_eq!(session.hears().await, Some(failed));
        poller.hears_goodbye().await;
    });
}

#[test]
fn a_poll_whose_connection_goes_away_takes_the_session_with_it() {
    run(async {
        let mut server = Server::start(options());
        for reset in [false, true] {
            let (poller, mut session) = server.poller().await;
            let path = poller.url().replace(&format!("http://{}", server.addr), "");
            let head = format!("GET {path} HTTP/1.1\r\nHost: h\r\n\r\n");
            let socket = raw(server.addr, &head).await;
            session.until_polled().await;
            if reset {
                socket.set_zero_linger().expect("a reset instead of an end");
            }
            drop(socket);
            assert!(session.is_lost().await, "lost, not ended");
            session.until_forgotten(&server).await;
            poller.is_unknown().await;
        }
    });
}

#[test]
fn a_client_that_never_polls_is_cut_when_a_frame_has_waited_too_long() {
    run(async {
        let send_timeout = Duration::from_millis(100);
        let mut server = Server::start(with_transport(|transport| {
            transport.send_timeout = send_timeout;
            transport.close_timeout = send_timeout;
        }));
        let (poller, mut session) = server.poller().await;
        session.outbox.push(text("4wait")).expect("open");
        assert_eq!(session.hears().await, Some(Incoming::Overrun(Overrun::Stalled)));
        assert!(session.is_lost().await);
        session.until_forgotten(&server).await;
        poller.is_unknown().await;
    });
}

#[test]
fn a_session_that_panics_is_forgotten() {
    run(async {
        let mut server = Server::start(options());
        let (poller, mut session) = server.poller().await;
        let poll = poller.start_get(&session).await;
        assert_eq!(poller.post("4panic").await.0, 400);
        assert_eq!(poll.await.expect("answered"), refusal(1));
        session.hears().await;
        assert!(session.is_lost().await);
        session.until_forgotten(&server).await;
        poller.is_unknown().await;
    });
}
