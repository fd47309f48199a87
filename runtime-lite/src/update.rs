//! `wharf update`: other limits and another restart policy for containers, at once for those that run.
//! `main` calls it; the shim's binary changes the control groups.
//! It must never forget a limit that was not named.

use std::fs;

use serde_json::Value;
use wharf_protocol::{event, file, write_atomically};

use crate::container::life::Life;
use crate::container::{self, Folder, Resources};
use crate::error::{Error, Result};
use crate::home::Home;
use crate::{cli, limits, output, shim, wish};

/// Changes each of the containers.
pub(crate) fn update(home: &Home, asked: &cli::Update) -> Result<()> {
    let wanted = limits::resources(&asked.usage)?;
    let restart = asked.restart.as_deref().map(wish::restart).transpose()?;
    for name in &asked.containers {
        let (_, folder) = container::find(home, name)?;
        let _claim = folder.claim(name)?;
        let mut about = folder.container()?;
        merge(&mut about.wish.limits.resources, &wanted);
        if let Some(restart) = restart {
            about.wish.orders.restart = restart;
        }
        if folder.life()? == Life::Running || folder.life()? == Life::Restarting {
            apply(&folder, &about.wish.limits.resources)?;
        }
        folder.rewrite(&about)?;
        let policy = wish::show_restart(about.wish.orders.restart);
        event::tell(
            home.run(),
            about.id.as_str(),
            "update",
            &format!("restart={policy}"),
        );
        output::print(&format!("{name}\n"));
    }
    Ok(())
}

fn merge(now: &mut Resources, wanted: &Resources) {
    now.memory = wanted.memory.or(now.memory);
    now.millicpus = wanted.millicpus.or(now.millicpus);
    now.pids = wanted.pids.or(now.pids);
    for limit in &wanted.blkio {
        now.blkio
            .retain(|other| (&other.key, other.device) != (&limit.key, limit.device));
        now.blkio.push(limit.clone());
    }
}

/// Writes the limits into the bundle, for the next start as well, and has them applied.
fn apply(folder: &Folder, resources: &Resources) -> Result<()> {
    let path = folder.path().join(file::BUNDLE);
    let text = fs::read(&path).map_err(Error::file("read", &path))?;
    let mut bundle: Value = serde_json::from_slice(&text).map_err(|source| Error::Malformed {
        path: path.clone(),
        source,
    })?;
    let devices = bundle["linux"]["resources"]["devices"].clone();
    let devices = devices.as_array().cloned().unwrap_or_default();
    bundle["linux"]["resources"] = limits::oci(resources, devices);
    write_atomically(&path, bundle.to_string().as_bytes()).map_err(Error::file("write", path))?;
    shim::helper("limit", folder)
}
