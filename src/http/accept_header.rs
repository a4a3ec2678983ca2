//! Chooses the form of an answer by the request's `Accept` header.

use std::cmp::Reverse;

use actix_web::HttpRequest;
use actix_web::http::header::{Accept, Header, Quality};

/// The form that `Accept` prefers (RFC 9110, section 12.5.1); the first of several equal ones.
/// `None` where it accepts none. A missing or invalid header accepts all.
pub(super) fn preferred(request: &HttpRequest, offered: &[&'static str]) -> Option<&'static str> {
    let accept = Accept::parse(request).ok();
    let ranges: Vec<(&str, Quality)> = accept
        .iter()
        .flat_map(|accept| accept.iter())
        .map(|range| (range.item.essence_str(), range.quality))
        .collect();
    choose(&ranges, offered)
}

fn choose(ranges: &[(&str, Quality)], offered: &[&'static str]) -> Option<&'static str> {
    if ranges.is_empty() {
        return offered.first().copied();
    }
    let welcome = offered.iter().rev().filter_map(|form| {
        let kind = form.split_once('/').map_or(*form, |(kind, _)| kind);
        // A more specific range counts more.
        let specific = |range: &str| match range.split_once('/') {
            _ if range.eq_ignore_ascii_case(form) => Some(2),
            Some((of, "*")) if of.eq_ignore_ascii_case(kind) => Some(1),
            _ if range == "*/*" => Some(0),
            _ => None,
        };
        let fits = ranges.iter().enumerate().filter_map(|(place, (range, quality))| {
            Some((specific(range)?, Reverse(place), *quality))
        });
        let (specific, place, quality) = fits.max()?;
        (quality > Quality::ZERO).then_some(((quality, specific, place), *form))
    });
    welcome.max_by_key(|(rank, _)| *rank).map(|(_, form)| form)
}

#[cfg(test)]
mod tests {
    use actix_web::http::header;
    use actix_web::test::TestRequest;

    use super::*;

    #[test]
    fn the_form_that_is_preferred_is_taken() {
        const OFFERED: [&str; 2] = ["application/json", "application/geo+json"];
        let (json, geo) = (Some(OFFERED[0]), Some(OFFERED[1]));
        for (accept, expected) in [
            ("*/*", json),
            ("application/*", json),
            ("application/json", json),
            ("application/geo+json", geo),
            ("Application/GEO+JSON", geo),
            ("application/geo+json, */*", geo),
            ("application/geo+json;q=0.5, application/json", json),
            ("application/geo+json;q=0.5, */*;q=0.1", geo),
            ("application/geo+json, application/json", geo),
            ("application/json;q=0, */*", geo),
            ("text/html", None),
            ("application/json;q=0", None),
            ("text/html, */*;q=0", None),
        ] {
            let request = TestRequest::default().insert_header((header::ACCEPT, accept));
            let found = preferred(&request.to_http_request(), &OFFERED);
            assert_eq!(found, expected, "{accept}");
        }
        assert_eq!(preferred(&TestRequest::default().to_http_request(), &OFFERED), json);
    }
}
