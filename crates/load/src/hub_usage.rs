//! The hub's resource usage: read from the system if the hub runs on this machine, or from the
//! hub's `/metrics`.
//!
//! Reading may block, so a thread of its own does it once a second.

use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use ureq::Agent;

use super::tls::Authorities;
use crate::process::{self, Usage};

/// Where the usage is read.
#[derive(Clone)]
pub enum UsageSource {
    /// A process on this machine, by its id.
    Process(u32),
    /// The sum of several hubs.
    Sum(Vec<UsageSource>),
    /// An address that answers as `/metrics` does.
    Metrics {
        /// The HTTP client.
        agent: Agent,
        /// The address.
        url: String,
        /// The token, if the address requires one.
        token: Option<String>,
    },
}

/// A reading, with its time.
#[derive(Debug, Clone, Copy)]
pub struct UsageSample {
    /// The time.
    pub at: Instant,
    /// The usage.
    pub usage: Usage,
}

/// Reads once a second, until it is dropped.
#[derive(Debug)]
pub struct UsageWatch {
    latest: Arc<Mutex<Option<UsageSample>>>,
    /// Dropping it ends the thread.
    _end: Sender<()>,
}

/// The time between two readings.
const INTERVAL: Duration = Duration::from_secs(1);
/// How long an answer may take.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// The longest answer that is read.
const MAX_BYTES: u64 = 4 * 1024 * 1024;

// === impl UsageSource ===

impl std::fmt::Debug for UsageSource {
    /// Omits the token.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Process(pid) => write!(f, "Process({pid})"),
            Self::Sum(sources) => f.debug_list().entries(sources).finish(),
            Self::Metrics { url, .. } => write!(f, "Metrics({url})"),
        }
    }
}

impl UsageSource {
    /// An address that answers as `/metrics` does.
    pub fn metrics(url: String, token: Option<String>, authorities: &Authorities) -> Self {
        let config = Agent::config_builder()
            .timeout_global(Some(ANSWER_TIMEOUT))
            .http_status_as_error(false)
            .max_redirects(0)
            .tls_config(authorities.for_http())
            .user_agent("orderhub-load")
            // A proxy must not answer in place of the hub.
            .proxy(None);
        Self::Metrics { agent: config.build().into(), url, token }
    }

    /// Reads once.
    ///
    /// # Errors
    /// A sentence that says why the usage cannot be read.
    pub fn read(&self) -> Result<Usage, String> {
        match self {
            Self::Process(pid) => process::usage_of(*pid).ok_or_else(|| {
                format!("--pid {pid}: there is no such process, or the system does not tell of it")
            }),
            Self::Sum(sources) => {
                sources.iter().try_fold(Usage::default(), |sum, source| Ok(sum + source.read()?))
            }
            Self::Metrics { agent, url, token } => {
                metrics(agent, url, token.as_deref()).map_err(|error| format!("{url}: {error}"))
            }
        }
    }

    /// The version of the hub, if its metrics have it.
    pub fn version(&self) -> Option<String> {
        match self {
            Self::Process(_) => None,
            Self::Sum(sources) => sources.first()?.version(),
            Self::Metrics { agent, url, token } => {
                version(&exposition(agent, url, token.as_deref()).ok()?)
            }
        }
    }

    /// Starts to read once a second; `first` is the current value.
    pub fn watch(self, first: Usage) -> UsageWatch {
        let latest = Arc::new(Mutex::new(Some(UsageSample { at: Instant::now(), usage: first })));
        let (end, ended) = mpsc::channel();
        let shared = Arc::clone(&latest);
        std::thread::spawn(move || {
            while ended.recv_timeout(INTERVAL) == Err(RecvTimeoutError::Timeout) {
                // A hub that does not answer leaves a gap.
                let sample =
                    self.read().ok().map(|usage| UsageSample { at: Instant::now(), usage });
                *shared.lock().unwrap_or_else(PoisonError::into_inner) = sample;
            }
        });
        UsageWatch { latest, _end: end }
    }
}

// === impl UsageWatch ===

impl UsageWatch {
    /// The last reading; none if it failed.
    pub fn latest(&self) -> Option<UsageSample> {
        *self.latest.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl UsageSample ===

impl UsageSample {
    /// The processor use between two readings, in cores; none if they are the same reading, or if
    /// another process has replaced the hub.
    pub fn cpu_until(&self, later: &Self) -> Option<f64> {
        let time = later.at.checked_duration_since(self.at).filter(|time| !time.is_zero())?;
        let used = later.usage.cpu.checked_sub(self.usage.cpu)?;
        Some(used.as_secs_f64() / time.as_secs_f64())
    }
}

fn metrics(agent: &Agent, url: &str, token: Option<&str>) -> Result<Usage, String> {
    usage(&exposition(agent, url, token)?).ok_or_else(|| {
        "it does not name process_cpu_seconds_total and process_resident_memory_bytes".to_owned()
    })
}

/// Reads the text of a Prometheus exporter.
fn exposition(agent: &Agent, url: &str, token: Option<&str>) -> Result<String, String> {
    let mut request = agent.get(url);
    if let Some(token) = token {
        request = request.header("authorization", format!("Bearer {token}"));
    }
    let mut answer = request.call().map_err(|error| error.to_string())?;
    match answer.status().as_u16() {
        200 => {}
        401 | 403 => {
            return Err(
                "the hub asks for an admin's token: use its ADMIN_BIND, --secret, or --pid"
                    .to_owned(),
            );
        }
        status => return Err(format!("it answers {status}")),
    }
    let text = answer.body_mut().with_config().limit(MAX_BYTES).read_to_string();
    text.map_err(|error| error.to_string())
}

/// Finds the hub's version, and the commit if there is one, in its metrics.
fn version(text: &str) -> Option<String> {
    let line = text.lines().find(|line| line.starts_with("orderhub_build_info{"))?;
    let label = |name: &str| Some(line.split_once(&format!("{name}=\""))?.1.split_once('"')?.0);
    let commit = label("commit").map(|commit| format!(" ({commit})")).unwrap_or_default();
    Some(format!("{}{commit}", label("version")?))
}

/// Finds processor time and memory in the text of a Prometheus exporter.
fn usage(text: &str) -> Option<Usage> {
    let value = |name: &str| -> Option<f64> {
        let rest = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        rest?.split_whitespace().next()?.parse().ok()
    };
    let cpu = Duration::try_from_secs_f64(value("process_cpu_seconds_total")?).ok()?;
    let resident = value("process_resident_memory_bytes").filter(|bytes| *bytes >= 0.0)?;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "bytes of memory, not negative, and a cast saturates"
    )]
    Some(Usage { cpu, resident: resident as u64 })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "# TYPE process_cpu_seconds counter\nprocess_cpu_seconds_total 1.5\n\
                        process_resident_memory_bytes 2.5e+07\n# EOF\n";

    #[test]
    fn the_two_lines_of_an_exporter_are_found() {
        let usage = usage(TEXT).expect("both");
        assert_eq!((usage.cpu, usage.resident), (Duration::from_millis(1500), 25_000_000));
        for bad in ["", "process_cpu_seconds_total 1\n", "process_cpu_seconds_total -1\n"] {
            assert_eq!(super::usage(bad), None, "{bad}");
        }
    }

    #[test]
    fn the_version_of_the_hub_stands_in_its_metrics() {
        let plain = format!("{TEXT}orderhub_build_info{{version=\"1.2.3\"}} 1\n");
        assert_eq!(version(&plain).as_deref(), Some("1.2.3"));
        let built = plain.replace("\"1.2.3\"", "\"1.2.3\",commit=\"abc\"");
        assert_eq!(version(&built).as_deref(), Some("1.2.3 (abc)"));
        assert_eq!(version(TEXT), None);
    }

    #[test]
    fn processor_time_is_a_part_of_the_time_between_two_looks() {
        let usage = |ms| Usage { cpu: Duration::from_millis(ms), resident: 1 };
        let at = Instant::now();
        let first = UsageSample { at, usage: usage(1000) };
        let later = UsageSample { at: at + Duration::from_secs(2), usage: usage(2000) };
        assert_eq!(first.cpu_until(&later), Some(0.5));
        assert_eq!(first.cpu_until(&first), None);
        // The process was restarted: it counts from zero again.
        let anew = UsageSample { usage: usage(10), ..later };
        assert_eq!(first.cpu_until(&anew), None);
    }

    #[test]
    fn a_process_that_is_not_there_is_named() {
        let error = UsageSource::Process(u32::MAX).read().expect_err("nobody");
        assert!(error.contains("--pid 4294967295: there is no such process"), "{error}");
    }
}
