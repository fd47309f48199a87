//! `wharf image export`: an image as an archive that docker, podman and skopeo read, the same bytes each time.
//! It is docker's archive and OCI's layout at once: both manifests over the same blobs.
//! It must never write a layer whose digest is not the one that the image names.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use tar::{EntryType, Header};

use crate::config::Config;
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::layer::{Tree, replay};
use crate::name::Name;
use crate::source::architecture;
use crate::store::{Image, Store, record_of};
use crate::stream::Sum;
use crate::tar::BLOCK;

/// Writes the image that `wanted` means to `out`.
///
/// # Errors
/// There is no such image, `out` can't be written, or a layer of the store is no longer what it was.
pub fn export(store: &Store, wanted: &str, out: &mut dyn Write) -> Result<Image> {
    // Nothing is freed while it is read.
    let _lock = store.lock_shared()?;
    let image = store.find(wanted)?;
    let config = store.config(&image.id)?;
    let mut archive = Archive { out };
    let mut written = Vec::new();
    let folders = store.layers_of(&config)?;
    for (layer, folder) in config.layers.iter().zip(&folders) {
        if !written.contains(layer) {
            archive.layer(layer, folder)?;
            written.push(layer.clone());
        }
    }
    let documents = documents(&folders, &image.name, &config)?;
    for (path, bytes) in documents {
        archive.file(&path, &bytes)?;
    }
    archive.end()?;
    Ok(image)
}

/// Writes the image to a file that takes its place at once, when it is whole.
///
/// # Errors
/// As [`export`].
pub fn export_to(store: &Store, wanted: &str, path: &Path) -> Result<Image> {
    let name = path
        .file_name()
        .ok_or_else(|| Error::malformed(path.display().to_string(), "is no file's name"))?;
    let draft = path.with_file_name(format!(
        ".{}.{}",
        name.to_string_lossy(),
        std::process::id()
    ));
    let failed = || Error::file("write", path);
    let file = File::create(&draft).map_err(failed())?;
    let exported = (|| {
        let mut out = BufWriter::with_capacity(128 << 10, file);
        let image = export(store, wanted, &mut out)?;
        out.flush().map_err(failed())?;
        std::fs::rename(&draft, path).map_err(failed())?;
        Ok(image)
    })();
    if exported.is_err() {
        // It is half an archive.
        let _ = std::fs::remove_file(&draft);
    }
    exported
}

/// Everything but the layers, in the order of writing.
fn documents(folders: &[PathBuf], name: &Name, config: &Config) -> Result<Vec<(String, Vec<u8>)>> {
    let id = config.id();
    let manifest = manifest(folders, config)?;
    let digest = Digest::of(&manifest);
    let index = index((&digest, manifest.len()), name, config);
    let blobs: Vec<String> = config.layers.iter().map(blob).collect();
    let docker = text(&json!([{"Config": blob(&id), "RepoTags": [name], "Layers": blobs}]));
    Ok(vec![
        (blob(&id), config.bytes.clone()),
        (blob(&digest), manifest),
        ("index.json".to_owned(), index),
        ("manifest.json".to_owned(), docker),
        (
            "oci-layout".to_owned(),
            text(&json!({"imageLayoutVersion": "1.0.0"})),
        ),
    ])
}

/// OCI's image manifest (image-spec, manifest.md).
fn manifest(folders: &[PathBuf], config: &Config) -> Result<Vec<u8>> {
    let layers = config.layers.iter().zip(folders).map(|(layer, folder)| {
        let record = record_of(folder)?;
        let kind = "application/vnd.oci.image.layer.v1.tar";
        Ok(json!({"mediaType": kind, "digest": layer, "size": record.archive_bytes}))
    });
    let layers: Vec<Value> = layers.collect::<Result<_>>()?;
    Ok(text(&json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": {
            "mediaType": "application/vnd.oci.image.config.v1+json",
            "digest": config.id(),
            "size": config.bytes.len(),
        },
        "layers": layers,
    })))
}

/// OCI's index of one image (image-spec, image-index.md).
fn index((digest, length): (&Digest, usize), name: &Name, config: &Config) -> Vec<u8> {
    let platform = match config.architecture.as_str() {
        "" => architecture(),
        known => known,
    };
    text(&json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": [{
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "digest": digest,
            "size": length,
            "annotations": {"org.opencontainers.image.ref.name": name},
            "platform": {"architecture": platform, "os": "linux"},
        }],
    }))
}

fn blob(digest: &Digest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}

fn text(document: &Value) -> Vec<u8> {
    document.to_string().into_bytes()
}

/// A tar archive whose files have one owner, mode and time, so that the same files give the same bytes.
struct Archive<'a> {
    out: &'a mut dyn Write,
}

impl Archive<'_> {
    fn layer(&mut self, layer: &Digest, folder: &Path) -> Result<()> {
        let length = record_of(folder)?.archive_bytes;
        self.header(&blob(layer), length)?;
        let sum = Sum::hashing();
        let mut out = Summed {
            out: self.out,
            sum: sum.clone(),
        };
        let files = Tree::open(&folder.join("fs"))?;
        replay(
            &folder.join("recipe.gz"),
            &files,
            &folder.join("replaced"),
            &mut out,
        )?;
        let found = sum.digest().unwrap_or_else(|| Digest::of(&[]));
        layer.verify(&found, || folder.display().to_string())?;
        self.pad(length)
    }

    fn file(&mut self, path: &str, bytes: &[u8]) -> Result<()> {
        let length = bytes.len() as u64;
        self.header(path, length)?;
        self.out.write_all(bytes).map_err(unwritable)?;
        self.pad(length)
    }

    fn header(&mut self, path: &str, length: u64) -> Result<()> {
        let mut header = Header::new_ustar();
        header.set_path(path).map_err(unwritable)?;
        header.set_entry_type(EntryType::Regular);
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        header.set_size(length);
        header.set_cksum();
        self.out.write_all(header.as_bytes()).map_err(unwritable)
    }

    fn pad(&mut self, length: u64) -> Result<()> {
        let whole = length.next_multiple_of(BLOCK as u64);
        let count = usize::try_from(whole - length).unwrap_or(0);
        self.out.write_all(&[0; BLOCK][..count]).map_err(unwritable)
    }

    fn end(&mut self) -> Result<()> {
        self.out.write_all(&[0; 2 * BLOCK]).map_err(unwritable)
    }
}

struct Summed<'a> {
    out: &'a mut dyn Write,
    sum: Sum,
}

impl Write for Summed<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.out.write(bytes)?;
        self.sum.add(&bytes[..count]);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

fn unwritable(cause: io::Error) -> Error {
    Error::malformed("the archive", format!("can't be written: {cause}"))
}
