//! The subnets of a Docker network, and which gateway an address has.
//! The plugins' networks hold them.
//! It must never hold a gateway that is outside its subnet.

use std::net::IpAddr;

use ipnetwork::IpNetwork;
use wharfline_spec::docker::network::{CreateNetwork, Subnet};

use crate::refusal::Refusal;

/// Subnets of both families; none of a network without addresses.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Subnets(Vec<Subnet>);

impl Subnets {
    /// Those of a request.
    ///
    /// # Errors
    /// A gateway that is not in its subnet.
    pub fn parse(request: &CreateNetwork) -> Result<Self, Refusal> {
        let subnets: Vec<Subnet> = request
            .ipv4
            .iter()
            .chain(&request.ipv6)
            // The null driver's 0.0.0.0/0 stands for no addresses at all.
            .filter(|subnet| subnet.pool.prefix() > 0)
            .cloned()
            .collect();
        subnets.iter().try_for_each(refuse_elsewhere)?;
        Ok(Self(subnets))
    }

    /// Each of them.
    pub fn iter(&self) -> impl Iterator<Item = &Subnet> {
        self.0.iter()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The gateway of the subnet that an address is in, whoever has it.
    pub fn gateway_for(&self, address: IpAddr) -> Option<IpAddr> {
        let of = self.iter().find(|subnet| subnet.pool.contains(address))?;
        of.gateway.map(|gateway| gateway.ip())
    }

    /// The gateway for an endpoint with these addresses, in one family.
    pub fn gateway_of(&self, addresses: &[IpNetwork], ipv6: bool) -> Option<IpAddr> {
        let own = addresses.iter().find(|own| own.is_ipv6() == ipv6)?;
        self.gateway_for(own.ip())
    }

    /// A subnet of theirs that overlaps with one of ours, with ours.
    pub fn overlap(&self, other: &Self) -> Option<(IpNetwork, IpNetwork)> {
        let overlaps =
            |a: IpNetwork, b: IpNetwork| a.contains(b.network()) || b.contains(a.network());
        let ours = self.iter().map(|subnet| subnet.pool);
        ours.flat_map(|a| other.iter().map(move |b| (a, b.pool)))
            .find(|(a, b)| a.is_ipv4() == b.is_ipv4() && overlaps(*a, *b))
    }
}

fn refuse_elsewhere(subnet: &Subnet) -> Result<(), Refusal> {
    match subnet.gateway {
        Some(gateway) if !subnet.pool.contains(gateway.ip()) => Err(Refusal::new(format!(
            "gateway {} is not in subnet {}",
            gateway.ip(),
            subnet.pool
        ))),
        _ => Ok(()),
    }
}
