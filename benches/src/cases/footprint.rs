//! What the binaries take: memory while they run, and room on the disk.
//! The memory is the most that was ever resident in a process, of all verbs, as the kernel counted it.
//! The binaries must be the ones that are shipped: static and stripped.

use std::fs;
use std::path::Path;

use serde_json::Value;

use super::Bench;
use crate::error::{Context, Result};
use crate::lab::Container;
use crate::report::{Figure, Row};
use crate::side::{bridge, call_by, portmap};

/// What the lease directory of the network holds beforehand, which costs host-local the most on its first call.
const LEASES: u32 = 65_000;

const BINARIES: [&str; 4] = ["bridge", "host-local", "portmap", "loopback"];

/// A row for the memory of each plugin, and one for the size of each binary.
pub(crate) fn all(bench: &Bench) -> Result<Vec<Row>> {
    let ours = peaks(bench, &bench.ours)?;
    let reference = peaks(bench, &bench.reference)?;
    let mut rows = Vec::new();
    for ((plugin, ours), reference) in BINARIES.into_iter().zip(ours).zip(reference) {
        rows.push(row(
            &format!("memory of {plugin}"),
            (ours, Some(reference)),
            ("at most 6 MB", 6.0),
        ));
    }
    for binary in BINARIES.into_iter().chain(["wharf", "wharf-shim"]) {
        if let Ok(ours) = size(&bench.ours.join(binary)) {
            let reference = size(&bench.reference.join(binary)).ok();
            rows.push(row(
                &format!("size of {binary}"),
                (ours, reference),
                ("at most 4 MB", 4.0),
            ));
        }
    }
    Ok(rows)
}

fn row(case: &str, figures: (f64, Option<f64>), target: (&'static str, f64)) -> Row {
    let (ours, reference) = figures;
    Row {
        case: case.to_owned(),
        ours: Some(Figure::number(ours, "MB")),
        reference: reference.map(|value| Figure::number(value, "MB")),
        measured: format!("{ours:.2} MB"),
        target: target.0,
        met: Some(ours <= target.1),
        ..Row::default()
    }
}

fn size(path: &Path) -> Result<f64> {
    let file = fs::metadata(path).context(|| format!("look at {}", path.display()))?;
    Ok(file.len() as f64 / 1e6)
}

/// Megabytes of each plugin, in the order of `BINARIES`.
fn peaks(bench: &Bench, directory: &Path) -> Result<[f64; 4]> {
    bench.lab.host()?.enter()?;
    let container = bench.lab.container()?;
    let mut loopback = bridge(false);
    loopback["type"] = "loopback".into();
    let mut leases = bridge(false);
    leases["type"] = "host-local".into();
    leases["name"] = "full".into();
    let folder = Path::new("/run/footprint").join(directory.file_name().unwrap_or_default());
    super::leases::fill(&folder.join("full"), bench.size(LEASES, 2000))?;
    leases["ipam"]["dataDir"] = folder.display().to_string().into();
    leases["ipam"]["ranges"][0][0]["subnet"] = "10.1.0.0/16".into();
    let mut published = portmap(10_000, 206);
    let result = peak(bench, directory, &bridge(true), ("ADD", &container))?;
    published["prevResult"] = result.1;
    let mut all = [result.0, 0.0, 0.0, 0.0];
    let rest = [
        (1, &leases, "ADD"),
        (1, &leases, "DEL"),
        (2, &published, "ADD"),
        (2, &published, "DEL"),
        (3, &loopback, "ADD"),
        (3, &loopback, "DEL"),
        (0, &bridge(true), "DEL"),
    ];
    for (place, config, verb) in rest {
        let (peak, _) = peak(bench, directory, config, (verb, &container))?;
        all[place] = all[place].max(peak);
    }
    Ok(all)
}

/// Megabytes of one call, and what it answered.
fn peak(
    bench: &Bench,
    directory: &Path,
    config: &Value,
    call: (&str, &Container),
) -> Result<(f64, Value)> {
    const TOLD: &str = "/run/bench-peak";
    let job = call_by((&bench.peak, TOLD), directory, config, call)?;
    let (_, output) = job.prepare(0, config.to_string().as_bytes())?.run()?;
    let told = fs::read_to_string(TOLD).context(|| format!("read {TOLD}"))?;
    let kilobytes: f64 = told.trim().parse().context(|| format!("read {TOLD}"))?;
    let answer = serde_json::from_str(&output).unwrap_or_default();
    Ok((kilobytes * 1024.0 / 1e6, answer))
}
