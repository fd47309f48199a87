//! host-local where 65,000 addresses of a /16 are leased and the free ones lie together at its end.
//! Its verbs as whole processes beside the reference's, and ours in process too, as the bridge plugin calls them.
//! While it runs nothing else may write to the lease directory: an index that was overtaken is another case.

use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::time::Instant;

use serde_json::{Value, json};
use wharfline_ipam::host_local;
use wharfline_ipam::lease::Owner;
use wharfline_ipam::store::Site;
use wharfline_spec::cni::{Args, NetConf};
use wharfline_spec::{ContainerId, IfName};

use super::Bench;
use crate::error::{Context, Result};
use crate::lab::Container;
use crate::process::Cost;
use crate::report::{Figure, Row, walls};
use crate::side::call;
use crate::stats::{median, ms, p95};

const LEASES: u32 = 65_000;

/// What is timed, in this order, with what it is called.
const VERBS: [&str; 4] = ["allocate", "check", "release of an unknown id", "release"];

/// Wall time of each verb: a series for each of `VERBS`.
type Times = [Vec<Cost>; 4];

/// Times the verbs.
pub(crate) fn full(bench: &Bench) -> Result<Vec<Row>> {
    let leases = bench.size(LEASES, 2000);
    let conf = |directory: &str| -> Result<Value> {
        let folder = PathBuf::from("/run/leases").join(directory);
        fill(&folder.join("full"), leases)?;
        Ok(configuration(&folder))
    };
    let container = bench.lab.container()?;
    let ours = processes(&bench.ours, &conf("ours")?, &container, bench.size(200, 20))?;
    let theirs = conf("reference")?;
    let reference = processes(&bench.reference, &theirs, &container, bench.size(3, 2))?;
    let inside = in_process(&conf("inside")?, bench.size(700, 50))?;
    let row = |verb: usize| {
        let whole = walls(&ours[verb]);
        Row {
            case: format!("host-local at {leases} leases: {}", VERBS[verb]),
            ours: Some(Figure::of(&ours[verb])),
            reference: Some(Figure::of(&reference[verb])),
            measured: format!(
                "{:.2} ms the whole process; {:.3} in process (95 of 100 within {:.3})",
                median(&whole),
                median(&inside[verb]),
                p95(&inside[verb]),
            ),
            target: "at most 1 ms",
            met: Some(median(&whole).max(median(&inside[verb])) <= 1.0),
            ..Row::default()
        }
    };
    Ok((0..VERBS.len()).map(row).collect())
}

/// Writes leases as the reference does, without a gap from the first address on.
pub(super) fn fill(folder: &Path, leases: u32) -> Result<()> {
    fs::create_dir_all(folder).context(|| format!("create {}", folder.display()))?;
    let first = Ipv4Addr::new(10, 1, 0, 2).to_bits();
    let write = |name: String, content: String| {
        let path = folder.join(name);
        fs::write(&path, content).context(|| format!("write {}", path.display()))
    };
    for number in 0..leases {
        let address = Ipv4Addr::from_bits(first + number).to_string();
        write(address, format!("lease{number:059}\r\neth0"))?;
    }
    write("last_reserved_ip.0".to_owned(), "10.1.0.1".to_owned())
}

fn configuration(folder: &Path) -> Value {
    json!({
        "cniVersion": "1.0.0",
        "name": "full",
        "type": "host-local",
        "ipam": {
            "type": "host-local",
            "dataDir": folder,
            "ranges": [[{"subnet": "10.1.0.0/16"}]],
        },
    })
}

/// The verbs as processes. The first ADD, in which ours reads all leases, is not counted.
fn processes(
    directory: &Path,
    config: &Value,
    container: &Container,
    rounds: usize,
) -> Result<Times> {
    let mut times = Times::default();
    let input = config.to_string();
    for round in 0..=rounds {
        let named = |name: String| Container {
            name,
            netns: container.netns.clone(),
            number: container.number,
        };
        let (new, unknown) = (named(format!("new{round}")), named("unknown".to_owned()));
        let calls = [
            ("ADD", &new),
            ("CHECK", &new),
            ("DEL", &unknown),
            ("DEL", &new),
        ];
        for ((verb, container), series) in calls.into_iter().zip(&mut times) {
            let job = call(directory, config, verb, container)?;
            let (cost, _) = job.prepare(0, input.as_bytes())?.run()?;
            if round > 0 {
                series.push(cost);
            }
        }
    }
    Ok(times)
}

/// The same without a process, in milliseconds.
fn in_process(config: &Value, rounds: usize) -> Result<[Vec<f64>; 4]> {
    let conf = NetConf::parse(config.to_string().as_bytes())
        .map_err(|error| format!("parse {config}: {}", error.msg))?;
    let site = Site {
        index: "/run/leases/index".into(),
        ..Site::default()
    };
    let mut times: [Vec<f64>; 4] = Default::default();
    let unknown = owner("unknown".to_owned())?;
    for round in 0..=rounds {
        let new = owner(format!("new{round}"))?;
        let took = [
            timed(|| host_local::add(&site, &conf, &Args::default(), &new).map(drop))?,
            timed(|| host_local::check(&site, &conf, &new))?,
            timed(|| host_local::del(&site, &conf, &unknown))?,
            timed(|| host_local::del(&site, &conf, &new))?,
        ];
        if round > 0 {
            for (series, time) in times.iter_mut().zip(took) {
                series.push(time);
            }
        }
    }
    Ok(times)
}

fn owner(container: String) -> Result<Owner> {
    let id = ContainerId::new(&container).context(|| container.clone())?;
    let ifname = IfName::new("eth0").context(|| "eth0".to_owned())?;
    Ok(Owner::new(&id, &ifname))
}

fn timed(verb: impl FnOnce() -> std::result::Result<(), wharfline_ipam::Error>) -> Result<f64> {
    let start = Instant::now();
    verb().context(|| "host-local in process".to_owned())?;
    Ok(ms(start.elapsed()))
}
