//! What a container on a bridge consists of, decided purely: the plugin as the engine sees it.
//! The engine calls it for every verb; the CNI face (and Docker's) brings the configuration.
//! `plan` must never touch kernel, disk or clock: its tests are tables (testdata/).

use wharfline_core::attachment::AttachmentKey;
use wharfline_core::cascade;
use wharfline_core::driver::{Driver, Endpoint};
use wharfline_core::error::{Error, ErrorKind, Result};
use wharfline_core::passage::require_passage;
use wharfline_core::plan::{NsRef, Plan, Target};
use wharfline_core::record::Record;
use wharfline_core::session::Session;
use wharfline_kernel::nft::{Element, tool_is_installed};

use crate::config::BridgeConfig;
use crate::egress;
use crate::plan::{BridgeFacts, Planning};

/// How many salted names a teardown without record looks for.
const SALTS_WITHOUT_RECORD: u8 = 3;

/// Containers on a bridge.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BridgeDriver;

impl Driver for BridgeDriver {
    type Config = BridgeConfig;
    type Facts = BridgeFacts;

    fn name(&self) -> &'static str {
        "bridge"
    }

    fn observe(
        &self,
        config: &BridgeConfig,
        _endpoint: &Endpoint<'_>,
        session: &Session,
    ) -> Result<BridgeFacts> {
        let foot = match config.vlan {
            Some(_) if config.is_gateway => session.link(NsRef::Host, &config.gateway_link())?,
            _ => None,
        };
        // The bridge comes last: what was looked up last need not be asked again when it is ensured.
        let bridge = session.link(NsRef::Host, &config.bridge)?;
        let egress_mtu = match (&bridge, config.mtu) {
            (None, None) => egress::mtu(session.host())?,
            _ => None,
        };
        Ok(BridgeFacts {
            bridge_mtu: bridge.as_ref().map(|link| link.mtu),
            bridge_mac: bridge.as_ref().and_then(|link| link.mac),
            foot_mac: foot.and_then(|link| link.mac),
            egress_mtu,
            members: cascade::members_noted(session, &config.bridge),
        })
    }

    fn plan(
        &self,
        config: &BridgeConfig,
        endpoint: &Endpoint<'_>,
        facts: &BridgeFacts,
    ) -> Result<Plan> {
        Ok(Planning::new(config, endpoint, facts)?.plan())
    }

    fn teardown(
        &self,
        config: &BridgeConfig,
        key: &AttachmentKey,
        record: Option<&Record>,
    ) -> Vec<Target> {
        let mut targets = match record {
            Some(record) => record.own.clone(),
            None => marks(key),
        };
        if config.masquerade.any() && config.succeeds_reference {
            targets.push(Target::predecessor(key));
        }
        targets
    }

    fn makes_link(&self) -> bool {
        true
    }

    fn owns(&self, element: &Element) -> bool {
        matches!(
            element,
            Element::BoundMac { .. }
                | Element::Guarded { .. }
                | Element::Untracked { .. }
                | Element::Isolated { .. }
        )
    }

    fn require(&self, config: &BridgeConfig, session: &Session) -> Result<()> {
        if config.needs_tables() && !tool_is_installed() {
            return Err(Error::new(
                ErrorKind::NotAvailable,
                "ipMasq, macspoofchk, portIsolation: nft is not installed (package nftables)",
            ));
        }
        match session.link(NsRef::Host, &config.bridge)? {
            Some(link) if link.kind != "bridge" => Err(Error::new(
                ErrorKind::NotAvailable,
                format!("bridge: link {} exists and is no bridge", config.bridge),
            )),
            // Without a gateway nothing of the network's is forwarded.
            _ if config.is_gateway => require_passage(),
            _ => Ok(()),
        }
    }
}

/// Where an attachment without a record is to be looked for.
pub(crate) fn marks(key: &AttachmentKey) -> Vec<Target> {
    let mut targets: Vec<Target> = (0..SALTS_WITHOUT_RECORD)
        .map(|salt| Target::Link {
            name: key.host_end(salt),
            mac: key.host_mac(),
        })
        .collect();
    targets.push(Target::MarkedElements { tag: key.tag() });
    targets
}
