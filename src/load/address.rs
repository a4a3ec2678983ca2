//! Where the hub is, and the request that opens a WebSocket there.

use std::net::{SocketAddr, ToSocketAddrs as _};

use crate::protocol::codec::Framing;

/// The hub under load.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// As it was given, for reports.
    pub url: String,
    /// What stands in `Host`.
    pub host: String,
    /// Where to connect.
    pub address: SocketAddr,
    /// How to speak.
    pub framing: Framing,
}

/// Splits an address into its host and, where one is named, its port.
fn authority(url: &str) -> Result<&str, String> {
    let (scheme, rest) = url.split_once("://").unwrap_or(("ws", url));
    match scheme {
        "ws" | "http" => {}
        "wss" | "https" => {
            return Err(format!(
                "{url}: there is no TLS here; name the hub behind the proxy, with ws://"
            ));
        }
        _ => return Err(format!("{url}: it must begin with ws:// or http://")),
    }
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    let known = ["", "ws", "socket.io", "socket.io/"];
    if authority.is_empty() || !known.contains(&path) {
        return Err(format!("{url}: it must be like ws://host:8080; the hub has its own paths"));
    }
    Ok(authority)
}

impl Target {
    /// Finds the hub. Of several addresses the first one counts.
    ///
    /// # Errors
    /// A sentence where the address is none, or where nobody knows the host.
    pub fn find(url: &str, framing: Framing) -> Result<Self, String> {
        let authority = authority(url)?;
        let named = if authority.ends_with(']') || !authority.contains(':') {
            format!("{authority}:80")
        } else {
            authority.to_owned()
        };
        let found = named.to_socket_addrs().map_err(|error| format!("{url}: {error}"))?;
        let address = { found }.next().ok_or_else(|| format!("{url}: the host has no address"))?;
        Ok(Self { url: url.to_owned(), host: authority.to_owned(), address, framing })
    }

    /// The request for the upgrade. On Socket.IO the token follows later, as stock clients do it.
    pub fn upgrade(&self, token: &str) -> String {
        let (path, token) = match self.framing {
            Framing::Plain => ("/ws", format!("Authorization: Bearer {token}\r\n")),
            Framing::SocketIo => ("/socket.io/?EIO=4&transport=websocket", String::new()),
        };
        // The key is the one of RFC 6455, section 1.2: it proves nothing that matters here.
        format!(
            "GET {path} HTTP/1.1\r\nHost: {}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
             User-Agent: orderhub-load\r\n{token}\r\n",
            self.host
        )
    }
}

/// What the hub said to the request: the status, and where the head ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answer {
    /// 101 where it was granted; 0 where it is no HTTP.
    pub status: u16,
    /// The bytes of the head.
    pub length: usize,
}

/// Reads the answer, if it is whole.
pub fn answer(bytes: &[u8]) -> Option<Answer> {
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n")?;
    let line = bytes.split(|byte| *byte == b'\r').next().unwrap_or_default();
    let line = std::str::from_utf8(line).unwrap_or_default();
    let status = line.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3)?.parse().ok());
    Some(Answer { status: status.unwrap_or(0), length: end + 4 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_found_or_refused_in_a_sentence() {
        for (url, address) in [
            ("ws://127.0.0.1:8080", "127.0.0.1:8080"),
            ("http://127.0.0.1:8080/", "127.0.0.1:8080"),
            ("127.0.0.1:8080/ws", "127.0.0.1:8080"),
            ("ws://[::1]", "[::1]:80"),
        ] {
            let target = Target::find(url, Framing::Plain).expect("an address");
            assert_eq!(target.address.to_string(), address);
        }
        for (url, part) in [
            ("wss://127.0.0.1", "no TLS"),
            ("ftp://127.0.0.1", "ws:// or http://"),
            ("ws://127.0.0.1/chat", "its own paths"),
            ("ws://", "its own paths"),
            ("ws://127.0.0.1:port", "port"),
        ] {
            let error = Target::find(url, Framing::Plain).expect_err(url);
            assert!(error.contains(part), "{error}");
        }
    }

    #[test]
    fn the_token_stands_in_the_head_of_plain_connections_only() {
        let target = |framing| Target::find("127.0.0.1:8080", framing).expect("an address");
        let plain = target(Framing::Plain).upgrade("t");
        assert!(plain.starts_with("GET /ws HTTP/1.1\r\nHost: 127.0.0.1:8080\r\n"));
        assert!(plain.ends_with("\r\nAuthorization: Bearer t\r\n\r\n"));
        assert!(!target(Framing::SocketIo).upgrade("t").contains("Bearer"));
    }

    #[test]
    fn an_answer_is_read_when_it_is_whole() {
        assert_eq!(answer(b"HTTP/1.1 101 Switching\r\n"), None);
        let head = b"HTTP/1.1 101 Switching\r\nA: b\r\n\r\n\x81";
        assert_eq!(answer(head), Some(Answer { status: 101, length: head.len() - 1 }));
        assert_eq!(answer(b"SSH-2.0\r\n\r\n").map(|answer| answer.status), Some(0));
    }
}
