//! `wharf image import`: the images of an archive, or a root filesystem, become images of the store.
//! People call it through `wharf`; `commit` publishes by the same way.
//! It must never leave anything behind but a temporary, whenever it is killed, nor trust a digest that it has not made.

use std::fs;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use serde_json::json;

use crate::config::Config;
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::layer::{Counts, Recipe, Tree, Unpacker};
use crate::limits::Limits;
use crate::name::{self, Name};
use crate::progress::Progress;
use crate::source::{self, Blob, Found, Source};
use crate::store::{
    Below, Freed, Key, LayerRecord, Named, Store, VERSION, Workspace, publish, to_json,
};
use crate::stream::{Section, Sum, Watched, buffered, decompressed};

/// What an import made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Imported {
    /// Its names.
    pub names: Vec<Name>,
    /// Its id.
    pub id: Digest,
    /// How many layers it has.
    pub layers: usize,
}

/// A whole import: what is there now, and what went because a name was given to another image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Import {
    /// The images.
    pub images: Vec<Imported>,
    /// How many layers had to be unpacked: the others were there.
    pub unpacked: usize,
    /// What nothing uses any more.
    pub freed: Freed,
}

/// What an import is asked for.
#[derive(Debug, Clone)]
pub struct Wish {
    /// The name of the archive's one image, in place of its own.
    pub name: Option<Name>,
    /// When a root filesystem is said to have been made (RFC 3339); images say it themselves.
    pub created: String,
    /// The bounds.
    pub limits: Limits,
}

/// Imports `file`.
///
/// # Errors
/// The archive is malformed, hostile or beyond `limits`, or the kernel refuses something. Nothing of it is left then.
pub fn import(
    store: &Store,
    file: &Path,
    wish: &Wish,
    progress: &mut dyn Progress,
) -> Result<Import> {
    store.sweep()?;
    let mut importer = Importer::new(store, wish.limits, progress)?;
    let source = Source::open(file, importer.workspace.path(), &wish.limits)?;
    let stem = stem(file);
    let mut found = match source::images(&source, &stem)? {
        Some(found) => found,
        None => vec![importer.rootfs(&source, &stem, &wish.created)?],
    };
    if let Some(name) = &wish.name {
        match found.as_mut_slice() {
            [one] => one.names = vec![name.clone()],
            several => {
                let problem = format!("has {} images: --name is for one", several.len());
                return Err(Error::malformed(file.display().to_string(), problem));
            }
        }
    }
    let freed = importer.bring(&source, &found)?;
    let images = found.into_iter().map(|found| Imported {
        names: found.names,
        id: found.config.id(),
        layers: found.config.layers.len(),
    });
    Ok(Import {
        images: images.collect(),
        unpacked: importer.unpacked,
        freed,
    })
}

/// The name of a file without what tells its form.
fn stem(file: &Path) -> String {
    let name = file
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    let forms = [".gz", ".tgz", ".zst", ".tar"];
    let mut name = name.as_str();
    for form in forms {
        name = name.strip_suffix(form).unwrap_or(name);
    }
    name.to_owned()
}

/// An import, or a commit, that goes on.
pub(crate) struct Importer<'a> {
    store: &'a Store,
    pub(crate) workspace: Workspace,
    limits: Limits,
    progress: &'a mut dyn Progress,
    unpacked: usize,
}

impl<'a> Importer<'a> {
    pub(crate) fn new(
        store: &'a Store,
        limits: Limits,
        progress: &'a mut dyn Progress,
    ) -> Result<Importer<'a>> {
        Ok(Importer {
            workspace: Workspace::create(store)?,
            store,
            limits,
            progress,
            unpacked: 0,
        })
    }

    /// A root filesystem is one layer, under a configuration that says nothing but that.
    fn rootfs(&mut self, source: &Source, stem: &str, created: &str) -> Result<Found> {
        let whole = source.open_file("the archive")?;
        let whole = whole.ok_or_else(|| Error::malformed("the archive", "is gone"))?;
        let blob = Blob {
            file: "the archive".to_owned(),
            digest: None,
        };
        let layer = self.unpack(whole, &blob, None, &Below::default())?;
        let config = json!({
            "created": created,
            "architecture": source::architecture(),
            "os": "linux",
            "config": {},
            "rootfs": {"type": "layers", "diff_ids": [layer]},
            "history": [{"created": created, "created_by": "wharf image import"}],
        });
        let bytes = serde_json::to_vec(&config).map_err(|source| Error::Json {
            what: "the configuration".to_owned(),
            source,
        })?;
        Ok(Found {
            names: vec![name::of_file(stem)],
            config: Config::parse(bytes, "the configuration")?,
            blobs: vec![blob],
        })
    }

    /// Unpacks what is not there, and publishes everything.
    fn bring(&mut self, source: &Source, found: &[Found]) -> Result<Freed> {
        loop {
            for image in found {
                self.unpack_missing(source, image)?;
            }
            let images = found.iter();
            let images = images.map(|image| (&image.config, image.names.as_slice()));
            // Between the two, somebody may have removed an image whose layers we counted on.
            if let Some(freed) = self.publish(&images.collect::<Vec<_>>())? {
                return Ok(freed);
            }
        }
    }

    fn unpack_missing(&mut self, source: &Source, image: &Found) -> Result<()> {
        let mut below = Below::default();
        for (key, blob) in Key::all(&image.config.layers).into_iter().zip(&image.blobs) {
            if self.find(&key).is_none() {
                let section = source.open_file(&blob.file)?;
                let missing = || Error::malformed(&blob.file, "is not in the archive");
                self.unpack(
                    section.ok_or_else(missing)?,
                    blob,
                    Some(key.layer()),
                    &below,
                )?;
            }
            below.folders.extend(self.find(&key));
            below.key = Some(key);
        }
        Ok(())
    }

    /// Where a layer is: in the workspace, or in the store.
    fn find(&self, key: &Key) -> Option<PathBuf> {
        let here = key.find(self.workspace.path());
        here.or_else(|| key.find(&self.store.layers()))
    }

    /// Unpacks one layer over those `below` into the workspace, and checks it against its digests: the one that the
    /// blob is said to have, and the one that is `expected` of the archive in it.
    pub(crate) fn unpack(
        &mut self,
        section: Section,
        blob: &Blob,
        expected: Option<&Digest>,
        below: &Below,
    ) -> Result<Digest> {
        let shown = expected.map_or(blob.file.as_str(), Digest::short);
        self.progress.begin(shown, section.len());
        let folder = self.workspace.path();
        let folder = folder.join(format!("layer-{}", self.unpacked));
        let unpacker = self.unpacker(&folder, below)?;
        // An uncompressed layer has one digest under two names, and is hashed once.
        let outer = match &blob.digest {
            Some(digest) if expected != Some(digest) => Sum::hashing(),
            _ => Sum::counting(),
        };
        let inner = Sum::hashing();
        let watched = Watched {
            inner: section,
            progress: self.progress,
        };
        let plain = decompressed(outer.of(watched)).map_err(Error::file("read", &blob.file))?;
        let counts = unpacker.unpack(buffered(inner.of(plain)));
        let counts = counts.map_err(|cause| in_blob(blob, cause))?;
        if let (Some(expected), Some(found)) = (&blob.digest, outer.digest()) {
            expected.verify(&found, || blob.file.clone())?;
        }
        let found = inner.digest().unwrap_or_else(|| Digest::of(&[]));
        if let Some(expected) = expected {
            expected.verify(&found, || format!("layer {}", blob.file))?;
        }
        self.record(&folder, &found, counts, inner.length())?;
        let depends = counts.implied > 0 && below.key.is_some();
        let key = Key::over(below.key.as_ref(), &found);
        let place = key.place(self.workspace.path(), depends);
        fs::rename(&folder, &place).map_err(Error::file("create", &place))?;
        self.unpacked += 1;
        Ok(found)
    }

    /// Makes the folder of a layer, and what unpacks into it.
    fn unpacker(&self, folder: &Path, below: &Below) -> Result<Unpacker> {
        let files = folder.join("fs");
        fs::create_dir(folder).map_err(Error::file("create", folder))?;
        let made = fs::DirBuilder::new().mode(0o755).create(&files);
        made.map_err(Error::file("create", &files))?;
        let lowers = below.folders.iter().rev().map(|lower| lower.join("fs"));
        let recipe = Recipe::create(&folder.join("recipe.gz"))?;
        let tree = Tree::open(&files)?.above(lowers.collect());
        let unpacker = Unpacker::new(tree, folder, self.limits)?;
        Ok(unpacker.making_layer(recipe, folder.join("replaced")))
    }

    fn record(&self, folder: &Path, layer: &Digest, counts: Counts, archive: u64) -> Result<()> {
        let record = LayerRecord {
            version: VERSION,
            diff_id: layer.clone(),
            entries: counts.entries,
            bytes: counts.bytes,
            archive_bytes: archive,
        };
        let path = folder.join("layer.json");
        fs::write(&path, to_json(&record)?).map_err(Error::file("write", &path))
    }

    /// Gives everything its name: layers, then configurations, then names. `None` if a layer is missing.
    pub(crate) fn publish(&mut self, images: &[(&Config, &[Name])]) -> Result<Option<Freed>> {
        self.sync()?;
        let _lock = self.store.lock_exclusive()?;
        let keys = images
            .iter()
            .flat_map(|(config, _)| Key::all(&config.layers));
        let keys: Vec<Key> = keys.collect();
        let layers = self.store.layers();
        let here = |key: &Key| key.find(self.workspace.path());
        if !keys.iter().all(|key| self.find(key).is_some()) {
            return Ok(None);
        }
        crate::store::private_folder(&layers)?;
        for key in &keys {
            if let (Some(from), None) = (here(key), key.find(&layers)) {
                let to = layers.join(from.file_name().unwrap_or_default());
                fs::rename(&from, &to).map_err(Error::file("create", &to))?;
            }
        }
        for (config, names) in images {
            let id = config.id();
            publish(
                self.workspace.path(),
                &self.store.config_path(&id),
                &config.bytes,
            )?;
            for name in *names {
                let named = Named {
                    version: VERSION,
                    name: name.clone(),
                    image: id.clone(),
                };
                let path = self.store.name_path(name);
                publish(self.workspace.path(), &path, &to_json(&named)?)?;
            }
        }
        self.store.free_into(&self.workspace).map(Some)
    }

    /// A layer must not get its digest for a name before its files are on the disk: a power cut would leave it empty.
    fn sync(&self) -> Result<()> {
        let path = self.workspace.path();
        let folder = fs::File::open(path).map_err(Error::file("open", path))?;
        rustix::fs::syncfs(folder).map_err(Error::file("write to the disk", path))
    }
}

/// Says in which layer an error was.
fn in_blob(blob: &Blob, cause: Error) -> Error {
    match cause {
        Error::Entry { entry, problem } => Error::Entry {
            entry,
            problem: format!("{problem} (in {})", blob.file),
        },
        Error::Malformed { what, problem } if what == "the archive" => Error::Malformed {
            what: blob.file.clone(),
            problem,
        },
        other => other,
    }
}
