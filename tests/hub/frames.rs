//! Frames that RFC 6455 or a limit forbids: the right close code, `session:end` before it, and
//! nobody else in the room notices.

use serde_json::json;

use super::support::raw::{CLOSE, PING, PONG, RawConnection, RawEnding, TEXT, frame, header};
use super::support::{Client, Hub};

/// The first bytes of fragments.
const TEXT_BEGINS: u8 = 0x01;
const GOES_ON: u8 = 0x00;
const ENDS: u8 = 0x80;
/// A binary message in one frame.
const BINARY: u8 = 0x82;

/// A room with somebody in it who must not notice what others do.
struct Stage {
    hub: Hub,
    witness: Client,
}

impl Stage {
    async fn new() -> Self {
        Self::on(Hub::start()).await
    }

    async fn on(hub: Hub) -> Self {
        let mut witness = hub.connect("ann", "customer", &["o1"]).await;
        witness.join("o1").await;
        Self { hub, witness }
    }

    /// Another connection of the witness' user, in the same room: nobody hears of its presence.
    async fn member(&self) -> RawConnection {
        let mut raw = RawConnection::login(&self.hub, "ann", &["o1"]).await;
        raw.join("o1").await;
        raw
    }

    /// Sends bytes on a new connection, and gives the end of it.
    async fn after(&self, bytes: &[u8]) -> RawEnding {
        let mut raw = self.member().await;
        raw.send(bytes).await;
        raw.ending().await
    }

    /// The witness has heard nothing, and the room still works.
    async fn unmoved(mut self) {
        let said = json!({ "orderId": "o1", "content": "still here" });
        assert_eq!(self.witness.request("chat:message", said).await["ok"], true);
        assert_eq!(self.witness.drain("chat:message").await.len(), 1);
        assert_eq!(self.witness.seen.len(), 0, "{:?}", self.witness.seen);
    }

    async fn expect(self, cases: &[(&str, Vec<u8>)], code: u16) {
        for (case, bytes) in cases {
            let ending = self.after(bytes).await;
            assert_eq!(ending.announced(), code, "{case}");
            assert_eq!(ending.session_end()["retry"], false, "{case}");
        }
        self.unmoved().await;
    }
}

#[tokio::test]
async fn frames_that_the_protocol_forbids_are_closed_with_1002() {
    let text = br#"{"event":"ping"}"#;
    let unmasked = [&[TEXT, 16][..], text].concat();
    let inside = [frame(TEXT_BEGINS, b"{"), frame(TEXT, text)].concat();
    let inside_binary = [frame(TEXT_BEGINS, b"{"), frame(BINARY, text)].concat();
    let mut cases = vec![
        ("unmasked", unmasked),
        ("unmasked and empty", vec![PING, 0]),
        ("a text inside a message", inside),
        ("a binary inside a message", inside_binary),
        ("a continuation of nothing", frame(ENDS, b"x")),
        ("a continuation after a whole message", [frame(TEXT, text), frame(ENDS, b"x")].concat()),
        ("a long ping", frame(PING, &[b'x'; 126])),
        ("a long pong", frame(PONG, &[b'x'; 126])),
        ("a long close", frame(CLOSE, &[b'x'; 126])),
        ("a ping of 2^62 bytes", header(PING, 1 << 62)),
        ("a fragmented ping", frame(PING & 0x7F, b"x")),
        ("a fragmented close", frame(CLOSE & 0x7F, b"")),
        ("a length with its highest bit set", header(TEXT, u64::MAX)),
    ];
    for reserved in [0x40, 0x20, 0x10] {
        cases.push(("a reserved bit", frame(TEXT | reserved, text)));
        cases.push(("a reserved bit of a ping", frame(PING | reserved, b"")));
    }
    for opcode in [3, 4, 5, 6, 7, 11, 12, 13, 14, 15] {
        cases.push(("an unknown opcode", frame(0x80 | opcode, b"")));
    }
    Stage::new().await.expect(&cases, 1002).await;
}

#[tokio::test]
async fn close_frames_that_the_protocol_forbids_are_closed_with_1002() {
    let mut cases = vec![("half a code", frame(CLOSE, &[3]))];
    for code in [0_u16, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 65_535] {
        cases.push(("a code that never travels", frame(CLOSE, &code.to_be_bytes())));
    }
    Stage::new().await.expect(&cases, 1002).await;
}

#[tokio::test]
async fn a_good_close_is_answered_with_its_own_code_and_nothing_else() {
    let stage = Stage::new().await;
    for code in [1000_u16, 1001, 3000, 4999] {
        let ending = stage.after(&frame(CLOSE, &code.to_be_bytes())).await;
        assert_eq!((ending.code, ending.said.len()), (code, 0));
    }
    let mut raw = stage.member().await;
    raw.send(&frame(CLOSE, b"")).await;
    assert_eq!(raw.frame().await, Some((CLOSE, vec![])));
    assert_eq!(raw.frame().await, None);
    stage.unmoved().await;
}

#[tokio::test]
async fn frames_behind_a_close_frame_are_ignored() {
    let stage = Stage::new().await;
    let said = json!({ "event": "chat:message", "data": { "orderId": "o1", "content": "x" } });
    let late = [frame(CLOSE, &[3, 0xE8]), frame(TEXT, said.to_string().as_bytes())].concat();
    assert_eq!(stage.after(&late).await.code, 1000);
    stage.unmoved().await;
}

#[tokio::test]
async fn text_that_is_no_utf8_is_closed_with_1007() {
    let fragments = |parts: &[&[u8]]| {
        let mut bytes = Vec::new();
        for (place, part) in parts.iter().enumerate() {
            let ends = if place + 1 == parts.len() { ENDS } else { GOES_ON };
            bytes.extend(frame(if place == 0 { TEXT_BEGINS } else { ends }, part));
        }
        bytes
    };
    let cases = [
        ("in one frame", frame(TEXT, b"\xFF")),
        ("a surrogate", frame(TEXT, b"\xED\xA0\x80")),
        ("an overlong form", frame(TEXT, b"\xC0\xAF")),
        ("cut at the end of the message", fragments(&[b"\xE2\x82", b""])),
        ("torn by another character", fragments(&[b"{\xE2\x82", b"a"])),
        ("in the second fragment", fragments(&[b"{", b"\"\xF8\""])),
        // The end of the message is not awaited: nothing can mend it.
        ("in a message without an end", frame(TEXT_BEGINS, b"{\xFF")),
        ("in the reason of a close", frame(CLOSE, b"\x03\xE8\xC3\x28")),
    ];
    Stage::new().await.expect(&cases, 1007).await;
}

#[tokio::test]
async fn a_character_may_be_cut_by_fragments_and_pings() {
    let stage = Stage::new().await;
    let mut raw = stage.member().await;
    let text = json!({ "event": "ping", "data": "€", "id": 9 }).to_string();
    let (head, tail) = text.as_bytes().split_at(text.find('€').expect("there") + 1);
    let parts = [frame(TEXT_BEGINS, head), frame(PING, b"between"), frame(ENDS, tail)];
    raw.send(&parts.concat()).await;
    assert_eq!(raw.frame().await, Some((PONG, b"between".to_vec())));
    assert_eq!(raw.event().await, json!({ "event": "pong", "data": "€" }));
    assert_eq!(raw.event().await["data"], json!({ "ok": true }));
    stage.unmoved().await;
}

#[tokio::test]
async fn bytes_may_come_one_by_one() {
    let stage = Stage::new().await;
    let mut raw = stage.member().await;
    for byte in frame(TEXT, br#"{"event":"ping","data":"slowly"}"#) {
        raw.send(&[byte]).await;
    }
    assert_eq!(raw.event().await["data"], "slowly");
    stage.unmoved().await;
}

#[tokio::test]
async fn a_binary_message_is_closed_with_1003() {
    let parts = [frame(0x02, b"\xFF"), frame(ENDS, b"\xFF")].concat();
    let cases =
        [("whole", frame(BINARY, b"{}")), ("empty", frame(BINARY, b"")), ("in fragments", parts)];
    Stage::new().await.expect(&cases, 1003).await;
}

#[tokio::test]
async fn a_message_has_at_most_1024_fragments() {
    let stage = Stage::new().await;
    let message = |fragments: usize| {
        let mut bytes = frame(TEXT_BEGINS, br#"{"event":"ping","id":1}"#);
        (2..fragments).for_each(|_| bytes.extend(frame(GOES_ON, b" ")));
        bytes.extend(frame(ENDS, b""));
        bytes
    };
    let mut raw = stage.member().await;
    raw.send(&message(1024)).await;
    assert_eq!(raw.event().await["event"], "pong");
    // Nobody waits for the end of the one that has too many.
    let mut endless = frame(TEXT_BEGINS, b"{");
    (0..1024).for_each(|_| endless.extend(frame(GOES_ON, b"")));
    stage.expect(&[("1025", message(1025)), ("endless", endless)], 1008).await;
}

#[tokio::test]
async fn a_message_over_the_limit_is_refused_on_its_header() {
    let begun = [frame(TEXT_BEGINS, &vec![b' '; 65_000]), header(ENDS, 537)].concat();
    let cases = [
        ("one byte more", header(TEXT, 65_537)),
        ("2^62 bytes", header(TEXT, 1 << 62)),
        ("in two fragments", begun),
        ("a binary message", header(BINARY, 65_537)),
    ];
    Stage::new().await.expect(&cases, 1009).await;
}

#[tokio::test]
async fn a_message_of_exactly_the_limit_is_taken() {
    for limit in [65_536, 2000] {
        let hub = Hub::builder().env("MAX_MESSAGE_BYTES", limit).start();
        let stage = Stage::on(hub).await;
        let mut text = br#"{"event":"ping","id":1}"#.to_vec();
        text.resize(limit, b' ');
        let mut raw = stage.member().await;
        raw.send(&frame(TEXT, &text)).await;
        assert_eq!(raw.event().await["event"], "pong");
        assert_eq!(raw.event().await["id"], 1);
        let (head, tail) = text.split_at(limit / 2);
        raw.send(&[frame(TEXT_BEGINS, head), frame(ENDS, tail)].concat()).await;
        assert_eq!(raw.event().await["event"], "pong");
        text.push(b' ');
        stage.expect(&[("one more", frame(TEXT, &text))], 1009).await;
    }
}

#[tokio::test]
async fn a_client_that_only_sends_a_part_of_a_frame_and_goes_leaves_nothing_behind() {
    let stage = Stage::new().await;
    let mut raw = stage.member().await;
    raw.send(&header(TEXT, 60_000)).await;
    raw.send(&[b'x'; 1000]).await;
    raw.hang_up().await;
    assert!(raw.ends().await);
    stage.unmoved().await;
}
