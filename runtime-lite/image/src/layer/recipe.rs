//! The recipe of a layer: everything of its archive but the files' contents, and where those are in the folder.
//! The unpacker writes one; `export` makes the very same archive of it again, byte by byte, so that its digest holds.
//! It must never be needed to run a container.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::path::Path;

use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use rustix::fs::OFlags;

use super::tree::Tree;
use crate::error::{Error, Result};

/// The first bytes of a recipe: its form's version.
const MAGIC: &[u8; 8] = b"wlrec1\n\0";
/// Bytes that are copied at a time.
const BUFFER: usize = 128 << 10;

/// What kinds of steps there are, as a byte in front of each.
const BYTES: u8 = b'b';
const CONTENTS: u8 = b'c';
const MOVED: u8 = b'm';

/// One step of making the archive.
#[derive(Debug, PartialEq, Eq)]
enum Step {
    /// These bytes.
    Bytes(Vec<u8>),
    /// A part of a file of the layer.
    Contents {
        path: Vec<u8>,
        offset: u64,
        length: u64,
    },
    /// Until here `path` was the file that is now kept aside under this number.
    Moved { path: Vec<u8>, number: u64 },
}

/// A recipe that is being written.
#[derive(Debug)]
pub(crate) struct Recipe {
    out: GzEncoder<BufWriter<File>>,
    moved: u64,
}

impl Recipe {
    pub(crate) fn create(path: &Path) -> Result<Recipe> {
        let failed = Error::file("write", path);
        let file = File::create_new(path).map_err(Error::file("create", path))?;
        let mut out = GzEncoder::new(BufWriter::new(file), Compression::new(1));
        out.write_all(MAGIC).map_err(failed)?;
        Ok(Recipe { out, moved: 0 })
    }

    pub(super) fn bytes(&mut self, bytes: &[u8]) -> io::Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        self.out.write_all(&[BYTES])?;
        self.sized(bytes)
    }

    pub(super) fn contents(&mut self, path: &[u8], offset: u64, length: u64) -> io::Result<()> {
        self.out.write_all(&[CONTENTS])?;
        self.sized(path)?;
        self.out.write_all(&offset.to_le_bytes())?;
        self.out.write_all(&length.to_le_bytes())
    }

    /// The file at `path` makes room; it has to be kept aside under the number that is returned.
    pub(super) fn moved(&mut self, path: &[u8]) -> io::Result<u64> {
        self.moved += 1;
        self.out.write_all(&[MOVED])?;
        self.sized(path)?;
        self.out.write_all(&self.moved.to_le_bytes())?;
        Ok(self.moved)
    }

    pub(super) fn finish(self) -> io::Result<()> {
        self.out.finish()?.flush()
    }

    fn sized(&mut self, bytes: &[u8]) -> io::Result<()> {
        let length = u32::try_from(bytes.len()).map_err(io::Error::other)?;
        self.out.write_all(&length.to_le_bytes())?;
        self.out.write_all(bytes)
    }
}

/// A recipe that is being read.
struct Steps(BufReader<GzDecoder<BufReader<File>>>);

impl Steps {
    fn open(path: &Path) -> Result<Steps> {
        let file = File::open(path).map_err(Error::file("open", path))?;
        let mut steps = Steps(BufReader::new(GzDecoder::new(BufReader::new(file))));
        let magic: [u8; 8] = steps.array().map_err(Error::file("read", path))?;
        match magic == *MAGIC {
            true => Ok(steps),
            false => Err(Error::malformed(
                path.display().to_string(),
                "is no recipe of this version",
            )),
        }
    }

    fn next(&mut self) -> io::Result<Option<Step>> {
        let mut kind = [0];
        if self.0.read(&mut kind)? == 0 {
            return Ok(None);
        }
        let bytes = self.sized()?;
        Ok(Some(match kind[0] {
            BYTES => Step::Bytes(bytes),
            CONTENTS => Step::Contents {
                path: bytes,
                offset: self.number()?,
                length: self.number()?,
            },
            MOVED => Step::Moved {
                path: bytes,
                number: self.number()?,
            },
            other => return Err(io::Error::other(format!("unknown step {other}"))),
        }))
    }

    fn sized(&mut self) -> io::Result<Vec<u8>> {
        let length = u32::from_le_bytes(self.array()?);
        let mut bytes = Vec::new();
        (&mut self.0).take(length.into()).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    fn number(&mut self) -> io::Result<u64> {
        self.array().map(u64::from_le_bytes)
    }

    fn array<const N: usize>(&mut self) -> io::Result<[u8; N]> {
        let mut bytes = [0; N];
        self.0.read_exact(&mut bytes)?;
        Ok(bytes)
    }
}

/// Makes the archive of a layer again: `recipe` with the files below `tree`, and `aside` for those that were replaced.
pub(crate) fn replay(recipe: &Path, tree: &Tree, aside: &Path, out: &mut dyn Write) -> Result<()> {
    let read = || Error::file("read", recipe);
    let mut moves = moves(recipe)?;
    let mut steps = Steps::open(recipe)?;
    let mut buffer = vec![0; BUFFER];
    while let Some(step) = steps.next().map_err(read())? {
        match step {
            Step::Bytes(bytes) => out.write_all(&bytes).map_err(unwritable)?,
            Step::Moved { path, .. } => {
                if let Some(numbers) = moves.get_mut(&path) {
                    numbers.pop();
                }
            }
            Step::Contents {
                path,
                offset,
                length,
            } => {
                let number = moves.get(&path).and_then(|numbers| numbers.last());
                let file = match number {
                    Some(number) => {
                        Tree::open(aside)?.open_at(number.to_string().as_bytes(), OFlags::RDONLY)
                    }
                    None => tree.open_at(&path, OFlags::RDONLY),
                };
                let file = file.map_err(Error::in_layer("open", &path))?;
                copy(
                    file,
                    &path,
                    offset..offset.saturating_add(length),
                    &mut buffer,
                    out,
                )?;
            }
        }
    }
    Ok(())
}

/// Under which numbers each replaced path's files are kept, the first last.
fn moves(recipe: &Path) -> Result<HashMap<Vec<u8>, Vec<u64>>> {
    let mut moves: HashMap<Vec<u8>, Vec<u64>> = HashMap::new();
    let mut steps = Steps::open(recipe)?;
    while let Some(step) = steps.next().map_err(Error::file("read", recipe))? {
        if let Step::Moved { path, number } = step {
            moves.entry(path).or_default().insert(0, number);
        }
    }
    Ok(moves)
}

fn copy(
    file: OwnedFd,
    path: &[u8],
    range: std::ops::Range<u64>,
    buffer: &mut [u8],
    out: &mut dyn Write,
) -> Result<()> {
    let file = File::from(file);
    let mut at = range.start;
    while at < range.end {
        let room = usize::try_from(range.end - at).unwrap_or(usize::MAX);
        let room = room.min(buffer.len());
        let count = file.read_at(&mut buffer[..room], at);
        let count = count.map_err(Error::in_layer("read", path))?;
        if count == 0 {
            return Err(Error::entry(path, "is shorter than when it was unpacked"));
        }
        out.write_all(&buffer[..count]).map_err(unwritable)?;
        at += count as u64;
    }
    Ok(())
}

fn unwritable(cause: io::Error) -> Error {
    Error::malformed("the archive", format!("can't be written: {cause}"))
}
