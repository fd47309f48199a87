//! Unpacks the archive of a layer into a folder, in the form that overlayfs stacks.
//! `import` and `commit` make layers by it, the filling of a volume copies by it.
//! It must never hold more of an archive than a buffer, nor write more than its bounds allow.

use std::fs::{self, File};
use std::io::{self, Seek, SeekFrom, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;

use super::attributes;
use super::recipe::Recipe;
use super::tree::{Present, Tree, present};
use super::{AUFS, OPAQUE, WHITEOUT};
use crate::error::{Error, Result};
use crate::layer::times::Folders;
use crate::limits::{Limits, SPACE_BYTES};
use crate::path::LayerPath;
use crate::tar::{Entry, Kind, Reader, Stream};

/// How many entries go by between two looks at the free space.
const SPACE_ENTRIES: u64 = 4096;

/// What names that begin with `.wh.` are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Whiteouts {
    /// A layer's whiteouts, which become overlayfs's and back.
    Translated,
    /// Names like any other.
    Plain,
}

/// What a layer came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Counts {
    pub(crate) entries: u64,
    /// The lengths of its files.
    pub(crate) bytes: u64,
    /// Folders that it has no entry for: they look as in the layers below.
    pub(crate) implied: u64,
}

/// A folder that an archive is being unpacked into.
#[derive(Debug)]
pub(crate) struct Unpacker {
    tree: Tree,
    whiteouts: Whiteouts,
    recipe: Option<Recipe>,
    /// Where replaced files are kept for the recipe.
    aside: PathBuf,
    folders: Folders,
    limits: Limits,
    counts: Counts,
    /// The counts at which free space is looked at again.
    next_look: Counts,
}

impl Unpacker {
    /// For `tree`; `scratch` is a folder for notes that this makes and takes away.
    pub(crate) fn new(tree: Tree, scratch: &Path, limits: Limits) -> Result<Unpacker> {
        Ok(Unpacker {
            tree,
            whiteouts: Whiteouts::Plain,
            recipe: None,
            aside: PathBuf::new(),
            folders: Folders::create(&scratch.join("times"))?,
            limits,
            counts: Counts::default(),
            next_look: Counts::default(),
        })
    }

    /// Translates whiteouts, and writes a recipe; files that it needs and that are replaced go to `aside`.
    pub(crate) fn making_layer(mut self, recipe: Recipe, aside: PathBuf) -> Unpacker {
        self.whiteouts = Whiteouts::Translated;
        self.recipe = Some(recipe);
        self.aside = aside;
        self
    }

    /// Unpacks everything and reads `input` to its end.
    pub(crate) fn unpack<S: Stream>(mut self, input: S) -> Result<Counts> {
        let mut reader = Reader::new(input).keeping_raw();
        while let Some(entry) = reader.next()? {
            let raw = reader.take_raw();
            self.note(|recipe| recipe.bytes(&raw))?;
            self.count(&entry, reader.position())?;
            self.place(&entry, &mut reader)?;
            for folder in self.tree.take_implied() {
                self.counts.implied += 1;
                if let Some((mtime, atime)) = folder.times {
                    self.folders.add(&folder.path, mtime, atime)?;
                }
            }
        }
        let raw = reader.take_raw();
        self.note(|recipe| recipe.bytes(&raw))?;
        let mut bytes = reader.position();
        reader.rest(|piece| {
            bytes += piece.len() as u64;
            self.within_bytes(bytes)?;
            self.note(|recipe| recipe.bytes(piece))
        })?;
        self.folders.set(&self.tree)?;
        if let Some(recipe) = self.recipe {
            recipe
                .finish()
                .map_err(Error::in_layer("write the recipe of", b"."))?;
        }
        Ok(self.counts)
    }

    /// Counts an entry before anything is made of it.
    fn count(&mut self, entry: &Entry, position: u64) -> Result<()> {
        self.counts.entries += 1;
        if self.counts.entries > self.limits.entries {
            return Err(Error::Bound {
                what: "the number of a layer's entries",
                bound: self.limits.entries.to_string(),
            });
        }
        if let Kind::File { size } = entry.kind {
            self.counts.bytes = self.counts.bytes.saturating_add(size);
        }
        self.within_bytes(position.max(self.counts.bytes))?;
        let next = self.next_look;
        if self.counts.entries >= next.entries || self.counts.bytes >= next.bytes {
            self.limits.leaves_space(self.tree.root())?;
            self.next_look = Counts {
                entries: self.counts.entries + SPACE_ENTRIES,
                bytes: self.counts.bytes.saturating_add(SPACE_BYTES),
                ..Counts::default()
            };
        }
        Ok(())
    }

    fn within_bytes(&self, bytes: u64) -> Result<()> {
        match bytes <= self.limits.layer_bytes {
            true => Ok(()),
            false => Err(Error::Bound {
                what: "the size of a layer",
                bound: format!("{} bytes", self.limits.layer_bytes),
            }),
        }
    }

    fn place<S: Stream>(&mut self, entry: &Entry, reader: &mut Reader<S>) -> Result<()> {
        let path = LayerPath::parse(&entry.path)?;
        let Some((folder, name)) = path.split() else {
            return self.root(entry);
        };
        if self.whiteouts == Whiteouts::Translated && name.starts_with(WHITEOUT) {
            self.whiteout(folder, name, entry)?;
            return self.leave_contents(reader);
        }
        match &entry.kind {
            Kind::File { size } => return self.file(&path, entry, *size, reader),
            Kind::Directory => return self.directory(&path, entry),
            _ => {}
        }
        let parent = self.tree.folder(folder)?;
        match self.make(&parent, name, entry) {
            Err(cause) if is(&cause, Errno::EXIST) => {
                self.make_room(&parent, &path)?;
                self.make(&parent, name, entry)?;
            }
            other => other?,
        }
        match entry.kind {
            Kind::Hardlink(_) => Ok(()),
            _ => attributes::of_name(parent.as_fd(), name, entry),
        }
    }

    /// Makes what is no file and no folder.
    fn make(&self, parent: &OwnedFd, name: &[u8], entry: &Entry) -> Result<()> {
        let node = |kind, device| rustix::fs::mknodat(parent, name, kind, Mode::RUSR, device);
        let device = |major, minor| rustix::fs::makedev(major, minor);
        let made = match &entry.kind {
            Kind::Symlink(target) => rustix::fs::symlinkat(target.as_slice(), parent, name),
            Kind::Hardlink(target) => return self.link(parent, name, target, entry),
            Kind::Character(major, minor) => {
                node(FileType::CharacterDevice, device(*major, *minor))
            }
            Kind::Block(major, minor) => node(FileType::BlockDevice, device(*major, *minor)),
            Kind::Fifo => node(FileType::Fifo, 0),
            Kind::File { .. } | Kind::Directory => Ok(()),
        };
        made.map_err(Error::in_layer("make", &entry.path))
    }

    fn link(&self, parent: &OwnedFd, name: &[u8], target: &[u8], entry: &Entry) -> Result<()> {
        let target = LayerPath::parse(target)?;
        let absent = || {
            let shown = String::from_utf8_lossy(target.as_bytes()).into_owned();
            Error::entry(
                &entry.path,
                format!("is a hard link to {shown:?}, which is not there"),
            )
        };
        let (folder, file) = target.split().ok_or_else(absent)?;
        let folder = self.tree.open_at(folder, OFlags::DIRECTORY | OFlags::PATH);
        let folder = folder.map_err(|_| absent())?;
        rustix::fs::linkat(folder, file, parent, name, AtFlags::empty()).map_err(
            |cause| match cause {
                Errno::NOENT => absent(),
                _ => Error::in_layer("link", &entry.path)(cause),
            },
        )
    }

    fn file<S: Stream>(
        &mut self,
        path: &LayerPath,
        entry: &Entry,
        size: u64,
        reader: &mut Reader<S>,
    ) -> Result<()> {
        let Some((folder, name)) = path.split() else {
            return Err(Error::entry(&entry.path, "is the root, and no folder"));
        };
        let parent = self.tree.folder(folder)?;
        let flags =
            OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let create = || rustix::fs::openat(&*parent, name, flags, Mode::RUSR | Mode::WUSR);
        let made = match create() {
            Err(Errno::EXIST) => {
                self.make_room(&parent, path)?;
                create()
            }
            other => other,
        };
        let file = File::from(made.map_err(Error::in_layer("make", &entry.path))?);
        self.write(&file, path, size, reader)?;
        attributes::of_open(file.as_fd(), entry)
    }

    fn write<S: Stream>(
        &mut self,
        mut file: &File,
        path: &LayerPath,
        size: u64,
        reader: &mut Reader<S>,
    ) -> Result<()> {
        let path = path.as_bytes();
        let failed = || Error::in_layer("write", path);
        let mut at = 0;
        for index in 0..reader.parts().len() {
            let part = reader.parts()[index];
            // GNU tar ends a map with an empty part at the file's end.
            if part.length == 0 {
                continue;
            }
            self.note(|recipe| recipe.contents(path, part.offset, part.length))?;
            if part.offset != at {
                file.seek(SeekFrom::Start(part.offset)).map_err(failed())?;
            }
            at = part.offset + part.length;
            let mut left = part.length;
            while left > 0 {
                let here = reader.contents()?;
                let step = here.len().min(usize::try_from(left).unwrap_or(usize::MAX));
                file.write_all(&here[..step]).map_err(failed())?;
                reader.consume(step);
                left -= step as u64;
            }
        }
        if at < size {
            file.set_len(size).map_err(failed())?;
        }
        Ok(())
    }

    fn directory(&mut self, path: &LayerPath, entry: &Entry) -> Result<()> {
        let Some((folder, name)) = path.split() else {
            return self.root(entry);
        };
        let parent = self.tree.folder(folder)?;
        let there = present(parent.as_fd(), name);
        let there = there.map_err(Error::in_layer("look at", &entry.path))?;
        if there != Present::Directory {
            if there != Present::Nothing {
                self.make_room(&parent, path)?;
            }
            let made = rustix::fs::mkdirat(&*parent, name, Mode::RWXU);
            made.map_err(Error::in_layer("make the folder", &entry.path))?;
        }
        if there == Present::Whiteout {
            self.tree.mark_opaque(path.as_bytes())?;
        }
        let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::RDONLY | OFlags::CLOEXEC;
        let made = rustix::fs::openat(&*parent, name, flags, Mode::empty());
        let made = made.map_err(Error::in_layer("open the folder", &entry.path))?;
        attributes::of_open(made.as_fd(), entry)?;
        self.note_time(path.as_bytes(), entry)
    }

    fn note_time(&mut self, path: &[u8], entry: &Entry) -> Result<()> {
        let atime = entry.atime.unwrap_or(entry.mtime);
        self.folders.add(path, entry.mtime, atime)
    }

    fn root(&mut self, entry: &Entry) -> Result<()> {
        if entry.kind != Kind::Directory {
            return Err(Error::entry(&entry.path, "is the root, and no folder"));
        }
        attributes::of_open(self.tree.root(), entry)?;
        self.note_time(b"", entry)
    }

    /// Hides what lower layers have. What this layer has itself stays, wherever in the archive it is.
    fn whiteout(&mut self, folder: &[u8], name: &[u8], entry: &Entry) -> Result<()> {
        if name == OPAQUE {
            self.tree.folder(folder)?;
            return self.tree.mark_opaque(folder);
        }
        let hidden = match &name[WHITEOUT.len()..] {
            _ if name.starts_with(AUFS) => return Ok(()),
            b"" | b"." | b".." => {
                return Err(Error::entry(&entry.path, "is a whiteout of no name"));
            }
            hidden => hidden,
        };
        let parent = self.tree.folder(folder)?;
        let there = present(parent.as_fd(), hidden);
        match there.map_err(Error::in_layer("look at", &entry.path))? {
            Present::Nothing => {
                let kind = FileType::CharacterDevice;
                let made = rustix::fs::mknodat(&*parent, hidden, kind, Mode::empty(), 0);
                made.map_err(Error::in_layer("make the whiteout", &entry.path))
            }
            Present::Directory => {
                let slash: &[u8] = if folder.is_empty() { b"" } else { b"/" };
                self.tree.mark_opaque(&[folder, slash, hidden].concat())
            }
            Present::Whiteout | Present::File | Present::Other => Ok(()),
        }
    }

    /// Takes away what an earlier entry made, as a later one counts.
    fn make_room(&mut self, parent: &OwnedFd, path: &LayerPath) -> Result<()> {
        let Some((_, name)) = path.split() else {
            return Ok(());
        };
        let shown = path.as_bytes();
        self.tree.forget();
        let there = present(parent.as_fd(), name).map_err(Error::in_layer("look at", shown))?;
        let flags = match there {
            Present::File => return self.set_aside(parent, path, name),
            Present::Directory => AtFlags::REMOVEDIR,
            Present::Nothing | Present::Whiteout | Present::Other => AtFlags::empty(),
        };
        rustix::fs::unlinkat(parent, name, flags).map_err(|cause| match cause {
            Errno::NOTEMPTY => Error::entry(shown, "would replace a folder that is not empty"),
            _ => Error::in_layer("replace", shown)(cause),
        })
    }

    fn set_aside(&mut self, parent: &OwnedFd, path: &LayerPath, name: &[u8]) -> Result<()> {
        let failed = || Error::in_layer("replace", path.as_bytes());
        let Some(recipe) = &mut self.recipe else {
            let removed = rustix::fs::unlinkat(parent, name, AtFlags::empty());
            return removed.map_err(io::Error::from).map_err(failed());
        };
        let number = recipe.moved(path.as_bytes()).map_err(failed())?;
        fs::create_dir_all(&self.aside).map_err(failed())?;
        let kept = self.aside.join(number.to_string());
        let renamed = rustix::fs::renameat(parent, name, rustix::fs::CWD, &kept);
        renamed.map_err(io::Error::from).map_err(failed())
    }

    /// Passes over the contents of an entry that nothing is made of; the recipe has them.
    fn leave_contents<S: Stream>(&mut self, reader: &mut Reader<S>) -> Result<()> {
        while reader.left() > 0 {
            let piece = reader.contents()?;
            let count = piece.len();
            self.note(|recipe| recipe.bytes(piece))?;
            reader.consume(count);
        }
        Ok(())
    }

    fn note(&mut self, step: impl FnOnce(&mut Recipe) -> io::Result<()>) -> Result<()> {
        match &mut self.recipe {
            None => Ok(()),
            Some(recipe) => step(recipe).map_err(Error::in_layer("write the recipe of", b".")),
        }
    }
}

fn is(error: &Error, errno: Errno) -> bool {
    match error {
        Error::InLayer { source, .. } => source.raw_os_error() == Some(errno.raw_os_error()),
        _ => false,
    }
}
