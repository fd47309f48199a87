//! The command line for people: what the server is asked for, without one, and what this host can do.
//! `main` calls it for every word but `serve` and `work`.
//! It must never do anything to a root that a server has: the lock of the root sees to that.

use std::io::{self, Read, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};
use clap_complete::Shell;
use wharfline_docker::{Gone, Protocol, VolumeProtocol};
use wharfline_spec::docker::volume::Event;

use crate::doctor;
use crate::driver::Volumes;
use crate::options::KEYS;

/// Where volumes are unless said.
pub(crate) const DEFAULT_ROOT: &str = "/var/lib/wharfline/volume-local";

const EXAMPLES: &str = "\
Examples:
  volume-local serve                               Docker's volume driver wharf-volume (volume-local serve --help)
  volume-local serve --root /srv/volumes           the same on another disk
  volume-local doctor                              what this host's file systems can do
  echo '{}' | volume-local call /VolumeDriver.List one call, while no server runs

People make and look at volumes by `wharf volume` and `docker volume`, which ask the server.";

/// Volumes with limits, snapshots and clones, on this host's file systems.
#[derive(Debug, Parser)]
#[command(name = "volume-local", version, after_help = EXAMPLES)]
struct Cli {
    #[command(subcommand)]
    word: Word,
}

#[derive(Debug, Subcommand)]
enum Word {
    /// Serve Docker's plugin protocol until SIGTERM
    #[command(disable_help_flag = true)]
    Serve,
    /// Do one call of the protocol without a server: its body from standard input, the answer to standard output
    Call {
        /// `/VolumeDriver.NAME` or `/Wharfline.Volume.NAME`
        path: String,
        /// Where volumes are
        #[arg(long, default_value = DEFAULT_ROOT)]
        root: PathBuf,
    },
    /// List the options of a volume (-o KEY=VALUE)
    Options,
    /// Say what this host can do, and what is missing
    Doctor {
        /// Where volumes are
        #[arg(long, default_value = DEFAULT_ROOT)]
        root: PathBuf,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Print completions for a shell
    Completions {
        /// The shell
        shell: Shell,
    },
    /// Print the man page
    Man,
}

/// Does what the command line says; 0 on success, 1 where it failed, 2 for a wrong command line.
pub(crate) fn main() -> ExitCode {
    match Cli::parse().word {
        Word::Serve => ExitCode::from(2),
        Word::Call { path, root } => match call(&path, &root) {
            Ok(()) => ExitCode::SUCCESS,
            Err(problem) => {
                // Nobody is left to tell that stderr is closed.
                let _ = writeln!(io::stderr(), "volume-local: {problem}");
                ExitCode::FAILURE
            }
        },
        Word::Options => {
            let line = |(key, meaning): &(&str, &str)| format!("{key:<12} {meaning}\n");
            print(KEYS.iter().map(line).collect::<String>().as_bytes())
        }
        Word::Doctor { root, json } => doctor::main(&root, json),
        Word::Completions { shell } => {
            let mut text = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "volume-local", &mut text);
            print(&text)
        }
        Word::Man => {
            let mut text = Vec::new();
            // Writing to memory cannot fail.
            let _ = clap_mangen::Man::new(Cli::command()).render(&mut text);
            print(&text)
        }
    }
}

pub(crate) fn print(text: &[u8]) -> ExitCode {
    match io::stdout().write_all(text) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

/// What was left half done is settled first, as at a server's start.
fn call(path: &str, root: &std::path::Path) -> Result<(), String> {
    let mut body = Vec::new();
    io::stdin()
        .read_to_end(&mut body)
        .map_err(|e| format!("read standard input: {e}"))?;
    let volumes = Volumes::open(root).map_err(|e| e.to_string())?;
    volumes.clear();
    volumes.sweep();
    let protocol = VolumeProtocol(volumes);
    let mut out = |line: Vec<u8>| io::stdout().write_all(&line).map_err(|_| Gone);
    let answered = match protocol.work(path) {
        Some(work) => work(&body, &mut out),
        None => protocol.call(path, &body),
    };
    let answer = answered.map_err(|refusal| refusal.to_string())?;
    let failed = match serde_json::from_slice(&answer) {
        Ok(Event::Failed(why)) => Err(why),
        _ => Ok(()),
    };
    out(answer).map_err(|Gone| "standard output is closed".to_owned())?;
    failed
}
