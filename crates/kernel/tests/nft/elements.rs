//! Elements: what is written is what `nft list` shows, what is read back is what was written, and who owns it.

use nix::errno::Errno;
use wharfline_kernel::nft::{Boundary, Conditions, Element, Nft, Protocol, Table, Tag};

use crate::lab::{address, become_host, laid, published, run, tag};

fn one_of_each() -> Vec<Element> {
    let port = |protocol, host: Option<&str>, port, to| Element::Published {
        protocol,
        host: host.map(|host| host.parse().expect("an address")),
        port,
        to: address(to),
        conditions: None,
    };
    vec![
        Element::Link {
            ifname: "cni0".into(),
        },
        Element::Masquerade {
            ifname: "cni0".into(),
            subnet: "10.88.0.1/16".parse().expect("a prefix"),
        },
        Element::Masquerade {
            ifname: "cni0".into(),
            subnet: "fd88::1/64".parse().expect("a prefix"),
        },
        Element::MasqueradeHost {
            ifname: "veth0".into(),
            address: "10.1.2.5".parse().expect("an address"),
        },
        Element::MasqueradeHost {
            ifname: "veth0".into(),
            address: "fd01::5".parse().expect("an address"),
        },
        Element::Within {
            subnet: "10.1.2.0/24".parse().expect("a prefix"),
        },
        Element::Within {
            subnet: "fd01::/64".parse().expect("a prefix"),
        },
        port(Protocol::Tcp, Some("192.0.2.1"), 8080, "10.88.0.2:80"),
        port(Protocol::Udp, None, 53, "10.88.0.2:5353"),
        port(Protocol::Sctp, Some("2001:db8::1"), 9, "[fd88::2]:99"),
        port(Protocol::Tcp, None, 65535, "[fd88::2]:1"),
        Element::MasqueradeAll {
            protocol: Protocol::Tcp,
            to: address("10.88.0.2:80"),
        },
        Element::MasqueradeAll {
            protocol: Protocol::Udp,
            to: address("[fd88::2]:80"),
        },
        Element::KeepSource {
            protocol: Protocol::Tcp,
            to: address("10.88.0.2:81"),
        },
        Element::KeepSource {
            protocol: Protocol::Sctp,
            to: address("[fd88::2]:81"),
        },
        Element::BoundMac {
            ifname: "veth0".into(),
            mac: [2, 0, 0, 0xab, 0xcd, 0xef],
        },
        Element::Guarded {
            ifname: "veth0".into(),
        },
        Element::Isolated {
            ifname: "veth0".into(),
        },
        Element::Cascade {
            ifname: "fifteen-letters".into(),
        },
    ]
    .into_iter()
    .chain(boundaries().map(Element::Boundary))
    .collect()
}

fn boundaries() -> impl Iterator<Item = Boundary> {
    let ifname = || "wh-network".to_owned();
    let of_family = move |ipv6| {
        let to = if ipv6 { "[fd88::2]:80" } else { "10.88.0.2:80" };
        let source = if ipv6 { "2001:db8::9" } else { "192.0.2.9" };
        [
            Boundary::Protected {
                ifname: ifname(),
                ipv6,
            },
            Boundary::Routed {
                ifname: ifname(),
                ipv6,
            },
            Boundary::Open {
                protocol: Protocol::Sctp,
                to: address(to),
            },
            Boundary::Source {
                ifname: ifname(),
                source: source.parse().expect("an address"),
            },
        ]
    };
    let of_both = [
        Boundary::Network { ifname: ifname() },
        Boundary::Secluded { ifname: ifname() },
        Boundary::Internal { ifname: ifname() },
        Boundary::Trusted {
            from: "eth0".into(),
            ifname: ifname(),
        },
    ];
    of_both
        .into_iter()
        .chain([false, true].into_iter().flat_map(of_family))
}

fn all() -> Nft {
    let mut nft = laid();
    for table in [Table::Bridge, Table::Boundary] {
        assert_eq!(nft.lay(&table, &[]), Ok(true));
    }
    nft
}

#[test]
fn nft_lists_every_element_as_our_messages_name_it() {
    become_host();
    let mut nft = all();
    let tag = tag("a");
    for element in one_of_each() {
        nft.create(std::slice::from_ref(&element), &tag)
            .expect("created");
        let shown = element.to_string();
        let (set, inside) = shown.split_once(" { ").expect("a set and an element");
        let listing = run(&format!(
            "nft -n list set {set} 2>/dev/null || nft -n list map {set}"
        ));
        let inside = inside.trim_end_matches(" }");
        let (key, target) = inside.split_once(" : ").unwrap_or((inside, ""));
        let plain = listing.replace('"', "");
        let numeric = key
            .replace("tcp", "6")
            .replace("udp", "17")
            .replace("sctp", "132");
        assert!(
            plain.contains(key) || plain.contains(&numeric),
            "{key} not in {listing}"
        );
        assert!(plain.contains(target), "{target} not in {listing}");
        assert!(
            plain.contains(&format!("comment {tag}")),
            "no {tag} in {listing}"
        );
    }
}

#[test]
fn what_a_dump_and_a_look_up_read_is_what_was_written() {
    become_host();
    let mut nft = all();
    let elements = one_of_each();
    assert_eq!(nft.missing(&elements), Ok(elements.clone()));
    nft.create(&elements, &tag("a")).expect("created");
    assert_eq!(nft.missing(&elements), Ok(vec![]));
    let mut dumped = nft.dump(&Table::Main).expect("a dump");
    for table in [Table::Bridge, Table::Boundary] {
        dumped.extend(nft.dump(&table).expect("a dump"));
    }
    let mut expected: Vec<_> = elements
        .iter()
        .map(|element| match element {
            Element::Masquerade { ifname, subnet } => Element::Masquerade {
                ifname: ifname.clone(),
                subnet: format!("{}/{}", subnet.network(), subnet.prefix())
                    .parse()
                    .expect("it"),
            },
            other => other.clone(),
        })
        .map(|element| (element, tag("a")))
        .collect();
    expected.sort();
    dumped.sort();
    assert_eq!(dumped, expected);
    nft.delete(&elements, Some(&tag("a"))).expect("deleted");
    assert_eq!(nft.dump(&Table::Main), Ok(vec![]));
    assert_eq!(nft.dump(&Table::Bridge), Ok(vec![]));
    assert_eq!(nft.dump(&Table::Boundary), Ok(vec![]));
}

#[test]
fn a_taken_port_is_refused_whole_and_its_owner_is_named() {
    become_host();
    let mut nft = laid();
    let theirs = published(80, "10.88.0.2:80");
    nft.create(std::slice::from_ref(&theirs), &tag("a"))
        .expect("created");
    let wanted = [published(81, "10.88.0.3:81"), published(80, "10.88.0.3:80")];
    let error = nft.create(&wanted, &tag("b")).expect_err("taken");
    assert_eq!(error.errno(), Errno::EEXIST);
    assert!(
        error
            .to_string()
            .contains("published4_any { tcp . 80 : 10.88.0.3 . 80 }"),
        "{error}"
    );
    let occupant = nft.occupant(&wanted[1]).expect("asked").expect("taken");
    assert_eq!(
        (occupant.element, occupant.tag),
        (theirs.clone(), Some(tag("a")))
    );
    assert_eq!(
        nft.missing(&wanted),
        Ok(wanted.to_vec()),
        "nothing of a refused batch stays"
    );
    assert_eq!(nft.missing(&[theirs]), Ok(vec![]));
}

#[test]
fn a_deletion_leaves_what_another_owns_and_passes_over_what_is_absent() {
    become_host();
    let mut nft = laid();
    let (mine, theirs) = (published(80, "10.88.0.2:80"), published(81, "10.88.0.3:80"));
    nft.create(std::slice::from_ref(&mine), &tag("a"))
        .expect("created");
    nft.create(std::slice::from_ref(&theirs), &tag("b"))
        .expect("created");
    let all = [mine.clone(), theirs.clone(), published(82, "10.88.0.4:80")];
    nft.delete(&all, Some(&tag("a"))).expect("deleted");
    assert_eq!(nft.missing(&[mine.clone(), theirs.clone()]), Ok(vec![mine]));
    nft.delete(&all, None).expect("deleted");
    nft.delete(&all, None).expect("again");
    assert_eq!(nft.missing(std::slice::from_ref(&theirs)), Ok(vec![theirs]));
}

#[test]
fn without_tables_nothing_is_found_and_deletion_succeeds() {
    become_host();
    let mut nft = Nft::open().expect("a socket");
    let element = published(80, "10.88.0.2:80");
    assert_eq!(
        nft.missing(std::slice::from_ref(&element)),
        Ok(vec![element.clone()])
    );
    assert_eq!(nft.delete(std::slice::from_ref(&element), None), Ok(()));
    assert_eq!(
        nft.delete(std::slice::from_ref(&element), Some(&tag("a"))),
        Ok(())
    );
    assert_eq!(nft.dump(&Table::Main), Ok(vec![]));
    let error = nft.create(&[element], &tag("a")).expect_err("no table");
    assert_eq!(error.errno(), Errno::ENOENT);
}

#[test]
fn ten_thousand_ports_go_in_one_transaction_and_come_out_in_another() {
    become_host();
    let mut nft = laid();
    let range: Vec<_> = (20_000..30_000)
        .map(|port| published(port, "10.88.0.2:80"))
        .collect();
    nft.create(&range, &tag("a")).expect("created");
    assert_eq!(nft.missing(&range), Ok(vec![]));
    assert_eq!(nft.dump(&Table::Main).expect("a dump").len(), range.len());
    let error = nft.create(&range, &tag("b")).expect_err("all taken");
    assert_eq!(error.errno(), Errno::EEXIST);
    nft.delete(&range, Some(&tag("a"))).expect("deleted");
    assert_eq!(nft.dump(&Table::Main), Ok(vec![]));
}

#[test]
fn conditional_ports_live_in_a_table_of_their_own() {
    become_host();
    let mut nft = laid();
    let conditions = Conditions::new("ip saddr 192.0.2.0/24", "").expect("a match");
    let Element::Published {
        protocol,
        host,
        port,
        to,
        ..
    } = published(80, "10.88.0.2:80")
    else {
        panic!("a port");
    };
    let narrow = Element::Published {
        protocol,
        host,
        port,
        to,
        conditions: Some(conditions),
    };
    assert_eq!(
        nft.lay(&narrow.table(), &[(narrow.clone(), tag("a"))]),
        Ok(true)
    );
    nft.create(&[published(80, "10.88.0.3:80")], &tag("b"))
        .expect("no conflict");
    assert_eq!(nft.missing(std::slice::from_ref(&narrow)), Ok(vec![]));
    assert_eq!(nft.dump(&narrow.table()), Ok(vec![(narrow, tag("a"))]));
}

#[test]
fn tags_sort_a_networks_elements_from_anothers() {
    become_host();
    let mut nft = laid();
    nft.create(&[published(80, "10.88.0.2:80")], &tag("a"))
        .expect("created");
    nft.create(
        &[published(81, "10.99.0.2:80")],
        &Tag::attachment("db", "b", "eth0"),
    )
    .expect("created");
    run("nft add element inet wharfline published4_any '{ tcp . 82 : 10.0.0.1 . 1 }'");
    let dumped = nft.dump(&Table::Main).expect("a dump");
    let web: Vec<_> = dumped
        .iter()
        .filter(|(_, tag)| tag.same_network(&Tag::network("web")))
        .map(|(element, _)| element.clone())
        .collect();
    assert_eq!(web, [published(80, "10.88.0.2:80")]);
    assert_eq!(dumped.len(), 2, "what bears no tag is not ours");
}
