//! overlayfs: mounts the layers of an image with a folder for changes over them, and unmounts them
//! (Documentation/filesystems/overlayfs.rst). `root` calls it.
//! It must never follow what files say of other places: redirections and metadata-only copies are off.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::CWD;
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountFlags, MoveMountFlags, UnmountFlags,
    fsconfig_create, fsconfig_set_string, fsmount, fsopen, mount as mount_by_page, move_mount,
    unmount as umount,
};

use crate::error::{Error, Result};

/// The longest value that fsconfig(2) takes, in bytes, its end included.
const VALUE: usize = 256;
/// The options that every overlay of ours has.
const OPTIONS: [(&str, &str); 3] = [
    ("index", "off"),
    ("metacopy", "off"),
    ("redirect_dir", "nofollow"),
];

/// OVERLAYFS_SUPER_MAGIC, include/uapi/linux/magic.h.
const OVERLAYFS: rustix::fs::FsWord = 0x794c_7630;

/// What an overlay is made of.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Layers<'a> {
    /// The lowest first.
    pub(crate) lowers: &'a [PathBuf],
    pub(crate) upper: &'a Path,
    pub(crate) work: &'a Path,
}

/// Mounts an overlay at `target`: layer by layer where the kernel takes them so (6.5), else by one page of options.
pub(crate) fn mount(layers: &Layers<'_>, target: &Path) -> Result<()> {
    let mounted = match by_steps(layers, target) {
        Err(Errno::INVAL | Errno::NOSYS) => by_page(layers, target),
        other => other,
    };
    mounted.map_err(|errno| match unusable(layers.upper, errno) {
        Some(why) => Error::NoOverlay {
            target: target.to_owned(),
            why,
            source: errno.into(),
        },
        None => Error::file("mount the image's layers at", target)(errno),
    })
}

/// Why there can be no overlay here at all, if that is the reason.
fn unusable(upper: &Path, errno: Errno) -> Option<&'static str> {
    match errno {
        Errno::NODEV => Some("the kernel has no overlayfs (CONFIG_OVERLAY_FS, or its module)"),
        Errno::PERM => Some("overlayfs may not be mounted here"),
        Errno::INVAL => match rustix::fs::statfs(upper) {
            Ok(about) if about.f_type == OVERLAYFS => {
                Some("the folder is on overlayfs itself: put wharf's state on a disk or on tmpfs")
            }
            _ => Some(
                "its filesystem can't take an overlay's changes (it needs d_type and trusted.* attributes)",
            ),
        },
        _ => None,
    }
}

/// By fsopen(2) and its kin: any number of layers, up to the kernel's 500.
fn by_steps(layers: &Layers<'_>, target: &Path) -> rustix::io::Result<()> {
    let context = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC)?;
    let set = |key: &str, value: &Path| {
        let folder;
        let value = match value.as_os_str().len() < VALUE {
            true => value,
            false => {
                folder = open(value)?;
                return fsconfig_set_string(context.as_fd(), key, by_number(&folder));
            }
        };
        fsconfig_set_string(context.as_fd(), key, value)
    };
    // The first one is the topmost.
    for lower in layers.lowers.iter().rev() {
        set("lowerdir+", lower)?;
    }
    set("upperdir", layers.upper)?;
    set("workdir", layers.work)?;
    for (key, value) in OPTIONS {
        fsconfig_set_string(context.as_fd(), key, value)?;
    }
    // What a mount is of, in mountinfo.
    fsconfig_set_string(context.as_fd(), "source", "wharf")?;
    fsconfig_create(context.as_fd())?;
    let made = fsmount(
        context.as_fd(),
        FsMountFlags::FSMOUNT_CLOEXEC,
        MountAttrFlags::empty(),
    )?;
    move_mount(
        made.as_fd(),
        "",
        CWD,
        target,
        MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH,
    )
}

/// By mount(2), whose options are one page: each layer is named by its descriptor, so that some 200 fit.
fn by_page(layers: &Layers<'_>, target: &Path) -> rustix::io::Result<()> {
    let folders = layers.lowers.iter().rev().map(|lower| open(lower));
    let folders = folders.collect::<rustix::io::Result<Vec<_>>>()?;
    let (upper, work) = (open(layers.upper)?, open(layers.work)?);
    let lowers: Vec<String> = folders.iter().map(by_number).collect();
    let mut options = format!(
        "lowerdir={},upperdir={},workdir={}",
        lowers.join(":"),
        by_number(&upper),
        by_number(&work)
    );
    for (key, value) in OPTIONS {
        options.push_str(&format!(",{key}={value}"));
    }
    let options = std::ffi::CString::new(options).map_err(|_| Errno::INVAL)?;
    mount_by_page(
        "wharf",
        target,
        "overlay",
        MountFlags::empty(),
        Some(options.as_c_str()),
    )
}

fn open(folder: &Path) -> rustix::io::Result<File> {
    use rustix::fs::{Mode, OFlags};
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::openat(CWD, folder, flags, Mode::empty()).map(File::from)
}

fn by_number(folder: &File) -> String {
    format!("/proc/self/fd/{}", folder.as_raw_fd())
}

/// Unmounts what is at `target`, if anything is.
pub(crate) fn unmount(target: &Path) -> Result<()> {
    while is_mounted(target)? {
        let flags = UnmountFlags::DETACH | UnmountFlags::NOFOLLOW;
        umount(target, flags).map_err(Error::file("unmount", target))?;
    }
    Ok(())
}

/// Whether something is mounted at `target`: it is on another device than its parent. An overlay always is.
pub(crate) fn is_mounted(target: &Path) -> Result<bool> {
    let device = |path: &Path| std::fs::symlink_metadata(path).map(|about| about.dev());
    let here = match device(target) {
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(false),
        other => other.map_err(Error::file("look at", target))?,
    };
    let parent = target.parent().unwrap_or(target);
    let above = device(parent).map_err(Error::file("look at", parent))?;
    Ok(here != above)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    /// A thread with mounts of its own.
    fn in_private<T: Send>(work: impl FnOnce() -> T + Send) -> T {
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNS)
                    .expect("a mount namespace");
                let private = rustix::mount::MountPropagationFlags::PRIVATE
                    | rustix::mount::MountPropagationFlags::REC;
                rustix::mount::mount_change("/", private).expect("private");
                work()
            });
            thread.join().expect("the thread")
        })
    }

    fn stacked(
        count: usize,
        mounts: fn(&Layers<'_>, &Path) -> rustix::io::Result<()>,
    ) -> Vec<String> {
        in_private(move || {
            let folder = tempfile::tempdir().expect("a folder");
            let at = |name: &str| folder.path().join(name);
            let lowers: Vec<PathBuf> = (0..count)
                .map(|number| at(&format!("layer-{number}")))
                .collect();
            for (number, lower) in lowers.iter().enumerate() {
                fs::create_dir(lower).expect("a layer");
                fs::write(lower.join(format!("own-{number}")), "").expect("written");
                fs::write(lower.join("all"), number.to_string()).expect("written");
            }
            for name in ["upper", "work", "rootfs"] {
                fs::create_dir(at(name)).expect("a folder");
            }
            let layers = Layers {
                lowers: &lowers,
                upper: &at("upper"),
                work: &at("work"),
            };
            mounts(&layers, &at("rootfs")).expect("mounted");
            assert!(is_mounted(&at("rootfs")).expect("known"));
            assert_eq!(
                fs::read_to_string(at("rootfs/all")).expect("read"),
                (count - 1).to_string()
            );
            let listed = fs::read_dir(at("rootfs")).expect("listed");
            let names = listed.map(|entry| entry.expect("an entry").file_name());
            let names = names
                .map(|name| name.into_string().expect("text"))
                .collect();
            unmount(&at("rootfs")).expect("unmounted");
            assert!(!is_mounted(&at("rootfs")).expect("known"));
            names
        })
    }

    #[test]
    fn three_hundred_layers_are_more_than_a_page_of_options_and_mount() {
        assert_eq!(stacked(300, by_steps).len(), 301);
    }

    #[test]
    fn a_kernel_without_lowerdir_plus_takes_a_hundred_layers_by_descriptor() {
        assert_eq!(stacked(100, by_page).len(), 101);
    }
}
