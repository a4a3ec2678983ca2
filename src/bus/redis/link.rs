//! The connections to one server: one to publish, one to subscribe.

use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use parking_lot::{Mutex, MutexGuard};
use redis::Value;
use redis::aio::MultiplexedConnection;
use tokio::sync::Notify;

use super::Core;
use super::connector::Connector;
use super::failure::Failure;
use super::publishing::publish;
use super::pushes::Pushes;
use super::receiving::receive;
use super::server::{Mode, read_hello};
use super::subscribing::{keep_subscribed, subscribe_all};
use crate::bus::Kind;
use crate::bus::deafness::{Deafness, Step};
use crate::bus::envelope;
use crate::bus::pending::Pending;
use crate::bus::topic::Partition;
use crate::config::Address;

/// One server: its partitions, and what waits for it.
pub(super) struct Link {
    pub(super) address: Address,
    pub(super) mode: Mode,
    pub(super) partitions: Vec<Partition>,
    pending: Mutex<Pending>,
    /// There is something to publish.
    pub(super) to_publish: Notify,
    /// Subscriptions have changed.
    pub(super) to_subscribe: Notify,
    /// Everything is subscribed, and the node hears itself.
    ready: AtomicBool,
    /// How the node hears itself through this server.
    pub(super) echo: Echo,
}

/// How a node hears itself through one server.
pub(super) struct Echo {
    pub(super) channel: Vec<u8>,
    deafness: Mutex<Deafness>,
    /// An echo was heard.
    heard: Notify,
}

/// The commands of a server, by whether it is part of a cluster. There a message goes to one server
/// only, and not to all.
#[derive(Debug, Clone, Copy)]
pub(super) struct Commands {
    pub(super) publish: &'static str,
    pub(super) subscribe: &'static str,
    pub(super) unsubscribe: &'static str,
}

// === impl Link ===

impl Link {
    pub(super) fn new(
        core: &Core,
        address: Address,
        mode: Mode,
        partitions: Vec<Partition>,
    ) -> Self {
        let first = partitions.first().copied().or_else(|| Partition::all().next());
        let channel = first.map(|first| core.channels.echo(first, core.node.boot));
        Self {
            address,
            mode,
            partitions,
            pending: Mutex::default(),
            to_publish: Notify::new(),
            to_subscribe: Notify::new(),
            ready: AtomicBool::new(false),
            echo: Echo {
                channel: channel.unwrap_or_default().into_bytes(),
                deafness: Mutex::new(Deafness::new(Instant::now())),
                heard: Notify::new(),
            },
        }
    }

    pub(super) fn pending(&self) -> MutexGuard<'_, Pending> {
        self.pending.lock()
    }

    pub(super) fn is_ready(&self) -> bool {
        self.ready.load(Ordering::Acquire)
    }

    pub(super) fn commands(&self) -> Commands {
        match self.mode {
            Mode::Single => {
                Commands { publish: "PUBLISH", subscribe: "SUBSCRIBE", unsubscribe: "UNSUBSCRIBE" }
            }
            Mode::Cluster => Commands {
                publish: "SPUBLISH",
                subscribe: "SSUBSCRIBE",
                unsubscribe: "SUNSUBSCRIBE",
            },
        }
    }

    /// Connects, subscribes everything, and goes on until something fails.
    pub(super) async fn run(&self, core: &Core, connector: &Connector) -> Failure {
        let Err(failure) = self.serve(core, connector).await;
        failure
    }

    async fn serve(&self, core: &Core, connector: &Connector) -> Result<Infallible, Failure> {
        let pushes = Arc::new(Pushes::default());
        let mut listener = connector.open(&self.address, Some(Arc::clone(&pushes))).await?;
        let publisher = connector.open(&self.address, None).await?;
        tokio::select! {
            ended = receive(core, self, &pushes) => ended,
            ended = self.talk(core, &mut listener, publisher) => ended,
        }
    }

    async fn talk(
        &self,
        core: &Core,
        listener: &mut MultiplexedConnection,
        publisher: MultiplexedConnection,
    ) -> Result<Infallible, Failure> {
        subscribe_all(core, self, listener).await?;
        let mut listening = pin!(self.send_echoes(core, publisher.clone()));
        // The first echo comes behind the confirmations of all subscriptions.
        tokio::select! {
            ended = &mut listening => return ended,
            () = self.echo.heard.notified() => {}
        }
        self.ready.store(true, Ordering::Release);
        core.link_ready.notify_one();
        tokio::select! {
            ended = listening => ended,
            ended = publish(core, self, publisher) => ended,
            ended = keep_subscribed(core, self, listener) => ended,
        }
    }

    /// Sends an echo every second, and asks the server whether it is still the master.
    async fn send_echoes(
        &self,
        core: &Core,
        mut publisher: MultiplexedConnection,
    ) -> Result<Infallible, Failure> {
        loop {
            match self.echo.step(Instant::now()) {
                Step::Deaf => return Err(Failure::Deaf),
                Step::Wait(until) => tokio::time::sleep_until(until.into()).await,
                Step::Send(number) => {
                    let mut message = envelope::begin(core.node.boot, &core.node.name, number);
                    envelope::add(&mut message, Kind::Echo, b"");
                    let mut echo = redis::pipe();
                    echo.cmd(self.commands().publish).arg(&self.echo.channel).arg(message);
                    echo.cmd("HELLO");
                    let answer = echo.query_async::<(Value, Value)>(&mut publisher);
                    tokio::select! {
                        answer = answer => {
                            let mode = read_hello(answer?.1)?;
                            if mode != self.mode {
                                return Err(Failure::Topology);
                            }
                        }
                        // Without an answer there is no echo either.
                        () = tokio::time::sleep_until(self.echo.deadline().into()) => {}
                    }
                }
            }
        }
    }
}

// === impl Echo ===

impl Echo {
    fn step(&self, now: Instant) -> Step {
        self.deafness.lock().step(now)
    }

    fn deadline(&self) -> Instant {
        match self.step(Instant::now()) {
            Step::Wait(until) => until,
            Step::Send(_) | Step::Deaf => Instant::now(),
        }
    }

    /// An echo came.
    pub(super) fn hear(&self, core: &Core, number: u64) {
        if let Some(lag) = self.deafness.lock().heard(number, Instant::now()) {
            core.metrics.bus.round_trip.observe(lag.as_secs_f64());
            self.heard.notify_one();
        }
    }
}
