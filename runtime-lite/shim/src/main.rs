//! `wharf-shim`: one small process per container, which makes it, starts it, waits for it and clears it away.
//! `wharf` starts it with a socket as stdin; nothing else should.
//! It must stay single-threaded (libcontainer clones without fork handlers) and never touch the network.

mod console;
mod course;
mod error;
mod exec;
mod groups;
mod health;
mod log;
mod payload;
mod program;
mod requests;
mod runtime;
mod session;
mod streams;
mod supervise;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use error::ShimError;

const USAGE: &str = "usage: wharf-shim run DIR SETTLER | wharf-shim exec DIR | wharf-shim delete DIR | wharf-shim limit DIR\n\
    wharf starts this program by itself; see `wharf run --help`.\n";

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let done = match words.as_slice() {
        ["run", dir, settler] => supervise::run(&PathBuf::from(dir), Path::new(settler)),
        ["exec", dir] => exec::serve(Path::new(dir)),
        ["delete", dir] => runtime::delete(Path::new(dir)),
        ["limit", dir] => groups::limit(Path::new(dir)),
        _ => {
            say(USAGE);
            return ExitCode::from(2);
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(cause) => {
            say(&format!("wharf-shim: {}\n", error::chain(&cause)));
            ExitCode::FAILURE
        }
    }
}

/// Writes to stderr, which `wharf` has pointed at the container's `shim.log`.
#[expect(clippy::print_stderr, reason = "the one place that writes the log")]
fn say(text: &str) {
    eprint!("{text}");
}

/// The result of everything that can fail here.
type Result<T> = std::result::Result<T, ShimError>;
