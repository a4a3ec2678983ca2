//! Decode: from the text of a message to the event that it holds, as a session does it, in both
//! framings. One copy of the words is made, of chat only.

use std::hint::black_box;
use std::time::Duration;

use criterion::{Criterion, Throughput};
use protocol::envelope;
use protocol::socketio::reader::{ClientPacket, PacketReader};

/// The largest message, as by default.
const LIMIT: usize = 64 * 1024;

/// The names of the events, their data, and the ack id that asks for an answer.
const EVENTS: [(&str, &str, &str); 2] = [
    (
        "driver:location",
        r#"{"orderId":"order-4711","lat":45.273518,"lng":13.714209,"accuracy":4.7,"heading":271.5,"speed":8.31,"altitude":104.2,"battery":0.82,"recordedAt":"2026-05-04T10:11:12.345Z"}"#,
        "",
    ),
    (
        "chat:message",
        r#"{"orderId":"order-4711","content":"I am at the door, the bell does not work. Please call me.","type":"TEXT","clientMsgId":"0196f1d2-6a44-7c1e-9d1f-1d5e8c1b2a3f"}"#,
        "17",
    ),
];

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    let mut group = criterion.benchmark_group("decode");
    group.warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(2));
    for (name, data, ack) in EVENTS {
        let id = if ack.is_empty() { String::new() } else { format!(",\"id\":{ack}") };
        let text = format!("{{\"event\":\"{name}\",\"data\":{data}{id}}}");
        assert!(envelope::decode(&text).is_ok(), "{text}");
        group.throughput(Throughput::Bytes(text.len() as u64));
        group.bench_function(name, |bencher| bencher.iter(|| envelope::decode(black_box(&text))));

        let text = format!("42/events,{ack}[\"{name}\",{data}]");
        let mut reader = PacketReader::new(LIMIT);
        let said = reader.text(&text);
        assert!(matches!(said, Ok(ClientPacket::Event { request: Ok(_), .. })), "{text}");
        group.throughput(Throughput::Bytes(text.len() as u64));
        group.bench_function(format!("{name}, Socket.IO"), |bencher| {
            bencher.iter(|| reader.text(black_box(&text)));
        });
    }
    group.finish();
    criterion.final_summary();
}
