//! What wharf and the plugins keep: whether it can be written, and what of it is about the dead.
//! `doctor` shows it.
//! It must never clean up: `wharf gc` does, by the same survey.

use std::path::Path;

use nix::unistd::{AccessFlags, access};

use super::Finding;
use crate::gc;
use crate::home::Home;

/// The findings.
pub(super) fn all(home: &Home) -> Vec<Finding> {
    let mut findings: Vec<Finding> = [home.run(), home.lib()].into_iter().map(writable).collect();
    findings.extend(dead(home));
    findings
}

fn writable(folder: &Path) -> Finding {
    let object = format!("state in {}", folder.display());
    // What is not there yet is made below the nearest folder that is.
    let nearest = folder.ancestors().find(|folder| folder.is_dir());
    let nearest = nearest.unwrap_or(Path::new("/"));
    match access(nearest, AccessFlags::W_OK | AccessFlags::X_OK) {
        Ok(()) => Finding::fine(object, "can be written"),
        Err(errno) => Finding::problem(
            object,
            format!("{} cannot be written: {errno}", nearest.display()),
            "run as root, on a file system that is mounted read-write",
        ),
    }
}

fn dead(home: &Home) -> Vec<Finding> {
    match gc::dead(home) {
        Ok(dead) if dead.is_empty() => vec![Finding::fine("leftovers", "none")],
        Ok(dead) => {
            let one = |what: String| Finding::problem("leftover", what, "wharf gc");
            dead.into_iter().map(one).collect()
        }
        Err(error) => vec![Finding::problem("leftovers", error.chain(), "run as root")],
    }
}
