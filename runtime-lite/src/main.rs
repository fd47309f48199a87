//! `wharf`: the light runtime and operator's tool of Wharfline.
//! People and scripts call it; it calls CNI plugins and one `wharf-shim` per container.
//! It must never change the network itself: that is the plugins' work, by their own protocol.

mod accounts;
mod attach;
mod bundle;
mod capabilities;
mod cli;
mod commit;
mod connection;
mod container;
mod copy;
mod doctor;
mod error;
mod etc;
mod events;
mod exec;
mod format;
mod freezer;
mod gateway;
mod gc;
mod health;
mod home;
mod image;
mod inspect;
mod limits;
mod logs;
mod mounts;
mod names;
mod netns;
mod network;
mod output;
mod plugin;
mod ports;
mod ps;
mod remove;
mod restore;
mod root;
mod run;
mod sealed;
mod seccomp;
mod session;
mod settle;
mod shell;
mod shim;
mod signals;
mod start;
mod stop;
mod turn;
mod ulimits;
mod uninstall;
mod units;
mod update;
mod usage;
mod volume;
mod wish;

use std::process::ExitCode;

use clap::Parser;

use cli::{Cli, Command, CreateNetwork, Network};
use error::{Error, Result};
use home::Home;

fn main() -> ExitCode {
    let Cli { places, command } = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return wrong_use(&error),
    };
    let home = Home::new(
        places.run_dir,
        places.lib_dir,
        places.conf_dir,
        places.plugin_dir,
    );
    match dispatch(&home, command) {
        Ok(code) => code,
        Err((error, code)) => {
            output::fail(&error.chain());
            code
        }
    }
}

/// Help and version on stdout with success; a wrong use on stderr with 2, or 125 where the status is a container's.
fn wrong_use(error: &clap::Error) -> ExitCode {
    let _ = error.print();
    let word = std::env::args().nth(1).unwrap_or_default();
    let runs = matches!(word.as_str(), "run" | "create" | "exec");
    match (error.use_stderr(), runs) {
        (false, _) => ExitCode::SUCCESS,
        (true, true) => ExitCode::from(125),
        (true, false) => ExitCode::from(2),
    }
}

/// Commands whose exit status is a container's say by 125, 126 and 127 that there is none.
fn dispatch(home: &Home, command: Command) -> std::result::Result<ExitCode, (Error, ExitCode)> {
    let of_container = match command {
        Command::Run(wanted) => run::run(home, *wanted),
        Command::Start(wanted) => start::start(home, &wanted),
        Command::Exec(wanted) => exec::exec(home, &wanted),
        Command::Attach(wanted) => exec::attach(home, &wanted),
        other => {
            let done = plain(home, other).map(|()| ExitCode::SUCCESS);
            return done.map_err(|error| (error, ExitCode::FAILURE));
        }
    };
    of_container.map_err(|error| {
        let code = error.run_exit_code();
        (error, code)
    })
}

fn plain(home: &Home, command: Command) -> Result<()> {
    match command {
        Command::Run(_) | Command::Start(_) | Command::Exec(_) | Command::Attach(_) => Ok(()),
        Command::Create(wanted) => run::create(home, *wanted),
        Command::Stop(wanted) => stop::stop(home, &wanted),
        Command::Restart(wanted) => stop::restart(home, &wanted),
        Command::Kill(wanted) => stop::kill(home, &wanted),
        Command::Rm(wanted) => remove::rm(home, &wanted),
        Command::Wait { containers } => stop::wait(home, &containers),
        Command::Ps(wanted) => ps::ps(home, &wanted),
        Command::Inspect(wanted) => inspect::inspect(home, &wanted),
        Command::Rename { container, name } => stop::rename(home, &container, &name),
        Command::Logs(wanted) => logs::logs(home, &wanted),
        Command::Port { container } => ps::port(home, &container),
        Command::Top(wanted) => usage::top(home, &wanted),
        Command::Stats(wanted) => usage::stats(home, &wanted),
        Command::Events(wanted) => events::events(home, &wanted),
        Command::Cp(wanted) => copy::cp(home, &wanted),
        Command::Commit(wanted) => commit::commit(home, &wanted),
        Command::Update(wanted) => update::update(home, &wanted),
        Command::Restore => restore::restore(home),
        Command::Volume(command) => volume::command::run(home, command),
        Command::Network(command) => network_command(home, command),
        Command::Image(command) => image::run(home, command),
        Command::Gc(wanted) => gc::gc(home, &wanted),
        Command::Doctor(wanted) => doctor::examine(home, wanted.json),
        Command::Uninstall(wanted) => uninstall::uninstall(home, wanted.dry_run),
        Command::Settle { id } => settle::settle(home, &id),
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
        Network::Connect(wanted) => network::connect::connect(home, &wanted),
        Network::Disconnect { network, container } => {
            network::connect::disconnect(home, &network, &container)
        }
        Network::Status { network, output } => {
            network::probe::status(home, network.as_deref(), output.json)
        }
        Network::Check { container, output } => {
            network::probe::check(home, container.as_deref(), output.json)
        }
    }
}

fn create(home: &Home, wanted: CreateNetwork) -> Result<()> {
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
