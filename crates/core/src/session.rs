//! The open sockets of one verb: the host's rtnetlink, the container's, and nfnetlink when it is needed.
//! The engine opens one per verb; drivers observe through it, operations are performed on it.
//! It must never leave the caller's thread in another namespace.

use std::cell::{OnceCell, RefCell, RefMut};
use std::collections::{BTreeSet, HashMap};
use std::path::Path;

use wharfline_kernel::link::{Link, LinkKey};
use wharfline_kernel::netns;
use wharfline_kernel::nft::{Nft, Table, Vouched};
use wharfline_kernel::{KernelError, Netns, NetnsId, RouteSocket, sysctl};
use wharfline_spec::names::IfName;

use crate::error::{Error, ErrorKind, Result};
use crate::former;
use crate::plan::NsRef;
use crate::state::HostState;

/// Everything that one verb holds open.
pub struct Session {
    host: RouteSocket,
    host_netns: NetnsId,
    container: Option<Container>,
    nft: OnceCell<RefCell<Nft>>,
    state: HostState,
    whole: RefCell<Whole>,
    indices: RefCell<HashMap<(NsRef, IfName), u32>>,
    /// The last link looked up on the host: what was observed is not asked again at once.
    observed: RefCell<Option<Link>>,
}

/// What one verb knows of our nftables tables (`vouched.rs`).
#[derive(Default)]
pub(crate) struct Whole {
    /// Which tables must stand, as the note said when it was last read.
    pub(crate) noted_tables: BTreeSet<Table>,
    /// Found as they were laid.
    pub(crate) tables: BTreeSet<Table>,
    /// Whether the note was looked at.
    pub(crate) recalled: bool,
    /// What it said.
    pub(crate) noted: Option<Vouched>,
}

struct Container {
    netns: Netns,
    socket: OnceCell<RouteSocket>,
}

impl Container {
    fn socket(&self) -> Result<&RouteSocket> {
        if let Some(socket) = self.socket.get() {
            return Ok(socket);
        }
        let opened = self.netns.enter(RouteSocket::open).map_err(unusable)?;
        Ok(self.socket.get_or_init(|| opened))
    }
}

/// A namespace that cannot be worked in is the runtime's to mend.
fn unusable(refusal: KernelError) -> Error {
    Error::new(ErrorKind::BadNetns, refusal.to_string())
}

impl Session {
    /// Opens the host's socket; the host is the namespace of the calling thread.
    pub fn open() -> Result<Self> {
        let host = RouteSocket::open()?;
        let host_netns = netns::current_id()?;
        let state = HostState::of(Path::new(crate::state::RUN_DIR), host_netns.ino);
        Ok(Self {
            host,
            host_netns,
            container: None,
            nft: OnceCell::new(),
            state,
            whole: RefCell::default(),
            indices: RefCell::default(),
            observed: RefCell::default(),
        })
    }

    /// Opens the container's namespace at `path`; a socket in it is opened when it is needed.
    ///
    /// Errors: [`ErrorKind::BadNetns`] where there is none, or where it is the host's own.
    pub fn enter(&mut self, path: &Path) -> Result<NetnsId> {
        let netns = Netns::open(path).map_err(unusable)?;
        if netns.id() == self.host_netns {
            return Err(Error::new(
                ErrorKind::BadNetns,
                format!(
                    "{} is the plugin's own network namespace: a container needs another",
                    path.display()
                ),
            ));
        }
        let id = netns.id();
        self.container = Some(Container {
            netns,
            socket: OnceCell::new(),
        });
        Ok(id)
    }

    /// The host's run-time state.
    pub fn state(&self) -> &HostState {
        &self.state
    }

    /// The host's socket.
    pub fn host(&self) -> &RouteSocket {
        &self.host
    }

    /// Which namespace was entered, if any.
    pub fn container_id(&self) -> Option<NetnsId> {
        Some(self.container.as_ref()?.netns.id())
    }

    /// The container's namespace.
    pub fn container_netns(&self) -> Result<&Netns> {
        Ok(&self.container()?.netns)
    }

    /// The socket of a namespace.
    pub fn socket(&self, ns: NsRef) -> Result<&RouteSocket> {
        match ns {
            NsRef::Host => Ok(&self.host),
            NsRef::Container => self.container()?.socket(),
        }
    }

    fn container(&self) -> Result<&Container> {
        self.container.as_ref().ok_or_else(|| {
            Error::new(
                ErrorKind::Bug,
                "an operation in the container before its namespace was opened",
            )
        })
    }

    /// Runs `work` on the nfnetlink socket, opened at first use.
    pub fn with_nft<T>(
        &self,
        work: impl FnOnce(&mut Nft) -> wharfline_kernel::Result<T>,
    ) -> Result<T> {
        if self.nft.get().is_none() {
            let opened = RefCell::new(Nft::open()?);
            // Nobody else can have set it: a session belongs to one thread.
            let _ = self.nft.set(opened);
        }
        let Some(nft) = self.nft.get() else {
            return Err(Error::new(
                ErrorKind::Bug,
                "the nfnetlink socket was not kept",
            ));
        };
        Ok(work(&mut nft.borrow_mut())?)
    }

    /// Whether the nfnetlink socket is open.
    pub(crate) fn has_nft(&self) -> bool {
        self.nft.get().is_some()
    }

    /// What this verb knows of our tables; borrowed for a moment.
    pub(crate) fn whole(&self) -> RefMut<'_, Whole> {
        self.whole.borrow_mut()
    }

    /// The link, freshly looked up.
    pub fn link(&self, ns: NsRef, name: &IfName) -> Result<Option<Link>> {
        let link = self.socket(ns)?.link(LinkKey::Name(name))?;
        match &link {
            Some(found) => self.remember(ns, name, found.index),
            None => self.forget(ns, name),
        }
        if ns == NsRef::Host {
            self.observed.borrow_mut().clone_from(&link);
        }
        Ok(link)
    }

    /// The host's link as the driver has just observed it, or freshly looked up.
    pub fn observed_link(&self, name: &IfName) -> Result<Option<Link>> {
        let observed = self.observed.borrow_mut().take();
        match observed {
            Some(link) if link.name == name.as_str() => Ok(Some(link)),
            _ => self.link(NsRef::Host, name),
        }
    }

    /// Keeps an index that an answer about another link told.
    pub fn remember(&self, ns: NsRef, name: &IfName, index: u32) {
        self.indices.borrow_mut().insert((ns, name.clone()), index);
    }

    /// The link's index, looked up once per verb.
    pub fn index(&self, ns: NsRef, name: &IfName) -> Result<u32> {
        if let Some(index) = self.indices.borrow().get(&(ns, name.clone())) {
            return Ok(*index);
        }
        let link = self.socket(ns)?.expect_link(name)?;
        self.remember(ns, name, link.index);
        Ok(link.index)
    }

    /// Forgets a looked-up index, because the link is being deleted.
    pub fn forget(&self, ns: NsRef, name: &IfName) {
        self.indices.borrow_mut().remove(&(ns, name.clone()));
    }

    /// Reads a kernel parameter in a namespace; `None` where the kernel lacks it.
    pub fn read_sysctl(&self, ns: NsRef, key: &str) -> Result<Option<String>> {
        let read = || match sysctl::read(key) {
            Err(e) if e.is_absent() => Ok(None),
            other => other.map(Some),
        };
        self.inside(ns, read)
    }

    /// Writes a kernel parameter in a namespace unless it has the value; what the host's was is noted.
    pub fn ensure_sysctl(&self, ns: NsRef, key: &str, value: &str, optional: bool) -> Result<()> {
        let write = || match optional {
            true => sysctl::ensure_if_known(key, value),
            false => sysctl::ensure(key, value),
        };
        match (ns, self.inside(ns, write)?) {
            (NsRef::Host, Some(before)) => former::note(self, key, before, value),
            _ => Ok(()),
        }
    }

    /// Runs `work` inside a namespace.
    pub fn inside<T>(
        &self,
        ns: NsRef,
        work: impl FnOnce() -> wharfline_kernel::Result<T>,
    ) -> Result<T> {
        match ns {
            NsRef::Host => Ok(work()?),
            NsRef::Container => Ok(self.container()?.netns.enter(work)?),
        }
    }
}
