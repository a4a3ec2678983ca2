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
/// The same of Google. Those of Amazon are a whole network, `fd00:ec2::/32`.
const METADATA_V6: Ipv6Addr = Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254);

/// Judges an address. `needs_loopback` is set for `http` without `allow_http`.
///
/// # Errors
/// Why nothing is sent there.
pub fn judge(ip: IpAddr, needs_loopback: bool) -> Result<(), RefusedAddress> {
    let is_metadata = |one: &IpAddr| match one {
        IpAddr::V4(v4) => v4.is_link_local() || METADATA_V4.contains(v4),
        IpAddr::V6(v6) => {
            v6.is_unicast_link_local()
                || *v6 == METADATA_V6
                || v6.segments()[..2] == [0xfd00, 0xec2]
        }
    };
    // All of 0.0.0.0/8 is this machine, or none.
    let is_no_machine = |one: &IpAddr| match one {
        IpAddr::V4(v4) => v4.octets()[0] == 0 || v4.is_multicast() || v4.is_broadcast(),
        IpAddr::V6(v6) => v6.is_unspecified() || v6.is_multicast(),
    };
    let meant = meanings(ip);
    if meant.iter().any(is_metadata) {
        Err(RefusedAddress::LinkLocal(ip))
    } else if meant.iter().any(is_no_machine) {
        Err(RefusedAddress::NoMachine(ip))
    } else if needs_loopback && !ip.to_canonical().is_loopback() {
        // A translated address leaves this machine, whatever it is translated to.
        Err(RefusedAddress::PlainHttp(ip))
    } else {
        Ok(())
    }
}

/// The address, and the IPv4 addresses to which a translator or a tunnel may take it.
fn meanings(ip: IpAddr) -> Vec<IpAddr> {
    let IpAddr::V6(v6) = ip else { return vec![ip] };
    let words = v6.segments();
    let pair = |high: u16, low: u16| Ipv4Addr::from((u32::from(high) << 16) | u32::from(low));
    let last = pair(words[6], words[7]);
    let embedded = match words {
        // No embedded address: loopback and the unspecified one.
        [0, 0, 0, 0, 0, 0, 0, 0 | 1] => vec![],
        // Compatible and mapped; translated (RFC 2765); NAT64; ISATAP.
        [0, 0, 0, 0, 0, 0 | 0xffff, ..]
        | [0, 0, 0, 0, 0xffff, 0, ..]
        | [0x64, 0xff9b, 0, ..]
        | [_, _, _, _, 0 | 0x200, 0x5efe, ..] => vec![last],
        [0x64, 0xff9b, 1, ..] => local_nat64(words),
        // 6to4.
        [0x2002, high, low, ..] => vec![pair(high, low)],
        // Teredo: its server, and its client in the complement.
        [0x2001, 0, high, low, ..] => vec![pair(high, low), pair(!words[6], !words[7])],
        _ => vec![],
    };
    let mapped = ip.to_canonical();
    // The canonical form of a mapped address is that IPv4 address, and nothing else.
    if mapped != ip {
        return vec![mapped];
    }
    embedded.into_iter().map(IpAddr::V4).chain([ip]).collect()
}

/// The IPv4 addresses for which an address under NAT64's prefix for local use (RFC 8215) may stand: the
/// prefix may be 96, 64, 56 or 48 bits long (RFC 6052). Those in 0.0.0.0/8 come from a wrong length.
fn local_nat64(words: [u16; 8]) -> Vec<Ipv4Addr> {
    let [.., third, fourth, fifth, sixth, seventh] = words.map(u32::from);
    let lengths = [
        (sixth << 16) | seventh,
        ((fourth & 0xff) << 24) | (fifth << 8) | (sixth >> 8),
        ((third & 0xff) << 24) | ((fourth & 0xff) << 16) | fifth,
        (third << 16) | ((fourth & 0xff) << 8) | (fifth >> 8),
    ];
    let right: Vec<u32> = lengths.into_iter().filter(|bits| *bits > 0x00ff_ffff).collect();
    let meant = if right.is_empty() { vec![0] } else { right };
    meant.into_iter().map(Ipv4Addr::from).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(ip: &str, needs_loopback: bool) -> Result<(), RefusedAddress> {
        judge(ip.parse().expect("an address"), needs_loopback)
    }

    /// The forms in which an IPv6 address stands for this IPv4 address.
    fn forms(v4: &str) -> Vec<String> {
        let [a, b, c, d] = v4.parse::<Ipv4Addr>().expect("an address").octets();
        let (high, low) = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
        vec![
            format!("::ffff:{v4}"),
            format!("::ffff:0:{v4}"),
            format!("64:ff9b::{v4}"),
            format!("64:ff9b:1::{v4}"),
            format!("64:ff9b:1:0:{a:x}:{b:02x}{c:02x}:{d:02x}00:0"),
            format!("64:ff9b:1:{a:x}:{b:x}:{c:02x}{d:02x}::"),
            format!("64:ff9b:1:{high:x}:{c:x}:{d:02x}00::"),
            format!("2002:{high:x}:{low:x}::1"),
            format!("2001:0:{high:x}:{low:x}::1"),
            format!("2001:0:505:505::{:x}:{:x}", !high, !low),
            format!("2606:2800::5efe:{v4}"),
            format!("2606:2800::200:5efe:{v4}"),
        ]
    }

    #[test]
    fn link_local_and_metadata_addresses_are_refused_in_every_form() {
        for v4 in
            ["169.254.169.254", "169.254.0.1", "100.100.100.200", "168.63.129.16", "192.0.0.192"]
        {
            for ip in [v4.to_owned(), format!("::{v4}")].into_iter().chain(forms(v4)) {
                assert!(matches!(judged(&ip, false), Err(RefusedAddress::LinkLocal(_))), "{ip}");
            }
        }
        for ip in ["fe80::1", "fd00:ec2::254", "fd00:ec2::23", "fd00:ec2:1::9", "fd20:ce::254"] {
            assert!(matches!(judged(ip, false), Err(RefusedAddress::LinkLocal(_))), "{ip}");
        }
    }

    #[test]
    fn addresses_of_no_machine_are_refused_in_every_form() {
        for v4 in ["0.0.0.0", "224.0.0.1", "239.1.2.3", "255.255.255.255"] {
            for ip in [v4.to_owned()].into_iter().chain(forms(v4)) {
                assert!(matches!(judged(&ip, false), Err(RefusedAddress::NoMachine(_))), "{ip}");
            }
        }
        for ip in ["0.1.2.3", "::", "::2", "::ffff:0.1.2.3", "ff02::1"] {
            assert!(matches!(judged(ip, false), Err(RefusedAddress::NoMachine(_))), "{ip}");
        }
    }

    #[test]
    fn others_are_allowed_and_by_plain_http_only_loopback() {
        for ip in ["127.0.0.1", "127.8.9.1", "::1", "::ffff:127.0.0.1"] {
            assert_eq!((judged(ip, false), judged(ip, true)), (Ok(()), Ok(())), "{ip}");
        }
        for ip in [
            "10.0.0.7",
            "192.168.1.1",
            "93.184.215.14",
            "2606:2800::1",
            "fd12::1",
            "fd00:ec3::1",
            "64:ff9b::93.184.215.14",
            "64:ff9b::127.0.0.1",
            "64:ff9b:1::93.184.215.14",
            "64:ff9b:1:5db8:d7:e00::",
            "2002:7f00:1::1",
        ] {
            assert_eq!(judged(ip, false), Ok(()), "{ip}");
            assert!(matches!(judged(ip, true), Err(RefusedAddress::PlainHttp(_))), "{ip}");
        }
    }
}
