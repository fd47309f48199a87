//! The commands that show containers, and `cp`: words, options, help.
//! `cli` has them among its commands.
//! It must never decide anything: what is asked becomes a request as it stands.

use clap::Args;

/// `wharf ps`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    wharf ps -a --filter label=tier=web\n  \
    wharf ps --format '{{.ID}} {{.Names}}'")]
pub(crate) struct Ps {
    /// Also those that don't run.
    #[arg(short, long)]
    pub(crate) all: bool,
    /// Ids only.
    #[arg(short, long)]
    pub(crate) quiet: bool,
    /// Ids in full.
    #[arg(long)]
    pub(crate) no_trunc: bool,
    /// Only those of which this is true; can be repeated.
    #[arg(short, long, value_name = "name=N|status=S|label=K[=V]|network=N|id=I")]
    pub(crate) filter: Vec<String>,
    /// Print this for each, with {{.Field}} replaced; `json` for a line of JSON each.
    #[arg(long)]
    pub(crate) format: Option<String>,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

/// `wharf inspect`.
#[derive(Debug, Args)]
pub(crate) struct Inspect {
    #[arg(required = true)]
    pub(crate) containers: Vec<String>,
    /// Print this, with {{.Path.Of.Keys}} replaced.
    #[arg(short, long)]
    pub(crate) format: Option<String>,
}

/// `wharf logs`.
#[derive(Debug, Args)]
pub(crate) struct Logs {
    pub(crate) container: String,
    /// Go on until the container ends.
    #[arg(short, long)]
    pub(crate) follow: bool,
    /// Only what is younger: a time (2026-11-22T01:30:00Z), or how long ago (90s, 10m, 2h).
    #[arg(long)]
    pub(crate) since: Option<String>,
    /// Only what is older.
    #[arg(long)]
    pub(crate) until: Option<String>,
    /// So many lines from the end.
    #[arg(short = 'n', long, value_name = "LINES|all", default_value = "all")]
    pub(crate) tail: String,
    /// Begin each line with its time.
    #[arg(short, long)]
    pub(crate) timestamps: bool,
}

/// `wharf top`.
#[derive(Debug, Args)]
pub(crate) struct Top {
    pub(crate) container: String,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

/// `wharf stats`.
#[derive(Debug, Args)]
pub(crate) struct Stats {
    pub(crate) containers: Vec<String>,
    /// Once, and not every second.
    #[arg(long)]
    pub(crate) no_stream: bool,
    /// Print this for each, with {{.Field}} replaced; `json` for a line of JSON each.
    #[arg(long)]
    pub(crate) format: Option<String>,
}

/// `wharf events`.
#[derive(Debug, Args)]
pub(crate) struct Events {
    /// Also what has happened since: a time, or how long ago (90s, 10m, 2h).
    #[arg(long)]
    pub(crate) since: Option<String>,
    /// End then; a time that has passed prints what there is, and ends.
    #[arg(long)]
    pub(crate) until: Option<String>,
    /// Only those of which this is true; can be repeated.
    #[arg(short, long, value_name = "container=C|event=E")]
    pub(crate) filter: Vec<String>,
    /// Print a line of JSON each.
    #[arg(long)]
    pub(crate) json: bool,
}

/// `wharf cp`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    wharf cp web:/etc/nginx/nginx.conf .\n  \
    wharf cp ./site web:/www\n\n\
    Symbolic links in the container never lead out of it.")]
pub(crate) struct Cp {
    /// CONTAINER:PATH, or a path on the host.
    pub(crate) from: String,
    /// CONTAINER:PATH, or a path on the host.
    pub(crate) to: String,
}
