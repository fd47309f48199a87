//! A disk that is full, read-only or spoilt: a clear error, nothing changed and nothing lost.

use serde_json::{Value, json};
use wharfline_netns_tests::lists::{
    self, current, gateway, host_local, list, masquerading, port, ports,
};
use wharfline_netns_tests::{Pod, lasting, ours};
use wharfline_testkit::traffic::tcp;
use wharfline_testkit::{Attachment, Lab, Network, Outside, Verb};

const LEASES: &str = "/var/lib/cni/networks/net";

/// A network with one container that works, on a host whose disk is about to fail.
fn host(lab: &Lab) -> (Network<'_>, Pod) {
    let network = Network::new(
        lab,
        &ours(),
        list("net", json!([gateway(&host_local("10.88.0.0/24"))])),
    );
    let pod = Pod::on(&network, "old");
    (network, pod)
}

/// ADD fails with an I/O error that names `word`, changes nothing, and works again after `mended`.
fn fails_clearly(lab: &Lab, network: &Network<'_>, word: &str, mended: impl FnOnce()) {
    let pod = lab.namespace("new");
    let attachment = Attachment::of(&pod);
    let before = lasting(lab.world_with(&[&pod]));
    let outcome = network.call(Verb::Add, 0, &attachment, None).make(lab);
    let told = outcome.failed();
    assert_eq!(outcome.error()["code"], 5, "{outcome}");
    assert!(told.contains(word), "does not say {word:?}: {told}");
    before.returns("the world before", || lasting(lab.world_with(&[&pod])));
    mended();
    network.add(&attachment);
    network
        .check(&attachment)
        .unwrap_or_else(|failed| panic!("{failed}"));
}

fn fill(lab: &Lab, directory: &str) {
    let full = lab.enter(|| {
        let path = format!("{directory}/ballast");
        (0..64).map_while(|_| append(&path)).count()
    });
    assert!(full > 0, "nothing could be written at all");
}

fn append(path: &str) -> Option<()> {
    use std::io::Write;
    let mut file = std::fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(path)
        .ok()?;
    file.write_all(&[0; 4096]).ok()
}

#[test]
fn a_full_disk_below_the_leases() {
    let lab = Lab::new();
    lab.mount_small("/var/lib/cni", 64 << 10);
    let (network, old) = host(&lab);
    fill(&lab, "/var/lib/cni");
    let freed =
        || lab.enter(|| std::fs::remove_file("/var/lib/cni/ballast").expect("remove the ballast"));
    fails_clearly(&lab, &network, LEASES, freed);
    network
        .check(&old.attachment)
        .unwrap_or_else(|failed| panic!("{failed}"));
}

#[test]
fn a_container_leaves_a_full_disk() {
    let lab = Lab::new();
    lab.mount_small("/var/lib/cni", 64 << 10);
    let (network, old) = host(&lab);
    fill(&lab, "/var/lib/cni");
    network.del(&old.attachment);
    assert_eq!(lab.world().state(&format!("file {LEASES}/10.88.0.2")), None);
}

#[test]
fn a_full_run_directory() {
    let lab = Lab::new();
    lab.mount_small("/run/wharfline", 64 << 10);
    let (network, old) = host(&lab);
    fill(&lab, "/run/wharfline");
    let freed = || {
        lab.enter(|| std::fs::remove_file("/run/wharfline/ballast").expect("remove the ballast"))
    };
    fails_clearly(&lab, &network, "/run/wharfline", freed);
    network
        .check(&old.attachment)
        .unwrap_or_else(|failed| panic!("{failed}"));
}

#[test]
fn a_read_only_lease_directory() {
    let lab = Lab::new();
    lab.mount_small("/var/lib/cni", 1 << 20);
    let (network, old) = host(&lab);
    lab.remount_read_only("/var/lib/cni");
    let writable = || {
        let output = lab.try_exec(&["mount", "-o", "remount,rw", "/var/lib/cni"], "");
        assert!(output.succeeded(), "{output}");
    };
    fails_clearly(&lab, &network, "/var/lib/cni", writable);
    network
        .check(&old.attachment)
        .unwrap_or_else(|failed| panic!("{failed}"));
}

#[test]
fn a_file_where_the_lease_directory_should_be() {
    let lab = Lab::new();
    lab.enter(|| {
        std::fs::create_dir_all("/var/lib/cni/networks").expect("make the parent");
        std::fs::write(LEASES, "not a directory").expect("write a file");
    });
    let network = Network::new(
        &lab,
        &ours(),
        list("net", json!([gateway(&host_local("10.88.0.0/24"))])),
    );
    fails_clearly(&lab, &network, LEASES, || {
        lab.enter(|| std::fs::remove_file(LEASES).expect("remove it"))
    });
}

#[test]
fn spoilt_lease_files_are_respected_and_cursors_forgotten() {
    let lab = Lab::new();
    lab.enter(|| {
        std::fs::create_dir_all(LEASES).expect("make the directory");
        // What the reference leaves when it is killed while it writes: nobody knows whose this address is.
        std::fs::write(format!("{LEASES}/10.88.0.2"), "").expect("write an empty lease");
        std::fs::write(format!("{LEASES}/10.88.0.3"), "\u{0}garbage\n\n\nmore")
            .expect("write garbage");
        std::fs::write(format!("{LEASES}/last_reserved_ip.0"), "no address")
            .expect("write a bad cursor");
        std::fs::write(format!("{LEASES}/README"), "somebody's note")
            .expect("write a foreign file");
    });
    let network = Network::new(
        &lab,
        &ours(),
        list("net", json!([gateway(&host_local("10.88.0.0/24"))])),
    );
    let pod = Pod::on(&network, "pod");
    network
        .check(&pod.attachment)
        .unwrap_or_else(|failed| panic!("{failed}"));
    network.del(&pod.attachment);
    let world = lab.world();
    for kept in ["10.88.0.3", "README"] {
        assert!(
            world.state(&format!("file {LEASES}/{kept}")).is_some(),
            "{kept} is lost"
        );
    }
}

#[test]
fn records_that_nobody_can_read_do_not_stop_a_del() {
    let lab = Lab::new();
    let network = Network::new(&lab, &ours(), lists::published())
        .with_runtime(ports(&[port("tcp", 8080, 80)]));
    let pod = Pod::on(&network, "pod");
    lab.enter(|| spoil_below(std::path::Path::new("/run/wharfline")));
    network.del(&pod.attachment);
    let world = lab.world();
    let remains: Vec<_> = world
        .objects("host nft")
        .filter(|o| o.contains("8080"))
        .collect();
    assert!(remains.is_empty(), "{remains:?}");
    assert_eq!(
        world.state("file /var/lib/cni/networks/net/10.88.0.2"),
        None
    );
}

fn spoil_below(directory: &std::path::Path) {
    for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            spoil_below(&path);
        } else if path.extension().is_some_and(|e| e == "json") {
            std::fs::write(&path, "{\"half\": ").expect("spoil a record");
        }
    }
}

#[test]
fn a_host_without_the_nft_program() {
    let lab = Lab::new();
    let outside = lab.outside();
    let network = Network::new(
        &lab,
        &ours(),
        list("net", json!([masquerading(&host_local("10.88.0.0/24"))])),
    );
    let pod = lab.namespace("pod");
    let attachment = Attachment::of(&pod);
    let before = lab.world_with(&[&pod]);
    let add = network
        .call(Verb::Add, 0, &attachment, None)
        .env("PATH", "/nonexistent");
    let outcome = add.make(&lab);
    if outcome.succeeded() {
        // It needs none: then everything that it promises is there.
        let _far = outside.serves(tcp(Outside::FAR_V4, 80));
        pod.reaches(tcp(Outside::FAR_V4, 80))
            .seen_as(Outside::HOST_V4);
    } else {
        assert!(outcome.failed().contains("nft"), "{outcome}");
        before.returns("the world before", || lab.world_with(&[&pod]));
    }
}

#[test]
fn status_tells_of_an_exhausted_range() {
    let lab = Lab::new();
    let ipam = json!({"type": "host-local", "ranges": [[{"subnet": "10.88.0.0/30"}]]});
    let network = Network::new(&lab, &ours(), current(list("net", json!([gateway(&ipam)]))));
    assert_eq!(network.status(0).ok(), Value::Null);
    let pod = Pod::on(&network, "pod");
    let status = network.status(0);
    assert!(status.refused(50).contains("10.88.0."), "{status}");
    network.del(&pod.attachment);
    network.status(0).ok();
}
