//! Many containers at once: as many processes, started without waiting for any.
//! What is compared is the time from the first start to the last end.
//! Each side must have a host of its own; a single failure ends the run.

use super::Bench;
use crate::error::Result;
use crate::lab::Container;
use crate::process::Cost;
use crate::report::{Figure, Row, walls};
use crate::side::{Side, bridge};
use crate::stats::median_ratio;

/// So many at once.
const CROWD: usize = 200;

/// Attaches and detaches the crowd, in several rounds.
pub(crate) fn at_once(bench: &Bench) -> Result<Vec<Row>> {
    let (lab, network) = (&bench.lab, vec![bridge(false)]);
    let mut sides = [
        Side::floor(&lab.host()?, &bench.floor)?,
        Side::floor(&lab.host()?, &bench.floor_static)?,
        Side::chain(&lab.host()?, &bench.ours, network.clone()),
        Side::chain(&lab.host()?, &bench.reference, network),
    ];
    // The containers are empty again after each round, so the sides can share them.
    let containers = lab.containers(CROWD)?;
    let mut adds: [Vec<Cost>; 4] = Default::default();
    let mut dels: [Vec<Cost>; 4] = Default::default();
    for side in &mut sides {
        warm_up(side, &lab.container()?)?;
    }
    for round in 0..bench.size(9, 2) {
        for step in 0..sides.len() {
            let now = (round + step) % sides.len();
            adds[now].push(sides[now].add_at_once(&containers)?);
            dels[now].push(sides[now].del_at_once(&containers)?);
        }
    }
    Ok(vec![row("ADD", &adds), row("DEL", &dels)])
}

/// One container that stays, so that the bridge is there.
fn warm_up(side: &mut Side, container: &Container) -> Result<()> {
    side.add(container).map(drop)
}

fn row(verb: &str, [floor, floor_static, ours, reference]: &[Vec<Cost>; 4]) -> Row {
    let times = |of: &[Cost]| median_ratio(&walls(ours), &walls(of));
    let batches = times(floor);
    Row {
        case: format!("{CROWD} {verb}s at once, the whole batch"),
        floor: Some(Figure::of(floor)),
        floor_static: Some(Figure::of(floor_static)),
        ours: Some(Figure::of(ours)),
        reference: Some(Figure::of(reference)),
        measured: format!(
            "{batches:.2} batches of floors ({:.2} of static ones); no error; {:.1} times faster than the reference",
            times(floor_static),
            median_ratio(&walls(reference), &walls(ours)),
        ),
        target: "no error, at most 1.5 batches of floors",
        met: Some(batches <= 1.5),
    }
}
