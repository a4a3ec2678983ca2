//! Takes what a server pushes: messages to the workers, confirmations to the subscriptions.

use std::collections::BTreeMap;
use std::convert::Infallible;

use super::Core;
use super::failure::Failure;
use super::link::Link;
use super::pushes::{Push, Pushes};
use crate::bus::envelope::Envelope;
use crate::bus::incoming::{Raw, Received, Sorter};

/// Receives until the connection is lost, or a subscription ended that the node did not end.
pub(super) async fn receive(
    core: &Core,
    link: &Link,
    pushes: &Pushes,
) -> Result<Infallible, Failure> {
    loop {
        let (taken, end) = pushes.take().await;
        let (batches, found) = sort(core, link, taken);
        for (worker, events) in batches {
            deliver(core, worker, events)?;
        }
        if let Some(failure) = found.or(end) {
            return Err(failure);
        }
    }
}

/// The events of each worker, and what is wrong.
fn sort(
    core: &Core,
    link: &Link,
    pushes: Vec<Push>,
) -> (BTreeMap<usize, Vec<Received>>, Option<Failure>) {
    let metrics = &core.metrics.bus;
    let mut sorter = Sorter { own: core.node.boot, metrics, batches: BTreeMap::new() };
    let mut subscriptions = core.subscriptions();
    let (mut failure, mut was_answered) = (None, false);
    for push in pushes {
        match push {
            Push::Message(raw) if raw.channel == link.echo.channel => hear(core, link, &raw),
            Push::Message(raw) => sorter.sort(raw, &subscriptions),
            Push::Subscribed(channel) => {
                was_answered = true;
                subscriptions.confirmed(&channel);
            }
            Push::Unsubscribed(channel) => {
                was_answered = true;
                if channel == link.echo.channel || !subscriptions.left(&channel) {
                    failure = Some(Failure::Unsubscribed);
                }
            }
        }
    }
    if was_answered {
        // What was wanted otherwise meanwhile is told only now.
        link.to_subscribe.notify_one();
    }
    (sorter.batches, failure)
}

fn hear(core: &Core, link: &Link, raw: &Raw) {
    match Envelope::read(&raw.message) {
        Ok(echo) if echo.boot == core.node.boot => link.echo.hear(core, echo.number),
        Ok(_) => {}
        Err(ignored) => core.metrics.bus.ignored.inc(ignored as usize),
    }
}

fn deliver(core: &Core, worker: usize, events: Vec<Received>) -> Result<(), Failure> {
    match core.incoming.admit(events) {
        Ok(batch) => {
            core.receiver.receive(worker, batch);
            Ok(())
        }
        Err(events) => {
            for event in events {
                core.metrics.bus.incoming_dropped.inc(event.kind.index());
            }
            Err(Failure::Overflow)
        }
    }
}
