//! The IMAGE argument: an image of the store or a folder, and what comes with it; and the root filesystem of a container
//! over an image, from its making to its end. `wish` asks for the first, `start`, `settle` and `remove` for the second.
//! It must never write into a folder that the user named, nor into an image's layers.

use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, mkdirat, openat2};
use rustix::io::Errno;
use wharf_image::{Defaults, Root, Store};

use crate::container::Container;
use crate::error::{Error, Result};
use crate::home::Home;

/// What the argument names.
#[derive(Debug, Default)]
pub(crate) struct Image {
    /// A folder, absolute; none for an image, whose root is made with the container.
    pub(crate) folder: Option<PathBuf>,
    /// `sha256:` and the digest of the configuration; none for a folder.
    pub(crate) id: Option<String>,
    /// What a container of it gets unless the command line says otherwise. A folder gives nothing.
    pub(crate) defaults: Defaults,
}

/// Finds what `argument` names. A folder begins with `/`, `./` or `../`, or is `.` or `..`: anything else is an image.
pub(crate) fn find(home: &Home, argument: &str) -> Result<Image> {
    if is_path(argument) {
        return Ok(Image {
            folder: Some(folder(Path::new(argument))?),
            ..Image::default()
        });
    }
    match Store::new(home.lib()).find(argument) {
        Ok(image) => Ok(Image {
            folder: None,
            id: Some(image.id.to_string()),
            defaults: image.defaults,
        }),
        Err(_) if Path::new(argument).is_dir() => Err(Error::FolderLikeImage(argument.to_owned())),
        Err(error) => Err(error.into()),
    }
}

fn is_path(argument: &str) -> bool {
    let begins = |start: &&str| argument.starts_with(start);
    matches!(argument, "." | "..") || ["/", "./", "../"].iter().any(begins)
}

fn folder(given: &Path) -> Result<PathBuf> {
    let path = given
        .canonicalize()
        .map_err(Error::file("find the root filesystem", given))?;
    let problem = match path.parent() {
        _ if !path.is_dir() => Some("is not a folder"),
        None => Some("is the host's own"),
        Some(_) => None,
    };
    match problem {
        Some(problem) => Err(Error::BadRootfs { path, problem }),
        None => Ok(path),
    }
}

/// Makes the root of a container over an image; one over a folder has it already.
pub(crate) fn make(home: &Home, about: &Container) -> Result<()> {
    if let Some(image) = &about.wish.image_id {
        Root::create(&Store::new(home.lib()), about.id.as_str(), image)?;
    }
    Ok(())
}

/// The root of a container over an image; none for one over a folder.
pub(crate) fn of(home: &Home, about: &Container) -> Result<Option<Root>> {
    if about.wish.image_id.is_none() {
        return Ok(None);
    }
    Ok(Root::of(&Store::new(home.lib()), about.id.as_str())?)
}

/// Mounts it where the container's definition says that its root filesystem is, if it is not mounted.
pub(crate) fn mount(home: &Home, about: &Container) -> Result<()> {
    match of(home, about)? {
        Some(root) => drop(root.mount()?),
        None if about.wish.image_id.is_some() => return Err(Error::NoRoot(about.name.clone())),
        None => {}
    }
    Ok(())
}

/// Whether it is mounted.
pub(crate) fn is_mounted(home: &Home, about: &Container) -> Result<bool> {
    match of(home, about)? {
        Some(root) => Ok(root.is_mounted()?),
        None => Ok(false),
    }
}

/// Unmounts it. What the container wrote stays.
pub(crate) fn unmount(home: &Home, about: &Container) -> Result<()> {
    match of(home, about)? {
        Some(root) => Ok(root.unmount()?),
        None => Ok(()),
    }
}

/// Removes what the container wrote, and the image's layers if it was the last to need them.
pub(crate) fn remove(home: &Home, about: &Container) -> Result<()> {
    match of(home, about)? {
        Some(root) => give_up(home, root),
        None => Ok(()),
    }
}

/// The same for a root whose container may be gone.
pub(crate) fn give_up(home: &Home, root: Root) -> Result<()> {
    let store = Store::new(home.lib());
    let image = root.image().clone();
    root.remove(&store)?;
    if !store.has_name(&image)? {
        store.free()?;
    }
    Ok(())
}

/// Makes the folder in which the command begins, and those above it, as root's. A link leads to where it would in the
/// container (openat2(2)).
pub(crate) fn make_workdir(about: &Container) -> Result<()> {
    let (Some(workdir), Some(_)) = (&about.wish.process.workdir, &about.wish.image_id) else {
        return Ok(());
    };
    let failed = |errno: Errno| Error::file("create the working directory", workdir)(errno.into());
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let rootfs = &about.wish.rootfs;
    let root = openat2(CWD, rootfs, flags, Mode::empty(), ResolveFlags::empty());
    let root = root.map_err(failed)?;
    let inside = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    let mut made = PathBuf::from("/");
    for part in workdir.components() {
        let above = openat2(&root, &made, flags, Mode::empty(), inside).map_err(failed)?;
        made.push(part);
        match openat2(&root, &made, flags, Mode::empty(), inside) {
            Err(Errno::NOENT) => {}
            other => {
                other.map_err(failed)?;
                continue;
            }
        }
        let mode = Mode::RWXU | Mode::RGRP | Mode::XGRP | Mode::ROTH | Mode::XOTH;
        match mkdirat(&above, part.as_os_str(), mode) {
            // A link that leads nowhere: what the kernel says of it is told.
            Err(Errno::EXIST) | Ok(()) => {}
            Err(errno) => return Err(failed(errno)),
        }
    }
    openat2(&root, &made, flags, Mode::empty(), inside)
        .map(drop)
        .map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::is_path;

    #[test]
    fn a_folder_is_told_from_an_image_by_how_it_begins() {
        for folder in ["/", "/srv/root", "./root", "../root", ".", ".."] {
            assert!(is_path(folder), "{folder}");
        }
        for image in ["root", "team/app:1", ".hidden", "sha256:0123", "..x"] {
            assert!(!is_path(image), "{image}");
        }
    }
}
