//! The payload of a CONNECT: the client's token, and the session that it wants to resume.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

/// The data of a client that enters a namespace. Missing or mistyped fields are absent: the payload
/// belongs to the app, and the hub takes what it knows.
#[derive(Clone, PartialEq, Eq)]
pub struct Auth {
    /// The JWT, perhaps with the word `Bearer` before it.
    pub token: Option<String>,
    /// The private id of the session that the client wants to resume.
    pub pid: Option<String>,
    /// The last offset that the client saw in that session.
    pub offset: Option<String>,
    /// Whether the client may get a `pid` and offsets; false only if it says so.
    pub resume: bool,
}

impl Auth {
    /// Reads a payload: an object, or nothing.
    pub fn parse(payload: &str) -> Self {
        serde_json::from_str(payload).unwrap_or_default()
    }
}

impl Default for Auth {
    fn default() -> Self {
        Self { token: None, pid: None, offset: None, resume: true }
    }
}

/// The token and the pid let their holder act for the user, so neither is shown.
impl fmt::Debug for Auth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Auth")
            .field("token", &self.token.as_ref().map(|_| "…"))
            .field("pid", &self.pid.as_ref().map(|_| "…"))
            .field("offset", &self.offset)
            .field("resume", &self.resume)
            .finish()
    }
}

#[derive(serde::Deserialize)]
#[serde(field_identifier, rename_all = "lowercase")]
enum Key {
    Token,
    Pid,
    Offset,
    Resume,
    #[serde(other)]
    Other,
}

impl<'de> Deserialize<'de> for Auth {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(AuthVisitor)
    }
}

/// Takes the last of duplicate keys, as JavaScript does.
struct AuthVisitor;

impl<'de> Visitor<'de> for AuthVisitor {
    type Value = Auth;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<Auth, A::Error> {
        let mut auth = Auth::default();
        while let Some(key) = object.next_key()? {
            let value: &RawValue = object.next_value()?;
            match key {
                Key::Token => auth.token = string(value),
                Key::Pid => auth.pid = string(value),
                Key::Offset => auth.offset = string(value),
                Key::Resume => auth.resume = value.get() != "false",
                Key::Other => {}
            }
        }
        Ok(auth)
    }
}

fn string(value: &RawValue) -> Option<String> {
    serde_json::from_str(value.get()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn auth(token: Option<&str>, pid: Option<&str>, offset: Option<&str>, resume: bool) -> Auth {
        let owned = |text: Option<&str>| text.map(ToOwned::to_owned);
        Auth { token: owned(token), pid: owned(pid), offset: owned(offset), resume }
    }

    #[test]
    fn known_fields_are_read_and_unknown_ones_are_no_error() {
        let nothing = auth(None, None, None, true);
        for (payload, expected) in [
            ("", nothing.clone()),
            ("{}", nothing.clone()),
            ("{\"other\":{\"token\":\"t\"}}", nothing.clone()),
            ("{\"token\":1,\"pid\":null,\"offset\":[\"o\"],\"resume\":0}", nothing.clone()),
            ("{\"token\":\"\\ud800\"}", nothing.clone()),
            ("{\"token\":\"t\"}", auth(Some("t"), None, None, true)),
            ("{\"token\":\"Bearer a.b.c\"}", auth(Some("Bearer a.b.c"), None, None, true)),
            ("{\"token\":\"\"}", auth(Some(""), None, None, true)),
            ("{\"token\":\"a\",\"token\":\"b\"}", auth(Some("b"), None, None, true)),
            (
                "{\"pid\":\"p\",\"offset\":\"o1:7\",\"token\":\"t\"}",
                auth(Some("t"), Some("p"), Some("o1:7"), true),
            ),
            ("{\"resume\":false}", auth(None, None, None, false)),
            ("{\"resume\" : false , \"token\":\"t\"}", auth(Some("t"), None, None, false)),
            ("{\"resume\":\"false\"}", nothing.clone()),
            ("{\"resume\":true}", nothing),
        ] {
            assert_eq!(Auth::parse(payload), expected, "{payload}");
        }
    }

    #[test]
    fn secrets_are_not_shown() {
        let shown = format!("{:?}", auth(Some("secret"), Some("secret"), Some("o:1"), true));
        assert_eq!(
            shown,
            "Auth { token: Some(\"…\"), pid: Some(\"…\"), offset: Some(\"o:1\"), resume: true }"
        );
    }
}
