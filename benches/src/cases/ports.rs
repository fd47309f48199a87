//! Many ports for one container, on a host that has published thousands.
//! The time is that of the plugin portmap alone: its process, from start to end.
//! The reference is left out: its 5,000 rules alone would take it minutes.

use super::Bench;
use super::rounds::{Turn, run};
use crate::error::Result;
use crate::report::{Figure, Row, walls};
use crate::side::{Side, bridge, portmap};
use crate::stats::{median, p95};

/// Published before: so many containers with so many ports each.
const PRESENT: (u16, u16) = (10, 500);

/// Published for one container.
const PORTS: u16 = 206;

/// Publishes them and takes them back, in several rounds.
pub(crate) fn many_of_one(bench: &Bench) -> Result<Vec<Row>> {
    let mut side = Side::chain(&bench.lab.host()?, &bench.ours, Vec::new());
    let (containers, each) = PRESENT;
    for number in 0..containers {
        side.configure(vec![bridge(true), portmap(10_000 + number * each, each)]);
        side.add(&bench.lab.container()?)?;
    }
    side.configure(vec![bridge(true), portmap(2000, PORTS)]);
    let container = bench.lab.container()?;
    let turn = Turn {
        side: &mut side,
        container: &container,
    };
    let series = run(bench.size(60, 8), &mut [turn])?;
    let adds = series[0].add_of(1);
    let p50 = median(&walls(&adds));
    Ok(vec![Row {
        case: format!(
            "{PORTS} ports of one container, {} mappings present",
            containers * each
        ),
        ours: Some(Figure::of(&adds)),
        measured: format!(
            "{p50:.2} ms, 95 of 100 within {:.2}; taken back in {:.2}",
            p95(&walls(&adds)),
            median(&walls(&series[0].del_of(0))),
        ),
        target: "at most 10 ms",
        met: Some(p50 <= 10.0),
        ..Row::default()
    }])
}
