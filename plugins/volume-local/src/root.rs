//! The root: where volumes are, where they are made before they are seen, and where they go before they are deleted.
//! `driver` makes, finds and removes volumes by it.
//! It must never let half of a volume be seen: what has a name came by one rename, and goes by one.
//!
//! ```text
//! ROOT/volumes/NAME/volume.json            the record
//!                  /data                   the volume, or the place where it is mounted
//!                  /image                  of a loop volume
//!                  /snapshots/NAME/...     the same once more, with snapshot.json
//!     /staging/N   what is being made
//!     /trash/N     what is being deleted
//!     /lock        held by the one server of this root
//! ```

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use wharfline_kernel::fs::{beneath, btrfs, mount, mountinfo};
use wharfline_spec::VolumeName;

use crate::error::{Error, Result};
use crate::record;

/// Passed through by whoever looks for a volume, but not listed: names are the administrator's business.
const FOLDER_MODE: u32 = 0o711;

/// A root, ours alone.
#[derive(Debug)]
pub(crate) struct Root {
    path: PathBuf,
    next: AtomicU64,
    left: Mutex<Vec<PathBuf>>,
    _lock: File,
}

/// A folder that is being made. Dropped before it was published, it goes to the trash.
#[derive(Debug)]
pub(crate) struct Staged<'a> {
    root: &'a Root,
    path: Option<PathBuf>,
}

impl Root {
    /// Takes the root at `path`, which is made when it is not there.
    ///
    /// # Errors
    /// Another server has it; it cannot be written; it is reached by a symlink.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        make_all(path).map_err(Error::file("make", path))?;
        let path = fs::canonicalize(path).map_err(Error::file("find", path))?;
        for part in ["volumes", "staging", "trash"] {
            let part = path.join(part);
            make_all(&part).map_err(Error::file("make", part))?;
        }
        let lock = lock(&path.join("lock"))?;
        // Whatever is there now is nobody's; what comes later is being made.
        let left = |part: &str| {
            fs::read_dir(path.join(part))
                .into_iter()
                .flatten()
                .flatten()
        };
        let left = left("staging").chain(left("trash"));
        let left = Mutex::new(left.map(|entry| entry.path()).collect());
        let since = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let next = AtomicU64::new(u64::try_from(since.as_nanos()).unwrap_or_default());
        Ok(Self {
            path,
            next,
            left,
            _lock: lock,
        })
    }

    /// Its path, without symlinks.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// A volume's folder.
    pub(crate) fn of(&self, name: &VolumeName) -> PathBuf {
        self.path.join("volumes").join(name.as_str())
    }

    /// The names that are there. What has another name than a volume can have is not ours.
    pub(crate) fn names(&self) -> Result<Vec<VolumeName>> {
        names_in(&self.path.join("volumes"))
    }

    /// An empty folder that nobody sees.
    pub(crate) fn stage(&self) -> Result<Staged<'_>> {
        let path = self.path.join("staging").join(self.unique());
        make(&path).map_err(Error::file("make", &path))?;
        Ok(Staged {
            root: self,
            path: Some(path),
        })
    }

    /// Takes the folder `path` out of sight; what is to be deleted then.
    pub(crate) fn discard(&self, path: &Path) -> Result<PathBuf> {
        let trash = self.path.join("trash").join(self.unique());
        fs::rename(path, &trash).map_err(Error::file("take away", path))?;
        let from = path.parent().unwrap_or(Path::new("/"));
        record::sync_folder(from).map_err(Error::file("sync", from))?;
        Ok(trash)
    }

    /// Deletes all that an earlier life left half made or half deleted.
    pub(crate) fn clear(&self) -> Vec<Error> {
        let left = std::mem::take(&mut *self.left.lock().unwrap_or_else(|e| e.into_inner()));
        left.iter().filter_map(|path| delete(path).err()).collect()
    }

    fn unique(&self) -> String {
        self.next.fetch_add(1, Ordering::Relaxed).to_string()
    }
}

impl Staged<'_> {
    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        self.path.as_deref().unwrap_or(Path::new("/nonexistent"))
    }

    /// Lets it appear at `place`; false where the name is taken.
    pub(crate) fn publish(mut self, place: &Path) -> Result<bool> {
        let parent = place.parent().unwrap_or(Path::new("/"));
        record::sync_folder(self.path()).map_err(Error::file("sync", self.path()))?;
        match beneath::rename_new(self.path(), place) {
            Ok(()) => {
                self.path = None;
                record::sync_folder(parent).map_err(Error::file("sync", parent))?;
                Ok(true)
            }
            Err(refused) if refused.is_present() => Ok(false),
            Err(refused) => Err(refused.into()),
        }
    }
}

impl Drop for Staged<'_> {
    fn drop(&mut self) {
        let Some(path) = self.path.take() else { return };
        let gone = self.root.discard(&path).and_then(|trash| delete(&trash));
        if let Err(e) = gone {
            tracing::warn!("{e}");
        }
    }
}

/// Opened for reading alone: a root that nobody may write any more is still locked, and can be made read-only.
fn lock(path: &Path) -> Result<File> {
    if !path.exists() {
        File::create(path).map_err(Error::file("make", path))?;
    }
    let lock = File::open(path).map_err(Error::file("open", path))?;
    if lock.try_lock().is_err() {
        let told = "another server has this root".to_owned();
        let cause = io::Error::new(io::ErrorKind::WouldBlock, told);
        return Err(Error::file("lock", path)(cause));
    }
    Ok(lock)
}

/// The names of volumes or snapshots in a folder; one that is not there has none.
pub(crate) fn names_in(folder: &Path) -> Result<Vec<VolumeName>> {
    let entries = match fs::read_dir(folder) {
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.map_err(Error::file("list", folder))?,
    };
    let names = entries
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok());
    let mut names: Vec<_> = names
        .filter_map(|name| VolumeName::new(&name).ok())
        .collect();
    names.sort();
    Ok(names)
}

/// Makes a folder that nobody else may list.
pub(crate) fn make(path: &Path) -> io::Result<()> {
    DirBuilder::new().mode(FOLDER_MODE).create(path)
}

fn make_all(path: &Path) -> io::Result<()> {
    let mut builder = DirBuilder::new();
    let made = builder.mode(FOLDER_MODE).recursive(true).create(path);
    // What is there but can't be looked at, as on a dead disk, is in the way of a folder for the library.
    made.map_err(|cause| match cause.kind() {
        io::ErrorKind::AlreadyExists => fs::metadata(path).err().unwrap_or(cause),
        _ => cause,
    })
}

/// Deletes a folder of the trash: mounts first, so that nothing beyond them is touched, then subvolumes, then files.
///
/// # Errors
/// What of it cannot be deleted; the rest is gone.
pub(crate) fn delete(path: &Path) -> Result<()> {
    for mounted in mountinfo::ours()?
        .iter()
        .rev()
        .filter(|m| m.place.starts_with(path))
    {
        mount::detach_at(&mounted.place)?;
    }
    delete_subvolumes(path)?;
    match fs::remove_dir_all(path) {
        Err(cause) if cause.kind() != io::ErrorKind::NotFound => {
            Err(Error::file("delete", path)(cause))
        }
        _ => Ok(()),
    }
}

/// Those that we made ourselves, each in one step and with its quota group: `data`, and that of each snapshot. What a
/// container made below them goes as folders do.
fn delete_subvolumes(path: &Path) -> Result<()> {
    let Ok(top) = beneath::folder(path) else {
        return Ok(());
    };
    if !btrfs::is_btrfs(&top)? {
        return Ok(());
    }
    let snapshots = names_in(&path.join("snapshots"))?;
    let of_snapshot = |name: VolumeName| path.join("snapshots").join(name.as_str());
    for folder in snapshots
        .into_iter()
        .map(of_snapshot)
        .chain([path.to_owned()])
    {
        let (Ok(parent), Ok(data)) = (
            beneath::folder(&folder),
            beneath::folder(&folder.join("data")),
        ) else {
            continue;
        };
        if !btrfs::is_subvolume(&data)? {
            continue;
        }
        let qgroup = btrfs::id(&data)?;
        drop(data);
        match btrfs::delete(&parent, "data") {
            // Refused while the kernel still takes it apart; then it stays, and limits nobody.
            Ok(()) => drop(btrfs::forget_quota_group(&parent, qgroup)),
            Err(e) if e.is_not_empty() => {}
            Err(e) => return Err(e.into()),
        }
    }
    Ok(())
}
