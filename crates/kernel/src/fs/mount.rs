//! Mounts by descriptors: a tree is made where nobody sees it, and appears whole at its place (fsopen(2), move_mount(2)).
//! plugins/volume-local mounts volumes by it.
//! It must never unmount what it is not told by path, nor follow a symlink there.

use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use nix::errno::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountFlags, MoveMountFlags, OpenTreeFlags,
    UnmountFlags, fsconfig_create, fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen,
    mount_remount, move_mount, open_tree, unmount,
};

use super::refused;
use crate::error::{KernelError, Result};

/// A file system to be mounted.
#[derive(Debug, Clone, Copy)]
pub struct FileSystem<'a> {
    /// Its kind, as /proc/filesystems names it.
    pub kind: &'a str,
    /// Device, server or nothing, as the kind wants it.
    pub source: &'a str,
    /// Options of the kind's own: `key=value`, or `key` alone.
    pub options: &'a [(String, Option<String>)],
    /// Whether nobody may write.
    pub read_only: bool,
}

/// A mount that is nowhere yet: it is gone with this value, unless it is attached.
#[derive(Debug)]
pub struct Detached {
    root: OwnedFd,
}

impl FileSystem<'_> {
    /// Mounts it, nowhere.
    ///
    /// # Errors
    /// ENODEV where the kernel has no such kind; else what the file system said, with its own words. Values of options
    /// are never in the text: one may be a password.
    pub fn mount(&self) -> Result<Detached> {
        let kind = self.kind;
        let tried = || format!("mount {kind} from {}", self.source);
        let context = fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC).map_err(refused(tried()))?;
        self.configure(&context)?;
        let told = |errno: rustix::io::Errno| {
            KernelError::new(tried(), Errno::from_raw(errno.raw_os_error()))
                .with_extack(words(&context))
        };
        fsconfig_create(&context).map_err(told)?;
        let attributes = match self.read_only {
            true => MountAttrFlags::MOUNT_ATTR_RDONLY,
            false => MountAttrFlags::empty(),
        };
        let root = fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, attributes).map_err(told)?;
        Ok(Detached { root })
    }

    fn configure(&self, context: &OwnedFd) -> Result<()> {
        let option = |key: &str| format!("set option {key} of {}", self.kind);
        let refuse = |key: &str, errno: rustix::io::Errno| {
            KernelError::new(option(key), Errno::from_raw(errno.raw_os_error()))
                .with_extack(words(context))
        };
        if !self.source.is_empty() {
            fsconfig_set_string(context, "source", self.source).map_err(|e| refuse("source", e))?;
        }
        if self.read_only {
            fsconfig_set_flag(context, "ro").map_err(|e| refuse("ro", e))?;
        }
        for (key, value) in self.options {
            let set = match value {
                Some(value) => fsconfig_set_string(context, key.as_str(), value.as_str()),
                None => fsconfig_set_flag(context, key.as_str()),
            };
            set.map_err(|e| refuse(key, e))?;
        }
        Ok(())
    }
}

/// What the file system had to say (Documentation/filesystems/mount_api.rst, "the log").
fn words(context: &OwnedFd) -> Option<String> {
    let mut log = File::from(context.try_clone().ok()?);
    let mut told = Vec::new();
    let mut line = [0; 1024];
    // Each read gives one message, ENODATA the end.
    while let Ok(length) = log.read(&mut line) {
        let line = String::from_utf8_lossy(line.get(..length)?);
        // "e " is an error, "w " a warning.
        told.push(line.trim().get(2..).unwrap_or_default().to_owned());
        if length == 0 || told.len() == 8 {
            break;
        }
    }
    (!told.is_empty()).then(|| told.join("; "))
}

impl Detached {
    /// The tree at the folder `dir` once more, without what is mounted below it.
    ///
    /// # Errors
    /// EINVAL where the kernel forbids it.
    pub fn copy_of(dir: impl AsFd) -> Result<Self> {
        let flags = OpenTreeFlags::OPEN_TREE_CLONE
            | OpenTreeFlags::OPEN_TREE_CLOEXEC
            | OpenTreeFlags::AT_EMPTY_PATH;
        let root = open_tree(dir, "", flags).map_err(refused("take a second mount of a folder"))?;
        Ok(Self { root })
    }

    /// Its root.
    pub fn root(&self) -> &OwnedFd {
        &self.root
    }

    /// Lets it appear at the folder `place`.
    ///
    /// # Errors
    /// EINVAL where the kernel forbids it.
    pub fn attach(self, place: impl AsFd) -> Result<()> {
        let flags =
            MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
        move_mount(&self.root, "", place, "", flags).map_err(refused("attach a mount"))
    }
}

/// Lets nobody write through the mount at `path`; others of the same file system stay as they are.
///
/// # Errors
/// EINVAL where nothing is mounted there.
pub fn make_read_only(path: &Path) -> Result<()> {
    mount_remount(path, MountFlags::BIND | MountFlags::RDONLY, "")
        .map_err(refused(format!("make {} read-only", path.display())))
}

/// Changes options of the file system mounted at `path`, for all of its mounts: `size=...` of a tmpfs.
///
/// # Errors
/// EINVAL: the file system cannot change it, or to less than it holds.
pub fn reconfigure(path: &Path, options: &str) -> Result<()> {
    let text = std::ffi::CString::new(options)
        .map_err(|_| KernelError::new("change options of a mount", Errno::EINVAL))?;
    mount_remount(path, MountFlags::empty(), text.as_c_str())
        .map_err(refused(format!("change options of {}", path.display())))
}

/// Unmounts what is on top at `path`; that nothing is mounted there is success.
///
/// # Errors
/// EBUSY while somebody has files of it open.
pub fn unmount_at(path: &Path) -> Result<()> {
    unmount_with(path, UnmountFlags::NOFOLLOW)
}

/// Takes it away from `path` at once; what is open stays whole until it is closed (MNT_DETACH).
///
/// # Errors
/// EPERM.
pub fn detach_at(path: &Path) -> Result<()> {
    unmount_with(path, UnmountFlags::NOFOLLOW | UnmountFlags::DETACH)
}

fn unmount_with(path: &Path, flags: UnmountFlags) -> Result<()> {
    match unmount(path, flags) {
        // Not mounted, or not there.
        Ok(()) | Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOENT) => Ok(()),
        Err(errno) => Err(refused(format!("unmount {}", path.display()))(errno)),
    }
}
