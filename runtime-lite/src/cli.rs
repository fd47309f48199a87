//! The command line: words, options, help.
//! `main` parses it and calls the command; `shell` makes completions and man pages from it.
//! It must never decide anything: what is asked becomes a request as it stands.

mod container;
mod network;
mod observe;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

pub(crate) use container::{
    Attach, Commit, Connection, Container, Create, Exec, Files, Health, Kill, Rm, Run, Start, Stop,
    Update, Usage,
};
pub(crate) use network::{Connect, Create as CreateNetwork, Network};
pub(crate) use observe::{Cp, Events, Inspect, Logs, Ps, Stats, Top};

use crate::home;

/// Runs containers whose networks are made by CNI plugins, and looks after what those plugins keep.
#[derive(Debug, Parser)]
#[command(
    name = "wharf",
    version,
    about = "Runs containers whose networks are made by CNI plugins, and looks after what those plugins keep.",
    after_help = "Examples:\n  \
        wharf run --rm -p 8080:80 ./rootfs httpd -f -h /www\n  \
        wharf network create web --subnet 10.1.2.0/24\n  \
        wharf network inspect web\n  \
        wharf gc --dry-run"
)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) places: Places,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Where wharf looks and keeps.
#[derive(Debug, Args)]
pub(crate) struct Places {
    /// Run-time state: containers and results.
    #[arg(long, global = true, hide = true, env = "WHARF_RUN_DIR", default_value = home::RUN_DIR, hide_env_values = true)]
    pub(crate) run_dir: PathBuf,
    /// Lasting state: networks.
    #[arg(long, global = true, hide = true, env = "WHARF_LIB_DIR", default_value = home::LIB_DIR, hide_env_values = true)]
    pub(crate) lib_dir: PathBuf,
    /// Other runtimes' network configurations.
    #[arg(long, global = true, env = "WHARF_CONF_DIR", default_value = home::CONF_DIR, hide_env_values = true)]
    pub(crate) conf_dir: PathBuf,
    /// Folders with plugins, in the order of search [default: wharf's own, /opt/cni/bin, /usr/libexec/wharfline, /usr/libexec/cni, /usr/lib/cni].
    #[arg(
        long,
        global = true,
        env = "CNI_PATH",
        value_delimiter = ':',
        hide_env_values = true
    )]
    pub(crate) plugin_dir: Vec<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run a command in a new container.
    Run(Box<Run>),
    /// Make a container without starting it.
    Create(Box<Create>),
    /// Start containers that do not run.
    Start(Start),
    /// Ask containers to end, and kill those that don't.
    Stop(Stop),
    /// Stop containers and start them again.
    Restart(Stop),
    /// Send containers a signal.
    Kill(Kill),
    /// Remove containers.
    Rm(Rm),
    /// Wait for containers to end, and print their exit statuses.
    Wait { containers: Vec<String> },
    /// List containers.
    Ps(Ps),
    /// Show all about containers, as JSON.
    Inspect(Inspect),
    /// Give a container another name.
    Rename { container: String, name: String },
    /// Run a further command in a running container.
    Exec(Exec),
    /// Show what a container writes, and type into it.
    Attach(Attach),
    /// Show what a container wrote.
    Logs(Logs),
    /// Show the published ports of a container.
    Port { container: String },
    /// Show the processes of a container.
    Top(Top),
    /// Show what containers use.
    Stats(Stats),
    /// Show what happens to containers.
    Events(Events),
    /// Copy files between a container and the host.
    Cp(Cp),
    /// Make an image of what a container has written.
    Commit(Commit),
    /// Change containers' limits and restart policies.
    Update(Update),
    /// Start the containers that a reboot or a crash ended, by their restart policies.
    Restore,
    /// Make, show and remove volumes.
    Volume(Volumes),
    /// Make, show, test and remove networks.
    #[command(subcommand, visible_alias = "net")]
    Network(Network),
    /// Import, show, remove and export images.
    #[command(subcommand)]
    Image(crate::image::Command),
    /// Clean up what dead containers left, wharf's own and other runtimes'.
    Gc(Gc),
    /// Say what is missing or in the way on this host, and what to do about it.
    Doctor(Json),
    /// Remove everything that wharf and the plugins keep on this host.
    Uninstall(Uninstall),
    /// Put a container away that has ended.
    #[command(hide = true)]
    Settle { id: String },
    /// Print completions for a shell.
    #[command(hide = true)]
    Completions { shell: clap_complete::Shell },
    /// Write man pages into a folder.
    #[command(hide = true)]
    Man { dir: PathBuf },
}

/// An output for scripts.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct Json {
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

/// `wharf volume`.
#[derive(Debug, Args)]
#[command(after_help = "\
    Snapshots and what follows them, volumes have that the driver wharf-volume keeps (`volume-local serve`). wharf finds its\n\
    socket as Docker does; --socket names another, and then create, ls, inspect and rm are that driver's, too.\n\n\
    Examples:\n  \
    wharf volume create -d wharf-volume -o size=10G data\n  \
    wharf volume snapshot data before-upgrade\n  \
    wharf volume rollback data before-upgrade\n  \
    wharf volume ls -d wharf-volume")]
pub(crate) struct Volumes {
    /// The driver's socket [default: that of the volume's driver, else of wharf-volume].
    #[arg(long, global = true, value_name = "PATH")]
    pub(crate) socket: Option<PathBuf>,
    #[command(subcommand)]
    pub(crate) word: Volume,
}

/// What is done to volumes.
#[derive(Debug, Subcommand)]
pub(crate) enum Volume {
    /// Make a volume.
    #[command(after_help = "Examples:\n  \
        wharf volume create data\n  \
        wharf volume create --driver nfs -o share=server:/export data")]
    Create {
        /// Its name [default: a random one].
        name: Option<String>,
        /// Who keeps it, by Docker's volume protocol; `local` is a folder of wharf's [default: $WHARF_VOLUME_DRIVER, else local].
        #[arg(short, long)]
        driver: Option<String>,
        /// What the driver is told; can be repeated.
        #[arg(short, long, value_name = "KEY=VALUE")]
        opt: Vec<String>,
    },
    /// List volumes, and the containers that mount them.
    Ls {
        /// All that this driver has instead, also for others than wharf.
        #[arg(short, long)]
        driver: Option<String>,
        #[command(flatten)]
        output: Json,
    },
    /// Show all about volumes, as JSON.
    Inspect {
        #[arg(required = true)]
        volumes: Vec<String>,
        /// Print this, with {{.Path.Of.Keys}} replaced.
        #[arg(short, long)]
        format: Option<String>,
    },
    /// Remove volumes that no container mounts, with all that is in them.
    Rm {
        #[arg(required = true)]
        volumes: Vec<String>,
    },
    #[command(flatten)]
    Operation(VolumeOperation),
}

/// What the driver wharf-volume does beyond Docker's protocol.
#[derive(Debug, Subcommand)]
pub(crate) enum VolumeOperation {
    /// Remove volumes of the driver that nobody uses.
    Prune {
        /// label=KEY[=VALUE], label!=KEY, backend=NAME, name=PREFIX, until=AGE (24h, 7d); all of them must hold.
        #[arg(long, value_name = "KEY=VALUE")]
        filter: Vec<String>,
        /// Only say which.
        #[arg(long)]
        dry_run: bool,
    },
    /// Give a volume that nobody uses another name.
    Rename { volume: String, new: String },
    /// Let more go into a volume, also while it is used; it never shrinks.
    Resize {
        volume: String,
        /// 20G, 512MiB.
        size: String,
    },
    /// Keep what a volume has now under a name.
    Snapshot {
        volume: String,
        name: String,
        /// Copy files one by one while somebody writes them, where there is no other way.
        #[arg(long)]
        live: bool,
    },
    /// List a volume's snapshots.
    Snapshots {
        volume: String,
        #[command(flatten)]
        output: Json,
    },
    /// Remove a snapshot.
    RmSnapshot { volume: String, name: String },
    /// Have a volume again as a snapshot has it; what was written since is lost.
    Rollback { volume: String, name: String },
    /// Make a volume of what another has now, or of a snapshot (VOLUME@SNAPSHOT).
    Clone {
        volume: String,
        new: String,
        /// Copy files one by one while somebody writes them, where there is no other way.
        #[arg(long)]
        live: bool,
    },
    /// Write a volume's files as a tar archive.
    Export {
        volume: String,
        /// Where to; - is standard output.
        #[arg(short, long, default_value = "-", value_name = "FILE")]
        output: String,
        /// Also while somebody writes them.
        #[arg(long)]
        live: bool,
    },
    /// Make a volume of a tar archive.
    Import {
        /// - is standard input.
        file: String,
        new: String,
        /// What the driver is told; can be repeated.
        #[arg(short, long, value_name = "KEY=VALUE")]
        opt: Vec<String>,
    },
    /// Move a volume to another host by ssh; what interrupts it, the same command goes on after.
    Migrate(Box<crate::volume::Migrate>),
    /// The other side of `migrate`, which ssh starts there: makes a volume of standard input.
    Receive,
    #[command(flatten)]
    Backups(crate::volume::BackupOperation),
}

/// `wharf gc`.
#[derive(Debug, Args)]
#[command(after_help = "\
    Valid are: running containers of wharf, attachments in other runtimes' result caches whose network namespace\n\
    exists, and the plugins' own records whose namespace lives. What can be proved dead is detached (DEL), and each\n\
    network's plugins collect the rest (GC). What can't be proved is listed and left, unless --force is given.")]
pub(crate) struct Gc {
    /// Only say what would be done.
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Also remove what can't be proved dead.
    #[arg(long)]
    pub(crate) force: bool,
    #[command(flatten)]
    pub(crate) output: Json,
}

/// `wharf uninstall`.
#[derive(Debug, Args)]
#[command(
    after_help = "Removes wharf's networks and state, and what the plugins keep on the host for all containers:\n\
    bridges, nft tables, changed settings, locks. Refuses while containers of wharf run. Binaries stay."
)]
pub(crate) struct Uninstall {
    /// Only say what would be done.
    #[arg(long)]
    pub(crate) dry_run: bool,
}
