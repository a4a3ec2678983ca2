//! What the head of a request carries: the token, and the address of the client.

use std::borrow::Cow;
use std::net::{IpAddr, SocketAddr};

use actix_http::RequestHead;
use actix_web::http::header::{AUTHORIZATION, HeaderMap, HeaderName};

use crate::config::Networks;

/// The `Authorization` header with all its lines joined. Two lines are no valid token: another
/// reader might use the other one.
pub(super) fn authorization(headers: &HeaderMap) -> Option<Cow<'_, str>> {
    list_header(headers, &AUTHORIZATION)
}

/// The value of a list header, which may come in several lines (RFC 9110, section 5.3).
pub(super) fn list_header<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<Cow<'a, str>> {
    let mut lines = headers.get_all(name).filter_map(|value| value.to_str().ok());
    let first = Cow::Borrowed(lines.next()?);
    Some(lines.fold(first, |list, line| format!("{list},{line}").into()))
}

/// The client's address as text, for logs.
pub(super) fn remote_address(request: &RequestHead, proxies: &Networks) -> String {
    client_address(request, proxies).map_or_else(|| "unknown".to_owned(), |it| it.to_string())
}

/// The client's address. If the peer is one of our proxies, it is the last entry of
/// `X-Forwarded-For` that is not one of our proxies. Clients can forge the entries before that, and
/// those before an invalid address.
pub(super) fn client_address(request: &RequestHead, proxies: &Networks) -> Option<IpAddr> {
    let peer = request.peer_addr?.ip();
    if !proxies.contains(peer) {
        return Some(peer);
    }
    let forwarded = HeaderName::from_static("x-forwarded-for");
    let hops = list_header(&request.headers, &forwarded).unwrap_or_default();
    let client = hops
        .rsplit(',')
        .map_while(|hop| hop_address(hop.trim()))
        .find(|hop| !proxies.contains(*hop));
    Some(client.unwrap_or(peer))
}

/// The address in an entry of `X-Forwarded-For`. Some proxies also write the port, and IPv6 in
/// brackets.
fn hop_address(hop: &str) -> Option<IpAddr> {
    let bare = hop.strip_prefix('[').and_then(|inner| inner.strip_suffix(']')).unwrap_or(hop);
    let with_port = || hop.parse::<SocketAddr>().ok().map(|address| address.ip());
    bare.parse().ok().or_else(with_port)
}
