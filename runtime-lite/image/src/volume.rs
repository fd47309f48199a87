//! What an image has in the path of a volume fills the volume, once, while it is empty (Docker's rule).
//! `wharf run` calls it after it has mounted the root, before the container begins.
//! It must never change a volume that holds anything, nor leave the image's root by a link.

use std::fs::{self, File};
use std::io::{BufReader, BufWriter, Write};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::fs::{CWD, OFlags, RenameFlags, renameat_with};
use rustix::io::Errno;

use crate::error::{Error, Result};
use crate::layer::{Tree, Unpacker, Whiteouts, pack};
use crate::limits::Limits;
use crate::store::{Store, Workspace};

/// Copies what `rootfs` has at `path` into the folder `volume`, with owners, modes, times, links and extended
/// attributes; the folder gets those of the path itself. Nothing happens (false) if the volume is not empty, or if
/// there is no folder at `path`.
///
/// # Errors
/// A file can't be read or written, or its filesystem would be filled up.
pub fn fill(store: &Store, rootfs: &Path, path: &str, volume: &Path) -> Result<bool> {
    let mut held = fs::read_dir(volume).map_err(Error::file("list", volume))?;
    // ext4 has it in the root of a new filesystem.
    if held.any(|entry| entry.is_ok_and(|entry| entry.file_name() != "lost+found")) {
        return Ok(false);
    }
    let root = Tree::open(rootfs)?;
    let from = match root.open_at(path.as_bytes(), OFlags::DIRECTORY | OFlags::RDONLY) {
        Ok(from) => from,
        Err(cause) if is_no_folder(&cause) => return Ok(false),
        Err(cause) => return Err(Error::file("open", path)(cause)),
    };
    let same = |a: &fs::Metadata, b: &fs::Metadata| a.dev() == b.dev() && a.ino() == b.ino();
    let from = File::from(from);
    let about = from.metadata().map_err(Error::file("look at", path))?;
    if same(
        &about,
        &fs::metadata(volume).map_err(Error::file("look at", volume))?,
    ) {
        return Ok(false);
    }
    let workspace = Workspace::create(store)?;
    let unpacker = Unpacker::new(Tree::open(volume)?, workspace.path(), Limits::default())?;
    copy(from, unpacker)?;
    Ok(true)
}

/// Makes the folder `volume`, which is not there and of which the parent is, with what `rootfs` has at `path`. It
/// appears whole or not at all; if somebody else was quicker, theirs is filled while it is empty.
///
/// # Errors
/// As with [`fill`].
pub fn make_filled(store: &Store, rootfs: &Path, path: &str, volume: &Path) -> Result<()> {
    let workspace = Workspace::create(store)?;
    let draft = workspace.path().join("volume");
    fs::create_dir(&draft).map_err(Error::file("create", &draft))?;
    fill(store, rootfs, path, &draft)?;
    match renameat_with(CWD, &draft, CWD, volume, RenameFlags::NOREPLACE) {
        Ok(()) => Ok(()),
        // Another filesystem, or one that knows no such rename.
        Err(Errno::EXIST | Errno::XDEV | Errno::INVAL) => {
            fs::create_dir_all(volume).map_err(Error::file("create", volume))?;
            fill(store, rootfs, path, volume).map(drop)
        }
        Err(errno) => Err(Error::file("create", volume)(errno)),
    }
}

/// Packs on a thread what this one unpacks.
fn copy(from: File, unpacker: Unpacker) -> Result<()> {
    let (reader, writer) = std::io::pipe().map_err(Error::file("make a pipe for", "the volume"))?;
    std::thread::scope(|scope| {
        let packing = scope.spawn(move || {
            let mut out = BufWriter::with_capacity(64 << 10, writer);
            pack(from.into(), Whiteouts::Plain, &mut out)?;
            out.flush()
                .map_err(Error::file("write the pipe of", "the volume"))
        });
        let unpacked = unpacker.unpack(BufReader::with_capacity(64 << 10, reader));
        let packed = packing.join().unwrap_or_else(|_| {
            Err(Error::malformed(
                "the thread that packs a volume",
                "stopped",
            ))
        });
        // If the unpacking stops, the packing ends with a broken pipe: that is not the reason.
        unpacked?;
        packed
    })
}

fn is_no_folder(cause: &std::io::Error) -> bool {
    use std::io::ErrorKind::{NotADirectory, NotFound};
    matches!(cause.kind(), NotFound | NotADirectory)
}
