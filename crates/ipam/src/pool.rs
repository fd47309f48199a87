//! A pool of Docker's: a subnet of an address space, and the part of it that containers get addresses out of.
//! `pools` keeps them; a request for a pool becomes one in one fallible step.
//! It must never hold a name that could bend a path, nor a part that lies outside its subnet.

use std::net::IpAddr;

use ipnetwork::IpNetwork;
use serde::{Deserialize, Serialize};
use wharfline_spec::cni::IpRange;
use wharfline_spec::{BadName, NetworkName};

use crate::address::{Addr, Span};
use crate::range::{BadRange, Range, RangeSet, span_of};

/// One pool. What identifies it is all that it is, so the same request always means the same pool.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Pool {
    /// Pools of one space do not overlap.
    pub space: NetworkName,
    /// The subnet.
    pub subnet: IpNetwork,
    /// Where containers' addresses come from; the whole subnet unless said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub part: Option<IpNetwork>,
}

/// Why a request is no pool.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadPool {
    /// The address space's name.
    #[error("address space: {0}")]
    Space(#[from] BadName),
    /// The part lies outside of the subnet.
    #[error("ip range {part} is not in subnet {subnet}")]
    Outside {
        /// The part.
        part: IpNetwork,
        /// The subnet.
        subnet: IpNetwork,
    },
    /// The subnet cannot be given out of.
    #[error("subnet {subnet}: {problem}")]
    Subnet {
        /// The subnet.
        subnet: IpNetwork,
        /// Why not.
        problem: String,
    },
}

impl Pool {
    /// Checks a request. Host bits of subnet and part are ignored, as Docker's own driver does.
    ///
    /// # Errors
    /// [`BadPool`].
    pub fn new(space: &str, subnet: IpNetwork, part: Option<IpNetwork>) -> Result<Pool, BadPool> {
        let pool = Pool {
            space: NetworkName::new(space)?,
            subnet: network_of(subnet),
            part: part.map(network_of),
        };
        if let Some(part) = pool.part {
            let (inner, outer) = (span_of(part), span_of(pool.subnet));
            if part.is_ipv4() != pool.subnet.is_ipv4()
                || !outer.contains(inner.first)
                || !outer.contains(inner.last)
            {
                let subnet = pool.subnet;
                return Err(BadPool::Outside { part, subnet });
            }
        }
        pool.range().map_err(|bad| BadPool::Subnet {
            subnet: pool.subnet,
            problem: bad.problem,
        })?;
        Ok(pool)
    }

    /// What Docker calls it by.
    #[must_use]
    pub fn id(&self) -> String {
        match self.part {
            Some(part) => format!("{}/{}/{part}", self.space, self.subnet),
            None => format!("{}/{}", self.space, self.subnet),
        }
    }

    /// The identifier as a file name: addresses hold no '_' and no '-'.
    #[must_use]
    pub fn file_name(&self) -> String {
        self.id().replace('/', "_").replace(':', "-")
    }

    /// The folder of its subnet's leases. Parts of one subnet share it: no address is given out by two.
    #[must_use]
    pub fn leases(&self) -> Option<NetworkName> {
        let whole = Pool {
            part: None,
            ..self.clone()
        };
        NetworkName::new(&whole.file_name()).ok()
    }

    /// Whether the two cannot be beside each other: one space, and addresses in common. Parts of one subnet can, as
    /// long as they are apart.
    #[must_use]
    pub fn clashes_with(&self, other: &Pool) -> bool {
        if self.space != other.space || self == other {
            return false;
        }
        let span = |pool: &Pool| span_of(pool.part.unwrap_or(pool.subnet));
        if self.subnet == other.subnet {
            return span(self).overlaps(&span(other));
        }
        span_of(self.subnet).overlaps(&span_of(other.subnet))
    }

    /// The addresses that containers get when they name none.
    #[must_use]
    pub fn set(&self) -> Option<RangeSet> {
        RangeSet::new(vec![self.range().ok()?]).ok()
    }

    /// The same as one span.
    #[must_use]
    pub fn span(&self) -> Option<Span> {
        self.range().ok().map(|range| range.span())
    }

    /// Whether a container can have the address.
    #[must_use]
    pub fn holds(&self, ip: IpAddr) -> bool {
        ip.is_ipv4() == self.subnet.is_ipv4()
            && self
                .hosts()
                .is_some_and(|hosts| hosts.contains(Addr::from(ip)))
    }

    /// The first address of the subnet that a host can have.
    #[must_use]
    pub fn first_host(&self) -> Option<Addr> {
        self.hosts().map(|hosts| hosts.first)
    }

    /// An address of it as answers show it.
    #[must_use]
    pub fn with_prefix(&self, addr: Addr) -> Option<IpNetwork> {
        IpNetwork::new(addr.ip(), self.subnet.prefix()).ok()
    }

    fn hosts(&self) -> Option<Span> {
        let whole = Pool {
            part: None,
            ..self.clone()
        };
        whole.range().ok().map(|range| range.span())
    }

    fn range(&self) -> Result<Range, BadRange> {
        let whole = match Range::of_small(self.subnet) {
            Some(small) => small,
            None => Range::new(&IpRange {
                subnet: self.subnet,
                range_start: None,
                range_end: None,
                // Which address is the gateway's, a lease says; the network's own is no host's.
                gateway: Some(self.subnet.network()),
            })?,
        };
        match self.part.map(span_of) {
            Some(part) => whole.within(part),
            None => Ok(whole),
        }
    }
}

fn network_of(network: IpNetwork) -> IpNetwork {
    IpNetwork::new(network.network(), network.prefix()).unwrap_or(network)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pool(subnet: &str, part: Option<&str>) -> Result<Pool, BadPool> {
        let network = |text: &str| text.parse().expect("a network");
        Pool::new("local", network(subnet), part.map(network))
    }

    #[test]
    fn the_same_request_is_the_same_pool() {
        let a = pool("10.80.0.0/16", Some("10.80.5.0/24")).expect("a pool");
        let b = pool("10.80.0.9/16", Some("10.80.5.9/24")).expect("a pool");
        assert_eq!((a.id(), a.file_name()), (b.id(), b.file_name()));
        assert_eq!(a.id(), "local/10.80.0.0/16/10.80.5.0/24");
        assert_eq!(a.file_name(), "local_10.80.0.0_16_10.80.5.0_24");
        let six = pool("fd00:80::/64", None).expect("a pool");
        assert_eq!(six.leases().expect("a name").as_str(), "local_fd00-80--_64");
    }

    #[test]
    fn what_is_no_pool_is_refused_with_its_reason() {
        for (subnet, part, word) in [
            ("10.80.0.0/16", Some("10.81.0.0/24"), "10.81.0.0/24"),
            ("10.80.0.0/16", Some("fd00::/64"), "fd00::/64"),
            ("10.80.0.0/24", Some("10.80.0.0/32"), "10.80.0.0/24"),
        ] {
            let error = pool(subnet, part).expect_err("refused").to_string();
            assert!(error.contains(word), "{error}");
        }
        let subnet = "10.0.0.0/24".parse().expect("a network");
        assert!(Pool::new("../x", subnet, None).is_err());
    }

    #[test]
    fn parts_of_a_subnet_are_beside_each_other_subnets_are_not() {
        let part = |part| pool("10.80.0.0/16", Some(part)).expect("a pool");
        let whole = pool("10.80.0.0/16", None).expect("a pool");
        assert!(!part("10.80.1.0/24").clashes_with(&part("10.80.2.0/24")));
        assert!(part("10.80.1.0/24").clashes_with(&part("10.80.1.0/25")));
        assert!(whole.clashes_with(&part("10.80.1.0/24")));
        assert!(!whole.clashes_with(&whole));
        assert!(whole.clashes_with(&pool("10.80.4.0/24", None).expect("a pool")));
        let elsewhere = Pool::new("other", whole.subnet, None).expect("a pool");
        assert!(!whole.clashes_with(&elsewhere));
    }

    #[test]
    fn a_subnet_of_one_or_two_addresses_gives_out_all_of_them() {
        for (subnet, addresses) in [
            ("10.80.0.0/31", "10.80.0.0-10.80.0.1"),
            ("10.80.0.7/32", "10.80.0.7-10.80.0.7"),
            ("fd00:80::2/127", "fd00:80::2-fd00:80::3"),
            ("fd00:80::5/128", "fd00:80::5-fd00:80::5"),
        ] {
            let pool = pool(subnet, None).expect("a pool");
            assert_eq!(pool.set().expect("addresses").to_string(), addresses);
        }
        let end = pool("10.80.0.0/31", Some("10.80.0.1/32")).expect("a pool");
        assert_eq!(
            end.set().expect("addresses").to_string(),
            "10.80.0.1-10.80.0.1"
        );
        assert!(
            end.holds("10.80.0.0".parse().expect("an address")),
            "a gateway's, perhaps"
        );
    }

    #[test]
    fn a_part_that_touches_the_ends_gives_out_hosts_only() {
        let first = pool("10.80.0.0/16", Some("10.80.0.0/24")).expect("a pool");
        let set = first.set().expect("addresses");
        assert_eq!(set.to_string(), "10.80.0.1-10.80.0.255");
        assert!(first.holds("10.80.200.1".parse().expect("an address")));
        assert!(!first.holds("10.80.255.255".parse().expect("an address")));
    }
}
