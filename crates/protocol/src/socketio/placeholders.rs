//! Placeholders: the positions of attachments in the payload of a binary packet.

use std::fmt;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};

use super::malformed::Malformed;

/// Checks that each `{"_placeholder":true,"num":N}` of a payload names an attachment.
///
/// # Errors
/// [`Malformed::Placeholder`] if one does not, or has other members.
pub fn check(payload: &str, attachments: usize) -> Result<(), Malformed> {
    let checked = PlaceholderSearch { attachments }
        .deserialize(&mut serde_json::Deserializer::from_str(payload));
    checked.map(drop).map_err(|_| Malformed::Placeholder)
}

/// A walk through a JSON value. Its depth was checked before, so it may recurse.
#[derive(Clone, Copy)]
struct PlaceholderSearch {
    attachments: usize,
}

/// The kind of a value, as far as the object around it needs it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum JsonKind {
    True,
    Index(u64),
    Other,
}

#[derive(Deserialize)]
#[serde(field_identifier)]
enum Key {
    #[serde(rename = "_placeholder")]
    Placeholder,
    #[serde(rename = "num")]
    Num,
    #[serde(other)]
    Other,
}

impl<'de> DeserializeSeed<'de> for PlaceholderSearch {
    type Value = JsonKind;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<JsonKind, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for PlaceholderSearch {
    type Value = JsonKind;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_bool<E>(self, value: bool) -> Result<JsonKind, E> {
        Ok(if value { JsonKind::True } else { JsonKind::Other })
    }

    fn visit_u64<E>(self, value: u64) -> Result<JsonKind, E> {
        Ok(JsonKind::Index(value))
    }

    fn visit_i64<E>(self, _: i64) -> Result<JsonKind, E> {
        Ok(JsonKind::Other)
    }

    fn visit_f64<E>(self, _: f64) -> Result<JsonKind, E> {
        Ok(JsonKind::Other)
    }

    fn visit_str<E>(self, _: &str) -> Result<JsonKind, E> {
        Ok(JsonKind::Other)
    }

    fn visit_unit<E>(self) -> Result<JsonKind, E> {
        Ok(JsonKind::Other)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut array: A) -> Result<JsonKind, A::Error> {
        while array.next_element_seed(self)?.is_some() {}
        Ok(JsonKind::Other)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<JsonKind, A::Error> {
        // A duplicate key counts as two entries: a placeholder has exactly two.
        let (mut marked, mut number, mut entries) = (false, None, 0);
        while let Some(key) = object.next_key()? {
            let value = object.next_value_seed(self)?;
            match (key, value) {
                (Key::Placeholder, JsonKind::True) => marked = true,
                (Key::Num, JsonKind::Index(index)) => number = usize::try_from(index).ok(),
                _ => {}
            }
            entries += 1;
        }
        if marked && (entries != 2 || number.is_none_or(|number| number >= self.attachments)) {
            return Err(A::Error::custom("no such attachment"));
        }
        Ok(JsonKind::Other)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_placeholder_names_one_of_the_attachments() {
        for payload in [
            r#"["a"]"#,
            r#"["a",{"_placeholder":true,"num":0}]"#,
            r#"["a",{"num":1,"_placeholder":true}]"#,
            r#"["a",[{"b":{"_placeholder":true,"num":1}}],{"_placeholder":true,"num":1}]"#,
            r#"["a",{"\u005fplaceholder":true,"num":1}]"#,
            r#"["a",{"_placeholder":false,"num":7}]"#,
            r#"["a",{"_placeholder":1,"num":-7}]"#,
            r#"["a",{"placeholder":true,"num":7},null,1.5,-1,"_placeholder"]"#,
            r#"["a","{\"_placeholder\":true,\"num\":7}"]"#,
        ] {
            assert_eq!(check(payload, 2), Ok(()), "{payload}");
        }
    }

    #[test]
    fn a_placeholder_that_names_none_is_malformed() {
        for placeholder in [
            r#"{"_placeholder":true}"#,
            r#"{"_placeholder":true,"num":2}"#,
            r#"{"_placeholder":true,"num":-1}"#,
            r#"{"_placeholder":true,"num":0.0}"#,
            r#"{"_placeholder":true,"num":0.5}"#,
            r#"{"_placeholder":true,"num":"0"}"#,
            r#"{"_placeholder":true,"num":null}"#,
            r#"{"_placeholder":true,"num":[0]}"#,
            r#"{"_placeholder":true,"num":99999999999999999999}"#,
            r#"{"_placeholder":true,"num":0,"more":1}"#,
            r#"{"_placeholder":true,"num":0,"num":1}"#,
            r#"{"_placeholder":true,"_placeholder":true,"num":0}"#,
            r#"{"_placeholder":true,"_placeholder":false,"num":0}"#,
            r#"{"_placeholder":true,"_placeholder":true}"#,
            r#"{"\u005fplaceholder":true,"num":2}"#,
        ] {
            for payload in
                [format!("[\"a\",{placeholder}]"), format!("[{{\"b\":[{placeholder}]}}]")]
            {
                assert_eq!(check(&payload, 2), Err(Malformed::Placeholder), "{payload}");
            }
        }
        assert_eq!(check(r#"[{"_placeholder":true,"num":0}]"#, 0), Err(Malformed::Placeholder));
    }
}
