//! Which requests reach the routes: paths as they are written, and HEAD as the GET that it asks about.

use actix_web::ResponseError;
use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::Method;
use actix_web::middleware::Next;
use actix_web::web;
use percent_encoding::percent_decode_str;

use super::engineio::PollingSessions;
use super::problem::Problem;

/// Refuses a path whose fixed parts are escaped, and turns HEAD into GET.
///
/// The routes are found by the decoded path. A proxy that keeps `/admin` to itself, and a log that is
/// searched for it, may see the path as it is written: `/%61dmin` must not be `/admin` for the hub
/// alone. Ids may be escaped.
///
/// # Errors
/// Those of the route.
pub async fn normalize_requests<B: MessageBody + 'static>(
    mut request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<BoxBody>, actix_web::Error> {
    if is_ambiguous(request.path(), |path| request.resource_map().has_resource(path)) {
        return Ok(request.into_response(Problem::not_found().error_response()));
    }
    // The answer's body is left out where it is written. Engine.IO knows GET and POST only: a
    // handshake by HEAD would begin a session of which the client never learns the id.
    if request.method() == Method::HEAD && !is_engine(&request) {
        request.head_mut().method = Method::GET;
    }
    Ok(next.call(request).await?.map_into_boxed_body())
}

/// Whether a proxy in front of the hub may take a path for another one than the hub does: fixed parts
/// are escaped, or a part is a step (`.` and `..` are ids elsewhere).
fn is_ambiguous(path: &str, is_route: impl Fn(&str) -> bool) -> bool {
    let is_step = |part: &str| {
        // The longest is `%2e%2e`.
        let dots = if part.len() <= 6 { percent_decode_str(part).collect() } else { Vec::new() };
        matches!(&*dots, b"." | b"..")
    };
    path.split('/').any(is_step) || (path.contains('%') && !is_route(path))
}

fn is_engine(request: &ServiceRequest) -> bool {
    let sessions = request.app_data::<web::Data<PollingSessions>>();
    sessions.is_some_and(|sessions| sessions.serves(request.path()))
}
