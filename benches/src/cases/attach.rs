//! One container at a time: a bridge without NAT, and one with masquerading and two published ports; ptp and macvlan.
//! Four sides: the floor, the floor without a dynamic linker, ours, and the reference.
//! Each side must have a host of its own, with one container that stays.

use serde_json::Value;

use super::Bench;
use super::rounds::{Series, Turn, run};
use crate::error::Result;
use crate::process::Cost;
use crate::report::{Figure, Row, walls};
use crate::side::{Shape, Side, bridge, portmap, without_bridge};
use crate::stats::{median, median_ratio};

/// First of the two published ports, and of those of the container that stays.
const PORTS: [u16; 2] = [20_000, 30_000];

/// The sides of these cases, in the order of the series.
const FLOOR: usize = 0;
const FLOOR_STATIC: usize = 1;
const OURS: usize = 2;
const REFERENCE: usize = 3;

/// The costs of one verb, by round.
type Verb = fn(&Series) -> Vec<Cost>;

/// Bridge and host-local only.
pub(crate) fn plain(bench: &Bench) -> Result<Vec<Row>> {
    one_plugin(bench, bridge(false), None)
}

/// A link of its own to the host for each container.
pub(crate) fn ptp(bench: &Bench) -> Result<Vec<Row>> {
    one_plugin(bench, without_bridge("ptp"), Some(Shape::Routed))
}

/// A link on the host's uplink for each.
pub(crate) fn macvlan(bench: &Bench) -> Result<Vec<Row>> {
    one_plugin(bench, without_bridge("macvlan"), Some(Shape::Parent))
}

fn one_plugin(bench: &Bench, plugin: Value, shape: Option<Shape>) -> Result<Vec<Row>> {
    let rounds = bench.size(200, 15);
    let kind = plugin["type"].as_str().unwrap_or_default().to_owned();
    let sides = four_sides(bench, (rounds, shape), [vec![plugin.clone()], vec![plugin]])?;
    let row = |name: &str, verb: Verb, target, most| {
        let floors = ratio(verb, &sides, OURS, FLOOR);
        Row {
            case: format!("{name}: {kind}, host-local"),
            measured: format!(
                "{floors:.2} floors ({:.2} static ones); {:.1} times faster than the reference",
                ratio(verb, &sides, OURS, FLOOR_STATIC),
                ratio(verb, &sides, REFERENCE, OURS),
            ),
            target,
            met: Some(floors <= most),
            ..figures(verb, &sides)
        }
    };
    Ok(vec![
        row("ADD", Series::add, "at most 1.5 floors", 1.5),
        row("DEL", Series::del, "at most 1.2 floors", 1.2),
    ])
}

/// With ipMasq, and portmap of two ports after it.
pub(crate) fn published(bench: &Bench) -> Result<Vec<Row>> {
    let chain = |first| vec![bridge(true), portmap(first, 2)];
    let sides = four_sides(bench, (bench.size(60, 8), None), PORTS.map(chain))?;
    Ok(vec![published_add(&sides), published_del(&sides)])
}

fn published_add(sides: &[Series; 4]) -> Row {
    let p50 = median(&walls(&sides[OURS].add()));
    let faster = ratio(Series::add, sides, REFERENCE, OURS);
    let [bridge, portmap] = [0, 1].map(|process| median(&walls(&sides[OURS].add_of(process))));
    Row {
        case: "ADD: bridge with ipMasq, portmap of 2".into(),
        measured: format!(
            "{p50:.2} ms (bridge {bridge:.2}, portmap {portmap:.2}); {faster:.1} times faster than the reference",
        ),
        target: "at most 5 ms, 20 times faster than the reference",
        met: Some(p50 <= 5.0 && faster >= 20.0),
        ..figures(Series::add, sides)
    }
}

fn published_del(sides: &[Series; 4]) -> Row {
    let floors = ratio(Series::del, sides, OURS, FLOOR);
    let faster = ratio(Series::del, sides, REFERENCE, OURS);
    let [portmap, bridge] = [0, 1].map(|process| median(&walls(&sides[OURS].del_of(process))));
    Row {
        case: "DEL: bridge with ipMasq, portmap of 2".into(),
        measured: format!(
            "{floors:.2} floors (portmap {portmap:.2} ms, bridge {bridge:.2}); {faster:.1} times faster than the reference",
        ),
        target: "at most 1.6 floors, 4 times faster than the reference",
        met: Some(floors <= 1.6 && faster >= 4.0),
        ..figures(Series::del, sides)
    }
}

/// How many times one side's wall time the other's is, by the median of the rounds.
fn ratio(verb: Verb, sides: &[Series; 4], above: usize, below: usize) -> f64 {
    median_ratio(&walls(&verb(&sides[above])), &walls(&verb(&sides[below])))
}

/// Runs the rounds, with floors of a shape, or of a bridge; the plugins have a configuration for the container that comes and goes, and one for that which stays.
fn four_sides(
    bench: &Bench,
    (rounds, shape): (usize, Option<Shape>),
    [chain, staying]: [Vec<Value>; 2],
) -> Result<[Series; 4]> {
    let lab = &bench.lab;
    let floor = |programs| -> Result<Side> {
        let host = lab.host()?;
        match &shape {
            None => Side::floor(&host, programs),
            Some(shape) => Ok(Side::floor_of(&host, programs, shape.clone())),
        }
    };
    let mut sides = [
        floor(&bench.floor)?,
        floor(&bench.floor_static)?,
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

fn figures(verb: Verb, sides: &[Series; 4]) -> Row {
    let figure = |side: usize| Some(Figure::of(&verb(&sides[side])));
    Row {
        floor: figure(FLOOR),
        floor_static: figure(FLOOR_STATIC),
        ours: figure(OURS),
        reference: figure(REFERENCE),
        ..Row::default()
    }
}
