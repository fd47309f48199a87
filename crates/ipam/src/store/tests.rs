//! The store and the verbs on a directory of their own: format, trust in the index, boots, cooldown.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};
use wharfline_spec::cni::{Args, CniResult, NetConf};
use wharfline_spec::{ContainerId, IfName};

use super::*;
use crate::host_local::{add, check, collect, del, gc, status};

/// A host with one data directory.
struct Host {
    dir: tempfile::TempDir,
    site: Site,
}

impl Host {
    fn new() -> Host {
        let dir = tempfile::tempdir().unwrap();
        let site = Site {
            index: dir.path().join("run"),
            results: vec![dir.path().join("results")],
            boot_id: dir.path().join("boot_id"),
            lock_wait: Duration::from_millis(50),
        };
        fs::write(&site.boot_id, "boot-a\n").unwrap();
        Host { dir, site }
    }

    fn conf(&self, ipam: Value) -> NetConf {
        let mut doc = json!({"cniVersion": "1.1.0", "name": "net", "type": "x", "ipam": ipam});
        doc["ipam"]["dataDir"] = self.dir.path().join("leases").to_str().unwrap().into();
        NetConf::parse(doc.to_string().as_bytes()).unwrap()
    }

    fn leases(&self) -> std::path::PathBuf {
        self.dir.path().join("leases/net")
    }

    fn names(&self) -> Vec<String> {
        let listing = fs::read_dir(self.leases()).unwrap();
        let mut names: Vec<String> = listing
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.retain(|name| Addr::from_file_name(name).is_some());
        names.sort();
        names
    }

    fn reboot(&self, boot: &str) {
        fs::write(&self.site.boot_id, boot).unwrap();
        let _ = fs::remove_dir_all(&self.site.index);
    }

    fn add(&self, conf: &NetConf, container: &str) -> Result<CniResult, Error> {
        add(&self.site, conf, &Args::default(), &owner(container))
    }
}

fn owner(container: &str) -> Owner {
    Owner::new(
        &ContainerId::new(container).unwrap(),
        &IfName::new("eth0").unwrap(),
    )
}

fn addresses(result: &CniResult) -> Vec<String> {
    result.ips.iter().map(|ip| ip.address.to_string()).collect()
}

fn small() -> Value {
    json!({"ranges": [[{"subnet": "10.1.0.0/29"}]]})
}

#[test]
fn a_lease_is_the_reference_s_file_and_nothing_else_lies_beside_it() {
    let host = Host::new();
    let conf = host
        .conf(json!({"ranges": [[{"subnet": "10.1.0.0/24"}], [{"subnet": "fd00:0:0:1::/64"}]]}));
    let result = host.add(&conf, "c1").unwrap();
    assert_eq!(addresses(&result), ["10.1.0.2/24", "fd00:0:0:1::2/64"]);
    assert_eq!(
        fs::read(host.leases().join("10.1.0.2")).unwrap(),
        b"c1\r\neth0"
    );
    assert_eq!(
        fs::read_to_string(host.leases().join("last_reserved_ip.1")).unwrap(),
        "fd00:0:0:1::2"
    );
    assert_eq!(
        fs::read_dir(host.leases()).unwrap().count(),
        5,
        "two leases, two hints, the lock"
    );
    del(&host.site, &conf, &owner("c1")).unwrap();
    assert!(host.names().is_empty());
}

#[test]
fn the_last_reserved_address_shrinks_whole() {
    let host = Host::new();
    let conf =
        host.conf(json!({"ranges": [[{"subnet": "10.1.0.0/24", "rangeStart": "10.1.0.100"}]]}));
    fs::create_dir_all(host.leases()).unwrap();
    fs::write(host.leases().join("last_reserved_ip.0"), "10.1.0.254").unwrap();
    assert_eq!(
        addresses(&host.add(&conf, "c1").unwrap()),
        ["10.1.0.100/24"]
    );
    let conf = host.conf(json!({"ranges": [[{"subnet": "10.1.0.0/28"}]]}));
    host.add(&conf, "c2").unwrap();
    assert_eq!(
        fs::read_to_string(host.leases().join("last_reserved_ip.0")).unwrap(),
        "10.1.0.2"
    );
}

#[test]
fn an_exhausted_set_gives_nothing_back_that_was_there_and_keeps_nothing_new() {
    let host = Host::new();
    let conf =
        host.conf(json!({"ranges": [[{"subnet": "10.1.0.0/24"}], [{"subnet": "10.2.0.0/30"}]]}));
    host.add(&conf, "c1").unwrap();
    let error = host.add(&conf, "c2").unwrap_err();
    assert_eq!(error.code(), 101);
    assert!(
        error
            .to_string()
            .contains("no IP addresses available in range set: 10.2.0.1-10.2.0.2"),
        "{error}"
    );
    assert_eq!(host.names(), ["10.1.0.2", "10.2.0.2"]);
    let refused = status(&host.site, &conf).unwrap_err();
    assert_eq!(
        (refused.code(), refused.details().as_str()),
        (50, "0 of 1 addresses free")
    );
    del(&host.site, &conf, &owner("c1")).unwrap();
    status(&host.site, &conf).unwrap();
}

#[test]
fn a_second_add_is_an_error_unless_the_configuration_says_reuse() {
    let host = Host::new();
    let conf = host.conf(small());
    host.add(&conf, "c1").unwrap();
    let error = host.add(&conf, "c1").unwrap_err();
    assert_eq!(error.code(), 100);
    assert!(
        error
            .to_string()
            .contains("duplicate allocation is not allowed"),
        "{error}"
    );
    let mut reuse = small();
    reuse["onDuplicate"] = "reuse".into();
    assert_eq!(
        addresses(&host.add(&host.conf(reuse), "c1").unwrap()),
        ["10.1.0.2/29"]
    );
    assert_eq!(host.names(), ["10.1.0.2"]);
}

#[test]
fn requested_addresses_are_given_or_refused_by_reason() {
    let host = Host::new();
    let conf = host.conf(small());
    let request = |container: &str, ip: &str| {
        add(
            &host.site,
            &conf,
            &Args::parse(&format!("IP={ip}")).unwrap(),
            &owner(container),
        )
    };
    assert_eq!(
        addresses(&request("c1", "10.1.0.5").unwrap()),
        ["10.1.0.5/29"]
    );
    let taken = request("c2", "10.1.0.5").unwrap_err();
    assert!(taken.to_string().contains("leased to c1 eth0"), "{taken}");
    let gateway = request("c2", "10.1.0.1").unwrap_err();
    assert!(gateway.to_string().contains("gateway"), "{gateway}");
    let outside = request("c2", "10.9.0.1").unwrap_err();
    assert!(outside.to_string().contains("10.9.0.1"), "{outside}");
    assert_eq!(host.names(), ["10.1.0.5"]);
    // Round robin goes on behind the requested one, as with the reference.
    assert_eq!(addresses(&host.add(&conf, "c2").unwrap()), ["10.1.0.6/29"]);
}

#[test]
fn old_leases_without_an_interface_are_honoured_and_released() {
    let host = Host::new();
    let conf = host.conf(small());
    fs::create_dir_all(host.leases()).unwrap();
    fs::write(host.leases().join("10.1.0.2"), "c1").unwrap();
    check(&host.site, &conf, &owner("c1")).unwrap();
    assert_eq!(host.add(&conf, "c1").unwrap_err().code(), 100);
    assert_eq!(addresses(&host.add(&conf, "c2").unwrap()), ["10.1.0.3/29"]);
    del(&host.site, &conf, &owner("c1")).unwrap();
    assert_eq!(host.names(), ["10.1.0.3"]);
}

#[test]
fn the_index_is_believed_only_while_nobody_else_changed_the_directory() {
    let host = Host::new();
    let conf = host.conf(small());
    host.add(&conf, "c1").unwrap();
    let identity = Folder::open(&host.leases())
        .unwrap()
        .unwrap()
        .identity()
        .unwrap();
    assert!(Index::stored(&host.site.index, identity).is_some());
    // Somebody takes the next address and frees the first, as the reference would.
    fs::write(host.leases().join("10.1.0.3"), "other\r\neth0").unwrap();
    fs::remove_file(host.leases().join("10.1.0.2")).unwrap();
    assert_eq!(addresses(&host.add(&conf, "c2").unwrap()), ["10.1.0.4/29"]);
    check(&host.site, &conf, &owner("other")).unwrap();
    assert_eq!(
        check(&host.site, &conf, &owner("c1")).unwrap_err().code(),
        103
    );
}

#[test]
fn a_lying_index_is_found_out() {
    let host = Host::new();
    let conf = host.conf(small());
    host.add(&conf, "c1").unwrap();
    // The directory is changed behind the index's back, its time put back to the stamp.
    let folder = Folder::open(&host.leases()).unwrap().unwrap();
    let stamp = folder.identity().unwrap().mtime;
    fs::write(host.leases().join("10.1.0.3"), "other\r\neth0").unwrap();
    folder.set_mtime(stamp).unwrap();
    assert_eq!(addresses(&host.add(&conf, "c2").unwrap()), ["10.1.0.4/29"]);
    let stamp = folder.identity().unwrap().mtime;
    fs::remove_file(host.leases().join("10.1.0.4")).unwrap();
    folder.set_mtime(stamp).unwrap();
    del(&host.site, &conf, &owner("c2")).unwrap();
    assert_eq!(host.names(), ["10.1.0.2", "10.1.0.3"]);
}

#[test]
fn without_a_place_for_an_index_all_is_the_same() {
    let mut host = Host::new();
    fs::write(host.dir.path().join("file"), "").unwrap();
    host.site.index = host.dir.path().join("file/below");
    let conf = host.conf(small());
    assert_eq!(addresses(&host.add(&conf, "c1").unwrap()), ["10.1.0.2/29"]);
    assert_eq!(addresses(&host.add(&conf, "c2").unwrap()), ["10.1.0.3/29"]);
    del(&host.site, &conf, &owner("c1")).unwrap();
    assert_eq!(host.names(), ["10.1.0.3"]);
}

#[test]
fn empty_leases_of_a_crash_are_reclaimed_and_junk_is_left_alone() {
    let host = Host::new();
    let conf = host.conf(json!({"ranges": [[{"subnet": "10.1.0.0/29", "rangeEnd": "10.1.0.4"}]]}));
    fs::create_dir_all(host.leases().join("10.1.0.3")).unwrap();
    fs::write(host.leases().join("10.1.0.2"), "").unwrap();
    fs::write(host.leases().join("notes.txt"), "keep me").unwrap();
    assert_eq!(addresses(&host.add(&conf, "c1").unwrap()), ["10.1.0.2/29"]);
    assert_eq!(
        addresses(&host.add(&conf, "c2").unwrap()),
        ["10.1.0.4/29"],
        "a folder is no free address"
    );
    assert_eq!(host.add(&conf, "c3").unwrap_err().code(), 101);
    assert!(gc(&host.site, &crate::config::place(&conf).unwrap(), &[]).is_ok());
    assert_eq!(host.names(), ["10.1.0.3"]);
    assert!(host.leases().join("notes.txt").exists());
}

#[test]
fn gc_frees_what_is_not_valid_and_keeps_what_the_operator_reserved() {
    let host = Host::new();
    let conf = host.conf(small());
    let place = crate::config::place(&conf).unwrap();
    for container in ["c1", "c2", "c3"] {
        host.add(&conf, container).unwrap();
    }
    crate::operator::reserve(&host.site, &place, addr("10.1.0.6")).unwrap();
    assert_eq!(
        collect(&host.site, &conf).unwrap_err().code(),
        7,
        "no list, no collection"
    );
    assert_eq!(host.names().len(), 4);
    let mut doc = conf.raw.clone();
    doc.insert(
        "cni.dev/valid-attachments".into(),
        json!([{"containerID": "c2", "ifname": "eth0"}]),
    );
    let listed = NetConf::parse(Value::Object(doc).to_string().as_bytes()).unwrap();
    collect(&host.site, &listed).unwrap();
    assert_eq!(host.names(), ["10.1.0.3", "10.1.0.6"]);
    assert_eq!(
        addresses(&host.add(&conf, "c4").unwrap()),
        ["10.1.0.5/29"],
        "goes on round robin"
    );
}

#[test]
fn leases_of_an_earlier_boot_are_reclaimed_once() {
    let host = Host::new();
    let conf = host.conf(small());
    host.add(&conf, "c1").unwrap();
    host.add(&conf, "c2").unwrap();
    host.reboot("boot-b");
    // The reference came first in the new boot; its lease is younger than our last write.
    let newer = host.leases().join("10.1.0.6");
    fs::write(&newer, "new\r\neth0").unwrap();
    File::open(&newer)
        .unwrap()
        .set_modified(SystemTime::now() + Duration::from_millis(5))
        .unwrap();
    host.add(&conf, "c3").unwrap();
    assert_eq!(host.names(), ["10.1.0.4", "10.1.0.6"]);
    host.add(&conf, "c4").unwrap();
    assert_eq!(host.names(), ["10.1.0.4", "10.1.0.5", "10.1.0.6"]);
}

#[test]
fn status_reclaims_too_or_a_full_pool_would_never_serve_again() {
    let host = Host::new();
    let conf = host.conf(json!({"ranges": [[{"subnet": "10.1.0.0/30"}]]}));
    host.add(&conf, "c1").unwrap();
    assert_eq!(status(&host.site, &conf).unwrap_err().code(), 50);
    host.reboot("boot-b");
    status(&host.site, &conf).unwrap();
    assert!(host.names().is_empty());
}

#[test]
fn nothing_is_reclaimed_where_we_never_wrote_in_the_earlier_boot() {
    let host = Host::new();
    let conf = host.conf(small());
    fs::create_dir_all(host.leases()).unwrap();
    fs::write(host.leases().join("10.1.0.2"), "c1\r\neth0").unwrap();
    host.add(&conf, "c2").unwrap();
    assert_eq!(host.names(), ["10.1.0.2", "10.1.0.3"]);
}

#[test]
fn a_clock_that_went_back_reclaims_nothing() {
    let host = Host::new();
    let conf = host.conf(small());
    host.add(&conf, "c1").unwrap();
    let mark = host.dir.path().join("leases/.wharfline/net.boot");
    File::open(mark)
        .unwrap()
        .set_modified(SystemTime::now() + Duration::from_secs(3600))
        .unwrap();
    host.reboot("boot-b");
    host.add(&conf, "c2").unwrap();
    assert_eq!(host.names(), ["10.1.0.2", "10.1.0.3"]);
}

#[test]
fn a_lease_of_an_earlier_boot_with_a_dead_namespace_in_the_cache_is_reclaimed() {
    let host = Host::new();
    let conf = host.conf(small());
    host.add(&conf, "c1").unwrap();
    let cache = &host.site.results[0];
    fs::create_dir_all(cache).unwrap();
    // A plain file where a namespace was mounted, and the host's own namespace, are no living ones.
    let left_over = host.dir.path().join("netns");
    fs::write(&left_over, "").unwrap();
    let entry = |netns: &Path| {
        let entry = json!({"kind": "cniCacheV1", "netns": netns, "result": {"interfaces":
            [{"name": "eth0", "sandbox": "/proc/self/ns/net"}]}});
        fs::write(cache.join("net-c1-eth0"), entry.to_string()).unwrap();
    };
    entry(&left_over);
    host.reboot("boot-b");
    host.add(&conf, "c2").unwrap();
    assert_eq!(host.names(), ["10.1.0.3"]);
}

#[test]
fn released_addresses_cool_down() {
    let host = Host::new();
    let mut ipam = json!({"ranges": [[{"subnet": "10.1.0.0/30"}]], "cooldown": 3600});
    let conf = host.conf(ipam.clone());
    host.add(&conf, "c1").unwrap();
    assert_eq!(host.add(&conf, "c2").unwrap_err().code(), 101);
    del(&host.site, &conf, &owner("c1")).unwrap();
    assert_eq!(host.add(&conf, "c2").unwrap_err().code(), 11);
    let refused = status(&host.site, &conf).unwrap_err();
    assert_eq!(
        (refused.code(), refused.details().as_str()),
        (50, "0 of 1 addresses free, 1 in cooldown")
    );
    // Whoever asks for it by name gets it, and the key's absence ends the matter.
    ipam["cooldown"] = 0.into();
    assert_eq!(
        addresses(&host.add(&host.conf(ipam), "c2").unwrap()),
        ["10.1.0.2/30"]
    );
}

#[test]
fn a_taken_lock_is_code_11_and_a_file_for_a_directory_code_5() {
    let host = Host::new();
    let conf = host.conf(small());
    host.add(&conf, "c1").unwrap();
    let held = File::open(host.leases().join("lock")).unwrap();
    held.lock().unwrap();
    assert_eq!(host.add(&conf, "c2").unwrap_err().code(), 11);
    drop(held);
    fs::remove_dir_all(host.leases()).unwrap();
    fs::write(host.leases(), "").unwrap();
    for error in [
        host.add(&conf, "c2").unwrap_err(),
        del(&host.site, &conf, &owner("c1")).unwrap_err(),
    ] {
        assert_eq!(error.code(), 5);
        assert!(error.to_string().contains("leases/net"), "{error}");
    }
}

#[test]
fn a_release_on_a_network_that_never_was_makes_nothing() {
    let host = Host::new();
    let conf = host.conf(small());
    del(&host.site, &conf, &owner("c1")).unwrap();
    status(&host.site, &conf).unwrap();
    assert!(!host.leases().exists());
}

#[test]
fn a_file_system_without_nameless_files_gets_whole_leases_too() {
    let host = Host::new();
    fs::create_dir_all(host.leases()).unwrap();
    let folder = Folder::open(&host.leases()).unwrap().unwrap();
    let staged = folder::Staged::Content(b"c1\r\neth0".to_vec());
    folder.publish(&staged, "10.1.0.2").unwrap();
    let again = folder.publish(&staged, "10.1.0.2").unwrap_err();
    assert_eq!(again.kind(), io::ErrorKind::AlreadyExists);
    assert_eq!(
        fs::read(host.leases().join("10.1.0.2")).unwrap(),
        b"c1\r\neth0"
    );
    assert_eq!(
        fs::metadata(host.leases().join("10.1.0.2")).unwrap().mode() & 0o777,
        0o600
    );
}

fn addr(text: &str) -> Addr {
    Addr::from_file_name(text).unwrap()
}

#[test]
fn many_threads_never_share_an_address() {
    let mut host = Host::new();
    host.site.lock_wait = Duration::from_secs(60);
    let conf = host.conf(json!({"ranges": [[{"subnet": "10.1.0.0/22"}]]}));
    std::thread::scope(|scope| {
        for worker in 0..8 {
            let (host, conf) = (&host, &conf);
            scope.spawn(move || {
                for round in 0..50 {
                    let container = format!("w{worker}-{round}");
                    host.add(conf, &container).unwrap();
                    if round % 2 == 0 {
                        del(&host.site, conf, &owner(&container)).unwrap();
                    }
                }
            });
        }
    });
    let mut holders: Vec<String> = host
        .names()
        .iter()
        .map(|name| fs::read_to_string(host.leases().join(name)).unwrap())
        .collect();
    assert_eq!(holders.len(), 8 * 25);
    holders.sort();
    holders.dedup();
    assert_eq!(holders.len(), 8 * 25);
    gc(&host.site, &crate::config::place(&conf).unwrap(), &[]).unwrap();
    assert!(host.names().is_empty());
}
