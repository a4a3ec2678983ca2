//! Publishes what waits for a server, many events at a time.

use std::convert::Infallible;
use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use futures_util::stream::FuturesOrdered;
use redis::aio::MultiplexedConnection;

use super::Core;
use super::failure::Failure;
use super::link::Link;
use super::until;
use crate::bus::envelope;
use crate::bus::pending::Message;

/// From one write to the next. A lone event is written at once; those that come meanwhile share the
/// next write, which spares both this process and Redis most of their work. The timer counts whole
/// milliseconds, so it is one at most and half of one on average.
const GATHER: Duration = Duration::from_micros(500);
/// How many writes may be under way.
const MAX_WRITES: usize = 8;

/// Publishes until the connection is lost.
pub(super) async fn publish(
    core: &Core,
    link: &Link,
    publisher: MultiplexedConnection,
) -> Result<Infallible, Failure> {
    let mut writes = FuturesOrdered::new();
    // When the next write may be; none if that is now.
    let mut gathers_until = None;
    loop {
        let can_write = writes.len() < MAX_WRITES;
        if gathers_until.is_none() && can_write {
            let messages = link.pending().next_write();
            if !messages.is_empty() {
                let more_waits = link.pending().more_waits();
                gathers_until = (!more_waits).then(|| Instant::now() + GATHER);
                writes.push_back(write(core, link, publisher.clone(), messages));
                if more_waits {
                    continue;
                }
            }
        }
        tokio::select! {
            // Writes that were just added are begun first, in their order.
            biased;
            Some(answer) = writes.next() => {
                answer?;
                link.pending().answered();
            }
            () = until(gathers_until), if gathers_until.is_some() => gathers_until = None,
            () = link.to_publish.notified(), if gathers_until.is_none() && can_write => {}
        }
    }
}

/// Writes messages, each to the channel of its topic, and waits for the answers.
async fn write(
    core: &Core,
    link: &Link,
    mut publisher: MultiplexedConnection,
    messages: Vec<Message>,
) -> Result<(), Failure> {
    let command = link.commands().publish;
    let mut pipeline = redis::Pipeline::with_capacity(messages.len());
    for message in &messages {
        let number = core.take_numbers(message.events.len());
        let mut bytes = envelope::begin(core.node.boot, &core.node.name, number);
        for (kind, data) in &message.events {
            envelope::add(&mut bytes, *kind, data);
        }
        pipeline.cmd(command).arg(core.channels.name(&message.topic)).arg(bytes);
    }
    let counts: Vec<usize> = pipeline.query_async(&mut publisher).await?;
    for (message, count) in messages.iter().zip(counts) {
        message.counters.iter().for_each(|counter| counter.tell(count));
    }
    for (kind, _) in messages.iter().flat_map(|message| &message.events) {
        core.metrics.bus.published.inc(kind.index());
    }
    Ok(())
}
