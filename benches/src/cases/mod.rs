//! The cases: each prepares its state, measures its sides in turn, and returns rows for the table.
//! `main` runs those that were asked for, in the order of `Case::ALL`.
//! A case must never depend on what another left: each makes its own hosts.

mod attach;
mod batch;
mod crowd;
mod footprint;
mod leases;
mod ports;
mod request;
mod rounds;

use std::path::PathBuf;

use crate::error::Result;
use crate::lab::Lab;
use crate::report::Row;
use crate::side::Floor;

/// What every case works with.
pub(crate) struct Bench {
    /// Directory of our binaries.
    pub(crate) ours: PathBuf,
    /// Directory of the reference's.
    pub(crate) reference: PathBuf,
    /// The floor as gcc builds it by default.
    pub(crate) floor: Floor,
    /// The floor without a dynamic linker.
    pub(crate) floor_static: Floor,
    /// The program that tells how much memory another took.
    pub(crate) peak: PathBuf,
    /// Fewer rounds and smaller crowds.
    pub(crate) quick: bool,
    /// Where hosts and containers come from.
    pub(crate) lab: Lab,
}

impl Bench {
    /// `full`, or `quick` where that was asked for.
    fn size<T>(&self, full: T, quick: T) -> T {
        if self.quick { quick } else { full }
    }
}

/// One case of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Case {
    Plain,
    Ptp,
    Macvlan,
    Requests,
    Published,
    Ports,
    Leases,
    Footprint,
    Batch,
    Mappings,
    Endpoints,
}

impl Case {
    /// In the order in which they run: the largest crowds last.
    pub(crate) const ALL: [Case; 11] = [
        Case::Plain,
        Case::Ptp,
        Case::Macvlan,
        Case::Requests,
        Case::Published,
        Case::Ports,
        Case::Leases,
        Case::Footprint,
        Case::Batch,
        Case::Mappings,
        Case::Endpoints,
    ];

    /// The case of a name in lower case.
    pub(crate) fn named(name: &str) -> Option<Case> {
        Self::ALL.into_iter().find(|case| case.name() == name)
    }

    /// All names, for people.
    pub(crate) fn names() -> String {
        Self::ALL.map(Case::name).join(", ")
    }

    fn name(self) -> String {
        format!("{self:?}").to_lowercase()
    }

    /// Runs it.
    pub(crate) fn run(self, bench: &Bench) -> Result<Vec<Row>> {
        match self {
            Case::Plain => attach::plain(bench),
            Case::Ptp => attach::ptp(bench),
            Case::Macvlan => attach::macvlan(bench),
            Case::Requests => request::on_one_parent(bench),
            Case::Published => attach::published(bench),
            Case::Ports => ports::many_of_one(bench),
            Case::Leases => leases::full(bench),
            Case::Footprint => footprint::all(bench),
            Case::Batch => batch::at_once(bench),
            Case::Mappings => crowd::mappings(bench),
            Case::Endpoints => crowd::endpoints(bench),
        }
    }
}
