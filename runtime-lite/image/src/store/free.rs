//! What no name and no container uses any more goes: configurations and layers, counted anew from the files each time.
//! `rm`, and `import` and `commit` that give a name to another image, call it.
//! It must never free what it can't count: a file that can't be read ends it.

use std::collections::HashSet;
use std::fs;
use std::path::PathBuf;

use super::{LayerRecord, Store, Workspace, list, read_json};
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::name::Name;
use crate::root::Root;

/// What was freed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Freed {
    /// Images that have no name any more, by id.
    pub images: Vec<Digest>,
    /// How many layers are gone.
    pub layers: usize,
    /// The lengths of their files, in bytes.
    pub bytes: u64,
}

impl Store {
    /// Takes an image's name away, and frees what nothing uses any more.
    ///
    /// # Errors
    /// There is no such image, or containers use it and it has no other name.
    pub fn remove(&self, wanted: &str) -> Result<(Name, Freed)> {
        self.sweep()?;
        let workspace = Workspace::create(self)?;
        let lock = self.lock_exclusive()?;
        let named = self.meant(wanted)?;
        let others = self.named()?;
        let mut others = others.iter().filter(|other| other.image == named.image);
        let only_name = others.all(|other| other.name == named.name);
        let containers = self.users(&named.image)?;
        if only_name && !containers.is_empty() {
            return Err(Error::InUse {
                image: named.name.to_string(),
                containers,
            });
        }
        let path = self.name_path(&named.name);
        fs::remove_file(&path).map_err(Error::file("remove", path))?;
        let freed = self.free_into(&workspace)?;
        // The slow part needs no lock: the layers have their names no more.
        drop(lock);
        Ok((named.name, freed))
    }

    /// Frees what nothing uses, after a name or a container went.
    ///
    /// # Errors
    /// The store can't be read.
    pub fn free(&self) -> Result<Freed> {
        if !self.exists() {
            return Ok(Freed::default());
        }
        let workspace = Workspace::create(self)?;
        let _lock = self.lock_exclusive()?;
        self.free_into(&workspace)
    }

    /// The containers over an image, by id.
    fn users(&self, image: &Digest) -> Result<Vec<String>> {
        let roots = Root::all(self)?.into_iter();
        let users = roots.filter(|root| root.image() == image);
        Ok(users.map(|root| root.id().to_owned()).collect())
    }

    /// Moves everything unused to where it is removed. The store is locked by the caller.
    pub(crate) fn free_into(&self, workspace: &Workspace) -> Result<Freed> {
        let named = self.named()?.into_iter().map(|named| named.image);
        let held = Root::all(self)?;
        let images: HashSet<Digest> = named
            .chain(held.iter().map(|root| root.image().clone()))
            .collect();
        let mut used: HashSet<PathBuf> = HashSet::new();
        for image in &images {
            used.extend(self.layers_of(&self.config(image)?)?);
        }
        let mut freed = Freed::default();
        for path in list(&self.configs())? {
            let id = path
                .file_stem()
                .map(|stem| stem.to_string_lossy().into_owned());
            let Ok(id) = Digest::parse(&format!("sha256:{}", id.unwrap_or_default())) else {
                continue;
            };
            if !images.contains(&id) {
                fs::remove_file(&path).map_err(Error::file("remove", &path))?;
                freed.images.push(id);
            }
        }
        for path in list(&self.layers())? {
            if !used.contains(&path) {
                let record: Option<LayerRecord> =
                    read_json(&path.join("layer.json")).ok().flatten();
                let away = workspace.path().join(path.file_name().unwrap_or_default());
                fs::rename(&path, away).map_err(Error::file("remove", &path))?;
                freed.bytes += record.map_or(0, |record| record.bytes);
                freed.layers += 1;
            }
        }
        Ok(freed)
    }
}
