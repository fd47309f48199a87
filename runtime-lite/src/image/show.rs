//! `wharf image ls` and `inspect`: the images of the store, for people and for scripts.
//! `image` calls it.
//! It must never show what the store does not say.

use serde_json::{Value, json};
use wharf_image::{Image, Root, Store};

use super::size;
use crate::container::{self, Container};
use crate::error::Result;
use crate::home::Home;
use crate::output::{self, Table};
use crate::{cli, format};

/// How a list is shown.
#[derive(Debug, clap::Args)]
pub(crate) struct Ls {
    /// Ids only.
    #[arg(short, long)]
    quiet: bool,
    /// Print this for each, with {{.Field}} replaced; `json` for a line of JSON each.
    #[arg(long)]
    format: Option<String>,
    #[command(flatten)]
    output: cli::Json,
}

/// `wharf image ls`.
pub(super) fn ls(store: &Store, asked: &Ls) -> Result<()> {
    let images = store.list()?;
    if asked.output.json {
        output::print_json(&images.iter().map(document).collect());
    } else if let Some(template) = &asked.format {
        for image in &images {
            let text = format::fill(template, &fields(image))?;
            output::print(&format!("{text}\n"));
        }
    } else if asked.quiet {
        for image in &images {
            output::print(&format!("{}\n", image.id.short()));
        }
    } else {
        output::print(&table(images).render());
    }
    Ok(())
}

fn table(images: Vec<Image>) -> Table {
    let mut table = Table::new(&["NAME", "ID", "LAYERS", "SIZE", "CREATED"]);
    for image in images {
        table.row(vec![
            image.name.to_string(),
            image.id.short().to_owned(),
            image.layers.len().to_string(),
            size(image.bytes),
            image.created.unwrap_or_default(),
        ]);
    }
    table
}

/// What `--format` knows: the columns, and with them what `--json` has.
fn fields(image: &Image) -> Value {
    let mut fields = document(image);
    fields["id"] = json!(image.id.short());
    fields["size"] = json!(size(image.bytes));
    let (name, tag) = split(image.name.as_str());
    fields["repository"] = json!(name);
    fields["tag"] = json!(tag);
    fields
}

/// A tag follows the last colon: that of a port is followed by a slash.
fn split(name: &str) -> (&str, &str) {
    match name.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') => (name, tag),
        _ => (name, ""),
    }
}

/// `wharf image inspect`.
pub(super) fn inspect(
    home: &Home,
    store: &Store,
    (images, template): (&[String], Option<&str>),
) -> Result<()> {
    let mut documents = Vec::new();
    for wanted in images {
        let image = store.find(wanted)?;
        let mut document = document(&image);
        document["names"] = names(store, &image)?;
        document["containers"] = containers(home, store, &image)?;
        documents.push(document);
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

fn names(store: &Store, image: &Image) -> Result<Value> {
    let all = store.list()?.into_iter();
    let same = all.filter(|other| other.id == image.id);
    Ok(same.map(|other| json!(other.name)).collect())
}

/// The containers over it, by name.
fn containers(home: &Home, store: &Store, image: &Image) -> Result<Value> {
    let roots = Root::all(store)?;
    let is_over = |about: &Container| {
        let mut over = roots.iter().filter(|root| *root.image() == image.id);
        over.any(|root| root.id() == about.id.as_str())
    };
    let known = container::all(home)?.into_iter();
    let over = known.filter(|(about, _)| is_over(about));
    Ok(over.map(|(about, _)| json!(about.name)).collect())
}

fn document(image: &Image) -> Value {
    let defaults = &image.defaults;
    let check = defaults.healthcheck.as_ref().map(|check| {
        json!({
            "test": check.test,
            "intervalNanoseconds": check.interval,
            "timeoutNanoseconds": check.timeout,
            "startPeriodNanoseconds": check.start_period,
            "retries": check.retries,
        })
    });
    json!({
        "name": image.name,
        "id": image.id,
        "layers": image.layers,
        "bytes": image.bytes,
        "created": image.created,
        "author": image.author,
        "architecture": image.architecture,
        "env": defaults.env,
        "entrypoint": defaults.entrypoint,
        "command": defaults.cmd,
        "user": defaults.user,
        "workdir": defaults.working_dir,
        "volumes": defaults.volumes,
        "exposedPorts": defaults.exposed_ports,
        "labels": defaults.labels,
        "stopSignal": defaults.stop_signal,
        "healthcheck": check,
    })
}

#[cfg(test)]
mod tests {
    use super::split;

    #[test]
    fn a_port_is_no_tag() {
        assert_eq!(split("host:5000/app:1"), ("host:5000/app", "1"));
        assert_eq!(split("host:5000/app"), ("host:5000/app", ""));
    }
}
