//! What a plugin is to the engine: it observes a little, decides purely, and knows its marks.
//! Every plugin's `driver.rs` implements it; the engine derives all verbs from it.
//! Its `plan` must never touch kernel, disk or clock: its tests are tables.

use std::path::PathBuf;

use macaddr::MacAddr6;
use wharfline_kernel::nft::Element;
use wharfline_spec::cni::CniResult;

use crate::attachment::AttachmentKey;
use crate::error::Result;
use crate::plan::{Plan, Target};
use crate::record::Record;
use crate::session::Session;

/// One attachment as a driver plans it.
#[derive(Debug, Clone)]
pub struct Endpoint<'a> {
    /// Who it is.
    pub key: &'a AttachmentKey,
    /// The container's namespace, as the runtime named it; `None` where it is gone.
    pub netns: Option<PathBuf>,
    /// The MAC that the user asked for.
    pub mac: Option<MacAddr6>,
    /// Addresses, routes and DNS from IPAM; empty for a network of links only.
    pub lease: &'a CniResult,
    /// What plugins before this one made, in a chain.
    pub previous: Option<&'a CniResult>,
    /// How often a derived name was found taken by somebody else's link.
    pub salt: u8,
    /// Whether something was found where this attachment is to have its own: then `observe` looks whose it is. Asking
    /// before each ADD would cost a question for every port, and hardly ever is anything there.
    pub contested: bool,
}

/// A kind of attachment: how it is planned, found again and torn down.
pub trait Driver {
    /// The configuration, made from raw JSON or Docker's options in one fallible step.
    type Config;
    /// The few facts about the host that a plan depends on.
    type Facts;

    /// The plugin's name: the CNI type.
    fn name(&self) -> &'static str;

    /// Looks at the host. Only what `plan` needs, and nothing whose cost grows with endpoints.
    fn observe(
        &self,
        config: &Self::Config,
        endpoint: &Endpoint<'_>,
        session: &Session,
    ) -> Result<Self::Facts>;

    /// Decides. No kernel, no disk, no clock.
    fn plan(
        &self,
        config: &Self::Config,
        endpoint: &Endpoint<'_>,
        facts: &Self::Facts,
    ) -> Result<Plan>;

    /// What to delete for `key`: from the record where there is one, else by the marks that everything of ours bears.
    fn teardown(
        &self,
        config: &Self::Config,
        key: &AttachmentKey,
        record: Option<&Record>,
    ) -> Vec<Target>;

    /// Whether an attachment of this plugin is a link: then ADD refuses a container that has one of that name.
    fn makes_link(&self) -> bool;

    /// Whether elements of this kind are this plugin's, for a DEL or GC without records.
    fn owns(&self, element: &Element) -> bool;

    /// What the kernel must be able to do, asked before anything is done: by STATUS, and by ADD of rare keys.
    fn require(&self, config: &Self::Config, session: &Session) -> Result<()>;
}
