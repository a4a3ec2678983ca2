//! The `Origin` header of browsers.

use actix_web::http::header::{self, HeaderMap};

use crate::config::{Origins, without_default_port};

/// Whether the request's origin is allowed. Browsers send the page's origin; other clients send
/// none. The hub's own origin is always allowed: React Native makes up that header from the address
/// that it connects to.
pub fn is_allowed(allowed: &Origins, headers: &HeaderMap) -> bool {
    let Some(origin) = headers.get(header::ORIGIN) else { return true };
    origin.to_str().is_ok_and(|origin| allowed.allows(origin) || is_own(origin, headers))
}

fn is_own(origin: &str, headers: &HeaderMap) -> bool {
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    let scheme = origin.split_once("://").map(|(scheme, _)| scheme);
    host.zip(scheme).is_some_and(|(host, scheme)| {
        // One of the two may be written with the default port, and the other without.
        let own = format!("{scheme}://{host}");
        without_default_port(&own).eq_ignore_ascii_case(without_default_port(origin))
    })
}

#[cfg(test)]
mod tests {
    use actix_web::http::header::HeaderValue;

    use super::*;

    #[test]
    fn the_hubs_own_origin_may_with_and_without_its_default_port() {
        for (host, origin, may) in [
            ("hub.example", "https://hub.example", true),
            ("hub.example", "https://hub.example:443", true),
            ("hub.example:443", "https://hub.example", true),
            ("HUB.example", "http://hub.EXAMPLE:80", true),
            ("hub.example:8080", "http://hub.example:8080", true),
            ("[::1]:8080", "http://[::1]:8080", true),
            ("hub.example", "https://hub.example:80", false),
            ("hub.example:8080", "http://hub.example", false),
            ("hub.example", "https://evil.example", false),
            ("hub.example", "hub.example", false),
            ("hub.example", "null", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::HOST, HeaderValue::from_static(host));
            headers.insert(header::ORIGIN, HeaderValue::from_static(origin));
            assert_eq!(is_allowed(&Origins::List(Vec::new()), &headers), may, "{host} {origin}");
        }
    }
}
