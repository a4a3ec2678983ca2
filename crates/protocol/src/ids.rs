//! The ids of orders, users, connections, sessions and runs of a hub, and the `pid` of a session.
//! Each has its own type, and is checked once where it enters.

mod boot_id;
mod pid;
pub mod random;

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use smol_str::SmolStr;

use crate::json_number;
use crate::time::Timestamp;
pub use boot_id::BootId;
pub use pid::{InvalidPid, Pid};

/// The longest id, in bytes.
pub const MAX_ID_BYTES: usize = 128;

/// Why a text is not an id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidId {
    /// It is empty or too long.
    #[error("must be 1 to 128 characters")]
    Length,
    /// It has a character that is not allowed.
    #[error("must be 1 to 128 of the characters A-Z a-z 0-9 {allowed}; {found:?} is none of them")]
    Character {
        /// The allowed characters beside letters and digits.
        allowed: &'static str,
        /// The first character that is not allowed.
        found: char,
    },
}

/// What order ids may contain beside letters and digits. They appear unescaped in paths.
const ORDER_CHARACTERS: &str = ". _ : ~ -";
/// What user ids may contain beside letters and digits: identity providers make them of a provider
/// and an id (`auth0|5f7c`), e-mail addresses and telephone numbers. None of these characters has a
/// meaning in JSON, in a log line or in a channel name, and all can be escaped in a path.
const USER_CHARACTERS: &str = ". _ : ~ - @ + | =";

fn check(text: &str, allowed: &'static str) -> Result<(), InvalidId> {
    if !(1..=MAX_ID_BYTES).contains(&text.len()) {
        return Err(InvalidId::Length);
    }
    let is_bad = |byte: &u8| {
        !byte.is_ascii_alphanumeric() && (*byte == b' ' || !allowed.as_bytes().contains(byte))
    };
    let Some(at) = text.bytes().position(|byte| is_bad(&byte)) else { return Ok(()) };
    // All characters before it are single bytes, so a character begins here.
    let found = text[at..].chars().next().unwrap_or_default();
    Err(InvalidId::Character { allowed, found })
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $allowed:ident) => {
        $(#[$doc])*
        ///
        /// An id of up to 23 bytes is stored inline: every event names an order, and a lookup
        /// should not wait for another memory access. A longer one (a UUID has 36) is shared.
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
        #[serde(transparent)]
        pub struct $name(SmolStr);

        impl $name {
            /// Checks a text and makes it an id.
            ///
            /// # Errors
            /// [`InvalidId`] where it is empty, too long or has a character that is not allowed.
            pub fn new(text: &str) -> Result<Self, InvalidId> {
                check(text, $allowed)?;
                Ok(Self(SmolStr::new(text)))
            }

            /// The id as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(self.as_str(), f)
            }
        }

        impl std::str::FromStr for $name {
            type Err = InvalidId;

            fn from_str(text: &str) -> Result<Self, InvalidId> {
                Self::new(text)
            }
        }

        impl std::borrow::Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                deserializer.deserialize_any(IdVisitor).and_then(|text| match text {
                    Text::Borrowed(text) => Self::new(text).map_err(de::Error::custom),
                    Text::Owned(text) => Self::new(&text).map_err(de::Error::custom),
                })
            }
        }
    };
}

id! {
    /// The id of an order, and so of its room.
    OrderId, ORDER_CHARACTERS
}
id! {
    /// The id of a user: a driver, a customer, a member of staff or a service.
    UserId, USER_CHARACTERS
}

/// The number of a connection. Unique in the process, and not shown to clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnectionId(u64);

impl ConnectionId {
    /// A new, unused id.
    pub fn next() -> Self {
        static LAST: AtomicU64 = AtomicU64::new(0);
        Self(LAST.fetch_add(1, Ordering::Relaxed))
    }
}

/// The id of a session. Unique in the process; clients see the text form.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionId(uuid::Uuid);

impl SessionId {
    /// A new id. An id from a later millisecond sorts later.
    pub fn random() -> Self {
        let mut bytes = [0; 10];
        if random::fill(&mut bytes).is_err() {
            return Self(uuid::Uuid::now_v7());
        }
        let now = u64::try_from(Timestamp::now().as_millis()).unwrap_or(0);
        Self(uuid::Builder::from_unix_timestamp_millis(now, &bytes).into_uuid())
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0.simple(), f)
    }
}

impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl<'de> Deserialize<'de> for SessionId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'_, str>>::deserialize(deserializer)?;
        uuid::Uuid::try_parse(&text).map(Self).map_err(de::Error::custom)
    }
}

impl Serialize for SessionId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

enum Text<'de> {
    Borrowed(&'de str),
    Owned(String),
}

/// Accepts a string, or a whole number, which becomes its text: tokens and databases of
/// existing back ends have numeric ids.
struct IdVisitor;

impl<'de> Visitor<'de> for IdVisitor {
    type Value = Text<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an id (a string or a whole number)")
    }

    fn visit_borrowed_str<E: de::Error>(self, text: &'de str) -> Result<Text<'de>, E> {
        Ok(Text::Borrowed(text))
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Text<'de>, E> {
        Ok(Text::Owned(text.to_owned()))
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<Text<'de>, E> {
        Ok(Text::Owned(number.to_string()))
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<Text<'de>, E> {
        Ok(Text::Owned(number.to_string()))
    }

    fn visit_f64<E: de::Error>(self, number: f64) -> Result<Text<'de>, E> {
        let text = json_number::integer(number).map(|number| Text::Owned(number.to_string()));
        text.ok_or_else(|| E::invalid_value(de::Unexpected::Float(number), &self))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_take_the_documented_characters_and_nothing_else() {
        for good in ["1", "o-1", "A.b_c:d~e", &"x".repeat(128)] {
            assert_eq!(OrderId::new(good).map(|id| id.to_string()), Ok(good.to_owned()));
        }
        for bad in ["", " ", "a b", "a/b", "ä", "a\0", "a\n", "a|b", &"x".repeat(129)] {
            assert!(OrderId::new(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn ids_of_users_are_those_of_identity_providers_too() {
        for good in ["auth0|5f7c8ec7", "ann.b+c@example.com", "+385911234567", "aGk=", "7", "a:b"] {
            assert_eq!(UserId::new(good).map(|id| id.to_string()), Ok(good.to_owned()));
        }
        for bad in
            ["", "a b", "a/b", "a%b", "a\"b", "a\\b", "a'b", "a<b", "é", "a\u{7f}", "\u{202e}a"]
        {
            assert!(UserId::new(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn an_invalid_character_is_named() {
        let told = |text| UserId::new(text).expect_err("no id").to_string();
        assert!(told("ann#é").contains("'#'"), "{}", told("ann#é"));
        assert!(told("Zoé/").contains("'é'"), "{}", told("Zoé/"));
        assert!(told("a\nb").contains("'\\n'"), "{}", told("a\nb"));
        assert_eq!(told(""), "must be 1 to 128 characters");
    }

    #[test]
    fn ids_are_equal_and_found_by_their_text_wherever_it_stands() {
        for text in ["o1", &"x".repeat(23), &"x".repeat(24), &"x".repeat(128)] {
            let (one, other) = (OrderId::new(text).expect("id"), OrderId::new(text).expect("id"));
            assert_eq!((&one, one.cmp(&other)), (&other, std::cmp::Ordering::Equal));
            let known = std::collections::HashSet::from([one]);
            assert!(known.contains(&other) && known.contains(text));
            assert!(!known.contains(&text[1..]));
        }
    }

    #[test]
    fn a_number_becomes_its_text() {
        assert_eq!(serde_json::from_str::<UserId>("42").ok(), UserId::new("42").ok());
        assert_eq!(serde_json::from_str::<UserId>("-7").ok(), UserId::new("-7").ok());
        assert_eq!(serde_json::from_str::<UserId>("42.0").ok(), UserId::new("42").ok());
        assert!(serde_json::from_str::<UserId>("4.2").is_err());
        assert!(serde_json::from_str::<UserId>("null").is_err());
        assert!(serde_json::from_str::<UserId>("[1]").is_err());
    }

    #[test]
    fn session_ids_differ() {
        assert_ne!(SessionId::random(), SessionId::random());
    }

    #[test]
    fn session_ids_come_back_from_their_text() {
        let id = SessionId::random();
        let text = serde_json::to_string(&id).expect("text");
        assert_eq!(serde_json::from_str::<SessionId>(&text).ok(), Some(id));
        assert!(serde_json::from_str::<SessionId>("\"x\"").is_err());
    }
}
