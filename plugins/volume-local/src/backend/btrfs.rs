//! A volume that is a subvolume of btrfs: a quota group limits it, snapshots and clones are instant.
//! Chosen where the root is on btrfs.
//! It must never enable quota groups before somebody asks for a size: they cost every writer of the file system.

use std::path::Path;

use wharfline_kernel::fs::{beneath, btrfs};
use wharfline_spec::docker::volume::Usage;

use super::directory::{give_owner, measure};
use super::{Backend, Copy, DATA, cannot, show_read_only};
use crate::error::{Error, Result};
use crate::options::{Limits, Owner};
use crate::work::Told;

pub(super) struct Subvolume {
    pub(super) limits: Limits,
    pub(super) owner: Owner,
    pub(super) read_only: bool,
}

impl Subvolume {
    fn limit(&self, folder: &Path) -> Result<()> {
        let Some(bytes) = self.limits.bytes else {
            return Ok(());
        };
        let data = beneath::folder(&folder.join(DATA))?;
        btrfs::enable_quota(&data).map_err(Error::at(folder))?;
        btrfs::limit(&data, bytes).map_err(Error::at(folder))
    }
}

fn commit(folder: &Path) -> Result<()> {
    btrfs::commit(beneath::folder(folder)?).map_err(Error::at(folder))
}

impl Backend for Subvolume {
    fn make(&self, folder: &Path) -> Result<()> {
        btrfs::create(beneath::folder(folder)?, DATA).map_err(Error::at(folder))?;
        self.limit(folder)?;
        give_owner(folder, &self.owner)?;
        commit(folder)
    }

    fn mount(&self, folder: &Path) -> Result<()> {
        if let Some(bytes) = self.limits.bytes {
            let data = beneath::folder(&folder.join(DATA))?;
            // It was to grow when the power went.
            if btrfs::limit_of(&data).map_err(Error::at(folder))? != Some(bytes) {
                self.limit(folder)?;
            }
        }
        show_read_only(folder, self.read_only)
    }

    fn duplicate(&self, from: &Path, to: &Path, copy: Copy, _: Told<'_>) -> Result<()> {
        let source = beneath::folder(&from.join(DATA))?;
        let target = beneath::folder(to)?;
        btrfs::snapshot(source, target, DATA, copy == Copy::Snapshot).map_err(Error::at(from))?;
        if copy == Copy::Volume {
            self.limit(to)?;
        }
        commit(to)
    }

    fn copies_at_once(&self) -> bool {
        true
    }

    fn grow(&self, folder: &Path, bytes: u64) -> Result<()> {
        match self.limits.bytes {
            None => Err(cannot("btrfs", "without a size has no limit to raise")),
            Some(_) => {
                let data = beneath::folder(&folder.join(DATA))?;
                btrfs::limit(data, bytes).map_err(Error::at(folder))?;
                commit(folder)
            }
        }
    }

    fn usage(&self, folder: &Path) -> Result<Usage> {
        let data = beneath::folder(&folder.join(DATA))?;
        let used = btrfs::used(data).map_err(Error::at(folder))?;
        match (used, self.limits.bytes) {
            (Some(used), Some(limit)) => Ok(Usage {
                used_bytes: Some(used),
                free_bytes: Some(limit.saturating_sub(used)),
                ..Usage::default()
            }),
            _ => measure(&folder.join(DATA)),
        }
    }
}
