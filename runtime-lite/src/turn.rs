//! wharf's turn-taking: attaching and detaching go on side by side, cleaning up only while nobody does either.
//! `run`, `remove` and `gc` take a turn (CNI SPEC 1.1.0, GC: no ADD or DEL may be in progress).
//! It must never be held while a container runs.

use std::fs::{self, File};
use std::io;

use crate::error::{Error, Result};
use crate::home::Home;

/// Held until dropped. It is an flock(2): a killed process gives it back.
#[derive(Debug)]
pub(crate) struct Turn {
    _file: File,
}

/// For an ADD or a DEL.
pub(crate) fn shared(home: &Home) -> Result<Turn> {
    take(home, File::lock_shared)
}

/// For a survey and what follows from it.
pub(crate) fn exclusive(home: &Home) -> Result<Turn> {
    take(home, File::lock)
}

fn take(home: &Home, lock: fn(&File) -> io::Result<()>) -> Result<Turn> {
    let path = home.run().join("turn.lock");
    fs::create_dir_all(home.run()).map_err(Error::file("create", home.run()))?;
    let file = File::options().create(true).append(true).open(&path);
    let file = file.map_err(Error::file("open", &path))?;
    lock(&file).map_err(Error::file("lock", &path))?;
    Ok(Turn { _file: file })
}
