//! Addresses that are not the public internet, after IANA's registries of special-purpose addresses, with what clouds use
//! besides.

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

const fn v4(a: u8, b: u8, c: u8, d: u8, length: u8) -> Ipv4Net {
    Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), length)
}

const fn v6(a: u16, b: u16, c: u16, d: u16, length: u8) -> Ipv6Net {
    Ipv6Net::new_assert(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0), length)
}

const SPECIAL_V4: [Ipv4Net; 19] = [
    v4(0, 0, 0, 0, 8),        // this network
    v4(10, 0, 0, 0, 8),       // private
    v4(100, 64, 0, 0, 10),    // carriers' NAT, and a metadata service (100.100.100.200)
    v4(127, 0, 0, 0, 8),      // loopback
    v4(168, 63, 129, 16, 32), // a metadata service
    v4(169, 254, 0, 0, 16),   // link-local, and most metadata services
    v4(172, 16, 0, 0, 12),    // private
    v4(192, 0, 0, 0, 24),     // protocol assignments, and a metadata service (192.0.0.192)
    v4(192, 0, 2, 0, 24),     // documentation
    v4(192, 31, 196, 0, 24),  // AS112
    v4(192, 52, 193, 0, 24),  // multicast tunneling
    v4(192, 88, 99, 0, 24),   // 6to4 relays
    v4(192, 168, 0, 0, 16),   // private
    v4(192, 175, 48, 0, 24),  // AS112
    v4(198, 18, 0, 0, 15),    // benchmarks
    v4(198, 51, 100, 0, 24),  // documentation
    v4(203, 0, 113, 0, 24),   // documentation
    v4(224, 0, 0, 0, 4),      // multicast
    v4(240, 0, 0, 0, 4),      // reserved, and broadcast
];

const SPECIAL_V6: [Ipv6Net; 12] = [
    v6(0, 0, 0, 0, 8), // unspecified, loopback, and all forms of embedded IPv4 addresses but the next two
    v6(0x100, 0, 0, 0, 64), // discarded
    v6(0x100, 0, 0, 1, 64), // dummy
    v6(0x2001, 0, 0, 0, 23), // protocol assignments, and embedded IPv4 addresses
    v6(0x2001, 0xdb8, 0, 0, 32), // documentation
    v6(0x2002, 0, 0, 0, 16), // embedded IPv4 addresses (6to4)
    v6(0x2620, 0x4f, 0x8000, 0, 48), // AS112
    v6(0x3fff, 0, 0, 0, 20), // documentation
    v6(0x5f00, 0, 0, 0, 16), // segment routing
    v6(0xfc00, 0, 0, 0, 7), // private, and metadata services (fd00:ec2::)
    v6(0xfe80, 0, 0, 0, 9), // link-local, and the former site-local addresses
    v6(0xff00, 0, 0, 0, 8), // multicast
];

/// Whether an address is not of the public internet. Expects a [canonical](IpAddr::to_canonical) address.
pub(super) fn is_special(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => SPECIAL_V4.iter().any(|net| net.contains(&address)),
        IpAddr::V6(address) => SPECIAL_V6.iter().any(|net| net.contains(&address)),
    }
}

/// Whether an address belongs to no host that a name could mean: link-local (where most metadata services are),
/// unspecified, multicast or broadcast.
pub(super) fn is_nobodys(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => {
            address.is_link_local()
                || address.is_unspecified()
                || address.is_multicast()
                || address.is_broadcast()
        }
        IpAddr::V6(address) => {
            address.is_unicast_link_local() || address.is_unspecified() || address.is_multicast()
        }
    }
}

/// Parses a network, or a single address.
pub(super) fn parse(text: &str) -> Option<IpNet> {
    let bare = text.replace(['[', ']'], "");
    match bare.parse::<IpAddr>() {
        Ok(address) => Some(IpNet::from(address.to_canonical())),
        Err(_) => Some(bare.parse::<IpNet>().ok()?.trunc()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_special_addresses() {
        for special in [
            "0.1.2.3",
            "10.1.2.3",
            "100.100.100.200",
            "127.0.0.1",
            "168.63.129.16",
            "169.254.169.254",
            "172.31.0.1",
            "192.0.0.192",
            "192.168.1.1",
            "198.19.0.1",
            "224.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "64:ff9b::a00:1",
            "2001::1",
            "2001:db8::1",
            "2002:a00:1::",
            "fd00:ec2::254",
            "fd00:ec2::23",
            "fd20:ce::254",
            "fe80::1",
            "fec0::1",
            "ff02::1",
            "::10.0.0.1",
        ] {
            assert!(is_special(special.parse().unwrap()), "{special}");
        }
        for public in [
            "1.1.1.1",
            "100.128.0.1",
            "172.32.0.1",
            "168.63.129.17",
            "2606:4700::1111",
            "2a00::1",
            "2001:4860::8888",
        ] {
            assert!(!is_special(public.parse().unwrap()), "{public}");
        }
    }
}
