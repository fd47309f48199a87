//! `wharf network`: words, options, help.
//! `cli` has it as one of its commands.
//! It must never decide anything: what is asked becomes a request as it stands.

use std::net::IpAddr;
use std::path::PathBuf;

use clap::{Args, Subcommand};
use wharfline_spec::{IfName, NetworkName};

use super::Json;

#[derive(Debug, Subcommand)]
pub(crate) enum Network {
    /// Make a network: a bridge with addresses, masquerading and published ports.
    Create(Box<Create>),
    /// List networks: wharf's own, those in the configuration folder, and Docker's of our driver.
    Ls(Json),
    /// Show a network and who is connected to it; one of Docker's by its name or identifier.
    Inspect {
        network: String,
        #[command(flatten)]
        output: Json,
    },
    /// Remove a network that wharf made.
    Rm { network: String },
    /// Attach a container to a further network; at once if it runs.
    Connect(Connect),
    /// Detach a container from a network; at once if it runs.
    Disconnect { network: String, container: String },
    /// Ask the plugins whether a network (or each) can take containers: STATUS.
    Status {
        network: Option<String>,
        #[command(flatten)]
        output: Json,
    },
    /// Ask the plugins whether a running container's (or each one's) interfaces are as they were made: CHECK.
    Check {
        container: Option<String>,
        #[command(flatten)]
        output: Json,
    },
}

/// `wharf network create`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    wharf network create web\n  \
    wharf network create lan --subnet 10.1.2.0/24 --subnet fd00:1::/64 --gateway 10.1.2.254\n  \
    wharf network create db --internal\n  \
    wharf network create --from my.conflist\n\n\
    Without --subnet the first free /24 of 10.90.0.0/16 is taken. The plugins make the network with its first container.")]
pub(crate) struct Create {
    /// Its name.
    #[arg(required_unless_present = "from")]
    pub(crate) name: Option<NetworkName>,
    /// Addresses of the network; one per family, or more.
    #[arg(long, value_name = "ADDRESS/PREFIX")]
    pub(crate) subnet: Vec<String>,
    /// The bridge's address in a subnet [default: the first].
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) gateway: Vec<IpAddr>,
    /// Give the network an IPv6 subnet as well (unique local, random).
    #[arg(long)]
    pub(crate) ipv6: bool,
    /// Name of the bridge [default: wl-NAME].
    #[arg(long, value_name = "INTERFACE")]
    pub(crate) bridge: Option<IfName>,
    /// The largest packet, in bytes [default: the uplink's].
    #[arg(long, value_name = "BYTES")]
    pub(crate) mtu: Option<u32>,
    /// No way out: neither default route nor masquerading.
    #[arg(long)]
    pub(crate) internal: bool,
    /// Containers reach the host and the world, but not each other.
    #[arg(long)]
    pub(crate) isolated: bool,
    /// Take over a CNI configuration list, of any plugins.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["name", "subnet", "gateway", "ipv6", "bridge", "mtu", "internal", "isolated"])]
    pub(crate) from: Option<PathBuf>,
}

/// `wharf network connect`.
#[derive(Debug, Args)]
pub(crate) struct Connect {
    /// As for `--network` of `wharf run`: NAME[:ip=ADDRESS,mac=MAC,ifname=INTERFACE,gw-priority=NUMBER].
    pub(crate) network: String,
    pub(crate) container: String,
}
