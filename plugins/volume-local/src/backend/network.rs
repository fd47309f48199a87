//! A volume of a file server: mounted for its first user, unmounted after its last.
//! Asked for by type=nfs or type=cifs.
//! It must never touch the server in this process: a dead one would keep whoever asks, for ever.

use std::path::Path;

use wharfline_spec::docker::volume::Usage;

use super::{Backend, Copy, DATA, cannot, is_mounted, make_data};
use crate::error::Result;
use crate::options::{NetworkFs, Owner};
use crate::work::{self, Job, Nothing, Told};

pub(super) struct Network {
    pub(super) fs: NetworkFs,
    pub(super) read_only: bool,
}

impl Backend for Network {
    fn make(&self, folder: &Path) -> Result<()> {
        make_data(folder, &Owner::default())
    }

    fn mount(&self, folder: &Path) -> Result<()> {
        let place = folder.join(DATA);
        if is_mounted(&place)? {
            return Ok(());
        }
        let job = Job::Mount {
            kind: self.fs.kind.to_owned(),
            host: self.fs.host.clone(),
            path: self.fs.path.clone(),
            options: self.fs.options.clone(),
            read_only: self.read_only,
            place,
        };
        work::answer::<Nothing>(&job, work::MOUNT_WITHIN).map(drop)
    }

    fn unmount(&self, folder: &Path) -> Result<()> {
        let place = folder.join(DATA);
        if !is_mounted(&place)? {
            return Ok(());
        }
        let asked = |detach| {
            let job = Job::Unmount {
                place: place.clone(),
                detach,
            };
            work::answer::<Nothing>(&job, work::UNMOUNT_WITHIN).map(drop)
        };
        // What is not written yet is written first, unless the server is dead.
        asked(false).or_else(|_| asked(true))
    }

    fn duplicate(&self, _: &Path, _: &Path, _: Copy, _: Told<'_>) -> Result<()> {
        Err(cannot(
            self.fs.kind,
            "is its server's to copy: export it instead",
        ))
    }

    fn content(&self) -> Option<&'static str> {
        None
    }

    fn grow(&self, _: &Path, _: u64) -> Result<()> {
        Err(cannot(
            self.fs.kind,
            "has the size that its server gives it",
        ))
    }

    fn usage(&self, folder: &Path) -> Result<Usage> {
        let place = folder.join(DATA);
        match is_mounted(&place)? {
            true => work::answer(&Job::Space { place }, work::USAGE_WITHIN),
            false => Ok(Usage::default()),
        }
    }
}
