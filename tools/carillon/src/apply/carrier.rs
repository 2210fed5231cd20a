//! Carries deeds out on a host, remembers what was there before, and puts it back.

use carillon_sim::snapshot::HostSnapshot;
use carillon_sim::snapshot::SourceFacts;
use serde::Serialize;
use vector_allocator::Assignment;
use vector_allocator::CpuId;
use vector_allocator::CpuSet;
use vector_allocator::DomainId;
use vector_allocator::Owner;
use vector_allocator::SourceId;
use vector_allocator::aim::Deed;
use vector_allocator::aim::Host;
use vector_allocator::aim::Lever;

use super::levers;
use super::levers::pinned_to;
use super::toolstack::Fired;
use super::toolstack::Knob;
use super::toolstack::Toolstack;
use crate::failure::Failure;

/// How often a knob is tried to be put back.
const TRIES: u32 = 3;

/// A host with the memory of what was done to it.
#[derive(Debug)]
pub(crate) struct Carrier<'a, T> {
    tools: &'a mut T,
    fired: Fired,
    host: HostSnapshot,
    /// How every knob that was touched was set before, in the order of touching.
    before: Vec<Before>,
    changes: Vec<Change>,
}

/// How a knob was set.
#[derive(Clone, Debug)]
struct Before {
    knob: Knob,
    setting: CpuSet,
    /// What brings it back: the setting, or of several CPUs the one that handled the interrupt.
    home: CpuSet,
}

/// A knob that was set, or a device that was attached again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Change {
    /// What was changed.
    pub(crate) what: String,
    /// How it was before.
    pub(crate) from: String,
    /// How it is since.
    pub(crate) to: String,
    /// What a person would have typed.
    pub(crate) command: String,
}

/// What putting everything back came to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Restored {
    /// What had to be set for it.
    pub(crate) changes: Vec<Change>,
    /// What is not exactly as it was, and how to have it so.
    pub(crate) differs: Vec<String>,
    /// What could not be put back, and what to type.
    pub(crate) failed: Vec<String>,
}

impl<'a, T: Toolstack> Carrier<'a, T> {
    /// A host as it was read, and what was heard of it.
    pub(crate) fn new(tools: &'a mut T, host: HostSnapshot, fired: Fired) -> Self {
        Self { tools, fired, host, before: Vec::new(), changes: Vec::new() }
    }

    /// What was changed since it was asked last.
    pub(crate) fn take_changes(&mut self) -> Vec<Change> {
        std::mem::take(&mut self.changes)
    }

    /// Lets some time pass.
    pub(crate) fn pause(&mut self) {
        self.tools.pause();
    }

    /// Sets a knob, and sees that it is set.
    fn set(&mut self, knob: Knob, to: &CpuSet, home: Option<CpuSet>) -> Result<(), Failure> {
        let setting = self.tools.setting(knob)?;
        if !self.before.iter().any(|before| before.knob == knob) {
            self.before.push(Before { knob, setting: setting.clone(), home: home.unwrap_or_else(|| setting.clone()) });
        }
        self.tools.set(knob, to)?;
        self.changes.push(Change::of(knob, &setting, to));
        let now = self.tools.setting(knob)?;
        if now != *to {
            return Err(Failure::new(format!("{knob} were set to {to} and are {now}"))
                .hint("something else on the host sets them too, or their CPUs are in another pool"));
        }
        Ok(())
    }

    /// Puts every knob back to where it was, the last touched first.
    pub(crate) fn restore(&mut self) -> Restored {
        let mut restored = Restored::default();
        for before in std::mem::take(&mut self.before).into_iter().rev() {
            let Before { knob, setting, home } = before;
            let mut outcome = Ok(());
            for _ in 0..TRIES {
                outcome = self.put_back(knob, &home, &mut restored.changes);
                if outcome.is_ok() {
                    break;
                }
            }
            if let Err(failure) = outcome {
                restored.failed.push(format!("{knob}: {failure}; do it by hand: {}", knob.command(&setting)));
            } else if home != setting {
                restored.differs.push(format!(
                    "{knob} were {setting} and are now {home}, which handled it: given back, dom0's kernel would choose anew, \
                     and a vector would be drawn; {}",
                    knob.command(&setting)
                ));
            }
        }
        self.changes.clear();
        restored
    }

    fn put_back(&mut self, knob: Knob, home: &CpuSet, changes: &mut Vec<Change>) -> Result<(), Failure> {
        let now = self.tools.setting(knob)?;
        if now == *home {
            return Ok(());
        }
        self.tools.set(knob, home)?;
        changes.push(Change::of(knob, &now, home));
        let since = self.tools.setting(knob)?;
        if since == *home { Ok(()) } else { Err(Failure::new(format!("set to {home}, it is {since}"))) }
    }
}

impl<T: Toolstack> Host for Carrier<'_, T> {
    type Error = Failure;

    fn read(&mut self) -> Result<Assignment, Failure> {
        self.host = self.tools.look()?;
        Ok(levers::assignment(&self.host, &self.fired))
    }

    fn carry_out(&mut self, deed: &Deed) -> Result<(), Failure> {
        match setting(&self.host, deed)? {
            Doing::Set { knob, to, home } => self.set(knob, &to, home),
            Doing::Reattach { guest, function } => {
                self.tools.reattach(guest, &function)?;
                self.changes.push(Change::reattached(guest, &function));
                Ok(())
            }
        }
    }
}

/// What a deed is on this host.
enum Doing {
    Set { knob: Knob, to: CpuSet, home: Option<CpuSet> },
    Reattach { guest: DomainId, function: String },
}

/// What a person would type to do it; none if it cannot be done on this host.
pub(crate) fn commands(host: &HostSnapshot, deed: &Deed) -> Vec<String> {
    match setting(host, deed) {
        Ok(Doing::Set { knob, to, .. }) => vec![knob.command(&to)],
        Ok(Doing::Reattach { guest, function }) => reattaching(guest, &function).into(),
        Err(_) => Vec::new(),
    }
}

fn setting(host: &HostSnapshot, deed: &Deed) -> Result<Doing, Failure> {
    let cpus = match deed {
        Deed::Keep { cpus, .. } => cpus.clone(),
        Deed::Send { to, .. } => CpuSet::single(*to),
        Deed::Reattach { .. } => CpuSet::new(),
    };
    match deed.lever() {
        Lever::Vcpu { domain, vcpu } => Ok(Doing::Set { knob: Knob::Vcpu { domain, vcpu }, to: cpus, home: None }),
        Lever::Interrupt(id) => {
            let source = source(host, id)?;
            let number = levers::number_in_dom0(&source).ok_or_else(|| unknown(id))?;
            let vcpu = vcpu_at(host, &source, &cpus).ok_or_else(|| {
                Failure::new(format!("IRQ {}: no vCPU of dom0's is pinned to pCPU {cpus}", id.0))
                    .hint("pin dom0's vCPUs to one pCPU each (dom0_vcpus_pin on Xen's command line, or xl vcpu-pin)")
            })?;
            let home = source.owners_binding().and_then(|binding| binding.vcpu).map(|vcpu| single(vcpu.vcpu));
            Ok(Doing::Set { knob: Knob::Interrupt { number }, to: single(vcpu), home })
        }
        Lever::Device { source: id } => {
            let source = source(host, id)?;
            match (source.owner, source.function) {
                (Owner::Guest(guest), Some(function)) => Ok(Doing::Reattach { guest, function }),
                _ => Err(unknown(id)),
            }
        }
    }
}

/// The vCPU of dom0's that runs on these CPUs alone: the one that handles the source already, if it is one of them.
fn vcpu_at(host: &HostSnapshot, source: &SourceFacts, cpus: &CpuSet) -> Option<u32> {
    let bound = source.owners_binding().and_then(|binding| binding.vcpu);
    let vcpus = host.vcpus(DomainId::DOM0);
    let there = || vcpus.iter().filter(|vcpu| pinned_to(vcpu).is_some() && vcpu.affinity == *cpus);
    let found = there().find(|vcpu| Some(vcpu.vcpu) == bound).or_else(|| there().next())?;
    Some(found.vcpu.vcpu)
}

fn source(host: &HostSnapshot, id: SourceId) -> Result<SourceFacts, Failure> {
    host.sources().into_iter().find(|source| source.id() == id).ok_or_else(|| unknown(id))
}

fn unknown(id: SourceId) -> Failure {
    Failure::new(format!("IRQ {} is not known to be where it was: it was unbound or is another one now", id.0))
}

fn single(cpu: u32) -> CpuSet {
    CpuSet::single(CpuId(cpu))
}

/// What is typed to attach a device again.
fn reattaching(guest: DomainId, function: &str) -> [String; 2] {
    [format!("xl pci-detach {} {function}", guest.0), format!("xl pci-attach {} {function}", guest.0)]
}

impl Change {
    fn of(knob: Knob, from: &CpuSet, to: &CpuSet) -> Self {
        Self { what: knob.to_string(), from: from.to_string(), to: to.to_string(), command: knob.command(to) }
    }

    fn reattached(guest: DomainId, function: &str) -> Self {
        Self {
            what: format!("{function} of {guest}"),
            from: "attached".to_owned(),
            to: "attached again".to_owned(),
            command: reattaching(guest, function).join("; "),
        }
    }
}
