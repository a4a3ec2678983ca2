//! Counts the HTTP connections that end in an error. They are not logged above `debug`: anybody can
//! cause as many as the network carries.

use std::sync::Arc;

use actix_http::error::DispatchError;

use crate::metrics::{CONNECTION_ERRORS, Metrics};

/// A connection was given up because its client was too slow.
pub(super) fn count_timeout(metrics: &Metrics) {
    count(metrics, "timeout");
}

/// A connection was given up because what came by it is no request that is read.
pub(super) fn count_malformed(metrics: &Metrics) {
    count(metrics, "malformed");
}

/// What a listener does with the end of a connection.
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
