//! What an attachment leaves on the host that a DEL must find: links, neighbours, elements of our tables.
//! A plan carries it into the record (its own) and into the network's note (what it shares).
//! It must never name what others made.

use ipnetwork::IpNetwork;
use wharfline_core::attachment::bridge_mac;
use wharfline_core::plan::{Overflow, Target};
use wharfline_core::{cascade, vlan_gateway};
use wharfline_kernel::nft::Element;
use wharfline_spec::cni::IpConfig;
use wharfline_spec::names::IfName;

use crate::plan::Planning;

impl Planning<'_> {
    /// What DEL deletes.
    pub(crate) fn own(&self) -> Vec<Target> {
        let mut targets = vec![self.port_target()];
        if self.config.is_gateway && !self.chained {
            targets.extend(self.addresses().map(|ip| Target::Neighbour {
                link: self.config.gateway_link(),
                ip,
            }));
        }
        let elements = self.own_elements();
        if !elements.is_empty() {
            targets.push(Target::Elements { elements });
        }
        targets
    }

    fn port_target(&self) -> Target {
        if self.chained {
            return Target::Port {
                link: self.host_end.clone(),
                bridge: self.config.bridge.clone(),
            };
        }
        Target::Link {
            name: self.host_end.clone(),
            mac: self.endpoint.key.host_mac(),
        }
    }

    /// What the network's last DEL deletes.
    pub(crate) fn shared(&self) -> Vec<Target> {
        let links = self.forwarding_links();
        let mut elements: Vec<Element> = links.iter().map(link_element).collect();
        for element in self.masquerade_elements() {
            if !elements.contains(&element) {
                elements.push(element);
            }
        }
        elements.extend(self.cascade_elements());
        elements.extend(self.foot_elements());
        elements.extend(self.boundary_elements());
        let mut targets = vec![Target::Elements { elements }, Target::LetThrough];
        if self.config.keep_bridge {
            return targets;
        }
        if self.has_foot() {
            let foot = self.config.gateway_link();
            targets.push(Target::Link {
                mac: bridge_mac(&foot),
                name: foot,
            });
        }
        targets.push(Target::Bridge {
            name: self.config.bridge.clone(),
        });
        targets
    }

    pub(crate) fn own_elements(&self) -> Vec<Element> {
        let ifname = || self.host_end.to_string();
        let mut elements = Vec::new();
        if self.config.mac_spoof_check && !self.chained {
            elements.push(Element::BoundMac {
                ifname: ifname(),
                mac: self.container_mac.into_array(),
            });
            elements.push(Element::Guarded { ifname: ifname() });
        }
        if self.has_foot() {
            elements.push(Element::Untracked { ifname: ifname() });
        }
        if self.config.isolates_members() {
            elements.push(Element::Isolated { ifname: ifname() });
        }
        elements
    }

    /// What keeps the network apart from others.
    pub(crate) fn boundary_elements(&self) -> Vec<Element> {
        let boundary = self.config.boundary.iter().cloned();
        boundary.map(Element::Boundary).collect()
    }

    /// The bridge's end of the foot in the VLAN.
    pub(crate) fn foot_elements(&self) -> Vec<Element> {
        if !self.has_foot() {
            return Vec::new();
        }
        vec![Element::Untracked {
            ifname: vlan_gateway::port_name(&self.config.gateway_link()).to_string(),
        }]
    }

    /// The links that the network's packets are forwarded over: routed over the gateway's, and where br_netfilter lifts
    /// bridged frames into the IP hooks, over each bridge (br_netfilter_hooks.c, brnf_get_logical_dev()).
    pub(crate) fn forwarding_links(&self) -> Vec<IfName> {
        let bridge = &self.config.bridge;
        let mut links = vec![bridge.clone()];
        if self.config.vlan.is_some() {
            links.push(self.config.gateway_link());
        }
        if self.config.overflow == Overflow::Cascade {
            links.extend((1..=self.next_member()).map(|n| cascade::member_name(bridge, n)));
        }
        links
    }

    /// Names are derived, so what this very ADD may add to the cascade is covered before it is there.
    fn next_member(&self) -> u32 {
        self.members + 1
    }

    pub(crate) fn masquerade_elements(&self) -> Vec<Element> {
        if !self.config.masquerade.any() || self.ips.is_empty() {
            return Vec::new();
        }
        let link = self.config.gateway_link();
        let mut elements = vec![link_element(&link)];
        let wanted = |ip: &&IpConfig| self.config.masquerade.has(ip.address);
        for ip in self.ips.iter().filter(wanted) {
            let subnet = Element::Masquerade {
                ifname: link.to_string(),
                subnet: network_of(ip.address),
            };
            if !elements.contains(&subnet) {
                elements.push(subnet);
            }
        }
        elements
    }

    /// The marks of the cascades' ends, which carry isolation from one member bridge to the next.
    pub(crate) fn cascade_elements(&self) -> Vec<Element> {
        if !self.config.isolates_members() {
            return Vec::new();
        }
        cascade::cascade_elements(&self.config.bridge, self.next_member())
    }
}

fn link_element(link: &IfName) -> Element {
    Element::Link {
        ifname: link.to_string(),
    }
}

fn network_of(address: IpNetwork) -> IpNetwork {
    IpNetwork::new(address.network(), address.prefix()).unwrap_or(address)
}
