//! Addresses of both families as numbers that can be counted, compared and packed into bits.
//! Used by the ranges, the choice of an address and the index.
//! Must never mix the families: a number belongs to exactly one address.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

/// An IP address as a number. IPv4 addresses stand at `::ffff:0:0/96` (RFC 4291 section 2.5.5.2), so
/// numbers of the two families never meet: IPv4-mapped IPv6 addresses are refused where text is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Addr(u128);

impl Addr {
    /// The number as it is kept in the index.
    #[must_use]
    pub const fn number(self) -> u128 {
        self.0
    }

    /// The address of a number from the index.
    #[must_use]
    pub const fn from_number(number: u128) -> Addr {
        Addr(number)
    }

    /// The address in its usual type.
    #[must_use]
    pub fn ip(self) -> IpAddr {
        Ipv6Addr::from_bits(self.0).to_canonical()
    }

    /// The following address; `None` after the last one of the family.
    #[must_use]
    pub fn next(self) -> Option<Addr> {
        let next = Addr(self.0.checked_add(1)?);
        (next.ip().is_ipv4() == self.ip().is_ipv4()).then_some(next)
    }

    /// Reads an address in the one spelling that host-local uses for file names (Go's
    /// `net.IP.String()`, RFC 5952); any other spelling is not a lease's name.
    #[must_use]
    pub fn from_file_name(name: &str) -> Option<Addr> {
        let ip: IpAddr = name.parse().ok()?;
        let addr = Addr::from(ip);
        (addr.to_string() == name).then_some(addr)
    }
}

impl From<IpAddr> for Addr {
    fn from(ip: IpAddr) -> Addr {
        match ip {
            IpAddr::V4(v4) => Addr(v4.to_ipv6_mapped().to_bits()),
            IpAddr::V6(v6) => Addr(v6.to_bits()),
        }
    }
}

/// The spelling of the file names on disk.
impl fmt::Display for Addr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.ip().fmt(f)
    }
}

/// All addresses from `first` to `last`, both included; never empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// The lowest address.
    pub first: Addr,
    /// The highest address.
    pub last: Addr,
}

impl Span {
    /// The span between two addresses; `None` when the first lies behind the last.
    #[must_use]
    pub fn new(first: Addr, last: Addr) -> Option<Span> {
        (first <= last).then_some(Span { first, last })
    }

    /// Whether the address lies inside.
    #[must_use]
    pub fn contains(&self, addr: Addr) -> bool {
        self.first <= addr && addr <= self.last
    }

    /// Whether the two have an address in common.
    #[must_use]
    pub fn overlaps(&self, other: &Span) -> bool {
        self.first <= other.last && other.first <= self.last
    }

    /// Number of addresses; saturates for the whole of IPv6.
    #[must_use]
    pub fn len(&self) -> u128 {
        (self.last.0 - self.first.0).saturating_add(1)
    }

    /// Always false: a span holds at least one address.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        false
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.first, self.last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addr(text: &str) -> Addr {
        Addr::from(text.parse::<IpAddr>().unwrap())
    }

    #[test]
    fn addresses_survive_the_way_through_numbers() {
        for text in [
            "0.0.0.0",
            "10.1.2.3",
            "255.255.255.255",
            "::1",
            "fd00:0:0:1::2",
            "2001:db8::",
        ] {
            assert_eq!(Addr::from_number(addr(text).number()).to_string(), text);
        }
    }

    #[test]
    fn families_end_where_they_end() {
        assert_eq!(addr("10.0.0.255").next(), Some(addr("10.0.1.0")));
        assert_eq!(addr("255.255.255.255").next(), None);
        assert_eq!(addr("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff").next(), None);
    }

    #[test]
    fn only_the_canonical_spelling_is_a_lease_name() {
        for name in [
            "10.1.0.2",
            "fd00:0:0:1::2",
            "fd00::1:0:0:2",
            "2001:db8:0:1:1:1:1:1",
        ] {
            assert!(Addr::from_file_name(name).is_some(), "{name}");
        }
        for name in [
            "lock",
            "last_reserved_ip.0",
            "10.1.0",
            "FD00::2",
            "fd00:0::2",
            "::ffff:1.2.3.4",
            "",
        ] {
            assert!(Addr::from_file_name(name).is_none(), "{name}");
        }
    }
}
