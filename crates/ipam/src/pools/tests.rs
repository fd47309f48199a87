use wharfline_spec::{ContainerId, IfName};

use super::*;

fn owner(container: &str, ifname: &str) -> Owner {
    Owner::new(
        &ContainerId::new(container).expect("an id"),
        &IfName::new(ifname).expect("a name"),
    )
}

fn any() -> Want {
    Want {
        address: None,
        gateway: false,
        owner: owner(NOBODY.0, NOBODY.1),
    }
}

fn this(address: &str) -> Want {
    Want {
        address: address.parse().ok(),
        ..any()
    }
}

fn gateway(address: Option<&str>) -> Want {
    Want {
        address: address.and_then(|a| a.parse().ok()),
        gateway: true,
        owner: owner("docker", "gateway"),
    }
}

struct Host {
    folder: tempfile::TempDir,
}

impl Host {
    fn new() -> Host {
        let folder = tempfile::tempdir().expect("folder");
        Host { folder }
    }

    /// A new process: nothing is in memory.
    fn pools(&self) -> Pools {
        let mut pools = Pools::open(self.folder.path(), Vec::new()).expect("opened");
        pools.site.index = self.folder.path().join("index");
        pools
    }

    fn pool(&self, subnet: &str, part: Option<&str>) -> String {
        let network = |text: &str| text.parse().expect("a network");
        let pool = Pool::new("local", network(subnet), part.map(network)).expect("a pool");
        self.pools().request(pool).expect("had").id()
    }

    fn take(&self, pool: &str, want: &Want) -> String {
        let taken = self.pools().take(pool, want);
        taken.map_or_else(|e| e.to_string(), |address| address.to_string())
    }
}

#[test]
fn leases_outlive_the_process_and_releases_may_come_twice() {
    let host = Host::new();
    let pool = host.pool("10.77.0.0/24", None);
    assert_eq!(host.take(&pool, &gateway(None)), "10.77.0.1/24");
    assert_eq!(host.take(&pool, &any()), "10.77.0.2/24");
    assert_eq!(host.take(&pool, &any()), "10.77.0.3/24");
    let two = "10.77.0.2".parse().expect("an address");
    for _ in 0..2 {
        host.pools().give_back(&pool, two).expect("given back");
    }
    // Round robin: what was just given back is not the next.
    assert_eq!(host.take(&pool, &any()), "10.77.0.4/24");
    assert_eq!(host.take(&pool, &this("10.77.0.2")), "10.77.0.2/24");
}

#[test]
fn an_address_of_somebody_is_refused_and_the_gateway_is_had_again() {
    let host = Host::new();
    let pool = host.pool("10.80.0.0/16", Some("10.80.5.0/24"));
    let far = gateway(Some("10.80.0.254"));
    assert_eq!(host.take(&pool, &far), "10.80.0.254/16");
    // A dockerd that was killed before it knew the answer asks again.
    assert_eq!(host.take(&pool, &far), "10.80.0.254/16");
    assert_eq!(host.take(&pool, &any()), "10.80.5.0/16");
    assert!(
        host.take(&pool, &this("10.80.5.0"))
            .contains("leased to docker")
    );
    assert!(
        host.take(&pool, &this("10.81.0.1"))
            .contains("no host's address")
    );
    let named = Want {
        owner: owner("web", "docker"),
        ..this("10.80.9.9")
    };
    assert_eq!(host.take(&pool, &named), "10.80.9.9/16");
    assert_eq!(host.take(&pool, &named), "10.80.9.9/16");
}

#[test]
fn a_full_pool_says_so() {
    let host = Host::new();
    let pool = host.pool("10.77.0.0/30", None);
    host.take(&pool, &any());
    host.take(&pool, &any());
    let told = host.take(&pool, &any());
    assert!(
        told.contains("no IP addresses available") && told.contains(&pool),
        "{told}"
    );
}

#[test]
fn a_pool_goes_when_its_last_lease_has_gone() {
    let host = Host::new();
    let pool = host.pool("10.77.0.0/24", None);
    host.take(&pool, &gateway(None));
    host.pools().release(&pool).expect("kept");
    assert_eq!(host.pools().all().expect("read").len(), 1);
    let one = "10.77.0.1".parse().expect("an address");
    host.pools().give_back(&pool, one).expect("given back");
    for _ in 0..2 {
        host.pools().release(&pool).expect("released");
    }
    assert!(host.pools().all().expect("read").is_empty());
    assert!(host.take(&pool, &any()).contains("not known"));
    let left: Vec<_> = fs::read_dir(host.folder.path().join("leases"))
        .expect("there")
        .filter_map(Result::ok)
        .filter(|entry| !entry.file_name().to_string_lossy().starts_with('.'))
        .collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn pools_of_a_space_do_not_overlap_and_a_made_up_one_leads_nowhere() {
    let host = Host::new();
    host.pool("10.77.0.0/24", None);
    let subnet = "10.77.0.128/25".parse().expect("a network");
    let pool = Pool::new("local", subnet, None).expect("a pool");
    let error = host.pools().request(pool).expect_err("refused");
    assert!(error.to_string().contains("local/10.77.0.0/24"), "{error}");
    for id in [
        "",
        "x",
        "../../etc/passwd",
        "local/10.77.0.0/25",
        "local/10.77.0.1/24",
    ] {
        assert!(host.take(id, &any()).contains("not known"), "{id}");
    }
}

#[test]
fn a_network_without_a_subnet_gets_one_of_its_own() {
    let host = Host::new();
    let routed = ["10.0.0.0/8", "172.16.0.0/14"].map(|text| text.parse().expect("a network"));
    let four = |space| {
        host.pools()
            .request_any(space, false, &routed)
            .expect("a pool")
    };
    assert_eq!(four("local").subnet.to_string(), "172.20.0.0/24");
    assert_eq!(four("global").subnet.to_string(), "172.20.1.0/24");
    let six = || {
        host.pools()
            .request_any("local", true, &routed)
            .expect("a pool")
    };
    let (first, second) = (six().subnet, six().subnet);
    assert!(first.prefix() == 64 && first != second);
    assert!(first.to_string().starts_with("fd"), "{first}");
    assert_eq!(first.to_string()[..7], second.to_string()[..7]);
}

#[test]
fn usage_counts_each_part_of_a_subnet_for_itself() {
    let host = Host::new();
    let low = host.pool("10.80.0.0/24", Some("10.80.0.0/26"));
    let high = host.pool("10.80.0.0/24", Some("10.80.0.64/26"));
    host.take(&low, &gateway(None));
    host.take(&low, &any());
    host.take(&high, &any());
    let mut usage = host.pools().usage().expect("listed");
    usage.sort_by_key(|usage| usage.pool.id());
    let told: Vec<_> = usage
        .iter()
        .map(|u| (u.pool.id(), u.used, u.free))
        .collect();
    // 10.80.0.0 is the network's own.
    assert_eq!(told, [(low, 2, 61), (high, 1, 63)]);
}

#[test]
fn a_link_of_two_addresses_has_a_gateway_and_one_container() {
    let host = Host::new();
    let pool = host.pool("10.80.0.0/31", None);
    assert_eq!(host.take(&pool, &gateway(None)), "10.80.0.0/31");
    assert_eq!(host.take(&pool, &any()), "10.80.0.1/31");
    let told = host.take(&pool, &any());
    assert!(told.contains("10.80.0.0/31"), "{told}");
    let single = host.pool("10.81.0.9/32", None);
    assert_eq!(host.take(&single, &any()), "10.81.0.9/32");
}
