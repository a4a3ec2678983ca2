//! The JSON of webhooks: the data of each event, and the body that is signed and sent.

use std::collections::BTreeSet;

use serde::Serialize;
use serde_json::value::RawValue;

use protocol::chat::ChatMessage;
use protocol::ids::{OrderId, UserId};
use protocol::role::Role;
use protocol::time::Timestamp;

/// The body of a request.
#[derive(Serialize)]
struct Body<'a> {
    r#type: &'a str,
    timestamp: Timestamp,
    data: &'a RawValue,
}

/// The data of `chat.message`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ChatData<'a> {
    #[serde(flatten)]
    message: &'a RawObject<'a>,
    offline_user_ids: Vec<&'a UserId>,
}

type RawObject<'a> = std::collections::BTreeMap<&'a str, &'a RawValue>;

/// The data of `chat.read`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ReadData<'a> {
    order_id: &'a OrderId,
    user_id: &'a UserId,
    seq: i64,
    at: Timestamp,
}

/// The data of `chat.unread`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct UnreadData<'a> {
    order_id: &'a OrderId,
    user_id: &'a UserId,
    unread: i64,
    messages: &'a [&'a ChatMessage],
    role: Role,
    online: bool,
}

/// The data of `member.joined` and `member.left`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct MemberData<'a> {
    order_id: &'a OrderId,
    user_id: &'a UserId,
    name: &'a str,
    role: Role,
    at: Timestamp,
    boot_id: &'a str,
}

/// The data of `driver.online`, `offline`, `stale` and `fresh`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct DriverData<'a> {
    order_id: &'a OrderId,
    driver_id: &'a UserId,
    at: Timestamp,
    boot_id: &'a str,
}

/// The data of `hub.started`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct StartData<'a> {
    node: &'a str,
    boot_id: &'a str,
    at: Timestamp,
}

/// The data of a stored message.
pub fn chat_message(message: &ChatMessage) -> String {
    text(message)
}

/// The data of a read mark that moved.
pub fn chat_read(order_id: &OrderId, user_id: &UserId, seq: i64, at: Timestamp) -> String {
    text(&ReadData { order_id, user_id, seq, at })
}

/// The data of messages that a user was not shown.
pub fn chat_unread(
    order_id: &OrderId,
    user_id: &UserId,
    unread: i64,
    messages: &[&ChatMessage],
    role: Role,
    online: bool,
) -> String {
    text(&UnreadData { order_id, user_id, unread, messages, role, online })
}

/// The data of a member who came or went.
pub fn member(
    order_id: &OrderId,
    (user_id, name, role): (&UserId, &str, Role),
    at: Timestamp,
    boot_id: &str,
) -> String {
    text(&MemberData { order_id, user_id, name, role, at, boot_id })
}

/// The data of an event about an order's driver.
pub fn driver(order_id: &OrderId, driver_id: &UserId, at: Timestamp, boot_id: &str) -> String {
    text(&DriverData { order_id, driver_id, at, boot_id })
}

/// The data of a hub that has started.
pub fn hub_started(node: &str, boot_id: &str, at: Timestamp) -> String {
    text(&StartData { node, boot_id, at })
}

/// The data of a message, with those of `involved` who are not `online` and did not write it.
///
/// # Errors
/// If `data` is no object in JSON.
pub fn with_offline_users(
    data: &str,
    involved: &[UserId],
    online: &BTreeSet<UserId>,
) -> Result<String, serde_json::Error> {
    let message: RawObject<'_> = serde_json::from_str(data)?;
    let sender = message.get("senderId").map(|id| id.get().trim_matches('"'));
    let is_offline = |user: &&UserId| !online.contains(*user) && Some(user.as_str()) != sender;
    let offline_user_ids = involved.iter().filter(is_offline).collect();
    serde_json::to_string(&ChatData { message: &message, offline_user_ids })
}

/// The body of a request.
///
/// # Errors
/// If `data` is no JSON.
pub fn body(kind: &str, timestamp: Timestamp, data: &str) -> Result<String, serde_json::Error> {
    serde_json::to_string(&Body { r#type: kind, timestamp, data: serde_json::from_str(data)? })
}

/// Writes a value as JSON.
pub(super) fn text(value: &impl Serialize) -> String {
    serde_json::to_string(value).unwrap_or_else(|error| {
        // Only a bug in one of our `Serialize` implementations leads here.
        log::error!("cannot encode a webhook: {error}");
        "null".to_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::chat::ChatKind;

    fn user(id: &str) -> UserId {
        id.parse().expect("an id")
    }

    #[test]
    fn a_message_is_told_with_those_who_are_not_there_and_did_not_write_it() {
        let message = ChatMessage {
            id: "01a204e8-e3cf-7156-b9d4-9f21c968bec6".to_owned(),
            order_id: "order-1".parse().expect("an id"),
            seq: 3,
            sender_id: user("ann"),
            sender_name: "Ann \"A\"".to_owned(),
            sender_role: Role::Customer,
            content: "hello\u{7}".to_owned(),
            kind: ChatKind::Text,
            created_at: Timestamp::from_millis(7),
            client_msg_id: None,
        };
        let involved = ["ann", "bob", "dan"].map(user);
        let online = BTreeSet::from([user("bob")]);
        let data = with_offline_users(&chat_message(&message), &involved, &online).expect("JSON");
        let body = body("chat.message", message.created_at, &data).expect("JSON");
        let told: serde_json::Value = serde_json::from_str(&body).expect("JSON");
        let mut data = serde_json::to_value(&message).expect("JSON");
        data["offlineUserIds"] = serde_json::json!(["dan"]);
        let timestamp = "1970-01-01T00:00:00.007Z";
        let whole =
            serde_json::json!({"type": "chat.message", "timestamp": timestamp, "data": data});
        assert_eq!(told, whole);
    }
}
