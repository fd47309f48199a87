//! A plugin's binary called by hand: with arguments it is the operator's tool, not a plugin.
//! `main` of the interface and chained plugins falls through to it; `wharf uninstall` execs it.
//! It must never be reached on a container's way: runtimes pass no arguments.

use std::ffi::OsString;
use std::io::{self, Write};
use std::process::ExitCode;

use wharfline_core::error::Result;
use wharfline_core::session::Session;
use wharfline_core::uninstall::{take_away, traces};

/// Answers `uninstall [--dry-run]` and `--help`, in words; exit status 0, or 1 with the reason on stderr.
pub(crate) fn run(plugin: &str, arguments: &[OsString]) -> ExitCode {
    let words: Vec<&str> = arguments.iter().filter_map(|word| word.to_str()).collect();
    let answered = match words.as_slice() {
        ["uninstall"] => uninstall(false),
        ["uninstall", "--dry-run"] => uninstall(true),
        ["-h" | "--help"] => {
            say(&mut io::stdout(), &help(plugin));
            return ExitCode::SUCCESS;
        }
        _ => {
            say(&mut io::stderr(), &help(plugin));
            return ExitCode::FAILURE;
        }
    };
    match answered {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            say(
                &mut io::stderr(),
                &format!("{plugin}: uninstall: {failure}\n"),
            );
            ExitCode::FAILURE
        }
    }
}

/// One line for each thing that goes, or would.
fn uninstall(dry_run: bool) -> Result<()> {
    let session = Session::open()?;
    for trace in traces(&session)? {
        if !dry_run {
            take_away(&session, &trace)?;
        }
        say(&mut io::stdout(), &format!("{trace}\n"));
    }
    Ok(())
}

fn help(plugin: &str) -> String {
    format!(
        "{plugin}: a CNI plugin (Wharfline). Container runtimes call it without arguments, with CNI_COMMAND and the\n\
         other variables of the CNI specification set and the configuration on stdin.\n\n\
         By hand:\n  \
         {plugin} uninstall [--dry-run]   take away what stays on this host after the last container\n  \
         {plugin} --help                  this text\n\n\
         Example:\n  \
         {plugin} uninstall --dry-run\n"
    )
}

/// A closed pipe is the reader's choice.
fn say(to: &mut impl Write, text: &str) {
    let _ = to.write_all(text.as_bytes());
}
