//! ADD: lease, observe, plan, record, perform, answer; or everything taken back.

use std::path::Path;

use wharfline_kernel::{NetnsId, netns};
use wharfline_spec::cni::CniResult;
use wharfline_spec::names::IfName;

use super::{Attach, Engine, endpoint};
use crate::attachment::AttachmentKey;
use crate::driver::{Driver, Endpoint};
use crate::error::{Error, ErrorKind, Result};
use crate::plan::{NsRef, Op, Plan, Veth};
use crate::record::{Record, SandboxId};
use crate::session::Session;
use crate::tables;
use crate::transaction::Transaction;
use crate::vouched;

/// How often a derived name may be somebody else's before we give up.
const SALTS: u8 = 8;

impl<D: Driver> Engine<'_, D> {
    /// Attaches the container; answers what it got.
    ///
    /// On failure nothing is left: no link, no element, no address, no record.
    pub fn add(&self, attach: &Attach<'_>) -> Result<CniResult> {
        let mut session = Session::open()?;
        let sandbox = self.enter(&mut session, attach)?;
        let added = self.add_alone(&session, attach, Some(sandbox))?;
        Ok(added.result)
    }

    /// Makes the host's half of an attachment; what the container is to see, the answered plan's view says, and somebody
    /// else (dockerd) does it.
    ///
    /// On failure nothing is left: no link, no element, no record.
    pub fn add_half(&self, attach: &Attach<'_>) -> Result<Plan> {
        self.add_alone(&Session::open()?, attach, None)
    }

    /// Notes where the container's half of such an attachment is now; `None`: nowhere.
    pub fn moved(&self, key: &AttachmentKey, netns: Option<&Path>) -> Result<()> {
        let session = Session::open()?;
        let held = self.lock_attachment(session.state(), key)?;
        let record = Record::read(session.state(), self.driver.name(), key)?;
        let noted = record.map_or(Ok(()), |mut record| {
            let id = netns.and_then(netns::identity);
            record.netns = netns.map(Path::to_owned).unwrap_or_default();
            record.netns_id = sandbox_id(id);
            record.write(session.state())
        });
        held.release()?;
        noted
    }

    fn add_alone(
        &self,
        session: &Session,
        attach: &Attach<'_>,
        sandbox: Option<NetnsId>,
    ) -> Result<Plan> {
        let held = self.lock_attachment(session.state(), &attach.key)?;
        let added = self.add_locked(session, attach, sandbox);
        // What was made is there, whether the lock's file could be unlinked or not.
        if let Err(failure) = held.release() {
            tracing::warn!("{failure}");
        }
        added
    }

    fn enter(&self, session: &mut Session, attach: &Attach<'_>) -> Result<NetnsId> {
        let path = attach.netns.as_deref().ok_or_else(|| {
            Error::new(
                ErrorKind::BadEnvironment,
                "CNI_NETNS: ADD needs the container's namespace",
            )
        })?;
        let sandbox = session.enter(path)?;
        // A namespace that cannot be worked in is refused before anything is done; a plugin that makes no link has
        // little or nothing to do inside.
        if self.driver.makes_link() {
            session.socket(NsRef::Container)?;
        }
        Ok(sandbox)
    }

    fn add_locked(
        &self,
        session: &Session,
        attach: &Attach<'_>,
        sandbox: Option<NetnsId>,
    ) -> Result<Plan> {
        self.clear_leftovers(session, attach, sandbox)?;
        let lease = self.ipam.acquire()?;
        self.attach(session, attach, sandbox, &lease)
            .map_err(|failure| self.give_back(session, attach, failure))
    }

    /// A record of the same attachment that was never finished, or whose container is gone, is torn down first.
    fn clear_leftovers(
        &self,
        session: &Session,
        attach: &Attach<'_>,
        sandbox: Option<NetnsId>,
    ) -> Result<()> {
        let Some(record) = Record::read(session.state(), self.driver.name(), &attach.key)? else {
            return Ok(());
        };
        let is_same =
            sandbox.is_some() && record.netns_lives() && netns::identity(&record.netns) == sandbox;
        let complete = is_same
            && session
                .link(NsRef::Container, &attach.key.ifname)?
                .is_some();
        if complete && self.driver.makes_link() {
            return Err(exists(&attach.key.ifname));
        }
        self.tear_down(session, &attach.key)?;
        self.ipam.release()
    }

    fn attach(
        &self,
        session: &Session,
        attach: &Attach<'_>,
        sandbox: Option<NetnsId>,
        lease: &CniResult,
    ) -> Result<Plan> {
        let _held = self.hold_network(session, &attach.key.network)?;
        // Only now: what is found to be there stays, whoever leaves the network.
        tables::heal(session)?;
        let mut endpoint = endpoint(attach, lease, 0);
        loop {
            let plan = self.noted_plan(session, &endpoint)?;
            self.record(attach, sandbox, &plan, endpoint.salt)
                .write(session.state())?;
            let operations = match sandbox {
                Some(_) => plan.all_operations(),
                None => plan.ops.clone(),
            };
            let Err(failure) = self.perform(session, attach, operations) else {
                return Ok(plan);
            };
            // Of an address on the segment nobody learns more by asking once more.
            let is_elements = plan
                .ops
                .iter()
                .any(|(_, op)| matches!(op, Op::CreateElements { .. }));
            if failure.kind() == ErrorKind::Conflict && is_elements && !endpoint.contested {
                endpoint.contested = true;
            } else if endpoint.salt < SALTS && self.name_is_taken(session, attach, &plan)? {
                tracing::warn!("{failure}: trying another name");
                endpoint.salt += 1;
            } else {
                return Err(failure);
            }
        }
    }

    /// The plan, once a note keeps what it shares. What was observed before the note was written may have gone with
    /// another network's last container in between, so then it is observed once more.
    fn noted_plan(&self, session: &Session, endpoint: &Endpoint<'_>) -> Result<Plan> {
        let network = &endpoint.key.network;
        let mut plan = self.decide(session, endpoint)?;
        if self.note_shared(session, network, &plan)? {
            vouched::distrust_shared(session)?;
            plan = self.decide(session, endpoint)?;
            self.note_shared(session, network, &plan)?;
        }
        Ok(plan)
    }

    fn decide(&self, session: &Session, endpoint: &Endpoint<'_>) -> Result<Plan> {
        let facts = self.driver.observe(self.config, endpoint, session)?;
        self.driver.plan(self.config, endpoint, &facts)
    }

    fn perform(
        &self,
        session: &Session,
        attach: &Attach<'_>,
        operations: Vec<(NsRef, Op)>,
    ) -> Result<()> {
        let mut transaction = Transaction::new(session, &attach.key);
        for (ns, op) in operations {
            if let Err(failure) = transaction.run(ns, &op) {
                return Err(transaction.unwind(failure));
            }
        }
        transaction.commit();
        Ok(())
    }

    /// Whether the veth could not be made because somebody else's link has its derived name on the host.
    fn name_is_taken(&self, session: &Session, attach: &Attach<'_>, plan: &Plan) -> Result<bool> {
        let Some(veth) = plan.ops.iter().find_map(veth_of) else {
            return Ok(false);
        };
        if veth.born_in == NsRef::Container
            && session
                .link(NsRef::Container, &attach.key.ifname)?
                .is_some()
        {
            return Err(exists(&attach.key.ifname));
        }
        Ok(session.link(NsRef::Host, &veth.host_end)?.is_some())
    }

    fn record(
        &self,
        attach: &Attach<'_>,
        sandbox: Option<NetnsId>,
        plan: &Plan,
        salt: u8,
    ) -> Record {
        Record {
            version: Record::VERSION,
            plugin: self.driver.name().to_owned(),
            network: attach.key.network.clone(),
            container: attach.key.container.clone(),
            ifname: attach.key.ifname.clone(),
            id: attach.key.id(),
            netns: attach.netns.clone().unwrap_or_default(),
            netns_id: sandbox_id(
                sandbox.or_else(|| attach.netns.as_deref().and_then(netns::identity)),
            ),
            salt,
            labels: attach.labels.clone(),
            addresses: plan.view.addresses.clone(),
            own: plan.own.clone(),
        }
    }

    /// Takes the rest of a failed ADD back: the record, the lease, the network if nobody else is on it.
    fn give_back(&self, session: &Session, attach: &Attach<'_>, mut failure: Error) -> Error {
        let undone = [
            Record::remove(session.state(), self.driver.name(), &attach.key),
            self.ipam.release(),
            self.leave_network(session, &attach.key.network),
        ];
        for undo_failure in undone.into_iter().filter_map(Result::err) {
            failure.add_failed_undo(undo_failure.within("undo"));
        }
        failure
    }
}

/// Without a namespace an identity that none has.
fn sandbox_id(id: Option<NetnsId>) -> SandboxId {
    let (dev, ino) = id.map_or((0, 0), |id| (id.dev, id.ino));
    SandboxId { dev, ino }
}

fn veth_of((_, op): &(NsRef, Op)) -> Option<&Veth> {
    match op {
        Op::CreateVeth(veth) => Some(veth),
        _ => None,
    }
}

fn exists(ifname: &IfName) -> Error {
    Error::new(
        ErrorKind::BadEnvironment,
        format!("CNI_IFNAME: the container already has an interface {ifname}"),
    )
}
