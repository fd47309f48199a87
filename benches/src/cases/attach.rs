//! One container at a time: a bridge without NAT, and one with masquerading and two published ports.
//! Four sides: the floor, the floor without a dynamic linker, ours, and the reference.
//! Each side must have a host of its own, with one container that stays.

use serde_json::Value;

use super::Bench;
use super::rounds::{Series, Turn, run};
use crate::error::Result;
use crate::process::Cost;
use crate::report::{Figure, Row, walls};
use crate::side::{Side, bridge, portmap};
use crate::stats::{median, median_ratio};

/// First of the two published ports, and of those of the container that stays.
const PORTS: [u16; 2] = [20_000, 30_000];

/// Bridge and host-local only.
pub(crate) fn plain(bench: &Bench) -> Result<Vec<Row>> {
    let rounds = bench.size(200, 15);
    let [floor, floor_static, ours, reference] =
        four_sides(bench, rounds, [vec![bridge(false)], vec![bridge(false)]])?;
    let add = median_ratio(&ours.add_walls(), &floor.add_walls());
    let del = median_ratio(&ours.del_walls(), &floor.del_walls());
    let faster = |theirs: &[f64], mine: &[f64]| median_ratio(theirs, mine);
    Ok(vec![
        Row {
            case: "ADD: bridge, host-local".into(),
            measured: format!(
                "{add:.2} floors ({:.2} static ones); {:.1} times faster than the reference",
                median_ratio(&ours.add_walls(), &floor_static.add_walls()),
                faster(&reference.add_walls(), &ours.add_walls()),
            ),
            target: "at most 1.5 floors",
            met: Some(add <= 1.5),
            ..figures(Series::add, &floor, &floor_static, &ours, &reference)
        },
        Row {
            case: "DEL: bridge, host-local".into(),
            measured: format!(
                "{del:.2} floors ({:.2} static ones); {:.1} times faster than the reference",
                median_ratio(&ours.del_walls(), &floor_static.del_walls()),
                faster(&reference.del_walls(), &ours.del_walls()),
            ),
            target: "at most 1.2 floors",
            met: Some(del <= 1.2),
            ..figures(Series::del, &floor, &floor_static, &ours, &reference)
        },
    ])
}

/// With ipMasq, and portmap of two ports after it.
pub(crate) fn published(bench: &Bench) -> Result<Vec<Row>> {
    let rounds = bench.size(60, 8);
    let chain = |first| vec![bridge(true), portmap(first, 2)];
    let [floor, floor_static, ours, reference] = four_sides(bench, rounds, PORTS.map(chain))?;
    let p50 = median(&ours.add_walls());
    let faster_add = median_ratio(&reference.add_walls(), &ours.add_walls());
    let faster_del = median_ratio(&reference.del_walls(), &ours.del_walls());
    let del = median_ratio(&ours.del_walls(), &floor.del_walls());
    let split = |of: fn(&Series, usize) -> Vec<Cost>| {
        [0, 1].map(|process| median(&walls(&of(&ours, process))))
    };
    let [add_bridge, add_portmap] = split(Series::add_of);
    let [del_portmap, del_bridge] = split(Series::del_of);
    Ok(vec![
        Row {
            case: "ADD: bridge with ipMasq, portmap of 2".into(),
            measured: format!(
                "{p50:.2} ms (bridge {add_bridge:.2}, portmap {add_portmap:.2}); \
                 {faster_add:.1} times faster than the reference",
            ),
            target: "at most 5 ms, 20 times faster than the reference",
            met: Some(p50 <= 5.0 && faster_add >= 20.0),
            ..figures(Series::add, &floor, &floor_static, &ours, &reference)
        },
        Row {
            case: "DEL: bridge with ipMasq, portmap of 2".into(),
            measured: format!(
                "{del:.2} floors (portmap {del_portmap:.2} ms, bridge {del_bridge:.2}); \
                 {faster_del:.1} times faster than the reference",
            ),
            target: "at most 1.6 floors, 4 times faster than the reference",
            met: Some(del <= 1.6 && faster_del >= 4.0),
            ..figures(Series::del, &floor, &floor_static, &ours, &reference)
        },
    ])
}

/// Runs the rounds; the plugins have a configuration for the container that comes and goes, and one for that which stays.
fn four_sides(
    bench: &Bench,
    rounds: usize,
    [chain, staying]: [Vec<Value>; 2],
) -> Result<[Series; 4]> {
    let lab = &bench.lab;
    let mut sides = [
        Side::floor(&lab.host()?, &bench.floor)?,
        Side::floor(&lab.host()?, &bench.floor_static)?,
        Side::chain(&lab.host()?, &bench.ours, staying.clone()),
        Side::chain(&lab.host()?, &bench.reference, staying),
    ];
    let containers = bench.lab.containers(2 * sides.len())?;
    let (stay, come) = containers.split_at(sides.len());
    for (side, container) in sides.iter_mut().zip(stay) {
        side.add(container)?;
        side.configure(chain.clone());
    }
    let turns = sides.iter_mut().zip(come);
    let mut turns: Vec<_> = turns
        .map(|(side, container)| Turn { side, container })
        .collect();
    let series = run(rounds, &mut turns)?;
    <[Series; 4]>::try_from(series).map_err(|_| "four sides, four series".into())
}

fn figures(
    verb: fn(&Series) -> Vec<Cost>,
    floor: &Series,
    floor_static: &Series,
    ours: &Series,
    reference: &Series,
) -> Row {
    let figure = |series| Some(Figure::of(&verb(series)));
    Row {
        floor: figure(floor),
        floor_static: figure(floor_static),
        ours: figure(ours),
        reference: figure(reference),
        ..Row::default()
    }
}
