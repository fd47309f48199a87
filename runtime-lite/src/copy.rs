//! `wharf cp`: files and folders between a container and the host.
//! `main` calls it.
//! It must never follow a link of the container's out of the container: every step is taken from a descriptor, with the
//! container's root as the root (openat2(2)).

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{
    AtFlags, Dir, FileType, Gid, Mode, OFlags, ResolveFlags, Uid, chownat, fchmod, mkdirat, openat,
    openat2, readlinkat, statat, symlinkat, unlinkat,
};

use crate::cli;
use crate::container;
use crate::error::{Error, Result};
use crate::home::Home;

/// One side of the copy.
struct Side {
    /// What paths are looked up from.
    root: OwnedFd,
    resolve: ResolveFlags,
    path: PathBuf,
}

/// Copies; exactly one of the sides is a container's.
pub(crate) fn cp(home: &Home, asked: &cli::Cp) -> Result<()> {
    let (from, to) = (side(home, &asked.from)?, side(home, &asked.to)?);
    if from.resolve == to.resolve {
        return Err(Error::Conflict {
            one: "one side's container (or host)",
            other: "the same side again: copy between a container and the host",
        });
    }
    let name = from.path.file_name().unwrap_or(OsStr::new(".")).to_owned();
    let (parent, last) = from.parent()?;
    let (into, name) = to.target(&name)?;
    entry(&parent, &last, &into, &name).map_err(|errno| {
        Error::file("copy", format!("{} to {}", asked.from, asked.to))(errno.into())
    })
}

/// `CONTAINER:PATH`, or a path; what begins with a slash or a dot is a path.
fn side(home: &Home, given: &str) -> Result<Side> {
    let of_host = |path: &str| -> Result<Side> {
        let root = open(Path::new("/"))?;
        let path = std::path::absolute(path).map_err(Error::file("find", path))?;
        Ok(Side {
            root,
            resolve: ResolveFlags::empty(),
            path,
        })
    };
    let Some((name, path)) = given
        .split_once(':')
        .filter(|_| !given.starts_with(['/', '.']))
    else {
        return of_host(given);
    };
    let (about, folder) = container::find(home, name)?;
    // A running one's root has its volumes mounted.
    let status = folder.status()?.filter(|status| status.process_lives());
    let root = match &status {
        Some(status) => PathBuf::from(format!("/proc/{}/root", status.pid)),
        None => about.wish.rootfs.clone(),
    };
    let root = open(&root)?;
    if status.is_some_and(|status| !status.process_lives()) {
        return Err(Error::NotRunning(about.name));
    }
    Ok(Side {
        root,
        resolve: ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS,
        path: Path::new("/").join(path),
    })
}

const FOLDER: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

fn open(path: &Path) -> Result<OwnedFd> {
    rustix::fs::open(path, FOLDER, Mode::empty())
        .map_err(|errno| Error::file("open", path)(errno.into()))
}

impl Side {
    fn folder(&self, path: &Path) -> rustix::io::Result<OwnedFd> {
        openat2(&self.root, path, FOLDER, Mode::empty(), self.resolve)
    }

    /// The folder that the named thing is in, and its name there.
    fn parent(&self) -> Result<(OwnedFd, OsString)> {
        let failed = |errno: rustix::io::Errno| Error::file("find", &self.path)(errno.into());
        match (self.path.parent(), self.path.file_name()) {
            (Some(parent), Some(name)) => {
                Ok((self.folder(parent).map_err(failed)?, name.to_owned()))
            }
            _ => Ok((self.folder(Path::new("/")).map_err(failed)?, ".".into())),
        }
    }

    /// Where a thing called `name` goes: into the folder that is there, or under the name that is given for it.
    fn target(&self, name: &OsStr) -> Result<(OwnedFd, OsString)> {
        match self.folder(&self.path) {
            Ok(folder) => Ok((folder, name.to_owned())),
            Err(rustix::io::Errno::NOENT | rustix::io::Errno::NOTDIR) => self.parent(),
            Err(errno) => Err(Error::file("find", &self.path)(errno.into())),
        }
    }
}

/// Copies one thing, a folder with all that is in it. A link is copied as a link.
fn entry(from: &OwnedFd, name: &OsStr, to: &OwnedFd, as_name: &OsStr) -> rustix::io::Result<()> {
    let about = statat(from, name, AtFlags::SYMLINK_NOFOLLOW)?;
    let mode = Mode::from_raw_mode(about.st_mode & 0o7777);
    match FileType::from_raw_mode(about.st_mode) {
        FileType::RegularFile => file(from, name, to, as_name, mode)?,
        FileType::Directory => folder(from, name, to, as_name, mode)?,
        FileType::Symlink => {
            let target = readlinkat(from, name, Vec::new())?;
            absent(unlinkat(to, as_name, AtFlags::empty()))?;
            symlinkat(&target, to, as_name)?;
        }
        // Devices, pipes and sockets stay where they are.
        _ => return Ok(()),
    }
    let owner = (Uid::from_raw(about.st_uid), Gid::from_raw(about.st_gid));
    chownat(
        to,
        as_name,
        Some(owner.0),
        Some(owner.1),
        AtFlags::SYMLINK_NOFOLLOW,
    )
}

fn absent(removed: rustix::io::Result<()>) -> rustix::io::Result<()> {
    match removed {
        Err(rustix::io::Errno::NOENT) => Ok(()),
        other => other,
    }
}

fn file(
    from: &OwnedFd,
    name: &OsStr,
    to: &OwnedFd,
    as_name: &OsStr,
    mode: Mode,
) -> rustix::io::Result<()> {
    let flags = OFlags::NOFOLLOW | OFlags::CLOEXEC;
    // Not to wait for a pipe that has taken the file's place.
    let reading = openat(
        from,
        name,
        flags | OFlags::RDONLY | OFlags::NONBLOCK,
        Mode::empty(),
    )?;
    absent(unlinkat(to, as_name, AtFlags::empty()))?;
    let new = flags | OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL;
    let writing = openat(to, as_name, new, Mode::RUSR | Mode::WUSR)?;
    let (mut reading, mut writing) = (File::from(reading), File::from(writing));
    io::copy(&mut reading, &mut writing).map_err(|cause| {
        rustix::io::Errno::from_io_error(&cause).unwrap_or(rustix::io::Errno::IO)
    })?;
    fchmod(&writing, mode)
}

fn folder(
    from: &OwnedFd,
    name: &OsStr,
    to: &OwnedFd,
    as_name: &OsStr,
    mode: Mode,
) -> rustix::io::Result<()> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let source = openat(from, name, flags, Mode::empty())?;
    match mkdirat(to, as_name, mode) {
        Err(rustix::io::Errno::EXIST) => {}
        other => other?,
    }
    let target = openat(to, as_name, flags, Mode::empty())?;
    fchmod(&target, mode)?;
    let mut names = Vec::new();
    for found in Dir::read_from(source.as_fd())? {
        let found = found?;
        let name = OsStr::from_bytes(found.file_name().to_bytes()).to_owned();
        if name != "." && name != ".." {
            names.push(name);
        }
    }
    names
        .iter()
        .try_for_each(|name| entry(&source, name, &target, name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_copied_with_its_links_as_links() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = |name: &str| dir.path().join(name);
        std::fs::create_dir_all(path("a/b")).expect("made");
        std::fs::write(path("a/b/text"), "hello").expect("written");
        std::os::unix::fs::symlink("/etc/passwd", path("a/link")).expect("linked");
        let root = open(dir.path()).expect("opened");
        entry(&root, OsStr::new("a"), &root, OsStr::new("c")).expect("copied");
        assert_eq!(
            std::fs::read_to_string(path("c/b/text")).expect("read"),
            "hello"
        );
        let link = std::fs::read_link(path("c/link")).expect("a link");
        assert_eq!(link, Path::new("/etc/passwd"));
    }

    #[test]
    fn a_link_of_the_containers_does_not_lead_out() {
        let dir = tempfile::tempdir().expect("a directory");
        std::fs::create_dir(dir.path().join("etc")).expect("made");
        std::os::unix::fs::symlink("/etc", dir.path().join("out")).expect("linked");
        let inside = Side {
            root: open(dir.path()).expect("opened"),
            resolve: ResolveFlags::IN_ROOT,
            path: PathBuf::from("/out/passwd"),
        };
        let (parent, name) = inside.parent().expect("found");
        let looked = statat(&parent, &name, AtFlags::SYMLINK_NOFOLLOW);
        assert_eq!(looked.map(|_| ()), Err(rustix::io::Errno::NOENT));
    }
}
