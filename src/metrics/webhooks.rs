//! Metrics of webhooks, by endpoint: a label whose values an operator's file gives.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

type EndpointLabel = [(&'static str, String); 1];
type ResultLabels = [(&'static str, String); 2];

/// How a request or what it was for ended: taken, to be tried again, given up, not worth telling any
/// more, or forgotten.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WebhookResult {
    /// The endpoint took it.
    Delivered,
    /// The request failed.
    Failed,
    /// No try was left.
    Dead,
    /// It was only true for a moment, which is over.
    Dropped,
    /// It was dead, and made room for newer dead ones.
    Deleted,
}

/// The metrics of all endpoints.
#[derive(Debug)]
pub struct WebhookMetrics {
    sent: Family<ResultLabels, Counter>,
    lag: Family<EndpointLabel, Histogram>,
    waiting: Family<EndpointLabel, Gauge>,
    dead: Family<EndpointLabel, Gauge>,
}

// === impl WebhookMetrics ===

impl WebhookMetrics {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            sent: Family::default(),
            lag: Family::new_with_constructor(|| {
                Histogram::new(exponential_buckets(0.001, 4.0, 14))
            }),
            waiting: Family::default(),
            dead: Family::default(),
        };
        registry.register("webhooks_sent", "Webhooks by result", metrics.sent.clone());
        let help = "From an event to its delivery";
        registry.register_with_unit("webhook_lag", help, Unit::Seconds, metrics.lag.clone());
        registry.register("webhooks_waiting", "Webhooks that wait", metrics.waiting.clone());
        registry.register("webhooks_dead", "Webhooks that were given up", metrics.dead.clone());
        metrics
    }

    /// Counts results.
    pub fn count(&self, endpoint: &str, result: WebhookResult, count: u64) {
        let result = match result {
            WebhookResult::Delivered => "delivered",
            WebhookResult::Failed => "failed",
            WebhookResult::Dead => "dead",
            WebhookResult::Dropped => "dropped",
            WebhookResult::Deleted => "deleted",
        };
        let labels = [("endpoint", endpoint.to_owned()), ("result", result.to_owned())];
        self.sent.get_or_create(&labels).inc_by(count);
    }

    /// Notes how long after its event a webhook was delivered.
    pub fn lag(&self, endpoint: &str, seconds: f64) {
        self.lag.get_or_create(&[("endpoint", endpoint.to_owned())]).observe(seconds);
    }

    /// Shows how many wait and how many are dead.
    pub fn show(&self, endpoint: &str, waiting: i64, dead: i64) {
        let label = [("endpoint", endpoint.to_owned())];
        self.waiting.get_or_create(&label).set(waiting);
        self.dead.get_or_create(&label).set(dead);
    }

    /// Forgets an endpoint that is not there any more.
    pub fn forget(&self, endpoint: &str) {
        let label = [("endpoint", endpoint.to_owned())];
        self.waiting.remove(&label);
        self.dead.remove(&label);
    }
}
