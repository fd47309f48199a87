//! What drivers have mounted for one container, and whether its new volumes are filled: `volumes.json` in its folder.
//! `volume` writes it around each call of a driver.
//! It must never forget a mount that a driver may still count.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use wharf_protocol::{boot_id, write_atomically};

use super::driver::Driver;
use crate::container::Folder;
use crate::error::{Error, Result};
use crate::home::Home;

const FILE: &str = "volumes.json";

/// The file.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Held {
    #[serde(skip)]
    path: PathBuf,
    /// What was mounted in another boot is not mounted any more.
    boot_id: String,
    /// Whether what the image has where volumes are was copied into them: once in a container's life.
    pub(super) filled: bool,
    mounts: Vec<Mounted>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Mounted {
    driver: String,
    volume: String,
    /// Where, once the driver has answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    path: Option<PathBuf>,
    /// Whether a driver was asked to mount or unmount it and nobody noted the answer: it may be mounted or not.
    doubtful: bool,
}

impl Held {
    pub(super) fn read(folder: &Folder) -> Result<Held> {
        let path = folder.path().join(FILE);
        let mut held = match fs::read(&path) {
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => Held::default(),
            Err(cause) => return Err(Error::file("read", path)(cause)),
            Ok(text) => {
                let malformed = |source| Error::Malformed {
                    path: path.clone(),
                    source,
                };
                serde_json::from_slice(&text).map_err(malformed)?
            }
        };
        if held.boot_id != boot_id() {
            held.boot_id = boot_id();
            held.mounts.clear();
        }
        held.path = path;
        Ok(held)
    }

    pub(super) fn write(&self) -> Result<()> {
        let text = serde_json::to_vec_pretty(self).unwrap_or_default();
        write_atomically(&self.path, &text).map_err(Error::file("write", &self.path))
    }

    /// Notes that a driver is about to be asked for a volume.
    pub(super) fn begin(&mut self, driver: &str, volume: &str) -> Result<()> {
        self.mounts.retain(|mounted| mounted.volume != volume);
        self.mounts.push(Mounted {
            driver: driver.to_owned(),
            volume: volume.to_owned(),
            path: None,
            doubtful: true,
        });
        self.write()
    }

    /// Notes its answer.
    pub(super) fn mounted_at(&mut self, volume: &str, path: &Path) -> Result<()> {
        for mounted in &mut self.mounts {
            if mounted.volume == volume {
                mounted.path = Some(path.to_owned());
                mounted.doubtful = false;
            }
        }
        self.write()
    }

    /// Has each volume unmounted; what could not be stays noted.
    pub(super) fn release(&mut self, home: &Home, container: &str) -> Vec<Error> {
        let all = self.mounts.iter();
        let all: Vec<(String, String)> = all
            .map(|mounted| (mounted.driver.clone(), mounted.volume.clone()))
            .collect();
        let unmounted = all.iter().map(|(driver, volume)| {
            let driver = Driver::find(home, driver)?;
            self.unmount(&driver, volume, container)
        });
        unmounted.filter_map(Result::err).collect()
    }

    /// A wharf that is killed between a driver's answer and the note of it leaves a doubt. Only after one, a refusal says
    /// that the volume is unmounted already.
    fn unmount(&mut self, driver: &Driver, volume: &str, container: &str) -> Result<()> {
        let doubted = self.doubt(volume, true);
        self.write()?;
        match driver.unmount(volume, container) {
            Err(error @ Error::Driver { answered: true, .. }) if !doubted => {
                self.doubt(volume, false);
                self.write()?;
                Err(error)
            }
            Ok(()) | Err(Error::Driver { answered: true, .. }) => {
                self.mounts.retain(|mounted| mounted.volume != volume);
                self.write()
            }
            Err(error) => Err(error),
        }
    }

    /// Notes whether it is in doubt that a volume is mounted; whether it was.
    fn doubt(&mut self, volume: &str, doubtful: bool) -> bool {
        let mut all = self.mounts.iter_mut();
        let known = all.find(|mounted| mounted.volume == volume);
        known.is_some_and(|mounted| std::mem::replace(&mut mounted.doubtful, doubtful))
    }

    pub(super) fn forget(&mut self) -> Result<()> {
        if self.mounts.is_empty() {
            return Ok(());
        }
        self.mounts.clear();
        self.write()
    }
}
