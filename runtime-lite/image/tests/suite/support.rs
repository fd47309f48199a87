//! A store in a folder that goes away, archives by hand, and snapshots of whole trees.
//! Every test of the suite begins with one.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::json;
use tar::{Builder, EntryType, Header};
use tempfile::TempDir;
use wharf_image::{Digest, Import, Limits, Result, Store, Wish, import};

/// In memory: a disk that happens to be nearly full would be refused.
pub(crate) const MEMORY: &str = "/dev/shm";

/// A folder with a store in it, and something beside the store that nothing may touch.
pub(crate) struct Place {
    dir: TempDir,
}

impl Place {
    pub(crate) fn new() -> Place {
        let dir = tempfile::tempdir_in(MEMORY).expect("a folder");
        fs::create_dir(dir.path().join("outside")).expect("a folder");
        fs::write(dir.path().join("outside/precious"), "untouched").expect("written");
        Place { dir }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn store(&self) -> Store {
        Store::new(&self.path("lib"))
    }

    pub(crate) fn import(&self, file: &Path) -> Result<Import> {
        self.import_within(file, Limits::default())
    }

    pub(crate) fn import_within(&self, file: &Path, limits: Limits) -> Result<Import> {
        let wish = Wish {
            name: None,
            created: "2001-02-03T04:05:06Z".to_owned(),
            limits,
        };
        import(&self.store(), file, &wish, &mut ())
    }

    /// Imports an archive of a root filesystem, given as bytes, and returns the folder of its one layer.
    #[track_caller]
    pub(crate) fn layer(&self, archive: &[u8]) -> PathBuf {
        let file = self.path("layer.tar");
        fs::write(&file, archive).expect("written");
        self.import(&file).expect("imported");
        self.path("lib/images/layers")
            .join(Digest::of(archive).hex())
            .join("fs")
    }

    /// Asserts that an archive is refused with these words, and that nothing is left, in the store or outside it.
    #[track_caller]
    pub(crate) fn refuses(&self, archive: &[u8], words: &str) {
        let file = self.path("hostile.tar");
        fs::write(&file, archive).expect("written");
        self.refuses_file(&file, Limits::default(), words);
    }

    #[track_caller]
    pub(crate) fn refuses_file(&self, file: &Path, limits: Limits, words: &str) {
        let outside = Tree::of(&self.path("outside"));
        let refusal = self.import_within(file, limits).expect_err("it was taken");
        let told = chain(&refusal);
        assert!(told.contains(words), "{words:?} is not in {told:?}");
        assert_eq!(Tree::of(&self.path("outside")), outside);
        for folder in ["layers", "names", "configs", "tmp"] {
            let left = self.path("lib/images").join(folder);
            assert_eq!(
                Tree::of(&left).names(),
                [""; 0],
                "{folder} has something left"
            );
        }
    }
}

pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text.push_str(&format!(": {cause}"));
        next = cause.source();
    }
    text
}

/// An archive by hand.
pub(crate) struct Archive(Builder<Vec<u8>>);

impl Archive {
    pub(crate) fn new() -> Archive {
        Archive(Builder::new(Vec::new()))
    }

    /// Writes a header whose name is taken as it is, however hostile, and its contents.
    pub(crate) fn entry(
        mut self,
        kind: EntryType,
        name: &str,
        link: &str,
        contents: &[u8],
    ) -> Archive {
        let header = header(kind, name, link, contents.len() as u64);
        self.0.append(&header, contents).expect("written");
        self
    }

    pub(crate) fn file(self, name: &str, contents: &str) -> Archive {
        self.entry(EntryType::Regular, name, "", contents.as_bytes())
    }

    pub(crate) fn folder(self, name: &str) -> Archive {
        self.entry(EntryType::Directory, name, "", b"")
    }

    pub(crate) fn symlink(self, name: &str, target: &str) -> Archive {
        self.entry(EntryType::Symlink, name, target, b"")
    }

    pub(crate) fn hardlink(self, name: &str, target: &str) -> Archive {
        self.entry(EntryType::Link, name, target, b"")
    }

    /// Extended records for the entry that follows.
    pub(crate) fn pax(mut self, records: &[(&str, &[u8])]) -> Archive {
        let records = records.iter().copied();
        self.0.append_pax_extensions(records).expect("written");
        self
    }

    /// Anything at all.
    pub(crate) fn raw(mut self, bytes: &[u8]) -> Archive {
        self.0.get_mut().write_all(bytes).expect("written");
        self
    }

    pub(crate) fn bytes(self) -> Vec<u8> {
        self.0.into_inner().expect("finished")
    }
}

pub(crate) fn header(kind: EntryType, name: &str, link: &str, size: u64) -> Header {
    let mut header = Header::new_ustar();
    header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
    header.as_old_mut().linkname[..link.len()].copy_from_slice(link.as_bytes());
    header.set_entry_type(kind);
    header.set_mode(if kind == EntryType::Directory {
        0o755
    } else {
        0o644
    });
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(1_000_000_000);
    header.set_size(size);
    header.set_cksum();
    header
}

/// An archive as `docker save` writes it, of these layers.
pub(crate) fn docker_archive(layers: &[Vec<u8>], config: serde_json::Value) -> Vec<u8> {
    let digests: Vec<Digest> = layers.iter().map(|layer| Digest::of(layer)).collect();
    let config = json!({"os": "linux", "architecture": "amd64", "config": config,
        "rootfs": {"type": "layers", "diff_ids": digests}});
    let names: Vec<String> = (0..layers.len())
        .map(|at| format!("{at}/layer.tar"))
        .collect();
    let manifest =
        json!([{"Config": "config.json", "RepoTags": ["test/image:1"], "Layers": names}]);
    let mut archive = Archive::new();
    for (name, layer) in names.iter().zip(layers) {
        archive = archive.entry(EntryType::Regular, name, "", layer);
    }
    archive
        .file("config.json", &config.to_string())
        .file("manifest.json", &manifest.to_string())
        .bytes()
}

/// Everything of every file below a folder: two equal ones look the same to a container.
#[derive(PartialEq, Eq)]
pub(crate) struct Tree(BTreeMap<String, String>);

impl Tree {
    pub(crate) fn of(root: &Path) -> Tree {
        let mut tree = Tree(BTreeMap::new());
        if root.exists() {
            tree.add(root, "", &mut HashMap::new());
        }
        tree
    }

    fn add(&mut self, folder: &Path, prefix: &str, seen: &mut HashMap<u64, String>) {
        let mut names: Vec<_> = fs::read_dir(folder)
            .expect("listed")
            .map(|entry| entry.expect("entry").file_name())
            .collect();
        names.sort();
        for name in names {
            let path = folder.join(&name);
            let shown = format!("{prefix}{}", name.to_string_lossy());
            let about = fs::symlink_metadata(&path).expect("looked at");
            let mut line = describe(&path, &about);
            if about.nlink() > 1 && !about.is_dir() {
                let first = seen.entry(about.ino()).or_insert_with(|| shown.clone());
                line.push_str(&format!(" same as {first}"));
            }
            self.0.insert(shown.clone(), line);
            if about.is_dir() {
                self.add(&path, &format!("{shown}/"), seen);
            }
        }
    }

    pub(crate) fn names(&self) -> Vec<&str> {
        self.0.keys().map(String::as_str).collect()
    }

    pub(crate) fn line(&self, name: &str) -> &str {
        self.0.get(name).map_or("", String::as_str)
    }

    /// Asserts that both are the same but for what `passed` passes over.
    #[track_caller]
    pub(crate) fn is(&self, other: &Tree, passed: impl Fn(&str) -> String) {
        let names: std::collections::BTreeSet<_> = self.0.keys().chain(other.0.keys()).collect();
        let differs = |name: &&&String| passed(self.line(name)) != passed(other.line(name));
        let all: Vec<_> = names
            .iter()
            .filter(differs)
            .map(|name| format!("{name}\n  {}\n  {}", self.line(name), other.line(name)))
            .collect();
        assert!(all.is_empty(), "differs:\n{}", all.join("\n"));
    }
}

impl std::fmt::Debug for Tree {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0
            .iter()
            .try_for_each(|(name, line)| writeln!(out, "{name}: {line}"))
    }
}

fn describe(path: &Path, about: &fs::Metadata) -> String {
    let kind = about.file_type();
    let what = if kind.is_dir() {
        "folder".to_owned()
    } else if kind.is_symlink() {
        format!("link to {}", fs::read_link(path).expect("read").display())
    } else if kind.is_file() {
        let contents = fs::read(path).expect("read");
        format!("file {} {}", contents.len(), Digest::of(&contents).short())
    } else {
        let device = about.rdev();
        let letter = if kind.is_char_device() {
            "c"
        } else if kind.is_block_device() {
            "b"
        } else {
            "p"
        };
        format!(
            "{letter} {}:{}",
            rustix::fs::major(device),
            rustix::fs::minor(device)
        )
    };
    let (mode, uid, gid) = (about.mode() & 0o7777, about.uid(), about.gid());
    let time = format!("{}.{:09}", about.mtime(), about.mtime_nsec());
    format!("{what} {mode:04o} {uid}:{gid} @{time}{}", xattrs(path))
}

fn xattrs(path: &Path) -> String {
    let mut list = vec![0; 65_536];
    let length = rustix::fs::llistxattr(path, &mut list[..]).expect("listed");
    let mut names: Vec<_> = list[..length]
        .split(|&byte| byte == 0)
        .filter(|name| !name.is_empty())
        .collect();
    names.sort();
    let mut text = String::new();
    for name in names {
        let mut value = vec![0; 65_536];
        let length = rustix::fs::lgetxattr(path, std::ffi::OsStr::from_bytes(name), &mut value[..])
            .expect("read");
        text.push_str(&format!(
            " {}={:?}",
            String::from_utf8_lossy(name),
            String::from_utf8_lossy(&value[..length])
        ));
    }
    text
}

/// Runs a tool to its success.
#[track_caller]
pub(crate) fn tool(program: &str, words: &[&str], dir: &Path) -> String {
    let ran = Command::new(program).args(words).current_dir(dir).output();
    let ran = ran.unwrap_or_else(|cause| panic!("{program}: {cause} (tests/prepare installs it)"));
    assert!(
        ran.status.success(),
        "{program} {words:?}: {}",
        String::from_utf8_lossy(&ran.stderr)
    );
    String::from_utf8_lossy(&ran.stdout).into_owned()
}

/// Runs `work` with mounts of its own.
pub(crate) fn in_private<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNS).expect("a mount namespace");
            let private = rustix::mount::MountPropagationFlags::PRIVATE
                | rustix::mount::MountPropagationFlags::REC;
            rustix::mount::mount_change("/", private).expect("private");
            work()
        });
        match thread.join() {
            Ok(answer) => answer,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}
