//! The reader: one entry after the other, its contents in between, from any stream.
//! Whoever wants an archive's files calls `next` until there is none, and reads or leaves each one's contents.
//! It must never read past the end of an archive's last entry by mistake, nor take contents for headers.

use std::io::{self, BufRead};

use tar::{EntryType, Header};

use super::BLOCK;
use super::header::{Entry, Kind, or_zero};
use super::pax::Pax;
use super::sparse::{self, Form, Part};
use crate::error::{Error, Result};
use crate::limits::EXTENDED_BYTES;

/// What an archive is read from.
pub(crate) trait Stream: BufRead {
    /// Leaves out `count` bytes. A stream that can't jump reads them.
    fn skip(&mut self, count: u64) -> io::Result<()> {
        let mut left = count;
        while left > 0 {
            let here = self.fill_buf()?.len();
            if here == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let step = here.min(usize::try_from(left).unwrap_or(usize::MAX));
            self.consume(step);
            left -= step as u64;
        }
        Ok(())
    }
}

/// An archive that is being read.
#[derive(Debug)]
pub(crate) struct Reader<S> {
    input: S,
    globals: Pax,
    /// Bytes of the current entry's contents that have not been read, and what fills its last block.
    left: u64,
    padding: u64,
    parts: Vec<Part>,
    /// Everything but contents since it was last taken.
    raw: Vec<u8>,
    keep_raw: bool,
    position: u64,
}

/// What comes before an entry's own header.
#[derive(Debug, Default)]
struct Prefix {
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    pax: Pax,
}

impl<S: Stream> Reader<S> {
    pub(crate) fn new(input: S) -> Reader<S> {
        Reader {
            input,
            globals: Pax::default(),
            left: 0,
            padding: 0,
            parts: Vec::new(),
            raw: Vec::new(),
            keep_raw: false,
            position: 0,
        }
    }

    /// Keeps headers and padding for [`Reader::take_raw`]. Each entry's have to be taken before the next.
    pub(crate) fn keeping_raw(mut self) -> Reader<S> {
        self.keep_raw = true;
        self
    }

    /// What has been read since the last call, contents left out.
    pub(crate) fn take_raw(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.raw)
    }

    /// How many bytes of the archive have been passed.
    pub(crate) fn position(&self) -> u64 {
        self.position
    }

    /// The parts of the current file that the archive holds, in their order.
    pub(crate) fn parts(&self) -> &[Part] {
        &self.parts
    }

    /// How many bytes of the current file's contents are still to be read.
    pub(crate) fn left(&self) -> u64 {
        self.left
    }

    /// The next entry; `None` after the last one. What was not read of the entry before is left out.
    pub(crate) fn next(&mut self) -> Result<Option<Entry>> {
        self.leave()?;
        let mut prefix = Prefix::default();
        loop {
            let Some(header) = self.header()? else {
                return Ok(None);
            };
            match header.entry_type() {
                EntryType::XGlobalHeader => {
                    let text = self.extension(&header)?;
                    let globals = std::mem::take(&mut self.globals);
                    self.globals = Pax::parse(&text, b"(global header)")?.over(&globals);
                }
                EntryType::XHeader => {
                    let text = self.extension(&header)?;
                    prefix.pax = Pax::parse(&text, &header.path_bytes())?;
                }
                EntryType::GNULongName => prefix.path = Some(self.long_name(&header)?),
                EntryType::GNULongLink => prefix.link = Some(self.long_name(&header)?),
                // A volume's label.
                other if other.as_byte() == b'V' => drop(self.extension(&header)?),
                _ => return self.entry(&header, prefix).map(Some),
            }
        }
    }

    /// Some of the current file's contents; empty when there are no more.
    pub(crate) fn contents(&mut self) -> Result<&[u8]> {
        if self.left == 0 {
            return Ok(&[]);
        }
        let left = usize::try_from(self.left).unwrap_or(usize::MAX);
        let here = self.input.fill_buf().map_err(unreadable)?;
        if here.is_empty() {
            return Err(truncated());
        }
        Ok(&here[..here.len().min(left)])
    }

    /// `count` of the bytes that [`Reader::contents`] showed have been used.
    pub(crate) fn consume(&mut self, count: usize) {
        self.input.consume(count);
        self.left -= count as u64;
        self.position += count as u64;
    }

    /// Reads what follows the last entry, to the stream's end; `each` gets it in pieces.
    pub(crate) fn rest(&mut self, mut each: impl FnMut(&[u8]) -> Result<()>) -> Result<()> {
        loop {
            let here = self.input.fill_buf().map_err(unreadable)?;
            if here.is_empty() {
                return Ok(());
            }
            each(here)?;
            let count = here.len();
            self.input.consume(count);
            self.position += count as u64;
        }
    }

    fn entry(&mut self, header: &Header, prefix: Prefix) -> Result<Entry> {
        let pax = prefix.pax.over(&self.globals);
        let name = pax.get("GNU.sparse.name").or_else(|| pax.get("path"));
        let path = name.map(<[u8]>::to_vec).or(prefix.path);
        let path = path.unwrap_or_else(|| header.path_bytes().into_owned());
        let link = pax.get("linkpath").map(<[u8]>::to_vec).or(prefix.link);
        let link = link.or_else(|| header.link_name_bytes().map(std::borrow::Cow::into_owned));
        let stored = match pax.number("size", &path)? {
            Some(size) => size,
            None => size(header, &path)?,
        };
        let mut entry = Entry::new(header, path, link, &pax)?;
        self.begin(stored, &entry.path)?;
        self.parts.clear();
        match entry.kind {
            Kind::File { .. } => {
                let size = self.map(header, &pax, &entry.path)?;
                entry.kind = Kind::File { size };
            }
            _ if stored > 0 => {
                return Err(Error::entry(&entry.path, "has contents, and is no file"));
            }
            _ => {}
        }
        Ok(entry)
    }

    /// Where the current file's contents belong; returns its size.
    fn map(&mut self, header: &Header, pax: &Pax, entry: &[u8]) -> Result<u64> {
        let form = match header.entry_type() {
            EntryType::GNUSparse => self.gnu_map(header, entry)?,
            _ => sparse::form(pax, entry)?,
        };
        let (size, parts) = match form {
            Form::Dense => {
                let part = Part {
                    offset: 0,
                    length: self.left,
                };
                (self.left, vec![part])
            }
            Form::Listed { size, parts } => (size, parts),
            Form::InFront { size } => (size, self.map_in_front(entry)?),
        };
        sparse::check(&parts, size, self.left, entry)?;
        self.parts = parts;
        Ok(size)
    }

    /// The map of GNU's own format: four parts in the header, 21 in each block that follows.
    fn gnu_map(&mut self, header: &Header, entry: &[u8]) -> Result<Form> {
        let bad = |_| Error::entry(entry, "has a sparse map that can't be read");
        let gnu = header
            .as_gnu()
            .ok_or_else(|| Error::entry(entry, "is sparse without GNU's header"))?;
        let mut numbers = Vec::new();
        let mut add = |part: &tar::GnuSparseHeader| {
            if !part.is_empty() {
                numbers.push(part.offset().map_err(bad)?);
                numbers.push(part.length().map_err(bad)?);
            }
            Ok(numbers.len())
        };
        for part in &gnu.sparse {
            add(part)?;
        }
        let mut more = gnu.is_extended();
        while more {
            let mut block = tar::GnuExtSparseHeader::new();
            self.read_block(block.as_mut_bytes())?;
            for part in block.sparse() {
                if add(part)? > sparse::PARTS * 2 {
                    return Err(Error::entry(entry, "has too many sparse parts"));
                }
            }
            more = block.is_extended();
        }
        let size = gnu.real_size().map_err(bad)?;
        let parts = sparse::pairs(&numbers, entry)?;
        Ok(Form::Listed { size, parts })
    }

    fn map_in_front(&mut self, entry: &[u8]) -> Result<Vec<Part>> {
        let (mut text, mut lines) = (Vec::new(), 0_u64);
        loop {
            if self.left < BLOCK as u64 || text.len() as u64 >= EXTENDED_BYTES {
                return Err(Error::entry(entry, "has a sparse map without an end"));
            }
            let mut block = [0; BLOCK];
            self.read_block(&mut block)?;
            self.left -= BLOCK as u64;
            text.extend_from_slice(&block);
            // Only when all lines are there is it worth reading them: their number is in the first.
            lines += block.iter().filter(|&&byte| byte == b'\n').count() as u64;
            let first = text.split(|&byte| byte == b'\n').next();
            let count = first.and_then(|text| std::str::from_utf8(text).ok()?.parse::<u64>().ok());
            if count.is_some_and(|count| count > sparse::PARTS as u64) {
                return Err(sparse::too_many(entry));
            }
            if count.is_some_and(|count| lines <= count.saturating_mul(2)) {
                continue;
            }
            if let Some(parts) = sparse::map_in_front(&text, entry)? {
                return Ok(parts);
            }
        }
    }

    /// The next header; `None` at the end: two blocks of zeros, or no more blocks.
    fn header(&mut self) -> Result<Option<Header>> {
        let mut header = Header::new_old();
        for zeros in 0.. {
            if self.input.fill_buf().map_err(unreadable)?.is_empty() {
                return Ok(None);
            }
            self.read_block(header.as_mut_bytes())?;
            if header.as_bytes().iter().any(|&byte| byte != 0) {
                break;
            }
            if zeros == 1 {
                return Ok(None);
            }
        }
        match header.cksum() {
            Ok(sum) if sum == checksum(header.as_bytes()) => Ok(Some(header)),
            _ => Err(Error::malformed(
                format!("byte {}", self.position - BLOCK as u64),
                "is not the beginning of a tar entry",
            )),
        }
    }

    /// The contents of an entry that only tells of others.
    fn extension(&mut self, header: &Header) -> Result<Vec<u8>> {
        let path = header.path_bytes();
        let size = size(header, &path)?;
        if size > EXTENDED_BYTES {
            let problem =
                format!("an extended header of {size} bytes; at most {EXTENDED_BYTES} are read");
            return Err(Error::entry(&path, problem));
        }
        let whole = size.next_multiple_of(BLOCK as u64);
        let mut text = Vec::new();
        for _ in 0..whole / BLOCK as u64 {
            let mut block = [0; BLOCK];
            self.read_block(&mut block)?;
            text.extend_from_slice(&block);
        }
        text.truncate(usize::try_from(size).unwrap_or(usize::MAX));
        Ok(text)
    }

    fn long_name(&mut self, header: &Header) -> Result<Vec<u8>> {
        let mut name = self.extension(header)?;
        let end = name.iter().position(|&byte| byte == 0);
        name.truncate(end.unwrap_or(name.len()));
        Ok(name)
    }

    fn begin(&mut self, stored: u64, entry: &[u8]) -> Result<()> {
        let whole = stored.checked_next_multiple_of(BLOCK as u64);
        let whole = whole.ok_or_else(|| Error::entry(entry, "has a size that can't be"))?;
        self.left = stored;
        self.padding = whole - stored;
        Ok(())
    }

    /// Goes to the end of the current entry.
    fn leave(&mut self) -> Result<()> {
        if self.left > 0 {
            self.input.skip(self.left).map_err(unreadable)?;
            self.position += self.left;
            self.left = 0;
        }
        let mut block = [0; BLOCK];
        let padding = usize::try_from(self.padding).unwrap_or(0).min(BLOCK);
        self.padding = 0;
        // `umoci insert` ends its archives right behind the last contents; Go and docker take that.
        if padding > 0 && self.input.fill_buf().map_err(unreadable)?.is_empty() {
            return Ok(());
        }
        self.read_block(&mut block[..padding])
    }

    fn read_block(&mut self, block: &mut [u8]) -> Result<()> {
        self.input.read_exact(block).map_err(unreadable)?;
        self.position += block.len() as u64;
        if self.keep_raw {
            self.raw.extend_from_slice(block);
        }
        Ok(())
    }
}

fn size(header: &Header, entry: &[u8]) -> Result<u64> {
    let size = or_zero(header.entry_size(), &header.as_old().size);
    size.map_err(|_| Error::entry(entry, "its size can't be read"))
}

/// The sum of a header's bytes, its own field counted as spaces (ustar).
fn checksum(bytes: &[u8; BLOCK]) -> u32 {
    let (before, after) = (&bytes[..148], &bytes[156..]);
    let sum = before.iter().chain(after).map(|&byte| u32::from(byte));
    sum.sum::<u32>() + 8 * u32::from(b' ')
}

fn unreadable(cause: io::Error) -> Error {
    match cause.kind() {
        io::ErrorKind::UnexpectedEof => truncated(),
        _ => Error::Malformed {
            what: "the archive".to_owned(),
            problem: cause.to_string(),
        },
    }
}

fn truncated() -> Error {
    Error::malformed("the archive", "ends in the middle of an entry")
}
