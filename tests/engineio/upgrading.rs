//! Sessions over a WebSocket, and those that move to one.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use protocol::close::CloseCode;
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;
use transport::engineio::{Options, TransportKind};
use transport::{Frame, Incoming};

use super::support::*;

/// Messages that go each way while a session moves.
const MANY: usize = 1000;

#[test]
fn a_session_may_begin_on_a_websocket() {
    run(async {
        let mut server = Server::start(options());
        let mut socket = Socket::open(server.addr, "EIO=4&transport=websocket").await;
        let open = socket.hear().await.expect("the handshake");
        let data: Value = serde_json::from_str(&open[1..]).expect("JSON");
        let session = server.opened().await;
        assert_eq!(session.kind, TransportKind::WebSocket);
        assert_eq!(data["sid"], session.sid);
        assert_eq!((&data["upgrades"], &data["maxPayload"]), (&json!([]), &json!(LIMIT)));
        socket.say("4hello").await;
        assert_eq!(socket.hear().await.as_deref(), Some("4hello"));
        socket.say("1").await;
        assert_eq!(socket.hear().await, None);
    });
}

#[test]
fn a_probe_ends_the_poll_that_waits_and_the_session_goes_on_over_the_websocket() {
    run(async {
        let mut server = Server::start(options());
        let (poller, mut session) = server.poller().await;
        let poll = poller.start_get(&session).await;
        let mut socket = poller.websocket().await;
        socket.say("2probe").await;
        assert_eq!(socket.hear().await.as_deref(), Some("3probe"));
        assert_eq!(poll.await.expect("answered"), (200, "6".to_owned()));
        // One that was sent before the client had heard the answer.
        assert_eq!(poller.get().await, (200, "6".to_owned()));
        session.outbox.push(text("4waits")).expect("open");
        session.outbox.push(Frame::binary(|out| out.push(9))).expect("open");
        socket.say("5").await;
        assert_eq!(socket.hear().await.as_deref(), Some("4waits"));
        let binary = within(socket.0.next()).await.expect("a message").expect("no error");
        assert_eq!(binary, Message::binary(vec![9]));
        for answer in [poller.get().await, poller.post("4late").await] {
            assert_eq!(answer, refusal(3));
        }
        assert_eq!(poller.websocket().await.hear().await, None, "a second one is closed");
        socket.say("4there").await;
        assert_eq!(session.hears().await, Some(Incoming::Text("4there".into())));
        assert_eq!(socket.hear().await.as_deref(), Some("4there"));
        session.outbox.finish(Some(text("4last")), CloseCode::RESTART);
        assert_eq!(socket.hear().await.as_deref(), Some("4last"));
        assert_eq!(socket.hear().await, None);
        drop(socket);
        assert!(session.is_lost().await);
        session.until_forgotten(&server).await;
    });
}

#[test]
fn frames_behind_the_upgrade_packet_are_read() {
    run(async {
        let mut server = Server::start(options());
        let (poller, mut session) = server.poller().await;
        let Socket(mut socket) = poller.websocket().await;
        for packet in ["2probe", "5", "4one", "4two"] {
            socket.feed(Message::text(packet)).await.expect("sent");
        }
        socket.flush().await.expect("sent");
        assert_eq!(session.hears().await, Some(Incoming::Text("4one".into())));
        assert_eq!(session.hears().await, Some(Incoming::Text("4two".into())));
        let mut socket = Socket(socket);
        for expected in ["3probe", "4one", "4two"] {
            assert_eq!(socket.hear().await.as_deref(), Some(expected));
        }
    });
}

#[test]
fn a_probe_that_never_ends_is_cut_and_the_session_polls_on() {
    run(async {
        let request_timeout = Duration::from_millis(100);
        let mut server = Server::start(Options { request_timeout, ..options() });
        let (poller, session) = server.poller().await;
        let mut socket = poller.websocket().await;
        socket.say("2probe").await;
        assert_eq!(socket.hear().await.as_deref(), Some("3probe"));
        assert_eq!(socket.hear().await, None);
        session.outbox.push(text("4hello")).expect("open");
        assert_eq!(poller.get().await, (200, "4hello".to_owned()));
        // And it may try again.
        poller.websocket().await.take_over().await;
    });
}

#[test]
fn only_one_websocket_is_tried_at_a_time_and_only_a_probe_is_understood() {
    run(async {
        let mut server = Server::start(options());
        let (poller, session) = server.poller().await;
        let mut socket = poller.websocket().await;
        socket.say("2probe").await;
        assert_eq!(socket.hear().await.as_deref(), Some("3probe"));
        assert_eq!(poller.websocket().await.hear().await, None);
        socket.say("4what").await;
        assert_eq!(socket.hear().await, None);
        session.outbox.push(text("4hello")).expect("open");
        assert_eq!(poller.get().await, (200, "4hello".to_owned()));
        let mut socket = poller.websocket().await;
        socket.say("2probe").await;
        assert_eq!(socket.hear().await.as_deref(), Some("3probe"));
        session.outbox.abort();
        assert_eq!(socket.hear().await, None, "the session it wanted has ended");
    });
}

#[test]
fn an_upgrade_under_load_loses_and_duplicates_nothing() {
    run(async {
        let mut server = Server::start(with_transport(|transport| {
            transport.outbox_messages = MANY * 4;
            transport.outbox_bytes = 1 << 24;
        }));
        let (poller, mut session) = server.poller().await;
        let outbox = session.outbox.clone();
        let pushes = tokio::spawn(async move {
            let mut pace = tokio::time::interval(Duration::from_millis(1));
            for n in 0..MANY {
                outbox.push(text(&format!("4down {n}"))).expect("open");
                if n % 3 == 0 {
                    pace.tick().await;
                }
            }
        });
        let probed = AtomicBool::new(false);
        let ((mut socket, posted), mut received) =
            tokio::join!(post_and_probe(&poller, &probed), poll_until(&poller, &probed));
        assert!((1..MANY).contains(&received.len()), "{}", received.len());
        socket.say("5").await;
        // What the client had not said by POST it says on the WebSocket.
        for n in posted..MANY {
            socket.say(&format!("4quiet {n}")).await;
        }
        while received.len() < MANY {
            received.push(socket.hear().await.expect("a message"));
        }
        pushes.await.expect("all pushed");
        let expected: Vec<_> = (0..MANY).map(|n| format!("4down {n}")).collect();
        assert_eq!(received, expected);
        for n in 0..MANY {
            let text = format!("4quiet {n}");
            assert_eq!(session.hears().await, Some(Incoming::Text(text.as_str().into())));
        }
        socket.say("4end").await;
        assert_eq!(socket.hear().await.as_deref(), Some("4end"), "nothing stands between");
    });
}

/// POSTs some messages, then probes a WebSocket between two POSTs, as clients do; says how many
/// were posted.
async fn post_and_probe(poller: &Poller, probed: &AtomicBool) -> (Socket, usize) {
    let mut posted = 0;
    while posted < MANY / 3 {
        let body: Vec<_> = (posted..posted + 7).map(|n| format!("4quiet {n}")).collect();
        assert_eq!(poller.post(body.join("\u{1e}")).await, (200, "ok".to_owned()));
        posted += 7;
    }
    let mut socket = poller.websocket().await;
    socket.say("2probe").await;
    assert_eq!(socket.hear().await.as_deref(), Some("3probe"));
    probed.store(true, Ordering::Relaxed);
    (socket, posted)
}

/// Polls until the WebSocket works: then the poll that is under way is the last.
async fn poll_until(poller: &Poller, probed: &AtomicBool) -> Vec<String> {
    let mut received = Vec::new();
    while !probed.load(Ordering::Relaxed) {
        let packets = poller.packets(1).await;
        received.extend(packets.into_iter().filter(|packet| packet != "6"));
    }
    received
}
