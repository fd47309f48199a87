//! Stale UDP flows (P8): a client that keeps its socket must reach the new container at once, and others keep theirs.

use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use wharfline_kernel::nft::{Element, Protocol};

use crate::lab::{Space, address, become_host, laid, run, tag};
use crate::traffic::udp_server;

fn udp(port: u16, to: &str) -> Element {
    Element::Published {
        protocol: Protocol::Udp,
        host: None,
        port,
        to: address(to),
        conditions: None,
    }
}

/// How long silence is listened to before it counts as silence.
const SILENCE: Duration = Duration::from_millis(300);

/// A client that keeps its socket, and so its flow. Each question is numbered: a late answer to an earlier one is none.
struct Client {
    socket: UdpSocket,
    asked: u32,
}

impl Client {
    fn new(space: &Space, any: &str) -> Self {
        let socket = space.enter(|| UdpSocket::bind(any).expect("a socket"));
        socket.set_read_timeout(Some(SILENCE)).expect("set");
        Self { socket, asked: 0 }
    }

    /// What answers one datagram, if anything does.
    fn ask(&mut self, to: SocketAddr) -> Option<String> {
        self.asked += 1;
        let question = format!("{} ", self.asked);
        self.socket.send_to(question.as_bytes(), to).ok()?;
        let mut buffer = [0; 64];
        loop {
            let length = self.socket.recv(&mut buffer).ok()?;
            let answer = String::from_utf8_lossy(&buffer[..length]);
            if let Some(name) = answer.strip_prefix(&question) {
                return Some(name.to_owned());
            }
        }
    }

    /// Who answers. On a busy machine that may take longer than [`SILENCE`], and the first datagram to a neighbour may
    /// be lost: so it asks again. A flow that is stale stays so however often it is used.
    fn answered_by(&mut self, to: SocketAddr) -> String {
        (0..40)
            .find_map(|_| self.ask(to))
            .unwrap_or_else(|| panic!("{to} never answered"))
    }
}

/// Two containers and a client, all routed by the host.
fn build() -> [Space; 3] {
    become_host();
    let spaces: [Space; 3] = std::array::from_fn(|_| Space::new());
    for (number, space) in spaces.iter().enumerate() {
        run(&format!(
            "ip link add e{number} type veth peer name eth0 netns {}
             ip addr add 10.{number}.0.1/24 dev e{number}; ip addr add fd0{number}::1/64 dev e{number} nodad
             ip link set e{number} up",
            space.path()
        ));
        space.run(&format!(
            "ip link set eth0 up
             ip addr add 10.{number}.0.2/24 dev eth0; ip addr add fd0{number}::2/64 dev eth0 nodad
             ip route add default via 10.{number}.0.1; ip route add default via fd0{number}::1"
        ));
    }
    run("echo 1 > /proc/sys/net/ipv4/ip_forward; echo 1 > /proc/sys/net/ipv6/conf/all/forwarding");
    spaces
}

#[test]
fn a_client_that_keeps_its_socket_follows_the_port_to_another_container() {
    let [first, second, outside] = build();
    let mut nft = laid();
    for (old, new, at) in [
        ("10.0.0.2:53", "10.1.0.2:53", "10.2.0.1:5300"),
        ("[fd00::2]:53", "[fd01::2]:53", "[fd02::1]:5300"),
    ] {
        udp_server(&first, address(old), "first");
        udp_server(&second, address(new), "second");
        let any = if at.starts_with('[') {
            "[::]:0"
        } else {
            "0.0.0.0:0"
        };
        let mut client = Client::new(&outside, any);
        // Before the port is published the host itself is asked, which has no such service.
        assert_eq!(client.ask(address(at)), None);
        let (before, after) = (udp(5300, old), udp(5300, new));
        nft.create(std::slice::from_ref(&before), &tag("a"))
            .expect("published");
        assert_eq!(
            client.ask(address(at)),
            None,
            "the flow of before still stands"
        );
        nft.forget_flows(std::slice::from_ref(&before))
            .expect("forgotten");
        assert_eq!(client.answered_by(address(at)), "first", "after ADD");
        nft.delete(std::slice::from_ref(&before), None)
            .expect("deleted");
        assert_eq!(client.answered_by(address(at)), "first", "the stale flow");
        nft.forget_flows(std::slice::from_ref(&before))
            .expect("forgotten");
        assert_eq!(client.ask(address(at)), None, "after DEL");
        nft.create(std::slice::from_ref(&after), &tag("b"))
            .expect("published");
        nft.forget_flows(std::slice::from_ref(&after))
            .expect("forgotten");
        assert_eq!(client.answered_by(address(at)), "second");
    }
}

#[test]
fn flows_of_other_ports_and_addresses_stay() {
    let [first, second, outside] = build();
    let mut nft = laid();
    udp_server(&first, address("10.0.0.2:53"), "first");
    udp_server(&second, address("10.1.0.2:5300"), "second");
    nft.create(&[udp(5301, "10.0.0.2:53")], &tag("a"))
        .expect("published");
    run("nft add table ip egress
         nft 'add chain ip egress post { type nat hook postrouting priority 100; }'
         nft add rule ip egress post ip saddr 10.2.0.2 ip daddr 10.1.0.2 masquerade");
    let mut client = Client::new(&outside, "0.0.0.0:0");
    // Another port; and routed, with another source.
    assert_eq!(client.answered_by(address("10.2.0.1:5301")), "first");
    assert_eq!(client.answered_by(address("10.1.0.2:5300")), "second");
    let flows = run("conntrack -L -p udp 2>/dev/null | wc -l");
    nft.forget_flows(&[udp(5300, "10.0.0.2:53")])
        .expect("forgotten");
    let exact = Element::Published {
        protocol: Protocol::Udp,
        host: Some("192.0.2.7".parse().expect("an address")),
        port: 5301,
        to: address("10.0.0.2:53"),
        conditions: None,
    };
    nft.forget_flows(&[exact, udp(5302, "10.0.0.2:53")])
        .expect("forgotten");
    assert_eq!(run("conntrack -L -p udp 2>/dev/null | wc -l"), flows);
    nft.forget_flows(&[]).expect("nothing to do");
}

#[test]
fn flows_of_both_families_go_at_once_and_those_of_tcp_stay() {
    become_host();
    let mut nft = laid();
    run("conntrack -I -p tcp --state ESTABLISHED -t 60 -s 127.0.0.1 -d 127.0.0.1 --sport 7 --dport 5300
         conntrack -I -p udp -t 60 -s 127.0.0.1 -d 127.0.0.1 --sport 7 --dport 5300
         conntrack -I -p udp -t 60 -s ::1 -d ::1 --sport 7 --dport 5300
         conntrack -I -p udp -t 60 -s ::1 -d ::1 --sport 7 --dport 5301");
    let ports = [udp(5300, "10.0.0.2:53"), udp(5300, "[fd00::2]:53")];
    nft.forget_flows(&ports).expect("forgotten");
    let left = run("conntrack -L -f ipv4; conntrack -L -f ipv6");
    assert_eq!(left.lines().count(), 2, "{left}");
    assert!(
        left.contains("tcp ") && left.contains("dport=5301"),
        "{left}"
    );
}
