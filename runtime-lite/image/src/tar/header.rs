//! What an archive says of one file, checked: the header block with its extended headers applied.
//! The reader makes it, the unpacker acts on it.
//! It must never pass on a type, an owner or a time that the kernel would take for something else.

use tar::{EntryType, Header};

use super::pax::Pax;
use crate::error::{Error, Result};

/// One file of an archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    /// The name as it is written.
    pub(crate) path: Vec<u8>,
    pub(crate) kind: Kind,
    /// Permissions with setuid, setgid and sticky.
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) mtime: Time,
    pub(crate) atime: Option<Time>,
    pub(crate) xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

/// What kind of file it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A regular file of so many bytes, holes included.
    File {
        size: u64,
    },
    Directory,
    /// A symbolic link and what it says.
    Symlink(Vec<u8>),
    /// Another name of a file of the same archive.
    Hardlink(Vec<u8>),
    Character(u32, u32),
    Block(u32, u32),
    Fifo,
}

/// Seconds since 1970, and nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Time {
    pub(crate) seconds: i64,
    pub(crate) nanoseconds: u32,
}

impl Entry {
    /// From a header block, the names that GNU's long headers gave, and the extended header.
    pub(super) fn new(
        header: &Header,
        path: Vec<u8>,
        link: Option<Vec<u8>>,
        pax: &Pax,
    ) -> Result<Entry> {
        let kind = kind(header, &path, link)?;
        let old = header.as_old();
        let owner = |key: &str, field: std::io::Result<u64>| owner(key, field, pax, &path);
        Ok(Entry {
            mode: or_zero(header.mode(), &old.mode).map_err(field(&path, "mode"))? & 0o7777,
            uid: owner("uid", or_zero(header.uid(), &old.uid))?,
            gid: owner("gid", or_zero(header.gid(), &old.gid))?,
            mtime: match pax.get("mtime") {
                Some(text) => time(text, &path)?,
                None => {
                    let seconds = or_zero(header.mtime(), &old.mtime);
                    Time::whole(seconds.map_err(field(&path, "time"))?, &path)?
                }
            },
            atime: pax.get("atime").map(|text| time(text, &path)).transpose()?,
            xattrs: pax
                .xattrs()
                .map(|(name, value)| (name.to_vec(), value.to_vec()))
                .collect(),
            kind,
            path,
        })
    }
}

/// A number of a header, 0 if its field was left blank, as some writers do (GNU tar and Go read it so as well).
pub(super) fn or_zero<T: From<u8>>(read: std::io::Result<T>, field: &[u8]) -> std::io::Result<T> {
    let blank = field.iter().all(|byte| matches!(byte, 0 | b' '));
    if blank { Ok(T::from(0)) } else { read }
}

fn kind(header: &Header, path: &[u8], link: Option<Vec<u8>>) -> Result<Kind> {
    let target = || match &link {
        Some(link) if !link.is_empty() => Ok(link.clone()),
        _ => Err(Error::entry(path, "is a link without a target")),
    };
    let device = || {
        let number = |read: std::io::Result<Option<u32>>| {
            read.map_err(field(path, "device number"))?
                .ok_or_else(|| Error::entry(path, "is a device without a number"))
        };
        Ok((
            number(header.device_major())?,
            number(header.device_minor())?,
        ))
    };
    Ok(match header.entry_type() {
        // Before POSIX a directory was a file whose name ends so.
        EntryType::Regular if path.ends_with(b"/") => Kind::Directory,
        // The reader knows the size.
        EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => Kind::File { size: 0 },
        EntryType::Directory => Kind::Directory,
        EntryType::Symlink => Kind::Symlink(target()?),
        EntryType::Link => Kind::Hardlink(target()?),
        EntryType::Char => device().map(|(major, minor)| Kind::Character(major, minor))?,
        EntryType::Block => device().map(|(major, minor)| Kind::Block(major, minor))?,
        EntryType::Fifo => Kind::Fifo,
        other => {
            let letter = char::from(other.as_byte()).escape_default();
            return Err(Error::entry(
                path,
                format!("is of the unknown type '{letter}'"),
            ));
        }
    })
}

/// A user or group. The highest number means "none" to chown(2) and is refused.
fn owner(key: &str, header: std::io::Result<u64>, pax: &Pax, path: &[u8]) -> Result<u32> {
    let wanted = match pax.number(key, path)? {
        Some(number) => number,
        None => header.map_err(field(path, "owner"))?,
    };
    match u32::try_from(wanted) {
        Ok(number) if number < u32::MAX => Ok(number),
        _ => Err(Error::entry(
            path,
            format!("has the {key} {wanted}, which can't be"),
        )),
    }
}

/// A time of an extended header: seconds with a fraction, possibly before 1970.
fn time(text: &[u8], path: &[u8]) -> Result<Time> {
    let bad = || Error::entry(path, "has a time that can't be read");
    let text = std::str::from_utf8(text).map_err(|_| bad())?;
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let seconds: i64 = whole.parse().map_err(|_| bad())?;
    if !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(bad());
    }
    let digits: String = fraction
        .chars()
        .chain("000000000".chars())
        .take(9)
        .collect();
    let nanoseconds: u32 = digits.parse().map_err(|_| bad())?;
    // -1.25 is a quarter of a second before -1: the kernel counts fractions upwards only.
    if whole.starts_with('-') && nanoseconds > 0 {
        let seconds = seconds.checked_sub(1).ok_or_else(bad)?;
        return Ok(Time {
            seconds,
            nanoseconds: 1_000_000_000 - nanoseconds,
        });
    }
    Ok(Time {
        seconds,
        nanoseconds,
    })
}

impl Time {
    fn whole(seconds: u64, path: &[u8]) -> Result<Time> {
        let seconds = i64::try_from(seconds)
            .map_err(|_| Error::entry(path, format!("has the time {seconds}, which can't be")))?;
        Ok(Time {
            seconds,
            nanoseconds: 0,
        })
    }
}

fn field<'a>(path: &'a [u8], name: &'a str) -> impl FnOnce(std::io::Error) -> Error + 'a {
    move |_| Error::entry(path, format!("its {name} can't be read"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_fractions_and_may_be_before_1970() {
        let read = |text: &str| {
            let time = time(text.as_bytes(), b"x").ok()?;
            Some((time.seconds, time.nanoseconds))
        };
        assert_eq!(read("12"), Some((12, 0)));
        assert_eq!(read("12.5"), Some((12, 500_000_000)));
        assert_eq!(read("12.1234567891"), Some((12, 123_456_789)));
        assert_eq!(read("-1.25"), Some((-2, 750_000_000)));
        assert_eq!(read("-3"), Some((-3, 0)));
        for text in ["", ".", "x", "1.x", "1.-5", "99999999999999999999"] {
            assert_eq!(read(text), None, "{text}");
        }
    }
}
