//! A tree as a sequence of frames: the same tree gives the same bytes, on whatever file system it is.
//! `walk` makes them, `send` and `receive` carry them; docs/volumes.md says what survives.
//! It must never depend on what a copy has otherwise: inode numbers, access times, how zeroes are kept.

use std::ffi::CString;

use sha2::{Digest, Sha256};

/// Most bytes of content in a frame; a piece of zeroes alone is not sent, and becomes a hole.
pub(super) const PIECE: usize = 64 << 10;
/// Most bytes of a frame: an entry with all the attributes that a file can have.
pub(super) const LONGEST: usize = 16 << 20;

/// What an entry has beside its content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Meta {
    pub(super) mode: u32,
    pub(super) uid: u32,
    pub(super) gid: u32,
    /// Seconds and nanoseconds of its last change.
    pub(super) modified: (i64, u32),
    /// By name.
    pub(super) xattrs: Vec<(CString, Vec<u8>)>,
    /// Its SELinux label, which is the host's to give: it is sent and set, but not compared.
    pub(super) label: Option<Vec<u8>>,
}

/// A step of the walk. Folders come before what is in them; entries of a folder are sorted by the bytes of their names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Frame<'a> {
    /// A folder begins.
    Enter(&'a [u8]),
    /// The innermost folder ends; the last of all is the tree's top.
    Leave(Meta),
    /// A file begins.
    File(&'a [u8]),
    /// Some of its content.
    Data(u64, &'a [u8]),
    /// It ends, with this length.
    Close(u64, Meta),
    /// A symbolic link: its name, and where it leads.
    Symlink(&'a [u8], &'a [u8], Meta),
    /// One more name of a file: this, and the path of the first.
    Link(&'a [u8], &'a [u8]),
    /// A device, a FIFO or a socket: the mode says which; the numbers of the device.
    Special(&'a [u8], (u32, u32), Meta),
}

/// SHA-256 of each frame together with that of all before it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Chain {
    pub(super) frames: u64,
    digest: [u8; 32],
}

impl Chain {
    /// One that is somewhere already; none where `digest` is no digest.
    pub(super) fn at(frames: u64, digest: &str) -> Option<Self> {
        if frames == 0 {
            return Some(Self::default());
        }
        let mut bytes = [0; 32];
        let digits: Vec<u8> = (0..digest.len())
            .step_by(2)
            .map_while(|at| u8::from_str_radix(digest.get(at..at + 2)?, 16).ok())
            .collect();
        (digits.len() == bytes.len()).then(|| bytes.copy_from_slice(&digits))?;
        let digest = bytes;
        Some(Self { frames, digest })
    }

    pub(super) fn add(&mut self, frame: &[u8]) {
        self.frames += 1;
        self.digest = Sha256::new()
            .chain_update(self.digest)
            .chain_update(frame)
            .finalize()
            .into();
    }

    /// In hexadecimal digits.
    pub(super) fn digest(&self) -> String {
        self.digest.iter().map(|b| format!("{b:02x}")).collect()
    }
}

impl<'a> Frame<'a> {
    /// Writes it over `out`; how many of the bytes count for the checksum.
    pub(super) fn encode(&self, out: &mut Vec<u8>) -> usize {
        out.clear();
        let written = match self {
            Self::Enter(name) => text(out, 1, &[*name]),
            Self::Leave(meta) => meta.encode(text(out, 2, &[])),
            Self::File(name) => text(out, 3, &[*name]),
            Self::Data(at, bytes) => {
                out.push(4);
                out.extend_from_slice(&at.to_be_bytes());
                text_of(out, bytes)
            }
            Self::Close(length, meta) => {
                out.push(5);
                out.extend_from_slice(&length.to_be_bytes());
                meta.encode(out)
            }
            Self::Symlink(name, target, meta) => meta.encode(text(out, 6, &[*name, *target])),
            Self::Link(name, first) => text(out, 7, &[*name, *first]),
            Self::Special(name, (major, minor), meta) => {
                let out = text(out, 8, &[*name]);
                out.extend_from_slice(&major.to_be_bytes());
                out.extend_from_slice(&minor.to_be_bytes());
                meta.encode(out)
            }
        };
        let counted = written.len();
        let label = self.meta().and_then(|meta| meta.label.as_deref());
        out.extend_from_slice(label.unwrap_or_default());
        counted
    }

    /// Reads one of which `counted` bytes count for the checksum; none where it is no frame.
    pub(super) fn decode(bytes: &'a [u8], counted: usize) -> Option<Self> {
        let (counted, label) = bytes.split_at_checked(counted)?;
        let mut fields = Fields(counted);
        let meta = |fields: &mut Fields<'a>| fields.meta(label);
        let frame = match fields.array::<1>()?[0] {
            1 => Self::Enter(fields.name()?),
            2 => Self::Leave(meta(&mut fields)?),
            3 => Self::File(fields.name()?),
            4 => Self::Data(fields.u64()?, fields.bytes()?),
            5 => Self::Close(fields.u64()?, meta(&mut fields)?),
            6 => Self::Symlink(fields.name()?, fields.bytes()?, meta(&mut fields)?),
            7 => Self::Link(fields.name()?, fields.bytes()?),
            8 => Self::Special(
                fields.name()?,
                (fields.u32()?, fields.u32()?),
                meta(&mut fields)?,
            ),
            _ => return None,
        };
        // What does not count is a label.
        let is_whole = fields.0.is_empty() && (label.is_empty() || frame.meta().is_some());
        is_whole.then_some(frame)
    }

    fn meta(&self) -> Option<&Meta> {
        match self {
            Self::Leave(meta)
            | Self::Close(_, meta)
            | Self::Symlink(_, _, meta)
            | Self::Special(_, _, meta) => Some(meta),
            Self::Enter(_) | Self::File(_) | Self::Data(..) | Self::Link(..) => None,
        }
    }
}

/// Bytes with their length before them.
fn text_of<'o>(out: &'o mut Vec<u8>, bytes: &[u8]) -> &'o mut Vec<u8> {
    let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(bytes);
    out
}

fn text<'o>(out: &'o mut Vec<u8>, kind: u8, texts: &[&[u8]]) -> &'o mut Vec<u8> {
    out.push(kind);
    for bytes in texts {
        text_of(out, bytes);
    }
    out
}

impl Meta {
    fn encode<'o>(&self, out: &'o mut Vec<u8>) -> &'o mut Vec<u8> {
        let (seconds, nanoseconds) = self.modified;
        for number in [self.mode, self.uid, self.gid, nanoseconds] {
            out.extend_from_slice(&number.to_be_bytes());
        }
        out.extend_from_slice(&seconds.to_be_bytes());
        for (name, value) in &self.xattrs {
            text_of(text_of(out, name.to_bytes()), value);
        }
        out
    }
}

/// What is left of a frame.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (first, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*first)
    }

    fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_be_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_be_bytes)
    }

    fn bytes(&mut self) -> Option<&'a [u8]> {
        let length = usize::try_from(self.u32()?).ok()?;
        let (bytes, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(bytes)
    }

    fn name(&mut self) -> Option<&'a [u8]> {
        self.bytes().filter(|name| is_name(name))
    }

    fn meta(&mut self, label: &[u8]) -> Option<Meta> {
        let (mode, uid, gid, nanoseconds) = (self.u32()?, self.u32()?, self.u32()?, self.u32()?);
        let seconds = self.array().map(i64::from_be_bytes)?;
        let mut xattrs = Vec::new();
        while !self.0.is_empty() {
            xattrs.push((CString::new(self.bytes()?).ok()?, self.bytes()?.to_owned()));
        }
        Some(Meta {
            mode,
            uid,
            gid,
            modified: (seconds, nanoseconds),
            xattrs,
            label: (!label.is_empty()).then(|| label.to_owned()),
        })
    }
}

/// Whether it can be an entry's name: nothing that leads elsewhere.
pub(super) fn is_name(name: &[u8]) -> bool {
    !matches!(name, b"" | b"." | b"..") && !name.iter().any(|byte| matches!(byte, b'/' | 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meta() -> Meta {
        Meta {
            mode: 0o104_750,
            uid: 1,
            gid: 2,
            modified: (-3, 4),
            xattrs: vec![(c"user.a".to_owned(), b"\0b".to_vec())],
            label: Some(b"system_u:object_r:container_file_t:s0".to_vec()),
        }
    }

    #[test]
    fn frames_read_back_and_what_is_none_is_refused() {
        let frames = [
            Frame::Enter(b"a\xff"),
            Frame::Leave(meta()),
            Frame::File(b"f"),
            Frame::Data(1 << 40, b"content"),
            Frame::Close(9, meta()),
            Frame::Symlink(b"s", b"/etc/passwd", meta()),
            Frame::Link(b"l", b"a/f"),
            Frame::Special(b"null", (1, 3), meta()),
        ];
        let mut bytes = Vec::new();
        for frame in frames {
            let counted = frame.encode(&mut bytes);
            assert_eq!(Frame::decode(&bytes, counted), Some(frame));
            for length in 0..counted {
                // Attributes may end anywhere between two of them; nothing else may.
                let cut = Frame::decode(&bytes[..length], length);
                assert_ne!(cut, Frame::decode(&bytes, counted), "{length}");
            }
        }
        for name in [&b""[..], b".", b"..", b"a/b", b"a\0"] {
            let counted = Frame::Enter(name).encode(&mut bytes);
            assert_eq!(Frame::decode(&bytes, counted), None, "{name:?}");
        }
    }

    #[test]
    fn a_label_does_not_count_and_everything_else_does() {
        let chained = |meta: Meta| {
            let (mut bytes, mut chain) = (Vec::new(), Chain::default());
            let counted = Frame::Leave(meta).encode(&mut bytes);
            chain.add(&bytes[..counted]);
            assert_eq!(Chain::at(1, &chain.digest()), Some(chain.clone()));
            chain.digest()
        };
        let (mut other, mut owned) = (meta(), meta());
        other.label = None;
        owned.uid = 7;
        assert_eq!(chained(meta()), chained(other));
        assert_ne!(chained(meta()), chained(owned));
        assert_eq!(Chain::at(1, "no digits"), None);
    }
}
