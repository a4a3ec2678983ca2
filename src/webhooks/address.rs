//! Which addresses a webhook may be sent to. The address that is judged is the one that the hub then
//! connects to: a name that resolved to a good address a moment ago says nothing.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Why nothing is sent to an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RefusedAddress {
    /// Services of clouds that give credentials to every program on the machine live there.
    #[error("{0} is a link-local address or one of a cloud's metadata, which are always refused")]
    LinkLocal(IpAddr),
    /// No single machine has it.
    #[error("{0} is not the address of a host")]
    NoMachine(IpAddr),
    /// Only loopback may be reached by `http`.
    #[error("{0} is not loopback, and http needs allow_http = true")]
    PlainHttp(IpAddr),
}

/// Addresses of metadata services that are not link-local: of Alibaba, Azure, Oracle.
const METADATA_V4: [Ipv4Addr; 3] = [
    Ipv4Addr::new(100, 100, 100, 200),
    Ipv4Addr::new(168, 63, 129, 16),
    Ipv4Addr::new(192, 0, 0, 192),
];
/// The same of Amazon and Google.
const METADATA_V6: [Ipv6Addr; 2] = [
    Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254),
    Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254),
];

/// Judges an address. `needs_loopback` is set for `http` without `allow_http`.
///
/// # Errors
/// Why nothing is sent there.
pub fn judge(ip: IpAddr, needs_loopback: bool) -> Result<(), RefusedAddress> {
    let reached = embedded(ip);
    let is_metadata = match reached {
        IpAddr::V4(v4) => v4.is_link_local() || METADATA_V4.contains(&v4),
        IpAddr::V6(v6) => v6.is_unicast_link_local() || METADATA_V6.contains(&v6),
    };
    let is_broadcast = matches!(reached, IpAddr::V4(v4) if v4.is_broadcast());
    if is_metadata {
        Err(RefusedAddress::LinkLocal(ip))
    } else if reached.is_unspecified() || reached.is_multicast() || is_broadcast {
        Err(RefusedAddress::NoMachine(ip))
    } else if needs_loopback && !reached.is_loopback() {
        Err(RefusedAddress::PlainHttp(ip))
    } else {
        Ok(())
    }
}

/// The IPv4 address that an IPv6 address stands for (mapped, compatible, NAT64, 6to4), or else
/// itself.
fn embedded(ip: IpAddr) -> IpAddr {
    let IpAddr::V6(v6) = ip else { return ip };
    let pair = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        IpAddr::V4(Ipv4Addr::new(a, b, c, d))
    };
    match v6.segments() {
        [0, 0, 0, 0, 0, 0 | 0xffff, high, low] if high != 0 => pair(high, low),
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] | [0x2002, high, low, ..] => pair(high, low),
        _ => ip,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(ip: &str, needs_loopback: bool) -> Result<(), RefusedAddress> {
        judge(ip.parse().expect("an address"), needs_loopback)
    }

    #[test]
    fn link_local_and_metadata_addresses_are_refused_in_every_form() {
        for ip in [
            "169.254.169.254",
            "169.254.0.1",
            "::ffff:169.254.169.254",
            "::169.254.169.254",
            "64:ff9b::169.254.169.254",
            "2002:a9fe:a9fe::1",
            "100.100.100.200",
            "168.63.129.16",
            "192.0.0.192",
            "fe80::1",
            "fd00:ec2::254",
            "fd20:ce::254",
        ] {
            assert!(matches!(judged(ip, false), Err(RefusedAddress::LinkLocal(_))), "{ip}");
        }
        for ip in ["0.0.0.0", "::", "224.0.0.1", "ff02::1", "255.255.255.255"] {
            assert!(matches!(judged(ip, false), Err(RefusedAddress::NoMachine(_))), "{ip}");
        }
    }

    #[test]
    fn others_are_allowed_and_by_plain_http_only_loopback() {
        for ip in ["127.0.0.1", "127.8.9.1", "::1", "::ffff:127.0.0.1"] {
            assert_eq!((judged(ip, false), judged(ip, true)), (Ok(()), Ok(())), "{ip}");
        }
        for ip in ["10.0.0.7", "192.168.1.1", "93.184.215.14", "2606:2800::1", "fd12::1"] {
            assert_eq!(judged(ip, false), Ok(()), "{ip}");
            assert!(matches!(judged(ip, true), Err(RefusedAddress::PlainHttp(_))), "{ip}");
        }
    }
}
