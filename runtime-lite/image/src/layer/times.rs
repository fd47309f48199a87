//! The times of folders, noted while a layer is unpacked and set when nothing is made in them any more.
//! The unpacker keeps one; it is a file, for a layer may have a million folders with long names.
//! It must never outlive the unpacking.

use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, ErrorKind, Read, Seek, Write};
use std::path::Path;

use rustix::fs::OFlags;

use super::attributes::set_times;
use super::tree::Tree;
use crate::error::{Error, Result};
use crate::tar::Time;

/// The notes.
#[derive(Debug)]
pub(super) struct Folders(BufWriter<File>);

impl Folders {
    /// Begins notes in a file that has no name any more when this returns.
    pub(super) fn create(path: &Path) -> Result<Folders> {
        let failed = Error::file("create", path);
        let mut options = File::options();
        let file = options.read(true).write(true).create_new(true).open(path);
        let file = file.map_err(failed)?;
        fs::remove_file(path).map_err(Error::file("remove", path))?;
        Ok(Folders(BufWriter::new(file)))
    }

    pub(super) fn add(&mut self, path: &[u8], mtime: Time, atime: Time) -> Result<()> {
        let noted = self.write(path, mtime, atime);
        noted.map_err(Error::in_layer("note the time of", path))
    }

    fn write(&mut self, path: &[u8], mtime: Time, atime: Time) -> io::Result<()> {
        let length = u16::try_from(path.len()).map_err(io::Error::other)?;
        self.0.write_all(&length.to_le_bytes())?;
        self.0.write_all(path)?;
        for time in [mtime, atime] {
            self.0.write_all(&time.seconds.to_le_bytes())?;
            self.0.write_all(&time.nanoseconds.to_le_bytes())?;
        }
        Ok(())
    }

    /// Sets all of them, in the order of their noting.
    pub(super) fn set(&mut self, tree: &Tree) -> Result<()> {
        let failed = |cause| Error::in_layer("set the times of folders of", b".")(cause);
        self.0.flush().map_err(failed)?;
        let file = self.0.get_mut();
        file.rewind().map_err(failed)?;
        let mut notes = BufReader::new(file);
        while let Some((path, mtime, atime)) = read(&mut notes).map_err(failed)? {
            match tree.open_at(&path, OFlags::DIRECTORY | OFlags::RDONLY) {
                Ok(folder) => set_times(folder, mtime, atime, &path)?,
                // A later entry has replaced it.
                Err(cause)
                    if matches!(cause.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {}
                Err(cause) => return Err(Error::in_layer("open the folder", &path)(cause)),
            }
        }
        Ok(())
    }
}

fn read(notes: &mut impl Read) -> io::Result<Option<(Vec<u8>, Time, Time)>> {
    let mut length = [0; 2];
    match notes.read_exact(&mut length) {
        Err(cause) if cause.kind() == ErrorKind::UnexpectedEof => return Ok(None),
        other => other?,
    }
    let mut path = vec![0; u16::from_le_bytes(length).into()];
    notes.read_exact(&mut path)?;
    Ok(Some((path, time(notes)?, time(notes)?)))
}

fn time(notes: &mut impl Read) -> io::Result<Time> {
    let (mut seconds, mut nanoseconds) = ([0; 8], [0; 4]);
    notes.read_exact(&mut seconds)?;
    notes.read_exact(&mut nanoseconds)?;
    Ok(Time {
        seconds: i64::from_le_bytes(seconds),
        nanoseconds: u32::from_le_bytes(nanoseconds),
    })
}
