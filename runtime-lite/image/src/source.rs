//! Where images come from: a file or a folder, looked through for what it is and which images it holds.
//! `import` opens one and reads its layers by name.
//! It must never follow a name of the archive out of it, nor wait on something that is no regular file.

mod index;
mod manifest;

use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;
use std::rc::Rc;

use rustix::fs::OFlags;

use crate::error::{Error, Result};
use crate::layer::Tree;
use crate::limits::{DOCUMENT_BYTES, Limits, SPACE_BYTES};
use crate::stream::{Compression, Section, buffered, decompressed};
use index::Index;
pub(crate) use manifest::{Blob, Found, architecture, images};

/// What an archive or a folder turned out to be.
#[derive(Debug)]
pub(crate) enum Source {
    /// A tar archive with images in it.
    Archive(Index),
    /// A folder in OCI's layout.
    Layout(Tree),
    /// A tar archive of a root filesystem: one layer.
    Rootfs(Rc<File>),
}

impl Source {
    /// Opens `path`. A compressed archive is unpacked to a nameless file in `scratch` first: it has to be read in
    /// the order that its manifest gives.
    pub(crate) fn open(path: &Path, scratch: &Path, limits: &Limits) -> Result<Source> {
        let about = std::fs::metadata(path).map_err(Error::file("find", path))?;
        if about.is_dir() {
            return Ok(Source::Layout(Tree::open(path)?));
        }
        if !about.is_file() {
            let what = path.display().to_string();
            return Err(Error::malformed(what, "is neither a file nor a folder"));
        }
        let file = File::open(path).map_err(Error::file("open", path))?;
        let mut beginning = [0; 4];
        let count = (&file).read(&mut beginning);
        let count = count.map_err(Error::file("read", path))?;
        let file = Rc::new(file);
        let file = match Compression::of(&beginning[..count]) {
            Compression::None => file,
            Compression::Gzip | Compression::Zstd => Rc::new(spool(&file, path, scratch, limits)?),
        };
        Source::of(file, path)
    }

    /// What an uncompressed archive is; `path` is what it is called in an error.
    pub(crate) fn of(file: Rc<File>, path: &Path) -> Result<Source> {
        let index = Index::read(&file, path)?;
        Ok(match index {
            Some(index) if index.holds_images() => Source::Archive(index),
            _ => Source::Rootfs(file),
        })
    }

    /// The contents of a file, to be read from its beginning.
    pub(crate) fn open_file(&self, name: &str) -> Result<Option<Section>> {
        match self {
            Source::Archive(index) => Ok(index.section(name)),
            Source::Layout(folder) => in_folder(folder, name),
            Source::Rootfs(file) => {
                let length = file.metadata().map_err(Error::file("look at", name))?.len();
                Ok(Some(Section::new(Rc::clone(file), 0, length)))
            }
        }
    }

    /// A file that has to be there, as a whole.
    pub(crate) fn document(&self, name: &str) -> Result<Vec<u8>> {
        let section = self.open_file(name)?;
        let section = section.ok_or_else(|| Error::malformed(name, "is not in the archive"))?;
        if section.len() > DOCUMENT_BYTES {
            let problem = format!(
                "has {} bytes; at most {DOCUMENT_BYTES} are read",
                section.len()
            );
            return Err(Error::malformed(name, problem));
        }
        let mut bytes = Vec::new();
        let read = section.take(DOCUMENT_BYTES).read_to_end(&mut bytes);
        read.map_err(Error::file("read", name))?;
        Ok(bytes)
    }

    /// Whether it has a file of that name.
    pub(crate) fn has(&self, name: &str) -> Result<bool> {
        Ok(self.open_file(name)?.is_some())
    }
}

fn in_folder(folder: &Tree, name: &str) -> Result<Option<Section>> {
    let file = match folder.open_at(name.as_bytes(), OFlags::RDONLY | OFlags::NONBLOCK) {
        Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        other => File::from(other.map_err(Error::file("open", name))?),
    };
    let about = file.metadata().map_err(Error::file("look at", name))?;
    match about.is_file() {
        true => Ok(Some(Section::new(Rc::new(file), 0, about.len()))),
        false => Err(Error::malformed(name, "is no regular file")),
    }
}

/// The archive as it is before compression, in a file without a name.
fn spool(file: &Rc<File>, path: &Path, scratch: &Path, limits: &Limits) -> Result<File> {
    let failed = || Error::file("decompress", path);
    let spooled = scratch.join("archive");
    let mut options = File::options();
    let out = options
        .read(true)
        .write(true)
        .create_new(true)
        .open(&spooled);
    let mut out = out.map_err(Error::file("create", &spooled))?;
    std::fs::remove_file(&spooled).map_err(Error::file("remove", &spooled))?;
    let section = Section::new(Rc::clone(file), 0, u64::MAX);
    let mut input = buffered(decompressed(section).map_err(failed())?);
    let (mut whole, mut next_look) = (0, 0);
    loop {
        let here = std::io::BufRead::fill_buf(&mut input).map_err(failed())?;
        if here.is_empty() {
            return Ok(out);
        }
        let count = here.len();
        whole += count as u64;
        if whole > limits.layer_bytes {
            return Err(Error::Bound {
                what: "the size of the decompressed archive",
                bound: format!("{} bytes", limits.layer_bytes),
            });
        }
        if whole >= next_look {
            limits.leaves_space(&out)?;
            next_look = whole + SPACE_BYTES;
        }
        out.write_all(here)
            .map_err(Error::file("write", &spooled))?;
        std::io::BufRead::consume(&mut input, count);
    }
}
