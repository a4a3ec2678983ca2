//! Log lines that were not written, by reason.

use std::sync::atomic::{AtomicU64, Ordering};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;

/// Log lines that were not written. The log belongs to the process, so there is one of these.
pub static LOG_LOSSES: LogLosses = LogLosses([const { AtomicU64::new(0) }; 3]);

const LOG_LOSS_REASONS: [&str; 3] = ["queue_full", "write_failed", "repeated"];

/// Log lines that were not written, by reason.
#[derive(Debug, Default)]
pub struct LogLosses([AtomicU64; 3]);

// === impl LogLosses ===

impl LogLosses {
    /// Counts lines lost because the reader of the log did not keep up.
    pub fn queue_full(&self, lines: u64) {
        self.0[0].fetch_add(lines, Ordering::Relaxed);
    }

    /// Counts lines lost because the output stream failed for good.
    pub fn write_failed(&self, lines: u64) {
        self.0[1].fetch_add(lines, Ordering::Relaxed);
    }

    /// Counts lines left out because too many of their kind were logged.
    pub fn repeated(&self, lines: u64) {
        self.0[2].fetch_add(lines, Ordering::Relaxed);
    }

    /// The counts: queue full, write failed, repeated.
    pub fn counts(&self) -> [u64; 3] {
        self.0.each_ref().map(|count| count.load(Ordering::Relaxed))
    }
}

/// The log lines that this process has lost, read at each scrape.
#[derive(Debug)]
pub(super) struct LogLossCollector;

// === impl LogLossCollector ===

impl Collector for LogLossCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let help = "Log lines that were not written";
        let mut metric =
            encoder.encode_descriptor("log_lines_dropped", help, None, MetricType::Counter)?;
        for (reason, count) in LOG_LOSS_REASONS.iter().zip(LOG_LOSSES.counts()) {
            let label = [("reason", *reason)];
            ConstCounter::new(count).encode(metric.encode_family(&label)?)?;
        }
        Ok(())
    }
}
