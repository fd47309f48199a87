//! SIGKILL of either driver and its children at every moment of a volume's way to another host: the volume is whole on at
//! least one side, nothing half made is a volume, and the same command brings it there.
//!
//! The test is what ssh and both `wharf` are otherwise (`volume_migrate` has those): it gives each driver its ends of two
//! pipes, and closes them when that driver has ended.

use std::io::{self, PipeReader, PipeWriter, Read, Write};
use std::os::fd::AsRawFd;
use std::thread;

use serde_json::{Value, json};
use wharfline_testkit::fault::{self, Stops, StruckCommand};

use crate::volume_crash::{Host, moments};
use crate::volume_host::{ROOT, lab_with_root};

/// Moments of each side, unless all are asked for.
const MOMENTS: usize = 12;
/// A bit of everything, given no more bytes than make it quick.
const FILL: &str = "cd $1; mkdir -p a/b; echo first >f; head -c 300000 /dev/urandom >a/big; truncate -s 9M a/b/sparse; \
    echo middle | dd of=a/b/sparse bs=1M seek=4 conv=notrunc status=none; ln f a/again; ln -s /etc/passwd a/out; mkfifo pipe; \
    chown 12:34 f; chmod 4750 f; touch -d @1000000000.5 a/b f .";
/// All that it has, in words.
const SHOW: &str = "cd $1; find . -type d -printf '%p %m %U %G %T@\\n' -o -printf '%p %y %m %U %G %T@ %s %n %l\\n' | LC_ALL=C sort; \
    find . -type f -exec sha256sum {} + | LC_ALL=C sort";

/// A volume goes from `here` to `there`.
struct Pair {
    here: Host,
    there: Host,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Side {
    Here,
    There,
}

/// A driver's ends of the two pipes.
type Ends = (PipeReader, PipeWriter);

impl Pair {
    fn with(options: &Value) -> Pair {
        let host = || Host {
            lab: lab_with_root(""),
            options: options.clone(),
        };
        Pair {
            here: host(),
            there: host(),
        }
    }

    /// Kills one side at its `nth` stop, or nobody; what became of both. Without an offer there is no other side.
    fn migrate(&self, strike: Option<(Side, usize)>) -> (StruckCommand, Option<StruckCommand>) {
        let (from_here, to_there) = io::pipe().expect("a pipe");
        let (from_there, to_here) = io::pipe().expect("a pipe");
        let nth = |side| strike.filter(|(victim, _)| *victim == side);
        thread::scope(|scope| {
            let sending = scope.spawn(|| self.send((from_there, to_there), nth(Side::Here)));
            let received = self.receive((from_here, to_here), nth(Side::There));
            (sending.join().expect("the sender's thread"), received)
        })
    }

    fn send(&self, (from, to): Ends, strike: Option<(Side, usize)>) -> StruckCommand {
        let asked =
            json!({"name": "data", "new": "data", "input": path(&from), "output": path(&to)});
        let ended = run(&self.here, "Send", &asked, strike);
        drop((from, to));
        ended
    }

    fn receive(
        &self,
        (mut from, mut to): Ends,
        strike: Option<(Side, usize)>,
    ) -> Option<StruckCommand> {
        let offer = first_line(&mut from)?;
        let asked = json!({"offer": offer, "input": path(&from), "output": path(&to)});
        let ended = run(&self.there, "Receive", &asked, strike);
        if let Some(done) = done(&ended) {
            // Fails where the sender is gone.
            let _ = writeln!(to, "{done}");
        }
        Some(ended)
    }

    /// The volume here alone; all that it has.
    fn prepare(&self) -> String {
        self.there.remove("data");
        if !self.here.has("data") {
            self.here.create("data");
            self.here.in_place("data", |_| in_volume(&self.here, FILL));
        }
        tree(&self.here)
    }

    fn survives(&self, side: Side) {
        let whole = self.prepare();
        let (sent, received) = self.migrate(Some((side, usize::MAX)));
        assert_moved(&sent);
        let counted = match side {
            Side::Here => sent,
            Side::There => received.expect("an offer"),
        };
        assert!(counted.stops >= 8, "{side:?}: {} stops", counted.stops);
        assert_eq!(tree(&self.there), whole);
        for nth in moments(counted.stops, MOMENTS) {
            let whole = self.prepare();
            let (sent, received) = self.migrate(Some((side, nth)));
            let struck = match side {
                Side::Here => sent.at,
                Side::There => received.and_then(|struck| struck.at),
            };
            let what = format!("{side:?} killed at stop {nth}, {struck:?}");
            self.is_whole(&whole, &what);
            self.goes_on(&whole, &what);
        }
    }

    fn is_whole(&self, whole: &str, what: &str) {
        let mut found = 0;
        for host in [&self.here, &self.there] {
            // The next call, whatever it is, finds all settled; what has come by halves is kept.
            if host.has("data") {
                assert_eq!(tree(host), whole, "{what}");
                found += 1;
            }
            host.is_clean(what);
        }
        assert!(found > 0, "the volume is gone: {what}");
    }

    /// The same again.
    fn goes_on(&self, whole: &str, what: &str) {
        if self.here.has("data") {
            assert_moved(&self.migrate(None).0);
        }
        assert_eq!(self.here.names(), [""; 0], "{what}");
        assert_eq!(tree(&self.there), whole, "{what}");
        for host in [&self.here, &self.there] {
            host.is_clean(what);
            let arriving = format!("{ROOT}/arriving");
            let left = host
                .lab
                .try_exec(&["find", &arriving, "-mindepth", "2"], "");
            assert_eq!(left.stdout, "", "{what}");
        }
    }
}

/// Where a driver finds an end of ours.
fn path(end: &impl AsRawFd) -> String {
    format!("/proc/{}/fd/{}", std::process::id(), end.as_raw_fd())
}

fn run(
    host: &Host,
    operation: &str,
    asked: &Value,
    strike: Option<(Side, usize)>,
) -> StruckCommand {
    let path = format!("/Wharfline.Volume.{operation}");
    match strike {
        Some((_, nth)) => {
            let body = asked.to_string();
            fault::command_killed_at(
                host.command(&path),
                body.as_bytes(),
                nth,
                Stops::EveryChange,
            )
        }
        None => StruckCommand {
            output: host.call(&path, asked),
            at: None,
            stops: 0,
        },
    }
}

/// And not a byte more; none where the sender has ended.
fn first_line(from: &mut PipeReader) -> Option<Value> {
    let mut line = Vec::new();
    let mut byte = [0];
    while from.read(&mut byte).expect("read a pipe") > 0 {
        if byte == *b"\n" {
            return serde_json::from_slice(&line).ok();
        }
        line.push(byte[0]);
    }
    None
}

/// What an operation says in the end, where it came to that.
fn done(ended: &StruckCommand) -> Option<Value> {
    let last = ended.output.stdout.lines().last()?;
    let last: Value = serde_json::from_str(last).ok()?;
    last.get("done").cloned()
}

#[track_caller]
fn assert_moved(sent: &StruckCommand) {
    let done = done(sent).unwrap_or_default();
    assert_eq!(done["moved"]["removed"], true, "{}", sent.output);
}

fn tree(host: &Host) -> String {
    host.in_place("data", |_| in_volume(host, SHOW))
}

fn in_volume(host: &Host, script: &str) -> String {
    let place = format!("{ROOT}/volumes/data/data");
    host.lab.exec(&["sh", "-ec", script, "sh", &place])
}

#[test]
fn a_folder_on_its_way_is_whole_after_a_kill_of_its_sender_at_any_moment() {
    Pair::with(&json!({})).survives(Side::Here);
}

#[test]
fn a_folder_on_its_way_is_whole_after_a_kill_of_its_receiver_at_any_moment() {
    Pair::with(&json!({})).survives(Side::There);
}

#[test]
fn an_image_on_its_way_is_whole_after_a_kill_of_its_sender_at_any_moment() {
    Pair::with(&json!({"size": "64M"})).survives(Side::Here);
}

#[test]
fn an_image_on_its_way_is_whole_after_a_kill_of_its_receiver_at_any_moment() {
    Pair::with(&json!({"size": "64M"})).survives(Side::There);
}
