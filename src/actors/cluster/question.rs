//! What nodes ask each other. Each of them answers for its own sessions and rooms.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::ToSchema;

use crate::bus::Kind;
use protocol::ids::{OrderId, UserId};

/// A question to all other nodes. A node of an older version does not answer what it does not know.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Question {
    /// Carry out the log up to this entry. How many connections the entry has closed.
    Log(i64),
    /// Which of these users are connected. Their ids.
    Online(Vec<UserId>),
    /// Send a back end's event to users. How many connections got it.
    NotifyUsers {
        /// The users.
        users: BTreeSet<UserId>,
        /// The name of the event.
        event: String,
        /// Its data.
        data: Box<RawValue>,
    },
    /// Send a back end's event to the room of an order. How many connections got it.
    Announce {
        /// The order.
        order: OrderId,
        /// The name of the event.
        event: String,
        /// Its data.
        data: Box<RawValue>,
    },
    /// Statistics, as the admin API has them.
    Stats,
    /// A page of rooms, as the admin API has them.
    Rooms {
        /// Only those after this order.
        after: Option<OrderId>,
        /// How many at most.
        limit: usize,
        /// The top ones by this, instead of those with the first ids.
        sort: Option<RoomSort>,
    },
    /// A room, as the admin API has it, or null.
    Room(OrderId),
}

/// By what rooms are sorted, largest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub enum RoomSort {
    /// Users.
    Users,
    /// Sessions.
    Sessions,
    /// Locations a second.
    Locations,
    /// Chat messages a second.
    Chats,
    /// When something last happened.
    Activity,
}

/// A question as it travels.
#[derive(Debug, Serialize, Deserialize)]
pub struct Asked {
    /// The number by which the asking node knows the answers.
    pub number: u64,
    /// The question.
    pub question: Question,
}

/// An answer as it travels.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Reply {
    /// The number of the question.
    pub(super) number: u64,
    /// The answer.
    pub(super) answer: Box<RawValue>,
}

impl Question {
    /// As what it is published.
    pub(super) fn kind(&self) -> Kind {
        match self {
            Self::Log(_) => Kind::Log,
            Self::NotifyUsers { .. } | Self::Announce { .. } => Kind::Event,
            Self::Online(_) | Self::Stats | Self::Rooms { .. } | Self::Room(_) => Kind::Ask,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_version_must_write_these_questions() {
        let data = RawValue::from_string(r#"{"a": 1}"#.to_owned()).expect("JSON");
        let (order, user): (OrderId, UserId) =
            ("o1".parse().expect("an id"), "u1".parse().expect("an id"));
        let (users, event) = (BTreeSet::from([user.clone()]), "hello".to_owned());
        for (question, text) in [
            (Question::Log(7), r#"{"log":7}"#),
            (Question::Online(vec![user]), r#"{"online":["u1"]}"#),
            (
                Question::NotifyUsers { users, event: event.clone(), data: data.clone() },
                r#"{"notifyUsers":{"users":["u1"],"event":"hello","data":{"a": 1}}}"#,
            ),
            (
                Question::Announce { order: order.clone(), event, data },
                r#"{"announce":{"order":"o1","event":"hello","data":{"a": 1}}}"#,
            ),
            (Question::Stats, r#""stats""#),
            (
                Question::Rooms { after: None, limit: 5, sort: Some(RoomSort::Chats) },
                r#"{"rooms":{"after":null,"limit":5,"sort":"chats"}}"#,
            ),
            (Question::Room(order), r#"{"room":"o1"}"#),
        ] {
            let asked = Asked { number: 3, question };
            let written = serde_json::to_string(&asked).expect("JSON");
            assert_eq!(written, format!(r#"{{"number":3,"question":{text}}}"#));
            let read: Asked = serde_json::from_str(&written).expect("a question");
            assert_eq!(serde_json::to_string(&read).expect("JSON"), written);
        }
        assert!(serde_json::from_str::<Asked>(r#"{"number":3,"question":{"new":1}}"#).is_err());
    }
}
