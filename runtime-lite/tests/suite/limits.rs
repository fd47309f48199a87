//! What a container may use: limits of its control groups and of its processes, as the kernel enforces them.
//! Runs on control groups of version 1 and, in the emulated machine, of version 2.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Instant;

use crate::support::{Answer, Host, unified};

const NONE: &[&str] = &["--network", "none"];
const SLEEP: &[&str] = &["sleep", "1000"];

/// A file of the container's control group, by the names that the versions have for it.
fn group(id: &str, one: (&str, &str), two: &str) -> String {
    let path = match unified() {
        true => format!("/sys/fs/cgroup/wharf/{id}/{two}"),
        false => format!("/sys/fs/cgroup/{}/wharf/{id}/{}", one.0, one.1),
    };
    let text = fs::read_to_string(&path).unwrap_or_else(|e| panic!("{path}: {e}"));
    text.trim().to_owned()
}

fn run(host: &Host, options: &[&str], script: &str) -> Answer {
    host.run(&[NONE, options].concat(), &["sh", "-c", script])
}

#[test]
fn memory_and_processes_end_where_they_were_limited() {
    let host = Host::new();
    let hog = "dd if=/dev/zero of=/dev/null bs=100M count=1";
    let tried = run(&host, &["--memory", "32m"], hog);
    assert_ne!(tried.code, Some(0), "{tried:?}");
    run(&host, &["--memory", "512m"], hog).ok();
    let fork = "for i in 1 2 3 4 5 6 7 8; do sleep 5 & done; echo forked";
    for word in ["--pids", "--pids-limit"] {
        let tried = run(&host, &[word, "4"], fork);
        assert!(tried.stderr.contains("fork"), "{tried:?}");
    }
}

#[test]
fn processors_are_shared_as_limited_and_limits_change_at_once() {
    let host = Host::new();
    let busy = ["sh", "-c", "while true; do :; done"];
    let id = host.leave("c", &[NONE, &["--cpus", "0.05"]].concat(), &busy);
    let period = |quota: &str| match unified() {
        true => format!("{quota} 100000"),
        false => quota.to_owned(),
    };
    let quota = || group(&id, ("cpu", "cpu.cfs_quota_us"), "cpu.max");
    assert_eq!(quota(), period("5000"));
    wharfline_testkit::wait_for(
        "it to be held up",
        std::time::Duration::from_secs(20),
        || {
            let told = group(&id, ("cpu", "cpu.stat"), "cpu.stat");
            let times = told
                .lines()
                .find_map(|line| line.strip_prefix("nr_throttled "));
            let often =
                times.is_some_and(|times| times.parse::<u64>().is_ok_and(|times| times >= 3));
            often.then_some(()).ok_or(told)
        },
    );
    let words = ["--cpus", "0.25", "--memory", "64m", "--pids", "9"];
    host.wharf(&[&["update"], &words[..], &["c"]].concat()).ok();
    assert_eq!(quota(), period("25000"));
    let memory = group(&id, ("memory", "memory.limit_in_bytes"), "memory.max");
    assert_eq!(memory, (64 << 20).to_string());
    assert_eq!(group(&id, ("pids", "pids.max"), "pids.max"), "9");
}

/// A disk of the test's own, with a filesystem.
struct Disk {
    device: String,
    folder: PathBuf,
    _file: tempfile::NamedTempFile,
}

impl Disk {
    fn new(host: &Host) -> Disk {
        let file = tempfile::NamedTempFile::new().expect("a file");
        file.as_file().set_len(64 << 20).expect("a size");
        let output = |program: &str, words: &[&str]| {
            let ended = Command::new(program).args(words).output().expect(program);
            assert!(ended.status.success(), "{program} {words:?}: {ended:?}");
            String::from_utf8_lossy(&ended.stdout).trim().to_owned()
        };
        let path = file.path().to_str().expect("a path").to_owned();
        output("mkfs.ext4", &["-q", &path]);
        let device = output("losetup", &["--find", "--show", &path]);
        let folder = host.lab.path("/var/lib/disk");
        fs::create_dir_all(&folder).expect("made");
        host.lab.exec(&["mount", &device, "/var/lib/disk"]);
        Disk {
            device,
            folder,
            _file: file,
        }
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Let go of when the lab's mounts are.
        let _ = Command::new("losetup")
            .args(["--detach", &self.device])
            .status();
        let _ = &self.folder;
    }
}

#[test]
fn disks_are_read_and_written_as_slowly_as_limited() {
    let host = Host::new();
    let disk = Disk::new(&host);
    let write = "dd if=/dev/zero of=/disk/file bs=64k count=24 oflag=direct";
    let read = "dd if=/disk/file of=/dev/null bs=64k count=24 iflag=direct";
    let bind = ["-v", "/var/lib/disk:/disk"];
    run(&host, &bind, write).ok();
    // 1.5 MB at half a megabyte a second, or 24 operations at ten a second, take two seconds and more.
    let rate = |text: &str| format!("{}:{text}", disk.device);
    for (option, rate, script) in [
        ("--device-write-bps", rate("512k"), write),
        ("--device-read-bps", rate("512k"), read),
        ("--device-write-iops", rate("10"), write),
        ("--device-read-iops", rate("10"), read),
    ] {
        let begun = Instant::now();
        run(&host, &[&bind[..], &[option, &rate]].concat(), script).ok();
        assert!(
            begun.elapsed().as_millis() > 1500,
            "{option}: {:?}",
            begun.elapsed()
        );
    }
    let limit = format!("wbps={}", rate("1m"));
    let id = host.leave("c", &[NONE, &["--blkio", &limit]].concat(), SLEEP);
    let told = group(&id, ("blkio", "blkio.throttle.write_bps_device"), "io.max");
    assert!(told.contains("1048576"), "{told}");
}

#[test]
fn limits_that_make_no_sense_are_refused() {
    let host = Host::new();
    for wrong in [
        ["--memory", "lots"],
        ["--cpus", "-1"],
        ["--blkio", "weight=5"],
        ["--blkio-weight", "1001"],
        ["--blkio", "rbps=/etc/passwd:1"],
        ["--device-read-bps", "/dev/nothing:1"],
        ["--ulimit", "files=1"],
        ["--oom-score-adj", "1001"],
        ["--security-opt", "seccomp=unconfined"],
    ] {
        let tried = run(&host, &wrong, "true");
        assert_eq!(tried.code, Some(125), "{wrong:?}: {tried:?}");
    }
}

/// `wharf run` as root who lacks a capability.
fn run_without(host: &Host, capability: &str, options: &[&str], script: &str) -> Answer {
    let words = [NONE, options, &[crate::support::ROOTFS, "sh", "-c", script]].concat();
    let mut command = host.lab.command("setpriv");
    let inner = host.command(&[]);
    command.arg(format!("--bounding-set=-{capability}"));
    command
        .arg(inner.get_program())
        .args(["run", "--rm"])
        .args(words);
    command.env("CNI_PATH", host.plugins());
    let output = host.lab.run_command(command, b"");
    Answer {
        code: output.status.code(),
        stdout: output.stdout,
        stderr: output.stderr,
    }
}

#[test]
fn what_may_not_be_raised_is_lowered_with_a_warning() {
    let host = Host::new();
    let own = fs::read_to_string("/proc/self/limits").expect("our limits");
    let line = own
        .lines()
        .find(|line| line.starts_with("Max open files"))
        .expect("a line");
    let hard = line.split_whitespace().nth(4).expect("a hard limit");
    let script = "ulimit -Sn; ulimit -Hn; cat /proc/self/oom_score_adj";
    let options = [
        "--ulimit",
        "nofile=50:99999999999",
        "--oom-score-adj",
        "-900",
    ];
    let tried = run_without(&host, "sys_resource", &options, script);
    assert_eq!(tried.stdout, format!("50\n{hard}\n0\n"), "{tried:?}");
    assert!(tried.stderr.contains("RLIMIT_NOFILE is"), "{tried:?}");
    assert!(
        tried.stderr.contains("oom_score_adj is 0 at least"),
        "{tried:?}"
    );
    let options = ["--ulimit", "nofile=50:60", "--oom-score-adj", "900"];
    let tried = run_without(&host, "sys_resource", &options, script);
    assert_eq!(tried.stdout, "50\n60\n900\n", "{tried:?}");
    assert_eq!(tried.stderr, "");
}

#[test]
fn a_shim_stays_as_it_was_whatever_its_container_was_given() {
    let host = Host::new();
    let options = [NONE, &["--oom-score-adj", "500"]].concat();
    host.leave("c", &options, SLEEP);
    assert_eq!(host.exec("c", "cat /proc/self/oom_score_adj").ok(), "500\n");
    let shim = format!("/proc/{}", host.shim_of("c"));
    let own = fs::read_to_string("/proc/self/oom_score_adj").expect("our own");
    let of_shim = fs::read_to_string(format!("{shim}/oom_score_adj")).expect("the shim's");
    assert_eq!(of_shim, own);
    assert_eq!(
        fs::read_to_string(format!("{shim}/comm")).expect("a name"),
        "wharf-shim\n"
    );
}

#[test]
fn a_device_of_the_hosts_is_given_or_refused_by_name() {
    let host = Host::new();
    let tried = run(
        &host,
        &["--device", "/dev/kmsg:/dev/messages:r"],
        "ls /dev/messages",
    );
    match unified() {
        true => tried.refused(125, "--device needs rules for devices"),
        false => assert_eq!(tried.ok(), "/dev/messages\n"),
    }
}
