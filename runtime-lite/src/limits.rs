//! The `--memory`, `--cpus`, `--pids`, `--blkio`, `--device` options, and the OCI resources that they become.
//! `wish` and `update` read them, `bundle` writes them.
//! It must never round a limit up.

use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use rustix::fs::{major, minor};
use serde_json::{Map, Value, json};

use crate::cli;
use crate::container::{Blkio, Device, Resources};
use crate::error::{Error, Result};
use crate::units;

/// The period of processor limits, in microseconds: the kernel's default.
const PERIOD: u64 = 100_000;

fn refuse(given: &str, rule: &'static str) -> Error {
    Error::BadValue {
        given: given.to_owned(),
        rule,
    }
}

/// What the options ask for.
pub(crate) fn resources(asked: &cli::Usage) -> Result<Resources> {
    // Docker's words for the same.
    let words = [
        ("rbps", &asked.device_read_bps),
        ("wbps", &asked.device_write_bps),
        ("riops", &asked.device_read_iops),
        ("wiops", &asked.device_write_iops),
    ];
    let mut given = asked.blkio.clone();
    given.extend(
        asked
            .blkio_weight
            .iter()
            .map(|weight| format!("weight={weight}")),
    );
    for (key, rates) in words {
        given.extend(rates.iter().map(|rate| format!("{key}={rate}")));
    }
    let blkio = given.iter().map(|given| blkio(given));
    Ok(Resources {
        memory: asked.memory.as_deref().map(units::bytes).transpose()?,
        millicpus: asked.cpus.as_deref().map(units::millicpus).transpose()?,
        pids: asked.pids,
        blkio: blkio.collect::<Result<_>>()?,
    })
}

fn blkio(given: &str) -> Result<Blkio> {
    let form = "is not of the form weight=N, rbps=DEVICE:N, wbps=, riops= or wiops=";
    let (key, value) = given.split_once('=').ok_or_else(|| refuse(given, form))?;
    let key = match key {
        "weight" => {
            let value = value
                .parse()
                .ok()
                .filter(|weight| (10..=1000).contains(weight));
            return Ok(Blkio {
                key: "weight".to_owned(),
                device: None,
                value: value.ok_or_else(|| refuse(given, "has a weight outside 10 to 1000"))?,
            });
        }
        "rbps" => "throttleReadBpsDevice",
        "wbps" => "throttleWriteBpsDevice",
        "riops" => "throttleReadIOPSDevice",
        "wiops" => "throttleWriteIOPSDevice",
        _ => return Err(refuse(given, form)),
    };
    let (path, rate) = value.rsplit_once(':').ok_or_else(|| refuse(given, form))?;
    let about = Path::new(path)
        .metadata()
        .map_err(Error::file("find the device", path))?;
    if !about.file_type().is_block_device() {
        return Err(refuse(given, "names no block device"));
    }
    Ok(Blkio {
        key: key.to_owned(),
        device: Some((major(about.rdev()).into(), minor(about.rdev()).into())),
        value: units::bytes(rate)?,
    })
}

/// The devices that `--device PATH[:TARGET][:ACCESS]` names.
pub(crate) fn devices(given: &[String]) -> Result<Vec<Device>> {
    given.iter().map(|one| device(one)).collect()
}

fn device(given: &str) -> Result<Device> {
    let parts: Vec<&str> = given.split(':').collect();
    let is_access = |text: &str| !text.is_empty() && text.chars().all(|c| "rwm".contains(c));
    let (path, inside, access) = match parts.as_slice() {
        [path] => (*path, *path, "rwm"),
        [path, last] if is_access(last) => (*path, *path, *last),
        [path, inside] => (*path, *inside, "rwm"),
        [path, inside, access] if is_access(access) => (*path, *inside, *access),
        _ => return Err(refuse(given, "is not of the form PATH[:TARGET][:rwm]")),
    };
    let about = Path::new(path)
        .metadata()
        .map_err(Error::file("find the device", path))?;
    let kind = match about.file_type() {
        kind if kind.is_char_device() => "c",
        kind if kind.is_block_device() => "b",
        _ => return Err(refuse(given, "is not a device")),
    };
    let inside = PathBuf::from(inside);
    if !inside.is_absolute() {
        return Err(refuse(given, "has a target that is not absolute"));
    }
    Ok(Device {
        path: inside,
        kind: kind.to_owned(),
        major: major(about.rdev()).into(),
        minor: minor(about.rdev()).into(),
        mode: about.mode() & 0o7777,
        access: access.to_owned(),
    })
}

/// The OCI `linux.devices` entries.
pub(crate) fn oci_devices(devices: &[Device]) -> Vec<Value> {
    let one = |device: &Device| {
        json!({
            "path": device.path, "type": device.kind, "major": device.major, "minor": device.minor,
            "fileMode": device.mode, "uid": 0, "gid": 0,
        })
    };
    devices.iter().map(one).collect()
}

/// The OCI `linux.resources` object, with the rules for these devices.
pub(crate) fn oci(resources: &Resources, device_rules: Vec<Value>) -> Value {
    let mut document = json!({"devices": device_rules});
    if let Some(bytes) = resources.memory {
        // As with Docker, as much swap again.
        document["memory"] = json!({"limit": bytes, "swap": bytes.saturating_mul(2)});
    }
    if let Some(millicpus) = resources.millicpus {
        document["cpu"] = json!({"quota": millicpus * PERIOD / 1_000, "period": PERIOD});
    }
    if let Some(limit) = resources.pids {
        document["pids"] = json!({"limit": limit});
    }
    if !resources.blkio.is_empty() {
        document["blockIO"] = Value::Object(oci_blkio(&resources.blkio));
    }
    document
}

fn oci_blkio(limits: &[Blkio]) -> Map<String, Value> {
    let mut document = Map::new();
    for limit in limits {
        match limit.device {
            None => drop(document.insert(limit.key.clone(), limit.value.into())),
            Some((major, minor)) => {
                let entry = json!({"major": major, "minor": minor, "rate": limit.value});
                let list = document
                    .entry(limit.key.clone())
                    .or_insert_with(|| json!([]));
                if let Value::Array(list) = list {
                    list.push(entry);
                }
            }
        }
    }
    document
}

/// The rules that let the container use these devices.
pub(crate) fn rules(devices: &[Device]) -> Vec<Value> {
    let one = |device: &Device| {
        json!({
            "allow": true, "type": device.kind, "major": device.major, "minor": device.minor,
            "access": device.access,
        })
    };
    devices.iter().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_become_what_the_specification_calls_them() {
        let wish = Resources {
            memory: Some(64 << 20),
            millicpus: Some(500),
            pids: Some(7),
            blkio: vec![blkio("weight=100").expect("a weight")],
        };
        let document = oci(&wish, vec![]);
        assert_eq!(
            document["memory"],
            json!({"limit": 64 << 20, "swap": 128 << 20})
        );
        assert_eq!(document["cpu"], json!({"quota": 50_000, "period": 100_000}));
        assert_eq!(document["pids"]["limit"], 7);
        assert_eq!(document["blockIO"]["weight"], 100);
    }

    #[test]
    fn a_device_has_a_target_and_access() {
        let plain = device("/dev/null").expect("a device");
        assert_eq!((plain.kind.as_str(), plain.major, plain.minor), ("c", 1, 3));
        let other = device("/dev/null:/dev/nothing:r").expect("a device");
        assert_eq!(
            (other.path, other.access.as_str()),
            ("/dev/nothing".into(), "r")
        );
        for wrong in ["/etc/passwd", "/dev/null:x", "/dev/null:/x:q", "/nowhere"] {
            assert!(device(wrong).is_err(), "{wrong}");
        }
    }
}
