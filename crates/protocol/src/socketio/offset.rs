//! Offsets: the last argument of a chat event, which gives its number in the order's chat.
//!
//! Stock clients keep the last offset that they saw and send it back when they reconnect.

use crate::ids::OrderId;
use crate::json;

/// Writes `"<orderId>:<seq>"`. Ids contain no character that JSON escapes.
pub fn write_offset(order_id: &OrderId, seq: i64, out: &mut Vec<u8>) {
    out.push(b'"');
    out.extend_from_slice(order_id.as_str().as_bytes());
    out.push(b':');
    json::write(&seq, out);
    out.push(b'"');
}

/// Reads what [`write_offset`] wrote, without the quotes. The order's id may contain colons.
pub fn parse_offset(offset: &str) -> Option<(OrderId, i64)> {
    let (order_id, seq) = offset.rsplit_once(':')?;
    // `parse` would accept a sign.
    let seq = seq.parse().ok().filter(|_| seq.bytes().all(|byte| byte.is_ascii_digit()))?;
    Some((OrderId::new(order_id).ok()?, seq))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_offset_is_read_as_it_was_written() {
        for (id, seq) in [("o1", 1), ("order:with:colons", 17), ("7", 0), (":", i64::MAX)] {
            let order_id = OrderId::new(id).expect("an id");
            let mut out = Vec::new();
            write_offset(&order_id, seq, &mut out);
            let text: String = serde_json::from_slice(&out).expect("a JSON string");
            assert_eq!(text, format!("{id}:{seq}"));
            assert_eq!(parse_offset(&text), Some((order_id, seq)));
        }
    }

    #[test]
    fn an_invalid_offset_is_absent() {
        let long = format!("{}:1", "x".repeat(129));
        for text in [
            "",
            ":",
            "o1",
            "o1:",
            ":1",
            "o1:-1",
            "o1:+1",
            "o1:1.0",
            "o1: 1",
            "o1:x",
            "o1:9223372036854775808",
            "o 1:1",
            "ö:1",
            "o1:١",
            &long,
        ] {
            assert_eq!(parse_offset(text), None, "{text}");
        }
    }
}
