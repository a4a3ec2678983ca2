//! Counts HTTP connections that end in an error. They are logged at `debug` only: any client can
//! cause as many as the network carries.

use std::sync::Arc;

use actix_http::error::DispatchError;

use crate::metrics::{CONNECTION_ERRORS, Metrics};

/// Counts a connection that was given up because its client was too slow.
pub(super) fn count_timeout(metrics: &Metrics) {
    count(metrics, "timeout");
}

/// Counts a connection that was given up because it sent no valid request.
pub(super) fn count_malformed(metrics: &Metrics) {
    count(metrics, "malformed");
}

/// A listener's handler for the end of a connection.
pub fn count_errors(
    metrics: &Arc<Metrics>,
) -> impl Fn(DispatchError) -> DispatchError + Clone + use<> {
    let metrics = Arc::clone(metrics);
    move |error| {
        count(&metrics, reason(&error));
        error
    }
}

fn count(metrics: &Metrics, reason: &str) {
    let index = CONNECTION_ERRORS.iter().position(|word| *word == reason);
    metrics.http_connection_errors.inc(index.unwrap_or(usize::MAX));
}

/// One of [`CONNECTION_ERRORS`].
fn reason(error: &DispatchError) -> &'static str {
    match error {
        DispatchError::Parse(_) => "malformed",
        DispatchError::SlowRequestTimeout | DispatchError::DisconnectTimeout => "timeout",
        DispatchError::Io(_) => "lost",
        _ => "other",
    }
}
