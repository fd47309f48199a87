//! What must hold of the readers of archives for any bytes: they answer, and what they read adds up to what was there.
//! Called by the fuzz targets (fuzz/targets) and by this crate's tests, over mutated seeds.
//! It must never expect an input to be valid, nor write to a disk.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::rc::Rc;

use crate::limits::{EXTENDED_BYTES, LAYERS};
use crate::source::{Source, images};
use crate::stream::buffered;
use crate::tar::{Kind, Reader};

/// Reads a tar archive as a layer is read: headers and contents together are the archive, byte by byte.
///
/// # Panics
/// If that does not hold.
pub fn tar(bytes: &[u8]) {
    let mut reader = Reader::new(buffered(bytes)).keeping_raw();
    let mut again = Vec::new();
    loop {
        let next = reader.next();
        let raw = reader.take_raw();
        assert!(raw.len() as u64 <= 8 * EXTENDED_BYTES + bytes.len() as u64);
        again.extend(raw);
        let Ok(entry) = next else {
            return;
        };
        let Some(entry) = entry else {
            break;
        };
        let stored: u64 = reader.parts().iter().map(|part| part.length).sum();
        assert_eq!(stored, reader.left(), "the parts of {:?}", entry.path);
        if let Kind::File { size } = entry.kind {
            let end = reader
                .parts()
                .last()
                .map_or(0, |part| part.offset + part.length);
            assert!(end <= size, "{:?} ends at {end} of {size}", entry.path);
        }
        while reader.left() > 0 {
            let Ok(piece) = reader.contents() else {
                return;
            };
            let count = piece.len();
            again.extend_from_slice(piece);
            reader.consume(count);
        }
        assert_eq!(again, bytes[..again.len()], "after {:?}", entry.path);
    }
    assert_eq!(reader.position(), again.len() as u64);
    let rest = reader.rest(|piece| {
        again.extend_from_slice(piece);
        Ok(())
    });
    assert!(rest.is_ok() && again == bytes);
}

/// Reads an archive of images: its index, manifests and configurations.
///
/// # Panics
/// If an image has other layers than its configuration says, or the system has no memory for the archive.
pub fn images_of(bytes: &[u8]) {
    let file = rustix::fs::memfd_create("archive", rustix::fs::MemfdFlags::CLOEXEC);
    let Ok(mut file) = file.map(File::from) else {
        return;
    };
    if file.write_all(bytes).is_err() {
        return;
    }
    let Ok(source) = Source::of(Rc::new(file), Path::new("archive")) else {
        return;
    };
    let Ok(Some(found)) = images(&source, "stem") else {
        return;
    };
    for image in found {
        assert_eq!(image.config.layers.len(), image.blobs.len());
        assert!(image.blobs.len() <= LAYERS && !image.names.is_empty());
        for name in &image.names {
            assert!(!name.file_name().contains('/'), "{name}");
        }
    }
}
