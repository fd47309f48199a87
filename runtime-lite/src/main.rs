//! `wharf`: the light runtime and operator's tool of Wharfline.
//! People and scripts call it; it calls CNI plugins and one `wharf-shim` per container.
//! It must never change the network itself: that is the plugins' work, by their own protocol.

mod attach;
mod bundle;
mod capabilities;
mod cli;
mod clock;
mod container;
mod error;
mod etc;
mod gc;
mod home;
mod image;
mod names;
mod netns;
mod network;
mod output;
mod ports;
mod ps;
mod remove;
mod run;
mod seccomp;
mod shell;
mod shim;
mod turn;
mod uninstall;

use std::process::ExitCode;

use clap::Parser;
use serde_json::{Map, Value};
use wharfline_spec::IfName;
use wharfline_spec::cni::PortMapping;

use cli::{Cli, Command, Create, Network, Run};
use container::{Attachment, Mode};
use error::{Error, Result};
use home::Home;

fn main() -> ExitCode {
    let Cli { places, command } = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return usage(&error),
    };
    let home = Home::new(
        places.run_dir,
        places.lib_dir,
        places.conf_dir,
        places.plugin_dir,
    );
    if let Command::Run(wanted) = command {
        let ran = request(&home, wanted).and_then(|request| run::run(&home, request));
        return ran.unwrap_or_else(|error| {
            output::fail(&error.chain());
            error.run_exit_code()
        });
    }
    match dispatch(&home, command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            output::fail(&error.chain());
            ExitCode::FAILURE
        }
    }
}

/// Help and version on stdout with success; a wrong use on stderr with 2, or 125 for `run`, as with Docker.
fn usage(error: &clap::Error) -> ExitCode {
    let _ = error.print();
    let runs = std::env::args().nth(1).is_some_and(|word| word == "run");
    match (error.use_stderr(), runs) {
        (false, _) => ExitCode::SUCCESS,
        (true, true) => ExitCode::from(125),
        (true, false) => ExitCode::from(2),
    }
}

fn dispatch(home: &Home, command: Command) -> Result<()> {
    match command {
        Command::Run(_) => Ok(()),
        Command::Ps(output) => ps::ps(home, output.json),
        Command::Network(command) => network_command(home, command),
        Command::Image(command) => image::run(home, command),
        Command::Gc(wanted) => gc::gc(home, &wanted),
        Command::Uninstall(wanted) => uninstall::uninstall(home, wanted.dry_run),
        Command::RemoveDead { id } => remove::dead(home, &id),
        Command::Completions { shell } => {
            shell::completions(shell);
            Ok(())
        }
        Command::Man { dir } => shell::man(&dir),
    }
}

fn network_command(home: &Home, command: Network) -> Result<()> {
    match command {
        Network::Create(wanted) => create(home, *wanted),
        Network::Ls(output) => network::ls(home, output.json),
        Network::Inspect { network, output } => network::inspect::show(home, &network, output.json),
        Network::Rm { network } => network::remove::rm(home, &network),
        Network::Status { network, output } => {
            network::probe::status(home, network.as_deref(), output.json)
        }
        Network::Check { container, output } => {
            network::probe::check(home, container.as_deref(), output.json)
        }
    }
}

fn create(home: &Home, wanted: Create) -> Result<()> {
    let path = match (wanted.from, wanted.name) {
        (Some(file), _) => network::create_from(home, &file)?,
        (None, Some(name)) => {
            let mut wish = network::compose::Wish::named(name);
            for given in &wanted.subnet {
                wish.subnets.push(network::subnet::parse(given)?);
            }
            wish.gateways = wanted.gateway;
            wish.bridge = wanted.bridge;
            wish.mtu = wanted.mtu;
            wish.ipv6 = wanted.ipv6;
            wish.internal = wanted.internal;
            wish.isolated = wanted.isolated;
            network::create(home, &wish)?
        }
        // clap asks for the one or the other.
        (None, None) => return Ok(()),
    };
    output::print(&format!("{}\n", path.display()));
    Ok(())
}

/// What `wharf run` was asked, with its networks looked up and its ports read.
fn request(home: &Home, wanted: Run) -> Result<run::Request> {
    if !wanted.rm {
        return Err(Error::WithoutRemove);
    }
    let mode = match wanted.network.as_deref() {
        Some("none") => Mode::None,
        Some("host") => Mode::Host,
        _ => Mode::Networks,
    };
    let mut ports = Vec::new();
    for given in &wanted.publish {
        ports.extend(ports::parse(given)?);
    }
    let networks = match mode {
        Mode::None | Mode::Host if ports.is_empty() => Vec::new(),
        Mode::None => return Err(Error::PortWithoutNetwork { mode: "none" }),
        Mode::Host => return Err(Error::PortWithoutNetwork { mode: "host" }),
        Mode::Networks => {
            let known = match wanted.network.as_deref() {
                Some(name) => network::find(home, name)?,
                None => network::find_or_make_default(home)?,
            };
            let attachment = Attachment {
                network: known.list.name.clone(),
                ifname: IfName::new("eth0")?,
                capabilities: capabilities(&ports),
            };
            vec![(attachment, known.list)]
        }
    };
    let rootfs = rootfs(wanted.rootfs)?;
    Ok(run::Request {
        name: wanted.name,
        rootfs,
        command: wanted.command,
        mode,
        networks,
        interactive: wanted.interactive,
    })
}

fn capabilities(ports: &[PortMapping]) -> Map<String, Value> {
    let mut capabilities = Map::new();
    if !ports.is_empty() {
        let mappings = ports.iter().map(PortMapping::to_json).collect();
        capabilities.insert("portMappings".to_owned(), Value::Array(mappings));
    }
    capabilities
}

fn rootfs(given: std::path::PathBuf) -> Result<std::path::PathBuf> {
    let path = given
        .canonicalize()
        .map_err(Error::file("find the root filesystem", &given))?;
    let problem = match path.parent() {
        _ if !path.is_dir() => Some("is not a folder"),
        None => Some("is the host's own"),
        Some(_) => None,
    };
    match problem {
        Some(problem) => Err(Error::BadRootfs { path, problem }),
        None => Ok(path),
    }
}
