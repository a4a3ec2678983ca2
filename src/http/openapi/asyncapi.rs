//! `/asyncapi.json`: the events of clients and of the hub in both framings (`AsyncAPI` 3), made from
//! the types that read and write them.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};
use utoipa::openapi::{RefOr, Schema};

use crate::process::VERSION;
use protocol::client::Reply;
use protocol::error::Failure;
use protocol::openapi::{DescribedEvent, DescribedType};
use protocol::server::ServerEvent;

const ABOUT: &str = "\
The events of a connection, as the hub receives and sends them. `plain` is JSON over a WebSocket; \
`socketio` has the same events and data for Socket.IO clients, in the namespace `/events`. \
docs/protocol.md says what they mean.";
const PLAIN: &str = "\
Text messages over a WebSocket. With an `id` an event of a client gets an `ack` of that id; without \
one a success is silent and a refusal is the event `exception`. The token is in `Authorization`, or \
in `Sec-WebSocket-Protocol` behind `orderhub.jwt.`.";
const SOCKET_IO: &str = "\
Socket.IO 3 or 4 (Engine.IO 4, also 3), by WebSocket or long-polling. A payload is the list that \
`emit` sends: the name and the data. An acknowledgement has one argument. The token is `auth.token`.";

/// The whole document.
pub(super) fn document() -> Value {
    let mut document = Document::default();
    for event in Reply::describe_events() {
        document.add_client_event(event);
    }
    for event in ServerEvent::describe() {
        document.add_hub_event(event);
    }
    document.add_refusal();
    let Document { schemas, plain, socket_io, operations } = document;
    json!({
        "asyncapi": "3.0.0",
        "info": { "title": "orderhub", "version": VERSION, "description": ABOUT },
        "defaultContentType": "application/json",
        "channels": {
            "plain": { "address": "/ws", "description": PLAIN, "messages": plain },
            "socketio": {
                "address": "/socket.io/", "description": SOCKET_IO, "messages": socket_io
            },
        },
        "operations": operations,
        "components": { "schemas": schemas },
    })
}

#[derive(Default)]
struct Document {
    schemas: BTreeMap<String, RefOr<Schema>>,
    plain: Map<String, Value>,
    socket_io: Map<String, Value>,
    operations: Map<String, Value>,
}

impl Document {
    fn add_client_event(&mut self, event: DescribedEvent) {
        let key = format!("client.{}", event.name.replace(':', "."));
        let ack = format!("{key}.ack");
        let data = self.reference(event.data);
        let plain = json!({
            "type": "object",
            "required": ["event", "data"],
            "properties": {
                "event": { "const": event.name },
                "data": data,
                "id": {
                    "type": "integer", "minimum": 0, "maximum": 9_007_199_254_740_991_i64,
                    "description": "Asks for an `ack` with this id"
                },
            },
        });
        self.add_message(
            &key,
            event.name,
            event.about,
            plain,
            json!([{ "const": event.name }, data]),
        );
        if let Some(reply) = event.reply {
            let reply = self.reference(reply);
            let accepted = json!({
                "type": "object", "required": ["ok"], "properties": { "ok": { "const": true } }
            });
            let result = json!({
                "oneOf": [
                    { "allOf": [accepted, reply] },
                    { "$ref": "#/components/schemas/Refused" },
                ],
            });
            let plain = json!({
                "type": "object",
                "required": ["event", "id", "data"],
                "properties": {
                    "event": { "const": "ack" }, "id": { "type": "integer" }, "data": result
                },
            });
            let about = format!("The answer to `{}`", event.name);
            self.add_message(&ack, event.name, &about, plain, json!([result]));
        }
        for channel in ["plain", "socketio"] {
            let operation = json!({
                "action": "receive",
                "channel": { "$ref": format!("#/channels/{channel}") },
                "messages": [{ "$ref": format!("#/channels/{channel}/messages/{key}") }],
                "reply": {
                    "channel": { "$ref": format!("#/channels/{channel}") },
                    "messages": [{ "$ref": format!("#/channels/{channel}/messages/{ack}") }],
                },
            });
            self.operations.insert(format!("{channel}.{key}"), operation);
        }
    }

    fn add_hub_event(&mut self, event: DescribedEvent) {
        let key = format!("hub.{}", event.name.replace(':', "."));
        let data = self.reference(event.data);
        // An event of a back end has a name of its own.
        let name = match event.name {
            "back_end" => json!({ "type": "string" }),
            name => json!({ "const": name }),
        };
        let plain = json!({
            "type": "object",
            "required": ["event", "data"],
            "properties": { "event": name, "data": data },
        });
        self.add_message(&key, event.name, event.about, plain, json!([name, data]));
        for channel in ["plain", "socketio"] {
            let operation = json!({
                "action": "send",
                "channel": { "$ref": format!("#/channels/{channel}") },
                "messages": [{ "$ref": format!("#/channels/{channel}/messages/{key}") }],
            });
            self.operations.insert(format!("{channel}.{key}"), operation);
        }
    }

    /// Adds a message to both channels. On Socket.IO its payload is a list of these items.
    fn add_message(&mut self, key: &str, name: &str, about: &str, plain: Value, items: Value) {
        let count = items.as_array().map_or(0, Vec::len);
        let listed =
            json!({ "type": "array", "items": items, "minItems": count, "maxItems": count });
        for (messages, payload) in [(&mut self.plain, plain), (&mut self.socket_io, listed)] {
            let message = json!({ "name": name, "summary": about.trim(), "payload": payload });
            messages.insert(key.to_owned(), message);
        }
    }

    fn add_refusal(&mut self) {
        let _ = self.reference(DescribedType::of::<Failure>());
        let _ = self.reference(DescribedType::of::<protocol::openapi::Refused>());
    }

    /// Adds the schemas of a type, and refers to it.
    fn reference(&mut self, described: DescribedType) -> Value {
        let reference = json!({ "$ref": format!("#/components/schemas/{}", described.name) });
        self.schemas.extend(described.schemas);
        reference
    }
}
