//! The command line: words, options, help.
//! `main` parses it and calls the command; `shell` makes completions and man pages from it.
//! It must never decide anything: what is asked becomes a request as it stands.

use std::net::IpAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use wharfline_spec::{IfName, NetworkName};

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
    Run(Run),
    /// List containers.
    Ps(Json),
    /// Make, show, test and remove networks.
    #[command(subcommand, visible_alias = "net")]
    Network(Network),
    /// Import, list, remove and export images.
    #[command(subcommand)]
    Image(crate::image::Command),
    /// Clean up what dead containers left, wharf's own and other runtimes'.
    Gc(Gc),
    /// Remove everything that wharf and the plugins keep on this host.
    Uninstall(Uninstall),
    /// Remove a container that nobody looks after any more.
    #[command(hide = true)]
    RemoveDead { id: String },
    /// Print completions for a shell.
    #[command(hide = true)]
    Completions { shell: clap_complete::Shell },
    /// Write man pages into a folder.
    #[command(hide = true)]
    Man { dir: PathBuf },
}

/// `wharf run`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    wharf run --rm ./rootfs echo hello\n  \
    wharf run --rm --network none ./rootfs ip address\n  \
    wharf run --rm --network web --name www -p 127.0.0.1:8080:80 ./rootfs httpd -f -h /www\n\n\
    The exit status is the command's; 128 plus the signal's number if a signal ended it; 127 if there is no\n\
    such command, 126 if it can't be executed, 125 if wharf failed.")]
pub(crate) struct Run {
    /// Remove the container when it ends (the only kind there is so far).
    #[arg(long)]
    pub(crate) rm: bool,
    /// Keep stdin open for the command.
    #[arg(short, long)]
    pub(crate) interactive: bool,
    /// A name to find the container by.
    #[arg(long)]
    pub(crate) name: Option<String>,
    /// A network, `none` (loopback only) or `host` (the host's own) [default: the network `wharf`, made at need].
    #[arg(long, value_name = "NAME|none|host")]
    pub(crate) network: Option<String>,
    /// Publish a port of the container on the host; can be repeated.
    #[arg(short, long, value_name = "[IP:]HOST:CONTAINER[/PROTO]")]
    pub(crate) publish: Vec<String>,
    /// A folder with the container's root filesystem; what the container writes is written there.
    pub(crate) rootfs: PathBuf,
    /// The command and its arguments.
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    pub(crate) command: Vec<String>,
}

/// An output for scripts.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct Json {
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Network {
    /// Make a network: a bridge with addresses, masquerading and published ports.
    Create(Box<Create>),
    /// List networks: wharf's own and those in the configuration folder.
    Ls(Json),
    /// Show a network and who is connected to it.
    Inspect {
        network: String,
        #[command(flatten)]
        output: Json,
    },
    /// Remove a network that wharf made.
    Rm { network: String },
    /// Ask the plugins whether a network (or each) can take containers: STATUS.
    Status {
        network: Option<String>,
        #[command(flatten)]
        output: Json,
    },
    /// Ask the plugins whether a running container's (or each one's) interfaces are as they were made: CHECK.
    Check {
        container: Option<String>,
        #[command(flatten)]
        output: Json,
    },
}

/// `wharf network create`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    wharf network create web\n  \
    wharf network create lan --subnet 10.1.2.0/24 --subnet fd00:1::/64 --gateway 10.1.2.254\n  \
    wharf network create db --internal\n  \
    wharf network create --from my.conflist\n\n\
    Without --subnet the first free /24 of 10.90.0.0/16 is taken. The plugins make the network with its first container.")]
pub(crate) struct Create {
    /// Its name.
    #[arg(required_unless_present = "from")]
    pub(crate) name: Option<NetworkName>,
    /// Addresses of the network; one per family, or more.
    #[arg(long, value_name = "ADDRESS/PREFIX")]
    pub(crate) subnet: Vec<String>,
    /// The bridge's address in a subnet [default: the first].
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) gateway: Vec<IpAddr>,
    /// Give the network an IPv6 subnet as well (unique local, random).
    #[arg(long)]
    pub(crate) ipv6: bool,
    /// Name of the bridge [default: wl-NAME].
    #[arg(long, value_name = "INTERFACE")]
    pub(crate) bridge: Option<IfName>,
    /// The largest packet, in bytes [default: the uplink's].
    #[arg(long, value_name = "BYTES")]
    pub(crate) mtu: Option<u32>,
    /// No way out: neither default route nor masquerading.
    #[arg(long)]
    pub(crate) internal: bool,
    /// Containers reach the host and the world, but not each other.
    #[arg(long)]
    pub(crate) isolated: bool,
    /// Take over a CNI configuration list, of any plugins.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["name", "subnet", "gateway", "ipv6", "bridge", "mtu", "internal", "isolated"])]
    pub(crate) from: Option<PathBuf>,
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
