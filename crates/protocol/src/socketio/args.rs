//! The array of an EVENT: the event's name, its data, and the text after the name.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, Deserializer, IgnoredAny, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::malformed::Malformed;
use crate::json::WHITESPACE;

/// Names that clients cannot send: socket.io-client itself refuses to emit them. `error` is not
/// among them.
const RESERVED: &[&str] =
    &["connect", "connect_error", "disconnect", "disconnecting", "newListener", "removeListener"];

/// The content of an EVENT, read once.
#[derive(Debug, Clone)]
pub struct Args<'a> {
    /// The whole array.
    array: &'a str,
    /// Its first element.
    head: Option<&'a RawValue>,
    /// The first element as text: the event's name. None if it is not a text.
    pub name: Option<Cow<'a, str>>,
    /// The second element: the event's data.
    pub data: Option<&'a RawValue>,
}

impl<'a> Args<'a> {
    /// Reads the payload of an EVENT.
    ///
    /// # Errors
    /// [`Malformed::Payload`] if it is not a JSON array, [`Malformed::Reserved`] if its name is
    /// reserved for Socket.IO itself. An array without a name is no error here: the client gets an
    /// answer, and its connection stays.
    pub fn parse(array: &'a str) -> Result<Self, Malformed> {
        let Elements { head, data } =
            serde_json::from_str(array).map_err(|_| Malformed::Payload)?;
        let name = head.and_then(text);
        if name.as_ref().is_some_and(|name| RESERVED.contains(&name.as_ref())) {
            return Err(Malformed::Reserved);
        }
        Ok(Self { array, head, name, data })
    }

    /// The elements after the first as they were sent, with the commas between them: `1,"2"`.
    pub fn rest(&self) -> &'a str {
        let inner = self.array.trim_matches(WHITESPACE).strip_prefix('[');
        let inner = inner.and_then(|inner| inner.strip_suffix(']')).unwrap_or_default();
        let name = self.head.map_or(0, |head| head.get().len());
        let rest = inner.trim_matches(WHITESPACE).get(name..).unwrap_or_default();
        rest.trim_start_matches(WHITESPACE)
            .strip_prefix(',')
            .unwrap_or_default()
            .trim_matches(WHITESPACE)
    }
}

/// A JSON string as text. None if it is not a string, or contains half of a surrogate pair.
fn text(json: &RawValue) -> Option<Cow<'_, str>> {
    let inner = json.get().strip_prefix('"')?.strip_suffix('"')?;
    if inner.contains('\\') {
        return serde_json::from_str(json.get()).ok().map(Cow::Owned);
    }
    Some(Cow::Borrowed(inner))
}

/// The first two elements of an array; the others are only validated.
struct Elements<'a> {
    head: Option<&'a RawValue>,
    data: Option<&'a RawValue>,
}

impl<'de: 'a, 'a> Deserialize<'de> for Elements<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(ElementsVisitor)
    }
}

struct ElementsVisitor;

impl<'de> Visitor<'de> for ElementsVisitor {
    type Value = Elements<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut array: A) -> Result<Self::Value, A::Error> {
        let (head, data) = (array.next_element()?, array.next_element()?);
        while array.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Elements { head, data })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_and_the_text_of_the_arguments_are_separated() {
        for (array, name, data, rest) in [
            ("[]", None, None, ""),
            (" [ ] ", None, None, ""),
            ("[1]", None, Some(""), ""),
            ("[null,1]", None, Some("1"), "1"),
            (r#"["a"]"#, Some("a"), None, ""),
            (r#"[""]"#, Some(""), None, ""),
            (r#"["a",null]"#, Some("a"), Some("null"), "null"),
            (
                r#"["message",1,"2",{"3":[true]}]"#,
                Some("message"),
                Some("1"),
                r#"1,"2",{"3":[true]}"#,
            ),
            (r#"["m",1.0,1e999]"#, Some("m"), Some("1.0"), "1.0,1e999"),
            ("\r\n[ \"m\" ,\t{ } , 2 ] ", Some("m"), Some("{ }"), "{ } , 2"),
            (r#"["a]\",[\u0062",[]]"#, Some("a]\",[b"), Some("[]"), "[]"),
            (r#"["\ud800",1]"#, None, Some("1"), "1"),
            (r#"["küche 🚚","ö"]"#, Some("küche 🚚"), Some("\"ö\""), "\"ö\""),
        ] {
            let args = Args::parse(array).expect(array);
            assert_eq!(args.name.as_deref(), name, "{array}");
            let data = data.filter(|data| !data.is_empty());
            assert_eq!(args.data.map(RawValue::get), data, "{array}");
            assert_eq!(args.rest(), rest, "{array}");
        }
    }

    #[test]
    fn anything_but_an_array_is_malformed() {
        for array in [
            "",
            " ",
            "{}",
            "1",
            "\"a\"",
            "null",
            "abc",
            "[",
            "]",
            "[\"a\"",
            "[\"a\",]",
            "[,]",
            "[\"a\" 1]",
            "[\"a\",NaN]",
            "[\"a\",-]",
            "[\"a\"]x",
            "[\"a\"][]",
            "[\"a\n\"]",
            "['a']",
            "[\"a\",\"\\x\"]",
            "[\"a\",01]",
            "[\"a\",tru]",
            "[\"a\",{\"b\"}]",
            "[\"a\",Infinity]",
        ] {
            assert_eq!(Args::parse(array).err(), Some(Malformed::Payload), "{array}");
        }
    }

    #[test]
    fn reserved_names_are_malformed_in_every_spelling() {
        for name in RESERVED {
            let array = format!("[\"{name}\",{{}}]");
            assert_eq!(Args::parse(&array).err(), Some(Malformed::Reserved), "{array}");
        }
        assert_eq!(Args::parse("[\"conn\\u0065ct\"]").err(), Some(Malformed::Reserved));
        for name in ["connected", "error", "reconnect", "ping"] {
            assert!(Args::parse(&format!("[\"{name}\"]")).is_ok(), "{name}");
        }
    }
}
