//! The process's use of processor, memory and files, with the usual metric names.

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Unit;

use crate::process;

/// The usage of this process, read at each scrape; nothing where the system does not tell.
#[derive(Debug)]
pub(super) struct ProcessCollector;

// === impl ProcessCollector ===

impl Collector for ProcessCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        encode_files(&mut encoder)?;
        let Some(usage) = process::own_usage() else { return Ok(()) };
        let mut tell = |name, help, unit, metric: &dyn EncodeMetric| {
            metric.encode(encoder.encode_descriptor(
                name,
                help,
                Some(&unit),
                metric.metric_type(),
            )?)
        };
        let cpu = ConstCounter::new(usage.cpu.as_secs_f64());
        tell("process_cpu", "Processor time of all threads", Unit::Seconds, &cpu)?;
        let resident = ConstGauge::new(i64::try_from(usage.resident).unwrap_or(i64::MAX));
        tell("process_resident_memory", "What is held in memory", Unit::Bytes, &resident)
    }
}

/// How many files are open, and how many may be.
fn encode_files(encoder: &mut DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
    let files = [
        ("process_open_fds", "Open files", process::open_files()),
        ("process_max_fds", "How many files may be open", process::max_open_files()),
    ];
    for (name, help, count) in files {
        let Some(count) = count else { continue };
        let gauge = ConstGauge::new(i64::try_from(count).unwrap_or(i64::MAX));
        gauge.encode(encoder.encode_descriptor(name, help, None, gauge.metric_type())?)?;
    }
    Ok(())
}
