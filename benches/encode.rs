//! Encode: from an event to the frame that all members share. Chat is two steps: the message
//! becomes JSON once, and that becomes a frame for each codec in use.

mod samples;

use std::hint::black_box;
use std::time::Duration;

use criterion::Criterion;
use protocol::codec::Codec;
use protocol::events::chat::ChatPush;
use protocol::events::location::LocationUpdate;
use protocol::server::ServerEvent;
use protocol::socketio::Namespace;
use transport::Frame;

/// The framings, with what their benches are called by.
const CODECS: [(Codec, &str); 2] = [
    (Codec::Plain, ""),
    (Codec::SocketIo { namespace: Namespace::Events, offsets: true }, ", Socket.IO"),
];

fn frame(codec: Codec, event: &ServerEvent<'_>) -> Frame {
    Frame::text(|buffer| codec.event(event, buffer))
}

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    let mut group = criterion.benchmark_group("encode");
    group.warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(2));
    let (order_id, position) = (samples::order(), samples::position());
    let update = ServerEvent::Location(LocationUpdate {
        order_id: &order_id,
        position: &position,
        battery: None,
    });
    for (codec, framing) in CODECS {
        group.bench_function(format!("location:updated{framing}"), |bencher| {
            bencher.iter(|| frame(codec, black_box(&update)));
        });
    }
    let message = samples::message(1);
    group.bench_function("chat:message, the JSON", |bencher| {
        bencher.iter(|| samples::json(black_box(&message)));
    });
    let json = samples::json(&message);
    for (codec, framing) in CODECS {
        group.bench_function(format!("chat:message, the frame{framing}"), |bencher| {
            bencher.iter(|| {
                let json = black_box(&json);
                frame(codec, &ServerEvent::Chat(ChatPush { order_id: &order_id, seq: 1, json }))
            });
        });
    }
    group.finish();
    criterion.final_summary();
}
