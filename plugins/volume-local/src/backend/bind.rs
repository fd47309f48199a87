//! A folder of the host's that becomes a volume: adopted, mounted, and never deleted.
//! Asked for by mountpoint=/PATH or type=bind.
//! It must never follow a symlink on the way to it, nor write anything into it.

use std::path::{Path, PathBuf};

use wharfline_kernel::fs::beneath;
use wharfline_spec::docker::volume::Usage;

use super::directory::{copy_tree, measure};
use super::{Backend, Copy, DATA, cannot, is_mounted, make_data, show};
use crate::error::Result;
use crate::options::Owner;
use crate::work::Told;

pub(super) struct Bind {
    pub(super) path: PathBuf,
    pub(super) read_only: bool,
}

impl Backend for Bind {
    fn make(&self, folder: &Path) -> Result<()> {
        // That it is there is asked now, so that the user hears of it.
        beneath::folder(&self.path)?;
        make_data(folder, &Owner::default())
    }

    fn mount(&self, folder: &Path) -> Result<()> {
        let data = folder.join(DATA);
        match is_mounted(&data)? {
            true => Ok(()),
            // By descriptor: whoever exchanges a folder for a symlink meanwhile changes nothing.
            false => show(&beneath::folder(&self.path)?, &data, self.read_only),
        }
    }

    fn duplicate(&self, from: &Path, to: &Path, _: Copy, told: Told<'_>) -> Result<()> {
        make_data(to, &Owner::default())?;
        // A snapshot's files are in its own folder.
        let is_snapshot = from.join("snapshot.json").exists();
        let files = if is_snapshot {
            from.join(DATA)
        } else {
            self.path.clone()
        };
        copy_tree(&files, &to.join(DATA), told)
    }

    fn content(&self) -> Option<&'static str> {
        None
    }

    fn grow(&self, _: &Path, _: u64) -> Result<()> {
        Err(cannot("bind", "has no size"))
    }

    fn usage(&self, _: &Path) -> Result<Usage> {
        measure(&self.path)
    }

    fn files(&self, _: &Path) -> PathBuf {
        self.path.clone()
    }
}
