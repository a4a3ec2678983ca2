//! Which page of a browser asks.

use actix_web::http::header::{self, HeaderMap};

use crate::config::Origins;

/// Whether the page that asks may. A browser says which page it is; others say nothing. The hub's
/// own origin always passes: React Native makes one up from the address that it connects to.
pub(super) fn is_allowed(allowed: &Origins, headers: &HeaderMap) -> bool {
    let Some(origin) = headers.get(header::ORIGIN) else { return true };
    origin.to_str().is_ok_and(|origin| allowed.allows(origin) || is_own(origin, headers))
}

fn is_own(origin: &str, headers: &HeaderMap) -> bool {
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    let page = origin.split_once("://").map(|(_, host)| host);
    host.zip(page).is_some_and(|(host, page)| host.to_lowercase() == page.to_lowercase())
}
