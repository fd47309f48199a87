//! A container on a segment whose half dockerd would have done: its link moved, named, and given addresses and routes.
//!
//! Called by tests that speak Docker's protocol by hand.

use std::net::IpAddr;

use serde_json::json;
use wharfline_testkit::{Lab, Namespace, Process};

use super::{Server, endpoint, join, of};

/// A container whose half dockerd has done.
pub struct Container {
    /// Its network.
    pub namespace: Namespace,
    network: String,
    id: String,
    link: String,
    /// Its IPv4 address.
    pub v4: IpAddr,
    /// Its IPv6 address.
    pub v6: IpAddr,
}

impl Container {
    /// Creates, joins and moves an endpoint with the `n`-th address.
    pub fn run(lab: &Lab, server: &Server, network: &str, id: &str, n: u8) -> Container {
        Container::run_on((lab, lab.host()), server, network, id, n)
    }

    /// The same on another host of the lab, where the server runs.
    pub fn run_on(
        (lab, host): (&Lab, &Namespace),
        server: &Server,
        network: &str,
        id: &str,
        n: u8,
    ) -> Container {
        let mut body = endpoint(network, id, &format!("192.0.2.{n}/24"));
        body["Interface"]["AddressIPv6"] = json!(format!("2001:db8:2::{n}/64"));
        let created = server.call("/NetworkDriver.CreateEndpoint", &body);
        let namespace = lab.namespace(id);
        let joined = server.call("/NetworkDriver.Join", &join(network, id, namespace.path()));
        let link = joined["InterfaceName"]["SrcName"].as_str().expect("a link");
        host.ip(&format!("link set {link} netns {id}"));
        namespace.ip(&format!(
            "link set lo up
             link set {link} name eth0
             addr add 192.0.2.{n}/24 dev eth0
             addr add 2001:db8:2::{n}/64 dev eth0 nodad
             link set eth0 up"
        ));
        if let Some(mac) = created["Interface"]["MacAddress"].as_str() {
            let shown = namespace.exec(&["ip", "-o", "link", "show", "eth0"]);
            assert!(shown.contains(mac), "{mac} is not that of {shown}");
        }
        for route in joined["StaticRoutes"].as_array().into_iter().flatten() {
            let to = route["Destination"].as_str().expect("a destination");
            namespace.ip(&format!("route add {to} dev eth0"));
        }
        for key in ["Gateway", "GatewayIPv6"] {
            if let Some(gateway) = joined[key].as_str() {
                namespace.ip(&format!("route add default via {gateway}"));
            }
        }
        Container {
            namespace,
            network: network.to_owned(),
            id: id.to_owned(),
            link: link.to_owned(),
            v4: IpAddr::from([192, 0, 2, n]),
            v6: format!("2001:db8:2::{n}").parse().expect("an address"),
        }
    }

    /// What dockerd does when it stops.
    pub fn stop(self, lab: &Lab, server: &Server) {
        self.stop_on(lab.host(), server);
    }

    /// The same on another host.
    pub fn stop_on(self, host: &Namespace, server: &Server) {
        let link = &self.link;
        // It gives the link back to the host, whose namespace a process of it stands for.
        let holder = Process::start({
            let mut command = host.command("sleep");
            command.arg("infinity");
            command
        });
        self.namespace.ip(&format!(
            "link set eth0 down\nlink set eth0 name {link}\nlink set {link} netns {}",
            holder.id()
        ));
        drop(holder);
        server.call("/NetworkDriver.Leave", &of(&self.network, &self.id));
        server.call(
            "/NetworkDriver.DeleteEndpoint",
            &of(&self.network, &self.id),
        );
    }
}
