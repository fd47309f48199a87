//! What keeps a volume: one file for each kind, behind one trait.
//! `driver` and `operate` call it with the volume's folder; `choose` says which, when the user did not.
//! It must never see a name, nor who uses the volume.

mod bind;
mod btrfs;
mod directory;
mod loop_image;
mod network;
mod quota;
mod tmpfs;

use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{Gid, Mode, Uid, XattrFlags, fchmod, fchown, fsetxattr};
use wharfline_kernel::KernelError;
use wharfline_kernel::fs::{beneath, btrfs as subvolumes, mount, mountinfo, project};
use wharfline_spec::docker::volume::Usage;

use crate::error::{Error, Result};
use crate::options::{Kind, Limits, Options, Owner};
use crate::root;
use crate::work::Told;

/// Name of the volume's content, or of the place where it is mounted, in its folder.
pub(crate) const DATA: &str = "data";
/// Mode of a volume's top folder, as Docker's own are.
const MODE: u32 = 0o755;

/// What a copy is to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Copy {
    /// A snapshot: never written again.
    Snapshot,
    /// A volume, or a new state of one.
    Volume,
}

/// Keeps a volume in a folder.
pub(crate) trait Backend: Send + Sync {
    /// Makes an empty volume.
    fn make(&self, folder: &Path) -> Result<()>;

    /// Has it at `data`; done before is success.
    fn mount(&self, _folder: &Path) -> Result<()> {
        Ok(())
    }

    /// Takes it away from `data`; not mounted is success.
    fn unmount(&self, folder: &Path) -> Result<()> {
        leave(&folder.join(DATA))
    }

    /// Makes `to` hold what `from` holds, either of which may be a volume's folder or a snapshot's.
    fn duplicate(&self, from: &Path, to: &Path, copy: Copy, told: Told<'_>) -> Result<()>;

    /// Whether a copy of a volume in use is as of one moment.
    fn copies_at_once(&self) -> bool {
        false
    }

    /// Whether somebody has it mounted although it is not at `data`: what `users` cannot see by the folder.
    fn is_elsewhere(&self, _folder: &Path) -> Result<bool> {
        Ok(false)
    }

    /// What of the folder a rollback replaces; none where it cannot.
    fn content(&self) -> Option<&'static str> {
        Some(DATA)
    }

    /// Lets more go in.
    fn grow(&self, folder: &Path, bytes: u64) -> Result<()>;

    /// How full it is. May take time.
    fn usage(&self, folder: &Path) -> Result<Usage>;

    /// Where the files are, while it is mounted.
    fn files(&self, folder: &Path) -> PathBuf {
        folder.join(DATA)
    }
}

/// The backend that `kind` names, for a volume of these options.
pub(crate) fn of(kind: &Kind, options: &Options, root: &Path) -> Box<dyn Backend> {
    let (limits, owner) = (options.limits, options.owner.clone());
    let read_only = options.read_only;
    match kind {
        Kind::Directory => Box::new(directory::Directory { owner, read_only }),
        Kind::Btrfs => Box::new(btrfs::Subvolume {
            limits,
            owner,
            read_only,
        }),
        Kind::Quota => Box::new(quota::Quota {
            limits,
            owner,
            read_only,
            root: root.to_owned(),
        }),
        Kind::Loop(fs) => Box::new(loop_image::LoopImage {
            fs: *fs,
            limits,
            owner,
            read_only,
        }),
        Kind::Tmpfs => Box::new(tmpfs::Tmpfs {
            limits,
            owner,
            read_only,
        }),
        Kind::Bind(path) => Box::new(bind::Bind {
            path: path.clone(),
            read_only,
        }),
        Kind::Network(fs) => Box::new(network::Network {
            fs: fs.clone(),
            read_only,
        }),
    }
}

/// What is to keep a volume whose user did not say: what the root's file system does best, and an image where it cannot
/// keep to the limits.
pub(crate) fn choose(limits: Limits, root: &Path) -> Result<Kind> {
    let top = beneath::folder(root)?;
    if subvolumes::is_btrfs(&top)? && limits.inodes.is_none() {
        return Ok(Kind::Btrfs);
    }
    Ok(match limits {
        Limits {
            bytes: None,
            inodes: None,
        } => Kind::Directory,
        _ if project::is_on(&top) => Kind::Quota,
        Limits { bytes: Some(_), .. } => Kind::Loop(crate::options::ImageFs::Ext4),
        Limits { bytes: None, .. } => {
            return Err(Error::option(
                "inodes",
                "needs size, too: this file system has no project quota, and an image needs its size",
            ));
        }
    })
}

/// Makes `data` in a volume's folder, with its owner.
fn make_data(folder: &Path, owner: &Owner) -> Result<()> {
    let data = folder.join(DATA);
    root::make(&data).map_err(Error::file("make", &data))?;
    give(&beneath::folder(&data)?, owner)
}

/// Gives a volume's top folder its owner, mode and label.
fn give(top: impl AsFd, owner: &Owner) -> Result<()> {
    let refused = |tried: &str| {
        let tried = format!("{tried} of the volume");
        move |e: rustix::io::Errno| KernelError::from_io(tried, &e.into())
    };
    if owner.uid.is_some() || owner.gid.is_some() {
        let (uid, gid) = (owner.uid.map(Uid::from_raw), owner.gid.map(Gid::from_raw));
        fchown(&top, uid, gid).map_err(refused("set the owner"))?;
    }
    // After the owner: that takes bits away.
    let mode = Mode::from_raw_mode(owner.mode.unwrap_or(MODE));
    fchmod(&top, mode).map_err(refused("set the mode"))?;
    if let Some(label) = &owner.selinux {
        fsetxattr(
            &top,
            "security.selinux",
            label.as_bytes(),
            XattrFlags::empty(),
        )
        .map_err(refused("set the SELinux label"))?;
    }
    Ok(())
}

/// Whether something is mounted at `place`; asks nobody but the list of mounts.
pub(crate) fn is_mounted(place: &Path) -> Result<bool> {
    Ok(mountinfo::ours()?
        .iter()
        .any(|mounted| mounted.place == place))
}

/// Lets a folder appear at `place`, perhaps read-only.
fn show(folder: &OwnedFd, place: &Path, read_only: bool) -> Result<()> {
    mount::Detached::copy_of(folder)?.attach(beneath::folder(place)?)?;
    if read_only && let Err(refused) = mount::make_read_only(place) {
        mount::detach_at(place)?;
        return Err(refused.into());
    }
    Ok(())
}

/// Read-only volumes whose files are in `data` itself are mounted over themselves.
fn show_read_only(folder: &Path, read_only: bool) -> Result<()> {
    let data = folder.join(DATA);
    if !read_only || is_mounted(&data)? {
        return Ok(());
    }
    show(&beneath::folder(&data)?, &data, true)
}

/// Unmounts `place`; where somebody is in there, he keeps what he has and nobody else gets there.
fn leave(place: &Path) -> Result<()> {
    while is_mounted(place)? {
        match mount::unmount_at(place) {
            Ok(()) => {}
            Err(_) => mount::detach_at(place)?,
        }
    }
    Ok(())
}

fn cannot(backend: &'static str, problem: &str) -> Error {
    let problem = problem.to_owned();
    Error::Backend { backend, problem }
}
