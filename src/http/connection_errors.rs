//! Counts the HTTP connections that end in an error. They are not logged above `debug`: anybody can
//! cause as many as the network carries.

use std::sync::Arc;

use actix_http::error::DispatchError;

use crate::metrics::{CONNECTION_ERRORS, Metrics};

/// What a listener does with the end of a connection.
pub fn count_errors(
    metrics: &Arc<Metrics>,
) -> impl Fn(DispatchError) -> DispatchError + Clone + use<> {
    let metrics = Arc::clone(metrics);
    move |error| {
        let reason = reason(&error);
        let index = CONNECTION_ERRORS.iter().position(|word| *word == reason);
        metrics.http_connection_errors.inc(index.unwrap_or(usize::MAX));
        error
    }
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
