//! host-local's leases on disk, read to find addresses that no runtime knows of.
//! `survey` asks for the leases of each network whose IPAM is host-local.
//! It must never write there: leases are given back by DEL and GC only.

use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use wharfline_spec::cni::ConfList;
use wharfline_spec::{ContainerId, Fields, IfName};

/// host-local's data folder if its configuration names none.
const DATA_DIR: &str = "/var/lib/cni/networks";
/// The interface of a lease that does not say one: the oldest format had no second line.
const OLD_IFNAME: &str = "eth0";

/// One lease.
#[derive(Debug)]
pub(super) struct Lease {
    pub(super) address: IpAddr,
    pub(super) container: ContainerId,
    pub(super) ifname: IfName,
    pub(super) since: Option<SystemTime>,
}

/// All leases of the network. A file is named after its address; its first line is the container, its second the interface.
pub(super) fn of(list: &ConfList) -> Vec<Lease> {
    let Some(dir) = data_dir(list) else {
        return Vec::new();
    };
    in_folder(&dir.join(list.name.as_str()))
}

/// All leases of the network whose folder this is.
pub(super) fn in_folder(dir: &Path) -> Vec<Lease> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries.filter_map(|entry| read(&entry.path())).collect()
}

/// The data folder of the list's host-local, if it has one.
fn data_dir(list: &ConfList) -> Option<PathBuf> {
    list.plugins.iter().find_map(|plugin| {
        let ipam = Fields::root(&plugin.raw).object("ipam").ok().flatten()?;
        if ipam.str("type").ok().flatten() != Some("host-local") {
            return None;
        }
        let dir = ipam.str("dataDir").ok().flatten().unwrap_or_default();
        Some(PathBuf::from(if dir.is_empty() { DATA_DIR } else { dir }))
    })
}

fn read(path: &Path) -> Option<Lease> {
    // The lock, the last reserved addresses and the allocator's own files are no addresses.
    let address = path.file_name()?.to_str()?.parse().ok()?;
    let text = fs::read_to_string(path).ok()?;
    let mut lines = text.lines().map(str::trim);
    let container = ContainerId::new(lines.next()?).ok()?;
    let ifname = lines.next().filter(|line| !line.is_empty());
    Some(Lease {
        address,
        container,
        ifname: IfName::new(ifname.unwrap_or(OLD_IFNAME)).ok()?,
        since: path.metadata().and_then(|about| about.modified()).ok(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leases_are_read_and_other_files_are_not() {
        let dir = tempfile::tempdir().expect("a folder");
        let network = dir.path().join("net");
        fs::create_dir(&network).expect("made");
        fs::write(network.join("10.1.0.2"), "c1\r\neth1").expect("written");
        fs::write(network.join("10.1.0.3"), "c2").expect("written");
        fs::write(network.join("10.1.0.4"), "").expect("written");
        fs::write(network.join("last_reserved_ip.0"), "10.1.0.3").expect("written");
        fs::write(network.join("lock"), "").expect("written");
        let text = format!(
            r#"{{"cniVersion":"1.0.0","name":"net","plugins":[{{"type":"bridge",
                "ipam":{{"type":"host-local","dataDir":{:?}}}}}]}}"#,
            dir.path()
        );
        let list = ConfList::parse(text.as_bytes()).expect("a list");
        let mut leases: Vec<String> = of(&list)
            .iter()
            .map(|lease| format!("{} {} {}", lease.address, lease.container, lease.ifname))
            .collect();
        leases.sort();
        assert_eq!(leases, ["10.1.0.2 c1 eth1", "10.1.0.3 c2 eth0"]);
    }
}
