//! Where wharf looks and keeps: run-time state, lasting state, network configurations, plugins.
//! `cli` fills it from options and the environment, every command gets it.
//! It must never create anything: a command that only reads leaves no trace.

use std::fs;
use std::path::{Path, PathBuf};

use wharfline_cni::client::Client;

use crate::error::{Error, Result};

/// What a reboot may take: containers that don't stay, results, the plugins' records.
pub(crate) const RUN_DIR: &str = "/run/wharfline";
/// What a reboot must not take: containers that stay, names, volumes, networks made by `wharf network create`.
pub(crate) const LIB_DIR: &str = "/var/lib/wharfline";
/// Where other runtimes' network configurations are, which wharf uses as well.
pub(crate) const CONF_DIR: &str = "/etc/cni/net.d";
/// Where libcni (containerd, CRI-O, podman, nerdctl) keeps the results of its attachments.
pub(crate) const LIBCNI_CACHE: &str = "/var/lib/cni";
/// Where named network namespaces are, as iproute2 has it (ip-netns(8)).
const NETNS_DIR: &str = "/run/netns";
/// Where plugins are looked for after $CNI_PATH and wharf's own folder.
const PLUGIN_DIRS: [&str; 4] = [
    "/opt/cni/bin",
    "/usr/libexec/wharfline",
    "/usr/libexec/cni",
    "/usr/lib/cni",
];

/// How long a driver of volumes may take for an answer, in seconds, instead of dockerd's two minutes and one.
pub(crate) const DRIVER_TIMEOUT: &str = "WHARF_DRIVER_TIMEOUT";

/// The places of one wharf.
#[derive(Debug, Clone)]
pub(crate) struct Home {
    run: PathBuf,
    lib: PathBuf,
    conf: PathBuf,
    plugins: Vec<PathBuf>,
}

impl Home {
    pub(crate) fn new(run: PathBuf, lib: PathBuf, conf: PathBuf, plugins: Vec<PathBuf>) -> Home {
        let plugins = match plugins.is_empty() {
            true => default_plugin_dirs(),
            false => plugins,
        };
        Home {
            run,
            lib,
            conf,
            plugins,
        }
    }

    /// Root of the run-time state.
    pub(crate) fn run(&self) -> &Path {
        &self.run
    }

    /// Root of the lasting state.
    pub(crate) fn lib(&self) -> &Path {
        &self.lib
    }

    /// One folder per container: those that stay when they have ended, and those that don't.
    pub(crate) fn containers(&self, kept: bool) -> PathBuf {
        match kept {
            true => self.lib.join("containers"),
            false => self.run.join("containers"),
        }
    }

    /// One link per name.
    pub(crate) fn names(&self) -> PathBuf {
        self.lib.join("names")
    }

    /// One folder per volume.
    pub(crate) fn volumes(&self) -> PathBuf {
        self.lib.join("volumes")
    }

    /// Networks that `wharf network create` made, one conflist each.
    pub(crate) fn networks(&self) -> PathBuf {
        self.lib.join("networks")
    }

    /// Networks that others configured.
    pub(crate) fn conf(&self) -> &Path {
        &self.conf
    }

    /// The folders with plugins, in the order of search.
    pub(crate) fn plugins(&self) -> &[PathBuf] {
        &self.plugins
    }

    /// The bind mount that keeps a container's network namespace.
    pub(crate) fn netns(&self, container: &str) -> PathBuf {
        let short: String = container.chars().take(12).collect();
        Path::new(NETNS_DIR).join(format!("{NETNS_PREFIX}{short}"))
    }

    /// The folder of named network namespaces.
    pub(crate) fn netns_dir(&self) -> &Path {
        Path::new(NETNS_DIR)
    }

    /// The runtime's side of CNI, with wharf's own results below /run.
    pub(crate) fn client(&self) -> Client {
        Client::new(self.plugins.clone(), self.cache())
    }

    /// Root of wharf's own results.
    pub(crate) fn cache(&self) -> PathBuf {
        self.run.join("cni")
    }

    /// The runtime's side of CNI, with the results of all runtimes that use libcni.
    pub(crate) fn libcni_client(&self) -> Client {
        Client::new(self.plugins.clone(), LIBCNI_CACHE)
    }

    /// The environment that gives a child wharf the same home.
    pub(crate) fn environment(&self) -> Vec<(&'static str, PathBuf)> {
        let path = std::env::join_paths(&self.plugins).unwrap_or_default();
        let patience = std::env::var_os(DRIVER_TIMEOUT).map(PathBuf::from);
        let patience = patience.map(|seconds| (DRIVER_TIMEOUT, seconds));
        let own = [
            ("WHARF_RUN_DIR", self.run.clone()),
            ("WHARF_LIB_DIR", self.lib.clone()),
            ("WHARF_CONF_DIR", self.conf.clone()),
            ("CNI_PATH", PathBuf::from(path)),
        ];
        own.into_iter().chain(patience).collect()
    }
}

/// What distinguishes our named namespaces from others in /run/netns.
pub(crate) const NETNS_PREFIX: &str = "wharf-";

/// The folder of the running wharf first: a build tree or an unpacked archive holds its plugins beside it.
/// (`bridge` would be no sign of that: iproute2 has a program of this name in /usr/sbin.)
fn default_plugin_dirs() -> Vec<PathBuf> {
    let own = std::env::current_exe()
        .ok()
        .and_then(|path| path.parent().map(Path::to_path_buf))
        .filter(|dir| dir.join("host-local").is_file());
    own.into_iter()
        .chain(PLUGIN_DIRS.map(PathBuf::from))
        .collect()
}

/// This boot's identity: state from another one describes processes and links that are gone.
pub(crate) fn boot_id() -> Result<String> {
    let path = Path::new("/proc/sys/kernel/random/boot_id");
    let text = fs::read_to_string(path).map_err(Error::file("read", path))?;
    Ok(text.trim().to_owned())
}
