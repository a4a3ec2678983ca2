//! A source that is read again and again. Its content is taken once it is valid; after any error
//! what was taken last stays in force.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use aws_lc_rs::digest::{SHA256, digest};

use super::key_source::KeySource;
use crate::config::ConfigError;

/// The same problem is logged at most once in this time.
const LOG_INTERVAL: Duration = Duration::from_secs(60);

/// A source, and what was read of it last.
pub struct WatchedSource {
    source: Arc<KeySource>,
    /// The variable that names the source, for the log.
    variable: &'static str,
    /// What it holds, for the log: the keys.
    content: &'static str,
    /// The hash of the content in force; none before the first success.
    current: Option<Vec<u8>>,
    /// Whether what is in force is no longer what the same content says.
    is_outdated: bool,
    warned: Option<(String, Instant)>,
}

// === impl WatchedSource ===

impl WatchedSource {
    pub(super) fn new(
        source: Arc<KeySource>,
        variable: &'static str,
        content: &'static str,
    ) -> Self {
        Self { source, variable, content, current: None, is_outdated: false, warned: None }
    }

    /// A file of at most so many bytes.
    pub fn file(
        path: &Path,
        max_bytes: usize,
        variable: &'static str,
        content: &'static str,
    ) -> Self {
        Self::new(Arc::new(KeySource::file(path, max_bytes)), variable, content)
    }

    /// The name of the source.
    pub fn name(&self) -> String {
        self.source.to_string()
    }

    /// The variable that names it.
    pub fn variable(&self) -> &'static str {
        self.variable
    }

    pub(super) fn is_file(&self) -> bool {
        self.source.is_file()
    }

    /// Reads it at a start, when there is nothing yet that could stay in force.
    ///
    /// # Errors
    /// The variable, if the source cannot be read or is not valid.
    pub fn first<K>(
        &self,
        parse: impl FnOnce(&[u8]) -> Result<K, String>,
    ) -> Result<K, ConfigError> {
        let parsed = self.source.read().and_then(|content| parse(&content));
        parsed.map_err(|problem| {
            ConfigError::new(self.variable, format!("cannot use {}: {problem}", self.source))
        })
    }

    /// Logs its problems again, whether or not they were logged a moment ago.
    pub fn forget_problem(&mut self) {
        self.warned = None;
    }

    /// Has the next read pass on the content also if it has not changed: a file that it names has.
    pub fn read_again(&mut self) {
        self.is_outdated = true;
    }

    /// Reads the source and, if it has changed, passes its content to `parse`. Returns whether it
    /// could be read and is valid.
    pub fn read_if_changed<K>(
        &mut self,
        parse: impl FnOnce(&[u8]) -> Result<K, String>,
        take: impl FnOnce(K),
    ) -> bool {
        // An HTTP client is much code, and its thread must survive a panic in it: logins may wait
        // for it.
        let read = catch_unwind(AssertUnwindSafe(|| self.source.read()));
        let read = read.unwrap_or_else(|_| Err("reading it panicked".to_owned()));
        let read = read.and_then(|content| {
            let hash = digest(&SHA256, &content).as_ref().to_vec();
            let is_new = self.is_outdated || self.current.as_ref() != Some(&hash);
            let parsed = is_new.then(|| parse(&content)).transpose()?;
            Ok(parsed.map(|parsed| (parsed, hash)))
        });
        match read {
            Ok(changed) => {
                if self.warned.take().is_some() {
                    log::info!("{}: {} can be read again", self.variable, self.source);
                }
                if let Some((parsed, hash)) = changed {
                    take(parsed);
                    self.current = Some(hash);
                    self.is_outdated = false;
                }
                true
            }
            Err(problem) => {
                self.warn_once_in_a_while(problem);
                false
            }
        }
    }

    /// Warns, about the same problem only now and then.
    fn warn_once_in_a_while(&mut self, problem: String) {
        let now = Instant::now();
        let is_told = self.warned.as_ref().is_some_and(|(warned, at)| {
            *warned == problem && now.saturating_duration_since(*at) < LOG_INTERVAL
        });
        if is_told {
            return;
        }
        let Self { source, variable, content, .. } = self;
        let rest = self.current.as_ref().map(|_| format!("; the previous {content} stay in use"));
        let rest = rest.unwrap_or_default();
        log::warn!("{variable}: cannot use {source}: {problem}{rest}");
        self.warned = Some((problem, now));
    }
}
