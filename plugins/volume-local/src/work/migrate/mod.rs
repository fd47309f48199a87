//! A volume on its way to another host. One side walks its tree and sends frames, the other one lays them and notes how far
//! it is; both know the same checksum in the end. `child` runs them for `operate/migrate.rs`, a process each.
//! It must never call a volume whole that was not read back and compared.

mod frame;
mod lay;
mod receive;
mod send;
mod walk;

use std::ffi::CStr;
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;
use wharfline_spec::docker::migration::MIGRATION;

use crate::error::{Error, Result};

pub(super) use receive::receive;
pub(super) use send::send;

/// What is sent, but not compared.
const LABEL: &CStr = c"security.selinux";
/// Most bytes of a line.
const LONGEST_LINE: usize = 1 << 20;

/// Opens the pipes of whoever asked.
///
/// # Errors
/// He is gone.
pub(super) fn open(input: &Path, output: &Path) -> Result<(File, File)> {
    let reader = File::open(input).map_err(Error::file("open", input))?;
    let writer = OpenOptions::new().write(true).open(output);
    Ok((reader, writer.map_err(Error::file("open", output))?))
}

fn say(to: &mut impl Write, what: &impl Serialize) -> std::io::Result<()> {
    let mut line = serde_json::to_vec(what)?;
    line.push(b'\n');
    to.write_all(&line)?;
    to.flush()
}

/// Reads a line and not a byte more; none where the other side is gone.
fn hear<T: DeserializeOwned>(from: &mut impl Read) -> Result<Option<T>> {
    let mut line = Vec::new();
    let mut byte = [0];
    while line.len() < LONGEST_LINE {
        match from.read(&mut byte) {
            Ok(0) => return Ok(None),
            Ok(_) if byte == *b"\n" => return understood(&line).map(Some),
            Ok(_) => line.push(byte[0]),
            Err(cause) if cause.kind() == std::io::ErrorKind::Interrupted => {}
            Err(cause) => return Err(Error::Work(format!("read from the other side: {cause}"))),
        }
    }
    understood(&line).map(Some)
}

fn understood<T: DeserializeOwned>(line: &[u8]) -> Result<T> {
    serde_json::from_slice(line).map_err(|_| {
        let told: String = String::from_utf8_lossy(line).chars().take(200).collect();
        Error::Work(format!(
            "the other side says {told:?}, which is not of version {MIGRATION} of a migration: something there writes to \
             standard output (a shell's start-up file?), or wharf there is of another age"
        ))
    })
}
