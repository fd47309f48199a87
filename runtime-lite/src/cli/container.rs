//! The commands that make and change containers: words, options, help.
//! `cli` has them among its commands; `wish` makes a definition of a container's options.
//! It must never decide anything: what is asked becomes a request as it stands.

use std::net::IpAddr;
use std::path::PathBuf;

use clap::Args;

/// The options of a new container.
#[derive(Debug, Args)]
pub(crate) struct Container {
    /// A name to find the container by.
    #[arg(long)]
    pub(crate) name: Option<String>,
    /// Remove the container when it ends.
    #[arg(long)]
    pub(crate) rm: bool,
    /// Keep stdin open for the command.
    #[arg(short, long)]
    pub(crate) interactive: bool,
    /// Give the command a terminal.
    #[arg(short, long)]
    pub(crate) tty: bool,
    /// The container's name for itself [default: the beginning of its id].
    #[arg(long, value_name = "NAME")]
    pub(crate) hostname: Option<String>,
    /// Set a variable, or (without a value) pass on wharf's own; can be repeated.
    #[arg(short, long, value_name = "NAME[=VALUE]")]
    pub(crate) env: Vec<String>,
    /// Read variables from a file; can be repeated.
    #[arg(long, value_name = "FILE")]
    pub(crate) env_file: Vec<PathBuf>,
    /// Whom the command runs as.
    #[arg(short, long, value_name = "USER[:GROUP]")]
    pub(crate) user: Option<String>,
    /// Where the command begins.
    #[arg(short, long, value_name = "FOLDER")]
    pub(crate) workdir: Option<PathBuf>,
    /// What is run instead of the image's entrypoint; its arguments are the command's words.
    #[arg(long, value_name = "COMMAND")]
    pub(crate) entrypoint: Option<String>,
    /// A label; can be repeated.
    #[arg(short, long, value_name = "KEY[=VALUE]")]
    pub(crate) label: Vec<String>,
    /// When to start the container again after its end.
    #[arg(
        long,
        value_name = "no|always|unless-stopped|on-failure[:N]",
        default_value = "no"
    )]
    pub(crate) restart: String,
    /// The signal that asks the container to end [default: the image's, else SIGTERM].
    #[arg(long, value_name = "SIGNAL")]
    pub(crate) stop_signal: Option<String>,
    /// How long it then has, before it is killed [default: 10].
    #[arg(long, value_name = "SECONDS")]
    pub(crate) stop_timeout: Option<u64>,
    /// Another OCI runtime (runc, crun) to use.
    #[arg(long, value_name = "PATH")]
    pub(crate) runtime: Option<PathBuf>,
    #[command(flatten, next_help_heading = "Networks")]
    pub(crate) connection: Connection,
    #[command(flatten, next_help_heading = "Files")]
    pub(crate) files: Files,
    #[command(flatten, next_help_heading = "Limits")]
    pub(crate) limits: Limits,
    #[command(flatten, next_help_heading = "Health")]
    pub(crate) health: Health,
    /// An image of `wharf image ls`, by name or id; or a folder with a root filesystem, which begins with / or ./ or ../ and
    /// in which the container writes.
    pub(crate) image: String,
    /// The command and its arguments.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    pub(crate) command: Vec<String>,
}

/// How a container is connected.
#[derive(Debug, Args)]
pub(crate) struct Connection {
    /// A network, `none` (loopback only), `host` (the host's own), or `container:C` (that one's); networks can be repeated
    /// [default: the network `wharf`, made at need].
    #[arg(
        long,
        value_name = "NAME[:ip=..,mac=..,ifname=..,gw-priority=..]|none|host|container:C"
    )]
    pub(crate) network: Vec<String>,
    /// Publish a port of the container on the host; can be repeated.
    #[arg(short, long, value_name = "[IP:]HOST:CONTAINER[/PROTO]")]
    pub(crate) publish: Vec<String>,
    /// Publish all exposed ports, on free ports of the host.
    #[arg(short = 'P', long)]
    pub(crate) publish_all: bool,
    /// Expose a port; can be repeated.
    #[arg(long, value_name = "PORT[/PROTO]")]
    pub(crate) expose: Vec<String>,
    /// Know another container by its name (and by an alias); can be repeated.
    #[arg(long, value_name = "CONTAINER[:ALIAS]")]
    pub(crate) link: Vec<String>,
    /// A further line of /etc/hosts; can be repeated.
    #[arg(long, value_name = "NAME:ADDRESS")]
    pub(crate) add_host: Vec<String>,
    /// A name server, instead of the network's or the host's; can be repeated.
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) dns: Vec<IpAddr>,
}

/// What is mounted, and what can be written.
#[derive(Debug, Args)]
pub(crate) struct Files {
    /// The root filesystem can't be written.
    #[arg(long)]
    pub(crate) read_only: bool,
    /// Mount a folder or file of the host's, or a volume; can be repeated.
    #[arg(short, long, value_name = "[SOURCE:]TARGET[:ro|rro|nocopy]")]
    pub(crate) volume: Vec<String>,
    /// Who keeps the new volumes of -v, by Docker's volume protocol; `local` is a folder of wharf's
    /// [default: $WHARF_VOLUME_DRIVER, else local].
    #[arg(long, value_name = "NAME")]
    pub(crate) volume_driver: Option<String>,
    /// The same in words: type=bind (or volume, tmpfs),source=..,target=.. and perhaps readonly, volume-nocopy,
    /// volume-driver=.., volume-opt=KEY=VALUE; can be repeated.
    #[arg(long, value_name = "KEY=VALUE,..")]
    pub(crate) mount: Vec<String>,
    /// Mount memory; can be repeated.
    #[arg(long, value_name = "TARGET[:OPTIONS]")]
    pub(crate) tmpfs: Vec<String>,
    /// Mount what another container has mounted; can be repeated.
    #[arg(long, value_name = "CONTAINER[:ro]")]
    pub(crate) volumes_from: Vec<String>,
}

/// What a container may use and do.
#[derive(Debug, Args)]
pub(crate) struct Limits {
    #[command(flatten)]
    pub(crate) usage: Usage,
    /// A device of the host's; can be repeated.
    #[arg(long, value_name = "PATH[:TARGET][:rwm]")]
    pub(crate) device: Vec<String>,
    /// Add a capability, or ALL; can be repeated.
    #[arg(long, value_name = "CAPABILITY")]
    pub(crate) cap_add: Vec<String>,
    /// Take a capability away, or ALL; can be repeated.
    #[arg(long, value_name = "CAPABILITY")]
    pub(crate) cap_drop: Vec<String>,
    /// Let no program in the container gain privileges, by set-user-ID or otherwise.
    #[arg(long, value_name = "no-new-privileges")]
    pub(crate) security_opt: Vec<String>,
    /// A limit of each process (nofile=1024:4096; -1 is unlimited); can be repeated.
    #[arg(long, value_name = "NAME=SOFT[:HARD]")]
    pub(crate) ulimit: Vec<String>,
    /// How gladly the kernel kills it when memory runs out (-1000 to 1000).
    #[arg(long, value_name = "NUMBER", allow_hyphen_values = true)]
    pub(crate) oom_score_adj: Option<i32>,
}

/// What a container may use.
#[derive(Debug, Args)]
pub(crate) struct Usage {
    /// Memory (512m, 2g).
    #[arg(short, long, value_name = "BYTES")]
    pub(crate) memory: Option<String>,
    /// Processors (0.5, 2).
    #[arg(long, value_name = "NUMBER")]
    pub(crate) cpus: Option<String>,
    /// Processes and threads.
    #[arg(long, value_name = "NUMBER", visible_alias = "pids-limit")]
    pub(crate) pids: Option<i64>,
    /// Block devices: a weight of 10 to 1000, or a rate of a device in bytes or operations a second; can be repeated.
    #[arg(long, value_name = "weight=N|rbps=DEVICE:N|wbps=..|riops=..|wiops=..")]
    pub(crate) blkio: Vec<String>,
    /// The weight among the users of block devices (10 to 1000).
    #[arg(long, value_name = "N")]
    pub(crate) blkio_weight: Option<String>,
    /// Bytes a second that are read from a device; can be repeated.
    #[arg(long, value_name = "DEVICE:N")]
    pub(crate) device_read_bps: Vec<String>,
    /// Bytes a second that are written to a device; can be repeated.
    #[arg(long, value_name = "DEVICE:N")]
    pub(crate) device_write_bps: Vec<String>,
    /// Operations a second that read from a device; can be repeated.
    #[arg(long, value_name = "DEVICE:N")]
    pub(crate) device_read_iops: Vec<String>,
    /// Operations a second that write to a device; can be repeated.
    #[arg(long, value_name = "DEVICE:N")]
    pub(crate) device_write_iops: Vec<String>,
}

/// How a container is asked whether it is well.
#[derive(Debug, Default, Args)]
pub(crate) struct Health {
    /// A command that /bin/sh runs in the container; 0 is well [default: the image's].
    #[arg(long, value_name = "COMMAND")]
    pub(crate) health_cmd: Option<String>,
    /// From one probe to the next [default: the image's, else 30s].
    #[arg(long, value_name = "TIME")]
    pub(crate) health_interval: Option<String>,
    /// How long a probe may take [default: the image's, else 30s].
    #[arg(long, value_name = "TIME")]
    pub(crate) health_timeout: Option<String>,
    /// How long failures don't count after the start [default: the image's, else 0s].
    #[arg(long, value_name = "TIME")]
    pub(crate) health_start_period: Option<String>,
    /// So many failures in a row make it unhealthy [default: the image's, else 3].
    #[arg(long, value_name = "NUMBER")]
    pub(crate) health_retries: Option<u32>,
    /// Don't ask, whatever the image says.
    #[arg(long, conflicts_with = "health_cmd")]
    pub(crate) no_healthcheck: bool,
}

impl Health {
    /// Whether nothing is asked for.
    pub(crate) fn is_bare(&self) -> bool {
        let times = [
            &self.health_interval,
            &self.health_timeout,
            &self.health_start_period,
        ];
        times.iter().all(|time| time.is_none())
            && self.health_retries.is_none()
            && self.health_cmd.is_none()
    }
}

/// `wharf run`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    wharf run --rm busybox echo hello\n  \
    wharf run -it --network none --entrypoint sh team/app:1\n  \
    wharf run -d --network web --name www -p 127.0.0.1:8080:80 -v pages:/www busybox httpd -f -h /www\n  \
    wharf run --rm ./rootfs echo hello\n\n\
    The exit status is the command's; 128 plus the signal's number if a signal ended it; 127 if there is no\n\
    such command, 126 if it can't be executed, 125 if wharf failed.")]
pub(crate) struct Run {
    /// Print the container's id and leave it running.
    #[arg(short, long)]
    pub(crate) detach: bool,
    #[command(flatten)]
    pub(crate) container: Container,
}

/// `wharf create`.
#[derive(Debug, Args)]
pub(crate) struct Create {
    #[command(flatten)]
    pub(crate) container: Container,
}

/// `wharf start`.
#[derive(Debug, Args)]
pub(crate) struct Start {
    /// Show what it writes, pass signals on, and end as it ends.
    #[arg(short, long)]
    pub(crate) attach: bool,
    /// Feed it, too.
    #[arg(short, long)]
    pub(crate) interactive: bool,
    #[arg(required = true)]
    pub(crate) containers: Vec<String>,
}

/// `wharf stop` and `wharf restart`.
#[derive(Debug, Args)]
pub(crate) struct Stop {
    /// Kill it after so long [default: what the container was made with, else 10]; -1: never.
    #[arg(
        short,
        long = "time",
        visible_alias = "timeout",
        value_name = "SECONDS",
        allow_hyphen_values = true
    )]
    pub(crate) time: Option<i64>,
    /// The first signal [default: what the container was made with, else SIGTERM].
    #[arg(short, long)]
    pub(crate) signal: Option<String>,
    #[arg(required = true)]
    pub(crate) containers: Vec<String>,
}

/// `wharf kill`.
#[derive(Debug, Args)]
pub(crate) struct Kill {
    /// By name or number.
    #[arg(short, long, default_value = "SIGKILL")]
    pub(crate) signal: String,
    #[arg(required = true)]
    pub(crate) containers: Vec<String>,
}

/// `wharf rm`.
#[derive(Debug, Args)]
pub(crate) struct Rm {
    /// Kill it first if it runs; one that is not there is no error.
    #[arg(short, long)]
    pub(crate) force: bool,
    /// Also the volumes that have no name.
    #[arg(short, long)]
    pub(crate) volumes: bool,
    #[arg(required = true)]
    pub(crate) containers: Vec<String>,
}

/// `wharf exec`.
#[derive(Debug, Args)]
pub(crate) struct Exec {
    /// Leave it running.
    #[arg(short, long)]
    pub(crate) detach: bool,
    /// Let the command read wharf's stdin.
    #[arg(short, long)]
    pub(crate) interactive: bool,
    /// Give the command a terminal.
    #[arg(short, long)]
    pub(crate) tty: bool,
    /// Set a variable; can be repeated.
    #[arg(short, long, value_name = "NAME[=VALUE]")]
    pub(crate) env: Vec<String>,
    /// Whom the command runs as [default: as the container's].
    #[arg(short, long, value_name = "USER[:GROUP]")]
    pub(crate) user: Option<String>,
    /// Where the command begins [default: as the container's].
    #[arg(short, long, value_name = "FOLDER")]
    pub(crate) workdir: Option<PathBuf>,
    pub(crate) container: String,
    /// The command and its arguments.
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    pub(crate) command: Vec<String>,
}

/// `wharf attach`.
#[derive(Debug, Args)]
#[command(after_help = "With a terminal, ctrl-P ctrl-Q leaves the container running.")]
pub(crate) struct Attach {
    /// Don't feed it.
    #[arg(long)]
    pub(crate) no_stdin: bool,
    pub(crate) container: String,
}

/// `wharf commit`.
#[derive(Debug, Args)]
#[command(after_help = "\
    The image is the container's with one layer more: what was written, but not what is in volumes. Variables, command,\n\
    user, folder, labels and ports of the container's command line are the new image's; --change has the last word:\n\
    CMD, ENTRYPOINT, ENV, EXPOSE, LABEL, STOPSIGNAL, USER, VOLUME, WORKDIR, as in a Dockerfile.\n\n\
    Examples:\n  \
    wharf commit www team/www:2\n  \
    wharf commit -a 'Ada <ada@example.org>' -m 'with our pages' -c 'CMD [\"httpd\", \"-f\"]' -c 'EXPOSE 80' www team/www:2")]
pub(crate) struct Commit {
    /// An instruction that changes what containers of the image get; can be repeated.
    #[arg(short, long, value_name = "INSTRUCTION")]
    pub(crate) change: Vec<String>,
    /// Who made it.
    #[arg(short, long)]
    pub(crate) author: Option<String>,
    /// What was done.
    #[arg(short, long)]
    pub(crate) message: Option<String>,
    /// Hold the container still while its files are read.
    #[arg(short, long, value_name = "true|false", default_value_t = true, action = clap::ArgAction::Set,
        num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    pub(crate) pause: bool,
    pub(crate) container: String,
    /// The image's name.
    #[arg(value_name = "NAME[:TAG]")]
    pub(crate) image: String,
}

/// `wharf update`.
#[derive(Debug, Args)]
pub(crate) struct Update {
    #[command(flatten)]
    pub(crate) usage: Usage,
    /// When to start the container again after its end.
    #[arg(long, value_name = "no|always|unless-stopped|on-failure[:N]")]
    pub(crate) restart: Option<String>,
    #[arg(required = true)]
    pub(crate) containers: Vec<String>,
}
