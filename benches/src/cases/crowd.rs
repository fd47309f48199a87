//! One more container where there are many: endpoints on the network, or published ports on the host.
//! The floor runs in the same state, on the same host and bridge, since the kernel itself gets slower there.
//! What counts is the growth of the difference between ours and the floor, never a ratio.

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::Bench;
use super::rounds::{Series, Turn, run};
use crate::error::{Context, Result};
use crate::lab::Host;
use crate::report::{Figure, Row};
use crate::side::{BRIDGE, Side, bridge, portmap};
use crate::stats::{median, ms};

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
    settle(&full)?;
    let containers = bench.lab.containers(sides.len())?;
    let turns = sides.iter_mut().zip(&containers);
    let mut turns: Vec<_> = turns
        .map(|(side, container)| Turn { side, container })
        .collect();
    let series = run(bench.size(150, 15), &mut turns)?;
    let walls = series.iter().map(Series::add_walls).collect::<Vec<_>>();
    let processor = series.iter().map(processor_of_add).collect::<Vec<_>>();
    let (wall, processor) = (Growth::of(&walls), Growth::of(&processor));
    Ok(vec![Row {
        case: crowd.case,
        floor: Some(Figure::of(&series[2].add())),
        ours: Some(Figure::of(&series[3].add())),
        measured: format!(
            "{:+.2} ms: {:.2} above the floor, {:.2} where it is empty; processor time {:+.2} ({:.2}, {:.2})",
            wall.growth(),
            wall.full,
            wall.empty,
            processor.growth(),
            processor.full,
            processor.empty,
        ),
        target: "at most 0.3 ms more above the floor than where it is empty",
        met: Some(wall.growth() <= 0.3),
        ..Row::default()
    }])
}

/// By how much ours is above the floor, by medians, in milliseconds.
struct Growth {
    empty: f64,
    full: f64,
}

impl Growth {
    /// Of the four sides: floor and ours on the empty host, floor and ours on the full one.
    fn of(sides: &[Vec<f64>]) -> Growth {
        let above = |floor: usize| median(&sides[floor + 1]) - median(&sides[floor]);
        Growth {
            empty: above(0),
            full: above(2),
        }
    }

    fn growth(&self) -> f64 {
        self.full - self.empty
    }
}

fn processor_of_add(series: &Series) -> Vec<f64> {
    let times = series.add();
    times.iter().map(|cost| ms(cost.processor)).collect()
}

/// Lets a bridge come to rest: new endpoints talk (duplicate address detection, router solicitations), and each of
/// their packets is flooded to all others. Whoever is timed meanwhile pays for it.
fn settle(host: &Host) -> Result<()> {
    const QUIET: u64 = 20;
    const DEADLINE: Duration = Duration::from_secs(60);
    host.enter()?;
    let start = Instant::now();
    let mut before = packets()?;
    while start.elapsed() < DEADLINE {
        thread::park_timeout(Duration::from_secs(1));
        let now = packets()?;
        if now - before < QUIET {
            break;
        }
        before = now;
    }
    Ok(())
}

/// What the bridge of the host entered last has received and sent.
fn packets() -> Result<u64> {
    const RECEIVED: usize = 1;
    const SENT: usize = 9;
    let links = fs::read_to_string("/proc/thread-self/net/dev")
        .context(|| "read the packets of a bridge".to_owned())?;
    let line = links.lines().find_map(|line| {
        let (name, counters) = line.split_once(':')?;
        (name.trim() == BRIDGE).then_some(counters)
    });
    let line = line.context(|| format!("find {BRIDGE}"))?;
    let count = |place| line.split_whitespace().nth(place)?.parse::<u64>().ok();
    let counters = count(RECEIVED).zip(count(SENT));
    let (received, sent) = counters.context(|| format!("read the packets of {BRIDGE}"))?;
    Ok(received + sent)
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
