//! Normalises requests before routing: refuses escaped paths, and treats HEAD as GET.

use actix_web::ResponseError;
use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::Method;
use actix_web::middleware::Next;
use actix_web::web;
use percent_encoding::percent_decode_str;

use super::problem::Problem;
use transport::engineio::PollingSessions;

/// Refuses a path whose fixed parts are escaped.
///
/// The routes match the decoded path. A proxy that blocks `/admin`, or a search of a log, may see
/// the path as written: `/%61dmin` must not be `/admin` to the hub alone. Ids may be escaped.
///
/// # Errors
/// The errors of the route.
pub async fn refuse_escaped_paths<B: MessageBody + 'static>(
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<BoxBody>, actix_web::Error> {
    if is_ambiguous(request.path(), |path| request.resource_map().has_resource(path)) {
        return Ok(request.into_response(Problem::not_found().error_response()));
    }
    Ok(next.call(request).await?.map_into_boxed_body())
}

/// Turns HEAD into GET.
///
/// # Errors
/// The errors of the route.
pub async fn head_as_get<B>(
    mut request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<B>, actix_web::Error> {
    // The body is left out when the answer is written. Engine.IO knows GET and POST only: a
    // handshake by HEAD would start a session whose id the client never gets.
    if request.method() == Method::HEAD && !is_engine(&request) {
        request.head_mut().method = Method::GET;
    }
    next.call(request).await
}

/// Whether a proxy in front of the hub may understand a path differently: fixed parts are escaped,
/// or a part is a dot segment (elsewhere `.` and `..` are ids).
fn is_ambiguous(path: &str, is_route: impl Fn(&str) -> bool) -> bool {
    let is_step = |part: &str| {
        // The longest form is `%2e%2e`.
        let dots = if part.len() <= 6 { percent_decode_str(part).collect() } else { Vec::new() };
        matches!(&*dots, b"." | b"..")
    };
    path.split('/').any(is_step) || (path.contains('%') && !is_route(path))
}

fn is_engine(request: &ServiceRequest) -> bool {
    let sessions = request.app_data::<web::Data<PollingSessions>>();
    sessions.is_some_and(|sessions| sessions.serves(request.path()))
}
