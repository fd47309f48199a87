//! `wharf volume`: what is made, shown and removed by name.
//! `main` calls it.
//! It must never remove a volume that a container mounts, running or not.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::driver::Driver;
use super::operations;
use super::{
    LOCAL, all, checked_name, chosen_driver, driver_of, make_by, path, remove, unmet, usual_driver,
};
use crate::container::{self, Container, MountKind, VolumeDriver};
use crate::error::{Error, Result};
use crate::home::Home;
use crate::output::{self, Table};
use crate::{cli, format};

/// Does what was asked.
pub(crate) fn run(home: &Home, command: cli::Volumes) -> Result<()> {
    if let Some(socket) = &command.socket {
        return operations::by_socket(home, socket, command.word);
    }
    match command.word {
        cli::Volume::Create { name, driver, opt } => create(home, name, driver, &opt),
        cli::Volume::Ls {
            driver: None,
            output,
        } => ls(home, output.json),
        cli::Volume::Ls {
            driver: Some(driver),
            output,
        } => ls_of(home, &driver, output.json),
        cli::Volume::Inspect { volumes, format } => inspect(home, &volumes, format.as_deref()),
        cli::Volume::Rm { volumes } => rm(home, &volumes),
        cli::Volume::Operation(operation) => operations::by_driver(home, operation),
    }
}

fn create(
    home: &Home,
    name: Option<String>,
    driver: Option<String>,
    options: &[String],
) -> Result<()> {
    let name = match name {
        Some(name) => checked_name(&name)?,
        None => container::new_id()?.to_string(),
    };
    let options = options_of(options)?;
    let asked = match (driver, options.is_empty()) {
        (Some(name), _) => Some(VolumeDriver { name, options }),
        (None, true) => None,
        (None, false) => Some(VolumeDriver {
            options,
            ..usual_driver()
        }),
    };
    match chosen_driver(home, &name, asked)? {
        Some(wish) => {
            let driver = Driver::find(home, &wish.name)?;
            make_by(home, &driver, &name, &wish)?;
        }
        None => {
            let path = path(home, &name);
            std::fs::create_dir_all(&path).map_err(Error::file("create", path))?;
        }
    }
    output::print(&format!("{name}\n"));
    Ok(())
}

/// `KEY=VALUE` each.
pub(crate) fn options_of(given: &[String]) -> Result<BTreeMap<String, String>> {
    let pair = |given: &String| match given.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err(Error::BadValue {
            given: given.clone(),
            rule: "is not of the form KEY=VALUE",
        }),
    };
    given.iter().map(pair).collect()
}

/// Each with its driver and the containers that mount it.
fn ls(home: &Home, as_json: bool) -> Result<()> {
    let mut documents = Vec::new();
    let mut table = Table::new(&["VOLUME", "DRIVER", "CONTAINERS"]);
    for name in all(home)? {
        let users = users(home, &name)?;
        let driver = driver_of(home, &name)?;
        let driver = driver.map_or(LOCAL.to_owned(), |driver| driver.name);
        let path = (driver == LOCAL).then(|| path(home, &name));
        documents.push(json!({"name": name, "driver": driver, "path": path, "containers": users}));
        table.row(vec![name, driver, users.join(" ")]);
    }
    match as_json {
        true => output::print_json(&Value::Array(documents)),
        false => output::print(&table.render()),
    }
    Ok(())
}

/// What a driver has, also for others than wharf.
fn ls_of(home: &Home, driver: &str, as_json: bool) -> Result<()> {
    if operations::ls(home, driver, as_json)? {
        return Ok(());
    }
    let names = Driver::find(home, driver)?.list()?;
    if as_json {
        let documents = names
            .iter()
            .map(|name| json!({"name": name, "driver": driver}));
        output::print_json(&documents.collect());
        return Ok(());
    }
    let mut table = Table::new(&["VOLUME", "DRIVER"]);
    for name in names {
        table.row(vec![name, driver.to_owned()]);
    }
    output::print(&table.render());
    Ok(())
}

fn inspect(home: &Home, names: &[String], template: Option<&str>) -> Result<()> {
    let mut documents = Vec::new();
    for name in names {
        documents.push(document(home, name)?);
    }
    match template {
        None => output::print_json(&Value::Array(documents)),
        Some(template) => {
            for document in &documents {
                output::print(&format!("{}\n", format::fill(template, document)?));
            }
        }
    }
    Ok(())
}

fn document(home: &Home, name: &str) -> Result<Value> {
    let wish = match home.volumes().join(checked_name(name)?).is_dir() {
        true => driver_of(home, name)?,
        false => Some(unmet(home, name)?.ok_or_else(|| Error::NoSuchVolume(name.to_owned()))?),
    };
    let containers = users(home, name)?;
    let Some(wish) = wish else {
        let path = path(home, name);
        return Ok(json!({"name": name, "driver": LOCAL, "path": path, "containers": containers}));
    };
    let driver = Driver::find(home, &wish.name)?;
    let said = driver.get(name)?;
    let path = match said["Mountpoint"].as_str() {
        Some(path) if !path.is_empty() => path.to_owned(),
        _ => driver.path(name)?,
    };
    Ok(json!({
        "name": name,
        "driver": wish.name,
        "options": wish.options,
        "path": path,
        "status": said["Status"],
        "containers": containers,
    }))
}

fn rm(home: &Home, names: &[String]) -> Result<()> {
    for name in names {
        if !home.volumes().join(checked_name(name)?).is_dir() {
            remove_unmet(home, name)?;
            output::print(&format!("{name}\n"));
            continue;
        }
        let containers = users(home, name)?;
        if !containers.is_empty() {
            let name = name.clone();
            return Err(Error::VolumeInUse { name, containers });
        }
        remove(home, name)?;
        output::print(&format!("{name}\n"));
    }
    Ok(())
}

/// What wharf has not met: a volume of our driver, or a part of one that has come from another host.
fn remove_unmet(home: &Home, name: &str) -> Result<()> {
    match unmet(home, name)? {
        Some(driver) => Driver::find(home, &driver.name)?.remove(name),
        None if operations::abandon_by_default(name)? => Ok(()),
        None => Err(Error::NoSuchVolume(name.to_owned())),
    }
}

pub(super) fn users(home: &Home, volume: &str) -> Result<Vec<String>> {
    let mounts = |about: &Container| {
        let mut all = about.wish.mounts.iter();
        all.any(|mount| matches!(&mount.kind, MountKind::Volume { name, .. } if name == volume))
    };
    let all = container::all(home)?.into_iter().map(|(about, _)| about);
    Ok(all.filter(mounts).map(|about| about.name).collect())
}
