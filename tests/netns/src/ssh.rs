//! A cable between two labs, and a real sshd on one that lets root of the other in: keys, accounts and configuration are
//! the labs' own.
//!
//! Called by tests of what goes from host to host. It must touch no file of the machine's /etc/ssh, nor any home.

use std::fs;
use std::time::Duration;

use wharfline_testkit::{Lab, Process, wait_for};

use crate::ours;

/// root with a home of the test's own.
const ACCOUNTS: &str =
    "root:x:0:0:root:/run/home:/bin/bash\nsshd:x:105:65534::/run/sshd:/usr/sbin/nologin\n";

/// Covers accounts and ssh's own configuration in the mount namespace that `run` runs a program in.
pub fn own_accounts(lab: &Lab, run: impl FnOnce(&[&str])) {
    write(lab, "/run/passwd", ACCOUNTS);
    let script =
        "mkdir -p /run/home/.ssh /run/sshd; chmod 700 /run/home /run/home/.ssh; chmod 755 /run/sshd
        mount --bind /run/passwd /etc/passwd; mount -t tmpfs tmpfs /etc/ssh";
    run(&["sh", "-ec", script]);
}

/// Plugs the labs together, and serves ssh on `there` (192.0.2.2), which `here` (192.0.2.1) knows by the name `there`.
/// `settings` are further lines of its ssh_config. Both have accounts of their own already.
pub fn serve(here: &Lab, there: &Lab, settings: &str) -> Process {
    plug(here, there);
    let keygen = "ssh-keygen -q -t ed25519 -N '' -f";
    here.exec(&["sh", "-ec", &format!("{keygen} /run/home/id")]);
    there.exec(&["sh", "-ec", &format!("{keygen} /run/host_key")]);
    let read = |lab: &Lab, path| fs::read_to_string(lab.path(path)).expect("a key");
    write(
        there,
        "/run/home/.ssh/authorized_keys",
        &read(here, "/run/home/id.pub"),
    );
    let host_key = read(there, "/run/host_key.pub");
    write(
        here,
        "/run/home/known",
        &format!("192.0.2.2,there {host_key}"),
    );
    let client = format!(
        "Host there\n  HostName 192.0.2.2\n  User root\n  IdentityFile /run/home/id\n  BatchMode yes\n  \
         UserKnownHostsFile /run/home/known\n  GlobalKnownHostsFile none\n  StrictHostKeyChecking yes\n{settings}"
    );
    write(here, "/run/home/.ssh/config", &client);
    let bin = ours().directory().display().to_string();
    let config = format!(
        "ListenAddress 192.0.2.2\nHostKey /run/host_key\nPidFile none\nUsePAM no\nStrictModes no\n\
         PasswordAuthentication no\nPermitRootLogin yes\nSetEnv PATH={bin}:/usr/bin:/bin\n"
    );
    write(there, "/run/sshd_config", &config);
    let mut command = there.command("/usr/sbin/sshd");
    command.args(["-D", "-e", "-f", "/run/sshd_config"]);
    let log = fs::File::create(there.path("/run/sshd.log")).expect("a log");
    command.stderr(log);
    let sshd = Process::start(command);
    wait_for("sshd to listen", Duration::from_secs(10), || {
        let listening = there.exec(&["ss", "-Hltn"]);
        let log = fs::read_to_string(there.path("/run/sshd.log")).unwrap_or_default();
        listening.contains(":22").then_some(()).ok_or(log)
    });
    sshd
}

fn plug(here: &Lab, there: &Lab) {
    let mut command = there.command("sleep");
    command.arg("600");
    let holder = Process::start(command);
    let pid = holder.id();
    // The process is in its namespace once it is `sleep`.
    wait_for(
        "a process on the other host",
        Duration::from_secs(5),
        || {
            let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
            (name.trim() == "sleep").then_some(()).ok_or(name)
        },
    );
    here.host().ip(&format!(
        "link add net0 type veth peer name net0 netns {pid}\nlink set net0 up\naddr add 192.0.2.1/24 dev net0"
    ));
    there
        .host()
        .ip("link set net0 up\naddr add 192.0.2.2/24 dev net0");
}

fn write(lab: &Lab, path: &str, text: &str) {
    fs::write(lab.path(path), text).unwrap_or_else(|e| panic!("{path}: {e}"));
}
