//! Copies of files that share what they have in common (FICLONE), and copies that keep their holes.
//! plugins/volume-local copies images and trees by it.
//! It must never copy what is not there: a hole stays a hole.

use std::fs::File;
use std::os::fd::AsFd;

use rustix::fs::{SeekFrom, ioctl_ficlone, seek};
use rustix::io::Errno;

use super::refused;
use crate::error::Result;

/// Most bytes that one copy_file_range(2) is asked for, so that whoever waits hears of progress.
const PIECE: u64 = 8 << 20;

/// Makes `to` share all of `from`'s content; false where the file system cannot.
///
/// # Errors
/// Anything but that: ENOSPC, EIO.
pub fn clone(from: &File, to: &File) -> Result<bool> {
    match ioctl_ficlone(to, from) {
        Ok(()) => Ok(true),
        Err(
            Errno::OPNOTSUPP
            | Errno::XDEV
            | Errno::INVAL
            | Errno::NOTTY
            | Errno::NOSYS
            | Errno::PERM,
        ) => Ok(false),
        Err(errno) => Err(refused("share the content of a file")(errno)),
    }
}

/// Copies the content of `from` into the new file `to`, shared where the file system can, else without its holes.
/// `told` gets the bytes copied, piece by piece.
///
/// # Errors
/// ENOSPC, EDQUOT, EIO; or what `told` returned.
pub fn copy<E: From<crate::KernelError>>(
    from: &File,
    to: &File,
    told: &mut dyn FnMut(u64) -> std::result::Result<(), E>,
) -> std::result::Result<(), E> {
    let length = from
        .metadata()
        .map_err(|e| crate::KernelError::from_io("look at a file", &e))?
        .len();
    if length > 0 && clone(from, to)? {
        return told(length);
    }
    to.set_len(length)
        .map_err(|e| crate::KernelError::from_io("set a file's length", &e))?;
    let mut offset = 0;
    while let Some((begin, end)) = next_data(from, offset, length)? {
        let mut at = begin;
        while at < end {
            let piece = copy_piece(from, to, at, (end - at).min(PIECE))?;
            if piece == 0 {
                return Ok(());
            }
            at += piece;
            told(piece)?;
        }
        offset = end;
    }
    Ok(())
}

/// Bytes of `file` that are no holes.
///
/// # Errors
/// lseek(2)'s.
pub fn data_in(file: &File) -> Result<u64> {
    let about = file
        .metadata()
        .map_err(|e| crate::KernelError::from_io("look at a file", &e))?;
    let (mut sum, mut offset) = (0, 0);
    while let Some((begin, end)) = next_data(file, offset, about.len())? {
        sum += end - begin;
        offset = end;
    }
    Ok(sum)
}

fn next_data(file: &File, offset: u64, length: u64) -> Result<Option<(u64, u64)>> {
    if offset >= length {
        return Ok(None);
    }
    let begin = match seek(file, SeekFrom::Data(offset)) {
        Ok(begin) => begin,
        Err(Errno::NXIO) => return Ok(None),
        // A file system that knows no holes.
        Err(Errno::INVAL) => return Ok(Some((offset, length))),
        Err(errno) => return Err(refused("look for data in a file")(errno)),
    };
    let end = seek(file, SeekFrom::Hole(begin)).map_err(refused("look for a hole in a file"))?;
    Ok(Some((begin, end.min(length))))
}

fn copy_piece(from: impl AsFd, to: impl AsFd, at: u64, length: u64) -> Result<u64> {
    let (mut here, mut there) = (at, at);
    let length = usize::try_from(length).unwrap_or(usize::MAX);
    match rustix::fs::copy_file_range(&from, Some(&mut here), &to, Some(&mut there), length) {
        Ok(copied) => Ok(copied as u64),
        // Between file systems that cannot do it among themselves.
        Err(Errno::XDEV | Errno::OPNOTSUPP | Errno::INVAL | Errno::NOSYS) => {
            through_memory(from, to, at, length)
        }
        Err(errno) => Err(refused("copy a file's content")(errno)),
    }
}

fn through_memory(from: impl AsFd, to: impl AsFd, at: u64, length: usize) -> Result<u64> {
    let mut buffer = vec![0; length.min(1 << 20)];
    let read = rustix::io::pread(from, &mut buffer, at).map_err(refused("read a file"))?;
    let mut rest = buffer.get(..read).unwrap_or_default();
    let mut place = at;
    while !rest.is_empty() {
        let written = rustix::io::pwrite(&to, rest, place).map_err(refused("write a file"))?;
        place += written as u64;
        rest = rest.get(written..).unwrap_or_default();
    }
    Ok(read as u64)
}
