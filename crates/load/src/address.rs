//! The address of the hub, and the request that opens a WebSocket there.

use std::net::{SocketAddr, ToSocketAddrs as _};

use super::tls::{Authorities, Trust};
use protocol::codec::Framing;

/// The hub under load.
#[derive(Debug, Clone)]
pub struct HubTarget {
    /// The address as it was given, for reports.
    pub url: String,
    /// The value of the `Host` header.
    pub host: String,
    /// The addresses of the host; the first one is used.
    pub addresses: Vec<SocketAddr>,
    /// The certificate authorities, if the hub uses TLS.
    pub tls: Option<Trust>,
    /// The framing.
    pub framing: Framing,
}

/// How the members of a room are spread over several hubs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Spread {
    /// Each member of a room is on another hub than the one before.
    #[default]
    Room,
    /// All members of a room are on one hub, as behind a balancer that keeps orders together.
    Order,
}

/// A parsed address of a hub.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// The address as it was given.
    pub url: String,
    /// Whether it uses TLS.
    pub secure: bool,
    /// The host, with the port if one is given.
    pub authority: String,
    /// The host alone, without brackets.
    host: String,
    port: u16,
}

// === impl Address ===

impl Address {
    /// Whether a URL has the same host, port and encryption.
    pub fn is_origin_of(&self, url: &str) -> bool {
        let Some((scheme, rest)) = url.split_once("://") else { return false };
        let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
        let origin = Self::read(&format!("{scheme}://{authority}"));
        origin
            .is_ok_and(|it| (it.secure, &it.host, it.port) == (self.secure, &self.host, self.port))
    }

    /// Reads an address.
    ///
    /// # Errors
    /// A sentence if it is not the address of a hub.
    pub fn read(url: &str) -> Result<Self, String> {
        let (scheme, rest) = url.split_once("://").unwrap_or(("ws", url));
        let secure = match scheme {
            "ws" | "http" => false,
            "wss" | "https" => true,
            _ => {
                return Err(format!(
                    "{url}: it must begin with ws://, http://, wss:// or https://"
                ));
            }
        };
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let known = ["", "ws", "socket.io", "socket.io/"];
        // A user, a query or a fragment would become part of the host's name.
        let odd = |c: char| "@?#\\".contains(c) || c.is_control();
        if authority.is_empty() || authority.contains(odd) || !known.contains(&path) {
            return Err(format!(
                "{url}: it must be like ws://host:8080; the hub has its own paths"
            ));
        }
        let named = authority.rsplit_once(':').filter(|_| !authority.ends_with(']'));
        let (host, port) = match named {
            Some((host, port)) => {
                let known = port.parse().ok().filter(|port| *port != 0);
                (host, known.ok_or_else(|| format!("{url}: {port} is no port"))?)
            }
            None => (authority, if secure { 443 } else { 80 }),
        };
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        Ok(Self { url: url.to_owned(), secure, authority: authority.to_owned(), host, port })
    }
}

// === impl Spread ===

impl Spread {
    /// Which of `hubs` a member begins with: the member at this place of its room, from 0.
    pub fn home(self, room: usize, place: usize, hubs: usize) -> usize {
        match self {
            // Rooms begin with different hubs, so that each has its share of drivers.
            Self::Room => (room + place) % hubs,
            Self::Order => room % hubs,
        }
    }
}

impl std::str::FromStr for Spread {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "room" => Ok(Self::Room),
            "order" => Ok(Self::Order),
            _ => Err("it must be room or order".to_owned()),
        }
    }
}

// === impl HubTarget ===

impl HubTarget {
    /// Resolves the hub's name. If it uses TLS, its certificate must come from these authorities.
    ///
    /// # Errors
    /// A sentence if the host is unknown.
    pub fn find(
        address: &Address,
        framing: Framing,
        authorities: &Authorities,
    ) -> Result<Self, String> {
        let Address { url, host, .. } = address;
        let found = (&**host, address.port).to_socket_addrs().map(Iterator::collect::<Vec<_>>);
        let addresses = found.unwrap_or_default();
        if addresses.is_empty() {
            return Err(format!("{url}: nobody knows the host {host}"));
        }
        let tls = address.secure.then(|| Trust::new(host, authorities)).transpose();
        Ok(Self {
            url: url.clone(),
            host: address.authority.clone(),
            addresses,
            tls: tls.map_err(|error| format!("{url}: {error}"))?,
            framing,
        })
    }

    /// The address to connect to.
    pub fn address(&self) -> SocketAddr {
        self.addresses[0]
    }

    /// The request for the upgrade. On Socket.IO the token follows later, as from stock clients.
    pub fn upgrade(&self, token: &str) -> String {
        let (path, token) = match self.framing {
            Framing::Plain => ("/ws", format!("Authorization: Bearer {token}\r\n")),
            Framing::SocketIo => ("/socket.io/?EIO=4&transport=websocket", String::new()),
        };
        // The key is the example of RFC 6455, section 1.2; its value does not matter here.
        format!(
            "GET {path} HTTP/1.1\r\nHost: {}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
             User-Agent: orderhub-load\r\n{token}\r\n",
            self.host
        )
    }
}

/// The hub's answer to the request: the status, and the length of the head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UpgradeAnswer {
    /// 101 if the upgrade was granted; 0 if the answer is not HTTP.
    pub status: u16,
    /// The bytes of the head.
    pub length: usize,
}

/// Parses the answer, if it is complete.
pub fn answer(bytes: &[u8]) -> Option<UpgradeAnswer> {
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n")?;
    let line = bytes.split(|byte| *byte == b'\r').next().unwrap_or_default();
    let line = std::str::from_utf8(line).unwrap_or_default();
    let rest = line.strip_prefix("HTTP/1.").and_then(|rest| rest.get(2..5));
    let status = rest.and_then(|status| status.parse().ok());
    Some(UpgradeAnswer { status: status.unwrap_or(0), length: end + 4 })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(url: &str, framing: Framing) -> Result<HubTarget, String> {
        HubTarget::find(&Address::read(url)?, framing, &Authorities::public())
    }

    #[test]
    fn only_the_hub_itself_has_its_origin() {
        let hub = Address::read("wss://hub.example.com").expect("an address");
        for (url, is) in [
            ("https://hub.example.com/metrics", true),
            ("https://hub.example.com:443/metrics?x", true),
            ("http://hub.example.com/metrics", false),
            ("https://hub.example.com:9090/metrics", false),
            ("https://hub.example.com.evil.example/metrics", false),
            ("https://evil.example/?https://hub.example.com", false),
            ("hub.example.com/metrics", false),
        ] {
            assert_eq!(hub.is_origin_of(url), is, "{url}");
        }
    }

    #[test]
    fn addresses_are_found_or_refused_in_a_sentence() {
        for (url, address, secure) in [
            ("ws://127.0.0.1:8080", "127.0.0.1:8080", false),
            ("http://127.0.0.1:8080/", "127.0.0.1:8080", false),
            ("127.0.0.1:8080/ws", "127.0.0.1:8080", false),
            ("ws://[::1]", "[::1]:80", false),
            ("wss://127.0.0.1", "127.0.0.1:443", true),
            ("https://[::1]:8443/socket.io/", "[::1]:8443", true),
        ] {
            let target = find(url, Framing::Plain).expect("an address");
            assert_eq!((&*target.address().to_string(), target.tls.is_some()), (address, secure));
        }
        for (url, part) in [
            ("ftp://127.0.0.1", "ws://, http://"),
            ("ws://127.0.0.1/chat", "its own paths"),
            ("ws://", "its own paths"),
            ("ws://user@127.0.0.1", "its own paths"),
            ("ws://127.0.0.1#x:8080", "its own paths"),
            ("ws://127.0.0.1?x", "its own paths"),
            ("ws://127.0.0.1\r\nX: y", "its own paths"),
            ("ws://127.0.0.1:port", "port is no port"),
            ("ws://127.0.0.1:99999", "99999 is no port"),
            ("ws://127.0.0.1:0", "0 is no port"),
            ("ws://there is none", "nobody knows the host"),
        ] {
            let error = find(url, Framing::Plain).expect_err(url);
            assert!(error.contains(part), "{error}");
        }
    }

    #[test]
    fn members_are_spread_over_the_hubs_or_rooms_are() {
        let homes = |spread: Spread| -> Vec<usize> {
            (0..6).map(|id| spread.home(id / 3, id % 3, 3)).collect()
        };
        assert_eq!(homes(Spread::Room), [0, 1, 2, 1, 2, 0]);
        assert_eq!(homes(Spread::Order), [0, 0, 0, 1, 1, 1]);
    }

    #[test]
    fn the_token_stands_in_the_head_of_plain_connections_only() {
        let target = |framing| find("127.0.0.1:8080", framing).expect("an address");
        let plain = target(Framing::Plain).upgrade("t");
        assert!(plain.starts_with("GET /ws HTTP/1.1\r\nHost: 127.0.0.1:8080\r\n"));
        assert!(plain.ends_with("\r\nAuthorization: Bearer t\r\n\r\n"));
        assert!(!target(Framing::SocketIo).upgrade("t").contains("Bearer"));
    }

    #[test]
    fn an_answer_is_read_when_it_is_whole() {
        assert_eq!(answer(b"HTTP/1.1 101 Switching\r\n"), None);
        let head = b"HTTP/1.1 101 Switching\r\nA: b\r\n\r\n\x81";
        assert_eq!(answer(head), Some(UpgradeAnswer { status: 101, length: head.len() - 1 }));
        let old = answer(b"HTTP/1.0 404 File not found\r\n\r\n");
        assert_eq!(old.map(|answer| answer.status), Some(404));
        assert_eq!(answer(b"SSH-2.0\r\n\r\n").map(|answer| answer.status), Some(0));
    }
}
