//! Who has a volume mounted, by the identifiers of Mount and Unmount, counted for each (docs/volumes.md, "Who holds a volume").
//! A file under /run for each volume, so that a plugin that was killed still knows; of another boot it says nothing.
//! It must never be all that stands between a container and the loss of its files: `users` asks the kernel, too.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use wharfline_spec::VolumeName;

use crate::error::{Error, Result};

/// Where the files are on a host.
const RUNTIME: &str = "/run/wharfline/volumes";
/// Changes with every boot (proc_sys_kernel(5)).
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// The folder of the files of one root.
#[derive(Debug)]
pub(crate) struct Register {
    folder: PathBuf,
    boot: String,
}

/// What a file holds.
#[derive(Debug, Serialize, Deserialize)]
struct Kept {
    boot: String,
    holders: BTreeMap<String, u32>,
}

/// Who holds one volume.
#[derive(Debug, Default)]
pub(crate) struct Held {
    holders: BTreeMap<String, Holder>,
}

#[derive(Debug, Clone, Copy)]
struct Holder {
    count: u32,
    /// Since when we are not sure of him: not heard of since we, or dockerd, were last started. Nobody knows how often
    /// he mounted it then: it counts as once.
    doubted: Option<Instant>,
}

/// So long somebody may have been told where his volume is, without having it mounted yet.
const GRACE: Duration = Duration::from_secs(30);

impl Register {
    /// Of the root at `root`.
    pub(crate) fn of(root: &Path) -> Result<Self> {
        use std::os::unix::ffi::OsStrExt;
        let key = wharfline_kernel::hash::stable_hash(&[root.as_os_str().as_bytes()]);
        let folder = Path::new(RUNTIME).join(format!("{key:016x}"));
        fs::create_dir_all(&folder).map_err(Error::file("make", &folder))?;
        let boot = fs::read_to_string(BOOT_ID).map_err(Error::file("read", BOOT_ID))?;
        Ok(Self {
            folder,
            boot: boot.trim().to_owned(),
        })
    }

    /// Everybody whom an earlier life of this server knew, unconfirmed.
    pub(crate) fn all(&self) -> Result<BTreeMap<VolumeName, Held>> {
        let entries = fs::read_dir(&self.folder).map_err(Error::file("list", &self.folder))?;
        let mut all = BTreeMap::new();
        for entry in entries.flatten() {
            let name = entry.file_name();
            let name = name
                .to_str()
                .and_then(|name| VolumeName::new(name.strip_suffix(".json")?).ok());
            let Some(name) = name else { continue };
            let kept = fs::read(entry.path()).ok();
            let kept = kept.and_then(|text| serde_json::from_slice::<Kept>(&text).ok());
            match kept.filter(|kept| kept.boot == self.boot) {
                Some(kept) => drop(all.insert(name, Held::unconfirmed(kept.holders))),
                None => self.forget(&name)?,
            }
        }
        Ok(all)
    }

    /// Notes who holds a volume; nobody is no file.
    pub(crate) fn note(&self, name: &VolumeName, held: &Held) -> Result<()> {
        if held.is_free() {
            return self.forget(name);
        }
        let holders = held
            .holders
            .iter()
            .map(|(id, holder)| (id.clone(), holder.count));
        let kept = Kept {
            boot: self.boot.clone(),
            holders: holders.collect(),
        };
        let path = self.path(name);
        // Not synced: it means nothing after a reboot.
        let draft = path.with_extension("new");
        fs::write(&draft, serde_json::to_vec(&kept).unwrap_or_default())
            .and_then(|()| fs::rename(&draft, &path))
            .map_err(Error::file("write", &path))
    }

    /// Forgets a volume's; none is success.
    pub(crate) fn forget(&self, name: &VolumeName) -> Result<()> {
        let path = self.path(name);
        match fs::remove_file(&path) {
            Err(cause) if cause.kind() != io::ErrorKind::NotFound => {
                Err(Error::file("remove", &path)(cause))
            }
            _ => Ok(()),
        }
    }

    fn path(&self, name: &VolumeName) -> PathBuf {
        self.folder.join(format!("{name}.json"))
    }
}

impl Held {
    fn unconfirmed(holders: BTreeMap<String, u32>) -> Self {
        let holders = holders.into_iter().map(|(id, count)| {
            (
                id,
                Holder {
                    count,
                    doubted: Some(Instant::now()),
                },
            )
        });
        Self {
            holders: holders.collect(),
        }
    }

    /// Whether nobody has it.
    pub(crate) fn is_free(&self) -> bool {
        self.holders.is_empty()
    }

    /// Whether anybody has it of whom we are sure.
    pub(crate) fn is_confirmed(&self) -> bool {
        self.holders.values().any(|holder| holder.doubted.is_none())
    }

    /// Whether there is anybody of whom we are not.
    pub(crate) fn has_unconfirmed(&self) -> bool {
        self.holders.values().any(|holder| holder.doubted.is_some())
    }

    /// Whether somebody else than `id` has it.
    pub(crate) fn is_anothers(&self, id: &str) -> bool {
        self.holders.keys().any(|holder| holder != id)
    }

    /// Everybody.
    pub(crate) fn ids(&self) -> Vec<String> {
        self.holders.keys().cloned().collect()
    }

    /// One mount more. Of whom we were not sure, this is the first.
    pub(crate) fn add(&mut self, id: &str) {
        let holder = self.holders.entry(id.to_owned()).or_insert(Holder {
            count: 0,
            doubted: None,
        });
        holder.count = if holder.doubted.is_none() {
            holder.count + 1
        } else {
            1
        };
        holder.doubted = None;
    }

    /// One mount less; false where he has none. Of whom we were not sure, this was the last.
    pub(crate) fn take(&mut self, id: &str) -> bool {
        let Some(holder) = self.holders.get_mut(id) else {
            return false;
        };
        match holder.doubted.is_none() && holder.count > 1 {
            true => holder.count -= 1,
            false => drop(self.holders.remove(id)),
        }
        true
    }

    /// dockerd was started anew: of its containers it will tell again, or never.
    pub(crate) fn doubt(&mut self) {
        let now = Instant::now();
        for holder in self.holders.values_mut() {
            holder.doubted.get_or_insert(now);
        }
    }

    /// Those of whom we have not been sure for a while have gone, because nobody has the volume mounted.
    pub(crate) fn drop_doubted(&mut self, now: Instant) {
        let stays = |since: Instant| now.saturating_duration_since(since) < GRACE;
        self.holders
            .retain(|_, holder| holder.doubted.is_none_or(stays));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mounts_are_counted_for_each_user() {
        let mut held = Held::default();
        held.add("a");
        // docker cp repeats a running container's.
        held.add("a");
        held.add("b");
        assert!(held.take("a") && !held.is_free() && held.is_anothers("b"));
        assert!(held.take("a") && !held.is_anothers("b"));
        assert!(!held.take("a"));
        assert!(held.take("b") && held.is_free());
    }

    #[test]
    fn whoever_is_doubted_counts_once() {
        let mut held = Held::default();
        held.add("a");
        held.add("a");
        held.add("gone");
        held.doubt();
        assert!(!held.is_confirmed() && held.has_unconfirmed());
        held.add("a");
        // He may be about to mount it.
        held.drop_doubted(Instant::now());
        assert_eq!(held.ids(), ["a", "gone"]);
        held.drop_doubted(Instant::now() + GRACE);
        assert_eq!(held.ids(), ["a"]);
        assert!(held.take("a") && held.is_free());
    }
}
