//! The time limit of API calls.

use std::time::Duration;

use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::middleware::Next;
use tokio::time::timeout;

use super::problem::Problem;

/// How long an answer may take. The slowest is that to many orders while the database is slow.
const CALL_TIMEOUT: Duration = Duration::from_secs(30);

/// Ends calls that take too long: callers have given up by then.
///
/// # Errors
/// The errors of the route, and 503.
pub async fn limit_call_time<B>(
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<B>, actix_web::Error> {
    within(CALL_TIMEOUT, request, next).await
}

async fn within<B>(
    time_limit: Duration,
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<B>, actix_web::Error> {
    if !is_call(request.path()) {
        return next.call(request).await;
    }
    timeout(time_limit, next.call(request)).await.unwrap_or_else(|_| {
        Err(Problem::unavailable("it takes too long, and may still be done", 1).into())
    })
}

/// Whether the path is an API call. A poll is not one, and has no such limit.
pub(super) fn is_call(path: &str) -> bool {
    path.starts_with("/api/") || path.starts_with("/admin/")
}

#[cfg(test)]
mod tests {
    use actix_web::middleware::from_fn;
    use actix_web::test::{TestRequest, init_service, try_call_service};
    use actix_web::{App, HttpResponse, web};

    use super::*;

    /// The status that a request gets whose route never answers.
    async fn asked(path: &str) -> Option<u16> {
        let hurry = |request, next| within(Duration::from_millis(20), request, next);
        let never = web::to(|| async {
            std::future::pending::<()>().await;
            HttpResponse::Ok().finish()
        });
        let app = init_service(App::new().wrap(from_fn(hurry)).default_service(never)).await;
        let answer = try_call_service(&app, TestRequest::with_uri(path).to_request());
        match timeout(Duration::from_millis(500), answer).await {
            Ok(Ok(answer)) => Some(answer.status().as_u16()),
            Ok(Err(error)) => Some(error.as_response_error().status_code().as_u16()),
            Err(_) => None,
        }
    }

    #[actix_web::test]
    async fn a_call_that_takes_too_long_is_503_and_a_poll_waits() {
        assert_eq!(asked("/api/v1/orders").await, Some(503));
        assert_eq!(asked("/admin/v1/stats").await, Some(503));
        assert_eq!(asked("/socket.io/").await, None);
    }
}
