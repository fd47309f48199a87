//! A file read and written in pages of 4 KiB, each read at most once and written back at the end.
//! The two parts of the index (owners, taken addresses) stand on it; without a file it is plain memory.
//! Must never write before it is told to.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// Bytes of a page.
pub(super) const PAGE: usize = 4096;

/// The pages of one file.
#[derive(Debug, Default)]
pub(super) struct Pages {
    file: Option<File>,
    loaded: HashMap<u64, Page>,
}

#[derive(Debug)]
struct Page {
    bytes: Box<[u8; PAGE]>,
    changed: bool,
}

impl Pages {
    /// Pages that are read from `file`; what lies behind its end reads as zeros.
    pub(super) fn of_file(file: File) -> Pages {
        Pages {
            file: Some(file),
            loaded: HashMap::new(),
        }
    }

    /// The bytes of a page.
    pub(super) fn get(&mut self, number: u64) -> io::Result<&[u8; PAGE]> {
        Ok(&self.load(number)?.bytes)
    }

    /// The bytes of a page, to be changed.
    pub(super) fn change(&mut self, number: u64) -> io::Result<&mut [u8; PAGE]> {
        let page = self.load(number)?;
        page.changed = true;
        Ok(&mut page.bytes)
    }

    /// The bytes of a page, which is no longer kept.
    pub(super) fn take(&mut self, number: u64) -> io::Result<Box<[u8; PAGE]>> {
        self.load(number)?;
        let page = self.loaded.remove(&number);
        Ok(page.map_or_else(|| Box::new([0; PAGE]), |page| page.bytes))
    }

    /// Writes the changed pages to the file, or all of them to a new one.
    pub(super) fn write_back(&mut self, new: Option<File>) -> io::Result<()> {
        let is_new = new.is_some();
        if is_new {
            self.file = new;
        }
        let Some(file) = &self.file else {
            return Ok(());
        };
        for (number, page) in &mut self.loaded {
            if page.changed || is_new {
                file.write_all_at(&page.bytes[..], number * PAGE as u64)?;
                page.changed = false;
            }
        }
        Ok(())
    }

    /// Whether there is a file behind the pages.
    pub(super) fn has_file(&self) -> bool {
        self.file.is_some()
    }

    fn load(&mut self, number: u64) -> io::Result<&mut Page> {
        use std::collections::hash_map::Entry;
        match self.loaded.entry(number) {
            Entry::Occupied(page) => Ok(page.into_mut()),
            Entry::Vacant(place) => {
                let mut bytes = Box::new([0; PAGE]);
                if let Some(file) = &self.file {
                    fill(file, &mut bytes[..], number * PAGE as u64)?;
                }
                Ok(place.insert(Page {
                    bytes,
                    changed: false,
                }))
            }
        }
    }
}

fn fill(file: &File, mut rest: &mut [u8], mut offset: u64) -> io::Result<()> {
    while !rest.is_empty() {
        match file.read_at(rest, offset) {
            Ok(0) => return Ok(()),
            Ok(n) => {
                rest = &mut rest[n..];
                offset += n as u64;
            }
            Err(cause) if cause.kind() == io::ErrorKind::Interrupted => {}
            Err(cause) => return Err(cause),
        }
    }
    Ok(())
}
