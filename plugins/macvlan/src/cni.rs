//! The CNI face of all three types.
//! The binaries hand it to the process boundary.
//! It must never reach the kernel past the engine.

use macaddr::MacAddr6;
use wharfline_cni::served::{HostLocal, Served};
use wharfline_cni::{Request, mac};
use wharfline_ipam::domain::in_process;
use wharfline_spec::cni::{CniError, NetConf};

use crate::config::{Family, SubInterfaceConfig};
use crate::driver::SubInterfaceDriver;

/// `macvlan`, `ipvlan` or `vlan` as CNI runtimes call it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SubInterfacePlugin {
    driver: SubInterfaceDriver,
}

impl SubInterfacePlugin {
    /// The plugin of one type.
    pub(crate) const fn of(family: Family) -> Self {
        Self {
            driver: SubInterfaceDriver { family },
        }
    }
}

impl Served for SubInterfacePlugin {
    type Driver = SubInterfaceDriver;

    fn name(&self) -> &'static str {
        self.driver.family.name()
    }

    fn driver(&self) -> &SubInterfaceDriver {
        &self.driver
    }

    fn host_local(&self) -> HostLocal {
        in_process
    }

    fn parse(&self, conf: &NetConf) -> Result<SubInterfaceConfig, CniError> {
        SubInterfaceConfig::parse(self.driver.family, conf)
    }

    fn mac(
        &self,
        config: &SubInterfaceConfig,
        request: &Request,
    ) -> Result<Option<MacAddr6>, CniError> {
        let of_config = request.conf.fields().text("mac")?;
        let of_config = of_config.filter(|text| !text.is_empty());
        let asked = match (mac::requested(request)?, of_config) {
            (None, Some(text)) => Some(mac::unicast("mac", &text)?),
            (requested, _) => requested,
        };
        if asked.is_some() && !config.has_own_mac() {
            return Err(CniError::invalid_config(format!(
                "mac: an interface of this type and mode ({}) has its parent's MAC",
                Served::name(self)
            )));
        }
        Ok(asked)
    }
}
