//! What a container writes, kept in a file: a time, a stream's name and a line on each line, in the form that the
//! Kubernetes container runtimes use (`TIME stdout F TEXT`; P instead of F is a part of a line).
//! `streams` writes it; `wharf logs` reads it.
//! It must never grow without end: there are two files of a fixed size, of which the older goes.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use wharf_protocol::{clock, file};

/// A file of this size is put aside. Two of them are kept.
const ENOUGH: u64 = 16 << 20;
/// A line that is longer is kept in parts.
const LONGEST_LINE: usize = 16 << 10;

/// One of a container's output streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stream {
    Out,
    Err,
}

impl Stream {
    fn name(self) -> &'static str {
        match self {
            Stream::Out => "stdout",
            Stream::Err => "stderr",
        }
    }
}

/// The log of a container.
pub(crate) struct Log {
    path: PathBuf,
    file: File,
    size: u64,
    /// The beginnings of lines whose end has not come yet, of each stream.
    begun: [Vec<u8>; 2],
}

impl Log {
    pub(crate) fn open(dir: &Path) -> io::Result<Log> {
        let path = dir.join(file::OUTPUT);
        let file = append(&path)?;
        Ok(Log {
            size: file.metadata()?.len(),
            file,
            path,
            begun: [Vec::new(), Vec::new()],
        })
    }

    /// Keeps what was read. A disk that is full loses lines, and nothing else.
    pub(crate) fn keep(&mut self, stream: Stream, read: &[u8]) {
        let stamp = clock::stamp();
        let mut text = Vec::with_capacity(read.len() + 64);
        let begun = &mut self.begun[stream as usize];
        for piece in read.split_inclusive(|byte| *byte == b'\n') {
            begun.extend_from_slice(piece);
            let whole = begun.last() == Some(&b'\n');
            if whole || begun.len() >= LONGEST_LINE {
                line(&mut text, &stamp, stream, begun);
                begun.clear();
            }
        }
        self.write(&text);
    }

    /// Keeps what has no end of line: nothing more comes.
    pub(crate) fn finish(&mut self) {
        let stamp = clock::stamp();
        for stream in [Stream::Out, Stream::Err] {
            let begun = std::mem::take(&mut self.begun[stream as usize]);
            if !begun.is_empty() {
                let mut text = Vec::new();
                line(&mut text, &stamp, stream, &begun);
                self.write(&text);
            }
        }
    }

    fn write(&mut self, text: &[u8]) {
        if text.is_empty() {
            return;
        }
        let _ = self.file.write_all(text);
        self.size += text.len() as u64;
        if self.size >= ENOUGH {
            let mut old = self.path.clone().into_os_string();
            old.push(".1");
            if fs::rename(&self.path, old).is_ok()
                && let Ok(file) = append(&self.path)
            {
                self.file = file;
                self.size = 0;
            }
        }
    }
}

fn append(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).open(path)
}

fn line(text: &mut Vec<u8>, stamp: &str, stream: Stream, content: &[u8]) {
    let whole = content.last() == Some(&b'\n');
    let tag = if whole { "F" } else { "P" };
    text.extend_from_slice(format!("{stamp} {} {tag} ", stream.name()).as_bytes());
    text.extend_from_slice(content);
    if !whole {
        text.push(b'\n');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(dir: &Path) -> Vec<String> {
        let text = fs::read_to_string(dir.join(file::OUTPUT)).expect("read");
        let after_time = |line: &str| line.split_once(' ').expect("a time").1.to_owned();
        text.lines().map(after_time).collect()
    }

    #[test]
    fn lines_of_two_streams_are_kept_apart_and_whole() {
        let dir = tempfile::tempdir().expect("a directory");
        let mut log = Log::open(dir.path()).expect("opened");
        log.keep(Stream::Out, b"one\ntw");
        log.keep(Stream::Err, b"other\n");
        log.keep(Stream::Out, b"o\nthree");
        log.finish();
        let expected = [
            "stdout F one",
            "stderr F other",
            "stdout F two",
            "stdout P three",
        ];
        assert_eq!(lines(dir.path()), expected);
    }

    #[test]
    fn an_endless_line_is_kept_in_parts() {
        let dir = tempfile::tempdir().expect("a directory");
        let mut log = Log::open(dir.path()).expect("opened");
        log.keep(Stream::Out, &vec![b'x'; LONGEST_LINE]);
        log.keep(Stream::Out, b"y\n");
        let kept = lines(dir.path());
        assert_eq!(kept[0].len(), "stdout P ".len() + LONGEST_LINE);
        assert_eq!(kept[1], "stdout F y");
    }

    #[test]
    fn a_full_file_is_put_aside() {
        let dir = tempfile::tempdir().expect("a directory");
        let mut log = Log::open(dir.path()).expect("opened");
        let mut much = vec![b'x'; 1 << 20];
        much.push(b'\n');
        for _ in 0..17 {
            log.keep(Stream::Out, &much);
        }
        log.keep(Stream::Out, b"after\n");
        let old = dir.path().join("output.log.1");
        assert!(old.metadata().expect("put aside").len() >= ENOUGH);
        assert!(
            dir.path()
                .join(file::OUTPUT)
                .metadata()
                .expect("a file")
                .len()
                < ENOUGH
        );
    }
}
