//! Trees as tar files, which every tar reads: PAX headers hold attributes and fractions of seconds, as GNU tar and bsdtar
//! write them. `child` calls it for `export` and `import`.
//! It must never write outside the folder that it fills, whatever the archive says.

use std::collections::HashMap;
use std::ffi::{CStr, CString};
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{
    AtFlags, FileType, Gid, Mode, Stat, Uid, chownat, linkat, mkdirat, mknodat, openat, readlinkat,
    statat, symlinkat,
};
use tar::{Archive, Builder, EntryType, Header};
use wharfline_kernel::fs::beneath;

use super::child::Counter;
use super::tree::{
    CONTENT, FOLDER, ITSELF, NEW, below, entries, finish, refused, set_xattr, xattrs,
};
use crate::error::{Error, Result};

/// Key of an extended attribute, as star, GNU tar and bsdtar write it.
const XATTR: &str = "SCHILY.xattr.";
/// A piece of a file; one of zeroes alone becomes a hole.
const PIECE: usize = 64 << 10;

/// Writes what is below `top`, and the folder itself as `./`; the file, which is not synced yet.
///
/// # Errors
/// The first thing that cannot be read or written, by its path.
pub(super) fn write(top: &OwnedFd, to: File, counter: &mut Counter) -> Result<File> {
    let mut builder = Builder::new(BufWriter::with_capacity(1 << 20, to));
    builder.sparse(true);
    let about = rustix::fs::fstat(top).map_err(refused("look at", Path::new("/")))?;
    let mut writer = Writer {
        builder,
        device: about.st_dev,
        linked: HashMap::new(),
        counter,
    };
    writer.member(&about, Path::new("./"), top, |builder, header, path| {
        header.set_entry_type(EntryType::Directory);
        builder.append_data(header, path, io::empty())
    })?;
    writer.folder(top.as_fd(), Path::new(""))?;
    let wrote = |cause| Error::Work(format!("write the archive: {cause}"));
    let to = writer.builder.into_inner().map_err(wrote)?;
    to.into_inner().map_err(|e| wrote(e.into_error()))
}

struct Writer<'a> {
    builder: Builder<BufWriter<File>>,
    device: u64,
    linked: HashMap<u64, PathBuf>,
    counter: &'a mut Counter,
}

impl Writer<'_> {
    fn folder(&mut self, folder: BorrowedFd<'_>, path: &Path) -> Result<()> {
        for name in entries(folder, path)? {
            let path = below(path, &name);
            let about = match statat(folder, &name, AtFlags::SYMLINK_NOFOLLOW) {
                Err(rustix::io::Errno::NOENT) => continue,
                other => other.map_err(refused("look at", &path))?,
            };
            self.entry(folder, &name, &about, &path)?;
        }
        Ok(())
    }

    fn entry(
        &mut self,
        folder: BorrowedFd<'_>,
        name: &CStr,
        about: &Stat,
        path: &Path,
    ) -> Result<()> {
        let itself = openat(folder, name, ITSELF, Mode::empty()).map_err(refused("open", path))?;
        let kind = FileType::from_raw_mode(about.st_mode);
        if kind != FileType::Directory && about.st_nlink > 1 {
            if let Some(first) = self.linked.get(&about.st_ino).cloned() {
                return self.member(about, path, &itself, |builder, header, path| {
                    header.set_entry_type(EntryType::Link);
                    builder.append_link(header, path, &first)
                });
            }
            self.linked.insert(about.st_ino, path.to_owned());
        }
        match kind {
            FileType::Directory => {
                self.member(about, path, &itself, |builder, header, path| {
                    header.set_entry_type(EntryType::Directory);
                    builder.append_data(header, path, io::empty())
                })?;
                if about.st_dev != self.device {
                    return Ok(());
                }
                let inner =
                    openat(folder, name, FOLDER, Mode::empty()).map_err(refused("open", path))?;
                self.folder(inner.as_fd(), path)
            }
            FileType::RegularFile => {
                let file =
                    openat(folder, name, CONTENT, Mode::empty()).map_err(refused("open", path))?;
                let mut file = File::from(file);
                self.member(about, path, &itself, |builder, _, path| {
                    builder.append_file(path, &mut file)
                })?;
                self.counter.add(about.st_blocks.cast_unsigned() * 512);
                Ok(())
            }
            FileType::Symlink => {
                let target =
                    readlinkat(folder, name, Vec::new()).map_err(refused("read the link", path))?;
                let target = PathBuf::from(std::ffi::OsStr::from_bytes(target.to_bytes()));
                self.member(about, path, &itself, |builder, header, path| {
                    header.set_entry_type(EntryType::Symlink);
                    builder.append_link(header, path, &target)
                })
            }
            // tar has no sockets; nobody listens on a copy of one.
            FileType::Socket => Ok(()),
            kind => self.member(about, path, &itself, |builder, header, path| {
                header.set_entry_type(match kind {
                    FileType::Fifo => EntryType::Fifo,
                    FileType::BlockDevice => EntryType::Block,
                    _ => EntryType::Char,
                });
                header.set_device_major(rustix::fs::major(about.st_rdev))?;
                header.set_device_minor(rustix::fs::minor(about.st_rdev))?;
                builder.append_data(header, path, io::empty())
            }),
        }
    }

    /// Writes the PAX header that goes before a member, and then the member by `append`.
    fn member(
        &mut self,
        about: &Stat,
        path: &Path,
        itself: &OwnedFd,
        append: impl FnOnce(&mut Builder<BufWriter<File>>, &mut Header, &Path) -> io::Result<()>,
    ) -> Result<()> {
        let wrote = |cause| Error::Work(format!("archive {}: {cause}", path.display()));
        let mut further: Vec<(String, Vec<u8>)> = Vec::new();
        if about.st_mtime_nsec != 0 {
            let time = format!("{}.{:09}", about.st_mtime, about.st_mtime_nsec);
            further.push(("mtime".to_owned(), time.into_bytes()));
        }
        for (name, value) in xattrs(itself, path)? {
            further.push((format!("{XATTR}{}", name.to_string_lossy()), value));
        }
        let pairs = further
            .iter()
            .map(|(key, value)| (key.as_str(), value.as_slice()));
        self.builder.append_pax_extensions(pairs).map_err(wrote)?;
        let mut header = Header::new_gnu();
        header.set_mode(about.st_mode & 0o7777);
        header.set_uid(about.st_uid.into());
        header.set_gid(about.st_gid.into());
        header.set_mtime(about.st_mtime.try_into().unwrap_or(0));
        header.set_size(0);
        append(&mut self.builder, &mut header, path).map_err(wrote)
    }
}

/// Knows whether its end was reached: an archive ends before, with blocks of zeros (POSIX, pax, "ustar Interchange Format").
struct Watched {
    from: BufReader<File>,
    has_ended: bool,
}

impl Read for Watched {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let length = self.from.read(into)?;
        self.has_ended |= length == 0 && !into.is_empty();
        Ok(length)
    }
}

/// Fills the empty folder `to`.
///
/// # Errors
/// The archive is none; a member would go outside; the first thing that cannot be written.
pub(super) fn read(from: File, to: &OwnedFd, counter: &mut Counter) -> Result<()> {
    let mut archive = Archive::new(Watched {
        from: BufReader::with_capacity(1 << 20, from),
        has_ended: false,
    });
    let broken = |cause: io::Error| Error::Work(format!("read the archive: {cause}"));
    // Folders get their times when nothing is put into them any more.
    let mut folders: Vec<(PathBuf, Stat)> = Vec::new();
    for entry in archive.entries().map_err(broken)? {
        let mut entry = entry.map_err(broken)?;
        let path = inside(&entry.path().map_err(broken)?)?;
        let mut member = Member::of(&mut entry, path)?;
        member.place(to, &mut entry, counter)?;
        if member.kind == FileType::Directory {
            folders.push((member.path.clone(), member.about));
        }
    }
    // The library takes the end of the file for that of the archive, where a sender that died has cut it off.
    if archive.into_inner().has_ended {
        return Err(broken(io::ErrorKind::UnexpectedEof.into()));
    }
    for (path, about) in folders.iter().rev() {
        let place = open_folder(to, path)?;
        finish(place.as_fd(), about, path)?;
    }
    Ok(())
}

/// A member's path, below the folder.
fn inside(path: &Path) -> Result<PathBuf> {
    let mut clean = PathBuf::new();
    for part in path.components() {
        match part {
            Component::Normal(part) => clean.push(part),
            Component::CurDir | Component::RootDir => {}
            Component::ParentDir | Component::Prefix(_) => {
                return Err(Error::Work(format!(
                    "the archive's member {} leads outside",
                    path.display()
                )));
            }
        }
    }
    Ok(clean)
}

fn open_folder(top: &OwnedFd, path: &Path) -> Result<OwnedFd> {
    let path = if path.as_os_str().is_empty() {
        Path::new(".")
    } else {
        path
    };
    Ok(beneath::folder_in(top, path)?)
}

struct Member {
    path: PathBuf,
    kind: FileType,
    hard_link: Option<PathBuf>,
    target: PathBuf,
    about: Stat,
    xattrs: Vec<(CString, Vec<u8>)>,
}

impl Member {
    fn of<R: Read>(entry: &mut tar::Entry<'_, R>, path: PathBuf) -> Result<Self> {
        let broken = |cause: io::Error| {
            Error::Work(format!("the archive's member {}: {cause}", path.display()))
        };
        let mut xattrs = Vec::new();
        let mut time = None;
        for further in entry
            .pax_extensions()
            .map_err(broken)?
            .into_iter()
            .flatten()
        {
            let further = further.map_err(broken)?;
            let Ok(key) = further.key() else { continue };
            if let Some(name) = key
                .strip_prefix(XATTR)
                .and_then(|name| CString::new(name).ok())
            {
                xattrs.push((name, further.value_bytes().to_owned()));
            } else if key == "mtime" {
                time = further.value().ok().and_then(seconds);
            }
        }
        let header = entry.header();
        let link = entry
            .link_name()
            .map_err(broken)?
            .map(|link| link.into_owned());
        let link = link.unwrap_or_default();
        let entry_type = header.entry_type();
        let kind = match entry_type {
            EntryType::Directory => FileType::Directory,
            EntryType::Symlink => FileType::Symlink,
            EntryType::Fifo => FileType::Fifo,
            EntryType::Char => FileType::CharacterDevice,
            EntryType::Block => FileType::BlockDevice,
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse | EntryType::Link => {
                FileType::RegularFile
            }
            other => {
                return Err(broken(io::Error::other(format!(
                    "is of an unknown kind, {other:?}"
                ))));
            }
        };
        let about = attributes_of(header, kind, time).map_err(broken)?;
        let hard_link = match entry_type {
            EntryType::Link => Some(inside(&link)?),
            _ => None,
        };
        Ok(Self {
            path,
            kind,
            hard_link,
            target: link,
            about,
            xattrs,
        })
    }

    fn place<R: Read>(
        &mut self,
        top: &OwnedFd,
        entry: &mut tar::Entry<'_, R>,
        counter: &mut Counter,
    ) -> Result<()> {
        let path = self.path.clone();
        let Some(name) = path.file_name() else {
            // The folder itself.
            return self.dress(top.as_fd());
        };
        let parent = make_folders(top, path.parent().unwrap_or(Path::new("")))?;
        if let Some(first) = &self.hard_link {
            let first_name = first.file_name().unwrap_or_default();
            let first_in = open_folder(top, first.parent().unwrap_or(Path::new("")))?;
            return linkat(first_in, first_name, parent, name, AtFlags::empty())
                .map_err(refused("link", &path));
        }
        match self.kind {
            FileType::Directory => match mkdirat(&parent, name, Mode::RWXU) {
                Ok(()) | Err(rustix::io::Errno::EXIST) => {}
                Err(errno) => return Err(refused("make", &path)(errno)),
            },
            FileType::RegularFile => {
                let file = openat(&parent, name, NEW, Mode::RUSR | Mode::WUSR)
                    .map_err(refused("make", &path))?;
                fill(&File::from(file), entry, counter).map_err(Error::file("write", &path))?;
            }
            FileType::Symlink => {
                symlinkat(&self.target, &parent, name).map_err(refused("make", &path))?
            }
            kind => mknodat(
                &parent,
                name,
                kind,
                Mode::RUSR | Mode::WUSR,
                self.about.st_rdev,
            )
            .map_err(refused("make", &path))?,
        }
        let made = openat(&parent, name, ITSELF, Mode::empty()).map_err(refused("open", &path))?;
        self.dress(made.as_fd())
    }

    fn dress(&self, made: BorrowedFd<'_>) -> Result<()> {
        let (uid, gid) = (
            Uid::from_raw(self.about.st_uid),
            Gid::from_raw(self.about.st_gid),
        );
        let owned = chownat(made, "", Some(uid), Some(gid), AtFlags::EMPTY_PATH);
        owned.map_err(refused("set the owner of", &self.path))?;
        for (name, value) in &self.xattrs {
            set_xattr(made, name, value, &self.path)?;
        }
        finish(made, &self.about, &self.path)
    }
}

/// The folders of `path` below `top`, made where they are missing; the last one.
fn make_folders(top: &OwnedFd, path: &Path) -> Result<OwnedFd> {
    if let Ok(there) = open_folder(top, path) {
        return Ok(there);
    }
    let mut sofar = PathBuf::new();
    for part in path.components() {
        let parent = open_folder(top, &sofar)?;
        sofar.push(part);
        match mkdirat(parent, part.as_os_str(), Mode::from_raw_mode(0o755)) {
            Ok(()) | Err(rustix::io::Errno::EXIST) => {}
            Err(errno) => return Err(refused("make", &sofar)(errno)),
        }
    }
    open_folder(top, path)
}

/// Writes a member's content; what is zeroes becomes a hole.
fn fill(file: &File, content: &mut impl Read, counter: &mut Counter) -> io::Result<()> {
    use std::os::unix::fs::FileExt;
    let mut piece = vec![0; PIECE];
    let mut at = 0;
    loop {
        let mut length = 0;
        while length < PIECE {
            match content.read(&mut piece[length..])? {
                0 => break,
                read => length += read,
            }
        }
        if length == 0 {
            return file.set_len(at);
        }
        let data = &piece[..length];
        if data.iter().any(|byte| *byte != 0) {
            file.write_all_at(data, at)?;
        }
        at += length as u64;
        counter.add(length as u64);
    }
}

/// `SECONDS.FRACTION`, as PAX writes times.
fn seconds(text: &str) -> Option<(i64, u64)> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let nanoseconds = format!("{fraction:0<9}").get(..9)?.parse().ok()?;
    Some((whole.parse().ok()?, nanoseconds))
}

fn attributes_of(header: &Header, kind: FileType, time: Option<(i64, u64)>) -> io::Result<Stat> {
    // Every field has a value by this; those that count are set below.
    let mut about = rustix::fs::fstat(File::open("/dev/null")?)?;
    about.st_mode = kind.as_raw_mode() | header.mode()? & 0o7777;
    about.st_uid = u32::try_from(header.uid()?).unwrap_or(0);
    about.st_gid = u32::try_from(header.gid()?).unwrap_or(0);
    let (at, fraction) = time.unwrap_or((header.mtime()?.try_into().unwrap_or(0), 0));
    (about.st_mtime, about.st_mtime_nsec) = (at, fraction);
    (about.st_atime, about.st_atime_nsec) = (at, fraction);
    let is_device = matches!(kind, FileType::CharacterDevice | FileType::BlockDevice);
    let (major, minor) = match is_device {
        true => (header.device_major()?, header.device_minor()?),
        false => (None, None),
    };
    let (major, minor) = (major.unwrap_or(0), minor.unwrap_or(0));
    about.st_rdev = rustix::fs::makedev(major, minor);
    Ok(about)
}

#[cfg(test)]
mod tests {
    use super::super::tree::tests::{everything, is_everything};
    use super::*;

    #[test]
    fn what_goes_into_an_archive_comes_out() {
        let folder = tempfile::tempdir().expect("folder");
        let (from, to, tar) = (
            folder.path().join("from"),
            folder.path().join("to"),
            folder.path().join("x.tar"),
        );
        everything(&from);
        std::fs::create_dir(&to).expect("folder");
        let archive = File::create(&tar).expect("file");
        write(
            &beneath::folder(&from).expect("opened"),
            archive,
            &mut Counter::of(None),
        )
        .expect("written");
        read(
            File::open(&tar).expect("file"),
            &beneath::folder(&to).expect("opened"),
            &mut Counter::of(None),
        )
        .expect("read");
        is_everything(&to);
    }

    #[test]
    fn an_archive_that_is_cut_off_is_refused_wherever_the_cut_is() {
        let folder = tempfile::tempdir().expect("folder");
        let (from, tar) = (folder.path().join("from"), folder.path().join("x.tar"));
        std::fs::create_dir(&from).expect("folder");
        std::fs::write(from.join("one"), "1").expect("file");
        std::fs::write(from.join("two"), vec![0; 2000]).expect("file");
        let archive = File::create(&tar).expect("file");
        let top = beneath::folder(&from).expect("opened");
        let archive = write(&top, archive, &mut Counter::of(None)).expect("written");
        let length = archive.metadata().expect("there").len();
        for cut in (0..length).rev().step_by(512) {
            archive.set_len(cut).expect("cut");
            let to = tempfile::tempdir().expect("folder");
            let read = read(
                File::open(&tar).expect("file"),
                &beneath::folder(to.path()).expect("opened"),
                &mut Counter::of(None),
            );
            // Two blocks of zeros end it; one of them is enough to know the end.
            let is_whole = cut >= length - 512;
            assert_eq!(read.is_ok(), is_whole, "{cut} of {length} bytes: {read:?}");
        }
    }

    #[test]
    fn nothing_gets_out_of_the_folder() {
        for (name, is_linked) in [("../out", false), ("out/x", true)] {
            let folder = tempfile::tempdir().expect("folder");
            let outside = folder.path().join("outside");
            std::fs::create_dir(&outside).expect("folder");
            let mut builder = Builder::new(Vec::new());
            let mut header = Header::new_gnu();
            if is_linked {
                header.set_entry_type(EntryType::Symlink);
                header.set_size(0);
                let linked = builder.append_link(&mut header, "out", &outside);
                linked.expect("link");
            }
            let mut header = Header::new_gnu();
            header.set_size(1);
            header.set_mode(0o600);
            header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
            header.set_cksum();
            builder.append(&header, &b"x"[..]).expect("file");
            let tar = folder.path().join("x.tar");
            std::fs::write(&tar, builder.into_inner().expect("bytes")).expect("written");
            let to = folder.path().join("to");
            std::fs::create_dir(&to).expect("folder");
            let read = read(
                File::open(&tar).expect("file"),
                &beneath::folder(&to).expect("opened"),
                &mut Counter::of(None),
            );
            assert!(read.is_err(), "{name}");
            assert!(!outside.join("x").exists() && !folder.path().join("out").exists());
        }
    }
}
