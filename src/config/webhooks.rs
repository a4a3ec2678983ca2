//! Settings of webhooks.

use std::path::PathBuf;

use clap::Args;

use super::parse;
use crate::webhooks::schedule::RetrySchedule;

/// Who is told of what happens, and how failed deliveries are tried again.
#[derive(Debug, Clone, Args)]
pub struct WebhookConfig {
    /// Endpoints that are told of what happens, a TOML file
    ///
    /// `WEBHOOKS_FILE`, default none: nothing is told, and nothing is written for it.
    #[arg(long = "webhooks-file", env = "WEBHOOKS_FILE", value_name = "FILE")]
    #[arg(value_parser = parse::path)]
    pub file: Option<PathBuf>,

    /// Orders that are told to one endpoint at the same time
    ///
    /// `WEBHOOK_CONCURRENCY`, default 16. At 1 a slow answer holds back all other orders.
    #[arg(long = "webhook-concurrency", env = "WEBHOOK_CONCURRENCY", value_name = "N")]
    #[arg(default_value = "16", value_parser = parse::integer(1_usize, 256))]
    pub concurrency: usize,

    /// Waits after each failure of a webhook, with commas; then it is given up
    ///
    /// `WEBHOOK_RETRY_SCHEDULE`, default `5s,5m,30m,2h,5h,10h,14h`, each a fifth more or less.
    #[arg(long = "webhook-retry-schedule", env = "WEBHOOK_RETRY_SCHEDULE", value_name = "WAITS")]
    #[arg(default_value = "5s,5m,30m,2h,5h,10h,14h", value_parser = RetrySchedule::parse)]
    pub retry_schedule: RetrySchedule,

    /// Webhooks that may wait; beyond, new ones are given up at once
    ///
    /// `WEBHOOK_MAX_ROWS`, default 1,000,000: about a gigabyte of the database.
    #[arg(long = "webhook-max-rows", env = "WEBHOOK_MAX_ROWS", value_name = "N")]
    #[arg(default_value = "1000000", value_parser = parse::integer(1_i64, 1_000_000_000))]
    pub max_rows: i64,

    /// A message that a user was not shown for so long is told as unread (seconds); 0 switches it off
    ///
    /// `UNREAD_AFTER_SECS`, seconds, default 10.
    #[arg(long = "unread-after-secs", env = "UNREAD_AFTER_SECS", value_name = "SECS")]
    #[arg(default_value = "10", value_parser = parse::secs(0, 3600))]
    pub unread_after: std::time::Duration,

    /// After that a user is told of newer messages of the order at the earliest after (seconds)
    ///
    /// `UNREAD_REPEAT_SECS`, seconds, default 300. At 0 each message may be a push.
    #[arg(long = "unread-repeat-secs", env = "UNREAD_REPEAT_SECS", value_name = "SECS")]
    #[arg(default_value = "300", value_parser = parse::secs(0, 86_400))]
    pub unread_repeat: std::time::Duration,

    /// A driver without a position for so long is told as stale (seconds); 0 switches it off
    ///
    /// `STALE_AFTER_SECS`, seconds, default 60, while customers of an open order see the driver.
    #[arg(long = "stale-after-secs", env = "STALE_AFTER_SECS", value_name = "SECS")]
    #[arg(default_value = "60", value_parser = parse::secs(0, 86_400))]
    pub stale_after: std::time::Duration,
}
