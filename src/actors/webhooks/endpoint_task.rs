//! The task of one endpoint: takes turns, and sends what it takes.

mod momentary;

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::task::{JoinError, JoinSet};

use self::momentary::Told;
use super::client::WebhookClient;
use super::delivery::{Delivered, Delivery, random};
use super::{DispatchContext, RETRY};
use crate::db::webhooks::{ClaimedOrder, OrderResult, TurnOutcome, TurnRequest};
use crate::metrics::WebhookResult;
use crate::webhooks::endpoints::Endpoint;
use crate::webhooks::event::EventKind;
use crate::webhooks::health::{Admission, Attempt, EndpointState, Failure};
use crate::webhooks::momentary::MomentaryEvent;
use crate::webhooks::outbox::EndpointQueue;
use crate::webhooks::payload;
use protocol::ids::UserId;
use protocol::time::Timestamp;

/// From one turn to the next: each is a commit, and the next one has the results of many requests.
const TURN_INTERVAL: Duration = Duration::from_millis(20);
/// The most orders in hand.
const MAX_IN_HAND: usize = 256;
/// The most attempts that wait to be recorded, as while the database is down.
const MAX_ATTEMPTS: usize = 256;
/// How long the turn waits that records only when the last momentary event was delivered.
const QUIET_INTERVAL: Duration = Duration::from_secs(10);
/// How much longer than a request a lease is,
const LEASE_MARGIN: Duration = Duration::from_secs(5);
/// and for how much of that requests are begun. The rest is for recording their results.
const BEGIN_WITHIN: Duration = Duration::from_secs(4);
/// How long the task waits for the first worker, which knows who is connected.
const ONLINE_RETRY: Duration = Duration::from_millis(100);

/// The task of an endpoint.
pub(super) struct EndpointTask {
    endpoint: Arc<Endpoint>,
    context: Arc<DispatchContext>,
    client: Arc<WebhookClient>,
    queue: Arc<EndpointQueue>,
    /// How the endpoint fares, by the last turn and what has ended since.
    state: EndpointState,
    /// Orders that were taken and are not begun.
    ready: VecDeque<Delivery>,
    running: JoinSet<Delivered>,
    /// Requests for events that are in no table.
    momentary: JoinSet<(MomentaryEvent, Told)>,
    /// What the next turn records.
    attempts: Vec<(Attempt, f64)>,
    results: Vec<OrderResult>,
    /// The last momentary event that was delivered to an endpoint that was up anyway, and when that is
    /// to be recorded.
    quiet: Option<Attempt>,
    quiet_at: Instant,
    /// What a turn was to record that failed: it may have been recorded all the same.
    unrecorded: Option<Report>,
    /// When the next order is due, as far as it is known.
    due: Option<Instant>,
    /// The earliest time of the next turn.
    next_turn: Instant,
    /// Orders that have ended since the last turn: about as many will until the next one.
    ended: usize,
}

/// What a turn records.
#[derive(Clone)]
struct Report {
    id: String,
    attempts: Vec<(Attempt, f64)>,
    results: Vec<OrderResult>,
}

// === impl EndpointTask ===

impl EndpointTask {
    pub(super) fn new(
        endpoint: Arc<Endpoint>,
        context: Arc<DispatchContext>,
    ) -> Result<Self, rustls::Error> {
        let client = Arc::new(WebhookClient::new(Arc::clone(&endpoint), context.concurrency)?);
        let now = Instant::now();
        Ok(Self {
            queue: context.outbox.queue_of(&endpoint.name).unwrap_or_default(),
            endpoint,
            context,
            client,
            state: EndpointState::default(),
            ready: VecDeque::new(),
            running: JoinSet::new(),
            momentary: JoinSet::new(),
            attempts: Vec::new(),
            results: Vec::new(),
            quiet: None,
            quiet_at: now,
            unrecorded: None,
            due: Some(now),
            next_turn: now,
            ended: 0,
        })
    }

    /// Runs until it is stopped; then waits for what is under way.
    pub(super) async fn run(mut self, mut stopped: watch::Receiver<bool>) {
        loop {
            self.begin_ready();
            self.begin_momentary();
            let (queue, wake_at) = (Arc::clone(&self.queue), self.wake_at());
            tokio::select! {
                Some(ended) = self.running.join_next() => self.on_delivered(ended),
                Some(ended) = self.momentary.join_next() => self.on_told(ended),
                () = sleep_until(wake_at) => {
                    if self.turn_at().is_some_and(|at| at <= Instant::now()) {
                        self.take_turn(self.room()).await;
                    }
                }
                () = queue.news.notified() => {
                    if !matches!(self.admission(), Admission::Stopped | Admission::Closed(_)) {
                        self.due = Some(Instant::now());
                    }
                }
                // It is begun above.
                () = queue.moments.notified() => {}
                () = queue.look.notified() => self.due = Some(Instant::now()),
                _ = stopped.changed() => break,
            }
        }
        self.finish().await;
    }

    /// Ends in an orderly way: what was not begun goes back, what was is recorded.
    async fn finish(mut self) {
        self.give_back_ready();
        while let Some(ended) = self.running.join_next().await {
            self.on_delivered(ended);
        }
        while let Some(ended) = self.momentary.join_next().await {
            self.on_told(ended);
        }
        while self.has_report() && self.take_turn(0).await {}
    }

    fn admission(&self) -> Admission {
        self.state.admission(&self.endpoint.entry, Timestamp::now())
    }

    // --- when ---

    /// When the next turn is to be taken.
    fn turn_at(&self) -> Option<Instant> {
        let due = self.due.filter(|_| self.room() > 0);
        let quiet = self.quiet.as_ref().map(|_| self.quiet_at);
        let is_urgent =
            self.unrecorded.is_some() || !self.results.is_empty() || !self.attempts.is_empty();
        let at = if is_urgent { Some(self.next_turn) } else { due.into_iter().chain(quiet).min() };
        at.map(|at| at.max(self.next_turn))
    }

    fn has_report(&self) -> bool {
        let is_empty = self.results.is_empty() && self.attempts.is_empty() && self.quiet.is_none();
        self.unrecorded.is_some() || !is_empty
    }

    fn wake_at(&self) -> Option<Instant> {
        let momentary = (self.momentary_room() > 0)
            .then(|| self.queue.with_momentary(|queue| queue.next_due()));
        self.turn_at().into_iter().chain(momentary.flatten()).min()
    }

    /// How many orders may be taken.
    fn room(&self) -> usize {
        let in_hand = self.ready.len() + self.running.len();
        if self.admission() == Admission::Open {
            let most = (2 * self.ended).clamp(self.context.concurrency, MAX_IN_HAND);
            most.saturating_sub(in_hand)
        } else {
            1_usize.saturating_sub(in_hand)
        }
    }

    // --- turns ---

    /// Takes a turn, and up to so many orders. False if it failed.
    async fn take_turn(&mut self, most: usize) -> bool {
        let began = Instant::now();
        let report = self.unrecorded.take().unwrap_or_else(|| self.report());
        let Report { id, attempts, results } = report.clone();
        let request = TurnRequest {
            endpoint: Arc::clone(&self.endpoint.name),
            entry: self.endpoint.entry.clone(),
            report: id,
            attempts,
            results,
            most,
            lease: self.endpoint.timeout + LEASE_MARGIN,
            schedule: Arc::clone(&self.context.schedule),
        };
        let taken = self.context.store.webhook_turn(request).await;
        let is_taken = taken.is_ok();
        if let Ok(outcome) = taken {
            self.next_turn = Instant::now() + TURN_INTERVAL;
            self.quiet_at = Instant::now() + QUIET_INTERVAL;
            self.ended = 0;
            self.on_turn(outcome, began).await;
        } else {
            // The store has logged why.
            self.unrecorded = Some(report);
            self.next_turn = Instant::now() + RETRY;
            self.due = Some(self.next_turn);
        }
        is_taken
    }

    fn report(&mut self) -> Report {
        let mut attempts = std::mem::take(&mut self.attempts);
        attempts.extend(self.quiet.take().map(|attempt| (attempt, random())));
        let results = std::mem::take(&mut self.results);
        Report { id: uuid::Uuid::new_v4().simple().to_string(), attempts, results }
    }

    async fn on_turn(&mut self, outcome: TurnOutcome, began: Instant) {
        let TurnOutcome { state, admission, orders, next_due, lost } = outcome;
        self.log_change(&state);
        if lost > 0 {
            let endpoint = &*self.endpoint.name;
            log::warn!(endpoint = endpoint; "{lost} orders were lost to another hub while they were sent");
        }
        self.state = state;
        self.due = next_due.map(|wait| Instant::now() + wait);
        let online = self.online(&orders).await;
        let begin_until = began + BEGIN_WITHIN;
        for order in orders {
            let online = online.clone().unwrap_or_default();
            self.ready.push_back(Delivery { order, admission, begin_until, online });
        }
        if online.is_none() {
            let results = self.ready.drain(..).map(|delivery| delivery.give_back(ONLINE_RETRY));
            self.results.extend(results);
        }
    }

    /// Which of those who take part in orders of messages are connected; none if it cannot be known
    /// yet.
    async fn online(&self, orders: &[ClaimedOrder]) -> Option<Arc<BTreeSet<UserId>>> {
        let involved: BTreeSet<&UserId> = orders.iter().flat_map(|order| &order.involved).collect();
        if involved.is_empty() {
            return Some(Arc::default());
        }
        let users = involved.into_iter().cloned().collect();
        self.context.online_among(users).await.map(Arc::new)
    }

    fn log_change(&self, state: &EndpointState) {
        let (endpoint, entry) = (&*self.endpoint.name, &self.endpoint.entry);
        let reason = state.last_error.as_deref().unwrap_or_default();
        if state.is_stopped(entry) && !self.state.is_stopped(entry) {
            log::error!(endpoint = endpoint; "a webhook is stopped: {reason}");
        } else if state.is_down() && !self.state.is_down() {
            log::warn!(endpoint = endpoint; "a webhook is down: {reason}");
        } else if self.state.is_down() && !state.is_down() {
            log::info!(endpoint = endpoint; "a webhook is back");
        }
    }

    // --- sending ---

    fn begin_ready(&mut self) {
        let is_open = self.admission() == Admission::Open;
        if !is_open && self.ready.iter().any(|delivery| delivery.admission == Admission::Open) {
            // Found down since they were taken.
            self.give_back_ready();
        }
        while self.running.len() < self.context.concurrency
            && let Some(delivery) = self.ready.pop_front()
        {
            if Instant::now() >= delivery.begin_until {
                self.results.push(delivery.give_back(Duration::ZERO));
                continue;
            }
            let (client, schedule) = (Arc::clone(&self.client), Arc::clone(&self.context.schedule));
            self.running.spawn_local(async move { delivery.run(&client, &schedule).await });
        }
    }

    fn give_back_ready(&mut self) {
        let results = self.ready.drain(..).map(|delivery| delivery.give_back(Duration::ZERO));
        self.results.extend(results);
    }

    fn on_delivered(&mut self, ended: Result<Delivered, JoinError>) {
        let Delivered { result, attempts, lags } = match ended {
            Ok(delivered) => delivered,
            // Its lease ends, and it is taken again.
            Err(error) => return log::error!("sending a webhook panicked: {error}"),
        };
        self.ended += 1;
        let dead = u64::from(result.dead.is_some());
        let done = result.delivered.len() + usize::from(result.dead.is_some());
        self.queue.change_waiting(-i64::try_from(done).unwrap_or(0));
        self.count(WebhookResult::Dead, dead);
        for lag in lags {
            self.context.metrics.webhooks.lag(&self.endpoint.name, lag);
        }
        self.results.push(result);
        for attempt in attempts {
            self.on_attempt(attempt);
        }
    }

    fn on_attempt(&mut self, attempt: Attempt) {
        match &attempt.result {
            Ok(()) => self.count(WebhookResult::Delivered, 1),
            Err(failure) => {
                self.count(WebhookResult::Failed, 1);
                let endpoint = &*self.endpoint.name;
                log::debug!(endpoint = endpoint; "a webhook was not delivered: {}", failure.reason);
            }
        }
        let random = random();
        self.state.apply(&attempt, &self.endpoint.entry, &self.context.schedule, random);
        self.attempts.push((attempt, random));
    }

    fn count(&self, result: WebhookResult, count: u64) {
        if count > 0 {
            self.context.metrics.webhooks.count(&self.endpoint.name, result, count);
        }
    }
}

async fn post(
    client: &WebhookClient,
    id: &str,
    kind: EventKind,
    at: Timestamp,
    data: &str,
) -> Result<(), Failure> {
    let body = payload::body(kind.as_str(), at, data);
    let body = body.map_err(|error| Failure::new(format!("no JSON: {error}")))?;
    client.post(id, body).await.map_err(Failure::new)?.judge()
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}
