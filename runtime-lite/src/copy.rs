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
    AtFlags, Dir, FileType, Gid, Mode, OFlags, ResolveFlags, Uid, chownat, fchmod, fchown, mkdirat,
    openat, openat2, readlinkat, statat, symlinkat, unlinkat,
};

use wharf_protocol::Claim;

use crate::container::{self, Container, Folder};
use crate::error::{Error, Result};
use crate::home::Home;
use crate::{cli, output, root};

/// One side of the copy.
struct Side {
    /// What paths are looked up from.
    root: OwnedFd,
    resolve: ResolveFlags,
    path: PathBuf,
    /// What keeps a container at rest as it is while its root is mounted for the copy.
    _resting: Option<Resting>,
}

/// A container at rest over an image, claimed, with its root mounted; until this is dropped.
struct Resting {
    home: Home,
    about: Container,
    _claim: Claim,
}

impl Resting {
    fn of(home: &Home, about: &Container, folder: &Folder) -> Result<Resting> {
        let claim = folder.claim_at_rest(&about.name)?;
        root::mount(home, about)?;
        Ok(Resting {
            home: home.clone(),
            about: about.clone(),
            _claim: claim,
        })
    }
}

impl Drop for Resting {
    fn drop(&mut self) {
        // What stays mounted, the container's removal or `wharf gc` unmounts.
        if let Err(error) = root::unmount(&self.home, &self.about) {
            output::warn(&error.chain());
        }
    }
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
    let (into, as_name) = to.target(&name)?;
    let entry = Entry {
        from: &parent,
        name: &last,
        to: &into,
        as_name: &as_name,
    };
    entry.copy().map_err(|errno| {
        Error::file("copy", format!("{} to {}", asked.from, asked.to))(errno.into())
    })
}

/// `CONTAINER:PATH`, or a path; what begins with a slash or a dot is a path.
fn side(home: &Home, given: &str) -> Result<Side> {
    match given
        .split_once(':')
        .filter(|_| !given.starts_with(['/', '.']))
    {
        Some((name, path)) => of_container(home, name, path),
        None => Ok(Side {
            root: open(Path::new("/"))?,
            resolve: ResolveFlags::empty(),
            path: std::path::absolute(given).map_err(Error::file("find", given))?,
            _resting: None,
        }),
    }
}

/// A running container's root has its volumes mounted; that of one at rest has not.
fn of_container(home: &Home, name: &str, path: &str) -> Result<Side> {
    let (about, folder) = container::find(home, name)?;
    let status = folder.status()?.filter(|status| status.process_lives());
    let (root, resting) = match &status {
        Some(status) => (PathBuf::from(format!("/proc/{}/root", status.pid)), None),
        None if about.wish.image_id.is_some() => {
            let resting = Resting::of(home, &about, &folder)?;
            (about.wish.rootfs.clone(), Some(resting))
        }
        None => (about.wish.rootfs.clone(), None),
    };
    let root = open(&root)?;
    if status.is_some_and(|status| !status.process_lives()) {
        return Err(Error::NotRunning(about.name));
    }
    Ok(Side {
        root,
        resolve: ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS,
        path: Path::new("/").join(path),
        _resting: resting,
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

/// One thing to be copied: where it is, and where under which name it goes.
#[derive(Clone, Copy)]
struct Entry<'a> {
    from: &'a OwnedFd,
    name: &'a OsStr,
    to: &'a OwnedFd,
    as_name: &'a OsStr,
}

impl Entry<'_> {
    /// Copies it, a folder with all that is in it. A link is copied as a link.
    fn copy(&self) -> rustix::io::Result<()> {
        let about = statat(self.from, self.name, AtFlags::SYMLINK_NOFOLLOW)?;
        let like = Like {
            owner: Uid::from_raw(about.st_uid),
            group: Gid::from_raw(about.st_gid),
            mode: Mode::from_raw_mode(about.st_mode & 0o7777),
        };
        match FileType::from_raw_mode(about.st_mode) {
            FileType::RegularFile => self.file(&like),
            FileType::Directory => self.folder(&like),
            FileType::Symlink => self.link(&like),
            // Devices, pipes and sockets stay where they are.
            _ => Ok(()),
        }
    }

    fn open(&self, flags: OFlags) -> rustix::io::Result<OwnedFd> {
        let flags = flags | OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        openat(self.from, self.name, flags, Mode::empty())
    }

    fn link(&self, like: &Like) -> rustix::io::Result<()> {
        let target = readlinkat(self.from, self.name, Vec::new())?;
        absent(unlinkat(self.to, self.as_name, AtFlags::empty()))?;
        symlinkat(&target, self.to, self.as_name)?;
        let (owner, group) = (Some(like.owner), Some(like.group));
        chownat(
            self.to,
            self.as_name,
            owner,
            group,
            AtFlags::SYMLINK_NOFOLLOW,
        )
    }

    fn file(&self, like: &Like) -> rustix::io::Result<()> {
        // Not to wait for a pipe that has taken the file's place.
        let reading = self.open(OFlags::NONBLOCK)?;
        absent(unlinkat(self.to, self.as_name, AtFlags::empty()))?;
        let new = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL;
        let flags = new | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let writing = openat(self.to, self.as_name, flags, Mode::RUSR | Mode::WUSR)?;
        let (mut reading, mut writing) = (File::from(reading), File::from(writing));
        io::copy(&mut reading, &mut writing).map_err(|cause| {
            rustix::io::Errno::from_io_error(&cause).unwrap_or(rustix::io::Errno::IO)
        })?;
        like.give(&writing)
    }

    fn folder(&self, like: &Like) -> rustix::io::Result<()> {
        let source = self.open(OFlags::DIRECTORY)?;
        match mkdirat(self.to, self.as_name, Mode::RWXU) {
            Err(rustix::io::Errno::EXIST) => {}
            other => other?,
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let target = openat(self.to, self.as_name, flags, Mode::empty())?;
        names_in(&source)?.iter().try_for_each(|name| {
            let inside = Entry {
                from: &source,
                name,
                to: &target,
                as_name: name,
            };
            inside.copy()
        })?;
        like.give(&target)
    }
}

/// Whose a copy is, and with which mode: as what it was made from.
struct Like {
    owner: Uid,
    group: Gid,
    mode: Mode,
}

impl Like {
    /// By descriptor, never by name: a container could have put a link to a file of the host's in the copy's place. The mode
    /// comes last, because to give a file away takes its setuid bit (chown(2)).
    fn give(&self, copy: impl AsFd) -> rustix::io::Result<()> {
        fchown(&copy, Some(self.owner), Some(self.group))?;
        fchmod(&copy, self.mode)
    }
}

fn absent(removed: rustix::io::Result<()>) -> rustix::io::Result<()> {
    match removed {
        Err(rustix::io::Errno::NOENT) => Ok(()),
        other => other,
    }
}

fn names_in(folder: &OwnedFd) -> rustix::io::Result<Vec<OsString>> {
    let mut names = Vec::new();
    for found in Dir::read_from(folder.as_fd())? {
        let found = found?;
        let name = OsStr::from_bytes(found.file_name().to_bytes()).to_owned();
        if name != "." && name != ".." {
            names.push(name);
        }
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt, PermissionsExt};
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    #[test]
    fn a_folder_is_copied_with_its_links_as_links() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = |name: &str| dir.path().join(name);
        std::fs::create_dir_all(path("a/b")).expect("made");
        std::fs::write(path("a/b/text"), "hello").expect("written");
        std::os::unix::fs::symlink("/etc/passwd", path("a/link")).expect("linked");
        let root = open(dir.path()).expect("opened");
        let copied = Entry {
            from: &root,
            name: OsStr::new("a"),
            to: &root,
            as_name: OsStr::new("c"),
        };
        copied.copy().expect("copied");
        assert_eq!(
            std::fs::read_to_string(path("c/b/text")).expect("read"),
            "hello"
        );
        let link = std::fs::read_link(path("c/link")).expect("a link");
        assert_eq!(link, Path::new("/etc/passwd"));
    }

    #[test]
    fn a_link_in_the_place_of_a_copy_gives_nothing_of_the_hosts_away() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = |name: &str| dir.path().join(name);
        let mode = |name: &str, mode| {
            std::fs::set_permissions(path(name), PermissionsExt::from_mode(mode)).expect("mode");
        };
        for name in ["given", "hosts"] {
            std::fs::write(path(name), "x").expect("written");
        }
        mode("given", 0o4777);
        mode("hosts", 0o600);
        let root = open(dir.path()).expect("opened");
        let entry = Entry {
            from: &root,
            name: OsStr::new("given"),
            to: &root,
            as_name: OsStr::new("copy"),
        };
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    let _ = std::os::unix::fs::symlink(path("hosts"), path("link"));
                    let _ = std::fs::rename(path("link"), path("copy"));
                }
            });
            for _ in 0..3000 {
                // Refused where the link was there first.
                let _ = entry.copy();
            }
            done.store(true, Ordering::Relaxed);
        });
        let about = std::fs::metadata(path("hosts")).expect("still there");
        assert_eq!(about.mode() & 0o7777, 0o600);
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
            _resting: None,
        };
        let (parent, name) = inside.parent().expect("found");
        let looked = statat(&parent, &name, AtFlags::SYMLINK_NOFOLLOW);
        assert_eq!(looked.map(|_| ()), Err(rustix::io::Errno::NOENT));
    }
}
