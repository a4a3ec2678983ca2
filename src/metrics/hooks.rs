//! Metrics of the questions to the back end, by the setting that names where they are asked.

use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

type HookLabel = [(&'static str, &'static str); 1];
type ResultLabels = [(&'static str, &'static str); 2];

/// How a question ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HookResult {
    /// The back end allows it.
    Yes,
    /// The back end allows it with other content.
    Changed,
    /// The back end refuses it.
    No,
    /// There was no good answer in time.
    Failed,
    /// It was not asked, because too many questions were under way.
    Busy,
}

/// The values of the label, in the order of the results.
const RESULTS: [&str; 5] = ["yes", "changed", "no", "failed", "busy"];

/// The metrics of all hooks.
#[derive(Debug)]
pub struct HookMetrics {
    questions: Family<ResultLabels, Counter>,
    took: Family<HookLabel, Histogram>,
}

// === impl HookMetrics ===

impl HookMetrics {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            questions: Family::default(),
            took: Family::new_with_constructor(|| {
                Histogram::new(exponential_buckets(0.001, 2.0, 12))
            }),
        };
        let help = "Questions to the back end by result";
        registry.register("hook_questions", help, metrics.questions.clone());
        let help = "From a question to its answer";
        registry.register_with_unit("hook_answer", help, Unit::Seconds, metrics.took.clone());
        metrics
    }

    /// Shows a hook (`join` or `chat`) of which nothing is counted yet.
    pub fn show(&self, hook: &'static str) {
        for result in RESULTS {
            drop(self.questions.get_or_create(&[("hook", hook), ("result", result)]));
        }
    }

    /// Counts a question.
    pub fn count(&self, hook: &'static str, result: HookResult) {
        let result = RESULTS[result as usize];
        self.questions.get_or_create(&[("hook", hook), ("result", result)]).inc();
    }

    /// Notes how long an answer took.
    pub fn took(&self, hook: &'static str, time: Duration) {
        self.took.get_or_create(&[("hook", hook)]).observe(time.as_secs_f64());
    }
}
