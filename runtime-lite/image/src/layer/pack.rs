//! Packs a folder into a tar archive: the upper folder of an overlay becomes a layer, an image's folder a volume.
//! `commit` and the filling of volumes call it. The same folder gives the same bytes: names are sorted.
//! It must never follow a link, nor leave out a file without a warning.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, Stat};
use tar::{Builder, EntryType, Header};

use super::xattrs::{self, Xattrs};
use super::{OPAQUE, OPAQUE_XATTR, WHITEOUT, Whiteouts};
use crate::error::{Error, Result};

/// How many folders deep a packed folder may be: each holds a descriptor while it is read.
const DEPTH: usize = 512;

/// Packs everything below `root`, its own attributes included; returns the names of sockets, which no archive holds.
pub(crate) fn pack(
    root: OwnedFd,
    whiteouts: Whiteouts,
    out: &mut dyn Write,
) -> Result<Vec<String>> {
    let mut packer = Packer {
        out: Builder::new(out),
        whiteouts,
        seen: HashMap::new(),
        left_out: Vec::new(),
    };
    let stat = rustix::fs::fstat(&root).map_err(Error::in_layer("look at", b"."))?;
    packer.folder(&root, b"", &stat)?;
    let finished = packer.out.finish();
    finished.map_err(Error::in_layer("write the archive of", b"."))?;
    Ok(packer.left_out)
}

struct Packer<'a> {
    out: Builder<&'a mut dyn Write>,
    whiteouts: Whiteouts,
    /// The first name of each file that has several.
    seen: HashMap<(u64, u64), Vec<u8>>,
    left_out: Vec<String>,
}

/// What an entry needs besides what stat(2) says.
#[derive(Default)]
struct More<'a> {
    link: Option<&'a [u8]>,
    xattrs: Xattrs,
    contents: Option<File>,
}

impl Packer<'_> {
    fn folder(&mut self, folder: &OwnedFd, path: &[u8], stat: &Stat) -> Result<()> {
        if path.iter().filter(|&&byte| byte == b'/').count() > DEPTH {
            return Err(Error::entry(
                path,
                format!("is more than {DEPTH} folders deep"),
            ));
        }
        let mut name = if path.is_empty() { b"." } else { path }.to_vec();
        name.push(b'/');
        let all =
            xattrs::of_open(folder).map_err(Error::in_layer("read the attributes of", path))?;
        let opaque = all
            .iter()
            .any(|(key, value)| key == OPAQUE_XATTR.as_bytes() && value == b"y");
        let more = More {
            xattrs: xattrs::public(all),
            ..More::default()
        };
        self.entry(&name, EntryType::Directory, stat, more)?;
        if opaque && self.whiteouts == Whiteouts::Translated {
            self.marker(&below(path, OPAQUE), stat)?;
        }
        for name in names(folder).map_err(Error::in_layer("list", path))? {
            self.file(folder, &below(path, &name), &name)?;
        }
        Ok(())
    }

    fn file(&mut self, folder: &OwnedFd, path: &[u8], name: &[u8]) -> Result<()> {
        let stat = rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW);
        let stat = stat.map_err(Error::in_layer("look at", path))?;
        let kind = FileType::from_raw_mode(stat.st_mode);
        if kind == FileType::Directory {
            let opened = open(folder, name, OFlags::DIRECTORY);
            let opened = opened.map_err(Error::in_layer("open the folder", path))?;
            return self.folder(&opened, path, &stat);
        }
        let translated = self.whiteouts == Whiteouts::Translated;
        if translated && kind == FileType::CharacterDevice && stat.st_rdev == 0 {
            let (parent, name) = path.split_at(path.len() - name.len());
            return self.marker(&[parent, WHITEOUT, name].concat(), &stat);
        }
        if translated && name.starts_with(WHITEOUT) {
            return Err(Error::entry(
                path,
                "has a name that would be a whiteout in a layer",
            ));
        }
        if stat.st_nlink > 1 {
            let known = self.seen.get(&(stat.st_dev, stat.st_ino)).cloned();
            if let Some(first) = known {
                let more = More {
                    link: Some(&first),
                    ..More::default()
                };
                return self.entry(path, EntryType::Link, &stat, more);
            }
            self.seen.insert((stat.st_dev, stat.st_ino), path.to_vec());
        }
        self.contents(folder, path, (name, kind), &stat)
    }

    fn contents(
        &mut self,
        folder: &OwnedFd,
        path: &[u8],
        (name, kind): (&[u8], FileType),
        stat: &Stat,
    ) -> Result<()> {
        let failed = || Error::in_layer("read", path);
        if kind == FileType::RegularFile {
            let file = open(folder, name, OFlags::empty()).map_err(failed())?;
            let more = More {
                xattrs: xattrs::public(xattrs::of_open(&file).map_err(failed())?),
                contents: Some(File::from(file)),
                link: None,
            };
            return self.entry(path, EntryType::Regular, stat, more);
        }
        let target;
        let mut more = More {
            xattrs: xattrs::public(xattrs::of_name(folder, name).map_err(failed())?),
            ..More::default()
        };
        let entry_type = match kind {
            FileType::Symlink => {
                let read = rustix::fs::readlinkat(folder, name, Vec::new());
                target = read.map_err(io::Error::from).map_err(failed())?;
                more.link = Some(target.as_bytes());
                EntryType::Symlink
            }
            FileType::CharacterDevice => EntryType::Char,
            FileType::BlockDevice => EntryType::Block,
            FileType::Fifo => EntryType::Fifo,
            _ => {
                self.left_out
                    .push(String::from_utf8_lossy(path).into_owned());
                return Ok(());
            }
        };
        self.entry(path, entry_type, stat, more)
    }

    /// A whiteout: an empty file.
    fn marker(&mut self, path: &[u8], like: &Stat) -> Result<()> {
        let mut stat = *like;
        (stat.st_mode, stat.st_uid, stat.st_gid, stat.st_size) = (0o600, 0, 0, 0);
        self.entry(path, EntryType::Regular, &stat, More::default())
    }

    fn entry(&mut self, path: &[u8], kind: EntryType, stat: &Stat, more: More<'_>) -> Result<()> {
        let written = self.write(path, kind, stat, more);
        written.map_err(Error::in_layer("pack", path))
    }

    fn write(
        &mut self,
        path: &[u8],
        kind: EntryType,
        stat: &Stat,
        more: More<'_>,
    ) -> io::Result<()> {
        let size = match more.contents {
            Some(_) => u64::try_from(stat.st_size).map_err(io::Error::other)?,
            None => 0,
        };
        let mut header = header(kind, stat, size)?;
        let mut records = Vec::new();
        if stat.st_mtime_nsec != 0 || stat.st_mtime < 0 {
            records.push(("mtime".to_owned(), time(stat).into_bytes()));
        }
        let old = header.as_old_mut();
        name(&mut old.name, path, "path", &mut records);
        if let Some(link) = more.link {
            name(&mut old.linkname, link, "linkpath", &mut records);
        }
        for (key, value) in more.xattrs {
            let key = String::from_utf8(key).map_err(io::Error::other)?;
            records.push((format!("SCHILY.xattr.{key}"), value));
        }
        header.set_cksum();
        let records = records.iter();
        self.out
            .append_pax_extensions(records.map(|(key, value)| (key.as_str(), value.as_slice())))?;
        self.append(&header, more.contents.map(|file| file.take(size)))
    }

    fn append(&mut self, header: &Header, contents: Option<io::Take<File>>) -> io::Result<()> {
        let Some(mut contents) = contents else {
            return self.out.append(header, io::empty());
        };
        self.out.append(header, &mut contents)?;
        match contents.limit() {
            0 => Ok(()),
            _ => Err(io::Error::other("it became shorter while it was read")),
        }
    }
}

/// A header without names.
fn header(kind: EntryType, stat: &Stat, size: u64) -> io::Result<Header> {
    let mut header = Header::new_ustar();
    header.set_entry_type(kind);
    header.set_mode(stat.st_mode & 0o7777);
    header.set_uid(stat.st_uid.into());
    header.set_gid(stat.st_gid.into());
    header.set_size(size);
    header.set_mtime(u64::try_from(stat.st_mtime).unwrap_or(0));
    if matches!(kind, EntryType::Char | EntryType::Block) {
        header.set_device_major(rustix::fs::major(stat.st_rdev))?;
        header.set_device_minor(rustix::fs::minor(stat.st_rdev))?;
    }
    Ok(header)
}

/// Puts a name into its field, and one that is too long into a record as well.
fn name(field: &mut [u8; 100], name: &[u8], key: &str, records: &mut Vec<(String, Vec<u8>)>) {
    let fits = name.len().min(field.len());
    field[..fits].copy_from_slice(&name[..fits]);
    if fits < name.len() {
        records.push((key.to_owned(), name.to_vec()));
    }
}

/// A time as an extended header has it: the fraction counts away from zero.
fn time(stat: &Stat) -> String {
    let (seconds, fraction) = (stat.st_mtime, stat.st_mtime_nsec);
    match seconds < 0 && fraction > 0 {
        true => format!("-{}.{:09}", -(seconds + 1), 1_000_000_000 - fraction),
        false => format!("{seconds}.{fraction:09}"),
    }
}

fn below(path: &[u8], name: &[u8]) -> Vec<u8> {
    match path.is_empty() {
        true => name.to_vec(),
        false => [path, b"/", name].concat(),
    }
}

fn open(folder: &OwnedFd, name: &[u8], flags: OFlags) -> io::Result<OwnedFd> {
    let flags = flags | OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(folder, name, flags, Mode::empty())?)
}

/// The names in a folder, sorted.
fn names(folder: &OwnedFd) -> io::Result<Vec<Vec<u8>>> {
    let mut names = Vec::new();
    for entry in Dir::read_from(folder.as_fd())? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." {
            names.push(name.to_vec());
        }
    }
    names.sort();
    Ok(names)
}
