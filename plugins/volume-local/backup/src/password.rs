//! The password of a repository, and the places that it may come from.
//! The worker reads it before anything else; never from the command line, which everybody can read in /proc.
//! It must never be printed: its Debug says nothing, and no error quotes it.

use std::fmt;
use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::path::Path;

use crate::error::{Error, Result};

/// Longer than any that a person chose; protects from reading /dev/zero.
const LONGEST: u64 = 64 << 10;

/// A password that opens a repository's key.
#[derive(Clone)]
pub struct Password(String);

impl Password {
    /// Reads the first line of a file, as `restic --password-file` does.
    ///
    /// # Errors
    ///
    /// The file can't be read, is empty, or is not UTF-8.
    pub fn from_file(path: &Path) -> Result<Password> {
        let from = path.display().to_string();
        let file = File::open(path).map_err(|cause| unreadable(&from, cause))?;
        Password::read(file, from)
    }

    /// Reads the first line of what a descriptor gives until its end.
    ///
    /// # Errors
    ///
    /// As [`Password::from_file`].
    pub fn from_descriptor(descriptor: OwnedFd) -> Result<Password> {
        Password::read(File::from(descriptor), "its descriptor".to_owned())
    }

    /// Takes it from an environment variable.
    ///
    /// # Errors
    ///
    /// The variable is missing, empty, or not UTF-8.
    pub fn from_environment(variable: &str) -> Result<Password> {
        let value = std::env::var(variable);
        // VarError's own text may quote the value.
        let value = value.map_err(|_| refused(variable, "it is missing or no UTF-8"))?;
        Password::of(&value, variable)
    }

    /// Takes one that the caller has read.
    ///
    /// # Errors
    ///
    /// It is empty.
    pub fn new(text: &str) -> Result<Password> {
        Password::of(text, "what was handed over")
    }

    fn read(source: impl Read, from: String) -> Result<Password> {
        let mut text = String::new();
        let read = source.take(LONGEST).read_to_string(&mut text);
        read.map_err(|cause| unreadable(&from, cause))?;
        Password::of(text.lines().next().unwrap_or_default(), &from)
    }

    fn of(text: &str, from: &str) -> Result<Password> {
        match text {
            "" => Err(refused(from, "it is empty")),
            text => Ok(Password(text.to_owned())),
        }
    }

    pub(crate) fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password")
    }
}

fn unreadable(from: &str, cause: std::io::Error) -> Error {
    refused(from, &cause.to_string())
}

fn refused(from: &str, problem: &str) -> Error {
    Error::Password {
        from: from.to_owned(),
        problem: problem.to_owned(),
    }
}
