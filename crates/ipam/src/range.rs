//! Ranges of addresses and sets of ranges: what a configuration says may be given out.
//! Made by the configuration parser, read by the choice of an address.
//! Must never hold a range outside its subnet, an empty set or two ranges that overlap.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnetwork::IpNetwork;
use wharfline_spec::cni::IpRange;

use crate::address::{Addr, Span};

/// One range of a set: the addresses that may be given out, inside their subnet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Range {
    subnet: IpNetwork,
    span: Span,
    gateway: Addr,
}

/// The key of a range that broke a rule, and the rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadRange {
    /// Name of the key inside the range: `subnet`, `rangeStart`, `rangeEnd` or `gateway`.
    pub key: &'static str,
    /// What is wrong with its value.
    pub problem: String,
}

impl Range {
    /// Checks the rules of the reference's host-local (backend/allocator/range.go) and fills in what
    /// is absent.
    ///
    /// # Errors
    /// [`BadRange`] for a subnet with host bits or fewer than four addresses, a start or end outside
    /// the subnet or in the wrong order, and a gateway of the other family.
    pub fn new(raw: &IpRange) -> Result<Range, BadRange> {
        let bad = |key, problem| BadRange { key, problem };
        let subnet = raw.subnet;
        if subnet.ip() != subnet.network() {
            let text = format!(
                "{subnet} has host bits set; the network is {}",
                network_text(subnet)
            );
            return Err(bad("subnet", text));
        }
        let width = if subnet.is_ipv4() { 32 } else { 128 };
        if subnet.prefix() > width - 2 {
            return Err(bad(
                "subnet",
                format!("network {subnet} is too small to allocate from"),
            ));
        }
        let whole = span_of(subnet);
        if !subnet.is_ipv4() && whole.overlaps(&MAPPED) {
            return Err(bad(
                "subnet",
                format!("network {subnet} holds IPv4-mapped addresses"),
            ));
        }
        let first_host = Addr::from_number(whole.first.number() + 1);
        let last_host = match subnet {
            IpNetwork::V4(_) => Addr::from_number(whole.last.number() - 1),
            IpNetwork::V6(_) => whole.last,
        };
        let inside = |key, ip: Option<IpAddr>, default| match ip.map(Addr::from) {
            None => Ok(default),
            Some(addr) if whole.contains(addr) => Ok(addr),
            Some(addr) => Err(bad(key, format!("{addr} is not in network {subnet}"))),
        };
        let first = inside("rangeStart", raw.range_start, first_host)?;
        let last = inside("rangeEnd", raw.range_end, last_host)?;
        let Some(span) = Span::new(first, last) else {
            return Err(bad(
                "rangeEnd",
                format!("{last} comes before the start of the range, {first}"),
            ));
        };
        let gateway = raw.gateway.map_or(first_host, Addr::from);
        if gateway.ip().is_ipv4() != subnet.is_ipv4() {
            return Err(bad(
                "gateway",
                format!("{gateway} is not of the family of {subnet}"),
            ));
        }
        Ok(Range {
            subnet,
            span,
            gateway,
        })
    }

    /// Every address of a subnet that is too small to have one of its own and one for broadcasts: the two ends of a link
    /// (RFC 3021 for IPv4, RFC 6164 for IPv6), or one host. `None` for a larger subnet.
    #[must_use]
    pub fn of_small(subnet: IpNetwork) -> Option<Range> {
        let (width, nowhere) = match subnet {
            IpNetwork::V4(_) => (32, IpAddr::from(Ipv4Addr::UNSPECIFIED)),
            IpNetwork::V6(_) => (128, IpAddr::from(Ipv6Addr::UNSPECIFIED)),
        };
        let span = span_of(subnet);
        let mapped = !subnet.is_ipv4() && span.overlaps(&MAPPED);
        (subnet.prefix() > width - 2 && !mapped).then_some(Range {
            subnet,
            span,
            // None is kept back.
            gateway: Addr::from(nowhere),
        })
    }

    /// As much of it as is in `part`.
    ///
    /// # Errors
    /// [`BadRange`] where that is nothing.
    pub fn within(self, part: Span) -> Result<Range, BadRange> {
        let first = part.first.max(self.span.first);
        let last = part.last.min(self.span.last);
        let span = Span::new(first, last).ok_or_else(|| BadRange {
            key: "subnet",
            problem: format!("no host's address of it is among {part}"),
        })?;
        Ok(Range { span, ..self })
    }

    /// The addresses that may be given out; the gateway, if among them, is not.
    #[must_use]
    pub fn span(&self) -> Span {
        self.span
    }

    /// The gateway of the subnet.
    #[must_use]
    pub fn gateway(&self) -> Addr {
        self.gateway
    }

    /// The address with the prefix length of the subnet, as results show it.
    #[must_use]
    pub fn with_prefix(&self, addr: Addr) -> IpNetwork {
        match (addr.ip(), self.subnet) {
            (IpAddr::V4(ip), IpNetwork::V4(net)) => {
                ipnetwork::Ipv4Network::new_checked(ip, net.prefix()).map(IpNetwork::V4)
            }
            (IpAddr::V6(ip), IpNetwork::V6(net)) => {
                ipnetwork::Ipv6Network::new_checked(ip, net.prefix()).map(IpNetwork::V6)
            }
            _ => None,
        }
        .unwrap_or_else(|| IpNetwork::from(addr.ip()))
    }

    /// Number of addresses that can ever be given out.
    #[must_use]
    pub fn capacity(&self) -> u128 {
        self.span.len() - u128::from(self.span.contains(self.gateway))
    }
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.span.fmt(f)
    }
}

/// Ranges of one family, of which one attachment gets one address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RangeSet(Vec<Range>);

impl RangeSet {
    /// Checks that the ranges are of one family and apart from each other.
    ///
    /// # Errors
    /// What is wrong, for the key of the set.
    pub fn new(ranges: Vec<Range>) -> Result<RangeSet, String> {
        let Some(first) = ranges.first() else {
            return Err("empty range set".to_owned());
        };
        if ranges
            .iter()
            .any(|r| r.subnet.is_ipv4() != first.subnet.is_ipv4())
        {
            return Err("mixed address families".to_owned());
        }
        for (i, a) in ranges.iter().enumerate() {
            if let Some(b) = ranges[i + 1..].iter().find(|b| a.span.overlaps(&b.span)) {
                return Err(format!("ranges {a} and {b} overlap"));
            }
        }
        Ok(RangeSet(ranges))
    }

    /// The ranges in their order; at least one.
    #[must_use]
    pub fn ranges(&self) -> &[Range] {
        &self.0
    }

    /// Whether the set is of IPv4.
    #[must_use]
    pub fn is_ipv4(&self) -> bool {
        self.0.first().is_some_and(|r| r.subnet.is_ipv4())
    }

    /// The range that holds the address.
    #[must_use]
    pub fn range_for(&self, addr: Addr) -> Option<&Range> {
        self.0.iter().find(|r| r.span.contains(addr))
    }

    /// Whether the two sets have an address in common.
    #[must_use]
    pub fn overlaps(&self, other: &RangeSet) -> bool {
        self.0
            .iter()
            .any(|a| other.0.iter().any(|b| a.span.overlaps(&b.span)))
    }

    /// Number of addresses that can ever be given out.
    #[must_use]
    pub fn capacity(&self) -> u128 {
        self.0
            .iter()
            .fold(0, |sum, r| r.capacity().saturating_add(sum))
    }
}

/// The ranges as the reference prints them: `10.1.0.1-10.1.0.254,10.2.0.1-10.2.0.254`.
impl fmt::Display for RangeSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, range) in self.0.iter().enumerate() {
            write!(f, "{}{range}", if i == 0 { "" } else { "," })?;
        }
        Ok(())
    }
}

/// IPv4-mapped IPv6 addresses, `::ffff:0:0/96` (RFC 4291 section 2.5.5.2), which mean IPv4 ones.
const MAPPED: Span = Span {
    first: Addr::from_number(0xffff_0000_0000),
    last: Addr::from_number(0xffff_ffff_ffff),
};

/// The addresses of a subnet, its own and the broadcast one included.
pub(crate) fn span_of(subnet: IpNetwork) -> Span {
    Span {
        first: Addr::from(subnet.network()),
        last: Addr::from(subnet.broadcast()),
    }
}

fn network_text(subnet: IpNetwork) -> String {
    format!("{}/{}", subnet.network(), subnet.prefix())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(subnet: &str, start: &str, end: &str, gateway: &str) -> IpRange {
        let ip = |text: &str| (!text.is_empty()).then(|| text.parse().unwrap());
        IpRange {
            subnet: subnet.parse().unwrap(),
            range_start: ip(start),
            range_end: ip(end),
            gateway: ip(gateway),
        }
    }

    #[test]
    fn what_is_absent_is_filled_in_as_the_reference_does() {
        let v4 = Range::new(&raw("10.1.2.0/24", "", "", "")).unwrap();
        assert_eq!(
            (v4.to_string(), v4.gateway().to_string()),
            ("10.1.2.1-10.1.2.254".into(), "10.1.2.1".into())
        );
        assert_eq!(v4.capacity(), 253);
        let v6 = Range::new(&raw("fd00::/120", "", "", "")).unwrap();
        assert_eq!(
            (v6.to_string(), v6.gateway().to_string()),
            ("fd00::1-fd00::ff".into(), "fd00::1".into())
        );
        assert_eq!(
            v4.with_prefix(Addr::from("10.1.2.9".parse::<IpAddr>().unwrap()))
                .to_string(),
            "10.1.2.9/24"
        );
    }

    #[test]
    fn each_broken_rule_names_its_key() {
        for (range, key) in [
            (raw("10.1.2.3/24", "", "", ""), "subnet"),
            (raw("10.1.2.0/31", "", "", ""), "subnet"),
            (raw("fd00::/127", "", "", ""), "subnet"),
            (raw("::/64", "", "", ""), "subnet"),
            (raw("10.1.2.0/24", "10.1.3.1", "", ""), "rangeStart"),
            (raw("10.1.2.0/24", "fd00::1", "", ""), "rangeStart"),
            (raw("10.1.2.0/24", "", "10.1.3.1", ""), "rangeEnd"),
            (raw("10.1.2.0/24", "10.1.2.20", "10.1.2.10", ""), "rangeEnd"),
            (raw("10.1.2.0/24", "", "", "fd00::1"), "gateway"),
        ] {
            assert_eq!(Range::new(&range).unwrap_err().key, key, "{range:?}");
        }
    }

    #[test]
    fn sets_refuse_mixed_families_and_overlaps() {
        let range = |subnet, start, end| Range::new(&raw(subnet, start, end, "")).unwrap();
        assert!(RangeSet::new(vec![]).is_err());
        assert!(
            RangeSet::new(vec![
                range("10.1.0.0/24", "", ""),
                range("fd00::/64", "", "")
            ])
            .is_err()
        );
        let low = range("10.1.0.0/24", "", "10.1.0.50");
        assert!(RangeSet::new(vec![low.clone(), range("10.1.0.0/24", "10.1.0.50", "")]).is_err());
        let set = RangeSet::new(vec![low, range("10.1.0.0/24", "10.1.0.51", "")]).unwrap();
        assert_eq!(set.to_string(), "10.1.0.1-10.1.0.50,10.1.0.51-10.1.0.254");
        assert_eq!(set.capacity(), 253);
    }
}
