//! Fan-out: a driver's position to all members of a room, from the encoding of the one frame to
//! the last write into a socket. Each member is a real connection over loopback whose other end is
//! read by another thread; what is not in it is the room's mailbox and the way to the phone.

mod samples;

use std::time::{Duration, Instant};

use std::io::Read as _;
use std::sync::Arc;

use actix_codec::{Framed, FramedParts};
use actix_http::h1;
use bytes::Bytes;
use criterion::{Criterion, Throughput};
use futures_util::StreamExt as _;
use protocol::codec::Codec;
use protocol::events::location::LocationUpdate;
use protocol::server::ServerEvent;
use tokio::net::{TcpListener, TcpStream};
use transport::{Frame, LatestKey, Outbox, TransportOptions, accept};

/// A connection's sending end; what it sends is read and thrown away.
async fn member(listener: &TcpListener, options: &Arc<TransportOptions>) -> Outbox {
    let address = listener.local_addr().expect("bound");
    let mut client = std::net::TcpStream::connect(address).expect("a connection");
    // A thread per member sleeps in the kernel and costs the measured thread nothing but wakes.
    std::thread::spawn(move || {
        let mut buffer = [0; 16 * 1024];
        while client.read(&mut buffer).is_ok_and(|read| read > 0) {}
    });
    let (accepted, _): (TcpStream, _) = listener.accept().await.expect("accepted");
    let parts = FramedParts::new(accepted, h1::Codec::default());
    let head = Bytes::from_static(b"HTTP/1.1 101 Switching Protocols\r\n\r\n");
    let (mut inbound, outbox) =
        accept(Framed::from_parts(parts), head, options).expect("a connection");
    // A session polls its stream; that also writes what a full socket did not take.
    actix_rt::spawn(async move { while inbound.next().await.is_some() {} });
    outbox
}

async fn members(count: usize) -> Vec<Outbox> {
    let options = Arc::new(TransportOptions::default());
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("an address");
    let mut outboxes = Vec::new();
    for _ in 0..count {
        outboxes.push(member(&listener, &options).await);
    }
    outboxes
}

/// One position to everybody; ends when all of it is with the kernel.
async fn relay(outboxes: &[Outbox]) {
    let (order_id, position) = (samples::order(), samples::position());
    let update = LocationUpdate { order_id: &order_id, position: &position, battery: None };
    let event = ServerEvent::Location(update);
    let frame = Frame::text(|buffer| Codec::Plain.event(&event, buffer));
    for outbox in outboxes {
        outbox.push_latest(LatestKey(0), frame.clone()).expect("an open connection");
    }
    while outboxes.iter().any(|outbox| outbox.backlog().frames > 0) {
        // The end of the turn, at which everything is written.
        tokio::task::yield_now().await;
    }
}

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    let system = actix_rt::System::new();
    let mut group = criterion.benchmark_group("fan_out");
    group.sample_size(20);
    group.warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(3));
    for count in [3_usize, 20, 300] {
        let outboxes = system.block_on(members(count));
        group.throughput(Throughput::Elements(count as u64));
        group.bench_function(format!("{count} members"), |bencher| {
            bencher.iter_custom(|turns| {
                system.block_on(async {
                    let started = Instant::now();
                    for _ in 0..turns {
                        relay(&outboxes).await;
                    }
                    started.elapsed()
                })
            });
        });
        outboxes.iter().for_each(Outbox::abort);
    }
    group.finish();
    criterion.final_summary();
}
