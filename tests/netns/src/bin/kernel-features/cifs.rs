//! Volumes on a server of Windows' files, Samba's: they are mounted, written and unmounted, and the password is told nobody.

use std::fs;
use std::time::Duration;

use serde_json::json;
use wharfline_netns_tests::docker::Server;
use wharfline_testkit::{Feature, Lab, Process, wait_for};

use super::Case;
use super::volumes::{ROOT, create, describe, mount, start, unmount};

/// Commas separate options of mount(8), and quotes enclose them.
const PASSWORD: &str = "Tr0ub4dor,&3\"x";

/// On Debian's kernel.
pub(super) const CASES: [Case; 1] = [Case {
    name: "cifs::a_share_is_a_volume_and_its_password_is_told_nobody",
    needs: &[Feature::Cifs],
    run: a_share_is_a_volume,
}];

const SAMBA: &str = "[global]
server role = standalone server
interfaces = lo
bind interfaces only = yes
smb ports = 445
server min protocol = SMB3_00
load printers = no
disable spoolss = yes
passdb backend = smbpasswd:/run/samba/smbpasswd
private dir = /run/samba
lock directory = /run/samba
state directory = /run/samba
cache directory = /run/samba
pid directory = /run/samba
ncalrpc dir = /run/samba/ncalrpc
log file = /run/samba/log
[share]
path = /run/shared
read only = no
";

fn start_samba(lab: &Lab) -> Process {
    for folder in ["/run/samba", "/run/shared"] {
        fs::create_dir_all(lab.path(folder)).expect("a folder");
    }
    fs::write(lab.path("/run/smb.conf"), SAMBA).expect("written");
    let words = ["smbpasswd", "-c", "/run/smb.conf", "-s", "-a", "root"];
    let added = lab.try_exec(&words, &format!("{PASSWORD}\n{PASSWORD}\n"));
    assert!(added.succeeded(), "{added}");
    let mut command = lab.command("smbd");
    command.args(["--foreground", "--no-process-group"]);
    command.arg("--configfile=/run/smb.conf");
    let server = Process::start(command);
    wait_for("samba to listen", Duration::from_secs(15), || {
        let listening = lab.exec(&["ss", "-Hltn", "sport = :445"]);
        let log = || fs::read_to_string(lab.path("/run/samba/log")).unwrap_or_default();
        (!listening.is_empty()).then_some(()).ok_or_else(log)
    });
    server
}

fn a_share_is_a_volume() {
    let lab = Lab::new();
    let samba = start_samba(&lab);
    let server = start(&lab);
    let share = |password: &str| {
        json!({"type": "cifs", "device": "//127.0.0.1/share", "o": "username=root,vers=3.0",
            "password": password})
    };
    create(&server, "far", &share(PASSWORD));
    let far = mount(&server, "far");
    fs::write(lab.path(format!("{far}/f")), "over the net").expect("written");
    let served = fs::read_to_string(lab.path("/run/shared/f")).expect("read");
    assert_eq!(served, "over the net");
    fs::write(lab.path("/run/shared/g"), "from there").expect("written");
    let seen = fs::read_to_string(lab.path(format!("{far}/g"))).expect("read");
    assert_eq!(seen, "from there");
    let usage = describe(&server, "far")["usage"].clone();
    assert!(
        usage["free_bytes"].as_u64().is_some_and(|free| free > 0),
        "{usage}"
    );
    let mounts = lab.exec(&["cat", "/proc/self/mountinfo"]);
    assert!(
        mounts.contains("cifs") && !mounts.contains("Tr0ub4dor"),
        "{mounts}"
    );
    is_told_nobody(&lab, &server, "far");
    unmount(&server, "far");
    // The password of before the last comma is another.
    create(&server, "wrong", &share("Tr0ub4dor"));
    let of = json!({"Name": "wrong", "ID": "a"});
    let refused = server.refused("/VolumeDriver.Mount", &of);
    assert!(
        !refused.contains("Tr0ub4dor") && refused.contains("127.0.0.1"),
        "{refused}"
    );
    is_told_nobody(&lab, &server, "wrong");
    for name in ["far", "wrong"] {
        server.call("/VolumeDriver.Remove", &json!({"Name": name}));
    }
    let mounts = lab.exec(&["cat", "/proc/self/mountinfo"]);
    assert!(!mounts.contains(ROOT), "{mounts}");
    let kept = fs::read_to_string(lab.path("/run/shared/f")).expect("the server's file");
    assert_eq!(kept, "over the net");
    drop(samba);
}

/// Neither in what is told of the volume, nor in the log.
fn is_told_nobody(lab: &Lab, server: &Server, name: &str) {
    let got = server.call("/VolumeDriver.Get", &json!({"Name": name}));
    let listed = server.call("/VolumeDriver.List", &json!({}));
    let log = fs::read_to_string(lab.path("/run/volume-local.log")).expect("the log");
    let told = format!("{got} {listed} {} {log}", describe(server, name));
    assert!(!told.contains("Tr0ub4dor"), "{told}");
}
