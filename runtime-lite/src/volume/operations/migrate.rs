//! A volume goes to another host: here its driver is given an ssh to talk by, there `receive` gives its own driver what
//! comes in. `operations` calls both.
//! It must never remove anything itself: the driver does, once the other one has said that all is there.

use std::fs::File;
use std::io::{self, Read, Write};
use std::thread;

use clap::Args;
use serde_json::{Value, json};
use wharfline_spec::docker::migration::{Moved, Offer, Receive, Reply, Send, Sent};

use super::archive::{by_descriptor, pipe};
use super::ssh::Destination;
use super::{Server, forget, options_of, users};
use crate::cli::Json;
use crate::error::{Error, Result};
use crate::home::Home;
use crate::image::size;
use crate::output;

/// Most bytes of the first line.
const LONGEST_LINE: usize = 1 << 20;

/// `wharf volume migrate`.
#[derive(Debug, Args)]
#[command(after_help = "\
    Runs `wharf volume receive` on HOST by ssh, with your ssh_config. The volume must not be in use; it is removed here when\n\
    HOST has said that it has all of it, compared by checksum and on its disk. Interrupted, both sides stay as they are:\n\
    the same command goes on where it was. There, `wharf volume ls -d wharf-volume` shows what has come, and `wharf volume rm`\n\
    gives it up. Exit status: 0 it is there, 1 it is not, 2 wrong use.\n\n\
    Examples:\n  \
    wharf volume migrate data other\n  \
    wharf volume migrate data root@192.0.2.7 --name data2 -o size=20G -o type=\n  \
    wharf volume migrate data other --keep --ssh-option Port=2222")]
pub(crate) struct Migrate {
    pub(super) volume: String,
    /// As ssh takes it: a name of ssh_config, USER@HOST, ssh://USER@HOST:PORT.
    host: String,
    /// Its name there [default: the same].
    #[arg(long, value_name = "NEW")]
    name: Option<String>,
    /// An option of the volume there that replaces its own; KEY= drops one; can be repeated.
    #[arg(short, long, value_name = "KEY=VALUE")]
    opt: Vec<String>,
    /// Copy it: it stays here, and may be in use where a snapshot is taken at once (btrfs, loop).
    #[arg(long)]
    keep: bool,
    /// Let its snapshots go, which are not sent.
    #[arg(long)]
    drop_snapshots: bool,
    /// An option of ssh_config; can be repeated.
    #[arg(long, value_name = "KEY=VALUE")]
    ssh_option: Vec<String>,
    /// The program on HOST.
    #[arg(long, value_name = "PATH", default_value = "wharf")]
    remote_wharf: String,
    #[command(flatten)]
    output: Json,
}

pub(super) fn migrate(home: &Home, server: &Server, asked: Migrate) -> Result<()> {
    let containers = users(home, &asked.volume)?;
    if !asked.keep && !containers.is_empty() {
        let name = asked.volume;
        return Err(Error::VolumeInUse { name, containers });
    }
    let opt = options_of(&asked.opt)?;
    // Before anybody is asked for a password.
    super::describe(server, &asked.volume)?;
    let destination = Destination {
        host: &asked.host,
        options: &asked.ssh_option,
        wharf: &asked.remote_wharf,
    };
    let ssh = destination.connect()?;
    let new = asked.name.clone().unwrap_or_else(|| asked.volume.clone());
    let send = Send {
        name: asked.volume.clone(),
        new: new.clone(),
        options: opt,
        keep: asked.keep,
        drop_snapshots: asked.drop_snapshots,
        input: by_descriptor(&ssh.pipes.0),
        output: by_descriptor(&ssh.pipes.1),
    };
    let sent = match server.work_for("Send", "send", &send) {
        Ok(sent) => sent,
        Err(error) => {
            ssh.stop();
            return Err(error);
        }
    };
    let ended = ssh.end();
    let failed = |said: String| Error::Migration {
        volume: asked.volume.clone(),
        host: asked.host.clone(),
        said,
    };
    let sent: Sent = serde_json::from_value(sent).map_err(|e| failed(e.to_string()))?;
    match sent {
        Sent::Moved(moved) => {
            if moved.removed {
                forget(home, &asked.volume)?;
            }
            show(&asked, &new, &moved);
            Ok(())
        }
        Sent::Refused(why) => Err(failed(format!("it says: {why}"))),
        Sent::Cut(doing) => Err(failed(format!(
            "the connection ended while {doing}: {}; run it again, it goes on",
            ended.told(&asked.host)
        ))),
    }
}

fn show(asked: &Migrate, new: &str, moved: &Moved) {
    if asked.output.json {
        output::print_json(&json!({
            "volume": asked.volume,
            "host": asked.host,
            "name": new,
            "bytes": moved.bytes,
            "files": moved.files,
            "sent": moved.sent,
            "resumed": moved.resumed,
            "digest": moved.digest,
            "removed": moved.removed,
        }));
        return;
    }
    let here = match moved.removed {
        true => "removed here",
        false => "kept here",
    };
    output::print(&format!(
        "{new}\n{} in {} files and folders at {}, compared; {} sent now; {here}\n",
        size(moved.bytes),
        moved.files,
        asked.host,
        size(moved.sent),
    ));
}

/// The other side: gives the driver what comes in, and says what becomes of it. Standard output is the other side's to read.
pub(super) fn receive(server: Result<Server>) -> Result<()> {
    let mut stdout = io::stdout();
    let (reply, failed) = match server.and_then(|server| receive_by(&server)) {
        Ok(reply) => (reply, None),
        Err(error) => (json!(Reply::Failed(error.chain())), Some(error)),
    };
    let said = stdout
        .write_all(format!("{reply}\n").as_bytes())
        .and_then(|()| stdout.flush());
    match failed {
        Some(error) => Err(error),
        None => said.map_err(Error::file("write", "standard output")),
    }
}

fn receive_by(server: &Server) -> Result<Value> {
    let offer: Offer = serde_json::from_slice(&first_line()?).map_err(|_| Error::BadValue {
        given: "standard input".to_owned(),
        rule: "offers no volume: `wharf volume migrate` on another host starts this by ssh",
    })?;
    let (theirs_in, ours_out) = pipe()?;
    let (ours_in, theirs_out) = pipe()?;
    let asked = Receive {
        offer,
        input: by_descriptor(&theirs_in),
        output: by_descriptor(&theirs_out),
    };
    // Not waited for: where the driver refuses, nobody reads the rest of what comes in.
    thread::spawn(move || copy(io::stdin(), File::from(ours_out)));
    let answering = thread::spawn(move || copy(File::from(ours_in), io::stdout()));
    let received = server.work_for("Receive", "receive", &asked);
    drop((theirs_in, theirs_out));
    // What the driver said goes out before what became of it.
    let _ = answering.join();
    received
}

fn copy(mut from: impl Read, mut to: impl Write) -> io::Result<()> {
    let mut piece = vec![0; 64 << 10];
    loop {
        match from.read(&mut piece)? {
            0 => return Ok(()),
            read => {
                to.write_all(piece.get(..read).unwrap_or_default())?;
                to.flush()?;
            }
        }
    }
}

/// And not a byte more.
fn first_line() -> Result<Vec<u8>> {
    let mut line = Vec::new();
    let mut stdin = io::stdin();
    let mut byte = [0];
    while line.len() < LONGEST_LINE {
        let read = stdin.read(&mut byte);
        match read.map_err(Error::file("read", "standard input"))? {
            0 => break,
            _ if byte == *b"\n" => break,
            _ => line.push(byte[0]),
        }
    }
    Ok(line)
}
