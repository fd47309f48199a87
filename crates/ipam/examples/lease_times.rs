//! Fills a lease directory and times the allocator's verbs on it, in this process and without exec.
//! Run by whoever changes the store: `cargo run --release --example lease_times -- [LEASES] [DIRECTORY]`.
//! Must never be pointed at a directory with leases that matter: it fills it.

#![expect(clippy::print_stdout, reason = "its figures are its purpose")]

use std::error::Error;
use std::fs;
use std::net::Ipv4Addr;
use std::path::Path;
use std::time::{Duration, Instant};

use wharfline_ipam::lease::Owner;
use wharfline_ipam::store::Site;
use wharfline_ipam::{config, host_local};
use wharfline_spec::cni::{Args, Attachment, NetConf};
use wharfline_spec::{ContainerId, IfName};

const ROUNDS: usize = 200;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let leases: u32 = arguments.next().map_or(Ok(65_000), |n| n.parse())?;
    let directory = arguments
        .next()
        .unwrap_or_else(|| "/tmp/lease_times".to_owned());
    let directory = Path::new(&directory);
    fill(&directory.join("leases/full"), leases)?;
    let conf = format!(
        r#"{{"cniVersion": "1.1.0", "name": "full", "type": "x", "ipam": {{"type": "host-local",
            "dataDir": "{}/leases", "ranges": [[{{"subnet": "10.1.0.0/16"}}]]}}}}"#,
        directory.display()
    );
    let conf = NetConf::parse(conf.as_bytes())?;
    let site = Site {
        index: directory.join("index"),
        ..Site::default()
    };
    let owner = |n: usize| -> Result<Owner, Box<dyn Error>> {
        Ok(Owner::new(
            &ContainerId::new(&format!("new{n}"))?,
            &IfName::new("eth0")?,
        ))
    };
    let start = Instant::now();
    host_local::add(&site, &conf, &Args::default(), &owner(ROUNDS)?)?;
    println!(
        "{leases} leases; the first ADD reads them all: {:?}",
        start.elapsed()
    );
    let mut times: [Vec<Duration>; 5] = Default::default();
    let place = config::place(&conf)?;
    let mut valid = vec![attachment(&format!("new{ROUNDS}"))?];
    for n in 0..leases {
        valid.push(attachment(&format!("{n:064x}"))?);
    }
    for round in 0..ROUNDS {
        let owner = owner(round)?;
        let stranger = Owner::new(&ContainerId::new("stranger")?, &IfName::new("eth0")?);
        times[0].push(timed(|| {
            host_local::add(&site, &conf, &Args::default(), &owner).map(drop)
        })?);
        times[1].push(timed(|| host_local::check(&site, &conf, &owner))?);
        times[2].push(timed(|| host_local::del(&site, &conf, &stranger))?);
        if round % 2 == 0 {
            times[3].push(timed(|| host_local::del(&site, &conf, &owner))?);
        } else {
            times[4].push(timed(|| host_local::gc(&site, &place, &valid).map(drop))?);
        }
    }
    for (name, mut times) in [
        "allocate",
        "check",
        "release unknown",
        "release",
        "gc of one",
    ]
    .into_iter()
    .zip(times)
    {
        times.sort_unstable();
        println!(
            "{name:16} median {:?}, worst {:?}",
            times[times.len() / 2],
            times[times.len() - 1]
        );
    }
    Ok(())
}

fn attachment(container: &str) -> Result<Attachment, Box<dyn Error>> {
    Ok(Attachment {
        container: ContainerId::new(container)?,
        ifname: IfName::new("eth0")?,
    })
}

/// Writes leases as the reference does, from 10.1.0.2 on without a gap: the free ones lie together.
fn fill(folder: &Path, leases: u32) -> Result<(), Box<dyn Error>> {
    fs::create_dir_all(folder)?;
    let first = Ipv4Addr::new(10, 1, 0, 2).to_bits();
    for n in 0..leases {
        let lease = folder.join(Ipv4Addr::from_bits(first + n).to_string());
        fs::write(lease, format!("{n:064x}\r\neth0"))?;
    }
    fs::write(folder.join("last_reserved_ip.0"), "10.1.0.1")?;
    Ok(())
}

fn timed(
    verb: impl FnOnce() -> Result<(), wharfline_ipam::Error>,
) -> Result<Duration, Box<dyn Error>> {
    let start = Instant::now();
    verb()?;
    Ok(start.elapsed())
}
