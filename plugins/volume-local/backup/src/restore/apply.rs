//! The metadata of a restored file: set in the one order that keeps all of it, then compared.
//! `Restore` and the batch call it when a file is complete.
//! It must never let a difference pass: a mode or an ACL that was not set is an error.

use std::ffi::OsStr;
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};

use rustic_core::jiff::Timestamp;
use rustic_core::repofile::{Node, NodeType};
use rustix::fs::{AtFlags, Gid, Mode, OFlags, Statx, StatxFlags, Timespec, Timestamps, Uid};

use crate::attributes::{self, Attribute};
use crate::beneath;
use crate::error::{Error, Result};
use crate::mode;

/// What a file's metadata is to be.
#[derive(Debug)]
pub(super) struct Wanted {
    path: PathBuf,
    owner: Option<(u32, u32)>,
    /// None for a symbolic link.
    mode: Option<u32>,
    modified: Option<Timespec>,
    attributes: Vec<(String, Vec<u8>)>,
}

impl Wanted {
    pub(super) fn of(path: &Path, node: &Node) -> Wanted {
        let meta = &node.meta;
        let is_link = matches!(node.node_type, NodeType::Symlink { .. });
        let attributes = meta.extended_attributes.iter();
        Wanted {
            path: path.to_owned(),
            owner: meta.uid.zip(meta.gid),
            // restic leaves a mode of 0 out.
            mode: (!is_link).then(|| mode::from_go(meta.mode.unwrap_or(0))),
            modified: meta.mtime.map(timespec),
            attributes: attributes
                .map(|one| (one.name.clone(), one.value.clone().unwrap_or_default()))
                .collect(),
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The root of the restore, which the caller has made.
    pub(super) fn apply_to_root(&self, root: BorrowedFd<'_>) -> Result<()> {
        self.apply(root, OsStr::new("."), None)
    }

    /// The owner first, as changing it clears set-id bits and capabilities; then attributes, then the mode, as an ACL sets
    /// parts of it; times last.
    pub(super) fn apply(
        &self,
        directory: BorrowedFd<'_>,
        name: &OsStr,
        open: Option<&File>,
    ) -> Result<()> {
        if let Some((uid, gid)) = self.owner {
            let owner = (Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)));
            let changed =
                rustix::fs::chownat(directory, name, owner.0, owner.1, AtFlags::SYMLINK_NOFOLLOW);
            changed.map_err(Error::file("change the owner of", &self.path))?;
        }
        let path = beneath::by_descriptor(directory, name);
        for (name, value) in &self.attributes {
            attributes::write(&path, name, value)
                .map_err(Error::file("set an extended attribute of", &self.path))?;
        }
        if let Some(mode) = self.mode {
            self.set_mode(directory, name, open, Mode::from_raw_mode(mode))?;
        }
        if let Some(modified) = self.modified {
            let times = Timestamps {
                last_access: modified,
                last_modification: modified,
            };
            let set = rustix::fs::utimensat(directory, name, &times, AtFlags::SYMLINK_NOFOLLOW);
            set.map_err(Error::file("set the times of", &self.path))?;
        }
        self.compare(directory, name, &path)
    }

    fn set_mode(
        &self,
        directory: BorrowedFd<'_>,
        name: &OsStr,
        open: Option<&File>,
        mode: Mode,
    ) -> Result<()> {
        let set = match open {
            Some(file) => rustix::fs::fchmod(file, mode),
            // fchmodat(2) knows no AT_SYMLINK_NOFOLLOW before Linux 6.6; a descriptor that opens nothing does the same.
            None => rustix::fs::openat(
                directory,
                name,
                OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC,
                Mode::empty(),
            )
            .and_then(|held| rustix::fs::chmod(beneath::of_descriptor(held.as_fd()), mode)),
        };
        set.map_err(Error::file("change the mode of", &self.path))
    }

    fn compare(&self, directory: BorrowedFd<'_>, name: &OsStr, path: &Path) -> Result<()> {
        let stat = rustix::fs::statx(
            directory,
            name,
            AtFlags::SYMLINK_NOFOLLOW,
            StatxFlags::BASIC_STATS,
        );
        let stat = stat.map_err(Error::file("look at", &self.path))?;
        self.same(
            "owner",
            self.owner,
            (stat.stx_uid, stat.stx_gid),
            |(uid, gid)| format!("{uid}:{gid}"),
        )?;
        self.same(
            "mode",
            self.mode,
            u32::from(stat.stx_mode) & 0o7777,
            |mode| format!("{mode:o}"),
        )?;
        let modified = self.modified.map(|time| (time.tv_sec, time.tv_nsec));
        self.same(
            "time of modification",
            modified,
            found(&stat),
            |(seconds, nanoseconds)| format!("{seconds}.{nanoseconds:09}"),
        )?;
        self.compare_attributes(path)
    }

    fn same<T: PartialEq>(
        &self,
        what: &str,
        wanted: Option<T>,
        found: T,
        told: impl Fn(&T) -> String,
    ) -> Result<()> {
        match wanted {
            Some(wanted) if wanted != found => Err(self.differs(what, told(&wanted), told(&found))),
            _ => Ok(()),
        }
    }

    fn compare_attributes(&self, path: &Path) -> Result<()> {
        let found = attributes::read(path)
            .map_err(Error::file("read the extended attributes of", &self.path))?;
        for (name, value) in &self.attributes {
            let same = |one: &&Attribute| one.0 == name.as_bytes() && one.1 == *value;
            if !found.iter().any(|one| same(&one)) {
                let told = |bytes: &[u8]| format!("{} bytes", bytes.len());
                let there = found.iter().find(|(found, _)| found == name.as_bytes());
                let there = there.map_or_else(|| "nothing".to_owned(), |(_, value)| told(value));
                return Err(self.differs(
                    &format!("extended attribute {name}"),
                    told(value),
                    there,
                ));
            }
        }
        Ok(())
    }

    fn differs(&self, what: &str, expected: String, found: String) -> Error {
        Error::Differs {
            path: self.path.clone(),
            what: what.to_owned(),
            expected,
            found,
        }
    }
}

fn timespec(time: Timestamp) -> Timespec {
    let nanoseconds = time.as_nanosecond();
    Timespec {
        tv_sec: i64::try_from(nanoseconds.div_euclid(1_000_000_000)).unwrap_or(0),
        tv_nsec: i64::try_from(nanoseconds.rem_euclid(1_000_000_000)).unwrap_or(0),
    }
}

fn found(stat: &Statx) -> (i64, i64) {
    (stat.stx_mtime.tv_sec, stat.stx_mtime.tv_nsec.into())
}
