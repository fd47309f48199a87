//! What a user asks of a volume: `-o KEY=VALUE` of Docker and wharf, read in one step or refused by key.
//! `record` keeps the text, everybody else works with what was read.
//! It must never let an unknown option pass, nor show a password.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

mod network;

pub(crate) use network::{MountOption, NetworkFs, without_secrets};

/// Everything that is asked of a volume.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Options {
    /// What is to keep it; none: chosen by the file system below the root.
    pub(crate) kind: Option<Kind>,
    /// Most that goes in.
    pub(crate) limits: Limits,
    /// Of the volume's top folder, at its creation.
    pub(crate) owner: Owner,
    /// Whether nobody may write.
    pub(crate) read_only: bool,
    /// Whether only one user at a time may have it mounted.
    pub(crate) single_writer: bool,
    /// For people, and for `prune`.
    pub(crate) labels: BTreeMap<String, String>,
}

/// What keeps a volume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Kind {
    Directory,
    Btrfs,
    Quota,
    Loop(ImageFs),
    Tmpfs,
    Bind(PathBuf),
    Network(NetworkFs),
}

/// The file system in an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum ImageFs {
    #[default]
    Ext4,
    Xfs,
    Btrfs,
}

/// Most bytes and inodes; none: no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Limits {
    pub(crate) bytes: Option<u64>,
    pub(crate) inodes: Option<u64>,
}

/// What the top folder gets.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Owner {
    pub(crate) uid: Option<u32>,
    pub(crate) gid: Option<u32>,
    pub(crate) mode: Option<u32>,
    pub(crate) selinux: Option<String>,
}

/// Below it the kernel does not resize a btrfs.
const BTRFS_LEAST: u64 = 256 << 20;

/// Every key, with a line for people.
pub(crate) const KEYS: [(&str, &str); 15] = [
    (
        "type",
        "directory, btrfs, quota, loop, tmpfs, bind, nfs or cifs; chosen by the root's file system unless said",
    ),
    ("size", "most bytes: 10G, 512MiB, 100000"),
    ("inodes", "most files and folders"),
    ("uid", "owner of the top folder"),
    ("gid", "its group"),
    ("mode", "its mode, octal"),
    ("selinux", "its SELinux label"),
    ("ro", "true: nobody may write"),
    (
        "access",
        "single-writer: one container at a time; shared unless said",
    ),
    ("label.KEY", "a label"),
    (
        "mountpoint",
        "an existing folder that becomes the volume and is never deleted",
    ),
    ("fs", "file system in a loop image: ext4, xfs or btrfs"),
    (
        "device",
        "of nfs: HOST:/PATH; of cifs: //HOST/SHARE; of bind: the folder",
    ),
    (
        "o",
        "options of the mount, as Docker's local driver takes them",
    ),
    ("password", "of cifs"),
];

impl Options {
    /// Reads `given`.
    ///
    /// # Errors
    /// [`Error::Option`] with the key.
    pub(crate) fn parse(given: &BTreeMap<String, String>) -> Result<Self> {
        let mut options = Self::default();
        let mut raw = Raw::default();
        for (key, value) in given {
            options.take(&mut raw, key, value)?;
        }
        options.kind = raw.kind(&mut options)?;
        options.fits()?;
        Ok(options)
    }

    fn take<'a>(&mut self, raw: &mut Raw<'a>, key: &'a str, value: &'a str) -> Result<()> {
        match key {
            "type" => raw.kind = Some(value),
            "device" => raw.device = Some(value),
            "o" => raw.mount_options = Some(value),
            "password" => raw.password = Some(value),
            "mountpoint" => raw.mountpoint = Some(value),
            "fs" => raw.image_fs = Some(image_fs(value)?),
            "size" => self.limits.bytes = Some(size(key, value)?),
            "inodes" => self.limits.inodes = Some(positive(key, value)?),
            "uid" => self.owner.uid = Some(number(key, value)?),
            "gid" => self.owner.gid = Some(number(key, value)?),
            "mode" => self.owner.mode = Some(mode(key, value)?),
            "selinux" => self.owner.selinux = Some(label(key, value)?),
            "ro" => self.read_only = truth(key, value)?,
            "access" => self.single_writer = access(key, value)?,
            _ => match key.strip_prefix("label.") {
                Some(name) if !name.is_empty() => {
                    self.labels.insert(name.to_owned(), value.to_owned());
                }
                _ => return Err(Error::option(key, "there is no such option")),
            },
        }
        Ok(())
    }

    /// What does not go together.
    fn fits(&self) -> Result<()> {
        let refuse = |key: &str, problem: &str| Err(Error::option(key, problem));
        let limited = self.limits != Limits::default();
        match &self.kind {
            Some(Kind::Directory | Kind::Bind(_) | Kind::Network(_)) if limited => {
                refuse("size", "this type of volume has no limits")
            }
            Some(Kind::Btrfs) if self.limits.inodes.is_some() => refuse(
                "inodes",
                "btrfs does not count them; type=loop with fs=ext4 does",
            ),
            Some(Kind::Loop(ImageFs::Btrfs)) if self.limits.bytes < Some(BTRFS_LEAST) => refuse(
                "size",
                "an image with btrfs needs 256M at least, or it could not grow",
            ),
            Some(Kind::Loop(_)) if self.limits.bytes.is_none() => {
                refuse("size", "an image needs one")
            }
            Some(Kind::Loop(ImageFs::Xfs | ImageFs::Btrfs)) if self.limits.inodes.is_some() => {
                refuse(
                    "inodes",
                    "only an image with ext4 has a fixed number of them",
                )
            }
            Some(Kind::Quota) if !limited => refuse("size", "a quota needs it, or inodes"),
            Some(Kind::Bind(_) | Kind::Network(_)) if self.owner != Owner::default() => refuse(
                "uid, gid, mode, selinux",
                "what is there already keeps its owner",
            ),
            _ => Ok(()),
        }
    }
}

/// What is of use only together.
#[derive(Default)]
struct Raw<'a> {
    kind: Option<&'a str>,
    device: Option<&'a str>,
    mount_options: Option<&'a str>,
    password: Option<&'a str>,
    mountpoint: Option<&'a str>,
    image_fs: Option<ImageFs>,
}

impl Raw<'_> {
    fn kind(self, options: &mut Options) -> Result<Option<Kind>> {
        let words: Vec<&str> = self
            .mount_options
            .iter()
            .flat_map(|o| o.split(','))
            .collect();
        let is_bind = |kind: &str| kind == "bind" || kind == "none";
        let kind = match (self.kind, self.mountpoint) {
            (None | Some("bind"), Some(path)) => Some(Kind::Bind(absolute("mountpoint", path)?)),
            (Some(_), Some(_)) => {
                return Err(Error::option("mountpoint", "goes with type=bind alone"));
            }
            (Some(kind), None) if is_bind(kind) => Some(Kind::Bind(absolute(
                "device",
                self.device.unwrap_or_default(),
            )?)),
            (Some("directory"), _) => Some(Kind::Directory),
            (Some("btrfs"), _) => Some(Kind::Btrfs),
            (Some("quota"), _) => Some(Kind::Quota),
            (Some("loop"), _) => Some(Kind::Loop(self.image_fs.unwrap_or_default())),
            (None, None) if self.image_fs.is_some() => {
                Some(Kind::Loop(self.image_fs.unwrap_or_default()))
            }
            (Some("tmpfs"), _) => Some(Kind::Tmpfs),
            (Some(kind @ ("nfs" | "nfs4" | "cifs" | "smb3")), _) => {
                let device = self.device.unwrap_or_default();
                Some(Kind::Network(NetworkFs::parse(
                    kind,
                    device,
                    &words,
                    self.password,
                )?))
            }
            (Some(other), _) => {
                return Err(Error::option("type", format!("there is no type {other}")));
            }
            (None, None) => None,
        };
        self.rest(options, &kind, &words)?;
        Ok(kind)
    }

    /// What Docker's local driver takes in `o` of tmpfs and bind, and what belongs to no such type.
    fn rest(&self, options: &mut Options, kind: &Option<Kind>, words: &[&str]) -> Result<()> {
        let network = matches!(kind, Some(Kind::Network(_)));
        if self.password.is_some() && !network {
            return Err(Error::option("password", "goes with type=cifs alone"));
        }
        let takes_device = network || matches!(kind, Some(Kind::Bind(_) | Kind::Tmpfs));
        if self.device.is_some() && !takes_device {
            return Err(Error::option(
                "device",
                "goes with type=bind, nfs or cifs alone",
            ));
        }
        if self.image_fs.is_some() && !matches!(kind, Some(Kind::Loop(_))) {
            return Err(Error::option("fs", "goes with type=loop alone"));
        }
        for word in words {
            match (kind, word.split_once('=')) {
                (Some(Kind::Network(_)), _) => options.read_only |= *word == "ro",
                (_, None) if matches!(*word, "" | "rw") => {}
                (_, None) if *word == "ro" => options.read_only = true,
                (Some(Kind::Bind(_)), None) if matches!(*word, "bind" | "rbind") => {}
                (Some(Kind::Tmpfs), Some(("nr_inodes", value))) => {
                    options.limits.inodes = Some(positive("o", value)?);
                }
                (Some(Kind::Tmpfs), Some((key @ ("size" | "uid" | "gid" | "mode"), value))) => {
                    options.take(&mut Raw::default(), key, value)?;
                }
                _ => {
                    let key = word.split('=').next().unwrap_or_default();
                    return Err(Error::option(
                        "o",
                        format!("{key} is not known for this type"),
                    ));
                }
            }
        }
        Ok(())
    }
}

impl Kind {
    /// What people call it.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Directory => "directory",
            Self::Btrfs => "btrfs",
            Self::Quota => "quota",
            Self::Loop(_) => "loop",
            Self::Tmpfs => "tmpfs",
            Self::Bind(_) => "bind",
            Self::Network(fs) => fs.kind,
        }
    }
}

impl ImageFs {
    /// The kernel's name for it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Ext4 => "ext4",
            Self::Xfs => "xfs",
            Self::Btrfs => "btrfs",
        }
    }
}

/// A number of bytes, with a unit of 1,024: `10G`, `512MiB`, `1t`, `100000`.
pub(crate) fn size(key: &str, text: &str) -> Result<u64> {
    let refuse = || Error::option(key, "is no size such as 10G, 512MiB or 100000");
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().map_err(|_| refuse())?;
    let unit = unit.to_ascii_lowercase();
    let unit = unit
        .strip_suffix("ib")
        .or(unit.strip_suffix('b'))
        .unwrap_or(&unit);
    let shift = match unit {
        "" => 0,
        "k" => 10,
        "m" => 20,
        "g" => 30,
        "t" => 40,
        "p" => 50,
        _ => return Err(refuse()),
    };
    match number.checked_mul(1 << shift) {
        // Beyond it no file system goes, and lengths of files are signed.
        Some(bytes) if bytes > 0 && bytes < 1 << 60 => Ok(bytes),
        _ => Err(refuse()),
    }
}

fn positive(key: &str, text: &str) -> Result<u64> {
    match text.parse() {
        Ok(number) if number > 0 => Ok(number),
        _ => Err(Error::option(key, "is no number above 0")),
    }
}

fn number(key: &str, text: &str) -> Result<u32> {
    match text.parse() {
        // (uid_t)-1 is nobody (chown(2)).
        Ok(number) if number != u32::MAX => Ok(number),
        _ => Err(Error::option(key, "is no number of a user or group")),
    }
}

fn mode(key: &str, text: &str) -> Result<u32> {
    match u32::from_str_radix(text, 8) {
        Ok(mode) if mode <= 0o7777 => Ok(mode),
        _ => Err(Error::option(key, "is no octal mode such as 0750")),
    }
}

fn label(key: &str, text: &str) -> Result<String> {
    let parts = text.split(':').count();
    match parts >= 3 && !text.bytes().any(|b| b.is_ascii_control()) {
        true => Ok(text.to_owned()),
        false => Err(Error::option(
            key,
            "is no label such as system_u:object_r:container_file_t:s0",
        )),
    }
}

fn truth(key: &str, text: &str) -> Result<bool> {
    match text {
        "" | "true" | "1" => Ok(true),
        "false" | "0" => Ok(false),
        _ => Err(Error::option(key, "is neither true nor false")),
    }
}

fn access(key: &str, text: &str) -> Result<bool> {
    match text {
        "single-writer" => Ok(true),
        "shared" => Ok(false),
        _ => Err(Error::option(key, "is neither shared nor single-writer")),
    }
}

fn image_fs(text: &str) -> Result<ImageFs> {
    match text {
        "ext4" => Ok(ImageFs::Ext4),
        "xfs" => Ok(ImageFs::Xfs),
        "btrfs" => Ok(ImageFs::Btrfs),
        _ => Err(Error::option("fs", "is none of ext4, xfs, btrfs")),
    }
}

fn absolute(key: &str, text: &str) -> Result<PathBuf> {
    let path = Path::new(text);
    let plain = path.components().all(|part| {
        matches!(
            part,
            std::path::Component::RootDir | std::path::Component::Normal(_)
        )
    });
    match path.is_absolute() && plain && path.parent().is_some() && !text.contains('\0') {
        true => Ok(path.to_owned()),
        false => Err(Error::option(
            key,
            "is no absolute path of a folder, without '..'",
        )),
    }
}

#[cfg(test)]
mod tests;
