//! Requests of pages that this machine served: their `Host` and `Origin` are loopback addresses. A
//! page of another site whose name was made to point here (DNS rebinding) has its own name in both.

use std::future::{Ready, ready};
use std::net::IpAddr;

use actix_web::dev::Payload;
use actix_web::http::header::{self, HeaderMap, HeaderName};
use actix_web::http::{Method, Version};
use actix_web::{FromRequest, HttpRequest};

use crate::http::problem::Problem;
use protocol::error::{ErrorCode, Failure};

/// Headers that proxies add. What one of them passes on came from another machine, and its `Host` may
/// be the proxy's.
const FORWARDED: [&str; 7] = [
    "forwarded",
    "via",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-proto",
    "x-forwarded-server",
    "x-real-ip",
];

/// A request whose `Host` is a loopback address, and so is its `Origin`. Only reading is possible
/// without an `Origin`.
pub(super) struct Local;

impl FromRequest for Local {
    type Error = Problem;
    type Future = Ready<Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let checked = check(request.version(), request.method(), request.headers());
        ready(checked.map(|()| Self).map_err(Problem::from))
    }
}

fn check(version: Version, method: &Method, headers: &HeaderMap) -> Result<(), Failure> {
    // No browser speaks HTTP/1.0; nginx does to what is behind it, and adds no header by itself.
    if version < Version::HTTP_11 || FORWARDED.iter().any(|name| headers.contains_key(*name)) {
        return Err(forbidden("the demo is not for clients of a proxy"));
    }
    if !only(headers, &header::HOST).is_some_and(is_loopback) {
        return Err(forbidden("open it by a loopback address, like http://127.0.0.1:8080/demo"));
    }
    let needs_origin = *method != Method::GET || headers.contains_key(header::ORIGIN);
    let origin = only(headers, &header::ORIGIN).and_then(|it| it.strip_prefix("http://"));
    if needs_origin && !origin.is_some_and(is_loopback) {
        return Err(forbidden("the Origin must be a page of this machine"));
    }
    Ok(())
}

fn forbidden(message: &'static str) -> Failure {
    Failure::new(ErrorCode::Forbidden, message)
}

/// The value of a header that is there once.
fn only<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    let mut lines = headers.get_all(name);
    let line = lines.next()?;
    if lines.next().is_some() { None } else { line.to_str().ok() }
}

/// Whether a host with or without a port is this machine.
fn is_loopback(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if !port.is_empty() && port.bytes().all(|it| it.is_ascii_digit()) => {
            name
        }
        _ => host,
    };
    let address = name.strip_prefix('[').and_then(|it| it.strip_suffix(']')).unwrap_or(name);
    name.eq_ignore_ascii_case("localhost")
        || address.parse().is_ok_and(|ip: IpAddr| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use actix_web::http::header::HeaderValue;

    use super::*;

    #[test]
    fn loopback_is_a_whole_name_or_address() {
        for (host, expected) in [
            ("localhost", true),
            ("LocalHost:8080", true),
            ("127.0.0.1:8080", true),
            ("127.8.7.6", true),
            ("[::1]:8080", true),
            ("[::1]", true),
            ("localhost.", false),
            ("localhost.example.com", false),
            ("evil.localhost", false),
            ("127.0.0.1.example.com:80", false),
            ("127.0.0.1:80@evil.example", false),
            ("192.0.2.7:8080", false),
            ("0.0.0.0:8080", false),
            ("[::]:8080", false),
            ("example.com:127", false),
            ("", false),
        ] {
            assert_eq!(is_loopback(host), expected, "{host}");
        }
    }

    #[test]
    fn changing_needs_an_origin_of_this_machine_and_reading_must_not_have_another() {
        for (method, origin, expected) in [
            (Method::GET, None, true),
            (Method::GET, Some("http://localhost:5173"), true),
            (Method::GET, Some("https://evil.example"), false),
            (Method::POST, Some("http://127.0.0.1:8080"), true),
            (Method::POST, Some("http://evil.example"), false),
            (Method::POST, Some("null"), false),
            (Method::POST, Some("file://"), false),
            (Method::POST, None, false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::HOST, HeaderValue::from_static("127.0.0.1:8080"));
            if let Some(origin) = origin {
                headers.insert(header::ORIGIN, HeaderValue::from_static(origin));
            }
            assert_eq!(
                check(Version::HTTP_11, &method, &headers).is_ok(),
                expected,
                "{method} {origin:?}"
            );
        }
    }

    #[test]
    fn a_missing_or_repeated_host_is_refused() {
        assert!(check(Version::HTTP_11, &Method::GET, &HeaderMap::new()).is_err());
        let mut headers = HeaderMap::new();
        for host in ["127.0.0.1", "evil.example"] {
            headers.append(header::HOST, HeaderValue::from_static(host));
        }
        assert!(check(Version::HTTP_11, &Method::GET, &headers).is_err());
    }

    #[test]
    fn clients_of_a_proxy_get_nothing() {
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, HeaderValue::from_static("127.0.0.1:8080"));
        headers.insert(header::ORIGIN, HeaderValue::from_static("http://localhost"));
        assert!(check(Version::HTTP_11, &Method::POST, &headers).is_ok());
        assert!(check(Version::HTTP_10, &Method::POST, &headers).is_err());
        for name in FORWARDED {
            let mut headers = headers.clone();
            headers.insert(HeaderName::from_static(name), HeaderValue::from_static("x"));
            assert!(check(Version::HTTP_11, &Method::POST, &headers).is_err(), "{name}");
        }
    }
}
