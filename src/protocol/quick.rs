//! Positions, read and written in one pass. They are nearly everything that a hub relays, and the
//! general way, twice through serde, was half of what the hub itself did for one.
//!
//! The reader knows `driver:location` as nearly every app writes it: no blanks, no escapes, no
//! unknown field, one order. What it does not know, right or wrong, it leaves to the general one.

use super::client::{ClientEvent, Location, MAX_SAFE_INTEGER, RawLocation, location};
use super::json;
use super::request::Request;
use super::server::LocationUpdate;
use crate::ids::OrderId;

/// Digits of a number up to which every text of it is short.
const MAX_NUMBER: usize = 32;

/// Text that is still to be read.
struct Rest<'a>(&'a str);

/// Reads a whole message of the plain framing.
pub(super) fn request(text: &str) -> Option<Request> {
    let mut rest = Rest(text);
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
pub(super) fn data(text: &str) -> Option<Location> {
    let mut rest = Rest(text);
    let location = rest.location()?;
    rest.0.is_empty().then_some(location)
}

/// Writes the data of `location:updated`, as `Serialize` does.
pub(super) fn write(update: &LocationUpdate<'_>, out: &mut Vec<u8>) {
    let LocationUpdate { order_id, position, battery } = update;
    // Ids have no character that JSON escapes.
    text("{\"orderId\":\"", order_id.as_str(), out);
    number("\",\"lat\":", Some(position.lat), out);
    number(",\"lng\":", Some(position.lng), out);
    text(",\"timestamp\":\"", position.timestamp.text().as_str(), out);
    text("\",\"driverId\":\"", position.driver_id.as_str(), out);
    out.push(b'"');
    number(",\"accuracy\":", position.accuracy, out);
    number(",\"heading\":", position.heading, out);
    number(",\"speed\":", position.speed, out);
    number(",\"altitude\":", position.altitude, out);
    if let Some(at) = position.recorded_at {
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

// === impl Rest ===

impl<'a> Rest<'a> {
    fn take(&mut self, expected: &str) -> Option<()> {
        self.0 = self.0.strip_prefix(expected)?;
        Some(())
    }

    /// A location that keeps all rules.
    fn location(&mut self) -> Option<Location> {
        let mut raw = RawLocation::default();
        let (mut lat, mut lng) = (None, None);
        let mut seen = 0_u16;
        self.take("{")?;
        loop {
            let key = self.quoted()?;
            self.take(":")?;
            let place = match key {
                "orderId" => {
                    raw.order_id = Some(OrderId::new(self.quoted()?).ok()?);
                    0
                }
                "recordedAt" => {
                    raw.recorded_at = Some(self.quoted()?.parse().ok()?);
                    1
                }
                _ => {
                    let (place, field) = match key {
                        "lat" => (2, &mut lat),
                        "lng" => (3, &mut lng),
                        "accuracy" => (4, &mut raw.accuracy),
                        "heading" => (5, &mut raw.heading),
                        "speed" => (6, &mut raw.speed),
                        "altitude" => (7, &mut raw.altitude),
                        "battery" => (8, &mut raw.battery),
                        _ => return None,
                    };
                    *field = self.number()?;
                    place
                }
            };
            // A field that comes twice is an error, which the general reader names.
            if seen & 1 << place != 0 {
                return None;
            }
            seen |= 1 << place;
            if self.take(",").is_none() {
                break;
            }
        }
        self.take("}")?;
        (raw.lat, raw.lng) = (lat?, lng?);
        location(raw).ok()
    }

    /// What stands in quotes. It may be no valid string of JSON: whoever asked takes only what has no
    /// character that would be one to escape.
    fn quoted(&mut self) -> Option<&'a str> {
        self.take("\"")?;
        let end = self.0.bytes().position(|byte| byte == b'"')?;
        let (text, rest) = (&self.0[..end], &self.0[end + 1..]);
        self.0 = rest;
        Some(text)
    }

    /// A number, or `null`; without an exponent.
    #[expect(clippy::option_option, reason = "not to be read here, null, or a number")]
    fn number(&mut self) -> Option<Option<f64>> {
        if self.take("null").is_some() {
            return Some(None);
        }
        let is_part = |byte: u8| byte.is_ascii_digit() || matches!(byte, b'-' | b'.');
        let length = self.0.bytes().position(|byte| !is_part(byte))?;
        let (text, rest) = self.0.split_at(length);
        self.0 = rest;
        (length <= MAX_NUMBER && is_number(text)).then(|| text.parse().ok()).flatten().map(Some)
    }

    /// The number by which the client wants its reply.
    fn ack_id(&mut self) -> Option<u64> {
        let length = self.0.bytes().position(|byte| !byte.is_ascii_digit())?;
        let (text, rest) = self.0.split_at(length);
        self.0 = rest;
        is_number(text).then(|| text.parse().ok()).flatten().filter(|id| *id <= MAX_SAFE_INTEGER)
    }
}

/// Whether digits, a sign and a point make a number of JSON (RFC 8259, section 6).
fn is_number(text: &str) -> bool {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let unsigned = text.strip_prefix('-').unwrap_or(text);
    let (whole, is_fraction) = match unsigned.split_once('.') {
        Some((whole, fraction)) => (whole, digits(fraction)),
        None => (unsigned, true),
    };
    is_fraction && digits(whole) && (whole.len() == 1 || !whole.starts_with('0'))
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;
    use serde_json::value::RawValue;

    use super::*;
    use crate::protocol::client::{ClientEventName, Fix};
    use crate::protocol::location::Position;
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

    /// What serde makes of a message; None where it or a rule refuses it.
    fn general(text: &str) -> Option<(Location, Option<u64>)> {
        let Envelope { event, data, id } = serde_json::from_str(text).ok()?;
        let raw = json::read_object(data.get(), "data").ok()?;
        let is_known = event == "driver:location" && id.is_none_or(|id| id <= MAX_SAFE_INTEGER);
        Some((location(raw).ok()?, id)).filter(|_| is_known)
    }

    fn quick(text: &str) -> Option<(Location, Option<u64>)> {
        let request = request(text)?;
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
    fn what_apps_send_is_read_quickly() {
        for text in MESSAGES {
            let text = text.replace('\n', "");
            let read = quick(&text).expect("read");
            assert_eq!(exact(&read), exact(&general(&text).expect("valid")), "{text}");
        }
        let data = data(r#"{"orderId":"o1","lat":1,"lng":2.5}"#).expect("read");
        assert_eq!((data.fix.lat, data.fix.lng), (1.0, 2.5));
    }

    #[test]
    fn whatever_is_read_quickly_is_read_the_same_by_the_general_reader() {
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
                // A field twice, a digit many times.
                let mut doubled = message.clone();
                doubled
                    .splice(place..place, message[place..(place + 20).min(message.len())].to_vec());
                mutants.push(doubled);
                for mutant in mutants.iter().filter_map(|mutant| std::str::from_utf8(mutant).ok()) {
                    let Some(read) = quick(mutant) else { continue };
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
        for number in [
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
        ] {
            let text = format!("{{\"lat\":{number},\"lng\":{number}}}");
            let text = format!("{{\"event\":\"driver:location\",\"data\":{text}}}");
            let Some(read) = quick(&text) else { continue };
            assert_eq!(Some(exact(&read)), general(&text).as_ref().map(exact), "{number}");
        }
    }

    #[test]
    fn what_is_written_is_what_serde_writes() {
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
        let (order, driver) = ("o-1".parse().expect("id"), "d.1~x".parse().expect("id"));
        for (fix, battery) in [(bare, None), (full, Some(0.25)), (full, None)] {
            let at = Timestamp::from_millis(1_700_000_000_456);
            let position = &Position::of(&fix, &driver, at);
            let update = LocationUpdate { order_id: &order, position, battery };
            let mut written = Vec::new();
            write(&update, &mut written);
            let expected = serde_json::to_string(&update).expect("JSON");
            assert_eq!(String::from_utf8(written).expect("text"), expected);
        }
    }
}
