//! Benchmarks of the plugins beside the reference plugins and the kernel's own floor, all in one run.
//! `./bench` builds and runs it; docs/benchmarks.md explains the figures.
//! It must never run in the machine's own namespaces: the first thing it does is to leave them.

#![expect(clippy::print_stdout, reason = "its table is its purpose")]
#![expect(clippy::print_stderr, reason = "progress, beside the table")]

mod cases;
mod error;
mod lab;
mod process;
mod report;
mod side;
mod stats;

use std::path::PathBuf;
use std::process::ExitCode;

use crate::cases::{Bench, Case};
use crate::error::{Context, Result};
use crate::lab::Lab;
use crate::side::Floor;

const USAGE: &str = "usage: bench [--quick] [--json] [CASE]...   (see docs/benchmarks.md)";

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    let (mut quick, mut as_json, mut wanted) = (false, false, Vec::new());
    for word in std::env::args().skip(1) {
        match word.as_str() {
            "--quick" => quick = true,
            "--json" => as_json = true,
            name => {
                wanted.push(Case::named(name).ok_or_else(|| {
                    format!("no case {name}; there are {}\n{USAGE}", Case::names())
                })?)
            }
        }
    }
    if wanted.is_empty() {
        wanted = Case::ALL.to_vec();
    }
    let bench = bench(quick)?;
    let load = load();
    let mut rows = Vec::new();
    for case in wanted {
        eprintln!("{case:?}; load {} ...", self::load());
        rows.extend(case.run(&bench)?);
    }
    if as_json {
        println!("{:#}", report::json(&rows));
    } else {
        println!("{}", report::table(&rows));
        println!("Times in ms: median, and in brackets the processor time of the processes.");
        println!(
            "Load average {load} at the start, {} at the end.",
            self::load()
        );
    }
    Ok(())
}

/// What `./bench` tells by the environment, and the lab.
fn bench(quick: bool) -> Result<Bench> {
    let told = |name| {
        let value = std::env::var_os(name).map(PathBuf::from);
        value.context(|| format!("{name} (set by ./bench)"))
    };
    let floors = told("WHARFLINE_FLOORS")?;
    let floor = |suffix| Floor {
        folder: floors.clone(),
        suffix,
    };
    Ok(Bench {
        ours: told("WHARFLINE_BIN_DIR")?,
        reference: "/usr/lib/cni".into(),
        floor: floor(""),
        floor_static: floor("-static"),
        peak: floors.join("peak"),
        quick,
        lab: Lab::enter()?,
    })
}

fn load() -> String {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split_whitespace().next().unwrap_or("?").to_owned()
}
