//! The verbs of a plugin that the engine serves: each request becomes one call of the engine, and nothing else.
//! A plugin says what is its own ([`Served`]) and is a [`Plugin`] by that.
//! It must never reach the kernel past the engine.

use macaddr::MacAddr6;
use wharfline_core::driver::Driver;
use wharfline_core::engine::{Attach, Engine};
use wharfline_core::error::Error;
use wharfline_core::ipam::{GivenIpam, Ipam};
use wharfline_spec::cni::{Args, CniError, CniResult, NetConf};
use wharfline_spec::names::{ContainerId, IfName};

use crate::attach::{attach, sweep};
use crate::domain::{Asked, ForeignIpam, refusal};
use crate::plugin::{NetworkRequest, Plugin, Request};

/// Our own allocator, called in process with the same result as its binary's; for one attachment, or for the network.
pub type HostLocal =
    for<'a> fn(&'a NetConf, Option<(&'a Args, &'a ContainerId, &'a IfName)>) -> Box<dyn Ipam + 'a>;

/// What a plugin that makes interfaces is, beside the engine.
pub trait Served {
    /// Its driver.
    type Driver: Driver<Config: Sync> + Sync;

    /// The plugin's type, which is its binary's name.
    fn name(&self) -> &'static str;

    /// The driver.
    fn driver(&self) -> &Self::Driver;

    /// The allocator that is called in process where `ipam.type` is host-local.
    fn host_local(&self) -> HostLocal;

    /// Reads the plugin's keys.
    ///
    /// # Errors
    /// Code 7 with the key's path.
    fn parse(&self, conf: &NetConf) -> Result<Config<Self>, CniError>;

    /// The MAC that the user asked for.
    ///
    /// # Errors
    /// Code 7 for what can't be the interface's.
    fn mac(&self, config: &Config<Self>, request: &Request) -> Result<Option<MacAddr6>, CniError>;
}

/// A plugin's configuration.
pub type Config<S> = <<S as Served>::Driver as Driver>::Config;

impl<S: Served> Plugin for S {
    fn name(&self) -> &'static str {
        Served::name(self)
    }

    fn add(&self, request: &Request) -> Result<CniResult, CniError> {
        attached(self, request, |engine, attach| engine.add(attach))
    }

    fn del(&self, request: &Request) -> Result<(), CniError> {
        attached(self, request, |engine, attach| engine.del(attach))
    }

    fn check(&self, request: &Request) -> Result<(), CniError> {
        attached(self, request, |engine, attach| engine.check(attach))
    }

    fn gc(&self, request: &NetworkRequest) -> Result<(), CniError> {
        let config = self.parse(&request.conf)?;
        engaged(self, &config, Asked::Network(request), |engine| {
            engine.gc(&sweep(&request.conf))
        })
    }

    fn status(&self, request: &NetworkRequest) -> Result<(), CniError> {
        let config = self.parse(&request.conf)?;
        engaged(self, &config, Asked::Network(request), |engine| {
            engine.status()
        })
    }
}

/// A verb about one attachment.
fn attached<S: Served, T>(
    served: &S,
    request: &Request,
    verb: impl FnOnce(&Engine<'_, S::Driver>, &Attach<'_>) -> Result<T, Error>,
) -> Result<T, CniError> {
    let config = served.parse(&request.conf)?;
    let attach = attach(request, served.mac(&config, request)?);
    engaged(served, &config, Asked::Attachment(request), |engine| {
        verb(engine, &attach)
    })
}

/// A verb on the engine that the request asks for.
fn engaged<S: Served, T>(
    served: &S,
    config: &Config<S>,
    asked: Asked<'_>,
    verb: impl FnOnce(&Engine<'_, S::Driver>) -> Result<T, Error>,
) -> Result<T, CniError> {
    let ipam = ipam_of(asked, served.host_local());
    let done = ipam.and_then(|ipam| verb(&Engine::new(served.driver(), config, ipam.as_ref())));
    done.map_err(|e| refusal(&e))
}

/// Where addresses come from: nowhere, from our own allocator, or from a plugin that is exec'd.
fn ipam_of<'a>(asked: Asked<'a>, host_local: HostLocal) -> Result<Box<dyn Ipam + 'a>, Error> {
    let (conf, attachment) = match asked {
        Asked::Attachment(request) => {
            let attachment = (&request.args, &request.container, &request.ifname);
            (&request.conf, Some(attachment))
        }
        Asked::Network(request) => (&request.conf, None),
    };
    Ok(match conf.ipam_type() {
        None => Box::new(GivenIpam(None)),
        Some("host-local") => host_local(conf, attachment),
        Some(other) => Box::new(ForeignIpam::find(other, asked)?),
    })
}
