//! `tokio-tungstenite` on the plain WebSocket.

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use orderhub_client_tests::{Hub, TIMEOUT, token};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

struct Plain(WebSocketStream<MaybeTlsStream<TcpStream>>);

async fn connect(hub: &Hub, token: &str) -> Result<Plain, Error> {
    let mut request = format!("ws://{}/ws", hub.address).into_client_request()?;
    request.headers_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
    connect_async(request).await.map(|(socket, _)| Plain(socket))
}

/// Connects as soon as the hub is there.
async fn reconnect(hub: &Hub, token: &str) -> Plain {
    let attempts = async {
        loop {
            if let Ok(plain) = connect(hub, token).await {
                return plain;
            }
            sleep(Duration::from_millis(100)).await;
        }
    };
    timeout(TIMEOUT, attempts).await.expect("in time")
}

impl Plain {
    /// The next event of this name, or the code of the close.
    async fn take(&mut self, event: &str) -> Result<Value, Option<u16>> {
        let next = async {
            loop {
                match self.0.next().await {
                    Some(Ok(Message::Text(text))) => {
                        let message: Value = serde_json::from_str(&text).unwrap();
                        if message["event"] == event {
                            return Ok(message["data"].clone());
                        }
                    }
                    Some(Ok(Message::Close(frame))) => return Err(frame.map(|it| it.code.into())),
                    Some(Ok(_)) => {}
                    Some(Err(_)) | None => return Err(None),
                }
            }
        };
        timeout(TIMEOUT, next).await.expect("in time")
    }

    async fn call(&mut self, event: &str, data: Value) -> Value {
        let text = json!({ "event": event, "data": data, "id": 1 }).to_string();
        self.0.send(Message::text(text)).await.unwrap();
        self.take("ack").await.expect("an answer")
    }

    async fn join(&mut self, since_seq: u64) -> Value {
        self.call("order:join", json!({ "orderId": "o1", "sinceSeq": since_seq })).await
    }

    async fn say(&mut self, content: &str) -> Value {
        self.call("chat:message", json!({ "orderId": "o1", "content": content })).await
    }
}

#[tokio::test]
async fn a_client_joins_receives_and_chats() {
    let hub = Hub::start();
    let mut ann = connect(&hub, &token("ann", "customer", "1h")).await.unwrap();
    let mut dan = connect(&hub, &token("dan", "driver", "1h")).await.unwrap();
    assert_eq!(ann.join(0).await["ok"], true);
    let fix = json!({ "orderId": "o1", "lat": 45.27, "lng": 13.71 });
    assert_eq!(dan.call("driver:location", fix).await["accepted"], 1);
    assert_eq!(ann.take("location:updated").await.unwrap()["lat"], 45.27);
    assert_eq!(dan.say("dveře").await["ok"], true);
    assert_eq!(ann.take("chat:message").await.unwrap()["content"], "dveře");
    let refused = ann.call("order:join", json!({ "orderId": "of-others" })).await;
    assert_eq!(refused["error"]["code"], "forbidden");
}

#[tokio::test]
async fn a_client_reconnects_after_a_restart_and_misses_nothing() {
    for (signal, code) in [("TERM", Some(1012)), ("KILL", None)] {
        let mut hub = Hub::start();
        let key = token("ann", "customer", "1h");
        let mut ann = connect(&hub, &key).await.unwrap();
        ann.join(0).await;
        ann.say("one").await;
        hub.restart(signal);
        assert_eq!(ann.take("nothing").await, Err(code), "{signal}");
        let mut bob = reconnect(&hub, &token("bob", "customer", "1h")).await;
        bob.say("two").await;
        let mut ann = reconnect(&hub, &key).await;
        let room = ann.join(1).await;
        assert_eq!(room["recovered"], true);
        assert_eq!(room["messages"][0]["content"], "two");
    }
}

#[tokio::test]
async fn a_token_that_ends_closes_with_4401_and_is_then_401() {
    let hub = Hub::start();
    let key = token("ann", "customer", "10s");
    let mut ann = connect(&hub, &key).await.unwrap();
    assert_eq!(ann.take("session:end").await.unwrap()["reason"], "token_expired");
    assert_eq!(ann.take("nothing").await, Err(Some(4401)));
    let Err(Error::Http(answer)) = connect(&hub, &key).await else { panic!("let in") };
    assert_eq!(answer.status(), 401);
    let problem: Value = serde_json::from_slice(answer.body().as_ref().unwrap()).unwrap();
    assert_eq!(problem["code"], "token_expired");
}

/// How a dead network is noticed: nothing is said by the library itself.
#[tokio::test]
async fn a_ping_that_is_not_answered_is_a_dead_network() {
    let hub = Hub::start();
    let mut ann = connect(&hub, &token("ann", "customer", "1h")).await.unwrap();
    ann.take("connected").await.unwrap();
    let pong = async |ann: &mut Plain, patience| {
        ann.0.send(Message::Ping("".into())).await.unwrap();
        timeout(patience, ann.0.next()).await.map(|frame| frame.unwrap().unwrap())
    };
    assert_eq!(pong(&mut ann, TIMEOUT).await, Ok(Message::Pong("".into())));
    hub.signal("STOP");
    // It stops in a moment, and then nothing ends.
    while pong(&mut ann, Duration::from_secs(1)).await.is_ok() {}
}
