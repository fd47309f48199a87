//! `wharf doctor`: a host without trouble is called so, each fault is named with its remedy, and nothing is changed.

use std::fs;
use std::io::Write;
use std::os::unix::net::UnixListener;
use std::process::Command;
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;
use nix::unistd::Pid;
use serde_json::Value;
use wharfline_testkit::wait_for;

use crate::crash::{kill_hard, shim_of};
use crate::support::{Answer, Host};

/// Every finding.
#[track_caller]
fn findings(answer: &Answer) -> Vec<Value> {
    let all: Value =
        serde_json::from_str(&answer.stdout).unwrap_or_else(|e| panic!("{e}: {answer:?}"));
    all.as_array().expect("a list").clone()
}

impl Host {
    fn doctor(&self) -> Answer {
        self.wharf(&["doctor", "--json"])
    }

    fn told(&self, command: Command) -> Answer {
        let output = self.lab.run_command(command, b"");
        Answer {
            code: output.status.code(),
            stdout: output.stdout,
            stderr: output.stderr,
        }
    }

    /// The doctor fails, and names `what` as a problem in these words, with a remedy.
    #[track_caller]
    fn has_problem(&self, what: &str, words: &str) {
        has_problem(&self.doctor(), what, words);
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.lab.path(path);
        fs::create_dir_all(path.parent().expect("a folder")).expect("made");
        fs::write(path, text).expect("written");
    }

    /// Puts another file in the place of one that cannot be written.
    fn put_over(&self, path: &str, content: &[u8]) {
        let file = self.lab.path("/run/instead");
        fs::write(file, content).expect("written");
        self.lab.exec(&["mount", "--bind", "/run/instead", path]);
        self.lab.exec(&["rm", "/run/instead"]);
    }
}

#[track_caller]
fn has_problem(answer: &Answer, what: &str, words: &str) {
    assert_eq!(answer.code, Some(1), "{answer:?}");
    let all = findings(answer);
    let named = all.iter().find(|one| {
        let text = |key: &str| one[key].as_str().unwrap_or_default();
        one["state"] == "problem" && text("what").contains(what) && text("found").contains(words)
    });
    let named = named.unwrap_or_else(|| panic!("no problem of {what}: {words} in {all:#?}"));
    assert_ne!(named["remedy"], "", "{named}");
}

#[test]
fn a_host_without_trouble_is_called_so_and_stays_as_it_is() {
    let host = Host::new();
    let before = host.world();
    let told = host.doctor();
    assert_eq!(told.code, Some(0), "{told:?}");
    for what in [
        "kernel: nf_tables",
        "capabilities",
        "plugin bridge",
        "plugin host-local",
    ] {
        let all = findings(&told);
        let fine = all
            .iter()
            .any(|one| one["what"] == what && one["state"] == "ok");
        assert!(fine, "{what}: {all:#?}");
    }
    let page = host.wharf(&["doctor"]).ok();
    assert!(
        page.contains("STATE") && page.contains("plugin bridge"),
        "{page}"
    );
    before.returns("the doctor changes nothing", || host.world());
}

#[test]
fn plugins_that_are_missing_or_lack_something_are_named() {
    let host = Host::new();
    let nowhere = host.wharf(&["--plugin-dir", "/run/nowhere", "doctor", "--json"]);
    has_problem(&nowhere, "plugin portmap", "is in none of /run/nowhere");
    host.lab
        .exec(&["mount", "--bind", "/dev/null", "/usr/sbin/nft"]);
    let told = host.doctor();
    has_problem(&told, "plugin bridge", "nft is not installed");
}

#[test]
fn configurations_that_cannot_work_are_named() {
    let host = Host::new();
    host.write("/etc/cni/net.d/10-broken.conflist", "{");
    let list = r#"{"cniVersion":"1.1.0","name":"theirs","plugins":[{"type":"loopback"}]}"#;
    host.write("/etc/cni/net.d/20-a.conflist", list);
    host.write("/etc/cni/net.d/30-b.conflist", list);
    let unknown = list.replace("theirs", "odd").replace("loopback", "nobodys");
    host.write("/etc/cni/net.d/40-c.conflist", &unknown);
    let told = host.doctor();
    has_problem(&told, "network", "10-broken.conflist");
    has_problem(
        &told,
        "network theirs",
        "30-b.conflist has the name of /etc/cni/net.d/20-a.conflist",
    );
    has_problem(&told, "network odd", "nobodys");
}

#[test]
fn what_keeps_packets_from_passing_is_named() {
    let host = Host::new();
    let container = host.start("alive", &[], &["sleep", "1000"]);
    host.lab.host().set_sysctl("net/ipv4/ip_forward", "0");
    host.has_problem(
        "sysctl net.ipv4.ip_forward",
        "0 while containers are attached",
    );
    host.lab.host().set_sysctl("net/ipv4/ip_forward", "1");
    host.put_over("/proc/sys/net/netfilter/nf_conntrack_count", b"999999999\n");
    host.has_problem("connection tracking", "999999999 of");
    crate::networks::end(&host, container);
}

#[test]
fn a_bridge_with_larger_packets_than_the_way_out_is_named() {
    let host = Host::new();
    // The lab has the machine's /sys, which shows the links of another namespace.
    host.lab.exec(&["mount", "-t", "sysfs", "sysfs", "/sys"]);
    host.lab.host().ip("link add up0 type veth peer name down0
         link set up0 mtu 1400 up
         address add 198.18.0.2/24 dev up0
         route add default via 198.18.0.1");
    host.lab
        .host()
        .ip("link add wide address 0a:5a:00:00:00:01 mtu 9000 type bridge");
    host.has_problem("MTU of wide", "9000, of the way out (up0) 1400");
}

#[test]
fn a_chain_of_iptables_legacy_that_drops_is_named_with_the_command_that_mends_it() {
    let host = Host::new();
    if !host
        .lab
        .try_exec(&["iptables-legacy", "-P", "FORWARD", "DROP"], "")
        .succeeded()
    {
        // A kernel without iptables-legacy cannot have this fault.
        return;
    }
    let told = host.doctor();
    has_problem(&told, "plugin bridge", "iptables-legacy -I FORWARD");
    let noted = findings(&told);
    let noted = noted
        .iter()
        .any(|one| one["what"] == "iptables-legacy" && one["state"] == "note");
    assert!(noted, "{told:?}");
}

#[test]
fn a_kernel_without_a_feature_is_told_by_its_configuration() {
    let host = Host::new();
    let release = host.lab.exec(&["uname", "-r"]);
    let config = "CONFIG_NF_TABLES=y\nCONFIG_NFT_MASQ=y\nCONFIG_BRIDGE=y\nCONFIG_VETH=y\n# CONFIG_NFT_NAT is not set\n";
    for folder in ["/boot", "/lib/modules", "/sys/module"] {
        if host.lab.try_exec(&["test", "-d", folder], "").succeeded() {
            host.lab.exec(&["mount", "-t", "tmpfs", "tmpfs", folder]);
        }
    }
    if host
        .lab
        .try_exec(&["test", "-e", "/proc/config.gz"], "")
        .succeeded()
    {
        let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
        packed.write_all(config.as_bytes()).expect("packed");
        host.put_over("/proc/config.gz", &packed.finish().expect("packed"));
    } else {
        host.write(&format!("/boot/config-{}", release.trim()), config);
    }
    let told = host.doctor();
    has_problem(
        &told,
        "kernel: nft_nat",
        "missing: published ports needs it",
    );
    let all = findings(&told);
    let vxlan = all
        .iter()
        .find(|one| one["what"] == "kernel: vxlan")
        .expect("looked at");
    assert_eq!(
        vxlan["state"], "note",
        "nothing of ours needs it today: {vxlan}"
    );
}

#[test]
fn sockets_and_files_that_hold_dockerd_up_are_named() {
    let host = Host::new();
    host.lab.exec(&["mkdir", "-p", "/run/docker/plugins"]);
    // What a plugin that was killed leaves.
    drop(UnixListener::bind(host.lab.path("/run/docker/plugins/wharf-ipam.sock")).expect("bound"));
    let kept =
        r#"{"request":{"NetworkID":"n1","IPv4Data":[{"Pool":"10.66.1.0/24"}]},"adopted":false}"#;
    host.write("/var/lib/wharfline/docker/networks/n1.json", kept);
    if host
        .lab
        .try_exec(&["mkdir", "-p", "/etc/docker"], "")
        .succeeded()
    {
        host.lab
            .exec(&["mount", "-t", "tmpfs", "tmpfs", "/etc/docker"]);
    }
    host.write(
        "/etc/docker/plugins/other.spec",
        "unix:///run/nobody.sock\n",
    );
    let told = host.doctor();
    has_problem(&told, "Docker plugin wharf-ipam", "Connection refused");
    has_problem(
        &told,
        "Docker plugin wharf-bridge",
        "Docker has 1 networks of it",
    );
    has_problem(&told, "other.spec", "/run/nobody.sock");
}

#[test]
fn what_the_dead_left_is_named() {
    let host = Host::new();
    let mut wharf = host.start("lost", &[], &["sleep", "1000"]);
    let shim = shim_of(&host, "lost");
    // wharf first: else it would remove the container itself.
    kill_hard(Pid::from_raw(wharf.id().cast_signed()));
    crate::run::exit_code(&mut wharf);
    kill_hard(shim);
    wait_for("the locks to go", Duration::from_secs(5), || {
        match host.container("lost") {
            Some(about) if about["state"] == "dead" => Ok(()),
            about => Err(format!("it is {about:?}")),
        }
    });
    host.has_problem("leftover", "nobody looks after it");
    host.wharf(&["gc"]).ok();
}

#[test]
fn state_that_cannot_be_written_is_named() {
    let host = Host::new();
    host.lab.remount_read_only("/var/lib");
    host.has_problem("state in /var/lib/wharfline", "cannot be written");
}

#[test]
fn lacking_capabilities_are_named() {
    let host = Host::new();
    let wharf = host.bin("wharf").display().to_string();
    let words = [
        "setpriv",
        "--bounding-set",
        "-net_admin,-sys_admin",
        &wharf,
        "doctor",
        "--json",
    ];
    let mut command = host.lab.command(words[0]);
    command.args(&words[1..]).env("CNI_PATH", host.plugins());
    let told = host.told(command);
    has_problem(&told, "capabilities", "CAP_NET_ADMIN and CAP_SYS_ADMIN");
}
