//! How the hub drains.

use std::time::Duration;

use clap::Args;

use super::parse::secs;

/// How the hub goes down.
#[derive(Debug, Clone, Args)]
pub struct DrainConfig {
    /// `/readyz` says 503 so long before the first close (seconds)
    ///
    /// For load balancers that must notice first. `DRAIN_DELAY_SECS`, seconds, default 0: closing
    /// begins at once.
    #[arg(long = "drain-delay-secs", env = "DRAIN_DELAY_SECS", value_name = "SECS")]
    #[arg(id = "drain_delay", default_value = "0", value_parser = secs(0, 3600))]
    pub delay: Duration,

    /// For the whole way down, from the last chat to the last position (seconds)
    ///
    /// `DRAIN_SECS`, seconds, default 5. With 0 every step still has a moment, about 3 s in all where
    /// the database hangs or clients do not read.
    #[arg(long = "drain-secs", env = "DRAIN_SECS", value_name = "SECS")]
    #[arg(id = "drain_secs", default_value = "5", value_parser = secs(0, 3600))]
    pub drain: Duration,
}
