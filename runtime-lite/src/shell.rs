//! Completions and man pages, made from the command line's own definition.
//! Packagers call `wharf completions SHELL` and `wharf man DIR`.
//! It must never say anything that `--help` does not say.

use std::fs;
use std::path::Path;

use clap::CommandFactory;
use clap_complete::Shell;

use crate::cli::Cli;
use crate::error::{Error, Result};
use crate::output;

/// Prints the completion script of a shell.
pub(crate) fn completions(shell: Shell) {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "wharf", &mut script);
    output::print(&String::from_utf8_lossy(&script));
}

/// Writes `wharf.1` and a page for each command that is not hidden.
pub(crate) fn man(dir: &Path) -> Result<()> {
    fs::create_dir_all(dir).map_err(Error::file("create", dir))?;
    let mut command = Cli::command().disable_help_subcommand(true);
    command.build();
    page(dir, &command, "wharf")
}

fn page(dir: &Path, command: &clap::Command, name: &str) -> Result<()> {
    let path = dir.join(format!("{name}.1"));
    let mut text = Vec::new();
    clap_mangen::Man::new(command.clone())
        .render(&mut text)
        .map_err(Error::file("compose", &path))?;
    fs::write(&path, text).map_err(Error::file("write", &path))?;
    for inner in command
        .get_subcommands()
        .filter(|inner| !inner.is_hide_set())
    {
        page(dir, inner, &format!("{name}-{}", inner.get_name()))?;
    }
    Ok(())
}
