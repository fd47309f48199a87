//! `wharf commit`: what a container has written becomes a layer, and with its image's layers a new image.
//! `wharf` calls it with a container's root, mounted or not.
//! It must never change the container's files, nor the image that they are over.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::rc::Rc;

use serde_json::{Value, json};

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

/// Makes an image of a container's root; `created` is the time (RFC 3339) that it bears.
///
/// # Errors
/// A file can't be packed, or the kernel refuses something. Nothing is left then.
pub fn commit(
    store: &Store,
    root: &Root,
    name: &Name,
    created: &str,
    progress: &mut dyn Progress,
) -> Result<Committed> {
    store.sweep()?;
    let mut importer = Importer::new(store, Limits::default(), progress)?;
    let path = importer.workspace.path().join("packed");
    let mut options = File::options();
    let file = options.read(true).write(true).create_new(true).open(&path);
    let file = file.map_err(Error::file("create", &path))?;
    let upper = Tree::open(&root.upper())?;
    let upper = upper.open_at(
        b"",
        rustix::fs::OFlags::DIRECTORY | rustix::fs::OFlags::RDONLY,
    );
    let upper = upper.map_err(Error::file("open", root.upper()))?;
    let mut out = BufWriter::with_capacity(128 << 10, &file);
    let left_out = pack(upper, Whiteouts::Translated, &mut out)?;
    out.flush().map_err(Error::file("write", &path))?;
    drop(out);
    let length = file
        .metadata()
        .map_err(Error::file("look at", &path))?
        .len();
    let blob = Blob {
        file: "the container's changes".to_owned(),
        digest: None,
    };
    let base = store.config(root.image())?;
    let section = Section::new(Rc::new(file), 0, length);
    let below = Below {
        key: Key::all(&base.layers).pop(),
        folders: store.layers_of(&base)?,
    };
    let layer = importer.unpack(section, &blob, None, &below)?;
    let config = with_layer(&base, &layer, root.id(), created)?;
    let names = std::slice::from_ref(name);
    // The container holds its image's layers: none can be missing.
    let freed = importer.publish(&[(&config, names)])?.unwrap_or_default();
    Ok(Committed {
        id: config.id(),
        left_out,
        freed,
    })
}

/// The configuration with one layer more, and everything else as it was.
fn with_layer(base: &Config, layer: &Digest, container: &str, created: &str) -> Result<Config> {
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
    object.insert("created".to_owned(), json!(created));
    let entry = json!({"created": created, "created_by": format!("wharf commit {container}")});
    match object.get_mut("history").and_then(Value::as_array_mut) {
        Some(history) => history.push(entry),
        // One entry alone would be taken for that of the lowest layer.
        None => drop(object.remove("history")),
    }
    let bytes = serde_json::to_vec(&document).map_err(json_error)?;
    Config::parse(bytes, WHAT)
}
