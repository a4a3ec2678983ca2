//! Tells a server which channels to subscribe.

use std::convert::Infallible;

use redis::aio::MultiplexedConnection;

use super::Core;
use super::failure::Failure;
use super::link::Link;

/// How many channels a server is told at once.
const MAX_CHANGES: usize = 512;

/// Subscribes all channels that are wanted, after the one of the echo.
pub(super) async fn subscribe_all(
    core: &Core,
    link: &Link,
    listener: &mut MultiplexedConnection,
) -> Result<(), Failure> {
    let commands = link.commands();
    // A user without the right to unsubscribe is found out now and not later.
    let trial = [&link.echo.channel, b":trial".as_slice()].concat();
    redis::pipe()
        .cmd(commands.subscribe)
        .arg(&link.echo.channel)
        .cmd(commands.subscribe)
        .arg(&trial)
        .cmd(commands.unsubscribe)
        .arg(&trial)
        .exec_async(listener)
        .await?;
    while tell(core, link, listener).await? {}
    Ok(())
}

/// Tells the server of every change from now on.
pub(super) async fn keep_subscribed(
    core: &Core,
    link: &Link,
    listener: &mut MultiplexedConnection,
) -> Result<Infallible, Failure> {
    loop {
        if !tell(core, link, listener).await? {
            link.to_subscribe.notified().await;
        }
    }
}

/// Tells the server of changes. Whether there were any.
async fn tell(
    core: &Core,
    link: &Link,
    listener: &mut MultiplexedConnection,
) -> Result<bool, Failure> {
    let changes = core.subscriptions().take_changes(&link.partitions, MAX_CHANGES);
    // One command for each channel: a command must not name channels of two slots.
    let mut pipeline = redis::pipe();
    for channel in &changes.unsubscribe {
        pipeline.cmd(link.commands().unsubscribe).arg(&**channel);
    }
    for channel in &changes.subscribe {
        pipeline.cmd(link.commands().subscribe).arg(&**channel);
    }
    if pipeline.is_empty() {
        return Ok(false);
    }
    pipeline.exec_async(listener).await?;
    Ok(true)
}
