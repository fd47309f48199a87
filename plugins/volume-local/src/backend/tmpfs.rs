//! A volume in memory: it lives from its first mount to its last unmount.
//! Asked for by type=tmpfs.
//! It must never be taken for lasting: there is nothing to copy.

use std::path::Path;

use wharfline_kernel::fs::{beneath, mount, space};
use wharfline_spec::docker::volume::Usage;

use super::{Backend, Copy, DATA, cannot, is_mounted, make_data};
use crate::error::Result;
use crate::options::{Limits, Owner};
use crate::work::Told;

pub(super) struct Tmpfs {
    pub(super) limits: Limits,
    pub(super) owner: Owner,
    pub(super) read_only: bool,
}

impl Backend for Tmpfs {
    fn make(&self, folder: &Path) -> Result<()> {
        make_data(folder, &Owner::default())
    }

    fn mount(&self, folder: &Path) -> Result<()> {
        let data = folder.join(DATA);
        if is_mounted(&data)? {
            return Ok(());
        }
        let mut options = Vec::new();
        let mut option = |key: &str, value: String| options.push((key.to_owned(), Some(value)));
        if let Some(bytes) = self.limits.bytes {
            option("size", bytes.to_string());
        }
        if let Some(inodes) = self.limits.inodes {
            option("nr_inodes", inodes.to_string());
        }
        let filesystem = mount::FileSystem {
            kind: "tmpfs",
            source: "wharfline",
            options: &options,
            // Else its top folder could not be given away.
            read_only: false,
        };
        let mounted = filesystem.mount()?;
        super::give(
            beneath::folder_in(mounted.root(), Path::new("."))?,
            &self.owner,
        )?;
        mounted.attach(beneath::folder(&data)?)?;
        match self.read_only {
            true => Ok(mount::make_read_only(&data)?),
            false => Ok(()),
        }
    }

    fn duplicate(&self, _: &Path, _: &Path, _: Copy, _: Told<'_>) -> Result<()> {
        Err(cannot("tmpfs", "is in memory: there is no copy of it"))
    }

    fn content(&self) -> Option<&'static str> {
        None
    }

    fn grow(&self, folder: &Path, bytes: u64) -> Result<()> {
        let data = folder.join(DATA);
        match is_mounted(&data)? {
            true => Ok(mount::reconfigure(&data, &format!("size={bytes}"))?),
            false => Ok(()),
        }
    }

    fn usage(&self, folder: &Path) -> Result<Usage> {
        let data = folder.join(DATA);
        match is_mounted(&data)? {
            true => Ok(of_space(space::of(beneath::folder(&data)?)?)),
            false => Ok(Usage {
                used_bytes: Some(0),
                free_bytes: self.limits.bytes,
                ..Usage::default()
            }),
        }
    }
}

/// What a file system of the volume's own says.
pub(super) fn of_space(now: space::Space) -> Usage {
    let has_inodes = now.inodes > 0;
    Usage {
        used_bytes: Some(now.bytes.saturating_sub(now.free_bytes)),
        free_bytes: Some(now.free_bytes),
        used_inodes: has_inodes.then(|| now.inodes.saturating_sub(now.free_inodes)),
        free_inodes: has_inodes.then_some(now.free_inodes),
    }
}
