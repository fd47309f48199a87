//! A volume that is a file system in an image: a hard limit of bytes on any file system, of inodes with ext4.
//! Chosen where a limit is asked and the root's file system has none, or asked for by type=loop.
//! It must never have its image shown by two devices at once, nor copied while its file system is half written.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::{AtFlags, unlinkat};
use wharfline_kernel::fs::freeze::Frozen;
use wharfline_kernel::fs::loop_device::LoopDevice;
use wharfline_kernel::fs::mount::{Detached, FileSystem};
use wharfline_kernel::fs::{beneath, grow, share, space};
use wharfline_spec::docker::volume::Usage;

use super::{Backend, Copy, DATA, cannot, give, is_mounted, make_data};
use crate::error::{Error, Result};
use crate::options::{ImageFs, Limits, Owner};
use crate::program;
use crate::record::sync_folder;
use crate::users;
use crate::work::{self, Guard, Job, Told};

/// The image, in the volume's folder.
const IMAGE: &str = "image";
/// Unit of st_blocks (stat(2)).
const BLOCK: u64 = 512;

pub(super) struct LoopImage {
    pub(super) fs: ImageFs,
    pub(super) limits: Limits,
    pub(super) owner: Owner,
    pub(super) read_only: bool,
}

impl LoopImage {
    fn open(&self, folder: &Path) -> Result<File> {
        let path = folder.join(IMAGE);
        let opened = OpenOptions::new().read(true).write(true).open(&path);
        opened.map_err(Error::file("open", path))
    }

    /// Its file system, nowhere; it fills the image.
    fn mounted(&self, image: &File, path: &Path) -> Result<Detached> {
        let mounted = self.mounted_as_it_is(image)?;
        if self.fs == ImageFs::Ext4 {
            // Docker fills a volume from the image only while it is empty. e2fsck makes it again where it needs it; with
            // files in it, it stays.
            let _ = unlinkat(top(&mounted)?, "lost+found", AtFlags::REMOVEDIR);
        }
        let length = length_of(image, path)?;
        if self.fs == ImageFs::Ext4 && is_filled(image, path, length)? {
            return Ok(mounted);
        }
        match grow::to_device(top(&mounted)?, self.fs.name(), length) {
            Err(refused) if self.fs == ImageFs::Ext4 && refused.is_forbidden() => {
                drop(mounted);
                // It is as useful with its old size as it was before.
                if let Err(e) = grow_copy(path) {
                    tracing::warn!("{e}");
                }
                let image = OpenOptions::new().read(true).write(true).open(path);
                self.mounted_as_it_is(&image.map_err(Error::file("open", path))?)
            }
            grown => Ok(grown.map(|()| mounted)?),
        }
    }

    fn mounted_as_it_is(&self, image: &File) -> Result<Detached> {
        let device = LoopDevice::of(image, false)?;
        // A device that was there before the image grew.
        device.grown()?;
        let source = device.path().to_string_lossy().into_owned();
        let mut options = vec![("discard".to_owned(), None)];
        if self.fs == ImageFs::Xfs {
            // A clone's file system has the identifier of the original's.
            options.push(("nouuid".to_owned(), None));
        }
        let filesystem = FileSystem {
            kind: self.fs.name(),
            source: &source,
            options: &options,
            read_only: false,
        };
        Ok(filesystem.mount()?)
    }

    /// An image of its full length, and all of it holes.
    fn make_image(&self, folder: &Path) -> Result<File> {
        let path = folder.join(IMAGE);
        let bytes = self.limits.bytes.unwrap_or_default();
        let mut options = OpenOptions::new();
        options.read(true).write(true).create_new(true).mode(0o600);
        let image = options.open(&path).map_err(Error::file("make", &path))?;
        image
            .set_len(bytes)
            .map_err(Error::file("set the length of", &path))?;
        Ok(image)
    }

    fn mkfs(&self, image: &Path) -> Result<()> {
        let image = image.to_string_lossy();
        let inodes = self.limits.inodes.map(|n| n.to_string());
        let mut arguments = match self.fs {
            ImageFs::Ext4 => vec!["-q", "-F", "-m", "0", "-E", "lazy_itable_init=1,nodiscard"],
            ImageFs::Xfs => vec!["-q", "-K"],
            ImageFs::Btrfs => vec!["-q", "-K"],
        };
        if let Some(inodes) = &inodes {
            arguments.extend(["-N", inodes]);
        }
        arguments.push(&image);
        program::run(&format!("mkfs.{}", self.fs.name()), &arguments)
    }

    /// Copies the image while nobody writes it.
    fn copy_image(&self, from: &Path, to: &Path, told: Told<'_>) -> Result<()> {
        let source = self.open(from)?;
        let path = to.join(IMAGE);
        let mut options = OpenOptions::new();
        options.write(true).create_new(true).mode(0o600);
        let target = options.open(&path).map_err(Error::file("make", &path))?;
        let shared = |_: ()| share::clone(&source, &target);
        let data = from.join(DATA);
        if !is_mounted(&data)? {
            if self.is_elsewhere(from)? {
                return Err(cannot(
                    "loop",
                    "is still mounted by somebody else: it cannot be copied now",
                ));
            }
            return match shared(())? {
                true => Ok(()),
                false => copy_slowly(from, &path, None, told),
            };
        }
        // Nobody lets the writers wait for ever: this process's end thaws it, and so does a deadline.
        let guard = Guard::over(&data)?;
        let frozen = Frozen::freeze(beneath::folder(&data)?)?;
        let copied = match shared(())? {
            true => Ok(()),
            false => copy_slowly(from, &path, Some(work::FROZEN_AT_MOST), told),
        };
        drop(frozen);
        guard.release();
        copied
    }
}

fn copy_slowly(
    from: &Path,
    to: &Path,
    within: Option<std::time::Duration>,
    told: Told<'_>,
) -> Result<()> {
    let job = Job::CopyFile {
        from: from.join(IMAGE),
        to: to.to_owned(),
    };
    match work::run(&job, within, told) {
        Err(Error::Late { .. }) => Err(cannot(
            "loop",
            "in use is copied only where that takes less than 10 s: stop its containers, or keep images on XFS or btrfs",
        )),
        other => other.map(drop),
    }
}

impl Backend for LoopImage {
    fn make(&self, folder: &Path) -> Result<()> {
        let image = self.make_image(folder)?;
        self.mkfs(&folder.join(IMAGE))?;
        make_data(folder, &Owner::default())?;
        let path = folder.join(IMAGE);
        give(&top(&self.mounted(&image, &path)?)?, &self.owner)?;
        // It is mounted no more, and all of it in the image.
        image.sync_all().map_err(Error::file("sync", path))
    }

    fn mount(&self, folder: &Path) -> Result<()> {
        let data = folder.join(DATA);
        if is_mounted(&data)? {
            return Ok(());
        }
        let mounted = self.mounted(&self.open(folder)?, &folder.join(IMAGE))?;
        mounted.attach(beneath::folder(&data)?)?;
        match self.read_only {
            true => Ok(wharfline_kernel::fs::mount::make_read_only(&data)?),
            false => Ok(()),
        }
    }

    fn duplicate(&self, from: &Path, to: &Path, copy: Copy, told: Told<'_>) -> Result<()> {
        make_data(to, &Owner::default())?;
        self.copy_image(from, to, told)?;
        let image = self.open(to)?;
        let length = image.metadata().map_err(Error::file("look at", to))?.len();
        // A snapshot of before the volume grew.
        let wanted = self.limits.bytes.unwrap_or(length).max(length);
        if copy == Copy::Volume {
            image
                .set_len(wanted)
                .map_err(Error::file("set the length of", to))?;
        }
        if copy == Copy::Volume && self.fs == ImageFs::Btrfs {
            // The kernel takes two of one identifier for one.
            program::run(
                "btrfstune",
                &["-f", "-m", &to.join(IMAGE).to_string_lossy()],
            )?;
        }
        image.sync_all().map_err(Error::file("sync", to))
    }

    fn copies_at_once(&self) -> bool {
        true
    }

    fn is_elsewhere(&self, folder: &Path) -> Result<bool> {
        match LoopDevice::find(&self.open(folder)?)? {
            Some(device) => users::has_device(device.path()),
            None => Ok(false),
        }
    }

    fn content(&self) -> Option<&'static str> {
        Some(IMAGE)
    }

    fn grow(&self, folder: &Path, bytes: u64) -> Result<()> {
        let (image, path) = (self.open(folder)?, folder.join(IMAGE));
        let before = image
            .metadata()
            .map_err(Error::file("look at", &path))?
            .len();
        let set = |bytes| {
            image
                .set_len(bytes)
                .map_err(Error::file("set the length of", &path))
        };
        set(bytes)?;
        let data = folder.join(DATA);
        let device = match is_mounted(&data)? {
            true => LoopDevice::find(&image)?,
            false => None,
        };
        // What is not mounted here grows at its next mount.
        let Some(device) = device else {
            return Ok(());
        };
        let capacity = || Ok::<u64, Error>(space::of(beneath::folder(&data)?)?.bytes);
        let at_first = capacity()?;
        let grown = device.grown().and_then(|()| {
            let top = beneath::folder(&data)?;
            grow::to_device(top, self.fs.name(), bytes)
        });
        let Err(refused) = grown else {
            return Ok(());
        };
        // What the file system has taken already can't be cut off any more.
        if capacity()? == at_first {
            set(before)?;
            device.grown()?;
        }
        match self.fs == ImageFs::Ext4 && refused.is_forbidden() {
            true => Err(cannot(
                "loop",
                "with ext4 grows in use only where the plugin has CAP_SYS_RESOURCE: stop its containers first",
            )),
            false => Err(refused.into()),
        }
    }

    fn usage(&self, folder: &Path) -> Result<Usage> {
        let data = folder.join(DATA);
        if is_mounted(&data)? {
            return Ok(super::tmpfs::of_space(space::of(beneath::folder(&data)?)?));
        }
        let path = folder.join(IMAGE);
        let about = fs::metadata(&path).map_err(Error::file("look at", path))?;
        let used = about.blocks() * BLOCK;
        Ok(Usage {
            used_bytes: Some(used),
            free_bytes: Some(about.len().saturating_sub(used)),
            ..Usage::default()
        })
    }
}

/// The top folder of a mount that is nowhere, opened for what a mere place in it does not allow.
fn top(mounted: &Detached) -> Result<std::os::fd::OwnedFd> {
    Ok(beneath::folder_in(mounted.root(), Path::new("."))?)
}

fn length_of(image: &File, path: &Path) -> Result<u64> {
    let about = image.metadata().map_err(Error::file("look at", path))?;
    Ok(about.len())
}

/// Whether an ext4 is as large as its image.
fn is_filled(image: &File, path: &Path, length: u64) -> Result<bool> {
    let size = ext4_size(image).map_err(Error::file("read the superblock of", path))?;
    // A file system ends with a whole block.
    Ok(size + 65_536 > length)
}

/// Lets an ext4 that nobody has mounted fill its image: while it is mounted that needs CAP_SYS_RESOURCE, which not
/// everybody has (fs/ext4/resize.c, ext4_resize_begin). On a copy, because resize2fs(8) keeps no journal: a power cut would
/// leave neither size.
fn grow_copy(path: &Path) -> Result<()> {
    let aside = path.with_extension("new");
    let copied = copy_and_grow(path, &aside);
    if copied.is_err() {
        // What could not be made whole is of no use.
        let _ = fs::remove_file(&aside);
    }
    copied?;
    fs::rename(&aside, path).map_err(Error::file("rename to", path))?;
    let folder = path.parent().unwrap_or(Path::new("/"));
    sync_folder(folder).map_err(Error::file("sync", folder))
}

fn copy_and_grow(path: &Path, aside: &Path) -> Result<()> {
    let source = File::open(path).map_err(Error::file("open", path))?;
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    let target = options.open(aside).map_err(Error::file("make", aside))?;
    if !share::clone(&source, &target)? {
        let job = Job::CopyFile {
            from: path.to_owned(),
            to: aside.to_owned(),
        };
        work::run(&job, None, &mut |_| Ok(()))?;
    }
    let length = length_of(&source, path)?;
    target
        .set_len(length)
        .map_err(Error::file("set the length of", aside))?;
    let name = aside.to_string_lossy();
    program::run_with("e2fsck", &["-f", "-p", &name], &[0, 1])?;
    program::run("resize2fs", &["-f", &name])?;
    target.sync_all().map_err(Error::file("sync", aside))
}

/// Bytes of an ext4 by its superblock (Documentation/filesystems/ext4/super.rst).
fn ext4_size(image: &File) -> std::io::Result<u64> {
    let word = |offset: u64| {
        let mut bytes = [0; 4];
        image.read_exact_at(&mut bytes, 1024 + offset)?;
        Ok::<u64, std::io::Error>(u32::from_le_bytes(bytes).into())
    };
    let blocks = word(0x150)? << 32 | word(0x4)?;
    Ok(blocks.saturating_mul(1024 << word(0x18)?.min(6)))
}
