//! Sends the rows of one order, one after the other, as long as its lease holds.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::client::WebhookClient;
use crate::db::webhooks::{ClaimedOrder, ClaimedRow, OrderResult};
use crate::webhooks::event::EventKind;
use crate::webhooks::health::{Admission, Attempt, Failure};
use crate::webhooks::payload;
use crate::webhooks::schedule::RetrySchedule;
use protocol::ids::UserId;
use protocol::time::Timestamp;

/// An order in hand, with all that its sending needs.
pub(super) struct Delivery {
    pub(super) order: ClaimedOrder,
    /// How it was admitted.
    pub(super) admission: Admission,
    /// After this instant no request is begun: the lease might end before the request does.
    pub(super) begin_until: Instant,
    /// Who is connected.
    pub(super) online: Arc<BTreeSet<UserId>>,
}

/// What became of it.
pub(super) struct Delivered {
    pub(super) result: OrderResult,
    pub(super) attempts: Vec<Attempt>,
    /// How long after its event each row was delivered, in seconds.
    pub(super) lags: Vec<f64>,
}

// === impl Delivery ===

impl Delivery {
    /// The result of an order that is given back as it was taken.
    pub(super) fn give_back(&self, wait: Duration) -> OrderResult {
        let ClaimedOrder { order, token, failures, .. } = &self.order;
        OrderResult {
            order: order.clone(),
            token: token.clone(),
            delivered: Vec::new(),
            dead: None,
            failures: *failures,
            wait,
        }
    }

    /// Sends until a row fails, or the lease is too short for another request.
    pub(super) async fn run(self, client: &WebhookClient, schedule: &RetrySchedule) -> Delivered {
        let result = self.give_back(Duration::ZERO);
        let mut delivered = Delivered { result, attempts: Vec::new(), lags: Vec::new() };
        for row in &self.order.rows {
            if Instant::now() >= self.begin_until {
                break;
            }
            let result = self.send(row, client).await;
            let is_new = delivered.result.failures == 0;
            let at = Timestamp::now();
            let attempt = Attempt { admission: self.admission, is_new, at, result };
            let has_failed = attempt.result.is_err();
            match &attempt.result {
                Ok(()) => {
                    delivered.result.delivered.push(row.number);
                    delivered.result.failures = 0;
                    #[expect(clippy::cast_precision_loss, reason = "a duration for people")]
                    delivered.lags.push(at.millis_since(row.created_at()) as f64 / 1000.0);
                }
                Err(failure) => delivered.fail(row, failure, schedule),
            }
            delivered.attempts.push(attempt);
            if has_failed {
                break;
            }
        }
        delivered
    }

    async fn send(&self, row: &ClaimedRow, client: &WebhookClient) -> Result<(), Failure> {
        let body = self.body(row).map_err(|error| Failure::new(format!("no JSON: {error}")))?;
        let answer = client.post(&row.id, body).await.map_err(Failure::new)?;
        answer.judge()
    }

    /// The body of a row. Who is connected is judged now, and not when the message was written.
    fn body(&self, row: &ClaimedRow) -> Result<String, serde_json::Error> {
        let completed = if row.kind == EventKind::ChatMessage.as_str() {
            let involved = &self.order.involved;
            Some(payload::with_offline_users(&row.data, involved, &self.online)?)
        } else {
            None
        };
        payload::body(&row.kind, row.created_at(), completed.as_deref().unwrap_or(&row.data))
    }
}

// === impl Delivered ===

impl Delivered {
    fn fail(&mut self, row: &ClaimedRow, failure: &Failure, schedule: &RetrySchedule) {
        if failure.is_gone {
            // It waits as it is until the endpoint is started again.
            return;
        }
        let failures = self.result.failures + 1;
        if let Some(wait) = schedule.wait(failures, random()) {
            self.result.failures = failures;
            self.result.wait = wait.max(failure.retry_after.unwrap_or_default());
        } else {
            self.result.failures = 0;
            self.result.dead = Some((row.number, failure.reason.clone()));
        }
    }
}

/// A number from 0 to 1.
pub(super) fn random() -> f64 {
    // Without random bytes all waits are those of the schedule.
    getrandom::u32().map_or(0.5, |bits| f64::from(bits) / f64::from(u32::MAX))
}
