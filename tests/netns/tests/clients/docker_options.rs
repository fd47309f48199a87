//! dockerd 20.10 with networks of our drivers: each option that Docker's own bridge driver has, seen from inside, from the
//! host and from outside. What 20.10 cannot ask for (--ipv4=false) is asked by captured requests of 29 (`docker_replay`).

use std::net::{IpAddr, UdpSocket};
use std::time::Duration;

use wharfline_testkit::traffic::tcp;
use wharfline_testkit::{Outside, Process, wait_for};

use wharfline_netns_tests::docker_host::{DockerHost, PAGE, page};
use wharfline_netns_tests::machine::{IMAGE, fetches};

/// `-o` for an option below `com.docker.network`.
fn option(name: &str, value: &str) -> [String; 2] {
    [
        "-o".to_owned(),
        format!("com.docker.network.{name}={value}"),
    ]
}

fn subnet(subnet: &str) -> [String; 2] {
    ["--subnet".to_owned(), subnet.to_owned()]
}

/// A network with a subnet and options of the bridge driver, with one container of the same name.
#[track_caller]
fn network_of_one(host: &DockerHost, name: &str, options: &[&str], publish: &[&str]) -> IpAddr {
    host.network(name, options);
    host.run(name, name, publish);
    host.v4(name, name).parse().expect("an address")
}

/// What a far server sees a container come from.
fn seen_from_afar(host: &DockerHost, container: &str, far: IpAddr) -> String {
    let url = page(&far.to_string());
    host.answer(container, &url)
}

/// What `ip` says inside a container's network.
fn ip_in(host: &DockerHost, container: &str, words: &str) -> String {
    let words: Vec<&str> = words.split(' ').collect();
    host.docker(&[&["exec", container, "busybox", "ip"], &words[..]].concat())
}

fn bridge_of(host: &DockerHost, network: &str) -> String {
    let id = host.docker(&["network", "inspect", "-f", "{{.Id}}", network]);
    format!("wh-{}", &id[..12])
}

/// The words of options as dockerd's command line wants them.
fn words(options: &[[String; 2]]) -> Vec<&str> {
    options.iter().flatten().map(String::as_str).collect()
}

#[test]
fn gateway_modes_say_who_reaches_which_port_and_what_leaves() {
    let host = DockerHost::boot();
    let before = host.warm_up();
    let _far = host.outside.serves(tcp(Outside::FAR_V4, 80));
    for n in 1..=4 {
        host.outside.learns_route_to(&format!("10.77.{n}.0/24"));
    }

    nat_unprotected(&host);
    routed(&host);
    isolated(&host);
    trusted(&host);
    host.docker(&[
        "rm", "-f", "open", "routed", "closed", "isolated", "beside", "trusted",
    ]);
    host.docker(&["network", "rm", "open", "routed", "isolated", "trusted"]);
    before.returns("the host is as before", || host.world());
}

/// Every port of its containers is reached at their own address, and what leaves is masqueraded.
fn nat_unprotected(host: &DockerHost) {
    let options = [
        option("bridge.gateway_mode_ipv4", "nat-unprotected"),
        subnet("10.77.1.0/24"),
    ];
    let open = network_of_one(host, "open", &words(&options), &[]);
    assert!(
        fetches(&host.outside, tcp(open, 80)).contains(PAGE),
        "unpublished, and reached"
    );
    let seen = seen_from_afar(host, "open", Outside::FAR_V4);
    assert!(
        seen.contains(&Outside::HOST_V4.to_string()),
        "masqueraded: {seen}"
    );
}

/// Published ports are reached at the container's own address, with which it leaves too; others are not.
fn routed(host: &DockerHost) {
    let options = [
        option("bridge.gateway_mode_ipv4", "routed"),
        subnet("10.77.2.0/24"),
    ];
    let routed = network_of_one(host, "routed", &words(&options), &["-p", "80"]);
    assert!(
        fetches(&host.outside, tcp(routed, 80)).contains(PAGE),
        "at its own address"
    );
    let seen = seen_from_afar(host, "routed", Outside::FAR_V4);
    assert!(
        seen.contains(&routed.to_string()),
        "not masqueraded: {seen}"
    );
    host.run("closed", "routed", &[]);
    let closed: IpAddr = host.v4("closed", "routed").parse().expect("an address");
    host.reaches("routed", &page(&closed.to_string()));
    host.outside.does_not_reach(tcp(closed, 80));
}

/// Containers reach each other, and the host has no part in it; for internal networks alone.
fn isolated(host: &DockerHost) {
    let options = [
        option("bridge.gateway_mode_ipv4", "isolated"),
        subnet("10.77.3.0/24"),
    ];
    let mut options = words(&options);
    let told = host.fails(
        &[
            &["network", "create", "-d", "wharf-bridge"],
            &options[..],
            &["x"],
        ]
        .concat(),
    );
    assert!(told.contains("--internal"), "{told}");
    options.push("--internal");
    let isolated = network_of_one(host, "isolated", &options, &[]);
    host.run("beside", "isolated", &[]);
    host.reaches("beside", &page(&isolated.to_string()));
    let bridge = bridge_of(host, "isolated");
    let addresses = host
        .machine
        .run(&["ip", "-4", "addr", "show", "dev", &bridge]);
    assert!(
        !addresses.contains("inet "),
        "the host has no foot in it: {addresses}"
    );
    assert!(
        !host
            .machine
            .try_run(&["curl", "-sS", "-m", "1", &page(&isolated.to_string())])
            .succeeded()
    );
}

/// From one interface of the host every port is reached.
fn trusted(host: &DockerHost) {
    let options = [
        option("bridge.trusted_host_interfaces", "nowhere0:uplink0"),
        subnet("10.77.4.0/24"),
    ];
    let trusted = network_of_one(host, "trusted", &words(&options), &[]);
    assert!(
        fetches(&host.outside, tcp(trusted, 80)).contains(PAGE),
        "by the interface that is trusted"
    );
}

#[test]
fn addresses_of_the_host_are_those_that_options_name() {
    let host = DockerHost::boot();
    let before = host.warm_up();
    let _far = host.outside.serves(tcp(Outside::FAR_V4, 80));
    let _far6 = host.outside.serves(tcp(Outside::FAR_V6, 80));
    let added = "198.18.0.9";
    let added6 = "2001:db8:18::9";
    host.machine.lab.host().ip(&format!(
        "addr add {added}/24 dev uplink0
         addr add {added6}/64 dev uplink0 nodad"
    ));
    let named = [option("host_ipv4", added), option("host_ipv6", added6)];
    let mut options = words(&named);
    options.extend([
        "--ipv6",
        "--subnet",
        "10.77.1.0/24",
        "--subnet",
        "fd00:77:1::/64",
    ]);
    network_of_one(&host, "named", &options, &[]);
    for (far, source) in [(Outside::FAR_V4, added), (Outside::FAR_V6, added6)] {
        let seen = seen_from_afar(&host, "named", far);
        assert!(seen.contains(source), "{seen} is not from {source}");
    }

    let local = option("bridge.host_binding_ipv4", "127.0.0.1");
    network_of_one(
        &host,
        "local",
        &words(&[local]),
        &["-p", "8083:80", "-p", "198.18.0.9:8084:80"],
    );
    let own = host.machine.lab.host();
    assert!(fetches(own, tcp([127, 0, 0, 1], 8083)).contains(PAGE));
    host.outside.does_not_reach(tcp(Outside::HOST_V4, 8083));
    let chosen: IpAddr = added.parse().expect("an address");
    assert!(
        fetches(&host.outside, tcp(chosen, 8084)).contains(PAGE),
        "an address that is named goes first"
    );
    host.outside.does_not_reach(tcp(Outside::HOST_V4, 8084));

    let inhibited = option("bridge.inhibit_ipv4", "true");
    let mut options = words(std::slice::from_ref(&inhibited));
    options.extend(["--subnet", "10.77.3.0/24", "--gateway", "10.77.3.254"]);
    network_of_one(&host, "inhibited", &options, &[]);
    let bridge = bridge_of(&host, "inhibited");
    let addresses = host
        .machine
        .run(&["ip", "-4", "addr", "show", "dev", &bridge]);
    assert!(!addresses.contains("inet "), "{addresses}");
    let routes = ip_in(&host, "inhibited", "route");
    assert!(routes.contains("default via 10.77.3.254"), "{routes}");

    host.docker(&["rm", "-f", "named", "local", "inhibited"]);
    host.docker(&["network", "rm", "named", "local", "inhibited"]);
    host.machine.lab.host().ip(&format!(
        "addr del {added}/24 dev uplink0
         addr del {added6}/64 dev uplink0"
    ));
    before.returns("the host is as before", || host.world());
}

/// In a network of one subnet: `docker` itself sends several in any order.
#[test]
fn ranges_and_addresses_that_are_somebody_elses_are_kept_to() {
    let host = DockerHost::boot();
    let before = host.warm_up();
    let options = [
        "--subnet",
        "10.77.1.0/24",
        "--gateway",
        "10.77.1.9",
        "--ip-range",
        "10.77.1.128/28",
        "--aux-address",
        "router=10.77.1.128",
        "--aux-address",
        "printer=10.77.1.129",
    ];
    host.network("ranged", &options);
    host.run("first", "ranged", &[]);
    assert_eq!(
        host.v4("first", "ranged"),
        "10.77.1.130",
        "neither of the others is given out"
    );
    let routes = ip_in(&host, "first", "route");
    assert!(routes.contains("default via 10.77.1.9 "), "{routes}");
    host.remove(&["first"], "ranged");
    before.returns("the host is as before", || host.world());
}

#[test]
fn subnets_addresses_names_and_sizes_are_those_that_were_asked_for() {
    let host = DockerHost::boot();
    let before = host.warm_up();
    let options = [
        "--subnet",
        "10.77.1.0/24",
        "--gateway",
        "10.77.1.9",
        "--subnet",
        "10.77.2.0/24",
        "-o",
        "com.docker.network.driver.mtu=1280",
        "-o",
        "com.docker.network.container_iface_prefix=lan",
    ];
    host.network("many", &options);
    host.run("first", "many", &["--ip", "10.77.1.130"]);
    host.run("second", "many", &["--ip", "10.77.2.7"]);
    let link = ip_in(&host, "second", "addr show dev lan0");
    assert!(
        link.contains("10.77.2.7/24") && link.contains("mtu 1280"),
        "{link}"
    );
    for (name, gateway) in [("first", "10.77.1.9"), ("second", "10.77.2.1")] {
        let routes = ip_in(&host, name, "route");
        let default = format!("default via {gateway} ");
        assert!(
            routes.contains(&default),
            "of its own subnet, {name}: {routes}"
        );
    }
    let bridge = bridge_of(&host, "many");
    let addresses = host
        .machine
        .run(&["ip", "-4", "addr", "show", "dev", &bridge]);
    assert!(
        addresses.contains("10.77.1.9/24") && addresses.contains("10.77.2.1/24"),
        "{addresses}"
    );
    host.reaches("first", &page("10.77.2.7"));
    host.reaches("second", &page("10.77.1.130"));

    // The two ends of a link (RFC 3021): the gateway and one container.
    host.network("link", &["--subnet", "10.77.3.0/31"]);
    host.run("end", "link", &["-p", "8085:80"]);
    assert_eq!(host.v4("end", "link"), "10.77.3.1");
    assert!(fetches(&host.outside, tcp(Outside::HOST_V4, 8085)).contains(PAGE));
    let told = host.fails(&["run", "-d", "--name", "third", "--network", "link", IMAGE]);
    assert!(told.contains("10.77.3.0/31"), "{told}");

    host.docker(&["rm", "-f", "first", "second", "end", "third"]);
    host.docker(&["network", "rm", "many", "link"]);
    before.returns("the host is as before", || host.world());
}

/// Answers each datagram with itself.
const ECHO: &str = "import socket, sys
s = socket.socket(socket.AF_INET6 if ':' in sys.argv[1] else socket.AF_INET, socket.SOCK_DGRAM)
s.bind((sys.argv[1], int(sys.argv[2])))
while True:
    data, who = s.recvfrom(2048)
    s.sendto(data, who)";

#[test]
fn ports_of_every_protocol_and_ranges_of_them_are_published() {
    let host = DockerHost::boot();
    let before = host.warm_up();
    host.network(
        "net1",
        &[
            "--ipv6",
            "--subnet",
            "10.77.1.0/24",
            "--subnet",
            "fd00:77:1::/64",
        ],
    );
    let publish = [
        "-p",
        "5353:53/udp",
        "-p",
        "9899:99/sctp",
        "-p",
        "8100-8102:8100-8102",
        // One of the range, whichever is free.
        "-p",
        "8100-8110:80",
    ];
    host.run("web", "net1", &publish);
    let pid = host.docker(&["inspect", "-f", "{{.State.Pid}}", "web"]);
    let echo = |name: &str, address: &str| {
        let inside = [
            "nsenter",
            "-t",
            &pid,
            "-n",
            "/usr/bin/python3",
            "-c",
            ECHO,
            address,
            "53",
        ];
        host.machine.start(name, &inside)
    };
    let _echoes: [Process; 2] = [echo("echo4", "10.77.1.2"), echo("echo6", "fd00:77:1::2")];
    for address in [Outside::HOST_V4, Outside::HOST_V6] {
        wait_for("an echo", Duration::from_secs(10), || {
            host.outside
                .run(|| echoed((address, 5353)))
                .map_err(|e| e.to_string())
        });
    }
    let maps = host
        .machine
        .run(&["nft", "list", "map", "inet", "wharfline", "published4_any"]);
    for element in [
        "sctp . 9899",
        "udp . 5353",
        "tcp . 8100",
        "tcp . 8101",
        "tcp . 8102",
    ] {
        assert!(maps.contains(element), "no {element} in {maps}");
    }
    // The named three are taken, so the open one is the next.
    assert!(
        fetches(&host.outside, tcp(Outside::HOST_V4, 8103)).contains(PAGE),
        "{maps}"
    );

    host.docker(&["rm", "-f", "web"]);
    host.outside
        .run(|| echoed((Outside::HOST_V4, 5353)))
        .expect_err("revoked");
    host.docker(&["network", "rm", "net1"]);
    before.returns("the host is as before", || host.world());
}

fn echoed(server: (IpAddr, u16)) -> std::io::Result<()> {
    let any: IpAddr = match server.0 {
        IpAddr::V4(_) => [0; 4].into(),
        IpAddr::V6(_) => [0u8; 16].into(),
    };
    let socket = UdpSocket::bind((any, 0))?;
    socket.set_read_timeout(Some(Duration::from_millis(500)))?;
    socket.connect(server)?;
    socket.send(b"who is there")?;
    let mut answer = [0; 64];
    let length = socket.recv(&mut answer)?;
    assert_eq!(&answer[..length], b"who is there");
    Ok(())
}
