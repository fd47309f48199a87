//! Docker's networks on a disk that outlives plugin, dockerd and machine: dockerd never tells of them twice.
//! `networks` writes and removes them; they are read at each start.
//! It must never hold an endpoint: those are records under /run, which end with the boot.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use wharfline_core::error::{Error, Result};
use wharfline_spec::docker::kept::KeptNetwork;
use wharfline_spec::names::NetworkName;

/// What outlives a boot (docs/architecture.md, "State").
pub(crate) const STATE_DIR: &str = "/var/lib/wharfline";

/// The folder with a file for each network.
#[derive(Debug, Clone)]
pub(crate) struct NetworkStore {
    folder: PathBuf,
}

impl NetworkStore {
    /// The store at `folder`, which is made when it is not there.
    pub(crate) fn open(folder: &Path) -> Result<Self> {
        fs::create_dir_all(folder).map_err(|e| failed("make", folder, e))?;
        let folder = folder.to_owned();
        Ok(Self { folder })
    }

    /// Keeps a network: whole, and on the disk when this returns.
    pub(crate) fn keep(&self, network: &KeptNetwork) -> Result<()> {
        let path = self.path(&network.request.network);
        let write = || -> io::Result<()> {
            let draft = path.with_extension("new");
            let mut file = File::create(&draft)?;
            file.write_all(&serde_json::to_vec(network)?)?;
            file.sync_all()?;
            fs::rename(&draft, &path)?;
            File::open(&self.folder)?.sync_all()
        };
        write().map_err(|e| failed("write", &path, e))
    }

    /// Forgets a network; unknown is success.
    pub(crate) fn forget(&self, network: &NetworkName) -> Result<()> {
        let path = self.path(network);
        match fs::remove_file(&path) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(failed("remove", &path, e)),
            _ => Ok(()),
        }
    }

    /// Every network that can be read; of the others, why not.
    pub(crate) fn all(&self) -> Result<(Vec<KeptNetwork>, Vec<Error>)> {
        let mut networks = Vec::new();
        let mut unreadable = Vec::new();
        for entry in fs::read_dir(&self.folder).map_err(|e| failed("list", &self.folder, e))? {
            let path = entry.map_err(|e| failed("list", &self.folder, e))?.path();
            if path.extension().is_none_or(|end| end != "json") {
                continue;
            }
            let read = fs::read(&path).and_then(|bytes| Ok(serde_json::from_slice(&bytes)?));
            match read {
                Ok(kept) => networks.push(kept),
                Err(e) => unreadable.push(failed("read", &path, e)),
            }
        }
        Ok((networks, unreadable))
    }

    fn path(&self, network: &NetworkName) -> PathBuf {
        self.folder.join(format!("{network}.json"))
    }
}

fn failed(what: &str, path: &Path, cause: io::Error) -> Error {
    Error::io(format!("{what} {}", path.display()), cause)
}

#[cfg(test)]
mod tests {
    use wharfline_spec::docker::network::CreateNetwork;

    use super::*;

    #[test]
    fn a_network_reads_back_until_it_is_forgotten() {
        let folder = tempfile::tempdir().expect("folder");
        let store = NetworkStore::open(&folder.path().join("networks")).expect("opened");
        let text = r#"{"NetworkID":"n1","Options":{"com.docker.network.generic":{"a":"b"}},
            "IPv4Data":[{"AddressSpace":"s","Gateway":"10.0.0.1/24","Pool":"10.0.0.0/24","AuxAddresses":{"x":"10.0.0.9/24"}}]}"#;
        let request: CreateNetwork = serde_json::from_str(text).expect("a request");
        let kept = KeptNetwork {
            request,
            adopted: true,
            bridge: None,
            parent: None,
        };
        store.keep(&kept).expect("kept");
        fs::write(folder.path().join("networks/broken.json"), "{").expect("written");
        let (networks, unreadable) = store.all().expect("listed");
        assert_eq!(networks, std::slice::from_ref(&kept));
        assert!(unreadable[0].to_string().contains("broken.json"));
        for _ in 0..2 {
            store.forget(&kept.request.network).expect("forgotten");
        }
        assert!(store.all().expect("listed").0.is_empty());
    }
}
