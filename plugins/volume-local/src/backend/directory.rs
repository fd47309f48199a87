//! A volume that is a folder: no limits, and copies file by file, which share extents where the file system can.
//! Chosen where no size is asked and the root is not on btrfs.
//! It must never be limited by promise only: `options` refuses a size with it.

use std::path::Path;

use wharfline_kernel::fs::beneath;
use wharfline_spec::docker::volume::Usage;

use super::{Backend, Copy, DATA, cannot, give, make_data, show_read_only};
use crate::error::Result;
use crate::options::Owner;
use crate::work::{self, Job, Told};

pub(super) struct Directory {
    pub(super) owner: Owner,
    pub(super) read_only: bool,
}

impl Backend for Directory {
    fn make(&self, folder: &Path) -> Result<()> {
        make_data(folder, &self.owner)
    }

    fn mount(&self, folder: &Path) -> Result<()> {
        show_read_only(folder, self.read_only)
    }

    fn duplicate(&self, from: &Path, to: &Path, _: Copy, told: Told<'_>) -> Result<()> {
        make_data(to, &Owner::default())?;
        copy_tree(&from.join(DATA), &to.join(DATA), told)
    }

    fn grow(&self, _: &Path, _: u64) -> Result<()> {
        Err(cannot(
            "directory",
            "has no size: its file system's is its limit",
        ))
    }

    fn usage(&self, folder: &Path) -> Result<Usage> {
        measure(&folder.join(DATA))
    }
}

/// Copies a tree in a process of its own.
pub(super) fn copy_tree(from: &Path, to: &Path, told: Told<'_>) -> Result<()> {
    let job = Job::CopyTree {
        from: from.to_owned(),
        to: to.to_owned(),
    };
    work::run(&job, None, told).map(drop)
}

/// What the files below `place` take, counted one by one.
pub(super) fn measure(place: &Path) -> Result<Usage> {
    let job = Job::Measure {
        place: place.to_owned(),
    };
    work::answer(&job, work::USAGE_WITHIN)
}

/// For a folder that was made otherwise.
pub(super) fn give_owner(folder: &Path, owner: &Owner) -> Result<()> {
    give(&beneath::folder(&folder.join(DATA))?, owner)
}
