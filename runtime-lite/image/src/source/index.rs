//! Where each file of an archive is, so that they can be read in the order that the manifest gives.
//! `source` reads it from a tar archive that can be seeked.
//! It must never grow with an archive that holds no images: a root filesystem may have a million files.

use std::collections::HashMap;
use std::fs::File;
use std::path::Path;
use std::rc::Rc;

use crate::error::{Error, Result};
use crate::limits::ARCHIVE_FILES;
use crate::path::LayerPath;
use crate::stream::{Section, Seekable};
use crate::tar::{Entry, Kind, Reader};

/// How many links are followed: old archives have one between layers that are the same.
const LINKS: usize = 8;

/// The files of an archive.
#[derive(Debug)]
pub(crate) struct Index {
    file: Rc<File>,
    places: HashMap<Vec<u8>, Place>,
}

#[derive(Debug)]
enum Place {
    Contents { start: u64, length: u64 },
    Link(Vec<u8>),
}

impl Index {
    /// Reads all headers; `None` if there are more files than an archive of images has.
    pub(super) fn read(file: &Rc<File>, path: &Path) -> Result<Option<Index>> {
        let length = file.metadata().map_err(Error::file("look at", path))?.len();
        let section = Section::new(Rc::clone(file), 0, length);
        let mut reader = Reader::new(Seekable::new(section));
        let mut places = HashMap::new();
        while let Some(entry) = reader.next()? {
            let name = LayerPath::parse(&entry.path)?;
            let dense = reader.parts().len() <= 1;
            if let Some(place) = place(&entry, reader.position(), name.as_bytes())
                && dense
            {
                places.insert(name.as_bytes().to_vec(), place);
            }
            if places.len() > ARCHIVE_FILES {
                return Ok(None);
            }
        }
        let file = Rc::clone(file);
        Ok(Some(Index { file, places }))
    }

    /// Whether a manifest is in it.
    pub(super) fn holds_images(&self) -> bool {
        let has = |name: &str| self.places.contains_key(name.as_bytes());
        has("manifest.json") || (has("oci-layout") && has("index.json")) || has("repositories")
    }

    pub(super) fn section(&self, name: &str) -> Option<Section> {
        let mut name = LayerPath::parse(name.as_bytes()).ok()?;
        for _ in 0..LINKS {
            match self.places.get(name.as_bytes())? {
                Place::Contents { start, length } => {
                    return Some(Section::new(Rc::clone(&self.file), *start, *length));
                }
                Place::Link(target) => name = LayerPath::parse(target).ok()?,
            }
        }
        None
    }
}

fn place(entry: &Entry, start: u64, name: &[u8]) -> Option<Place> {
    match &entry.kind {
        Kind::File { size } => Some(Place::Contents {
            start,
            length: *size,
        }),
        Kind::Hardlink(target) => Some(Place::Link(target.clone())),
        Kind::Symlink(target) => resolved(name, target).map(Place::Link),
        _ => None,
    }
}

/// What a symbolic link at `name` leads to, if that is in the archive.
fn resolved(name: &[u8], target: &[u8]) -> Option<Vec<u8>> {
    let mut parts: Vec<&[u8]> = name.split(|&byte| byte == b'/').collect();
    parts.pop();
    for part in target.split(|&byte| byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." => drop(parts.pop()?),
            part => parts.push(part),
        }
    }
    Some(parts.join(&b'/'))
}

#[cfg(test)]
mod tests {
    use super::resolved;

    #[test]
    fn links_between_layers_are_resolved_within_the_archive() {
        let to = |target: &str| resolved(b"abc/layer.tar", target.as_bytes());
        assert_eq!(to("../def/layer.tar"), Some(b"def/layer.tar".to_vec()));
        assert_eq!(to("../../../etc/passwd"), None);
    }
}
