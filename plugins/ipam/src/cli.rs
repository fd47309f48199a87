//! The commands of `host-local` for people: look at leases, free one, keep one back.
//! Called by `main` when there are arguments.
//! Must never be reached by a runtime, which gives none.

mod table;

use std::io::{self, Write};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use wharfline_ipam::Error;
use wharfline_ipam::address::Addr;
use wharfline_ipam::operator::{self, Entry};
use wharfline_ipam::store::{DEFAULT_DATA_DIR, Lease, Place, Site};
use wharfline_ipam::uninstall::{take_away, traces};
use wharfline_spec::{ContainerId, NetworkName};

const EXAMPLES: &str = "\
Examples:
  host-local ls                            every lease of every network
  host-local ls --network pods --json      those of one network, for programs
  host-local show 10.1.0.7                 who has an address
  host-local show 4f0c9d21                 what a container has (the start of its id is enough)
  host-local reserve pods 10.1.0.250       keep an address from containers
  host-local release pods 10.1.0.250       free an address, whoever has it
  host-local release pods 4f0c9d21ab       free all addresses of a container (its whole id)

  host-local serve                         Docker's IPAM driver (host-local serve --help)

Without arguments this is a CNI plugin: a runtime calls it with CNI_COMMAND set and a network
configuration on standard input.";

/// Addresses that containers have, in the files of the CNI plugin host-local.
#[derive(Debug, Parser)]
#[command(name = "host-local", version, after_help = EXAMPLES)]
struct Cli {
    #[command(subcommand)]
    word: Word,
}

#[derive(Debug, Subcommand)]
enum Word {
    #[command(flatten)]
    Lease(Command),
    /// Remove what networks without leases left: locks, cursors, folders
    Uninstall {
        /// Only say what would be removed
        #[arg(long)]
        dry_run: bool,
        /// The key `dataDir` of the network configuration
        #[arg(long, default_value = DEFAULT_DATA_DIR)]
        data_dir: PathBuf,
    },
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List leases
    Ls {
        /// Only those of this network
        #[arg(long)]
        network: Option<NetworkName>,
        #[command(flatten)]
        common: Common,
    },
    /// Show the leases of an address or of a container
    Show {
        /// An address, or the start of a container's id
        #[arg(value_name = "ADDRESS|CONTAINER")]
        what: String,
        #[command(flatten)]
        common: Common,
    },
    /// Free an address, or all addresses of a container
    Release {
        /// The network
        network: NetworkName,
        /// An address, or a container's whole id
        #[arg(value_name = "ADDRESS|CONTAINER")]
        what: String,
        #[command(flatten)]
        common: Common,
    },
    /// Keep an address from being given to containers
    Reserve {
        /// The network
        network: NetworkName,
        /// The address
        address: IpAddr,
        #[command(flatten)]
        common: Common,
    },
}

#[derive(Debug, Args)]
struct Common {
    /// The key `dataDir` of the network configuration
    #[arg(long, default_value = DEFAULT_DATA_DIR)]
    data_dir: PathBuf,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Common {
    fn place(&self, network: &NetworkName) -> Place {
        let (data_dir, network) = (self.data_dir.clone(), network.clone());
        Place {
            data_dir,
            network,
            cooldown: Duration::ZERO,
        }
    }
}

/// Parses the command line, does what it says and prints what came of it. The status is 0 on success,
/// 1 when there was nothing to show or free, 2 for a wrong command line or a failure.
pub(crate) fn main() -> ExitCode {
    let command = match Cli::parse().word {
        Word::Lease(command) => command,
        Word::Uninstall { dry_run, data_dir } => return uninstall(&data_dir, dry_run),
    };
    let (entries, common) = match run(&command) {
        Ok(done) => done,
        Err(error) => {
            // Nobody is left to tell that stderr is closed.
            let _ = writeln!(io::stderr(), "host-local: {error}");
            return ExitCode::from(2);
        }
    };
    let text = if common.json {
        table::json(&entries)
    } else {
        table::table(&entries)
    };
    let printed = io::stdout().write_all(text.as_bytes());
    let is_listing = matches!(command, Command::Ls { .. });
    match printed {
        Ok(()) if is_listing || !entries.is_empty() => ExitCode::SUCCESS,
        Ok(()) => ExitCode::from(1),
        Err(_) => ExitCode::from(2),
    }
}

/// Prints a line for each thing that goes, or would.
fn uninstall(data_dir: &Path, dry_run: bool) -> ExitCode {
    let site = Site::default();
    let remove = || -> Result<(), Error> {
        for trace in traces(&site, data_dir)? {
            if !dry_run {
                take_away(&site, &trace)?;
            }
            // A closed pipe is the reader's choice.
            let _ = writeln!(io::stdout(), "{}", trace.display());
        }
        Ok(())
    };
    match remove() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "host-local: {error}");
            ExitCode::from(2)
        }
    }
}

fn run(command: &Command) -> Result<(Vec<Entry>, &Common), Error> {
    match command {
        Command::Ls { network, common } => {
            let mut entries = operator::list(&common.data_dir)?;
            entries.retain(|entry| {
                network
                    .as_ref()
                    .is_none_or(|wanted| *wanted == entry.network)
            });
            Ok((entries, common))
        }
        Command::Show { what, common } => {
            let mut entries = operator::list(&common.data_dir)?;
            entries.retain(|entry| is_meant(entry, what));
            Ok((entries, common))
        }
        Command::Release {
            network,
            what,
            common,
        } => {
            let freed = release(&common.place(network), what)?;
            Ok((
                freed
                    .into_iter()
                    .map(|lease| entry(network, lease))
                    .collect(),
                common,
            ))
        }
        Command::Reserve {
            network,
            address,
            common,
        } => {
            let addr = Addr::from(*address);
            operator::reserve(&Site::default(), &common.place(network), addr)?;
            let mut entries = operator::list(&common.data_dir)?;
            entries.retain(|entry| entry.network == *network && entry.addr == addr);
            Ok((entries, common))
        }
    }
}

fn is_meant(entry: &Entry, what: &str) -> bool {
    match what.parse::<IpAddr>() {
        Ok(ip) => entry.addr == Addr::from(ip),
        Err(_) => entry
            .holder
            .as_ref()
            .is_some_and(|holder| holder.container().starts_with(what)),
    }
}

fn release(place: &Place, what: &str) -> Result<Vec<Lease>, Error> {
    let site = Site::default();
    if let Ok(ip) = what.parse::<IpAddr>() {
        return operator::release_address(&site, place, Addr::from(ip));
    }
    // What is no container id has no address.
    ContainerId::new(what).map_or(Ok(Vec::new()), |id| {
        operator::release_container(&site, place, &id)
    })
}

fn entry(network: &NetworkName, lease: Lease) -> Entry {
    Entry {
        network: network.clone(),
        addr: lease.addr,
        holder: Some(lease.holder),
        written: None,
    }
}
