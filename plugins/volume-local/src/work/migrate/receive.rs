//! The side that a volume arrives at: says how far it is, lays what comes, notes how far that is on the disk, and reads
//! all of it back in the end. `child` runs it.
//! It must never note what is not on the disk yet.

use std::fs::File;
use std::io::{BufReader, Read};
use std::os::fd::OwnedFd;
use std::path::Path;

use wharfline_kernel::fs::freeze;
use wharfline_spec::docker::migration::{Reached, Reply};

use super::frame::{Chain, Frame, LONGEST};
use super::lay::Tree;
use super::say;
use super::walk::walk;
use crate::arrivals::{Arrival, Place};
use crate::error::{Error, Result};
use crate::record;
use crate::work::child::Counter;

/// How much may come twice after a crash, in bytes.
const NOTED_EVERY: u64 = 16 << 20;

/// Fills `to` with what comes in; its checksum. `note` is where it is noted how far that is.
///
/// # Errors
/// The connection ends; what cannot be laid; a checksum that is another than the other side's.
pub(in crate::work) fn receive(
    to: &OwnedFd,
    (arrival, note): (Arrival, &Path),
    (input, mut output): (File, File),
    counter: Counter,
) -> Result<String> {
    let reached = arrival.reached.clone();
    let ready = Reply::Ready(reached.clone());
    say(&mut output, &ready).map_err(|cause| gone(&cause))?;
    // Nobody waits for more of us than the end.
    drop(output);
    let mut input = BufReader::with_capacity(1 << 20, input);
    let mut first = [0; 8];
    input.read_exact(&mut first).map_err(|cause| gone(&cause))?;
    let mut receiver = Receiver::at(to, (arrival, note), counter, u64::from_be_bytes(first))?;
    let came = receiver.take_all(&mut input);
    // Also where the connection ended: what came is there, and is not sent again.
    let noted = match receiver.between_frames {
        true => receiver.note(),
        false => Ok(()),
    };
    let digest = came?;
    noted?;
    receiver.compare(&digest)?;
    Ok(digest)
}

fn gone(cause: &std::io::Error) -> Error {
    Error::Work(format!(
        "the connection ended before all was there: {cause}"
    ))
}

struct Receiver<'a> {
    to: &'a OwnedFd,
    arrival: Arrival,
    note: &'a Path,
    counter: Counter,
    chain: Chain,
    tree: Tree<'a>,
    since: u64,
    /// Whether the tree is as after one frame and before the next: not where one could be laid by half.
    between_frames: bool,
}

impl<'a> Receiver<'a> {
    /// Where the other side goes on: from what is noted, or from the beginning.
    fn at(
        to: &'a OwnedFd,
        (mut arrival, note): (Arrival, &'a Path),
        mut counter: Counter,
        from: u64,
    ) -> Result<Self> {
        if from == 0 && arrival.reached.frames > 0 {
            (arrival.reached, arrival.place) = (Reached::default(), Place::default());
            // Before anything is taken away: a note must not promise what is gone.
            record::write(note, &arrival)?;
        }
        let reached = &arrival.reached;
        let chain = Chain::at(reached.frames, &reached.digest)
            .filter(|chain| chain.frames == from)
            .ok_or_else(|| Error::Work("the other side goes on from somewhere else".to_owned()))?;
        counter.add(reached.bytes);
        let tree = Tree::at(to, &arrival.place)?;
        Ok(Self {
            to,
            arrival,
            note,
            counter,
            chain,
            tree,
            since: 0,
            between_frames: true,
        })
    }

    /// Lays frames until the last; the other side's checksum.
    fn take_all(&mut self, input: &mut impl Read) -> Result<String> {
        let mut frame = Vec::new();
        loop {
            let length = read_length(input)?;
            if length == 0 {
                let mut digest = [0; 64];
                input
                    .read_exact(&mut digest)
                    .map_err(|cause| gone(&cause))?;
                return Ok(String::from_utf8_lossy(&digest).into_owned());
            }
            let counted = read_length(input)?;
            if length > LONGEST || counted > length {
                return Err(Error::Work(format!("a frame of {length} bytes is none")));
            }
            frame.resize(length, 0);
            input.read_exact(&mut frame).map_err(|cause| gone(&cause))?;
            self.take(&frame, counted)?;
        }
    }

    fn take(&mut self, bytes: &[u8], counted: usize) -> Result<()> {
        let frame = Frame::decode(bytes, counted)
            .ok_or_else(|| Error::Work("what comes from the other side is no volume".to_owned()))?;
        self.between_frames = false;
        self.tree.lay(&frame)?;
        self.between_frames = true;
        self.chain.add(bytes.get(..counted).unwrap_or_default());
        if let Frame::Data(_, data) = frame {
            self.counter.add(data.len() as u64);
            self.arrival.reached.bytes += data.len() as u64;
        }
        self.since += bytes.len() as u64;
        match self.since >= NOTED_EVERY {
            true => self.note(),
            false => Ok(()),
        }
    }

    /// Notes how far it is, once that is on the disk.
    fn note(&mut self) -> Result<()> {
        freeze::sync(&File::from(
            self.to.try_clone().map_err(Error::file("open", "/"))?,
        ))?;
        self.arrival.reached.frames = self.chain.frames;
        self.arrival.reached.digest = self.chain.digest();
        self.arrival.place = self.tree.place();
        self.since = 0;
        record::write(self.note, &self.arrival)
    }

    /// Reads all back from the disk: it must be what was sent, and what the other side says it sent.
    fn compare(&mut self, sent: &str) -> Result<()> {
        let mut differ = |what: &str| {
            // Whatever is wrong with it, the next run is not to go on from here.
            (self.arrival.reached, self.arrival.place) = (Reached::default(), Place::default());
            record::write(self.note, &self.arrival)?;
            Err(Error::Work(format!(
                "{what} what was sent: run it again, it begins anew"
            )))
        };
        if self.chain.digest() != sent {
            return differ("what came differs from");
        }
        let (mut chain, mut encoded) = (Chain::default(), Vec::new());
        walk(self.to, true, &mut |frame| {
            let counted = frame.encode(&mut encoded);
            chain.add(encoded.get(..counted).unwrap_or_default());
            Ok(())
        })?;
        match chain.digest() == sent {
            true => Ok(()),
            false => differ("what is on the disk differs from"),
        }
    }
}

fn read_length(input: &mut impl Read) -> Result<usize> {
    let mut length = [0; 4];
    input
        .read_exact(&mut length)
        .map_err(|cause| gone(&cause))?;
    usize::try_from(u32::from_be_bytes(length)).map_err(|_| Error::Work("a frame".to_owned()))
}
