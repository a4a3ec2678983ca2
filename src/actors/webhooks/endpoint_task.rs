//! The task of one endpoint: takes turns, and sends what it takes.

use std::collections::{BTreeSet, VecDeque};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::FutureExt as _;
use futures_util::future::join;
use tokio::sync::watch;
use tokio::task::{JoinError, JoinSet};

use super::client::WebhookClient;
use super::delivery::{Delivered, Delivery, random};
use super::{DispatchContext, FindOnline, RETRY};
use crate::actors::cluster::Question;
use crate::db::webhooks::{ClaimedOrder, OrderResult, TurnOutcome, TurnRequest};
use crate::metrics::WebhookResult;
use crate::webhooks::endpoints::Endpoint;
use crate::webhooks::health::{Admission, Attempt, EndpointState, Failure};
use crate::webhooks::momentary::MomentaryEvent;
use crate::webhooks::outbox::Wake;
use crate::webhooks::payload;
use protocol::ids::UserId;
use protocol::time::Timestamp;

/// From one turn to the next: each is a commit, and the next one has the results of many requests.
const TURN_INTERVAL: Duration = Duration::from_millis(20);
/// The most orders in hand.
const MAX_IN_HAND: usize = 256;
/// The most attempts that wait to be recorded, as while the database is down.
const MAX_ATTEMPTS: usize = 256;
/// How much longer than a request a lease is,
const LEASE_MARGIN: Duration = Duration::from_secs(5);
/// and for how much of that requests are begun. The rest is for recording their results.
const BEGIN_WITHIN: Duration = Duration::from_secs(4);
/// How long the task waits for the first worker, which knows who is connected.
const ONLINE_RETRY: Duration = Duration::from_millis(100);
/// How long other nodes may take to say who is connected to them.
const OTHERS_TIMEOUT: Duration = Duration::from_millis(500);

/// The task of an endpoint.
pub(super) struct EndpointTask {
    endpoint: Arc<Endpoint>,
    context: Arc<DispatchContext>,
    client: Arc<WebhookClient>,
    wake: Arc<Wake>,
    /// How the endpoint fares, by the last turn and what has ended since.
    state: EndpointState,
    /// Orders that were taken and are not begun.
    ready: VecDeque<Delivery>,
    running: JoinSet<Delivered>,
    /// Requests for events that are in no table.
    momentary: JoinSet<(MomentaryEvent, Attempt)>,
    /// What the next turn records.
    attempts: Vec<(Attempt, f64)>,
    results: Vec<OrderResult>,
    /// When the next order is due, as far as it is known.
    due: Option<Instant>,
    /// The earliest time of the next turn.
    next_turn: Instant,
    /// Orders that have ended since the last turn: about as many will until the next one.
    ended: usize,
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
            wake: context.outbox.wake_of(&endpoint.name).unwrap_or_default(),
            endpoint,
            context,
            client,
            state: EndpointState::default(),
            ready: VecDeque::new(),
            running: JoinSet::new(),
            momentary: JoinSet::new(),
            attempts: Vec::new(),
            results: Vec::new(),
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
            let (wake, wake_at) = (Arc::clone(&self.wake), self.wake_at());
            tokio::select! {
                Some(ended) = self.running.join_next() => self.on_delivered(ended),
                Some(ended) = self.momentary.join_next() => self.on_told(ended),
                () = sleep_until(wake_at) => {
                    if self.turn_at().is_some_and(|at| at <= Instant::now()) {
                        self.take_turn(self.room()).await;
                    }
                }
                () = wake.news.notified() => {
                    if !matches!(self.admission(), Admission::Stopped | Admission::Closed(_)) {
                        self.due = Some(Instant::now());
                    }
                }
                () = wake.look.notified() => self.due = Some(Instant::now()),
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
        self.take_turn(0).await;
    }

    fn admission(&self) -> Admission {
        self.state.admission(&self.endpoint.entry, Timestamp::now())
    }

    // --- when ---

    /// When the next turn is to be taken.
    fn turn_at(&self) -> Option<Instant> {
        let has_report = !self.results.is_empty() || !self.attempts.is_empty();
        let due = self.due.filter(|_| self.room() > 0);
        let at = if has_report { Some(self.next_turn) } else { due };
        at.map(|at| at.max(self.next_turn))
    }

    fn wake_at(&self) -> Option<Instant> {
        let momentary = (self.momentary_room() > 0).then(|| {
            self.context.outbox.with_momentary(&self.endpoint.name, |queue| queue.next_due())
        });
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

    async fn take_turn(&mut self, most: usize) {
        let began = Instant::now();
        let request = TurnRequest {
            endpoint: Arc::clone(&self.endpoint.name),
            entry: self.endpoint.entry.clone(),
            attempts: std::mem::take(&mut self.attempts),
            results: std::mem::take(&mut self.results),
            most,
            lease: self.endpoint.timeout + LEASE_MARGIN,
            schedule: Arc::clone(&self.context.schedule),
        };
        let (attempts, results) = (request.attempts.clone(), request.results.clone());
        if let Ok(outcome) = self.context.store.webhook_turn(request).await {
            self.next_turn = Instant::now() + TURN_INTERVAL;
            self.ended = 0;
            self.on_turn(outcome, began).await;
        } else {
            // The store has logged why. Results that were recorded all the same have no effect the
            // next time, since their lease is gone.
            (self.attempts, self.results) = (attempts, results);
            self.next_turn = Instant::now() + RETRY;
            self.due = Some(self.next_turn);
        }
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
        let users: Vec<UserId> = involved.into_iter().cloned().collect();
        let question = Question::Online(users.clone());
        let others = self.context.peers.ask::<BTreeSet<UserId>>(question, OTHERS_TIMEOUT);
        let here = (self.context.online)()?.send(FindOnline(users));
        // Who is connected to a node that does not answer counts as offline.
        let (here, others) = join(here, others).await;
        let mut online = here.ok()?;
        online.extend(others.answers.into_iter().flatten());
        Some(Arc::new(online))
    }

    fn log_change(&self, state: &EndpointState) {
        let (endpoint, entry) = (&*self.endpoint.name, Some(&self.endpoint.entry));
        let reason = state.last_error.as_deref().unwrap_or_default();
        let is_stopped = state.stopped_entry.as_ref() == entry;
        if is_stopped && self.state.stopped_entry.as_ref() != entry {
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

    /// How many events that are in no table may be begun. They take none of the orders' places.
    /// They wait in their own queue while no turn records how the last ones ended.
    fn momentary_room(&self) -> usize {
        if self.attempts.len() >= MAX_ATTEMPTS {
            return 0;
        }
        let most = match self.admission() {
            Admission::Open => self.context.concurrency.div_ceil(4),
            // Where no order waits, an event shows as well whether the endpoint is back.
            Admission::Probe if self.running.is_empty() && self.ready.is_empty() => 1,
            _ => 0,
        };
        most.saturating_sub(self.momentary.len())
    }

    fn begin_momentary(&mut self) {
        let (room, admission) = (self.momentary_room(), self.admission());
        let taken = self.context.outbox.with_momentary(&self.endpoint.name, |queue| {
            (queue.take(room, Instant::now()), queue.take_dropped())
        });
        self.count(WebhookResult::Dropped, taken.1);
        for event in taken.0 {
            let client = Arc::clone(&self.client);
            self.momentary.spawn_local(async move {
                let sent = AssertUnwindSafe(send_momentary(&client, &event)).catch_unwind().await;
                let result = sent.unwrap_or_else(|_| Err(Failure::new("sending it panicked")));
                let at = Timestamp::now();
                (event, Attempt { admission, is_new: true, at, result })
            });
        }
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
        self.context.outbox.change_waiting(-i64::try_from(done).unwrap_or(0));
        self.count(WebhookResult::Dead, dead);
        for lag in lags {
            self.context.metrics.webhooks.lag(&self.endpoint.name, lag);
        }
        self.results.push(result);
        for attempt in attempts {
            self.on_attempt(attempt);
        }
    }

    fn on_told(&mut self, ended: Result<(MomentaryEvent, Attempt), JoinError>) {
        // It catches its panics itself.
        let Ok((event, attempt)) = ended else { return };
        let (delivered, schedule) = (attempt.result.is_ok(), &self.context.schedule);
        self.context.outbox.with_momentary(&self.endpoint.name, |queue| {
            queue.finish(&event, delivered, schedule, random(), Instant::now());
        });
        self.on_attempt(attempt);
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

async fn send_momentary(client: &WebhookClient, event: &MomentaryEvent) -> Result<(), Failure> {
    let body = payload::body(event.kind.as_str(), event.at, &event.data);
    let body = body.map_err(|error| Failure::new(format!("no JSON: {error}")))?;
    client.post(&event.id, body).await.map_err(Failure::new)?.judge()
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}
