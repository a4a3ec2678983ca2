//! A server that speaks just enough of the protocol to break it.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio_tungstenite::accept_async;
use tokio_tungstenite::tungstenite::Message;

/// What it does wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lie {
    /// Nothing.
    None,
    /// One message does not reach one member.
    Drop,
    /// One message reaches one member twice.
    Twice,
    /// Two messages change places.
    Swap,
    /// Two members see different messages under one number.
    Other,
    /// One message is not acknowledged.
    Mute,
    /// One position comes again after the next one.
    Back,
    /// A member that comes back does not get all that it missed.
    Forget,
}

/// What it knows of its one room.
#[derive(Default)]
struct Room {
    members: Vec<UnboundedSender<String>>,
    chat: Vec<Value>,
    positions: u32,
    /// A message that waits for its successor.
    held: Option<String>,
}

/// The messages that are lied about: late enough that all are there.
const FIFTH: usize = 5;

/// Starts one, which runs as long as the test.
pub fn start(lie: Lie) -> SocketAddr {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.set_nonblocking(true).expect("not blocking");
    let addr = listener.local_addr().expect("bound");
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.expect("a runtime").block_on(async move {
            let listener = TcpListener::from_std(listener).expect("a listener");
            let room = Arc::new(Mutex::new(Room::default()));
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, room.clone(), lie));
            }
        });
    });
    addr
}

async fn serve(stream: TcpStream, room: Arc<Mutex<Room>>, lie: Lie) {
    let Ok(socket) = accept_async(stream).await else { return };
    let (mut out, mut incoming) = socket.split();
    let (push, mut pushed) = unbounded_channel::<String>();
    tokio::spawn(async move {
        while let Some(text) = pushed.recv().await {
            if out.send(Message::text(text)).await.is_err() {
                break;
            }
        }
    });
    let _ = push.send(json!({ "event": "connected", "data": {} }).to_string());
    while let Some(Ok(message)) = incoming.next().await {
        let Ok(text) = message.to_text() else { continue };
        let Ok(event) = serde_json::from_str::<Value>(text) else { continue };
        room.lock().expect("a room").hear(&event, &push, lie);
    }
}

impl Room {
    fn hear(&mut self, event: &Value, sender: &UnboundedSender<String>, lie: Lie) {
        let data = &event["data"];
        match event["event"].as_str() {
            Some("order:join") => self.join(event, sender, lie),
            Some("chat:message") => self.chat(event, sender, lie),
            Some("driver:location") => {
                self.positions += 1;
                let text = json!({ "event": "location:updated", "data": {
                    "orderId": data["orderId"], "driverId": "load-1-driver-1",
                    "altitude": data["altitude"],
                }});
                self.tell(&text.to_string());
                match (lie, self.positions) {
                    (Lie::Back, 1) => self.held = Some(text.to_string()),
                    (Lie::Back, _) => {
                        if let Some(old) = self.held.take() {
                            self.tell(&old);
                        }
                    }
                    _ => {}
                }
            }
            _ => {}
        }
    }

    fn join(&mut self, event: &Value, sender: &UnboundedSender<String>, lie: Lie) {
        let since =
            event["data"]["sinceSeq"].as_u64().and_then(|since| usize::try_from(since).ok());
        let mut missed: Vec<Value> =
            since.map_or_else(Vec::new, |since| self.chat.iter().skip(since).cloned().collect());
        if lie == Lie::Forget {
            missed.pop();
        }
        let result = json!({
            "ok": true, "lastSeq": self.chat.len(), "recovered": since.is_some(),
            "messages": missed,
        });
        reply(sender, event, &result);
        self.members.push(sender.clone());
    }

    fn chat(&mut self, event: &Value, sender: &UnboundedSender<String>, lie: Lie) {
        let seq = self.chat.len() + 1;
        let data = json!({ "seq": seq, "clientMsgId": event["data"]["clientMsgId"] });
        self.chat.push(data.clone());
        let text = json!({ "event": "chat:message", "data": data }).to_string();
        let told = seq == FIFTH;
        match lie {
            Lie::Swap if told => self.held = Some(text),
            Lie::Drop if told => self.members[1..].iter().for_each(|member| send(member, &text)),
            Lie::Twice if told => {
                self.tell(&text);
                send(&self.members[0], &text);
            }
            Lie::Other if told => {
                self.members[1..].iter().for_each(|member| send(member, &text));
                let other = self.chat[0]["clientMsgId"].clone();
                let other = json!({ "seq": seq, "clientMsgId": other });
                let other = json!({ "event": "chat:message", "data": other });
                send(&self.members[0], &other.to_string());
            }
            _ => {
                self.tell(&text);
                if let Some(held) = self.held.take() {
                    self.tell(&held);
                }
            }
        }
        if lie != Lie::Mute || !told {
            reply(sender, event, &json!({ "ok": true, "id": "x", "seq": seq }));
        }
    }

    fn tell(&self, text: &str) {
        self.members.iter().for_each(|member| send(member, text));
    }
}

fn send(member: &UnboundedSender<String>, text: &str) {
    let _ = member.send(text.to_owned());
}

fn reply(sender: &UnboundedSender<String>, event: &Value, result: &Value) {
    send(sender, &json!({ "event": "ack", "id": event["id"], "data": result }).to_string());
}
