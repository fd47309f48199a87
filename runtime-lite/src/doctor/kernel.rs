//! What the running kernel can do, read from what it and its modules' folder say of it.
//! `doctor` shows it; nothing is loaded and no link is made to find out.
//! It must never call a feature missing that may only be hidden: what no file tells of is unknown.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use flate2::read::GzDecoder;

use super::Finding;

/// A feature: the option of the kernel's configuration, the module, who needs it, and whether everything stops without.
struct Feature {
    option: &'static str,
    module: &'static str,
    needed: &'static str,
    always: bool,
}

const FEATURES: [Feature; 8] = [
    of(
        "NF_TABLES",
        "nf_tables",
        "masquerading, published ports, isolation",
        true,
    ),
    of("NFT_NAT", "nft_nat", "published ports", true),
    of("NFT_MASQ", "nft_masq", "masquerading", true),
    of("BRIDGE", "bridge", "the bridge plugin", true),
    of("VETH", "veth", "the bridge plugin", true),
    of("VXLAN", "vxlan", "overlay networks", false),
    of("MACVLAN", "macvlan", "macvlan networks", false),
    of("IPVLAN", "ipvlan", "ipvlan networks", false),
];

const fn of(
    option: &'static str,
    module: &'static str,
    needed: &'static str,
    always: bool,
) -> Feature {
    Feature {
        option,
        module,
        needed,
        always,
    }
}

/// How the kernel has a feature.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Presence {
    /// In the kernel or loaded.
    There,
    /// A module that the kernel loads when it is first asked for.
    Loadable,
    /// Left out.
    Missing,
    /// Nothing tells.
    Unknown,
}

/// The features, one finding each.
pub(super) fn features() -> Vec<Finding> {
    let kernel = Kernel::running();
    FEATURES
        .iter()
        .map(|feature| kernel.finding(feature))
        .collect()
}

/// What is known of the running kernel.
struct Kernel {
    /// Lines of its configuration; none where it is nowhere.
    config: Option<String>,
    /// Lists of modules: those in the kernel, and those that can be loaded.
    builtin: String,
    loadable: String,
}

impl Kernel {
    fn running() -> Self {
        let release = read(Path::new("/proc/sys/kernel/osrelease"));
        let release = release.trim();
        let modules = Path::new("/lib/modules").join(release);
        Self {
            config: config(release),
            builtin: read(&modules.join("modules.builtin")),
            loadable: read(&modules.join("modules.dep")),
        }
    }

    fn finding(&self, feature: &Feature) -> Finding {
        let object = format!("kernel: {}", feature.module);
        let needed = feature.needed;
        match self.presence(feature) {
            Presence::There => Finding::fine(object, "there"),
            Presence::Loadable => Finding::fine(object, "a module, loaded when it is needed"),
            Presence::Unknown => Finding::note(
                object,
                format!("unknown: no file tells whether this kernel has it; {needed} needs it"),
                "",
            ),
            Presence::Missing if feature.always => Finding::problem(
                object,
                format!("missing: {needed} needs it"),
                &format!(
                    "boot a kernel with CONFIG_{}, or install its module",
                    feature.option
                ),
            ),
            Presence::Missing => {
                Finding::note(object, format!("missing: {needed} would need it"), "")
            }
        }
    }

    fn presence(&self, feature: &Feature) -> Presence {
        let file = format!("/{}.ko", feature.module);
        let listed = |list: &str| {
            let mut names = list.lines().filter_map(|line| line.split(':').next());
            names.any(|name| name.contains(&file))
        };
        if Path::new("/sys/module").join(feature.module).exists() || listed(&self.builtin) {
            return Presence::There;
        }
        if listed(&self.loadable) {
            return Presence::Loadable;
        }
        let Some(config) = &self.config else {
            return Presence::Unknown;
        };
        let built_in = format!("CONFIG_{}=y", feature.option);
        // A module that no file of this machine holds is as good as none.
        match config.lines().any(|line| line == built_in) {
            true => Presence::There,
            false => Presence::Missing,
        }
    }
}

/// The kernel's own copy (CONFIG_IKCONFIG_PROC), or the distribution's.
fn config(release: &str) -> Option<String> {
    let packed = fs::read("/proc/config.gz").ok().and_then(|packed| {
        let mut text = String::new();
        GzDecoder::new(&*packed).read_to_string(&mut text).ok()?;
        Some(text)
    });
    let beside = PathBuf::from(format!("/boot/config-{release}"));
    packed.or_else(|| fs::read_to_string(beside).ok())
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// None of the machine's own modules has this name.
    const INVENTED: Feature = of("WL_INVENTED", "wl_invented", "this test", true);

    fn kernel(config: Option<&str>, builtin: &str, loadable: &str) -> Kernel {
        Kernel {
            config: config.map(str::to_owned),
            builtin: builtin.to_owned(),
            loadable: loadable.to_owned(),
        }
    }

    #[test]
    fn each_source_tells_and_silence_is_no_absence() {
        let module = "kernel/net/wl_invented.ko";
        for (kernel, presence) in [
            (kernel(None, "", ""), Presence::Unknown),
            (kernel(None, module, ""), Presence::There),
            (
                kernel(None, "", &format!("{module}.xz: kernel/net/other.ko")),
                Presence::Loadable,
            ),
            (
                kernel(None, "", &format!("kernel/net/other.ko: {module}")),
                Presence::Unknown,
            ),
            (
                kernel(Some("CONFIG_WL_INVENTED=y"), "", ""),
                Presence::There,
            ),
            (
                kernel(Some("CONFIG_WL_INVENTED=m"), "", ""),
                Presence::Missing,
            ),
            (
                kernel(Some("# CONFIG_WL_INVENTED is not set"), "", ""),
                Presence::Missing,
            ),
        ] {
            assert_eq!(kernel.presence(&INVENTED), presence, "{:?}", kernel.config);
        }
    }
}
