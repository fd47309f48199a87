//! `volume-local`: volumes for Docker, wharf and people, on this host's file systems.

mod arrivals;
mod backend;
mod cli;
mod doctor;
mod driver;
mod error;
mod held;
mod measured;
mod operate;
mod options;
mod program;
mod record;
mod root;
mod sweep;
mod users;
mod volume;
mod work;

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use wharfline_docker::{Arguments, Program, Protocol, VolumeProtocol};

use driver::Volumes;

/// Option of `serve`.
const ROOT: &str = "--root";

fn main() -> ExitCode {
    match std::env::args_os().nth(1) {
        Some(word) if word == "serve" => serve(),
        Some(word) if word == "work" => work::main(),
        _ => cli::main(),
    }
}

fn serve() -> ExitCode {
    let program = Program {
        name: "volume-local",
        plugin: "wharf-volume",
        options: &[(
            ROOT,
            "PATH       where volumes are; /var/lib/wharfline/volume-local unless said",
        )],
    };
    wharfline_docker::main(program, open)
}

fn open(arguments: &Arguments) -> Result<Arc<dyn Protocol>, String> {
    let root = arguments.values(ROOT).last().unwrap_or(cli::DEFAULT_ROOT);
    if !Path::new(root).is_absolute() {
        return Err(format!("{ROOT}: {root} is not absolute"));
    }
    let volumes = Volumes::open(Path::new(root)).map_err(|e| e.to_string())?;
    volumes.settle();
    Ok(Arc::new(VolumeProtocol(volumes)))
}
