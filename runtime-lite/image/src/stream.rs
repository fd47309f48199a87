//! Bytes on their way from an archive to a layer: decompressed by their magic, counted, hashed.
//! Layers and whole archives are read through it.
//! It must never hold more than its buffers and a decompressor's window, nor believe a file's name.

use std::cell::RefCell;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::os::unix::fs::FileExt;
use std::rc::Rc;

use flate2::bufread::MultiGzDecoder;
use ruzstd::decoding::errors::{FrameDecoderError, ReadFrameHeaderError};
use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};
use sha2::{Digest as _, Sha256};

use crate::digest::Digest;
use crate::progress::Progress;
use crate::tar::Stream;

/// The size of the buffers, in bytes.
const BUFFER: usize = 128 << 10;
/// The first bytes of a gzip member (RFC 1952) and of a zstd frame (RFC 8878).
const GZIP: [u8; 2] = [0x1f, 0x8b];
const ZSTD: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

/// A part of a file, read from its own position: several can read one file.
#[derive(Debug)]
pub(crate) struct Section {
    file: Rc<File>,
    position: u64,
    end: u64,
}

impl Section {
    pub(crate) fn new(file: Rc<File>, start: u64, length: u64) -> Section {
        Section {
            file,
            position: start,
            end: start.saturating_add(length),
        }
    }

    pub(crate) fn len(&self) -> u64 {
        self.end - self.position
    }
}

impl Read for Section {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let room = usize::try_from(self.end - self.position).unwrap_or(usize::MAX);
        let room = room.min(buffer.len());
        let count = self.file.read_at(&mut buffer[..room], self.position)?;
        self.position += count as u64;
        Ok(count)
    }
}

/// A section for the index of an archive: what is not read is jumped over.
#[derive(Debug)]
pub(crate) struct Seekable {
    section: Section,
    buffer: Box<[u8]>,
    start: usize,
    filled: usize,
}

impl Seekable {
    pub(crate) fn new(section: Section) -> Seekable {
        Seekable {
            section,
            buffer: vec![0; 4096].into_boxed_slice(),
            start: 0,
            filled: 0,
        }
    }
}

impl Read for Seekable {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let here = self.fill_buf()?;
        let count = here.len().min(out.len());
        out[..count].copy_from_slice(&here[..count]);
        self.consume(count);
        Ok(count)
    }
}

impl BufRead for Seekable {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.start == self.filled {
            self.start = 0;
            self.filled = self.section.read(&mut self.buffer)?;
        }
        Ok(&self.buffer[self.start..self.filled])
    }

    fn consume(&mut self, count: usize) {
        self.start = (self.start + count).min(self.filled);
    }
}

impl Stream for Seekable {
    fn skip(&mut self, count: u64) -> io::Result<()> {
        let here = (self.filled - self.start) as u64;
        if count <= here {
            self.start += usize::try_from(count).unwrap_or(0);
            return Ok(());
        }
        let further = count - here;
        if further > self.section.len() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.section.position += further;
        (self.start, self.filled) = (0, 0);
        Ok(())
    }
}

/// A reader that hashes what passes, and counts it.
pub(crate) struct Hashing<R> {
    inner: R,
    sum: Sum,
}

/// The digest and the length of what has passed a [`Hashing`] reader.
#[derive(Debug, Clone)]
pub(crate) struct Sum(Rc<RefCell<State>>);

#[derive(Debug)]
struct State {
    hasher: Option<Sha256>,
    length: u64,
}

impl Sum {
    /// One that also hashes.
    pub(crate) fn hashing() -> Sum {
        Sum::new(Some(Sha256::new()))
    }

    /// One that only counts.
    pub(crate) fn counting() -> Sum {
        Sum::new(None)
    }

    fn new(hasher: Option<Sha256>) -> Sum {
        let state = State { hasher, length: 0 };
        Sum(Rc::new(RefCell::new(state)))
    }

    /// Of what has passed so far; `None` if it was only counted.
    pub(crate) fn digest(&self) -> Option<Digest> {
        self.0.borrow().hasher.clone().map(Digest::from_hasher)
    }

    pub(crate) fn length(&self) -> u64 {
        self.0.borrow().length
    }

    pub(crate) fn add(&self, bytes: &[u8]) {
        let mut state = self.0.borrow_mut();
        state.length += bytes.len() as u64;
        if let Some(hasher) = &mut state.hasher {
            hasher.update(bytes);
        }
    }

    pub(crate) fn of<R: Read>(&self, inner: R) -> Hashing<R> {
        Hashing {
            inner,
            sum: self.clone(),
        }
    }
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.sum.add(&buffer[..count]);
        Ok(count)
    }
}

/// A reader that tells somebody how much has passed.
pub(crate) struct Watched<'a, R> {
    pub(crate) inner: R,
    pub(crate) progress: &'a mut dyn Progress,
}

impl<R: Read> Read for Watched<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.progress.advance(count as u64);
        Ok(count)
    }
}

/// How bytes are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Compression {
    None,
    Gzip,
    Zstd,
}

impl Compression {
    /// By the first bytes.
    pub(crate) fn of(beginning: &[u8]) -> Compression {
        if beginning.starts_with(&GZIP) {
            return Compression::Gzip;
        }
        match beginning.starts_with(&ZSTD) {
            true => Compression::Zstd,
            false => Compression::None,
        }
    }
}

/// A buffered reader of `inner`.
pub(crate) fn buffered<R: Read>(inner: R) -> BufReader<R> {
    BufReader::with_capacity(BUFFER, inner)
}

/// `inner` as it is before compression.
pub(crate) fn decompressed<'a, R: Read + 'a>(inner: R) -> io::Result<Box<dyn Read + 'a>> {
    let mut inner = buffered(inner);
    Ok(match Compression::of(inner.fill_buf()?) {
        Compression::None => Box::new(inner),
        Compression::Gzip => Box::new(MultiGzDecoder::new(inner)),
        Compression::Zstd => Box::new(Frames {
            input: inner,
            decoder: FrameDecoder::new(),
            within: false,
        }),
    })
}

/// All zstd frames of a stream, one after the other, as gzip's members are (RFC 8878, section 3). The decoder's own
/// bound for a window, and so for memory, is 128 MiB.
struct Frames<R> {
    input: R,
    decoder: FrameDecoder,
    within: bool,
}

impl<R: BufRead> Frames<R> {
    /// Begins the next frame that has contents; false at the stream's end.
    fn next_frame(&mut self) -> io::Result<bool> {
        while !self.input.fill_buf()?.is_empty() {
            match self.decoder.reset(&mut self.input) {
                Ok(()) => return Ok(true),
                Err(FrameDecoderError::ReadFrameHeaderError(ReadFrameHeaderError::SkipFrame {
                    length,
                    ..
                })) => {
                    let mut skipped = (&mut self.input).take(length.into());
                    io::copy(&mut skipped, &mut io::sink())?;
                }
                Err(refusal) => return Err(io::Error::other(refusal)),
            }
        }
        Ok(false)
    }
}

impl<R: BufRead> Read for Frames<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            if self.within {
                let count = self.decoder.read(buffer)?;
                if count > 0 || buffer.is_empty() {
                    return Ok(count);
                }
                if !self.decoder.is_finished() {
                    let step = BlockDecodingStrategy::UptoBytes(BUFFER);
                    let decoded = self.decoder.decode_blocks(&mut self.input, step);
                    decoded.map_err(io::Error::other)?;
                    continue;
                }
            }
            self.within = self.next_frame()?;
            if !self.within {
                return Ok(0);
            }
        }
    }
}

impl<R: Read> Stream for BufReader<R> {}
