//! What the running kernel can do, and the list of what it is known to lack.
//!
//! Called by tests that need something which not every kernel has. It must never let one pass silently: what is missing
//! is named, and what is not on the list of known absences counts as a failure in CI.

use std::fmt;

use crate::lab::Lab;

/// Abilities that the kernels of tests differ in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Feature {
    /// CONFIG_BRIDGE_VLAN_FILTERING.
    BridgeVlanFiltering,
    /// CONFIG_VLAN_8021Q.
    VlanLink,
    /// CONFIG_IPVLAN.
    IpvlanLink,
    /// CONFIG_IP_SCTP and NF_CT_PROTO_SCTP.
    Sctp,
    /// CONFIG_XFS_QUOTA, and CONFIG_QUOTA for ext4.
    ProjectQuota,
    /// CONFIG_NFS_V4.
    Nfs,
    /// CONFIG_CIFS.
    Cifs,
}

/// Mounts an ext4 that counts by project.
const PROJECT_QUOTA: &str = "mkdir /run/probe; truncate -s 16M /run/probe.img; \
    mkfs.ext4 -q -O quota,project /run/probe.img; mount -o loop,prjquota /run/probe.img /run/probe";

/// Lines of `RELEASE-PREFIX FEATURE`, for the kernels that CI runs on.
const KNOWN_ABSENCES: &str = include_str!("../../../tests/known-absences");

impl fmt::Display for Feature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Feature::BridgeVlanFiltering => "bridge-vlan-filtering",
            Feature::VlanLink => "vlan-link",
            Feature::IpvlanLink => "ipvlan-link",
            Feature::Sctp => "sctp",
            Feature::ProjectQuota => "project-quota",
            Feature::Nfs => "nfs",
            Feature::Cifs => "cifs",
        })
    }
}

impl Feature {
    /// Whether the kernel has it: tried out in a lab, not read from a configuration.
    pub fn is_here(self) -> bool {
        let lab = Lab::new();
        let tries = |argv: &[&str]| lab.try_exec(argv, "").succeeded();
        let tries_on_a_wire = |kind: &str| {
            lab.host().ip("link add wire type veth peer name eriw");
            let line = format!("link add link wire name probe type {kind}\n");
            lab.try_exec(&["ip", "-batch", "-"], &line).succeeded()
        };
        match self {
            Feature::BridgeVlanFiltering => tries(&[
                "ip",
                "link",
                "add",
                "probe",
                "type",
                "bridge",
                "vlan_filtering",
                "1",
            ]),
            // Not on `lo`, which takes none on any kernel (NETIF_F_VLAN_CHALLENGED).
            Feature::VlanLink => tries_on_a_wire("vlan id 5"),
            Feature::IpvlanLink => tries_on_a_wire("ipvlan mode l2"),
            Feature::ProjectQuota => tries(&["sh", "-ec", PROJECT_QUOTA]),
            // Loads the module where there is one.
            Feature::Nfs => tries(&[
                "sh",
                "-c",
                "modprobe nfsv4; grep -qw nfs4 /proc/filesystems",
            ]),
            Feature::Cifs => tries(&["sh", "-c", "modprobe cifs; grep -qw cifs /proc/filesystems"]),
            Feature::Sctp => lab.host().run(|| {
                let somewhere = std::net::SocketAddr::from(([127, 0, 0, 1], 0));
                crate::sctp::listen(somewhere).is_ok()
            }),
        }
    }

    /// Whether the running kernel is known to lack it.
    pub fn is_known_to_be_absent(self) -> bool {
        let release = std::fs::read_to_string("/proc/sys/kernel/osrelease")
            .expect("read the kernel's release");
        let lines = KNOWN_ABSENCES.lines().filter(|line| !line.starts_with('#'));
        let mut entries = lines.filter_map(|line| line.split_once(' '));
        entries.any(|(prefix, feature)| {
            release.starts_with(prefix) && feature.trim() == self.to_string()
        })
    }
}
