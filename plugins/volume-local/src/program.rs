//! The programs that make and tune file systems: mkfs.ext4, mkfs.xfs, mkfs.btrfs, btrfstune.
//! The loop backend calls them where a volume is made or cloned; nothing else is exec'd.
//! It must never look for one where others than root may write, nor hand it anything by a shell.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::error::{Error, Result};

const FOLDERS: [&str; 4] = ["/usr/sbin", "/sbin", "/usr/bin", "/bin"];

/// Where `name` is.
pub(crate) fn find(name: &str) -> Option<PathBuf> {
    let mut all = FOLDERS.iter().map(|folder| Path::new(folder).join(name));
    all.find(|path| path.exists())
}

/// Runs it to its end.
///
/// # Errors
/// It is not there, or failed: with its own words.
pub(crate) fn run(name: &str, arguments: &[&str]) -> Result<()> {
    run_with(name, arguments, &[0])
}

/// The same of a program that has several ways to say that it went well.
///
/// # Errors
/// As of [`run`].
pub(crate) fn run_with(name: &str, arguments: &[&str], well: &[i32]) -> Result<()> {
    let failed = |told: String| Error::Program {
        program: name.to_owned(),
        told,
    };
    let path = find(name).ok_or_else(|| failed("is not installed".to_owned()))?;
    let mut command = Command::new(path);
    command.args(arguments).env_clear().env("LC_ALL", "C");
    command.stdin(Stdio::null()).stdout(Stdio::null());
    wharfline_kernel::child::die_with_this_thread(&mut command);
    let output = command.output().map_err(|e| failed(e.to_string()))?;
    match output
        .status
        .code()
        .is_some_and(|code| well.contains(&code))
    {
        true => Ok(()),
        false => {
            let told = String::from_utf8_lossy(&output.stderr);
            let told: Vec<&str> = told
                .lines()
                .map(str::trim)
                .filter(|line| !line.is_empty())
                .take(4)
                .collect();
            Err(failed(told.join("; ")))
        }
    }
}
