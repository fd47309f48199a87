//! The side that a volume leaves: offers it, passes over what the other side has, sends the rest, and hears that all is there.
//! `child` runs it.
//! It must never say that a volume is there before the other side has said the same checksum.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::os::fd::OwnedFd;

use wharfline_spec::docker::migration::{Moved, Offer, Reached, Reply, Sent};

use super::frame::{Chain, Frame};
use super::walk::walk;
use super::{hear, say};
use crate::error::{Error, Result};
use crate::work::child::Counter;

/// Bytes that are written at once.
const BUFFER: usize = 1 << 20;

/// Sends the tree `from` to whoever is at the other end of the two pipes.
///
/// # Errors
/// What of the tree cannot be read; what the other side says that is no answer.
pub(in crate::work) fn send(
    from: &OwnedFd,
    offer: &Offer,
    (mut input, mut output): (File, File),
    counter: Counter,
) -> Result<Sent> {
    if say(&mut output, offer).is_err() {
        return heard_last(&mut input, "offering the volume");
    }
    let mut sender = Sender::new(output, counter);
    match hear(&mut input)? {
        Some(Reply::Ready(reached)) => match sender.send(from, &reached) {
            Err(Error::Gone) => heard_last(&mut input, "sending it"),
            sent => sent.and_then(|()| confirmed(&mut input, sender.end())),
        },
        Some(Reply::Complete { digest }) => {
            sender.check(from)?;
            Ok(compared(&digest, sender.end()))
        }
        Some(Reply::Failed(why)) => Ok(Sent::Refused(why)),
        Some(Reply::Done { .. }) => Err(Error::Work("an answer to nothing".to_owned())),
        None => Ok(Sent::Cut("waiting for its first answer".to_owned())),
    }
}

/// All is sent; the other side reads it back.
fn confirmed(input: &mut File, moved: Moved) -> Result<Sent> {
    match hear(input)? {
        Some(Reply::Done { digest }) if digest == moved.digest => Ok(Sent::Moved(moved)),
        Some(Reply::Done { .. }) => Ok(Sent::Refused("it has another checksum".to_owned())),
        Some(Reply::Failed(why)) => Ok(Sent::Refused(why)),
        Some(_) => Err(Error::Work("an answer to something else".to_owned())),
        None => Ok(Sent::Cut("waiting for it to check what it has".to_owned())),
    }
}

/// Nothing is sent: the other side has had a volume since an earlier run.
fn compared(there: &str, mut moved: Moved) -> Sent {
    moved.resumed = moved.bytes;
    match there == moved.digest {
        true => Sent::Moved(moved),
        false => Sent::Refused(
            "it has had the volume since an earlier run, and the one here was changed meanwhile: remove one of them"
                .to_owned(),
        ),
    }
}

/// The connection is broken; perhaps the other side has said why.
fn heard_last(input: &mut File, doing: &str) -> Result<Sent> {
    match hear(input) {
        Ok(Some(Reply::Failed(why))) => Ok(Sent::Refused(why)),
        _ => Ok(Sent::Cut(doing.to_owned())),
    }
}

struct Sender {
    output: BufWriter<File>,
    counter: Counter,
    chain: Chain,
    frame: Vec<u8>,
    bytes: u64,
    files: u64,
    sent: u64,
    resumed: u64,
}

impl Sender {
    fn new(output: File, counter: Counter) -> Self {
        Self {
            output: BufWriter::with_capacity(BUFFER, output),
            counter,
            chain: Chain::default(),
            frame: Vec::new(),
            bytes: 0,
            files: 0,
            sent: 0,
            resumed: 0,
        }
    }

    /// Sends what is missing.
    fn send(&mut self, from: &OwnedFd, reached: &Reached) -> Result<()> {
        if reached.frames == 0 || !self.go_on(from, reached)? {
            (self.chain, self.bytes, self.files, self.resumed) = (Chain::default(), 0, 0, 0);
            self.write(&0_u64.to_be_bytes())?;
            walk(from, false, &mut |frame| {
                let counted = self.count(frame);
                self.write_frame(counted)
            })?;
        }
        let end = [0; 4];
        self.write(&end)?;
        let digest = self.chain.digest();
        self.write(digest.as_bytes())?;
        self.output.flush().map_err(|_| Error::Gone)
    }

    /// Sends what comes after `reached`; false, and nothing is sent, where what comes before is another than there.
    fn go_on(&mut self, from: &OwnedFd, reached: &Reached) -> Result<bool> {
        let mut same = true;
        let walked = walk(from, false, &mut |frame| {
            let counted = self.count(frame);
            if self.chain.frames > reached.frames {
                return self.write_frame(counted);
            }
            if self.chain.frames == reached.frames {
                same = self.chain.digest() == reached.digest;
                self.resumed = self.bytes;
                return match same {
                    true => self.write(&reached.frames.to_be_bytes()),
                    // Ends the walk.
                    false => Err(Error::Gone),
                };
            }
            Ok(())
        });
        match walked {
            _ if !same => Ok(false),
            Ok(()) => Ok(self.chain.frames >= reached.frames),
            Err(error) => Err(error),
        }
    }

    /// Goes through all without sending anything.
    fn check(&mut self, from: &OwnedFd) -> Result<()> {
        walk(from, false, &mut |frame| {
            self.count(frame);
            Ok(())
        })
    }

    fn count(&mut self, frame: &Frame<'_>) -> usize {
        match frame {
            Frame::Data(_, data) => {
                self.bytes += data.len() as u64;
                self.counter.add(data.len() as u64);
            }
            Frame::Enter(_) | Frame::File(_) | Frame::Symlink(..) | Frame::Special(..) => {
                self.files += 1;
            }
            Frame::Leave(_) | Frame::Close(..) | Frame::Link(..) => {}
        }
        let counted = frame.encode(&mut self.frame);
        self.chain
            .add(self.frame.get(..counted).unwrap_or_default());
        counted
    }

    fn write_frame(&mut self, counted: usize) -> Result<()> {
        let frame = std::mem::take(&mut self.frame);
        let length = |length: usize| u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes();
        self.write(&length(frame.len()))?;
        self.write(&length(counted))?;
        self.write(&frame)?;
        self.frame = frame;
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.sent += bytes.len() as u64;
        self.output.write_all(bytes).map_err(|_| Error::Gone)
    }

    /// Closes the pipe.
    fn end(self) -> Moved {
        Moved {
            bytes: self.bytes,
            files: self.files,
            sent: self.sent,
            resumed: self.resumed,
            digest: self.chain.digest(),
            removed: false,
        }
    }
}
