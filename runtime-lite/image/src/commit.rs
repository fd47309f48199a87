//! `wharf commit`: what a container has written becomes a layer, and with its image's layers a new image.
//! `wharf` calls it with a container's root, mounted or not, or with a folder that a container runs in.
//! It must never change the container's files, nor the image that they are over.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::rc::Rc;

use rustix::fs::OFlags;
use serde_json::{Value, json};

use crate::change::Change;
use crate::config::Config;
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::import::Importer;
use crate::layer::{Tree, Whiteouts, pack};
use crate::limits::Limits;
use crate::name::Name;
use crate::progress::Progress;
use crate::root::Root;
use crate::source::Blob;
use crate::source::architecture;
use crate::store::{Below, Freed, Key, Store};
use crate::stream::Section;

/// What a commit made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Committed {
    /// The new image's id.
    pub id: Digest,
    /// Names of sockets, which no layer holds.
    pub left_out: Vec<String>,
    /// What nothing uses any more, because the name was given to the new image.
    pub freed: Freed,
}

/// What is said of the new image.
#[derive(Debug, Clone, Default)]
pub struct Words {
    /// When it was made (RFC 3339).
    pub created: String,
    /// The container that it was made of.
    pub container: String,
    /// By whom.
    pub author: Option<String>,
    /// What for.
    pub message: Option<String>,
    /// What its containers get otherwise than those of the image below.
    pub changes: Vec<Change>,
}

/// What a container has written, packed: from here on the container may change.
pub struct Packed<'a> {
    importer: Importer<'a>,
    base: Config,
    file: File,
    left_out: Vec<String>,
}

impl std::fmt::Debug for Packed<'_> {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Packed").finish_non_exhaustive()
    }
}

impl<'a> Packed<'a> {
    /// Packs what a container over an image has written.
    ///
    /// # Errors
    /// A file can't be packed, or the kernel refuses something.
    pub fn of_root(
        store: &'a Store,
        root: &Root,
        progress: &'a mut dyn Progress,
    ) -> Result<Packed<'a>> {
        let base = store.config(root.image())?;
        Packed::of(
            store,
            (&root.upper(), Whiteouts::Translated),
            base,
            progress,
        )
    }

    /// Packs a whole folder, for an image of one layer.
    ///
    /// # Errors
    /// As above.
    pub fn of_folder(
        store: &'a Store,
        folder: &Path,
        progress: &'a mut dyn Progress,
    ) -> Result<Packed<'a>> {
        let empty = json!({"architecture": architecture(), "os": "linux", "config": {},
            "rootfs": {"type": "layers", "diff_ids": []}, "history": []});
        let base = Config::parse(empty.to_string().into_bytes(), "an empty configuration")?;
        Packed::of(store, (folder, Whiteouts::Plain), base, progress)
    }

    fn of(
        store: &'a Store,
        (folder, whiteouts): (&Path, Whiteouts),
        base: Config,
        progress: &'a mut dyn Progress,
    ) -> Result<Packed<'a>> {
        store.sweep()?;
        let importer = Importer::new(store, Limits::default(), progress)?;
        let path = importer.workspace.path().join("packed");
        let mut options = File::options();
        let file = options.read(true).write(true).create_new(true).open(&path);
        let file = file.map_err(Error::file("create", &path))?;
        let tree = Tree::open(folder)?;
        let tree = tree.open_at(b"", OFlags::DIRECTORY | OFlags::RDONLY);
        let tree = tree.map_err(Error::file("open", folder))?;
        let mut out = BufWriter::with_capacity(128 << 10, &file);
        let left_out = pack(tree, whiteouts, &mut out)?;
        out.flush().map_err(Error::file("write", &path))?;
        drop(out);
        Ok(Packed {
            importer,
            base,
            file,
            left_out,
        })
    }

    /// Makes an image of it, called `name`. Nothing is left after an error.
    ///
    /// # Errors
    /// The kernel refuses something.
    pub fn publish(mut self, store: &Store, name: &Name, words: &Words) -> Result<Committed> {
        let about = self.file.metadata();
        let length = about
            .map_err(Error::file("look at", "what was packed"))?
            .len();
        let blob = Blob {
            file: "the container's changes".to_owned(),
            digest: None,
        };
        let below = Below {
            key: Key::all(&self.base.layers).pop(),
            folders: store.layers_of(&self.base)?,
        };
        let section = Section::new(Rc::new(self.file), 0, length);
        let layer = self.importer.unpack(section, &blob, None, &below)?;
        let config = with_layer(&self.base, &layer, words)?;
        let names = std::slice::from_ref(name);
        // The container holds its image's layers: none can be missing.
        let freed = self.importer.publish(&[(&config, names)])?;
        Ok(Committed {
            id: config.id(),
            left_out: self.left_out,
            freed: freed.unwrap_or_default(),
        })
    }
}

/// The configuration with one layer more, the changes made, and everything else as it was.
fn with_layer(base: &Config, layer: &Digest, words: &Words) -> Result<Config> {
    const WHAT: &str = "the image's configuration";
    let json_error = |source| Error::Json {
        what: WHAT.to_owned(),
        source,
    };
    let mut document: Value = serde_json::from_slice(&base.bytes).map_err(json_error)?;
    let malformed = || Error::malformed(WHAT, "is no object with a list of layers");
    let layers = document
        .pointer_mut("/rootfs/diff_ids")
        .and_then(Value::as_array_mut);
    layers.ok_or_else(malformed)?.push(json!(layer));
    let object = document.as_object_mut().ok_or_else(malformed)?;
    object.insert("created".to_owned(), json!(words.created));
    if let Some(author) = &words.author {
        object.insert("author".to_owned(), json!(author));
    }
    let config = object.entry("config").or_insert(Value::Null);
    if !config.is_object() {
        *config = json!({});
    }
    if let Some(config) = config.as_object_mut() {
        words.changes.iter().for_each(|change| change.apply(config));
    }
    match object.get_mut("history").and_then(Value::as_array_mut) {
        Some(history) => history.push(entry(words)),
        // One entry alone would be taken for that of the lowest layer.
        None => drop(object.remove("history")),
    }
    let bytes = serde_json::to_vec(&document).map_err(json_error)?;
    Config::parse(bytes, WHAT)
}

/// The layer's line in the image's history.
fn entry(words: &Words) -> Value {
    let made_by = format!("wharf commit {}", words.container);
    let mut entry = json!({"created": words.created, "created_by": made_by});
    if let Some(author) = &words.author {
        entry["author"] = json!(author);
    }
    if let Some(message) = &words.message {
        entry["comment"] = json!(message);
    }
    entry
}
