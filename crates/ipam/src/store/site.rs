//! Where things are: on this host, and for this network.
//! Given to the store by every verb; tests give it folders of their own.
//! Must never be read from the environment: a plugin's caller has no say in where its host keeps state.

use std::path::PathBuf;
use std::time::Duration;

use wharfline_spec::NetworkName;

/// Where this host keeps what the store needs beside the leases.
#[derive(Debug, Clone)]
pub struct Site {
    /// Indices, on a file system that a reboot empties; may be absent or read-only.
    pub index: PathBuf,
    /// libcni's caches of results, in which the namespaces of containers are named.
    pub results: Vec<PathBuf>,
    /// The file with the kernel's boot id.
    pub boot_id: PathBuf,
    /// How long to wait for the lock of a lease directory.
    pub lock_wait: Duration,
}

impl Default for Site {
    fn default() -> Site {
        Site {
            index: "/run/wharfline/ipam".into(),
            // The second is libcni's place before its 0.8.
            results: vec![
                "/var/lib/cni/results".into(),
                "/var/lib/cni/cache/results".into(),
            ],
            boot_id: "/proc/sys/kernel/random/boot_id".into(),
            lock_wait: Duration::from_secs(30),
        }
    }
}

/// Where the leases of one network are, and how they are given back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// `dataDir`: the folder that holds a folder for each network.
    pub data_dir: PathBuf,
    /// The network, which is the folder's name.
    pub network: NetworkName,
    /// `cooldown`: how long a released address is not given out again; zero for not at all.
    pub cooldown: Duration,
}

/// `dataDir` when the configuration has none (the reference's backend/disk/backend.go).
pub const DEFAULT_DATA_DIR: &str = "/var/lib/cni/networks";

impl Place {
    /// The folder with the network's leases.
    #[must_use]
    pub fn folder(&self) -> PathBuf {
        self.data_dir.join(self.network.as_str())
    }

    /// The folder for what must not stand among the leases; no network has its name, since names
    /// begin with a letter or digit.
    #[must_use]
    pub fn beside(&self) -> PathBuf {
        self.data_dir.join(".wharfline")
    }
}
