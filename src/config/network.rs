//! Networks of addresses, such as those of trusted proxies.

use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;

/// A network: all addresses with the same first bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IpNet {
    bits: u128,
    mask: u128,
}

/// IPv4 addresses are compared in their IPv6 form (`::ffff:a.b.c.d`), because a listener on `[::]`
/// sees IPv4 peers that way.
fn bits(address: IpAddr) -> u128 {
    let v6: Ipv6Addr = match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped(),
        IpAddr::V6(v6) => v6,
    };
    v6.to_bits()
}

impl IpNet {
    /// Whether the address is in this network.
    pub fn contains(&self, address: IpAddr) -> bool {
        bits(address) & self.mask == self.bits
    }
}

impl FromStr for IpNet {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| ())?;
        let width = if address.is_ipv4() { 32 } else { 128 };
        let prefix = prefix.map_or(Ok(width), str::parse::<u32>).map_err(|_| ())?;
        if prefix > width {
            return Err(());
        }
        // A shift by 128 overflows: for `::/0` the mask is 0.
        let mask = u128::MAX.checked_shl(width - prefix).unwrap_or(0);
        Ok(Self { bits: bits(address) & mask, mask })
    }
}

/// Several networks; none by default.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Networks(pub Vec<IpNet>);

impl Networks {
    /// Whether the address is in one of them.
    pub fn contains(&self, address: IpAddr) -> bool {
        self.0.iter().any(|network| network.contains(address))
    }
}

/// What a limit by address counts: an IPv4 address, or the /64 of an IPv6 address, which is the
/// network of one household.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct AddressGroup(u128);

impl From<IpAddr> for AddressGroup {
    fn from(address: IpAddr) -> Self {
        match address {
            IpAddr::V6(v6) if v6.to_ipv4_mapped().is_none() => Self(v6.to_bits() >> 64 << 64),
            _ => Self(bits(address)),
        }
    }
}

/// Reads addresses and networks, separated by commas.
pub(super) fn networks(text: &str) -> Result<Networks, String> {
    let read: Result<Vec<IpNet>, ()> = text.split(',').map(|part| part.trim().parse()).collect();
    read.map(Networks)
        .map_err(|()| "addresses or networks with commas, like 10.0.0.0/8,192.0.2.7".to_owned())
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
            ("2001:db8::/32", "2001:db8:1::1", true),
            ("2001:db8::/32", "2001:db9::1", false),
        ] {
            let network: IpNet = network.parse().expect("a network");
            let address = address.parse().expect("an address");
            assert_eq!(network.contains(address), inside, "{network:?} {address}");
        }
    }

    #[test]
    fn what_is_no_network_is_refused() {
        for bad in ["", "10.0.0.0/33", "::/129", "10.0.0/8", "host", "10.0.0.0/8,", "10.0.0.0/x"] {
            assert!(networks(bad).is_err(), "{bad:?}");
        }
        assert_eq!(networks("10.0.0.0/8, ::1").map(|list| list.0.len()), Ok(2));
    }
}
