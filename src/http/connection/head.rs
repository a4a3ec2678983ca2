//! Heads of requests: where a head ends, how long the body is, and what it asks of the connection.

use std::ops::Range;

use bytes::{Buf, BytesMut};
use httparse::{EMPTY_HEADER, Header, Request, Status};
use smallvec::SmallVec;

use super::state::Body;

/// The longest head, in bytes. A token has at most 8 KiB.
pub(super) const MAX_HEAD: usize = 16 * 1024;
/// The parser behind this reads as many.
const MAX_HEADERS: usize = 96;

/// The result of looking for a head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ParsedHead {
    /// The head is complete.
    Whole { length: usize, body: Body },
    /// Not a head, or the parser has to report what is wrong with it.
    Unreadable,
    /// More than [`MAX_HEAD`] bytes without an end.
    TooLong,
}

/// Looks at the head at the start of a buffer; `None` where it is incomplete. `searched` is how
/// many bytes were searched before.
///
/// A head with `Connection: upgrade` but no WebSocket is an ordinary request: some proxies send
/// that with all requests, or offer h2c. The word is overwritten with blanks, because the parser
/// would not reuse the connection after it.
pub(super) fn parse_head(buffer: &mut BytesMut, searched: &mut usize) -> Option<ParsedHead> {
    // Empty lines before a request are skipped (RFC 9112, section 2.2).
    let empty = buffer.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
    if empty > 0 {
        buffer.advance(empty);
        *searched = 0;
    }
    let is_first = *searched == 0;
    let has_end = has_end(buffer, searched);
    if buffer.is_empty() || (!has_end && !is_first) {
        return (buffer.len() > MAX_HEAD).then_some(ParsedHead::TooLong);
    }
    let mut headers = [EMPTY_HEADER; MAX_HEADERS];
    let mut request = Request::new(&mut headers);
    let length = match request.parse(buffer) {
        Ok(Status::Complete(length)) => length,
        Ok(Status::Partial) if !has_end => {
            return (buffer.len() > MAX_HEAD).then_some(ParsedHead::TooLong);
        }
        // Bytes that cannot begin a request, such as TLS, are refused at once.
        _ => return Some(ParsedHead::Unreadable),
    };
    if length > MAX_HEAD {
        return Some(ParsedHead::TooLong);
    }
    let (body, options) = (body(request.headers), plain_options(request.headers, buffer));
    options.into_iter().for_each(|range| blank_upgrade(&mut buffer[range]));
    Some(ParsedHead::Whole { length, body })
}

/// Whether the buffer has the empty line that ends a head.
fn has_end(buffer: &[u8], searched: &mut usize) -> bool {
    // The line end may have been split between two reads.
    let from = searched.saturating_sub(3);
    *searched = buffer.len();
    memchr::memchr_iter(b'\n', &buffer[from..]).any(|at| {
        let rest = &buffer[from + at + 1..];
        rest.starts_with(b"\n") || rest.starts_with(b"\r\n")
    })
}

fn body(headers: &[Header<'_>]) -> Body {
    if named(headers, "transfer-encoding").next().is_some() {
        return Body::Open;
    }
    // The parser refuses an invalid length.
    let length = named(headers, "content-length").next();
    let length = length.and_then(|header| std::str::from_utf8(header.value).ok());
    Body::Bytes(length.and_then(|text| text.trim().parse().ok()).unwrap_or(0))
}

fn named<'a, 'b>(headers: &'a [Header<'b>], name: &str) -> impl Iterator<Item = &'a Header<'b>> {
    headers.iter().filter(move |header| header.name.eq_ignore_ascii_case(name))
}

/// Where the values of `Connection` are, in a head that upgrades to nothing or to something else
/// than a WebSocket.
fn plain_options(headers: &[Header<'_>], buffer: &[u8]) -> SmallVec<[Range<usize>; 1]> {
    let is_websocket = |header: &Header<'_>| header.value.eq_ignore_ascii_case(b"websocket");
    if named(headers, "upgrade").any(is_websocket) {
        return SmallVec::new();
    }
    let place = |header: &Header<'_>| {
        // A value is a slice of the buffer.
        let start = header.value.as_ptr().addr() - buffer.as_ptr().addr();
        start..start + header.value.len()
    };
    named(headers, "connection").map(place).collect()
}

/// Overwrites the word `upgrade` in a list with blanks.
fn blank_upgrade(options: &mut [u8]) {
    for option in options.split_mut(|byte| *byte == b',') {
        if option.trim_ascii().eq_ignore_ascii_case(b"upgrade") {
            option.fill(b' ');
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole(text: &str) -> (Option<ParsedHead>, String) {
        let mut buffer = BytesMut::from(text);
        let head = parse_head(&mut buffer, &mut 0);
        (head, String::from_utf8(buffer.to_vec()).expect("text"))
    }

    fn body_of(headers: &str) -> Body {
        let text = format!("POST / HTTP/1.1\r\nHost: h\r\n{headers}\r\n");
        match whole(&text).0 {
            Some(ParsedHead::Whole { length, body }) => {
                assert_eq!(length, text.len());
                body
            }
            other => panic!("{headers}: {other:?}"),
        }
    }

    #[test]
    fn a_head_is_judged_when_it_is_whole_however_it_comes() {
        for text in ["GET / HTTP/1.1\r\nHost: h\r\n\r\n", "GET / HTTP/1.1\nHost: h\n\n"] {
            let (mut buffer, mut searched) = (BytesMut::from("\r\n"), 0);
            for (place, byte) in text.bytes().enumerate() {
                assert_eq!(parse_head(&mut buffer, &mut searched), None, "{place} of {text:?}");
                buffer.extend_from_slice(&[byte]);
            }
            let body = Body::Bytes(0);
            let length = text.len();
            buffer.extend_from_slice(b"rest");
            assert_eq!(
                parse_head(&mut buffer, &mut searched),
                Some(ParsedHead::Whole { length, body })
            );
            assert_eq!(&buffer[length..], b"rest");
        }
    }

    #[test]
    fn a_head_without_an_end_is_too_long_at_some_time() {
        let text = |fill| format!("GET / HTTP/1.1\r\nHost: h\r\nA: {}", "x".repeat(fill));
        assert_eq!(whole(&text(MAX_HEAD - 100)).0, None);
        assert_eq!(whole(&text(MAX_HEAD)).0, Some(ParsedHead::TooLong));
        assert_eq!(whole(&(text(MAX_HEAD) + "\r\n\r\n")).0, Some(ParsedHead::TooLong));
        assert_eq!(whole("PRI * HTTP/2.0\r\n\r\n").0, Some(ParsedHead::Unreadable));
        for rubbish in ["\u{16}\u{3}\u{1}", "\r\n\r\n\u{0}", "hello there\n"] {
            assert_eq!(whole(rubbish).0, Some(ParsedHead::Unreadable), "{rubbish:?}");
        }
        assert_eq!(whole("\r\n").0, None);
    }

    #[test]
    fn the_length_of_a_body_stands_in_its_head() {
        assert_eq!(body_of("content-length: 17\r\n"), Body::Bytes(17));
        assert_eq!(body_of("Content-Length: 0\r\n"), Body::Bytes(0));
        assert_eq!(body_of("Transfer-Encoding: chunked\r\n"), Body::Open);
        assert_eq!(body_of("content-length: x\r\n"), Body::Bytes(0));
    }

    #[test]
    fn an_upgrade_to_anything_but_a_websocket_is_an_ordinary_request() {
        let asked = |headers: &str| {
            let (head, text) = whole(&format!("GET / HTTP/1.1\r\n{headers}\r\n"));
            assert!(matches!(head, Some(ParsedHead::Whole { .. })), "{headers}");
            text.to_ascii_lowercase().contains("upgrade\r\n")
                || text.to_ascii_lowercase().contains("upgrade,")
        };
        for plain in [
            "Connection: upgrade\r\n",
            "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n",
            "Connection: keep-alive\r\nconnection: UPGRADE\r\n",
        ] {
            assert!(!asked(plain), "{plain}");
        }
        assert!(asked("Connection: Upgrade\r\nUpgrade: WebSocket\r\n"));
        assert!(asked("Connection: no-upgrade\r\n"), "another word stays");
    }
}
