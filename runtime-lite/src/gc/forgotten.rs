//! Addresses that dockerd asked for, was killed before it wrote them down, and never speaks of again.
//! `survey` asks for them; `gc` has the IPAM driver take them back by its own call.
//! It must never judge a lease by a dockerd that does not answer, nor one that dockerd may be about to write down.

use std::net::IpAddr;
use std::os::unix::net::UnixStream;
use std::time::{Duration, SystemTime};

use ipnetwork::IpNetwork;
use serde_json::json;
use wharfline_spec::docker::kept::{LEASES, LOCAL_SPACE};

use super::docker;
use super::leases::{self, Lease};
use crate::error::Result;
use crate::home::Home;
use crate::network::docker::{Subnet, subnets_of};
use crate::plugin::own_socket;

/// What dockerd calls the driver.
const DRIVER: &str = "wharf-ipam";
/// What runs it.
pub(super) const COMMAND: &str = "host-local serve";
/// The interface of a lease that is the subnet's gateway: dockerd need not speak of it, and it goes with the pool.
const GATEWAY: &str = "gateway";
/// From a request for an address until the endpoint is written down dockerd makes one call, which we answer in 30 s at most.
const YOUNG: Duration = Duration::from_secs(300);

/// A lease that nobody will give back.
#[derive(Debug)]
pub(super) struct Forgotten {
    pool: String,
    pub(super) address: IpAddr,
    pub(super) why: String,
}

/// All of them, as of then.
pub(super) fn find(home: &Home, as_of: SystemTime) -> Vec<Forgotten> {
    let mut all = Vec::new();
    for subnet in subnets_of(DRIVER) {
        let dir = home.lib().join(LEASES).join(folder_of(subnet.network));
        let leases = leases::in_folder(&dir).into_iter();
        let forgotten = leases.filter(|lease| is_forgotten(lease, &subnet, as_of));
        all.extend(forgotten.map(|lease| Forgotten {
            pool: pool_of(&subnet),
            address: lease.address,
            why: "dockerd asked for it and does not know it".to_owned(),
        }));
    }
    all
}

fn is_forgotten(lease: &Lease, subnet: &Subnet, as_of: SystemTime) -> bool {
    let age = lease
        .since
        .and_then(|since| as_of.duration_since(since).ok());
    let may_be_written = age.is_none_or(|age| age < YOUNG);
    let of_gateway = lease.ifname.as_str() == GATEWAY;
    !(may_be_written || of_gateway || subnet.known.contains(&lease.address))
}

/// The folder of a pool's leases (crates/ipam, pool.rs).
fn folder_of(subnet: IpNetwork) -> String {
    let name = format!("{LOCAL_SPACE}/{subnet}");
    name.replace('/', "_").replace(':', "-")
}

/// What dockerd calls the pool.
fn pool_of(subnet: &Subnet) -> String {
    let network = subnet.network;
    match subnet.part {
        Some(part) => format!("{LOCAL_SPACE}/{network}/{part}"),
        None => format!("{LOCAL_SPACE}/{network}"),
    }
}

/// Whether the driver answers calls.
pub(super) fn is_served() -> bool {
    own_socket(DRIVER).is_some_and(|socket| UnixStream::connect(socket).is_ok())
}

impl Forgotten {
    /// Has the driver take the address back. It succeeds if that has happened.
    pub(super) fn release(&self) -> Result<()> {
        let body = json!({"PoolID": self.pool, "Address": self.address});
        docker::call(DRIVER, "IpamDriver.ReleaseAddress", &body)
    }

    /// The address, for a sentence.
    pub(super) fn object(&self) -> String {
        format!("address {} of pool {}", self.address, self.pool)
    }

    /// The address, for scripts.
    pub(super) fn document(&self) -> serde_json::Value {
        json!({"pool": self.pool, "address": self.address, "why": self.why})
    }
}
