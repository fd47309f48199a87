//! `wharf commit`: an image of what a container has written, with what it was told on its command line.
//! `main` calls it; the image is made by the crate wharf-image.
//! It must never leave the container standing still, nor changed.

use std::path::Path;

use wharf_image::{Change, Name, Packed, Store, Words};
use wharf_protocol::{clock, event};

use crate::container::life::Life;
use crate::container::{self, Container, Folder, MountKind};
use crate::error::Result;
use crate::freezer::Frozen;
use crate::home::Home;
use crate::image::{Bar, say_freed};
use crate::{cli, output, root};

/// Makes the image, and prints its id.
pub(crate) fn commit(home: &Home, asked: &cli::Commit) -> Result<()> {
    let name = Name::parse(&asked.image)?;
    let further = Change::parse_all(asked.change.iter().map(String::as_str))?;
    let (_, folder) = container::find(home, &asked.container)?;
    // Nobody starts, stops or removes it meanwhile.
    let _claim = folder.claim(&asked.container)?;
    let about = folder.container()?;
    let mut changes = own(&about);
    changes.extend(further);
    let words = Words {
        created: clock::rfc3339(clock::now()),
        container: about.name.clone(),
        author: asked.author.clone(),
        message: asked.message.clone(),
        changes,
    };
    let store = Store::new(home.lib());
    let mut bar = Bar::on_terminal();
    let frozen = pause(&folder, asked.pause)?;
    let packed = match root::of(home, &about)? {
        Some(root) => Packed::of_root(&store, &root, &mut bar),
        None => Packed::of_folder(&store, Path::new(&about.wish.rootfs), &mut bar),
    };
    drop(frozen);
    let made = packed.and_then(|packed| packed.publish(&store, &name, &words));
    bar.clear();
    let made = made?;
    for socket in &made.left_out {
        output::warn(&format!("{socket} is a socket, which no image holds"));
    }
    output::print(&format!("{}\n", made.id));
    say_freed(&made.freed);
    event::tell(home.run(), about.id.as_str(), "commit", name.as_str());
    Ok(())
}

/// Holds the container still, if it runs and that is wished.
fn pause(folder: &Folder, wished: bool) -> Result<Option<Frozen>> {
    let runs = matches!(folder.life()?, Life::Running);
    let pid = folder.status()?.map(|status| status.pid);
    match pid.filter(|_| runs && wished) {
        Some(pid) => Frozen::freeze(folder, pid).map(Some),
        None => Ok(None),
    }
}

/// What the container has otherwise than its image, because its command line said so (Docker's rule for a commit).
fn own(about: &Container) -> Vec<Change> {
    let process = &about.wish.process;
    let (entrypoint, command) = process
        .command
        .split_at(process.entrypoint_words.min(process.command.len()));
    let mut changes = vec![
        Change::Entrypoint(entrypoint.to_vec()),
        Change::Cmd(command.to_vec()),
        Change::Environment(process.env.clone()),
    ];
    changes.extend(process.user.clone().map(Change::User));
    let workdir = process.workdir.as_ref();
    changes.extend(workdir.map(|path| Change::Workdir(path.display().to_string())));
    changes.extend(process.stop_signal.clone().map(Change::StopSignal));
    changes.extend(about.wish.exposed.iter().cloned().map(Change::Expose));
    let labels = about.wish.labels.iter();
    changes.extend(labels.map(|(key, value)| Change::Label(key.clone(), value.clone())));
    let unnamed = about
        .wish
        .mounts
        .iter()
        .filter(|mount| matches!(mount.kind, MountKind::Volume { anonymous, .. } if anonymous));
    changes.extend(unnamed.map(|mount| Change::Volume(mount.target.display().to_string())));
    changes
}
