//! A volume that is a folder with a project quota: bytes and inodes are limited by XFS or ext4 itself.
//! Chosen where a limit is asked and the root's file system counts by project.
//! It must never take a project that another volume has: its number is kept by the folder itself, nowhere else.

use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use wharfline_kernel::fs::{beneath, project};
use wharfline_spec::docker::volume::Usage;

use super::directory::copy_tree;
use super::{Backend, Copy, DATA, cannot, make_data, show_read_only};
use crate::error::Result;
use crate::options::{Limits, Owner};
use crate::root::names_in;
use crate::work::Told;

/// Projects of administrators are small numbers (projid(5)); ours begin here.
const FIRST: u32 = 1 << 20;

/// The next number that may be free, once they were looked through.
static NEXT: Mutex<Option<u32>> = Mutex::new(None);

pub(super) struct Quota {
    pub(super) limits: Limits,
    pub(super) owner: Owner,
    pub(super) read_only: bool,
    pub(super) root: PathBuf,
}

impl Quota {
    fn limit(&self, data: impl AsFd) -> Result<()> {
        if !project::is_on(&data) {
            return Err(cannot(
                "quota",
                "needs a root on XFS or ext4 that is mounted with prjquota",
            ));
        }
        let number = self.free_number()?;
        let (bytes, inodes) = (self.limits.bytes, self.limits.inodes);
        project::limit(&data, number, bytes.unwrap_or(0), inodes.unwrap_or(0))?;
        Ok(project::assign(data, number)?)
    }

    fn free_number(&self) -> Result<u32> {
        let mut next = NEXT.lock().unwrap_or_else(|e| e.into_inner());
        let number = match *next {
            Some(number) => number,
            None => {
                let volumes = self.root.join("volumes");
                let taken = names_in(&volumes)?.into_iter().filter_map(|name| {
                    let data = beneath::folder(&volumes.join(name.as_str()).join(DATA)).ok()?;
                    project::of(data).ok()
                });
                taken.max().map_or(FIRST, |most| most.max(FIRST) + 1)
            }
        };
        *next = Some(number + 1);
        Ok(number)
    }
}

impl Backend for Quota {
    fn make(&self, folder: &Path) -> Result<()> {
        make_data(folder, &self.owner)?;
        self.limit(beneath::folder(&folder.join(DATA))?)
    }

    fn mount(&self, folder: &Path) -> Result<()> {
        let bytes = self.limits.bytes.unwrap_or(0);
        let data = beneath::folder(&folder.join(DATA))?;
        // It was to grow when the power went.
        if project::is_on(&data) && project::usage(&data, project::of(&data)?)?.most_bytes < bytes {
            self.grow(folder, bytes)?;
        }
        show_read_only(folder, self.read_only)
    }

    fn duplicate(&self, from: &Path, to: &Path, copy: Copy, told: Told<'_>) -> Result<()> {
        make_data(to, &Owner::default())?;
        if copy == Copy::Volume {
            self.limit(beneath::folder(&to.join(DATA))?)?;
        }
        copy_tree(&from.join(DATA), &to.join(DATA), told)
    }

    fn grow(&self, folder: &Path, bytes: u64) -> Result<()> {
        let data = beneath::folder(&folder.join(DATA))?;
        let number = project::of(&data)?;
        Ok(project::limit(
            data,
            number,
            bytes,
            self.limits.inodes.unwrap_or(0),
        )?)
    }

    fn usage(&self, folder: &Path) -> Result<Usage> {
        let data = beneath::folder(&folder.join(DATA))?;
        let number = project::of(&data)?;
        let now = project::usage(data, number)?;
        let left = |most: u64, used: u64| (most > 0).then(|| most.saturating_sub(used));
        Ok(Usage {
            used_bytes: Some(now.bytes),
            free_bytes: left(now.most_bytes, now.bytes),
            used_inodes: Some(now.inodes),
            free_inodes: left(now.most_inodes, now.inodes),
        })
    }
}
