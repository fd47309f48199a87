//! A container's root filesystem over an image: the image's layers, and a folder that takes what the container writes.
//! `wharf run` makes, mounts and removes one; as long as it is there, its image's layers stay.
//! It must never write into a layer: they are other containers' as well.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::overlay;
use crate::store::{Image, Store, VERSION, Workspace, list, private_folder, read_json, to_json};

/// The contents of `roots/ID/root.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Record {
    version: u32,
    container: String,
    /// The image's name when the root was made, for people.
    name: String,
    image: Digest,
    /// The lowest first.
    layers: Vec<PathBuf>,
}

/// The root filesystem of one container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Root {
    folder: PathBuf,
    lowers: Vec<PathBuf>,
    record: Record,
}

impl Root {
    /// Makes the root of `container` over the image that `wanted` means. It is not mounted yet.
    ///
    /// # Errors
    /// There is no such image, the container has a root already, or the kernel refuses a file.
    pub fn create(store: &Store, container: &str, wanted: &str) -> Result<(Root, Image)> {
        check_id(container)?;
        let workspace = Workspace::create(store)?;
        // While it is held nobody frees the layers; then the root holds them.
        let _lock = store.lock_shared()?;
        let image = store.find(wanted)?;
        let record = Record {
            version: VERSION,
            container: container.to_owned(),
            name: image.name.to_string(),
            image: image.id.clone(),
            layers: store.layers_of(&store.config(&image.id)?)?,
        };
        let draft = workspace.path().join("root");
        let root = Root::at(draft.clone(), record);
        root.fill()?;
        private_folder(store.roots())?;
        let folder = store.roots().join(container);
        if folder.exists() {
            let what = folder.display().to_string();
            return Err(Error::malformed(what, "is the root of a container already"));
        }
        fs::rename(&draft, &folder).map_err(Error::file("create", &folder))?;
        Ok((Root { folder, ..root }, image))
    }

    /// The root of `container`, if it was made from an image.
    ///
    /// # Errors
    /// Its file can't be read.
    pub fn of(store: &Store, container: &str) -> Result<Option<Root>> {
        check_id(container)?;
        let folder = store.roots().join(container);
        let record: Option<Record> = read_json(&folder.join("root.json"))?;
        Ok(record.map(|record| Root::at(folder, record)))
    }

    /// All roots, by container.
    ///
    /// # Errors
    /// A file can't be read.
    pub fn all(store: &Store) -> Result<Vec<Root>> {
        let mut roots = Vec::new();
        for folder in list(store.roots())? {
            let record: Option<Record> = read_json(&folder.join("root.json"))?;
            roots.extend(record.map(|record| Root::at(folder, record)));
        }
        Ok(roots)
    }

    /// Where the root of `container` is mounted, made or not.
    #[must_use]
    pub fn mountpoint_of(store: &Store, container: &str) -> PathBuf {
        store.roots().join(container).join("rootfs")
    }

    fn at(folder: PathBuf, record: Record) -> Root {
        let lowers = record.layers.iter().map(|layer| layer.join("fs"));
        Root {
            lowers: lowers.collect(),
            folder,
            record,
        }
    }

    fn fill(&self) -> Result<()> {
        for folder in [
            &self.folder,
            &self.upper(),
            &self.work(),
            &self.mountpoint(),
        ] {
            fs::create_dir(folder).map_err(Error::file("create", folder))?;
        }
        // The overlay's root has the attributes of the upper folder's: they should be the image's.
        if let Some(top) = self.lowers.last() {
            let about = fs::metadata(top).map_err(Error::file("look at", top))?;
            let (upper, failed) = (self.upper(), Error::file("create", self.upper()));
            let mode = fs::Permissions::from_mode(about.mode() & 0o7777);
            let given = chown(&upper, Some(about.uid()), Some(about.gid()));
            given
                .and_then(|()| fs::set_permissions(&upper, mode))
                .map_err(failed)?;
        }
        let path = self.folder.join("root.json");
        fs::write(&path, to_json(&self.record)?).map_err(Error::file("write", &path))
    }

    /// The folder that holds it.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The container's id.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.record.container
    }

    /// The id of its image.
    #[must_use]
    pub fn image(&self) -> &Digest {
        &self.record.image
    }

    /// The name that its image had.
    #[must_use]
    pub fn image_name(&self) -> &str {
        &self.record.name
    }

    /// The folders of the image's layers, the lowest first.
    #[must_use]
    pub fn lowers(&self) -> &[PathBuf] {
        &self.lowers
    }

    /// What the container has written.
    #[must_use]
    pub fn upper(&self) -> PathBuf {
        self.folder.join("upper")
    }

    fn work(&self) -> PathBuf {
        self.folder.join("work")
    }

    /// Where [`Root::mount`] mounts it.
    #[must_use]
    pub fn mountpoint(&self) -> PathBuf {
        self.folder.join("rootfs")
    }

    /// Whether it is mounted.
    ///
    /// # Errors
    /// The kernel does not say.
    pub fn is_mounted(&self) -> Result<bool> {
        overlay::is_mounted(&self.mountpoint())
    }

    /// Mounts it, if it is not mounted, and returns where.
    ///
    /// # Errors
    /// What the kernel says of the overlay.
    pub fn mount(&self) -> Result<PathBuf> {
        let target = self.mountpoint();
        if !overlay::is_mounted(&target)? {
            let layers = overlay::Layers {
                lowers: &self.lowers,
                upper: &self.upper(),
                work: &self.work(),
            };
            overlay::mount(&layers, &target)?;
        }
        Ok(target)
    }

    /// Unmounts it, if it is mounted. Who still uses it keeps it until then.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn unmount(&self) -> Result<()> {
        overlay::unmount(&self.mountpoint())
    }

    /// Unmounts it and removes what the container wrote. The image's layers may be freed then ([`Store::free`]).
    ///
    /// # Errors
    /// A file can't be removed.
    pub fn remove(self, store: &Store) -> Result<()> {
        self.unmount()?;
        let workspace = Workspace::create(store)?;
        let away = workspace.path().join("root");
        match fs::rename(&self.folder, away) {
            Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => Ok(()),
            other => other.map_err(Error::file("remove", &self.folder)),
        }
    }
}

/// An id becomes the name of a folder.
fn check_id(container: &str) -> Result<()> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
    let first = container
        .bytes()
        .next()
        .is_some_and(|byte| byte.is_ascii_alphanumeric());
    match first && container.bytes().all(fits) && container.len() <= 128 {
        true => Ok(()),
        false => Err(Error::malformed(
            format!("container id {container:?}"),
            "can't be one",
        )),
    }
}
