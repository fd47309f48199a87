//! Properties of the choice of an address, against a plain set as the truth.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::net::{IpAddr, Ipv4Addr};

use ipnetwork::IpNetwork;
use proptest::prelude::*;

use super::*;
use wharfline_spec::cni::IpRange;

#[derive(Default)]
struct Plain(BTreeSet<Addr>);

impl Taken for Plain {
    type Error = Infallible;

    fn next_free(&mut self, span: Span) -> Result<Option<Addr>, Infallible> {
        let mut at = Some(span.first);
        while let Some(addr) = at.filter(|a| *a <= span.last) {
            if !self.0.contains(&addr) {
                return Ok(Some(addr));
            }
            at = addr.next();
        }
        Ok(None)
    }
}

fn addr(text: &str) -> Addr {
    Addr::from(text.parse::<IpAddr>().unwrap())
}

fn set(ranges: &[(&str, &str, &str)]) -> RangeSet {
    let ip = |text: &str| (!text.is_empty()).then(|| text.parse().unwrap());
    let range = |(subnet, start, end): &(&str, &str, &str)| {
        let raw = IpRange {
            subnet: subnet.parse().unwrap(),
            range_start: ip(start),
            range_end: ip(end),
            gateway: None,
        };
        Range::new(&raw).unwrap()
    };
    RangeSet::new(ranges.iter().map(range).collect()).unwrap()
}

fn next(set: &RangeSet, last: Option<&str>, taken: &mut Plain) -> Pick {
    let Ok(pick) = pick(set, last.map(addr), taken, &|_| false);
    pick
}

#[test]
fn the_gateway_is_never_given_out() {
    let set = set(&[("10.1.0.0/30", "", "")]);
    let mut taken = Plain::default();
    assert_eq!(next(&set, None, &mut taken), Pick::Free(addr("10.1.0.2")));
    taken.0.insert(addr("10.1.0.2"));
    assert_eq!(next(&set, Some("10.1.0.2"), &mut taken), Pick::Exhausted);
}

#[test]
fn the_round_goes_on_through_all_ranges_and_comes_back() {
    let set = set(&[
        ("10.1.0.0/29", "10.1.0.5", ""),
        ("10.2.0.0/29", "10.2.0.2", "10.2.0.3"),
    ]);
    let mut taken = Plain::default();
    for (last, expected) in [
        (None, "10.1.0.5"),
        (Some("10.1.0.5"), "10.1.0.6"),
        (Some("10.1.0.6"), "10.2.0.2"),
        (Some("10.2.0.3"), "10.1.0.5"),
        (Some("192.0.2.1"), "10.1.0.5"),
    ] {
        assert_eq!(
            next(&set, last, &mut taken),
            Pick::Free(addr(expected)),
            "after {last:?}"
        );
    }
    taken
        .0
        .extend(["10.1.0.6", "10.2.0.2", "10.2.0.3"].map(addr));
    // The last address itself comes last.
    assert_eq!(
        next(&set, Some("10.1.0.5"), &mut taken),
        Pick::Free(addr("10.1.0.5"))
    );
}

#[test]
fn cooling_addresses_are_passed_over_and_told_apart_from_taken_ones() {
    let set = set(&[("10.1.0.0/29", "10.1.0.2", "10.1.0.4")]);
    let mut taken = Plain::default();
    let Ok(first) = pick(&set, None, &mut taken, &|a| a == addr("10.1.0.2"));
    assert_eq!(first, Pick::Free(addr("10.1.0.3")));
    taken.0.extend([addr("10.1.0.3"), addr("10.1.0.4")]);
    let Ok(rest) = pick(&set, None, &mut taken, &|a| a == addr("10.1.0.2"));
    assert_eq!(rest, Pick::OnlyCooling);
}

#[test]
fn a_wide_range_of_ipv6_is_walked_without_counting() {
    let set = set(&[("fd00::/64", "", "")]);
    let last = "fd00::ffff:ffff:ffff:fffe";
    assert_eq!(
        next(&set, Some(last), &mut Plain::default()),
        Pick::Free(addr("fd00::ffff:ffff:ffff:ffff"))
    );
    let mut taken = Plain::default();
    let end = "fd00::ffff:ffff:ffff:ffff";
    assert_eq!(
        next(&set, Some(end), &mut taken),
        Pick::Free(addr("fd00::2"))
    );
}

/// Up to three ranges cut out of 10.0.0.0/24, in any order.
fn any_set() -> impl Strategy<Value = RangeSet> {
    let ranges = proptest::collection::btree_set(1u8..=254, 2..=6).prop_map(|cuts| {
        let cuts: Vec<u8> = cuts.into_iter().collect();
        cuts.chunks_exact(2)
            .map(|c| (c[0], c[1]))
            .collect::<Vec<_>>()
    });
    (ranges.prop_shuffle(), any::<u8>()).prop_map(|(ranges, gateway)| {
        let ip = |last: u8| IpAddr::V4(Ipv4Addr::new(10, 0, 0, last));
        let build = |(a, b): (u8, u8)| {
            let subnet: IpNetwork = "10.0.0.0/24".parse().unwrap();
            let raw = IpRange {
                subnet,
                range_start: Some(ip(a)),
                range_end: Some(ip(b)),
                gateway: Some(ip(gateway)),
            };
            Range::new(&raw).unwrap()
        };
        RangeSet::new(ranges.into_iter().map(build).collect()).unwrap()
    })
}

proptest! {
    #[test]
    fn one_round_gives_every_address_once_and_then_says_exhausted(set in any_set(), start in any::<u8>()) {
        let mut taken = Plain::default();
        let mut last = Some(addr(&format!("10.0.0.{start}")));
        for _ in 0..set.capacity() {
            let Ok(Pick::Free(found)) = pick(&set, last, &mut taken, &|_| false) else {
                panic!("exhausted too early");
            };
            prop_assert!(taken.0.insert(found), "{found} given out twice");
            let range = set.range_for(found).unwrap();
            prop_assert_ne!(found, range.gateway());
            last = Some(found);
        }
        prop_assert_eq!(pick(&set, last, &mut taken, &|_| false), Ok(Pick::Exhausted));
    }

    #[test]
    fn a_released_address_comes_back_only_after_the_rest_of_the_round(set in any_set()) {
        prop_assume!(set.capacity() > 1);
        let mut taken = Plain::default();
        let Ok(Pick::Free(first)) = pick(&set, None, &mut taken, &|_| false) else {
            panic!("an empty set has nothing free");
        };
        let mut last = first;
        for _ in 1..set.capacity() {
            let Ok(Pick::Free(found)) = pick(&set, Some(last), &mut taken, &|_| false) else {
                panic!("exhausted though one is free");
            };
            prop_assert_ne!(found, first);
            last = found;
        }
        prop_assert_eq!(pick(&set, Some(last), &mut taken, &|_| false), Ok(Pick::Free(first)));
    }
}
