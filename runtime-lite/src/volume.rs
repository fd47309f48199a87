//! Volumes: what outlives containers, by name. A folder below /var/lib, or what a driver keeps (`driver`).
//! `mounts` names them, `start` makes them, `settle` gives them back, `remove` takes away those without a name.
//! It must never remove one that has a name, unless it is asked to by that name.

pub(crate) mod command;
mod driver;
mod held;
mod operations;

pub(crate) use self::operations::{BackupOperation, Migrate};
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use wharf_image::Store;
use wharf_protocol::write_atomically;
use wharfline_spec::ContainerId;

use crate::container::{Container, Folder, MountKind, VolumeDriver};
use crate::error::{Error, Result};
use crate::home::Home;
use driver::Driver;
use held::Held;

/// The name of the driver that is none: folders of wharf's, as Docker calls them.
pub(crate) const LOCAL: &str = "local";
/// The file beside a driver's volume's name.
const RECORD: &str = "volume.json";

/// Where each of a container's volumes is on the host, by name.
pub(crate) type Sources = BTreeMap<String, PathBuf>;

/// The contents of `volumes/NAME/volume.json`: a volume that a driver keeps. A folder of wharf's has no such file.
#[derive(Debug, Serialize, Deserialize)]
struct Record {
    version: u32,
    #[serde(flatten)]
    driver: VolumeDriver,
}

/// A volume's name, if it can be one: the rule for containers' names keeps out slashes and dots alone.
pub(crate) fn checked_name(name: &str) -> Result<String> {
    Ok(ContainerId::new(name)?.to_string())
}

/// Where the files of a volume without a driver are.
fn path(home: &Home, name: &str) -> PathBuf {
    home.volumes().join(name).join("_data")
}

/// The driver of a volume that there is; none if it is a folder of wharf's, or if there is no such volume.
fn driver_of(home: &Home, name: &str) -> Result<Option<VolumeDriver>> {
    let path = home.volumes().join(name).join(RECORD);
    let text = match fs::read(&path) {
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other.map_err(Error::file("read", &path))?,
    };
    let record: Record =
        serde_json::from_slice(&text).map_err(|source| Error::Malformed { path, source })?;
    Ok(Some(record.driver))
}

/// The driver wharf-volume, if it has a volume of that name that wharf has not met: one that was restored, cloned, imported,
/// sent here, or made by Docker. dockerd asks all its drivers; ours has what `wharf volume` makes.
fn unmet(home: &Home, name: &str) -> Result<Option<VolumeDriver>> {
    let driver = match Driver::find(home, operations::DRIVER) {
        Err(Error::NoVolumeDriver(_)) => return Ok(None),
        other => other?,
    };
    Ok(driver
        .has(name)?
        .then(|| VolumeDriver::named(operations::DRIVER)))
}

/// The driver that keeps, or is to keep, the volume `name`: the one that it was made with, which `asked` must not
/// contradict; for a new one, the one asked for, or else the default, or else ours if it has one of that name.
pub(crate) fn chosen_driver(
    home: &Home,
    name: &str,
    asked: Option<VolumeDriver>,
) -> Result<Option<VolumeDriver>> {
    let exists = home.volumes().join(name).is_dir();
    let now = driver_of(home, name)?;
    let asked = match asked {
        None if exists => return Ok(now),
        None => match default_driver() {
            None => unmet(home, name)?,
            default => default,
        },
        Some(asked) if asked.name == LOCAL => match asked.options.is_empty() {
            true => None,
            false => return Err(Error::LocalOptions(name.to_owned())),
        },
        asked => asked,
    };
    let of = |driver: &Option<VolumeDriver>| {
        let name = driver.as_ref().map(|driver| driver.name.as_str());
        name.unwrap_or(LOCAL).to_owned()
    };
    match exists && of(&asked) != of(&now) {
        false => Ok(asked),
        true => Err(Error::VolumeOfOther {
            name: name.to_owned(),
            driver: of(&now),
            asked: of(&asked),
        }),
    }
}

/// `$WHARF_VOLUME_DRIVER`, unless that is `local` or nothing.
fn default_driver() -> Option<VolumeDriver> {
    let given = std::env::var("WHARF_VOLUME_DRIVER").ok();
    let given = given.filter(|name| !name.is_empty() && name != LOCAL);
    given.as_deref().map(VolumeDriver::named)
}

/// The default, or else `local`.
pub(crate) fn usual_driver() -> VolumeDriver {
    default_driver().unwrap_or_else(|| VolumeDriver::named(LOCAL))
}

/// A volume that a container mounts, and where it is seen first.
struct Wanted<'a> {
    name: &'a str,
    driver: Option<&'a VolumeDriver>,
    target: &'a Path,
    /// Whether what the image has there goes into it while it is empty.
    filled: bool,
}

fn wanted(about: &Container) -> Vec<Wanted<'_>> {
    let mut all: Vec<Wanted<'_>> = Vec::new();
    for mount in &about.wish.mounts {
        let MountKind::Volume { name, driver, .. } = &mount.kind else {
            continue;
        };
        // Mounted at two targets it is one volume, made and mounted once.
        if all.iter().all(|other| other.name != name) {
            all.push(Wanted {
                name,
                driver: driver.as_ref(),
                target: &mount.target,
                filled: !mount.options.iter().any(|option| option == "nocopy"),
            });
        }
    }
    all
}

/// Makes the volumes of a container that are not there yet, has drivers mount theirs, and fills new ones from the image
/// at the container's first start. Its root is mounted.
pub(crate) fn prepare(home: &Home, about: &Container, folder: &Folder) -> Result<Sources> {
    let wanted = wanted(about);
    let mut sources = Sources::new();
    if wanted.is_empty() {
        return Ok(sources);
    }
    let mut held = Held::read(folder)?;
    let from_image = !held.filled && about.wish.image_id.is_some();
    for volume in &wanted {
        let image = (from_image && volume.filled).then_some(about.wish.rootfs.as_path());
        let path = match volume.driver {
            None => plain(home, volume, image)?,
            Some(driver) => {
                let path = by_driver(home, about, (volume.name, driver), &mut held)?;
                fill(home, image, volume.target, &path)?;
                path
            }
        };
        sources.insert(volume.name.to_owned(), path);
    }
    if from_image {
        held.filled = true;
        held.write()?;
    }
    Ok(sources)
}

/// A folder of wharf's. A new one is filled before it has its name: a killed wharf leaves no half of one.
fn plain(home: &Home, volume: &Wanted<'_>, image: Option<&Path>) -> Result<PathBuf> {
    let path = path(home, volume.name);
    if !path.exists() {
        let parent = home.volumes().join(volume.name);
        fs::create_dir_all(&parent).map_err(Error::file("create", &parent))?;
        if let Some(rootfs) = image {
            let inside = volume.target.to_string_lossy();
            wharf_image::make_filled(&Store::new(home.lib()), rootfs, &inside, &path)?;
            return Ok(path);
        }
        fs::create_dir_all(&path).map_err(Error::file("create", &path))?;
    }
    fill(home, image, volume.target, &path)?;
    Ok(path)
}

fn fill(home: &Home, image: Option<&Path>, target: &Path, volume: &Path) -> Result<()> {
    if let Some(rootfs) = image {
        let inside = target.to_string_lossy();
        wharf_image::fill(&Store::new(home.lib()), rootfs, &inside, volume)?;
    }
    Ok(())
}

fn by_driver(
    home: &Home,
    about: &Container,
    (name, wish): (&str, &VolumeDriver),
    held: &mut Held,
) -> Result<PathBuf> {
    let driver = Driver::find(home, &wish.name)?;
    make_by(home, &driver, name, wish)?;
    // Noted first: a killed wharf leaves a note of what may be mounted, never a mount without a note.
    held.begin(&wish.name, name)?;
    let path = driver.mount(name, about.id.as_str())?;
    held.mounted_at(name, &path)?;
    Ok(path)
}

/// Has a driver make a volume that it does not have, and notes first whose it is: a killed wharf leaves a note of no
/// volume, never a volume without a note.
fn make_by(home: &Home, driver: &Driver, name: &str, wish: &VolumeDriver) -> Result<()> {
    let folder = home.volumes().join(name);
    let path = folder.join(RECORD);
    let is_new = !path.exists();
    if is_new {
        fs::create_dir_all(&folder).map_err(Error::file("create", &folder))?;
        let record = Record {
            version: 1,
            driver: wish.clone(),
        };
        let text = serde_json::to_vec_pretty(&record).unwrap_or_default();
        write_atomically(&path, &text).map_err(Error::file("write", &path))?;
    }
    let made = match driver.has(name) {
        Ok(true) => Ok(()),
        Ok(false) => driver.make(name, &wish.options),
        Err(error) => Err(error),
    };
    if made.is_err() && is_new {
        // What can't be removed is a note, which `wharf volume rm` removes.
        let _ = fs::remove_dir_all(&folder);
    }
    made
}

/// Has drivers unmount what the container had; goes on after errors, and forgets what is unmounted.
pub(crate) fn release(home: &Home, about: &Container, folder: &Folder) -> Vec<Error> {
    match Held::read(folder) {
        Ok(mut held) => held.release(home, about.id.as_str()),
        Err(error) => vec![error],
    }
}

/// Forgets what drivers did not unmount.
pub(crate) fn forget_mounts(folder: &Folder) -> Result<()> {
    Held::read(folder)?.forget()
}

/// Removes the volumes of a container that have no name.
pub(crate) fn remove_anonymous(home: &Home, about: &Container) -> Result<()> {
    for mount in &about.wish.mounts {
        if let MountKind::Volume {
            name,
            anonymous: true,
            ..
        } = &mount.kind
        {
            remove(home, name)?;
        }
    }
    Ok(())
}

/// Removes a volume with all that is in it; an absent one is success.
fn remove(home: &Home, name: &str) -> Result<()> {
    if let Some(driver) = driver_of(home, name)? {
        let driver = Driver::find(home, &driver.name)?;
        if driver.has(name)? {
            driver.remove(name)?;
        }
    }
    let path = home.volumes().join(name);
    match fs::remove_dir_all(&path) {
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other.map_err(Error::file("remove", path)),
    }
}

/// The names of all volumes, in order.
pub(crate) fn all(home: &Home) -> Result<Vec<String>> {
    let dir = home.volumes();
    let entries = match fs::read_dir(&dir) {
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.map_err(Error::file("list", &dir))?,
    };
    let names = entries.flatten().map(|entry| entry.file_name());
    let mut names: Vec<String> = names.filter_map(|name| name.into_string().ok()).collect();
    names.sort();
    Ok(names)
}
