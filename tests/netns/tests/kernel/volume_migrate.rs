//! `wharf volume migrate` between two hosts with a real sshd: what a volume has goes along, an interruption harms neither side
//! and costs no second transfer, and what cannot be done is refused by name.

use std::fs;
use std::process::Stdio;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use wharfline_testkit::wait_for;

use crate::volume_host::{Host, ROOT};

mod pair;

use pair::{Pair, THERE, read};

const MIB: u64 = 1 << 20;

/// Only whole volumes are there, nothing is mounted, nothing is being made or deleted.
#[track_caller]
fn is_clean(host: &Host) {
    assert_eq!(host.mounts(), [""; 0]);
    let below = ["staging", "trash", "arriving/notes", "arriving/volumes"];
    for folder in below.map(|folder| format!("{ROOT}/{folder}")) {
        let left = host.lab.try_exec(&["find", &folder, "-mindepth", "1"], "");
        assert_eq!(left.stdout, "", "{folder}");
    }
}

#[test]
fn a_volume_moves_with_all_that_it_has() {
    for (here, there, options, more, backend) in [
        ("", "", "{}", &[][..], "directory"),
        ("", "btrfs", r#"{"size": "320M", "fs": "xfs"}"#, &[], "loop"),
        (
            "btrfs",
            "",
            r#"{"size": "96M", "label.of": "db"}"#,
            &["--name", "moved"],
            "loop",
        ),
        (
            "",
            "btrfs",
            r#"{"size": "96M", "access": "single-writer", "ro": "true"}"#,
            &["-o", "type="],
            "btrfs",
        ),
    ] {
        let mut options: Value = serde_json::from_str(options).expect("options");
        let pair = Pair::on(here, there);
        let read_only = options.as_object_mut().and_then(|all| all.remove("ro"));
        pair.fill("data", &options, 3 * MIB);
        let before = Pair::tree(&pair.here, "data");
        let about = pair.here.describe("data");
        let mut words = [&["data", THERE], more].concat();
        if read_only.is_some() {
            words.extend(["-o", "ro=true"]);
        }
        let told = pair.moves(&words);
        assert_eq!(
            (&told["removed"], &told["resumed"]),
            (&json!(true), &json!(0)),
            "{told}"
        );
        assert!(
            told["sent"].as_u64() > Some(3 * MIB) && told["sent"].as_u64() < Some(5 * MIB),
            "{told}"
        );
        let name = told["name"].as_str().expect("a name");
        let moved = pair.there.describe(name);
        assert_eq!(moved["backend"], backend, "{moved}");
        assert_eq!(
            (&moved["labels"], &moved["created"]),
            (&about["labels"], &about["created"])
        );
        assert_eq!(moved["options"]["access"], about["options"]["access"]);
        assert_eq!(Pair::tree(&pair.there, name), before, "{here} to {there}");
        if read_only.is_some() {
            let place = pair.there.mount(name, "a");
            fs::write(place.join("f"), "").expect_err("read-only there");
            pair.there.unmount(name, "a");
        }
        assert_eq!(Pair::names(&pair.here), [""; 0]);
        is_clean(&pair.here);
        is_clean(&pair.there);
    }
}

/// Who ends, when so many bytes have gone.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Victim {
    /// The network, as far as both sides know.
    Connection,
    Ssh,
    WharfHere,
    WharfThere,
    DriverHere,
    DriverThere,
    WorkHere,
    WorkThere,
}

impl Pair {
    fn kill(&mut self, victim: Victim) {
        let killed = |pid: i32| kill(Pid::from_raw(pid), Signal::SIGKILL).expect("killed");
        match victim {
            Victim::Connection => {}
            Victim::Ssh => killed(Pair::process(&self.here, &["ssh", "--", THERE])),
            Victim::WharfHere => {
                killed(Pair::process(&self.here, &["wharf", "migrate"]));
                // Its driver hears of it within a second, and sends no more.
                wait_for("the work to end", Duration::from_secs(10), || {
                    let works = Pair::processes(&self.here, &["exe", "work"]);
                    works.is_empty().then_some(()).ok_or(format!("{works:?}"))
                });
            }
            Victim::WharfThere => killed(Pair::process(&self.there, &["wharf", "receive"])),
            Victim::WorkHere => killed(Pair::process(&self.here, &["exe", "work"])),
            Victim::WorkThere => killed(Pair::process(&self.there, &["exe", "work"])),
            Victim::DriverHere => {
                self.here.kill();
                self.here.restart();
            }
            Victim::DriverThere => {
                self.there.kill();
                self.there.restart();
            }
        }
    }

    /// Runs it until `limit` bytes have gone, and ends the victim there.
    fn interrupt(&mut self, victim: Victim, limit: u64) {
        if victim == Victim::Connection {
            self.until(Some(limit), "cut");
            let output = self.migrate(&["data", THERE]);
            assert_eq!(output.status.code(), Some(1), "{output}");
            assert!(output.stderr.contains("run it again"), "{output}");
            return;
        }
        let before = self.noted();
        let child = self.start_until(limit, "hold", &["data", THERE]);
        if limit > 16 * MIB {
            // All of it gets there, and so it is noted on the way.
            wait_for("a note of it there", Duration::from_secs(30), || {
                let noted = self.noted();
                (noted >= before + 15 * MIB)
                    .then_some(())
                    .ok_or(format!("{noted} bytes after {before}"))
            });
        }
        self.kill(victim);
        self.go_on();
        let output = child.wait_with_output().expect("wharf's end");
        assert!(!output.status.success(), "{victim:?}: {output:?}");
    }

    /// Bytes that the other side has noted to have.
    fn noted(&self) -> u64 {
        let listed = self.there.ask("List", &json!({}));
        listed["arriving"][0]["bytes"].as_u64().unwrap_or(0)
    }

    /// Neither side has lost anything, and the other one shows no volume.
    fn both_are_whole(&self, victim: Victim, before: &str) {
        assert_eq!(Pair::tree(&self.here, "data"), before, "{victim:?}");
        assert_eq!(Pair::names(&self.there), [""; 0], "{victim:?}");
    }
}

#[test]
fn whoever_is_killed_at_whatever_byte_neither_side_is_harmed_and_nothing_goes_twice() {
    for victim in [
        Victim::Connection,
        Victim::Ssh,
        Victim::WharfHere,
        Victim::WharfThere,
        Victim::DriverHere,
        Victim::DriverThere,
        Victim::WorkHere,
        Victim::WorkThere,
    ] {
        // What a crash of the receiving side costs is a bound, 16 MiB, which must be seen to hold.
        let there = matches!(victim, Victim::DriverThere | Victim::WorkThere);
        let (size, least) = if there { (60, 30) } else { (24, 4) };
        let (size, least) = (size * MIB, least * MIB);
        let options = if there { "{}" } else { r#"{"size": "64M"}"# };
        let mut pair = Pair::on("", "");
        pair.fill(
            "data",
            &serde_json::from_str(options).expect("options"),
            size,
        );
        let before = Pair::tree(&pair.here, "data");
        let step = if there { 20 * MIB } else { 6 * MIB };
        let moments = [1000, 9000, step / 2, step, step];
        // In the midst of ssh's own handshake nothing runs there yet.
        let first = usize::from(there || victim == Victim::WharfThere);
        for limit in moments.into_iter().skip(first) {
            pair.interrupt(victim, limit);
            pair.both_are_whole(victim, &before);
        }
        pair.until(None, "cut");
        let told = pair.moves(&["data", THERE]);
        let (sent, resumed) = (told["sent"].as_u64(), told["resumed"].as_u64());
        let (sent, resumed) = (sent.expect("bytes"), resumed.expect("bytes"));
        assert!(resumed >= least, "{victim:?}: {told}");
        assert!(sent + resumed < size + MIB, "{victim:?}: {told}");
        // What was on its way in pipes and windows of ssh when the connection ended, and after a crash what was not noted.
        let lost = moments.len() as u64 * if there { 19 * MIB } else { 3 * MIB };
        let went = pair.went();
        assert!(went <= size + lost, "{victim:?}: {went} bytes went");
        assert_eq!(Pair::tree(&pair.there, "data"), before, "{victim:?}");
        assert_eq!(Pair::names(&pair.here), [""; 0], "{victim:?}");
        is_clean(&pair.here);
        is_clean(&pair.there);
    }
}

#[test]
fn a_connection_that_says_nothing_more_is_given_up_and_the_next_takes_over() {
    let pair = Pair::on("", "");
    pair.fill("data", &json!({}), 40 * MIB);
    let before = Pair::tree(&pair.here, "data");
    let soon = ["ServerAliveInterval=1", "ServerAliveCountMax=2"];
    let soon = soon.map(|option| ["--ssh-option", option]).concat();
    let child = pair.start_until(30 * MIB, "dead", &[&["data", THERE], &soon[..]].concat());
    let output = child.wait_with_output().expect("wharf's end");
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success(), "{told}");
    for word in ["not responding", "run it again"] {
        assert!(told.contains(word), "{word:?} is not in {told}");
    }
    // Nobody has told the other side: it waits for the rest.
    Pair::process(&pair.there, &["wharf", "receive"]);

    pair.until(None, "cut");
    let told = pair.moves(&["data", THERE]);
    // Whoever is taken over from is killed, which costs what has come since its last note.
    assert!(told["resumed"].as_u64() > Some(14 * MIB), "{told}");
    assert_eq!(Pair::tree(&pair.there, "data"), before);
    assert_eq!(Pair::names(&pair.here), [""; 0]);
    is_clean(&pair.here);
    is_clean(&pair.there);
    pair.go_on();
}

#[test]
fn an_arrival_that_was_not_heard_of_ends_with_the_next_run() {
    let pair = Pair::on("", "");
    pair.fill("data", &json!({}), MIB / 2);
    let before = Pair::tree(&pair.here, "data");
    // All goes there; that it is there does not come back.
    pair.until(Some(64 << 10), "deaf");
    let mut command = pair.command(&["data", THERE]);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = command.spawn().expect("wharf");
    wait_for("the volume to be there", Duration::from_secs(30), || {
        let names = Pair::names(&pair.there);
        (names == ["data"])
            .then_some(())
            .ok_or(format!("{names:?}"))
    });
    let ssh = Pair::process(&pair.here, &["ssh", "--", THERE]);
    kill(Pid::from_raw(ssh), Signal::SIGKILL).expect("killed");
    let output = child.wait_with_output().expect("wharf's end");
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(
        !output.status.success() && told.contains("run it again"),
        "{told}"
    );
    assert_eq!(Pair::names(&pair.here), ["data"]);
    assert_eq!(Pair::names(&pair.there), ["data"]);
    pair.went();
    pair.until(None, "cut");
    let told = pair.moves(&["data", THERE]);
    assert_eq!(
        (&told["sent"], &told["removed"]),
        (&json!(0), &json!(true)),
        "{told}"
    );
    assert!(pair.went() < 64 << 10);
    assert_eq!(Pair::tree(&pair.there, "data"), before);
    is_clean(&pair.here);
    is_clean(&pair.there);
}

#[test]
fn what_was_changed_between_two_runs_arrives_as_it_is_now() {
    let mut pair = Pair::on("", "");
    pair.fill("data", &json!({}), 4 * MIB);
    pair.interrupt(Victim::Connection, 3 * MIB);
    let place = pair.here.mount("data", "a");
    fs::write(place.join("a/b/007"), "another text").expect("written");
    fs::remove_file(place.join("zlast")).expect("removed");
    pair.here.unmount("data", "a");
    let before = Pair::tree(&pair.here, "data");
    pair.until(None, "cut");
    pair.moves(&["data", THERE]);
    assert_eq!(Pair::tree(&pair.there, "data"), before);
    is_clean(&pair.there);
}

#[test]
fn what_came_by_halves_is_seen_keeps_its_name_and_can_be_removed() {
    let mut pair = Pair::on("", "");
    for remove in [&["rm", "data"][..], &["prune"]] {
        if Pair::names(&pair.here).is_empty() {
            pair.fill("data", &json!({"size": "32M"}), 4 * MIB);
        }
        pair.interrupt(Victim::Connection, 2 * MIB);
        wait_for(
            "the connection's end there",
            Duration::from_secs(10),
            || {
                let listed = pair.there.ask("List", &json!({}));
                (listed["arriving"][0]["active"] == false)
                    .then_some(())
                    .ok_or(listed.to_string())
            },
        );
        let wharf = |words: &[&str]| {
            let mut command = pair
                .there
                .lab
                .command(wharfline_netns_tests::ours().find("wharf"));
            command.arg("volume").args(words);
            let output = pair.there.lab.run_command(command, b"");
            assert!(output.succeeded(), "{words:?}: {output}");
            output.stdout
        };
        let shown = wharf(&["ls", "-d", "wharf-volume"]);
        assert!(
            shown.contains("data") && shown.contains("arriving"),
            "{shown}"
        );
        let told = pair
            .there
            .server
            .refused("/VolumeDriver.Create", &json!({"Name": "data"}));
        assert!(told.contains("is arriving from"), "{told}");
        pair.there
            .server
            .refused("/VolumeDriver.Get", &json!({"Name": "data"}));
        wharf(remove);
        assert_eq!(wharf(&["ls", "-d", "wharf-volume", "--json"]).trim(), "[]");
        is_clean(&pair.there);
    }
}

#[test]
fn a_copy_of_a_volume_in_use_is_of_one_moment_or_refused() {
    let pair = Pair::on("btrfs", "");
    pair.fill("data", &json!({}), MIB);
    let place = pair.here.mount("data", "user");
    pair.is_refused(
        &["data", THERE],
        &["volume data is in use by user", "--keep"],
    );
    let before = pair.here.lab.exec(&[
        "python3",
        "/run/tree.py",
        "print",
        &format!("{ROOT}/volumes/data/data"),
    ]);
    let told = pair.moves(&["data", THERE, "--keep"]);
    assert_eq!(told["removed"], false);
    fs::write(place.join("more"), "later").expect("written");
    pair.here.unmount("data", "user");
    assert_eq!(Pair::tree(&pair.there, "data"), before);
    assert_eq!(Pair::names(&pair.here), ["data"]);
    // The copy's users may have changed it: it is nothing that a move may end with.
    pair.is_refused(&["data", THERE], &["volume data: the name is taken"]);
    assert_eq!(Pair::names(&pair.here), ["data"]);
    is_clean(&pair.here);
    let pair = Pair::on("", "");
    pair.fill("data", &json!({}), MIB);
    pair.here.mount("data", "user");
    pair.is_refused(
        &["data", THERE, "--keep"],
        &["in use by user", "no snapshot"],
    );
}

#[test]
fn what_cannot_be_done_is_refused_by_name_and_harms_nothing() {
    let mut pair = Pair::on("", "");
    pair.fill("data", &json!({}), 2 * MIB);
    let before = Pair::tree(&pair.here, "data");
    pair.is_refused(&["nothing", THERE], &["nothing"]);
    for host in ["-oProxyCommand=touch /run/owned", "a b", "there\nx"] {
        let output = pair.migrate(&["data", "--", host]);
        assert_eq!(output.status.code(), Some(1), "{output}");
        assert!(output.stderr.contains("is no host"), "{output}");
    }
    pair.is_refused(
        &["data", THERE, "--remote-wharf", "wharf;id"],
        &["wharf;id"],
    );
    pair.is_refused(
        &["data", THERE, "--remote-wharf", "/nowhere/wharf"],
        &[THERE, "has no wharf there"],
    );
    // Any program of ours refuses words that it does not know as an older wharf does.
    pair.is_refused(
        &["data", THERE, "--remote-wharf", "volume-local"],
        &["is it older?", "unrecognized"],
    );
    pair.is_refused(
        &[
            "data",
            "192.0.2.9",
            "--ssh-option",
            "ConnectTimeout=2",
            "--ssh-option",
            "BatchMode=yes",
        ],
        &["move volume data to 192.0.2.9", "ssh:"],
    );
    let known = pair.here.lab.path("/run/home/known");
    let right = fs::read_to_string(&known).expect("the key");
    let other = read(&pair.here, "/run/home/id.pub");
    fs::write(&known, format!("192.0.2.2,there {other}")).expect("written");
    pair.is_refused(&["data", THERE], &["Host key verification failed"]);
    fs::write(&known, right).expect("written");
    pair.there.create("data", &json!({}));
    pair.is_refused(&["data", THERE], &["volume data: the name is taken"]);
    pair.is_refused(&["data", THERE, "--name", "../x"], &["volume name"]);
    pair.is_refused(
        &["data", THERE, "--name", "new", "-o", "colour=red"],
        &["colour"],
    );
    pair.is_refused(
        &["data", THERE, "--name", "new", "-o", "type=tmpfs"],
        &["tmpfs"],
    );
    pair.here
        .work("Snapshot", &json!({"name": "data", "snapshot": "s1"}))
        .expect("a snapshot");
    pair.is_refused(
        &["data", THERE, "--name", "new"],
        &["s1", "--drop-snapshots"],
    );
    pair.here
        .ask("RemoveSnapshot", &json!({"name": "data", "snapshot": "s1"}));
    pair.here.create(
        "share",
        &json!({"type": "nfs", "device": "192.0.2.7:/x", "o": "soft"}),
    );
    pair.is_refused(&["share", THERE], &["nfs", "server's"]);
    pair.there.kill();
    pair.is_refused(&["data", THERE], &[THERE, "wharf-volume"]);
    pair.there
        .lab
        .exec(&["rm", "/run/docker/plugins/wharf-volume.sock"]);
    pair.is_refused(
        &["data", THERE],
        &["there is no volume driver wharf-volume"],
    );
    assert_eq!(Pair::tree(&pair.here, "data"), before);
    is_clean(&pair.here);
}

#[test]
fn where_there_is_no_room_the_rest_comes_when_there_is() {
    let pair = Pair::on("", "");
    pair.fill("data", &json!({}), 24 * MIB);
    let before = Pair::tree(&pair.here, "data");
    // Room of its own for the other side's volumes, too little of it.
    pair.is_refused(
        &["data", THERE, "-o", "size=20M", "-o", "type=loop"],
        &["big", "No space left on device"],
    );
    assert_eq!(Pair::tree(&pair.here, "data"), before);
    assert_eq!(Pair::names(&pair.there), [""; 0]);
    // With other options it begins anew, and nothing of the first is left.
    pair.moves(&["data", THERE, "-o", "size=64M", "-o", "type=loop"]);
    assert_eq!(Pair::tree(&pair.there, "data"), before);
    is_clean(&pair.there);
}

#[test]
fn halves_that_nobody_can_go_on_with_go_at_the_next_start() {
    let mut host = Host::new();
    host.kill();
    let arriving = host.lab.path(format!("{ROOT}/arriving"));
    fs::create_dir_all(arriving.join("notes")).expect("folder");
    fs::create_dir_all(arriving.join("volumes/unnoted/data")).expect("folder");
    fs::write(arriving.join("notes/gone.json"), "{}").expect("a note");
    fs::write(arriving.join("notes/unnoted.new"), "{").expect("a draft");
    host.restart();
    wait_for("the start to clear up", Duration::from_secs(10), || {
        let left = host.lab.exec(&["find", ROOT, "-mindepth", "3"]);
        left.is_empty().then_some(()).ok_or(left)
    });
    for name in ["gone", "unnoted"] {
        host.create(name, &json!({}));
    }
}
