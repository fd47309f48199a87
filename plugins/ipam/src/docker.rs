//! The Docker face of host-local: each call of the protocol is one call of the allocator's pools.
//! Called by `main` after the word `serve`.
//! Must never be reached on the way of a CNI container.

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use ipnetwork::IpNetwork;
use serde_json::{Map, Value};
use wharfline_docker::{Arguments, Gauge, IpamDriver, IpamProtocol, Program, Protocol, Refusal};
use wharfline_ipam::lease::Owner;
use wharfline_ipam::pool::Pool;
use wharfline_ipam::pools::{NOBODY, PoolError, Pools, STATE_DIR, Usage, Want};
use wharfline_kernel::RouteSocket;
use wharfline_spec::docker::ipam::{self, AddressSpaces, GATEWAY};
use wharfline_spec::docker::kept::LOCAL_SPACE;
use wharfline_spec::{ContainerId, IfName};

/// Prefixes that subnets are cut from.
const POOL: &str = "--pool";

/// Option of an address: what it is for.
const TYPE: &str = "RequestAddressType";
/// Option of an address: whose it will be, as dockerd 29 says.
const ENDPOINT_NAME: &str = "com.docker.network.endpoint.name";
/// Option of an address: the MAC that it will be at.
const MAC: &str = "com.docker.network.endpoint.macaddress";

/// Serves until SIGTERM.
pub(crate) fn main() -> ExitCode {
    let program = Program {
        name: "host-local",
        plugin: "wharf-ipam",
        options: &[(
            POOL,
            "PREFIX  where subnets come from when a network names none (may be repeated)",
        )],
    };
    wharfline_docker::main(program, open)
}

fn open(arguments: &Arguments) -> Result<Arc<dyn Protocol>, String> {
    let bases: Result<Vec<IpNetwork>, String> = arguments
        .values(POOL)
        .map(|text| {
            let network = text.parse();
            network.map_err(|_| format!("{POOL}: {text:?} is no prefix"))
        })
        .collect();
    let pools = Pools::open(Path::new(STATE_DIR), bases?).map_err(|e| e.to_string())?;
    Ok(Arc::new(IpamProtocol(DockerIpam { pools })))
}

/// Pools and addresses for dockerd.
struct DockerIpam {
    pools: Pools,
}

impl IpamDriver for DockerIpam {
    fn address_spaces(&self) -> AddressSpaces {
        AddressSpaces {
            local_default_address_space: LOCAL_SPACE,
            global_default_address_space: "wharf-global",
        }
    }

    fn request_pool(&self, request: &ipam::RequestPool) -> Result<ipam::Pool, Refusal> {
        if let Some((option, _)) = request.options.iter().next() {
            return Err(Refusal::new(format!(
                "ipam option {option} is not known: this driver has none"
            )));
        }
        let pool = match (request.pool, request.sub_pool) {
            (Some(subnet), part) => {
                let pool = Pool::new(&request.address_space, subnet, part);
                self.pools
                    .request(pool.map_err(PoolError::from).map_err(refusal)?)
            }
            (None, Some(part)) => {
                return Err(Refusal::new(format!("ip range {part} needs a subnet")));
            }
            (None, None) => {
                let routed = routed(request.v6)?;
                self.pools
                    .request_any(&request.address_space, request.v6, &routed)
            }
        };
        let pool = pool.map_err(refusal)?;
        Ok(ipam::Pool {
            id: pool.id(),
            subnet: pool.subnet,
            data: Map::new(),
        })
    }

    fn release_pool(&self, request: &ipam::ReleasePool) -> Result<(), Refusal> {
        self.pools.release(&request.id).map_err(refusal)
    }

    fn request_address(&self, request: &ipam::RequestAddress) -> Result<ipam::Address, Refusal> {
        let want = want(request)?;
        let address = self.pools.take(&request.pool, &want).map_err(refusal)?;
        let data = Map::new();
        Ok(ipam::Address { address, data })
    }

    fn release_address(&self, request: &ipam::ReleaseAddress) -> Result<(), Refusal> {
        self.pools
            .give_back(&request.pool, request.address)
            .map_err(refusal)
    }

    fn gauges(&self) -> Vec<Gauge> {
        match self.pools.usage() {
            Ok(usage) => usage.iter().flat_map(gauges_of).collect(),
            Err(failure) => {
                tracing::warn!("measure the pools: {failure}");
                Vec::new()
            }
        }
    }
}

fn gauges_of(usage: &Usage) -> [Gauge; 2] {
    let gauge = |state: &str, count: u128| Gauge {
        name: "wharfline_ipam_addresses",
        help: "Addresses of a pool that hosts can have, by state (used or free); the gateway's is among the used.",
        labels: vec![("pool", usage.pool.id()), ("state", state.to_owned())],
        // Exact to 2^53; of an IPv6 subnet nobody counts the last ones.
        value: count as f64,
    };
    [gauge("used", usage.used), gauge("free", usage.free)]
}

fn want(request: &ipam::RequestAddress) -> Result<Want, Refusal> {
    let text = |key: &str| request.options.get(key).and_then(Value::as_str);
    let gateway = text(TYPE) == Some(GATEWAY);
    let whose = match (gateway, text(ENDPOINT_NAME), text(MAC)) {
        (true, ..) => (NOBODY.0.to_owned(), "gateway"),
        (_, Some(name), _) => (name.to_owned(), NOBODY.1),
        // No colon can be in a container's name.
        (_, None, Some(mac)) => (mac.replace(':', "-"), NOBODY.1),
        _ => (NOBODY.0.to_owned(), NOBODY.1),
    };
    Ok(Want {
        address: request.address,
        gateway,
        owner: owner(&whose.0, whose.1)?,
    })
}

fn owner(container: &str, ifname: &str) -> Result<Owner, Refusal> {
    let refused = |e: wharfline_spec::BadName| Refusal::new(e.to_string());
    let container = ContainerId::new(container).map_err(refused)?;
    let ifname = IfName::new(ifname).map_err(refused)?;
    Ok(Owner::new(&container, &ifname))
}

/// Where the host's routes lead, of all tables: a VPN may have one of its own.
fn routed(v6: bool) -> Result<Vec<IpNetwork>, Refusal> {
    RouteSocket::open()
        .and_then(|socket| socket.destinations(v6))
        .map_err(|e| Refusal::new(e.to_string()))
}

fn refusal(error: PoolError) -> Refusal {
    Refusal::new(error.to_string())
}
