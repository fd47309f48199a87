//! What loopback decides: lo is up, nothing else; the kernel gives it its addresses.
//! The engine calls it for every verb.
//! `plan` must never touch kernel, disk or clock.

use wharfline_core::attachment::AttachmentKey;
use wharfline_core::driver::{Driver, Endpoint};
use wharfline_core::error::Result;
use wharfline_core::plan::{ContainerView, Plan, Target};
use wharfline_core::record::Record;
use wharfline_core::session::Session;
use wharfline_kernel::nft::Element;
use wharfline_spec::cni::{CniResult, Interface, IpConfig};

/// The container's loopback interface.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LoopbackDriver;

/// loopback has no keys of its own.
#[derive(Debug, Clone, Copy)]
pub(crate) struct NoKeys;

impl Driver for LoopbackDriver {
    type Config = NoKeys;
    type Facts = ();

    fn name(&self) -> &'static str {
        "loopback"
    }

    fn observe(&self, _: &NoKeys, _: &Endpoint<'_>, _: &Session) -> Result<()> {
        Ok(())
    }

    /// In a chain the result before ours passes through; alone, lo and its two addresses are answered.
    fn plan(&self, _: &NoKeys, endpoint: &Endpoint<'_>, (): &()) -> Result<Plan> {
        Ok(Plan {
            view: ContainerView {
                link: Some(endpoint.key.ifname.clone()),
                up: true,
                ..ContainerView::default()
            },
            own: vec![Target::ContainerLinkDown {
                link: endpoint.key.ifname.clone(),
            }],
            result: endpoint
                .previous
                .cloned()
                .unwrap_or_else(|| loopback_result(endpoint)),
            ..Plan::default()
        })
    }

    fn teardown(&self, _: &NoKeys, key: &AttachmentKey, _: Option<&Record>) -> Vec<Target> {
        vec![Target::ContainerLinkDown {
            link: key.ifname.clone(),
        }]
    }

    fn makes_link(&self) -> bool {
        false
    }

    fn owns(&self, _: &Element) -> bool {
        false
    }

    fn require(&self, _: &NoKeys, _: &Session) -> Result<()> {
        Ok(())
    }
}

fn loopback_result(endpoint: &Endpoint<'_>) -> CniResult {
    let addresses = ["127.0.0.1/8", "::1/128"];
    CniResult {
        interfaces: vec![Interface {
            name: endpoint.key.ifname.to_string(),
            mac: Some(macaddr::MacAddr6::nil()),
            sandbox: endpoint
                .netns
                .as_ref()
                .map(|path| path.to_string_lossy().into_owned()),
            ..Interface::default()
        }],
        ips: addresses
            .iter()
            .filter_map(|address| address.parse().ok())
            .map(|address| IpConfig {
                interface: Some(0),
                address,
                gateway: None,
            })
            .collect(),
        ..CniResult::default()
    }
}
