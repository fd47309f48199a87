//! The `-v`, `--mount`, `--tmpfs`, `--volumes-from` options, and the OCI mounts that they become.
//! `wish` reads them, `bundle` writes them, `volume` knows where volumes are.
//! It must never follow a link in the container: targets are resolved in the container's root by the runtime.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use wharf_image::Defaults;

use crate::cli;
use crate::container::{self, Mount, MountKind, VolumeDriver};
use crate::error::{Error, Result};
use crate::home::Home;
use crate::volume::command::options_of;
use crate::volume::{self, Sources};

/// Everything that is to be mounted; for one target, the last word counts.
pub(crate) fn of(home: &Home, asked: &cli::Files, image: &Defaults) -> Result<Vec<Mount>> {
    let mut all: Vec<Mount> = Vec::new();
    let mut add = |mount: Mount| {
        all.retain(|other: &Mount| other.target != mount.target);
        all.push(mount);
    };
    let of_options = asked.volume_driver.as_deref().map(VolumeDriver::named);
    for target in &image.volumes {
        let mount = anonymous(self::target(target, target)?)?;
        add(settled(home, mount, of_options.as_ref())?);
    }
    for given in &asked.volumes_from {
        from(home, given)?.into_iter().for_each(&mut add);
    }
    for given in &asked.volume {
        add(settled(home, volume_option(given)?, of_options.as_ref())?);
    }
    for given in &asked.mount {
        add(settled(home, mount_option(given)?, None)?);
    }
    for given in &asked.tmpfs {
        add(tmpfs_option(given)?);
    }
    Ok(all)
}

/// With the driver that a volume has, or is to have.
fn settled(home: &Home, mut mount: Mount, asked: Option<&VolumeDriver>) -> Result<Mount> {
    if let MountKind::Volume {
        name,
        driver,
        anonymous,
    } = &mut mount.kind
    {
        let asked = driver.take().or_else(|| asked.cloned());
        // A name that was drawn just now nobody has.
        let asked = asked.or_else(|| anonymous.then(volume::usual_driver));
        *driver = volume::chosen_driver(home, name, asked)?;
    }
    Ok(mount)
}

fn refuse(given: &str, rule: &'static str) -> Error {
    Error::BadValue {
        given: given.to_owned(),
        rule,
    }
}

fn target(given: &str, text: &str) -> Result<PathBuf> {
    let path = Path::new(text);
    let climbs = path.components().any(|part| part.as_os_str() == "..");
    match path.is_absolute() && !climbs && path.parent().is_some() {
        true => Ok(path.to_owned()),
        false => Err(refuse(
            given,
            "needs an absolute target without .., other than /",
        )),
    }
}

fn anonymous(target: PathBuf) -> Result<Mount> {
    Ok(Mount {
        target,
        kind: unnamed(None)?,
        options: Vec::new(),
    })
}

fn unnamed(driver: Option<VolumeDriver>) -> Result<MountKind> {
    Ok(MountKind::Volume {
        name: container::new_id()?.to_string(),
        anonymous: true,
        driver,
    })
}

/// What `-v` takes after its second colon.
const OPTIONS: [&str; 12] = [
    "ro", "rw", "rro", "z", "Z", "nocopy", "rprivate", "private", "rshared", "shared", "rslave",
    "slave",
];

/// `[SOURCE:]TARGET[:OPTIONS]`: a source with a slash is a path, any other a volume's name.
fn volume_option(given: &str) -> Result<Mount> {
    let parts: Vec<&str> = given.split(':').collect();
    let (source, inside, options) = match parts.as_slice() {
        [inside] => (None, *inside, ""),
        [source, inside] => (Some(*source), *inside, ""),
        [source, inside, options] => (Some(*source), *inside, *options),
        _ => return Err(refuse(given, "is not of the form [SOURCE:]TARGET[:ro]")),
    };
    let options = options.split(',').filter(|option| !option.is_empty());
    let options: Vec<String> = options.map(str::to_owned).collect();
    let known = |option: &String| OPTIONS.contains(&option.as_str());
    if !options.iter().all(known) {
        let rule = "has options other than ro, rro, rw, nocopy and propagation";
        return Err(refuse(given, rule));
    }
    let target = target(given, inside)?;
    let kind = match source {
        None => return anonymous(target),
        Some(path) if path.starts_with(['/', '.']) => {
            MountKind::Bind(made_source(Path::new(path))?)
        }
        Some(name) => MountKind::Volume {
            name: volume::checked_name(name)?,
            anonymous: false,
            driver: None,
        },
    };
    Ok(Mount {
        target,
        kind,
        options,
    })
}

/// A folder that is not there is made, as with Docker's `-v`.
fn made_source(path: &Path) -> Result<PathBuf> {
    if path.symlink_metadata().is_err() {
        std::fs::create_dir_all(path).map_err(Error::file("create", path))?;
    }
    source(path)
}

fn source(path: &Path) -> Result<PathBuf> {
    path.canonicalize()
        .map_err(Error::file("find what to mount", path))
}

/// The words of one `--mount`.
#[derive(Default)]
struct Words<'a> {
    kind: Option<&'a str>,
    from: Option<&'a str>,
    inside: Option<&'a str>,
    driver: Option<&'a str>,
    driver_options: Vec<String>,
    options: Vec<String>,
}

impl<'a> Words<'a> {
    fn read(given: &'a str) -> Result<Words<'a>> {
        let mut words = Words::default();
        for option in given.split(',') {
            let (key, value) = option.split_once('=').unwrap_or((option, ""));
            let yes = matches!(value, "" | "true" | "1");
            match key {
                "type" => words.kind = Some(value),
                "source" | "src" => words.from = Some(value),
                "target" | "destination" | "dst" => words.inside = Some(value),
                "readonly" | "ro" if yes => words.options.push("ro".to_owned()),
                "volume-nocopy" if yes => words.options.push("nocopy".to_owned()),
                "readonly" | "ro" | "volume-nocopy" => {}
                "volume-driver" => words.driver = Some(value),
                "volume-opt" => words.driver_options.push(value.to_owned()),
                "bind-recursive" if value == "readonly" => words.options.push("rro".to_owned()),
                "bind-propagation" => words.options.push(value.to_owned()),
                "tmpfs-size" => words.options.push(format!("size={value}")),
                "tmpfs-mode" => words.options.push(format!("mode={value}")),
                _ => return Err(refuse(given, "has a key that --mount does not know")),
            }
        }
        Ok(words)
    }

    fn driver(&self) -> Result<Option<VolumeDriver>> {
        let options = options_of(&self.driver_options)?;
        if self.driver.is_none() && options.is_empty() {
            return Ok(None);
        }
        let driver = self.driver.map(VolumeDriver::named);
        let driver = driver.unwrap_or_else(volume::usual_driver);
        Ok(Some(VolumeDriver { options, ..driver }))
    }
}

fn mount_option(given: &str) -> Result<Mount> {
    let words = Words::read(given)?;
    let inside = words.inside;
    let inside = inside.ok_or_else(|| refuse(given, "has no target"))?;
    let target = target(given, inside)?;
    let driver = words.driver()?;
    let kind = match (words.kind.unwrap_or("volume"), words.from) {
        ("volume", Some(name)) => MountKind::Volume {
            name: volume::checked_name(name)?,
            anonymous: false,
            driver,
        },
        ("volume", None) => unnamed(driver)?,
        _ if driver.is_some() => return Err(refuse(given, "has a driver, but is no volume")),
        ("bind", Some(path)) => MountKind::Bind(source(Path::new(path))?),
        ("tmpfs", None) => MountKind::Tmpfs,
        _ => {
            return Err(refuse(
                given,
                "has a type other than bind and volume (with a source) and tmpfs (without)",
            ));
        }
    };
    Ok(Mount {
        target,
        kind,
        options: words.options,
    })
}

fn tmpfs_option(given: &str) -> Result<Mount> {
    let (inside, options) = given.split_once(':').unwrap_or((given, ""));
    let options = options.split(',').filter(|option| !option.is_empty());
    Ok(Mount {
        target: target(given, inside)?,
        kind: MountKind::Tmpfs,
        options: options.map(str::to_owned).collect(),
    })
}

fn from(home: &Home, given: &str) -> Result<Vec<Mount>> {
    let (name, read_only) = match given.split_once(':') {
        Some((name, "ro")) => (name, true),
        Some((name, "rw")) => (name, false),
        Some(_) => return Err(refuse(given, "is not of the form CONTAINER[:ro]")),
        None => (given, false),
    };
    let (about, _) = container::find(home, name)?;
    let mut mounts = about.wish.mounts;
    mounts.retain(|mount| mount.kind != MountKind::Tmpfs);
    for mount in &mut mounts {
        if let MountKind::Volume { anonymous, .. } = &mut mount.kind {
            // It goes with the container that it was made for.
            *anonymous = false;
        }
        if read_only {
            mount.options.push("ro".to_owned());
        }
        mount.options.push("nocopy".to_owned());
    }
    Ok(mounts)
}

/// The OCI `mounts` entry.
pub(crate) fn oci(sources: &Sources, mount: &Mount) -> Value {
    let given = mount.options.iter().map(String::as_str);
    let source = match &mount.kind {
        MountKind::Bind(path) => path.clone(),
        MountKind::Volume { name, .. } => sources.get(name).cloned().unwrap_or_default(),
        MountKind::Tmpfs => {
            let mut options = vec!["nosuid", "nodev", "noexec"];
            options.extend(given);
            return json!({"destination": mount.target, "type": "tmpfs", "source": "tmpfs", "options": options});
        }
    };
    let mut options = vec!["rbind"];
    let propagation = |option: &&str| {
        option.ends_with("private") || option.ends_with("shared") || option.ends_with("slave")
    };
    options.push(given.clone().find(propagation).unwrap_or("rprivate"));
    if given.clone().any(|option| matches!(option, "ro" | "rro")) {
        options.push("ro");
    }
    if given.clone().any(|option| option == "rro") {
        options.push("rro");
    }
    json!({"destination": mount.target, "type": "bind", "source": source, "options": options})
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn a_source_with_a_slash_is_a_path_and_any_other_a_volume() {
        let bind = volume_option("/etc/hosts:/h:ro").expect("a mount");
        assert_eq!(bind.kind, MountKind::Bind("/etc/hosts".into()));
        assert_eq!(bind.options, ["ro"]);
        let named = volume_option("data:/data").expect("a mount");
        assert!(matches!(
            named.kind,
            MountKind::Volume {
                anonymous: false,
                ..
            }
        ));
        let bare = volume_option("/data").expect("a mount");
        assert!(matches!(
            bare.kind,
            MountKind::Volume {
                anonymous: true,
                ..
            }
        ));
    }

    #[test]
    fn targets_are_absolute_and_never_the_root() {
        for wrong in [
            "data:data",
            "data:/",
            "data:/a/../b",
            "a:b:c:d",
            "/x:/y:exec",
            "../x",
        ] {
            assert!(volume_option(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn mounts_in_words_are_the_same_mounts() {
        let bind = mount_option("type=bind,source=/etc/hosts,target=/h,readonly").expect("a mount");
        assert_eq!(bind.kind, MountKind::Bind("/etc/hosts".into()));
        assert_eq!(bind.options, ["ro"]);
        let memory = mount_option("type=tmpfs,dst=/t,tmpfs-size=1m").expect("a mount");
        assert_eq!(
            (memory.kind, memory.options),
            (MountKind::Tmpfs, vec!["size=1m".to_owned()])
        );
        let kept = mount_option("src=x,dst=/x,volume-driver=d,volume-opt=a=b=c,volume-nocopy");
        let kept = kept.expect("a mount");
        assert_eq!(kept.options, ["nocopy"]);
        let driver = VolumeDriver {
            name: "d".to_owned(),
            options: BTreeMap::from([("a".to_owned(), "b=c".to_owned())]),
        };
        let kind = MountKind::Volume {
            name: "x".to_owned(),
            anonymous: false,
            driver: Some(driver),
        };
        assert_eq!(kept.kind, kind);
        for wrong in [
            "",
            "type=bind,target=/x",
            "type=tmpfs,source=x,target=/x",
            "type=nfs,source=x,target=/x",
            "type=bind,source=/etc,target=/x,volume-driver=d",
            "source=x,target=/x,volume-opt=novalue",
        ] {
            assert!(mount_option(wrong).is_err(), "{wrong}");
        }
    }
}
