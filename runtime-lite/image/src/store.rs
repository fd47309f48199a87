//! Where images are: layers by digest, configurations by digest, names; all below one folder, in files to read.
//! Every command goes through it; docs/images.md shows the folder.
//! It must never show half an image: what is being made is in a temporary, and a rename publishes it.

mod free;
mod key;
mod workspace;

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::config::{Config, Defaults};
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::name::Name;
pub use free::Freed;
pub(crate) use key::{Below, Key};
pub(crate) use workspace::Workspace;

/// The version of the files here; one of another version is refused.
pub(crate) const VERSION: u32 = 1;

/// The images of a host.
#[derive(Debug, Clone)]
pub struct Store {
    images: PathBuf,
    roots: PathBuf,
}

/// An image, ready for a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// The name that it was found by.
    pub name: Name,
    /// The digest of its configuration.
    pub id: Digest,
    /// The digests of its layers' archives, the lowest first.
    pub layers: Vec<Digest>,
    /// What it gives a container.
    pub defaults: Defaults,
    /// When it was made, as it says itself (RFC 3339).
    pub created: Option<String>,
    /// Who made it, as it says itself.
    pub author: Option<String>,
    /// For which processor, in Go's words: `amd64`.
    pub architecture: String,
    /// The lengths of all files of its layers, in bytes; layers that it shares with others are counted.
    pub bytes: u64,
}

/// The contents of `names/NAME.json`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Named {
    pub(crate) version: u32,
    pub(crate) name: Name,
    pub(crate) image: Digest,
}

/// The contents of `layers/DIGEST/layer.json`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct LayerRecord {
    pub(crate) version: u32,
    pub(crate) diff_id: Digest,
    pub(crate) entries: u64,
    /// The lengths of its files.
    pub(crate) bytes: u64,
    /// The length of its archive.
    pub(crate) archive_bytes: u64,
}

/// The store's lock, until it is dropped. It is an flock(2): a killed process gives it back.
#[derive(Debug)]
pub(crate) struct Lock {
    _file: File,
}

impl Store {
    /// The store below `lib`, wharf's folder of lasting state. Nothing is made.
    #[must_use]
    pub fn new(lib: &Path) -> Store {
        Store {
            images: lib.join("images"),
            roots: lib.join("roots"),
        }
    }

    /// All images, by name.
    ///
    /// # Errors
    /// A file of the store can't be read.
    pub fn list(&self) -> Result<Vec<Image>> {
        let named = self.named()?;
        named.into_iter().map(|named| self.image(named)).collect()
    }

    /// The image that a person means: its name, with or without `latest`; the end of one, from a slash on, if that is
    /// only one's; or the beginning of its id.
    ///
    /// # Errors
    /// None is meant, or several are.
    pub fn find(&self, wanted: &str) -> Result<Image> {
        self.image(self.meant(wanted)?)
    }

    /// Whether any name means the image.
    ///
    /// # Errors
    /// A file of the store can't be read.
    pub fn has_name(&self, image: &Digest) -> Result<bool> {
        Ok(self.named()?.iter().any(|named| named.image == *image))
    }

    pub(crate) fn meant(&self, wanted: &str) -> Result<Named> {
        let all = self.named()?;
        let digits = wanted.strip_prefix("sha256:").unwrap_or(wanted);
        let is_id = |named: &&Named| digits.len() >= 6 && named.image.hex().starts_with(digits);
        let meant: Vec<&Named> = match Name::parse(wanted) {
            Ok(name) => match all.iter().find(|named| named.name == name) {
                Some(exact) => return Ok(exact.clone()),
                None => all
                    .iter()
                    .filter(|named| named.name.is_meant_by(&name))
                    .collect(),
            },
            Err(refusal) if !wanted.starts_with("sha256:") => return Err(refusal),
            Err(_) => Vec::new(),
        };
        let by_id: Vec<&Named> = all.iter().filter(is_id).collect();
        let meant = if meant.is_empty() { by_id } else { meant };
        let one_image = meant
            .iter()
            .all(|named| named.image.hex().starts_with(digits));
        match meant.as_slice() {
            [] => Err(Error::NoSuchImage(wanted.to_owned())),
            [one] => Ok((*one).clone()),
            [first, ..] if one_image && meant.iter().all(|named| named.image == first.image) => {
                Ok((*first).clone())
            }
            several => Err(Error::Ambiguous {
                given: wanted.to_owned(),
                candidates: several.iter().map(|named| named.name.to_string()).collect(),
            }),
        }
    }

    pub(crate) fn named(&self) -> Result<Vec<Named>> {
        let mut all = Vec::new();
        for path in list(&self.images.join("names"))? {
            let named: Option<Named> = read_json(&path)?;
            all.extend(named);
        }
        all.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(all)
    }

    pub(crate) fn image(&self, named: Named) -> Result<Image> {
        let config = self.config(&named.image)?;
        let mut bytes = 0;
        let folders: BTreeSet<PathBuf> = self.layers_of(&config)?.into_iter().collect();
        for folder in &folders {
            bytes += record_of(folder)?.bytes;
        }
        Ok(Image {
            name: named.name,
            id: named.image,
            layers: config.layers,
            defaults: config.defaults,
            created: config.created,
            author: config.author,
            architecture: config.architecture,
            bytes,
        })
    }

    /// The configuration of an image; its bytes are checked against its id.
    pub(crate) fn config(&self, id: &Digest) -> Result<Config> {
        let path = self.config_path(id);
        let bytes = fs::read(&path).map_err(Error::file("read", &path))?;
        id.verify(&Digest::of(&bytes), || path.display().to_string())?;
        Config::parse(bytes, &path.display().to_string())
    }

    /// The folders of an image's layers, the lowest first.
    pub(crate) fn layers_of(&self, config: &Config) -> Result<Vec<PathBuf>> {
        let found = Key::all(&config.layers).into_iter().map(|key| {
            let missing = || Error::malformed(format!("layer {}", key.layer()), "is missing");
            key.find(&self.layers()).ok_or_else(missing)
        });
        found.collect()
    }

    pub(crate) fn layers(&self) -> PathBuf {
        self.images.join("layers")
    }

    pub(crate) fn configs(&self) -> PathBuf {
        self.images.join("configs")
    }

    pub(crate) fn config_path(&self, id: &Digest) -> PathBuf {
        self.configs().join(format!("{}.json", id.hex()))
    }

    pub(crate) fn name_path(&self, name: &Name) -> PathBuf {
        self.images.join("names").join(name.file_name())
    }

    pub(crate) fn temporaries(&self) -> PathBuf {
        self.images.join("tmp")
    }

    /// One folder for each container over an image.
    pub(crate) fn roots(&self) -> &Path {
        &self.roots
    }

    /// For who reads several files that belong together, or makes a temporary.
    pub(crate) fn lock_shared(&self) -> Result<Lock> {
        self.lock(File::lock_shared)
    }

    /// For who publishes or frees. It is held for renames only, never while a layer is read or removed.
    pub(crate) fn lock_exclusive(&self) -> Result<Lock> {
        self.lock(File::lock)
    }

    fn lock(&self, lock: fn(&File) -> io::Result<()>) -> Result<Lock> {
        private_folder(&self.images)?;
        let path = self.images.join("lock");
        let file = File::options().create(true).append(true).open(&path);
        let file = file.map_err(Error::file("open", &path))?;
        lock(&file).map_err(Error::file("lock", &path))?;
        Ok(Lock { _file: file })
    }

    /// Whether there is anything at all: a host without images is left without a trace.
    pub(crate) fn exists(&self) -> bool {
        self.images.exists() || self.roots.exists()
    }
}

/// What is said of the layer in `folder`.
pub(crate) fn record_of(folder: &Path) -> Result<LayerRecord> {
    let path = folder.join("layer.json");
    let record = read_json(&path)?;
    record.ok_or_else(|| Error::malformed(path.display().to_string(), "is missing"))
}

/// Makes a folder that nobody else can enter: layers hold setuid programs and device nodes.
pub(crate) fn private_folder(path: &Path) -> Result<()> {
    let mut builder = fs::DirBuilder::new();
    let made = builder.recursive(true).mode(0o700).create(path);
    made.map_err(Error::file("create", path))
}

/// The paths in a folder, sorted; none if it is not there.
pub(crate) fn list(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(folder) {
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.map_err(Error::file("list", folder))?,
    };
    let paths = entries.map(|entry| entry.map(|entry| entry.path()));
    let mut paths: Vec<PathBuf> = paths
        .collect::<io::Result<_>>()
        .map_err(Error::file("list", folder))?;
    paths.sort();
    Ok(paths)
}

/// A file of ours; `None` if it is not there (any more).
pub(crate) fn read_json<T: DeserializeOwned>(path: &Path) -> Result<Option<T>> {
    let bytes = match fs::read(path) {
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other.map_err(Error::file("read", path))?,
    };
    let parsed = serde_json::from_slice(&bytes).map_err(|source| Error::Json {
        what: path.display().to_string(),
        source,
    })?;
    Ok(Some(parsed))
}

/// Writes a file in `scratch` and has it take its place at once, on the disk as well: a power cut must not leave an
/// empty file with a name.
pub(crate) fn publish(scratch: &Path, path: &Path, bytes: &[u8]) -> Result<()> {
    let draft = scratch.join("file");
    let failed = || Error::file("write", path);
    let mut file = File::create(&draft).map_err(failed())?;
    file.write_all(bytes).map_err(failed())?;
    file.sync_all().map_err(failed())?;
    if let Some(folder) = path.parent() {
        private_folder(folder)?;
    }
    fs::rename(&draft, path).map_err(failed())
}

/// JSON as people can read it.
pub(crate) fn to_json<T: Serialize>(value: &T) -> Result<Vec<u8>> {
    let mut text = serde_json::to_vec_pretty(value).map_err(|source| Error::Json {
        what: "a file of the store".to_owned(),
        source,
    })?;
    text.push(b'\n');
    Ok(text)
}
