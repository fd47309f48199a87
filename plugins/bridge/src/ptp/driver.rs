//! A container on a link to the host alone, as the engine sees it: what is observed, decided and torn down.
//! The engine calls it for every verb.
//! `plan` must never touch kernel, disk or clock: its tests are tables.

use wharfline_core::attachment::AttachmentKey;
use wharfline_core::driver::{Driver, Endpoint};
use wharfline_core::error::{Error, ErrorKind, Result};
use wharfline_core::passage::require_passage;
use wharfline_core::plan::{Plan, Target};
use wharfline_core::record::Record;
use wharfline_core::session::Session;
use wharfline_kernel::nft::{Element, tool_is_installed};

use super::config::PtpConfig;
use super::plan::Planning;
use crate::driver::marks;
use crate::egress;

/// Containers that the host routes to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PtpDriver;

/// What a plan depends on besides configuration and lease.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct PtpFacts {
    /// Least MTU of the links that lead outside, where the configuration says none.
    pub egress_mtu: Option<u32>,
    /// Whether the network has no other container.
    pub is_first: bool,
}

impl Driver for PtpDriver {
    type Config = PtpConfig;
    type Facts = PtpFacts;

    fn name(&self) -> &'static str {
        "ptp"
    }

    fn observe(
        &self,
        config: &PtpConfig,
        endpoint: &Endpoint<'_>,
        session: &Session,
    ) -> Result<PtpFacts> {
        let egress_mtu = match config.mtu {
            None => egress::mtu(session.host())?,
            Some(_) => None,
        };
        Ok(PtpFacts {
            egress_mtu,
            is_first: !Record::any(session.state(), self.name(), &endpoint.key.network)?,
        })
    }

    fn plan(&self, config: &PtpConfig, endpoint: &Endpoint<'_>, facts: &PtpFacts) -> Result<Plan> {
        Ok(Planning::new(config, endpoint, facts)?.plan())
    }

    fn teardown(
        &self,
        config: &PtpConfig,
        key: &AttachmentKey,
        record: Option<&Record>,
    ) -> Vec<Target> {
        let mut targets = match record {
            Some(record) => record.own.clone(),
            None => marks(key),
        };
        if config.masquerade {
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
            Element::Link { .. } | Element::MasqueradeHost { .. }
        )
    }

    fn require(&self, config: &PtpConfig, _session: &Session) -> Result<()> {
        if config.masquerade && !tool_is_installed() {
            return Err(Error::new(
                ErrorKind::NotAvailable,
                "ipMasq: nft is not installed (package nftables)",
            ));
        }
        require_passage()
    }
}
