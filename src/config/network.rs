//! Networks of addresses, such as those of trusted proxies.

use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;

use ipnet::IpNet;

/// Several networks; none by default.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Networks(Vec<IpNet>);

impl Networks {
    /// Whether the address is in one of them. A listener on `[::]` sees an IPv4 peer as
    /// `::ffff:a.b.c.d`, so an IPv4 address is looked for in both forms.
    pub fn contains(&self, address: IpAddr) -> bool {
        let forms = [address.to_canonical(), mapped(address).into()];
        self.0.iter().any(|network| forms.iter().any(|form| network.contains(form)))
    }
}

impl FromStr for Networks {
    type Err = String;

    /// Reads addresses and networks, separated by commas.
    fn from_str(text: &str) -> Result<Self, String> {
        let network = |text: &str| {
            text.parse::<IpNet>().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from))
        };
        let all: Option<Vec<IpNet>> = text.split(',').map(|part| network(part.trim())).collect();
        all.map(Self).ok_or_else(|| {
            "addresses or networks with commas, like 10.0.0.0/8,192.0.2.7".to_owned()
        })
    }
}

/// The IPv6 form of an address.
fn mapped(address: IpAddr) -> Ipv6Addr {
    match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped(),
        IpAddr::V6(v6) => v6,
    }
}

/// What a limit by address counts: an IPv4 address, or the /64 of an IPv6 address, which is the
/// network of one household.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct AddressGroup(u128);

impl From<IpAddr> for AddressGroup {
    fn from(address: IpAddr) -> Self {
        let v6 = mapped(address);
        let host_bits = if v6.to_ipv4_mapped().is_none() { 64 } else { 0 };
        Self(v6.to_bits() >> host_bits << host_bits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_holds_the_addresses_that_share_its_first_bits() {
        for (network, address, inside) in [
            ("10.0.0.0/8", "10.255.0.1", true),
            ("10.1.2.3/8", "10.255.0.1", true),
            ("10.0.0.0/8", "11.0.0.1", false),
            ("192.0.2.7", "192.0.2.7", true),
            ("192.0.2.7", "192.0.2.8", false),
            ("192.0.2.7", "::ffff:192.0.2.7", true),
            ("0.0.0.0/0", "203.0.113.9", true),
            ("0.0.0.0/0", "2001:db8::1", false),
            ("::/0", "2001:db8::1", true),
            ("::/0", "192.0.2.7", true),
            ("::ffff:192.0.2.0/120", "192.0.2.7", true),
            ("2001:db8::/32", "2001:db8:1::1", true),
            ("2001:db8::/32", "2001:db9::1", false),
        ] {
            let network: Networks = network.parse().expect("a network");
            let address = address.parse().expect("an address");
            assert_eq!(network.contains(address), inside, "{network:?} {address}");
        }
    }

    #[test]
    fn an_invalid_network_is_refused() {
        for bad in ["", "10.0.0.0/33", "::/129", "10.0.0/8", "host", "10.0.0.0/8,", "10.0.0.0/x"] {
            assert!(bad.parse::<Networks>().is_err(), "{bad:?}");
        }
        assert_eq!("10.0.0.0/8, ::1".parse::<Networks>().map(|list| list.0.len()), Ok(2));
    }
}
