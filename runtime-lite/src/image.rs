//! `wharf image`: the words of the command line, and what they print.
//! `main` calls it; the work is in the crate wharf-image, docs/images.md describes it.
//! It must never touch the store but through that crate.

mod progress;
mod show;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use clap::Subcommand;
use wharf_image::{Freed, Limits, Name, Store, Wish};

use crate::container;
use crate::error::{Error, Result};
use crate::home::Home;
use crate::output;
pub(crate) use progress::Bar;
use wharf_protocol::clock;

/// `wharf image`.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Import the images of an archive, or a root filesystem.
    #[command(after_help = "\
        FILE is what `docker save` or `podman save` wrote, a folder or an archive in OCI's image layout, or a tar archive\n\
        of a root filesystem; as it is, or compressed by gzip or zstd.\n\n\
        Examples:\n  \
        wharf image import busybox.tar\n  \
        wharf image import rootfs.tar.zst --name my/base:1")]
    Import {
        /// The archive, or a folder in OCI's layout.
        file: PathBuf,
        /// The image's name [default: as the archive says, else the file's].
        #[arg(long, value_name = "NAME[:TAG]")]
        name: Option<String>,
        /// The most bytes that one layer may have, unpacked.
        #[arg(long, value_name = "BYTES", default_value_t = Limits::default().layer_bytes)]
        max_layer: u64,
    },
    /// List images.
    #[command(after_help = "Examples:\n  \
        wharf image ls --format '{{.Name}} {{.ID}} {{.Size}}'\n  \
        wharf image ls --json")]
    Ls(show::Ls),
    /// Show all about images, as JSON: what they give containers, their layers, the containers over them.
    Inspect {
        /// Their names, or beginnings of their ids.
        #[arg(required = true)]
        images: Vec<String>,
        /// Print this, with {{.Path.Of.Keys}} replaced.
        #[arg(short, long)]
        format: Option<String>,
    },
    /// Remove images; layers go when neither another image nor a container uses them.
    Rm {
        /// Their names, or beginnings of their ids.
        #[arg(required = true)]
        images: Vec<String>,
    },
    /// Write an image to a file that docker, podman and skopeo read: docker's archive and OCI's layout at once.
    Export {
        /// Its name, or the beginning of its id.
        image: String,
        /// The file; `-` for stdout.
        file: PathBuf,
    },
}

/// Does what was asked.
pub(crate) fn run(home: &Home, command: Command) -> Result<()> {
    let store = Store::new(home.lib());
    match command {
        Command::Import {
            file,
            name,
            max_layer,
        } => import(&store, &file, name.as_deref(), max_layer),
        Command::Ls(asked) => show::ls(&store, &asked),
        Command::Inspect { images, format } => {
            show::inspect(home, &store, (&images, format.as_deref()))
        }
        Command::Rm { images } => images.iter().try_for_each(|image| rm(home, &store, image)),
        Command::Export { image, file } => export(&store, &image, &file),
    }
}

fn import(store: &Store, file: &Path, name: Option<&str>, max_layer: u64) -> Result<()> {
    let wish = Wish {
        name: name.map(Name::parse).transpose()?,
        created: clock::rfc3339(modified(file)?),
        limits: Limits {
            layer_bytes: max_layer,
            ..Limits::default()
        },
    };
    let mut bar = Bar::on_terminal();
    let imported = wharf_image::import(store, file, &wish, &mut bar);
    bar.clear();
    let imported = imported?;
    for image in &imported.images {
        for name in &image.names {
            let (id, layers) = (image.id.short(), image.layers);
            output::print(&format!("{name} {id}, {}\n", counted(layers, "layer")));
        }
    }
    say_freed(&imported.freed);
    Ok(())
}

/// A root filesystem is as old as its archive: the same file gives the same image.
fn modified(file: &Path) -> Result<u64> {
    let about = fs::metadata(file).map_err(Error::file("find", file))?;
    let time = about.modified().map_err(Error::file("look at", file))?;
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    Ok(since.as_secs())
}

fn rm(home: &Home, store: &Store, image: &str) -> Result<()> {
    let (name, freed) = store
        .remove(image)
        .map_err(|error| with_names(home, error))?;
    output::print(&format!("removed {name}\n"));
    say_freed(&freed);
    Ok(())
}

/// The store knows containers by id; people know their names.
fn with_names(home: &Home, error: wharf_image::Error) -> Error {
    let wharf_image::Error::InUse { image, containers } = error else {
        return error.into();
    };
    let known = container::all(home).unwrap_or_default();
    let name_of = |id: String| {
        let mut known = known.iter();
        let found = known.find(|(about, _)| about.id.as_str() == id);
        found.map_or(id, |(about, _)| about.name.clone())
    };
    let containers = containers.into_iter().map(name_of).collect();
    wharf_image::Error::InUse { image, containers }.into()
}

pub(crate) fn say_freed(freed: &Freed) {
    if freed.layers > 0 {
        let layers = counted(freed.layers, "layer");
        output::print(&format!("freed {layers}, {}\n", size(freed.bytes)));
    }
}

fn export(store: &Store, image: &str, file: &Path) -> Result<()> {
    match file == Path::new("-") {
        true => drop(wharf_image::export(
            store,
            image,
            &mut std::io::stdout().lock(),
        )?),
        false => drop(wharf_image::export_to(store, image, file)?),
    }
    Ok(())
}

fn counted(count: usize, what: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {what}{plural}")
}

/// Bytes for people, in decimal units as `docker images` has them.
pub(crate) fn size(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["kB", "MB", "GB", "TB"];
    let (mut whole, mut tenths, mut unit) = (bytes, 0, "B");
    for next in UNITS {
        if whole < 1000 {
            break;
        }
        (tenths, whole, unit) = (whole % 1000 / 100, whole / 1000, next);
    }
    match unit {
        "B" => format!("{whole} B"),
        _ => format!("{whole}.{tenths} {unit}"),
    }
}

#[cfg(test)]
mod tests {
    use super::size;

    #[test]
    fn sizes_are_told_in_decimal_units() {
        let told = [0, 999, 1000, 4_261_550, 77_000_000_000].map(size);
        assert_eq!(told, ["0 B", "999 B", "1.0 kB", "4.2 MB", "77.0 GB"]);
    }
}
