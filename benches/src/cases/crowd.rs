//! One more container where there are many: endpoints on the network, or published ports on the host.
//! The floor runs in the same state, on the same host and bridge, since the kernel itself gets slower there.
//! What counts is the growth of the difference between ours and the floor, never a ratio.

use serde_json::Value;

use super::Bench;
use super::rounds::{Turn, run};
use crate::error::Result;
use crate::lab::Host;
use crate::report::{Figure, Row};
use crate::side::{BRIDGE, Side, bridge, portmap};
use crate::stats::median;

/// What a full host has.
struct Crowd {
    case: String,
    /// The network of each container that is there, by its number.
    present: Box<dyn Fn(usize) -> Vec<Value>>,
    containers: usize,
    /// The network of the container that comes and goes.
    chain: Vec<Value>,
}

/// With 1,000 endpoints on the bridge.
pub(crate) fn endpoints(bench: &Bench) -> Result<Vec<Row>> {
    let containers = bench.size(1000, 100);
    grown(
        bench,
        Crowd {
            case: format!("ADD with {containers} endpoints present"),
            present: Box::new(|_| vec![bridge(false)]),
            containers,
            chain: vec![bridge(false)],
        },
    )
}

/// With 50,000 ports published, of 50 containers.
pub(crate) fn mappings(bench: &Bench) -> Result<Vec<Row>> {
    const EACH: u16 = 1000;
    let containers = bench.size(50, 5);
    grown(
        bench,
        Crowd {
            case: format!(
                "ADD (ipMasq, 2 ports) with {} mappings present",
                containers * usize::from(EACH)
            ),
            present: Box::new(|number| {
                let first = 10_000 + EACH * u16::try_from(number).unwrap_or_default();
                vec![bridge(true), portmap(first, EACH)]
            }),
            containers,
            chain: vec![bridge(true), portmap(2000, 2)],
        },
    )
}

fn grown(bench: &Bench, crowd: Crowd) -> Result<Vec<Row>> {
    let (empty, full) = (bench.lab.host()?, bench.lab.host()?);
    let mut sides = Vec::new();
    for (host, containers) in [(&empty, 1), (&full, crowd.containers)] {
        let ours = ours_with(bench, host, &crowd, containers)?;
        sides.push(Side::floor_on(host, &bench.floor, BRIDGE));
        sides.push(ours);
    }
    let containers = bench.lab.containers(sides.len())?;
    let turns = sides.iter_mut().zip(&containers);
    let mut turns: Vec<_> = turns
        .map(|(side, container)| Turn { side, container })
        .collect();
    let series = run(bench.size(150, 15), &mut turns)?;
    let walls: Vec<_> = series.iter().map(|one| median(&one.add_walls())).collect();
    let above = [walls[1] - walls[0], walls[3] - walls[2]];
    let growth = above[1] - above[0];
    Ok(vec![Row {
        case: crowd.case,
        floor: Some(Figure::of(&series[2].add())),
        ours: Some(Figure::of(&series[3].add())),
        measured: format!(
            "{growth:+.2} ms: {:.2} above the floor; empty {:.2} ({:.2} and {:.2})",
            above[1], above[0], walls[1], walls[0],
        ),
        target: "at most 0.3 ms more above the floor than where it is empty",
        met: Some(growth <= 0.3),
        ..Row::default()
    }])
}

/// Fills a host by our own plugins.
fn ours_with(bench: &Bench, host: &Host, crowd: &Crowd, containers: usize) -> Result<Side> {
    let mut side = Side::chain(host, &bench.ours, Vec::new());
    for number in 0..containers {
        // An empty host has the bridge and a container, but no crowd's ports.
        side.configure(if containers == 1 {
            vec![crowd.chain[0].clone()]
        } else {
            (crowd.present)(number)
        });
        side.add(&bench.lab.container()?)?;
    }
    side.configure(crowd.chain.clone());
    Ok(side)
}
