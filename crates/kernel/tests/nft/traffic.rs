//! Real traffic through the tables: who reaches a published port, with which source, and what must not get through.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

use wharfline_kernel::nft::{Conditions, Element, Nft, Protocol, Search, Table};

use crate::lab::{Space, address, become_host, laid, published, run, tag};

/// How long an answer may take on a busy machine; a lost SYN is sent again after one second, and after two more.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long silence is listened to before it counts as silence.
const SILENCE: Duration = Duration::from_millis(700);

/// A host with a bridge, two containers on it, one on a second network, and an outside machine.
struct Town {
    nft: Nft,
    web: Space,
    neighbour: Space,
    other: Space,
    outside: Space,
}

/// Plugs a container into a bridge with an address of each family.
fn plug(space: &Space, bridge: &str, host: u8) {
    let net = if bridge == "cni0" { 1 } else { 2 };
    let veth = format!("v{net}h{host}");
    run(&format!(
        "ip link add {veth} type veth peer name eth0 netns {path}
         ip link set {veth} master {bridge} up",
        path = space.path()
    ));
    space.run(&format!(
        "ip link set eth0 up
         ip addr add 10.{net}.0.{host}/24 dev eth0
         ip addr add fd0{net}::{host}/64 dev eth0 nodad
         ip route add default via 10.{net}.0.1
         ip route add default via fd0{net}::1"
    ));
}

impl Town {
    fn build() -> Self {
        become_host();
        run("for net in 1 2; do
               bridge=$(test $net = 1 && echo cni0 || echo cni1)
               ip link add $bridge type bridge forward_delay 0
               echo 0 > /proc/sys/net/ipv6/conf/$bridge/accept_dad
               ip addr add 10.$net.0.1/24 dev $bridge
               ip addr add fd0$net::1/64 dev $bridge nodad
               ip link set $bridge up
               echo 1 > /proc/sys/net/ipv4/conf/$bridge/route_localnet
             done
             echo 1 > /proc/sys/net/ipv4/ip_forward
             echo 1 > /proc/sys/net/ipv6/conf/all/forwarding");
        let [web, neighbour, other, outside] = std::array::from_fn(|_| Space::new());
        plug(&web, "cni0", 2);
        plug(&neighbour, "cni0", 3);
        plug(&other, "cni1", 2);
        run(&format!(
            "ip link add up0 type veth peer name eth0 netns {}
             ip addr add 192.0.2.1/24 dev up0; ip addr add 192.0.2.2/24 dev up0
             ip addr add 2001:db8::1/64 dev up0 nodad
             ip link set up0 up",
            outside.path()
        ));
        outside.run(
            "ip link set eth0 up
             ip addr add 192.0.2.9/24 dev eth0; ip addr add 2001:db8::9/64 dev eth0 nodad
             ip route add 10.1.0.0/24 via 192.0.2.1; ip route add fd01::/64 via 2001:db8::1",
        );
        let mut nft = laid();
        let links = ["cni0", "cni1"].map(|ifname| Element::Link {
            ifname: ifname.into(),
        });
        nft.ensure(&links, &tag("network")).expect("links");
        Self {
            nft,
            web,
            neighbour,
            other,
            outside,
        }
    }

    fn publish(&mut self, elements: &[Element]) {
        self.nft.create(elements, &tag("web")).expect("published");
    }
}

/// Serves the peer's own address to whoever connects, in `space`, until the test ends.
fn serve(space: &Space, at: &str) {
    let listener = space.enter(|| TcpListener::bind(address(at)).expect("a listener"));
    std::thread::spawn(move || {
        while let Ok((mut stream, peer)) = listener.accept() {
            let _ = stream.write_all(peer.ip().to_string().as_bytes());
        }
    });
}

/// Connects from the calling thread's namespace; the source that the server saw, or `None`.
fn ask(to: &str) -> Option<IpAddr> {
    ask_for(to, PATIENCE)
}

/// Like [`ask`], where no answer is expected.
fn ask_in_vain(to: &str) -> Option<IpAddr> {
    ask_for(to, SILENCE)
}

fn ask_for(to: &str, within: Duration) -> Option<IpAddr> {
    let mut stream = TcpStream::connect_timeout(&address(to), within).ok()?;
    stream.set_read_timeout(Some(within)).ok()?;
    let mut seen = String::new();
    stream.read_to_string(&mut seen).ok()?;
    seen.parse().ok()
}

fn seen(text: &str) -> Option<IpAddr> {
    Some(text.parse().expect("an address"))
}

#[test]
fn a_published_port_is_reached_from_everywhere_and_the_source_survives_where_it_can() {
    reach_from_everywhere("0");
}

#[test]
fn a_published_port_is_reached_from_everywhere_with_br_netfilter_on() {
    reach_from_everywhere("1");
}

fn reach_from_everywhere(br_netfilter: &str) {
    let mut town = Town::build();
    // A container that asks its own port needs the hairpin flag where br_netfilter translates on the bridge.
    run(&format!(
        "for family in ip ip6; do
           echo {br_netfilter} > /proc/sys/net/bridge/bridge-nf-call-${{family}}tables
         done
         test {br_netfilter} = 0 || ip link set v1h2 type bridge_slave hairpin on"
    ));
    serve(&town.web, "0.0.0.0:80");
    serve(&town.web, "[fd01::2]:80");
    town.publish(&[
        published(8080, "10.1.0.2:80"),
        published(8080, "[fd01::2]:80"),
        Element::LoopbackSource {
            protocol: Protocol::Tcp,
            port: 8080,
            source: "fd01::1".parse().expect("an address"),
        },
    ]);
    let outside = |to: &str| town.outside.enter(|| ask(to));
    assert_eq!(outside("192.0.2.1:8080"), seen("192.0.2.9"), "from outside");
    assert_eq!(
        outside("[2001:db8::1]:8080"),
        seen("2001:db8::9"),
        "from outside"
    );
    assert_eq!(
        ask("192.0.2.1:8080"),
        seen("192.0.2.1"),
        "the host by its address"
    );
    assert_eq!(
        ask("[2001:db8::1]:8080"),
        seen("2001:db8::1"),
        "the host by its address"
    );
    assert_eq!(
        ask("127.0.0.1:8080"),
        seen("10.1.0.1"),
        "the host by its loopback"
    );
    assert_eq!(
        ask("[::1]:8080"),
        seen("fd01::1"),
        "the host by its loopback"
    );
    let web = |to: &str| town.web.enter(|| ask(to));
    assert_eq!(
        web("192.0.2.1:8080"),
        seen("10.1.0.1"),
        "the container itself"
    );
    assert_eq!(
        web("[2001:db8::1]:8080"),
        seen("fd01::1"),
        "the container itself"
    );
    let neighbour = |to: &str| town.neighbour.enter(|| ask(to));
    assert_eq!(
        neighbour("10.1.0.1:8080"),
        seen("10.1.0.1"),
        "another on the bridge"
    );
    assert_eq!(
        neighbour("[fd01::1]:8080"),
        seen("fd01::1"),
        "another on the bridge"
    );
    assert_eq!(
        neighbour("10.1.0.2:80"),
        seen("10.1.0.3"),
        "unpublished, on the bridge"
    );
    let other = |to: &str| town.other.enter(|| ask(to));
    assert_eq!(other("192.0.2.1:8080"), seen("10.2.0.2"), "another network");
    assert_eq!(
        other("[2001:db8::1]:8080"),
        seen("fd02::2"),
        "another network"
    );
    assert_eq!(
        outside("10.1.0.2:80"),
        seen("192.0.2.9"),
        "a routed peer, unpublished"
    );
}

#[test]
fn masquerading_takes_what_leaves_and_nothing_else() {
    let mut town = Town::build();
    serve(&town.outside, "0.0.0.0:80");
    serve(&town.outside, "[2001:db8::9]:80");
    serve(&town.web, "0.0.0.0:80");
    let masquerade = ["10.1.0.0/24", "fd01::/64"].map(|subnet| Element::Masquerade {
        ifname: "cni0".into(),
        subnet: subnet.parse().expect("a prefix"),
    });
    town.nft
        .ensure(&masquerade, &tag("network"))
        .expect("masqueraded");
    let neighbour = |to: &str| town.neighbour.enter(|| ask(to));
    assert_eq!(neighbour("192.0.2.9:80"), seen("192.0.2.1"));
    assert_eq!(neighbour("[2001:db8::9]:80"), seen("2001:db8::1"));
    assert_eq!(neighbour("10.1.0.2:80"), seen("10.1.0.3"), "same subnet");
    // The other network has no masquerading, and outside no route back.
    assert_eq!(town.other.enter(|| ask_in_vain("192.0.2.9:80")), None);
    // A published port keeps the source of a client on another network even if that one masquerades.
    serve(&town.other, "0.0.0.0:81");
    town.publish(&[published(8081, "10.2.0.2:81")]);
    assert_eq!(
        town.neighbour.enter(|| ask("192.0.2.1:8081")),
        seen("10.1.0.3")
    );
}

#[test]
fn an_exact_host_address_goes_first_and_other_addresses_are_not_taken() {
    let mut town = Town::build();
    serve(&town.web, "0.0.0.0:80");
    serve(&town.neighbour, "0.0.0.0:80");
    let exact = Element::Published {
        protocol: Protocol::Tcp,
        host: Some("192.0.2.2".parse().expect("an address")),
        port: 8080,
        to: address("10.1.0.3:80"),
        conditions: None,
    };
    let only = Element::Published {
        protocol: Protocol::Tcp,
        host: Some("127.0.0.1".parse().expect("an address")),
        port: 9090,
        to: address("10.1.0.2:80"),
        conditions: None,
    };
    town.publish(&[exact, only]);
    assert!(town.outside.enter(|| ask("192.0.2.2:8080")).is_some());
    assert_eq!(
        town.outside.enter(|| ask_in_vain("192.0.2.1:8080")),
        None,
        "another address"
    );
    assert!(ask("127.0.0.1:9090").is_some());
    assert_eq!(
        ask_in_vain("192.0.2.1:9090"),
        None,
        "published on loopback only"
    );
    assert_eq!(town.outside.enter(|| ask_in_vain("192.0.2.1:9090")), None);
}

#[test]
fn only_local_addresses_are_captured() {
    // P4, CVE-2025-67499: a port published on the host must not catch what containers send elsewhere.
    let mut town = Town::build();
    serve(&town.outside, "0.0.0.0:443");
    serve(&town.web, "0.0.0.0:443");
    town.outside.run("ip route add 10.2.0.0/24 via 192.0.2.1");
    town.publish(&[published(443, "10.1.0.2:443")]);
    assert_eq!(town.other.enter(|| ask("192.0.2.9:443")), seen("10.2.0.2"));
    assert_eq!(ask("192.0.2.9:443"), seen("192.0.2.1"));
}

#[test]
fn a_port_on_loopback_is_out_of_reach_of_the_lan_and_the_hosts_loopback_of_containers() {
    // P5, moby#41872: packets for 127.0.0.1 sent to the host's MAC address.
    let mut town = Town::build();
    serve(&town.web, "0.0.0.0:80");
    let local = TcpListener::bind("127.0.0.1:7070").expect("a service of the host");
    std::thread::spawn(move || while local.accept().is_ok() {});
    town.publish(&[published(8080, "10.1.0.2:80")]);
    let attack = "ip addr del 127.0.0.1/8 dev lo
                  echo 1 > /proc/sys/net/ipv4/conf/all/route_localnet
                  ip route add 127.0.0.0/8 via GATEWAY dev eth0";
    run("echo 1 > /proc/sys/net/ipv4/conf/up0/route_localnet");
    for (attacker, gateway) in [(&town.outside, "192.0.2.1"), (&town.neighbour, "10.1.0.1")] {
        attacker.run(&attack.replace("GATEWAY", gateway));
        assert_eq!(
            attacker.enter(|| ask_in_vain("127.0.0.1:8080")),
            None,
            "{gateway}"
        );
        let reached = attacker
            .enter(|| TcpStream::connect_timeout(&address("127.0.0.1:7070"), SILENCE).is_ok());
        assert!(!reached, "{gateway}");
    }
    // Without the guard the same attack succeeds, so it is the guard that holds.
    run("nft flush chain inet wharfline loopback_guard");
    let reached = town
        .neighbour
        .enter(|| TcpStream::connect_timeout(&address("127.0.0.1:7070"), PATIENCE).is_ok());
    assert!(reached, "the attack itself is sound");
}

#[test]
fn masq_all_hides_every_source_and_keep_source_none() {
    let mut town = Town::build();
    serve(&town.web, "0.0.0.0:80");
    town.publish(&[
        published(8080, "10.1.0.2:80"),
        Element::MasqueradeAll {
            protocol: Protocol::Tcp,
            to: address("10.1.0.2:80"),
        },
    ]);
    assert_eq!(
        town.outside.enter(|| ask("192.0.2.1:8080")),
        seen("10.1.0.1")
    );
    town.publish(&[Element::KeepSource {
        protocol: Protocol::Tcp,
        to: address("10.1.0.2:80"),
    }]);
    assert_eq!(
        town.outside.enter(|| ask("192.0.2.1:8080")),
        seen("192.0.2.9")
    );
}

#[test]
fn conditions_narrow_a_port() {
    let mut town = Town::build();
    serve(&town.web, "0.0.0.0:80");
    town.outside.run("ip addr add 192.0.2.10/24 dev eth0");
    let Element::Published {
        protocol,
        host,
        port,
        to,
        ..
    } = published(8080, "10.1.0.2:80")
    else {
        panic!("a port");
    };
    let conditions = Conditions::new("ip daddr != { 192.0.2.1 }", "").expect("a match");
    let narrow = Element::Published {
        protocol,
        host,
        port,
        to,
        conditions: Some(conditions),
    };
    assert_eq!(
        town.nft.lay(&narrow.table(), &[(narrow, tag("web"))]),
        Ok(true)
    );
    assert_eq!(
        town.outside.enter(|| ask_in_vain("192.0.2.1:8080")),
        None,
        "excluded"
    );
    assert_eq!(
        town.outside.enter(|| ask("192.0.2.2:8080")),
        seen("192.0.2.9")
    );
}

#[test]
fn behind_a_dropping_forward_chain_everything_works_again_with_our_rule() {
    let mut town = Town::build();
    serve(&town.web, "0.0.0.0:80");
    serve(&town.outside, "0.0.0.0:81");
    town.publish(&[published(8080, "10.1.0.2:80")]);
    for firewall in [
        "iptables -P FORWARD DROP; iptables -N DOCKER-USER; iptables -I FORWARD -j DOCKER-USER",
        "iptables -P FORWARD ACCEPT; nft 'add table inet firewalld;
         add chain inet firewalld filter_FORWARD { type filter hook forward priority 10; };
         add rule inet firewalld filter_FORWARD reject with icmpx admin-prohibited'",
        "nft 'delete table inet firewalld; add table inet filter;
         add chain inet filter forward { type filter hook forward priority 0; policy drop; }'",
    ] {
        run(firewall);
        assert_eq!(
            town.outside.enter(|| ask_in_vain("192.0.2.1:8080")),
            None,
            "{firewall}"
        );
        let dropping = town.nft.let_through(Search::Known).expect("let through");
        assert_eq!(dropping.len(), 1, "{firewall}");
        assert_eq!(
            town.outside.enter(|| ask("192.0.2.1:8080")),
            seen("192.0.2.9"),
            "{firewall}"
        );
        assert_eq!(
            town.neighbour.enter(|| ask("192.0.2.9:81")),
            seen("10.1.0.3"),
            "{firewall}"
        );
    }
}

#[test]
fn a_guarded_port_sends_from_its_own_address_only() {
    let mut town = Town::build();
    assert_eq!(town.nft.lay(&Table::Bridge, &[]), Ok(true));
    serve(&town.neighbour, "0.0.0.0:80");
    let shown = town.web.run("ip -o link show eth0");
    let text = shown
        .split("link/ether ")
        .nth(1)
        .and_then(|rest| rest.split(' ').next());
    let bytes: Vec<u8> = text
        .expect("an address")
        .split(':')
        .map(|byte| u8::from_str_radix(byte, 16).expect("hex"))
        .collect();
    let elements = [
        Element::BoundMac {
            ifname: "v1h2".into(),
            mac: bytes.try_into().expect("six bytes"),
        },
        Element::Guarded {
            ifname: "v1h2".into(),
        },
    ];
    town.publish(&elements);
    assert!(town.web.enter(|| ask("10.1.0.3:80")).is_some());
    assert_eq!(town.nft.dropped("v1h2"), Ok(Some(0)));
    town.web.run("ip link set eth0 address 02:00:00:00:00:99");
    town.neighbour.run("ip neigh flush dev eth0");
    assert_eq!(
        town.web.enter(|| ask_in_vain("10.1.0.3:80")),
        None,
        "a forged address"
    );
    assert!(town.nft.dropped("v1h2").expect("asked").expect("guarded") > 0);
    assert_eq!(town.nft.dropped("v1h3"), Ok(None));
}

#[test]
fn isolation_holds_across_a_cascade() {
    become_host();
    run(
        "for b in b1 b2; do ip link add $b type bridge forward_delay 0; ip link set $b up; done
         ip link add c1 type veth peer name c2
         ip link set c1 master b1 up; ip link set c2 master b2 up",
    );
    let [near, far] = std::array::from_fn(|_| Space::new());
    for (space, bridge, host) in [(&near, "b1", 1), (&far, "b2", 2)] {
        run(&format!(
            "ip link add p{host} type veth peer name eth0 netns {}
             ip link set p{host} master {bridge} up",
            space.path()
        ));
        space.run(&format!(
            "ip link set eth0 up; ip addr add 10.9.0.{host}/24 dev eth0"
        ));
    }
    serve(&far, "0.0.0.0:80");
    assert!(
        near.enter(|| ask("10.9.0.2:80")).is_some(),
        "the cascade carries traffic"
    );
    let mut nft = Nft::open().expect("a socket");
    assert_eq!(nft.lay(&Table::Bridge, &[]), Ok(true));
    let cascades = ["c1", "c2"].map(|ifname| Element::Cascade {
        ifname: ifname.into(),
    });
    let isolated = ["p1", "p2"].map(|ifname| Element::Isolated {
        ifname: ifname.into(),
    });
    nft.create(&cascades, &tag("network")).expect("created");
    nft.create(&isolated[..1], &tag("a")).expect("created");
    assert!(
        near.enter(|| ask("10.9.0.2:80")).is_some(),
        "one isolated port may talk"
    );
    nft.create(&isolated[1..], &tag("b")).expect("created");
    assert_eq!(
        near.enter(|| ask_in_vain("10.9.0.2:80")),
        None,
        "two may not"
    );
}

/// Answers each datagram with itself and a name. For the UDP tests of `conntrack.rs`.
pub(crate) fn udp_server(space: &Space, at: SocketAddr, answer: &'static str) {
    let socket = space.enter(|| UdpSocket::bind(at).expect("a socket"));
    std::thread::spawn(move || {
        let mut buffer = [0; 64];
        while let Ok((length, peer)) = socket.recv_from(&mut buffer) {
            let answer = [&buffer[..length], answer.as_bytes()].concat();
            let _ = socket.send_to(&answer, peer);
        }
    });
}
