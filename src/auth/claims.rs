//! The claims of a token: found by their configured names in one pass, then each read by its own
//! rules.

use std::fmt;
use std::sync::Arc;

use serde::Deserialize;
use serde::de::{self, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::Value;
use serde_json::value::RawValue;

use super::AuthError;
use crate::config::AuthConfig;
use protocol::ids::{OrderId, UserId};
use protocol::json_number::integer;
use protocol::text::visible_name;
use protocol::time::Timestamp;

/// The longest displayed name, in characters.
const MAX_NAME_CHARS: usize = 128;

/// The last second of the year 9999. A later `exp` is in milliseconds by mistake, and would make a
/// token live for 50,000 years.
const MAX_EXPIRY_SECS: i64 = 253_402_300_799;

/// The claims that the hub reads. One claim of a token may fill several of them: `JWT_NAME_CLAIM`
/// may be `sub`.
#[derive(Debug, Clone, Copy)]
enum Slot {
    Exp,
    Nbf,
    Iat,
    Iss,
    Aud,
    Orders,
    User,
    UserElse,
    Name,
    Role,
    /// The first part of `JWT_ROLE_CLAIM`, if that is a path.
    RoleParent,
}

const SLOTS: usize = 11;

/// The names of the claims in this back end's tokens, by [`Slot`].
pub(super) struct ClaimNames([Box<str>; SLOTS]);

impl ClaimNames {
    pub(super) fn new(auth: &AuthConfig) -> Self {
        let (user, user_else) = match auth.user_claim.as_deref() {
            Some(claim) => (claim, claim),
            // The gateway that this hub replaces put the user into `id`.
            None => ("id", "sub"),
        };
        let (name, role) = (auth.name_claim.as_str(), auth.role_claim.as_str());
        let parent = role.split_once('.').map_or(role, |(parent, _)| parent);
        let names =
            ["exp", "nbf", "iat", "iss", "aud", "orders", user, user_else, name, role, parent];
        Self(names.map(Box::from))
    }

    /// Finds the claims in the payload of a token.
    pub(super) fn find<'a>(&self, payload: &'a str) -> Result<Claims<'a>, AuthError> {
        let mut json = serde_json::Deserializer::from_str(payload);
        self.deserialize(&mut json)
            .map_err(|_| invalid("the payload is not an object with each claim once"))
    }
}

impl<'de> DeserializeSeed<'de> for &ClaimNames {
    type Value = Claims<'de>;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Claims<'de>, D::Error> {
        json.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for &ClaimNames {
    type Value = Claims<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the claims of a token")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Claims<'de>, A::Error> {
        let mut found = [None; SLOTS];
        while let Some(wanted) = map.next_key_seed(ClaimNameSeed(self))? {
            if !wanted.contains(&true) {
                map.next_value::<IgnoredAny>()?;
                continue;
            }
            let value: &'de RawValue = map.next_value()?;
            for (slot, _) in found.iter_mut().zip(wanted).filter(|(_, wanted)| *wanted) {
                // Of two claims with one name, some readers take the first and some the last, so
                // neither is safe.
                if slot.replace(value).is_some() {
                    return Err(de::Error::custom("a claim comes twice"));
                }
            }
        }
        Ok(Claims(found))
    }
}

/// Reads the name of a claim without keeping it: only the slots that it fills matter.
struct ClaimNameSeed<'n>(&'n ClaimNames);

impl<'de> DeserializeSeed<'de> for ClaimNameSeed<'_> {
    type Value = [bool; SLOTS];

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Self::Value, D::Error> {
        json.deserialize_str(self)
    }
}

impl Visitor<'_> for ClaimNameSeed<'_> {
    type Value = [bool; SLOTS];

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the name of a claim")
    }

    fn visit_str<E: de::Error>(self, key: &str) -> Result<Self::Value, E> {
        Ok(self.0.0.each_ref().map(|name| **name == *key))
    }
}

/// The claims of one token, as raw JSON.
pub(super) struct Claims<'a>([Option<&'a RawValue>; SLOTS]);

impl<'a> Claims<'a> {
    /// A claim, if it exists and is not null.
    fn get(&self, slot: Slot) -> Option<&'a str> {
        self.0[slot as usize].map(RawValue::get).filter(|raw| *raw != "null")
    }

    pub(super) fn expires_at(&self) -> Result<Timestamp, AuthError> {
        seconds(self.get(Slot::Exp), "exp")?.ok_or_else(|| invalid("it has no exp"))
    }

    pub(super) fn not_before(&self) -> Result<Option<Timestamp>, AuthError> {
        seconds(self.get(Slot::Nbf), "nbf")
    }

    pub(super) fn issued_at(&self) -> Result<Option<Timestamp>, AuthError> {
        seconds(self.get(Slot::Iat), "iat")
    }

    pub(super) fn issuer_is(&self, issuer: &str) -> bool {
        self.get(Slot::Iss).and_then(string).is_some_and(|said| said == issuer)
    }

    /// Whether `aud`, a text or a list of texts, names the audience.
    pub(super) fn is_for(&self, audience: &str) -> bool {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Audience {
            One(String),
            Many(Vec<String>),
        }
        match self.get(Slot::Aud).and_then(|raw| serde_json::from_str(raw).ok()) {
            Some(Audience::One(one)) => one == audience,
            Some(Audience::Many(many)) => many.iter().any(|one| one == audience),
            None => false,
        }
    }

    pub(super) fn user(&self) -> Result<UserId, AuthError> {
        let raw = self.get(Slot::User).or_else(|| self.get(Slot::UserElse));
        let raw = raw.ok_or_else(|| invalid("it names no user"))?;
        serde_json::from_str(raw).map_err(|error| {
            let problem = error.to_string();
            let problem = problem.split(" at line ").next().unwrap_or_default();
            AuthError::Invalid(format!("its user is not an id: {problem}").into())
        })
    }

    /// The displayed name. It is not essential: an invalid name is left out, and the login
    /// continues.
    pub(super) fn name(&self) -> Option<String> {
        let said = self.get(Slot::Name).and_then(text)?;
        let name: String =
            said.trim().chars().filter(|c| !c.is_control()).take(MAX_NAME_CHARS).collect();
        visible_name(&name).map(|shown| shown.trim().to_owned())
    }

    /// The token's names for its user's roles: one text or a list of texts, in the claim of that
    /// name or, if there is none and the name has dots, at that path (`realm_access.roles`).
    pub(super) fn roles(&self, claim: &str) -> Vec<String> {
        let Some(raw) = self.get(Slot::Role) else { return self.roles_at(claim) };
        match serde_json::from_str(raw) {
            Ok(Value::Array(list)) => list.iter().filter_map(role_text).collect(),
            _ => text(raw).into_iter().collect(),
        }
    }

    fn roles_at(&self, path: &str) -> Vec<String> {
        let Some((_, rest)) = path.split_once('.') else { return Vec::new() };
        let parent = self.get(Slot::RoleParent).and_then(|raw| serde_json::from_str(raw).ok());
        let found = parent.and_then(|parent: Value| at_path(&parent, rest).cloned());
        match found {
            Some(Value::Array(list)) => list.iter().filter_map(role_text).collect(),
            Some(one) => role_text(&one).into_iter().collect(),
            None => Vec::new(),
        }
    }

    /// The orders, sorted, without duplicates.
    pub(super) fn orders(&self) -> Result<Arc<[OrderId]>, AuthError> {
        let Some(raw) = self.get(Slot::Orders) else { return Ok(Arc::from([])) };
        let mut orders: Vec<OrderId> =
            serde_json::from_str(raw).map_err(|_| invalid("its orders are not a list of ids"))?;
        orders.sort_unstable();
        orders.dedup();
        Ok(orders.into())
    }
}

pub(super) fn invalid(reason: &'static str) -> AuthError {
    AuthError::Invalid(reason.into())
}

/// The value at a path below a value. A key may contain dots itself.
fn at_path<'v>(value: &'v Value, path: &str) -> Option<&'v Value> {
    value.get(path).or_else(|| {
        let mut dots = path.match_indices('.');
        dots.find_map(|(dot, _)| at_path(value.get(&path[..dot])?, &path[dot + 1..]))
    })
}

fn role_text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

/// Reads a time of RFC 7519, section 2: seconds, which may have a fraction.
fn seconds(raw: Option<&str>, claim: &str) -> Result<Option<Timestamp>, AuthError> {
    let Some(raw) = raw else { return Ok(None) };
    let whole = || raw.parse::<i64>().ok().map(|seconds| seconds.saturating_mul(1000));
    // Rounded down, so that a token does not live longer than it says.
    let fraction =
        || raw.parse::<f64>().ok().and_then(|seconds| integer((seconds * 1000.0).floor()));
    let read = whole().or_else(fraction).filter(|ms| *ms < (MAX_EXPIRY_SECS + 1) * 1000);
    let problem = || format!("its {claim} is not in seconds before the year 10000");
    read.map(|ms| Some(Timestamp::from_millis(ms)))
        .ok_or_else(|| AuthError::Invalid(problem().into()))
}

fn string(raw: &str) -> Option<String> {
    serde_json::from_str(raw).ok()
}

/// A text, or a number converted to text.
fn text(raw: &str) -> Option<String> {
    let is_number = raw.starts_with(|first: char| first == '-' || first.is_ascii_digit());
    if is_number { Some(raw.to_owned()) } else { string(raw) }
}
