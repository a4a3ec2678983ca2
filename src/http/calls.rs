//! Calls of the HTTP API: a handler is registered with the method and the path of its description,
//! `#[utoipa::path]`.

use std::collections::BTreeMap;

use actix_web::Route;
use actix_web::http::Method;
use actix_web::web::{self, ServiceConfig};
use utoipa::openapi::HttpMethod;

use super::problem::other_methods;

/// A handler, with where it is served.
pub(super) struct Call {
    path: String,
    methods: Vec<Method>,
    route: Route,
}

/// Makes a type of a list of handlers. It describes them (`utoipa::OpenApi`), and registers them.
///
/// ```text
/// calls! { Calls: orders::{list, show}, users::{revoke} }
/// ```
macro_rules! calls {
    ($name:ident: $($module:ident::{$($handler:ident),+}),+ $(,)?) => {
        #[derive(utoipa::OpenApi)]
        #[openapi(paths($($($module::$handler),+),+))]
        pub(super) struct $name;

        impl $name {
            pub(super) fn register(config: &mut actix_web::web::ServiceConfig) {
                let calls = pastey::paste! { [$($(
                    $crate::http::calls::Call::new::<$module::[<__path_ $handler>]>(
                        actix_web::web::to($module::$handler),
                    ),
                )+)+] };
                $crate::http::calls::register(calls, config);
            }
        }
    };
}
pub(super) use calls;

impl Call {
    /// The call that a handler serves, by its description.
    pub(super) fn new<D: utoipa::Path>(handler: Route) -> Self {
        Self { path: D::path(), methods: D::methods().iter().map(method).collect(), route: handler }
    }
}

/// Registers calls. A path answers other methods with 405.
pub(super) fn register(calls: impl IntoIterator<Item = Call>, config: &mut ServiceConfig) {
    let mut by_path: BTreeMap<String, Vec<Call>> = BTreeMap::new();
    for call in calls {
        by_path.entry(call.path.clone()).or_default().push(call);
    }
    for (path, calls) in by_path {
        let methods = calls.iter().flat_map(|call| call.methods.iter().map(Method::as_str));
        let allowed = methods.collect::<Vec<_>>().join(", ");
        let resource = web::resource(path).default_service(other_methods(allowed));
        config.service(calls.into_iter().fold(resource, |resource, call| {
            let route = call.methods.into_iter().fold(call.route, Route::method);
            resource.route(route)
        }));
    }
}

fn method(method: &HttpMethod) -> Method {
    match method {
        HttpMethod::Get => Method::GET,
        HttpMethod::Post => Method::POST,
        HttpMethod::Put => Method::PUT,
        HttpMethod::Delete => Method::DELETE,
        HttpMethod::Options => Method::OPTIONS,
        HttpMethod::Head => Method::HEAD,
        HttpMethod::Patch => Method::PATCH,
        HttpMethod::Trace => Method::TRACE,
    }
}
