//! A volume's files as a tar archive: the driver reads and writes the file itself; standard input and output reach it
//! by a pipe. `operations` calls it.
//! It must never pass a path that means something else to the driver: it is absolute.

use std::fs::File;
use std::io::{self, IsTerminal, Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;
use std::thread;

use rustix::pipe::{PipeFlags, pipe_with};
use wharfline_spec::docker::volume::Archive;

use super::{Options, Server};
use crate::error::{Error, Result};

/// Standard input or output.
const STANDARD: &str = "-";

pub(super) fn export(server: &Server, name: String, output: &str, live: bool) -> Result<()> {
    let asked = |path| Archive {
        name,
        path,
        options: Options::new(),
        live,
    };
    if output != STANDARD {
        return server.work("Export", "export", &asked(absolute(output)?));
    }
    if io::stdout().is_terminal() {
        return Err(Error::BadValue {
            given: "standard output".to_owned(),
            rule: "is a terminal: name a file with --output",
        });
    }
    let (reader, writer) = pipe()?;
    let path = by_descriptor(&writer);
    let copying = thread::spawn(move || copy(File::from(reader), io::stdout()));
    let exported = server.work("Export", "export", &asked(path));
    // Whoever reads sees the end when nobody can write any more.
    drop(writer);
    let copied = copying
        .join()
        .unwrap_or_else(|_| Err(io::ErrorKind::Other.into()));
    exported?;
    copied.map_err(Error::file("write", "standard output"))
}

pub(super) fn import(server: &Server, file: &str, name: &str, options: Options) -> Result<()> {
    let asked = |path| Archive {
        name: name.to_owned(),
        path,
        options,
        live: false,
    };
    if file != STANDARD {
        return server.work("Import", "import", &asked(absolute(file)?));
    }
    let (reader, writer) = pipe()?;
    let path = by_descriptor(&reader);
    // Not waited for: where the driver refuses, nobody reads the rest of what comes in.
    thread::spawn(move || copy(io::stdin(), File::from(writer)));
    let imported = server.work("Import", "import", &asked(path));
    drop(reader);
    imported
}

fn copy(mut from: impl Read, mut to: impl Write) -> io::Result<()> {
    io::copy(&mut from, &mut to)?;
    to.flush()
}

pub(super) fn pipe() -> Result<(OwnedFd, OwnedFd)> {
    pipe_with(PipeFlags::CLOEXEC).map_err(|e| Error::file("make", "a pipe")(e.into()))
}

/// Where the driver finds it (proc_pid_fd(5)); it sees our processes, also as a managed plugin of Docker's.
pub(super) fn by_descriptor(end: &OwnedFd) -> String {
    format!("/proc/{}/fd/{}", std::process::id(), end.as_raw_fd())
}

fn absolute(path: &str) -> Result<String> {
    let path = std::path::absolute(Path::new(path)).map_err(Error::file("find", path))?;
    Ok(path.to_string_lossy().into_owned())
}
