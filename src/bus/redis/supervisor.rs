//! Finds the servers, keeps a link to each one, and tells the state of the bus.

use std::collections::HashMap;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;
use tokio::task::{AbortHandle, Id, JoinError, JoinSet};

use super::Core;
use super::connector::Connector;
use super::failure::Failure;
use super::link::Link;
use super::server::{Mode, Servers};
use super::until;
use crate::bus::State;
use crate::bus::topic::Partition;

/// How long the start may take. A second more may pass until the hub says so.
const START_TIMEOUT: Duration = Duration::from_secs(4);
/// How often a cluster is asked which server has which slots.
const TOPOLOGY_INTERVAL: Duration = Duration::from_secs(1);
/// From a failure to the next try; doubles up to [`MAX_RETRY`].
const RETRY: Duration = Duration::from_millis(50);
const MAX_RETRY: Duration = Duration::from_millis(500);
/// How often failures are logged.
const LOG_INTERVAL: Duration = Duration::from_secs(60);
/// How long a close waits for what is to be published.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// Keeps a link to each server.
pub(super) struct Supervisor {
    core: Arc<Core>,
    connector: Arc<Connector>,
    /// Who waits for the start; none when it is over.
    starting: Option<oneshot::Sender<Result<(), Failure>>>,
    links: HashMap<Id, (Arc<Link>, AbortHandle)>,
    tasks: JoinSet<Outcome>,
    /// The task that looks for the servers.
    looking: Option<Id>,
    /// When to look for them next; none if nothing is to be found out.
    look_at: Option<Instant>,
    retry: Duration,
    outage: Outage,
}

/// What is logged of an outage, at most once a minute.
#[derive(Default)]
struct Outage {
    /// Since when the bus is not up.
    since: Option<Instant>,
    /// The last failure, until the bus is up.
    failure: Option<Failure>,
    /// When a failure was logged last.
    logged_at: Option<Instant>,
    /// Whether anything of this outage was logged.
    was_logged: bool,
}

/// What a task has found out at its end.
enum Outcome {
    /// The servers, or why they are not known.
    Looked(Result<Servers, Failure>),
    /// Why a link has ended.
    Ended(Failure),
}

impl Supervisor {
    pub(super) fn new(
        core: Arc<Core>,
        connector: Connector,
        started: oneshot::Sender<Result<(), Failure>>,
    ) -> Self {
        Self {
            core,
            connector: Arc::new(connector),
            starting: Some(started),
            links: HashMap::new(),
            tasks: JoinSet::new(),
            looking: None,
            look_at: Some(Instant::now()),
            retry: RETRY,
            outage: Outage::default(),
        }
    }

    /// Runs until the bus is closed, or cannot start.
    pub(super) async fn run(mut self) {
        let core = Arc::clone(&self.core);
        let mut start_ends = pin!(tokio::time::sleep(START_TIMEOUT));
        loop {
            let look_at = self.look_at.filter(|_| self.looking.is_none());
            tokio::select! {
                Some(ended) = self.tasks.join_next_with_id() => {
                    if let Err(failure) = self.task_ended(ended) {
                        return self.answer_start(Err(failure));
                    }
                }
                () = core.link_ready.notified() => self.link_is_ready(),
                () = until(look_at) => self.look(),
                () = &mut start_ends, if self.starting.is_some() => {
                    let silent = || Failure::Lost("there is no answer".to_owned());
                    let failure = self.outage.failure.take().unwrap_or_else(silent);
                    return self.answer_start(Err(failure));
                }
                () = core.closing.notified() => return self.close().await,
            }
        }
    }

    fn answer_start(&mut self, result: Result<(), Failure>) {
        if let Some(starting) = self.starting.take() {
            // One that has given up closes the bus.
            let _ = starting.send(result);
        }
    }

    fn look(&mut self) {
        self.look_at = None;
        let (core, connector) = (Arc::clone(&self.core), Arc::clone(&self.connector));
        let working = self.links.values().filter(|(link, _)| link.is_ready());
        let known: Vec<_> = working.map(|(link, _)| link.address.clone()).collect();
        let task = self.tasks.spawn(async move {
            Outcome::Looked(connector.find_servers(&known, &core.channels).await)
        });
        self.looking = Some(task.id());
    }

    /// # Errors
    /// When the hub starts and trying again is useless.
    fn task_ended(&mut self, ended: Result<(Id, Outcome), JoinError>) -> Result<(), Failure> {
        let (id, result) = match ended {
            Ok((id, Outcome::Looked(found))) => (id, found.map(Some)),
            Ok((id, Outcome::Ended(failure))) => (id, Err(failure)),
            Err(error) if error.is_panic() => {
                (error.id(), Err(Failure::Lost("a task panicked".to_owned())))
            }
            Err(_) => return Ok(()),
        };
        if self.looking == Some(id) {
            self.looking = None;
            // Links that work need no answer of a server that does not.
            if result.is_err() && self.is_whole() {
                self.look_soon();
                return Ok(());
            }
        } else if !self.end_link(id) {
            return Ok(());
        }
        match result {
            Ok(Some(servers)) => self.link_to(servers),
            Ok(None) => Ok(()),
            Err(failure) => self.failed(failure),
        }
    }

    /// Makes the links that are missing and ends those to servers that are other ones now.
    fn link_to(&mut self, servers: Servers) -> Result<(), Failure> {
        let is_complete = servers.is_complete();
        let fits = |link: &Link| {
            link.mode == servers.mode
                && servers.partitions.get(&link.address) == Some(&link.partitions)
        };
        let others = self.links.iter().filter(|(_, (link, _))| !fits(link));
        let others: Vec<_> = others.map(|(id, _)| *id).collect();
        let have_changed = others.into_iter().filter(|id| self.end_link(*id)).count() > 0;
        for (address, partitions) in servers.partitions {
            if !self.links.values().any(|(link, _)| link.address == address) {
                let link = Link::new(&self.core, address, servers.mode, partitions);
                self.start_link(Arc::new(link));
            }
        }
        if have_changed {
            self.failed(Failure::Topology)?;
        }
        if !is_complete {
            self.failed(Failure::Lost("the cluster has slots without a server".to_owned()))?;
        }
        // Only a cluster moves slots while its connections last.
        self.look_at = (servers.mode == Mode::Cluster).then(|| Instant::now() + TOPOLOGY_INTERVAL);
        self.link_is_ready();
        Ok(())
    }

    fn start_link(&mut self, link: Arc<Link>) {
        let (core, connector) = (Arc::clone(&self.core), Arc::clone(&self.connector));
        let running = Arc::clone(&link);
        let task =
            self.tasks.spawn(async move { Outcome::Ended(running.run(&core, &connector).await) });
        self.links.insert(task.id(), (link, task));
    }

    /// Ends a link and gives back what it held. Whether there was one.
    fn end_link(&mut self, id: Id) -> bool {
        let Some((link, task)) = self.links.remove(&id) else { return false };
        task.abort();
        // First of all: what is published or subscribed from now on does not go there.
        self.show_links();
        self.core.subscriptions().lost(&link.partitions);
        let lost = link.pending().close();
        self.core.drop_all(lost);
        true
    }

    /// Lets what is published and subscribed go to the links that are ready.
    fn show_links(&self) {
        let mut links = vec![None; Partition::all().count()];
        for (link, _) in self.links.values().filter(|(link, _)| link.is_ready()) {
            for partition in &link.partitions {
                links[partition.index()] = Some(Arc::clone(link));
            }
        }
        self.core.links.store(Arc::new(links));
    }

    /// Whether every partition has a link that works, and every link does.
    fn is_whole(&self) -> bool {
        let have_links = self.core.links.load().iter().all(Option::is_some);
        have_links && self.links.values().all(|(link, _)| link.is_ready())
    }

    fn link_is_ready(&mut self) {
        self.show_links();
        if self.is_whole() {
            self.retry = RETRY;
            self.outage.ends(Instant::now());
            self.core.set_state(State::Up);
            self.answer_start(Ok(()));
        }
    }

    /// Notes a failure and tries again soon.
    fn failed(&mut self, failure: Failure) -> Result<(), Failure> {
        self.core.metrics.bus.failures.inc(failure.index());
        if self.starting.is_some() && failure.is_final() {
            return Err(failure);
        }
        let state = failure.state().max(self.core.state());
        let now = Instant::now();
        self.outage.goes_on(state, failure, now);
        self.core.set_state(state);
        self.look_soon();
        Ok(())
    }

    fn look_soon(&mut self) {
        // Not all nodes of a cluster at the same moment.
        let share = getrandom::u32().unwrap_or_default() % 512;
        self.look_at = Some(Instant::now() + self.retry * (512 + share) / 1024);
        self.retry = (self.retry * 2).min(MAX_RETRY);
    }

    /// Publishes what waits, for a moment, and ends all links.
    async fn close(mut self) {
        let deadline = Instant::now() + CLOSE_TIMEOUT;
        let waits = |supervisor: &Self| {
            supervisor.links.values().any(|(link, _)| !link.pending().is_empty())
        };
        while waits(&self) && Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        for id in self.links.keys().copied().collect::<Vec<_>>() {
            self.end_link(id);
        }
        self.core.set_state(State::Down);
    }
}

// === impl Outage ===

impl Outage {
    fn goes_on(&mut self, state: State, failure: Failure, now: Instant) {
        self.since.get_or_insert(now);
        if self.logged_at.is_none_or(|logged| now - logged >= LOG_INTERVAL) {
            log::warn!("the bus is {}: {failure}", state.as_str());
            self.logged_at = Some(now);
            self.was_logged = true;
        }
        self.failure = Some(failure);
    }

    fn ends(&mut self, now: Instant) {
        let (since, logged_at) = (self.since.take(), self.logged_at);
        if let Some(since) = since
            && self.was_logged
        {
            log::info!("the bus is up again after {:.1} s", (now - since).as_secs_f64());
        }
        *self = Self { logged_at, ..Self::default() };
    }
}
