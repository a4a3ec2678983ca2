//! What clients send, and what is done with it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use socketioxide::extract::{AckSender, Data, Extension, SocketRef, State};
use uuid::Uuid;

use crate::auth::{Auth, User};
use crate::chat::{Chat, Message};

/// What all handlers share.
pub struct App {
    auth: Auth,
    chat: Chat,
    /// The last position of each order, for those who join.
    locations: Mutex<HashMap<String, Location>>,
}

impl App {
    pub fn new(auth: Auth, chat: Chat) -> Self {
        Self { auth, chat, locations: Mutex::default() }
    }

    fn remember(&self, location: Location) {
        let mut locations = self.locations.lock().unwrap_or_else(PoisonError::into_inner);
        locations.insert(location.order_id.clone(), location);
    }

    fn last_location(&self, order_id: &str) -> Option<Location> {
        self.locations.lock().unwrap_or_else(PoisonError::into_inner).get(order_id).cloned()
    }
}

#[derive(Deserialize)]
pub struct Hello {
    token: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Join {
    order_id: String,
    since_seq: Option<i32>,
    limit: Option<i64>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Fix {
    order_id: String,
    lat: f64,
    lng: f64,
    accuracy: Option<f64>,
    heading: Option<f64>,
    speed: Option<f64>,
    altitude: Option<f64>,
    recorded_at: Option<DateTime<Utc>>,
}

#[derive(Clone, Serialize)]
#[serde(rename_all = "camelCase")]
struct Location {
    order_id: String,
    lat: f64,
    lng: f64,
    timestamp: DateTime<Utc>,
    driver_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    accuracy: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    heading: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    speed: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    altitude: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    recorded_at: Option<DateTime<Utc>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Say {
    order_id: String,
    content: String,
    r#type: Option<String>,
    client_msg_id: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Joined {
    ok: bool,
    order_id: String,
    last_seq: i32,
    recovered: bool,
    messages: Vec<Message>,
    last_location: Option<Location>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Stored {
    ok: bool,
    id: Uuid,
    seq: i32,
    created_at: DateTime<Utc>,
}

#[derive(Serialize)]
struct Done {
    ok: bool,
}

#[derive(Serialize)]
struct Refusal {
    code: &'static str,
}

#[derive(Serialize)]
struct Refused {
    ok: bool,
    error: Refusal,
}

fn room(order_id: &str) -> String {
    format!("order:{order_id}")
}

/// A reply that cannot be sent is for somebody who has gone.
fn reply<T: Serialize>(ack: AckSender, data: &T) {
    if let Err(error) = ack.send(data) {
        tracing::debug!("no reply: {error}");
    }
}

fn refuse(ack: AckSender, code: &'static str) {
    reply(ack, &Refused { ok: false, error: Refusal { code } });
}

/// Whoever has no good token is not let in.
pub async fn authenticate(
    socket: SocketRef,
    Data(hello): Data<Hello>,
    State(app): State<Arc<App>>,
) -> Result<(), jsonwebtoken::errors::Error> {
    let user = app.auth.check(&hello.token)?;
    socket.extensions.insert(Arc::new(user));
    Ok(())
}

pub async fn connected(socket: SocketRef, Extension(user): Extension<Arc<User>>) {
    tracing::info!("{} connected as {}", user.sub, socket.id);
    socket.on("order:join", join);
    socket.on("order:leave", leave);
    socket.on("driver:location", location);
    socket.on("chat:message", message);
    socket.on_disconnect(async |socket: SocketRef, Extension(user): Extension<Arc<User>>| {
        tracing::info!("{} disconnected from {}", user.sub, socket.id);
    });
}

async fn join(
    socket: SocketRef,
    Data(Join { order_id, since_seq, limit }): Data<Join>,
    ack: AckSender,
    Extension(user): Extension<Arc<User>>,
    State(app): State<Arc<App>>,
) {
    if !user.may_join(&order_id) {
        return refuse(ack, "forbidden");
    }
    // First into the room, then to the database: what comes in between is heard live.
    socket.join(room(&order_id));
    let limit = limit.unwrap_or(50).clamp(0, 200);
    match app.chat.history(&order_id, since_seq.unwrap_or(0), limit).await {
        Ok((last_seq, messages)) => {
            let missed = since_seq.map(|since| last_seq - since.min(last_seq));
            let recovered =
                missed.is_some_and(|missed| i32::try_from(messages.len()) == Ok(missed));
            let last_location = app.last_location(&order_id);
            reply(
                ack,
                &Joined { ok: true, order_id, last_seq, recovered, messages, last_location },
            );
        }
        Err(error) => {
            tracing::error!("history: {error}");
            refuse(ack, "unavailable");
        }
    }
}

async fn leave(socket: SocketRef, Data(Join { order_id, .. }): Data<Join>, ack: AckSender) {
    socket.leave(room(&order_id));
    reply(ack, &Done { ok: true });
}

async fn location(
    socket: SocketRef,
    Data(fix): Data<Fix>,
    ack: AckSender,
    Extension(user): Extension<Arc<User>>,
    State(app): State<Arc<App>>,
) {
    if user.role.as_deref() != Some("driver") || !user.may_join(&fix.order_id) {
        return refuse(ack, "forbidden");
    }
    if fix.lat.abs() > 90.0 || fix.lng.abs() > 180.0 {
        return refuse(ack, "invalid_payload");
    }
    let Fix { order_id, lat, lng, accuracy, heading, speed, altitude, recorded_at } = fix;
    let (driver_id, timestamp) = (user.sub.clone(), Utc::now());
    let location = Location {
        order_id,
        lat,
        lng,
        timestamp,
        driver_id,
        accuracy,
        heading,
        speed,
        altitude,
        recorded_at,
    };
    app.remember(location.clone());
    if let Err(error) =
        socket.within(room(&location.order_id)).emit("location:updated", &location).await
    {
        tracing::warn!("location: {error}");
    }
    reply(ack, &Done { ok: true });
}

async fn message(
    socket: SocketRef,
    Data(say): Data<Say>,
    ack: AckSender,
    Extension(user): Extension<Arc<User>>,
    State(app): State<Arc<App>>,
) {
    let Say { order_id, content, r#type, client_msg_id } = say;
    if !user.may_join(&order_id) {
        return refuse(ack, "forbidden");
    }
    if content.is_empty() || content.chars().count() > 4000 {
        return refuse(ack, "invalid_payload");
    }
    let r#type = r#type.unwrap_or_else(|| "TEXT".to_owned());
    match app.chat.save(&user, order_id, content, r#type, client_msg_id).await {
        Ok(message) => {
            if let Err(error) =
                socket.within(room(&message.order_id)).emit("chat:message", &message).await
            {
                tracing::warn!("chat: {error}");
            }
            let Message { id, seq, created_at, .. } = message;
            reply(ack, &Stored { ok: true, id, seq, created_at });
        }
        Err(error) => {
            tracing::error!("chat: {error}");
            refuse(ack, "unavailable");
        }
    }
}
