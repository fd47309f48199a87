//! `wharf logs`: what a container wrote, from the file that its shim keeps.
//! `main` calls it.
//! It must never hold the container up: it only reads.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use wharf_protocol::{clock, file};

use crate::container::{self, Folder};
use crate::error::{Error, Result};
use crate::home::Home;
use crate::{cli, units};

/// Which lines are wanted, and how.
struct Wanted {
    since: Option<i128>,
    until: Option<i128>,
    timestamps: bool,
}

/// `wharf logs`.
pub(crate) fn logs(home: &Home, asked: &cli::Logs) -> Result<()> {
    let (about, folder) = container::find(home, &asked.container)?;
    if about.wish.remove && !about.wish.process.terminal && !log(&folder).exists() {
        return Err(Error::NotLogged(about.name));
    }
    let wanted = Wanted {
        since: asked.since.as_deref().map(units::moment).transpose()?,
        until: asked.until.as_deref().map(units::moment).transpose()?,
        timestamps: asked.timestamps,
    };
    let tail = match asked.tail.as_str() {
        "all" => None,
        number => Some(number.parse::<usize>().map_err(|_| Error::BadValue {
            given: number.to_owned(),
            rule: "is neither a number of lines nor all",
        })?),
    };
    // Before the first line is read, so that none is missed between.
    let watch = asked.follow.then(|| Watch::of(folder.path())).transpose()?;
    let path = log(&folder);
    let mut reader = match File::open(&path) {
        Ok(file) => Some(BufReader::new(file)),
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => None,
        Err(cause) => return Err(Error::file("read", path)(cause)),
    };
    past(&path, reader.as_mut(), tail, &wanted)?;
    match watch {
        Some(watch) => follow(&folder, &watch, reader, &wanted),
        None => Ok(()),
    }
}

fn log(folder: &Folder) -> PathBuf {
    folder.path().join(file::OUTPUT)
}

/// Prints what has been written so far; of the older file as well.
fn past(
    path: &Path,
    reader: Option<&mut BufReader<File>>,
    tail: Option<usize>,
    wanted: &Wanted,
) -> Result<()> {
    let mut last: VecDeque<Line> = VecDeque::new();
    let mut ends = 0;
    let mut take = |line: Line| match tail {
        None => print(&line, wanted),
        Some(count) => {
            // A part of a line and its rest are one line; so is a part without a rest.
            let begun = usize::from(!line.whole);
            ends += usize::from(line.whole);
            last.push_back(line);
            while ends + begun > count {
                let Some(first) = last.pop_front() else { break };
                ends -= usize::from(first.whole);
            }
            Ok(())
        }
    };
    let mut older = path.as_os_str().to_owned();
    older.push(".1");
    if let Ok(file) = File::open(older) {
        each_line(&mut BufReader::new(file), wanted, &mut take)?;
    }
    if let Some(reader) = reader {
        each_line(reader, wanted, &mut take)?;
    }
    match tail {
        Some(0) => Ok(()),
        _ => last.iter().try_for_each(|line| print(line, wanted)),
    }
}

/// Prints what comes, until the container has ended.
fn follow(
    folder: &Folder,
    watch: &Watch,
    mut reader: Option<BufReader<File>>,
    wanted: &Wanted,
) -> Result<()> {
    let path = log(folder);
    loop {
        // Asked first: what is written before the end is there when the end is seen.
        let ended = folder
            .life()
            .map_or(true, |life| life.is_ending() || life.at_rest());
        if reader.is_none() {
            reader = File::open(&path).ok().map(BufReader::new);
        }
        if let Some(open) = &mut reader {
            each_line(open, wanted, &mut |line| print(&line, wanted))?;
            if was_put_aside(open.get_ref(), &path) {
                each_line(open, wanted, &mut |line| print(&line, wanted))?;
                reader = None;
                continue;
            }
        }
        if ended {
            return Ok(());
        }
        watch.wait()?;
    }
}

fn was_put_aside(open: &File, path: &Path) -> bool {
    let number = |about: io::Result<std::fs::Metadata>| about.map(|about| about.ino()).ok();
    let now = number(path.metadata());
    now.is_some() && now != number(open.metadata())
}

/// Something in the container's folder has changed.
struct Watch {
    inotify: Inotify,
    path: PathBuf,
}

impl Watch {
    fn of(dir: &Path) -> Result<Watch> {
        let failed = || Error::kernel("watch", dir);
        let inotify =
            Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK).map_err(failed())?;
        let changes = AddWatchFlags::IN_MODIFY
            | AddWatchFlags::IN_MOVED_TO
            | AddWatchFlags::IN_MOVED_FROM
            | AddWatchFlags::IN_MOVE_SELF
            | AddWatchFlags::IN_CREATE
            | AddWatchFlags::IN_DELETE_SELF;
        inotify.add_watch(dir, changes).map_err(failed())?;
        Ok(Watch {
            inotify,
            path: dir.to_owned(),
        })
    }

    fn wait(&self) -> Result<()> {
        let mut watched = [PollFd::new(self.inotify.as_fd(), PollFlags::POLLIN)];
        match poll(&mut watched, PollTimeout::NONE) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(Error::kernel("wait for changes in", &self.path)(errno)),
        }
        // What has changed does not matter: everything is looked at.
        while self.inotify.read_events().is_ok() {}
        Ok(())
    }
}

/// A line of the log.
struct Line {
    time: String,
    to_stderr: bool,
    /// Whether its end is its own; a part has none.
    whole: bool,
    text: Vec<u8>,
}

/// Reads on from where the reader is, up to the last line that is there in full.
fn each_line(
    reader: &mut BufReader<File>,
    wanted: &Wanted,
    take: &mut dyn FnMut(Line) -> Result<()>,
) -> Result<()> {
    loop {
        let mut raw = Vec::new();
        let read = reader.read_until(b'\n', &mut raw);
        let count = read.map_err(Error::file("read", file::OUTPUT))?;
        if count == 0 {
            return Ok(());
        }
        if raw.last() != Some(&b'\n') {
            // It is just being written.
            let back = i64::try_from(count).unwrap_or(0);
            return reader
                .seek_relative(-back)
                .map_err(Error::file("read", file::OUTPUT));
        }
        if let Some(line) = parse(&raw).filter(|line| in_time(line, wanted)) {
            take(line)?;
        }
    }
}

/// `TIME stdout|stderr F|P TEXT`.
fn parse(raw: &[u8]) -> Option<Line> {
    let mut parts = raw.splitn(4, |byte| *byte == b' ');
    let time = String::from_utf8(parts.next()?.to_vec()).ok()?;
    let to_stderr = parts.next()? == b"stderr";
    let whole = parts.next()? == b"F";
    let mut text = parts.next()?.to_vec();
    if !whole {
        text.pop();
    }
    Some(Line {
        time,
        to_stderr,
        whole,
        text,
    })
}

fn in_time(line: &Line, wanted: &Wanted) -> bool {
    if wanted.since.is_none() && wanted.until.is_none() {
        return true;
    }
    let Some(time) = clock::parse(&line.time) else {
        return true;
    };
    wanted.since.is_none_or(|since| time >= since) && wanted.until.is_none_or(|until| time <= until)
}

/// A reader that has gone away ends `wharf logs`.
fn print(line: &Line, wanted: &Wanted) -> Result<()> {
    let stamp = match wanted.timestamps {
        true => format!("{} ", line.time),
        false => String::new(),
    };
    let text = [stamp.as_bytes(), &line.text].concat();
    let written = match line.to_stderr {
        true => io::stderr().write_all(&text),
        false => io::stdout()
            .write_all(&text)
            .and_then(|()| io::stdout().flush()),
    };
    written.map_err(Error::file("write to", "standard output"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_a_time_a_stream_and_a_text() {
        let line = parse(b"2026-11-22T01:30:00.000000001Z stderr F a b\n").expect("a line");
        assert!(line.to_stderr && line.whole);
        assert_eq!(line.text, b"a b\n");
        let part = parse(b"2026-11-22T01:30:00.000000001Z stdout P a\n").expect("a part");
        assert!(!part.to_stderr && !part.whole);
        assert_eq!(part.text, b"a");
        assert!(parse(b"nonsense\n").is_none());
    }
}
