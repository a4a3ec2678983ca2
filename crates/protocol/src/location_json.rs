//! Positions, read and written in one pass. Most of what a hub relays are positions, and the
//! general way goes through serde twice (`benches/decode.rs` and `encode.rs` measure both).
//!
//! The reader accepts `driver:location` as nearly every app writes it: no blanks, no escapes, no
//! unknown field, one order. It leaves everything else, valid or not, to the general reader.

use super::json;
use super::location::Position;
use super::request::Request;
use crate::client::ClientEvent;
use crate::events::location::{Location, LocationUpdate, RawLocation, location};
use crate::ids::OrderId;
use crate::json_number::MAX_SAFE_INTEGER;

/// The text that is still to be read.
struct Input<'a>(&'a str);

/// The fields of a location that were read.
#[derive(Default)]
struct LocationFields {
    lat: Option<f64>,
    lng: Option<f64>,
    rest: RawLocation,
}

/// Reads a whole message of the plain framing.
pub(super) fn read_message(text: &str) -> Option<Request> {
    let mut rest = Input(text);
    rest.take("{\"event\":\"driver:location\",")?;
    let mut ack = None;
    if rest.take("\"id\":").is_some() {
        ack = Some(rest.ack_id()?);
        rest.take(",")?;
    }
    rest.take("\"data\":")?;
    let location = rest.location()?;
    if ack.is_none() && rest.take(",\"id\":").is_some() {
        ack = Some(rest.ack_id()?);
    }
    (rest.0 == "}").then_some(Request { event: ClientEvent::Location(location), ack })
}

/// Reads the data of the event.
pub(super) fn read_data(text: &str) -> Option<Location> {
    let mut rest = Input(text);
    let location = rest.location()?;
    rest.0.is_empty().then_some(location)
}

/// Writes the data of `location:updated`, as `Serialize` does.
pub(super) fn write(update: &LocationUpdate<'_>, out: &mut Vec<u8>) {
    let LocationUpdate { order_id, position, battery } = update;
    // Destructured completely, so that a new field cannot be forgotten here.
    let Position {
        lat,
        lng,
        timestamp,
        driver_id,
        accuracy,
        heading,
        speed,
        altitude,
        recorded_at,
    } = position;
    // Ids contain no character that JSON escapes.
    text("{\"orderId\":\"", order_id.as_str(), out);
    number("\",\"lat\":", Some(*lat), out);
    number(",\"lng\":", Some(*lng), out);
    text(",\"timestamp\":\"", timestamp.text().as_str(), out);
    text("\",\"driverId\":\"", driver_id.as_str(), out);
    out.push(b'"');
    number(",\"accuracy\":", *accuracy, out);
    number(",\"heading\":", *heading, out);
    number(",\"speed\":", *speed, out);
    number(",\"altitude\":", *altitude, out);
    if let Some(at) = recorded_at {
        text(",\"recordedAt\":\"", at.text().as_str(), out);
        out.push(b'"');
    }
    number(",\"battery\":", *battery, out);
    out.push(b'}');
}

fn text(before: &str, text: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(before.as_bytes());
    out.extend_from_slice(text.as_bytes());
}

fn number(before: &str, number: Option<f64>, out: &mut Vec<u8>) {
    if let Some(number) = number {
        out.extend_from_slice(before.as_bytes());
        json::write(&number, out);
    }
}

// === impl Input ===

impl<'a> Input<'a> {
    fn take(&mut self, expected: &str) -> Option<()> {
        self.0 = self.0.strip_prefix(expected)?;
        Some(())
    }

    /// A location that follows every rule.
    fn location(&mut self) -> Option<Location> {
        let mut fields = LocationFields::default();
        let mut seen = 0_u16;
        self.take("{")?;
        loop {
            let place = self.field(&mut fields)?;
            // A duplicate field is an error, which the general reader reports.
            if seen & 1 << place != 0 {
                return None;
            }
            seen |= 1 << place;
            if self.take(",").is_none() {
                break;
            }
        }
        self.take("}")?;
        let LocationFields { lat, lng, rest } = fields;
        location(RawLocation { lat: lat?, lng: lng?, ..rest }).ok()
    }

    /// Reads one field; returns which one it was.
    fn field(&mut self, fields: &mut LocationFields) -> Option<u8> {
        let LocationFields { lat, lng, rest } = fields;
        let key = self.quoted()?;
        self.take(":")?;
        let (place, field) = match key {
            "orderId" => {
                rest.order_id = Some(OrderId::new(self.quoted()?).ok()?);
                return Some(0);
            }
            "recordedAt" => {
                rest.recorded_at = Some(self.quoted()?.parse().ok()?);
                return Some(1);
            }
            "lat" => (2, lat),
            "lng" => (3, lng),
            "accuracy" => (4, &mut rest.accuracy),
            "heading" => (5, &mut rest.heading),
            "speed" => (6, &mut rest.speed),
            "altitude" => (7, &mut rest.altitude),
            "battery" => (8, &mut rest.battery),
            _ => return None,
        };
        *field = self.number()?;
        Some(place)
    }

    /// The text in quotes. It may be an invalid JSON string: callers accept only texts without
    /// characters that need escapes.
    fn quoted(&mut self) -> Option<&'a str> {
        self.take("\"")?;
        let end = self.0.bytes().position(|byte| byte == b'"')?;
        let (text, rest) = (&self.0[..end], &self.0[end + 1..]);
        self.0 = rest;
        Some(text)
    }

    /// A number without an exponent, or `null`.
    #[expect(clippy::option_option, reason = "not to be read here, null, or a number")]
    fn number(&mut self) -> Option<Option<f64>> {
        if self.take("null").is_some() {
            return Some(None);
        }
        let bytes = self.0.as_bytes();
        let begin = usize::from(bytes.first() == Some(&b'-'));
        let mut end = begin + digits(&bytes[begin..]);
        // No leading zero, and a digit on either side of the point (RFC 8259, section 6).
        if end == begin || (bytes[begin] == b'0' && end > begin + 1) {
            return None;
        }
        if bytes.get(end) == Some(&b'.') {
            let fraction = digits(&bytes[end + 1..]);
            end = (fraction > 0).then_some(end + 1 + fraction)?;
        }
        // The caller refuses anything that does not end the value, such as an exponent.
        let (text, rest) = self.0.split_at_checked(end)?;
        self.0 = rest;
        text.parse().ok().filter(|number: &f64| number.is_finite()).map(Some)
    }

    /// The number that the client gave for the reply.
    fn ack_id(&mut self) -> Option<u64> {
        let (text, rest) = self.0.split_at_checked(digits(self.0.as_bytes()))?;
        self.0 = rest;
        let is_plain = text == "0" || !text.starts_with('0');
        is_plain.then(|| text.parse().ok()).flatten().filter(|id| *id <= MAX_SAFE_INTEGER)
    }
}

/// How many digits the text begins with.
fn digits(bytes: &[u8]) -> usize {
    bytes.iter().take_while(|byte| byte.is_ascii_digit()).count()
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;
    use serde_json::value::RawValue;

    use super::*;
    use crate::client::ClientEventName;
    use crate::events::location::Fix;
    use crate::time::Timestamp;

    const MESSAGES: &[&str] = &[
        r#"{"event":"driver:location","data":{"orderId":"o12","lat":48.20849,"lng":16.37}}"#,
        r#"{"event":"driver:location","id":7,"data":{"lat":-0.5,"lng":179,"orderId":"a.b~c:d"}}"#,
        r#"{"event":"driver:location","data":{"lat":48,"lng":0,"heading":null},"id":907}"#,
        r#"{"event":"driver:location","data":{"orderId":"1","lat":1.5,"lng":-1.25,"accuracy":5.0,
"heading":359.9,"speed":-1,"altitude":-12.75,"battery":0.5,
"recordedAt":"2026-05-04T12:30:00.000Z"}}"#,
    ];

    #[derive(Deserialize)]
    struct Envelope<'a> {
        event: &'a str,
        #[serde(borrow)]
        data: &'a RawValue,
        #[serde(default)]
        id: Option<u64>,
    }

    /// What serde makes of a message; none if serde or a rule refuses it.
    fn general(text: &str) -> Option<(Location, Option<u64>)> {
        let Envelope { event, data, id } = serde_json::from_str(text).ok()?;
        let raw = json::read_object(data.get(), "data").ok()?;
        let is_known = event == "driver:location" && id.is_none_or(|id| id <= MAX_SAFE_INTEGER);
        Some((location(raw).ok()?, id)).filter(|_| is_known)
    }

    fn fast(text: &str) -> Option<(Location, Option<u64>)> {
        let request = read_message(text)?;
        assert_eq!(request.event.name(), ClientEventName::Location);
        match request.event {
            ClientEvent::Location(location) => Some((location, request.ack)),
            _ => None,
        }
    }

    /// Floats by their bits: -0.0 is not 0.0.
    fn exact(read: &(Location, Option<u64>)) -> String {
        format!("{read:?}")
    }

    #[test]
    fn messages_of_apps_are_read_by_the_fast_reader() {
        for text in MESSAGES {
            let text = text.replace('\n', "");
            let read = fast(&text).expect("read");
            assert_eq!(exact(&read), exact(&general(&text).expect("valid")), "{text}");
        }
        let data = read_data(r#"{"orderId":"o1","lat":1,"lng":2.5}"#).expect("read");
        assert_eq!((data.fix.lat, data.fix.lng), (1.0, 2.5));
    }

    #[test]
    fn the_fast_reader_and_the_general_reader_agree() {
        let odd = b"\"\\{}[],:.-+eE0019 \x00\x1f~nltrx\xc3\xa4";
        let mut both = 0;
        for message in MESSAGES {
            let message = message.replace('\n', "").into_bytes();
            for place in 0..message.len() {
                let mut mutants = vec![message[..place].to_vec()];
                let mut without = message.clone();
                without.remove(place);
                mutants.push(without);
                for byte in odd {
                    let mut changed = message.clone();
                    changed[place] = *byte;
                    mutants.push(changed);
                    let mut longer = message.clone();
                    longer.insert(place, *byte);
                    mutants.push(longer);
                }
                // A duplicate field, and a repeated digit.
                let mut doubled = message.clone();
                doubled
                    .splice(place..place, message[place..(place + 20).min(message.len())].to_vec());
                mutants.push(doubled);
                for mutant in mutants.iter().filter_map(|mutant| std::str::from_utf8(mutant).ok()) {
                    let Some(read) = fast(mutant) else { continue };
                    let expected = general(mutant).unwrap_or_else(|| panic!("refused: {mutant}"));
                    assert_eq!(exact(&read), exact(&expected), "{mutant}");
                    both += 1;
                }
            }
        }
        assert!(both > 500, "{both}: the reader knows too little for this to say anything");
    }

    #[test]
    fn numbers_mean_the_same_to_both() {
        let huge = "9".repeat(400);
        let numbers = [
            "0",
            "-0",
            "-0.0",
            "1.0",
            "89.99999999999999",
            "0.1",
            "0.30000000000000004",
            "5e1",
            "12345678901234567890",
            "00",
            "-01",
            "01.5",
            "-",
            ".5",
            "5.",
            "1.2.3",
            "--1",
            "1-2",
            "+1",
            "0.000000000000000000000000000000001",
            "48.208491234567890123",
            "nul",
            "NaN",
            &huge,
        ];
        let mut both = 0;
        for number in numbers {
            let text = format!("{{\"lat\":1,\"lng\":-2,\"altitude\":{number}}}");
            let text = format!("{{\"event\":\"driver:location\",\"data\":{text}}}");
            let Some(read) = fast(&text) else { continue };
            assert_eq!(Some(exact(&read)), general(&text).as_ref().map(exact), "{number}");
            both += 1;
        }
        assert_eq!(both, 10);
    }

    #[test]
    fn the_writer_and_serde_agree() {
        let bare = Fix {
            lat: 48.208_49,
            lng: -0.0,
            accuracy: None,
            heading: None,
            speed: None,
            altitude: None,
            battery: None,
            recorded_at: None,
        };
        let full = Fix {
            accuracy: Some(5.0),
            heading: Some(359.9),
            speed: Some(1e-7),
            altitude: Some(-12.75),
            recorded_at: Some(Timestamp::from_millis(1_700_000_000_123)),
            ..bare
        };
        let order = "o-1".parse().expect("id");
        let driver: crate::ids::UserId = "d.1~x".parse().expect("id");
        for (fix, battery) in [(bare, None), (full, Some(0.25)), (full, None)] {
            let at = Timestamp::from_millis(1_700_000_000_456);
            let position = &Position::of(&fix, driver.clone(), at);
            let update = LocationUpdate { order_id: &order, position, battery };
            let mut written = Vec::new();
            write(&update, &mut written);
            let expected = serde_json::to_string(&update).expect("JSON");
            assert_eq!(String::from_utf8(written).expect("text"), expected);
        }
    }
}
