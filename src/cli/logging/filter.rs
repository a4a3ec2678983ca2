//! Chooses what is logged: what unauthenticated clients can cause is no warning, and repetitions
//! are limited ([`RepeatLimit`]).

use std::hash::{BuildHasher as _, RandomState};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use env_logger::Logger;
use log::{Level, Log, Metadata, Record};

use super::repeat_limit::RepeatLimit;
use crate::metrics::LOG_LOSSES;

/// Modules whose warnings and errors are about what a client sent, or about its disconnection: any
/// client can cause any number of them. Their connections are counted instead
/// (`http_connection_errors`).
const CLIENT_MODULES: &[&str] = &["actix_http::h1::dispatcher", "actix_http::h1::decoder"];

/// The logger behind this filter.
pub(super) struct LogFilter {
    logger: Logger,
    repeats: Mutex<RepeatLimit>,
    hasher: RandomState,
}

// === impl LogFilter ===

impl Log for LogFilter {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        let level = effective_level(metadata);
        self.logger.enabled(&Metadata::builder().level(level).target(metadata.target()).build())
    }

    fn log(&self, record: &Record<'_>) {
        let record = record.to_builder().level(effective_level(record.metadata())).build();
        if !self.logger.matches(&record) {
            return;
        }
        let Some(left_out) = self.admit(&record) else {
            LOG_LOSSES.repeated(1);
            return;
        };
        if left_out > 0 {
            let said = format_args!("lines like the next were left out");
            let count = ("count", left_out);
            self.logger.log(&record.to_builder().args(said).key_values(&count).build());
        }
        self.logger.log(&record);
    }

    fn flush(&self) {}
}

impl LogFilter {
    pub(super) fn new(logger: Logger) -> Self {
        Self { logger, repeats: Mutex::default(), hasher: RandomState::new() }
    }

    /// As [`RepeatLimit::admit`], for warnings and errors.
    fn admit(&self, record: &Record<'_>) -> Option<u64> {
        if record.level() > Level::Warn {
            return Some(0);
        }
        let site = (self.hasher.hash_one(record.target()), record.line().unwrap_or(0));
        let mut repeats = self.repeats.lock().unwrap_or_else(PoisonError::into_inner);
        repeats.admit(site, Instant::now())
    }
}

/// The level of a record, lowered if clients can cause it.
fn effective_level(metadata: &Metadata<'_>) -> Level {
    if CLIENT_MODULES.contains(&metadata.target()) {
        return metadata.level().max(Level::Debug);
    }
    metadata.level()
}
