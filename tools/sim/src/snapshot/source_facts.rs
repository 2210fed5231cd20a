//! What is known of each interrupt source of a recorded host, and from what.

use carillon_machine::VcpuRef;
use serde::Serialize;
use vector_allocator::AckType;
use vector_allocator::CpuSet;
use vector_allocator::DomainId;
use vector_allocator::IoApicAck;
use vector_allocator::Owner;
use vector_allocator::SourceId;
use vector_allocator::SourceKind;

use super::HostSnapshot;
use super::names::PirqName;
use super::names::port_of;
use crate::import::Binder;
use crate::import::Handling;
use crate::import::IrqLine;
use crate::import::PciFunction;
use crate::import::Trigger;
use crate::import::encode;

/// One interrupt source.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SourceFacts {
    /// Xen's number of the interrupt.
    pub irq: u32,
    /// What a person calls it: the name its least trusted binder has for it, else its handler, else its trigger.
    pub label: String,
    /// Whose it is; of a shared line, its least trusted binder.
    #[serde(serialize_with = "encode::text")]
    pub owner: Owner,
    /// How the owner is known.
    pub owner_evidence: String,
    /// The PCI function behind it, where a name points to one, or its owner has only one: `0000:00:06.0`.
    pub function: Option<String>,
    /// How it signals, as Xen names it: `PCI-MSI/-X`.
    pub trigger: String,
    /// How it signals, to the arbiter.
    #[serde(serialize_with = "encode::text")]
    pub kind: SourceKind,
    /// When the local APIC gets its EOI, and why.
    pub acknowledgement: String,
    /// Whether that is only when its domain is done, so that it keeps the in-service bit.
    pub retains_in_service: bool,
    /// Who handles it.
    pub bindings: Vec<SourceBinding>,
    /// How many domains have not acknowledged it yet.
    pub in_flight: u32,
    /// Whether it changes its CPU when it next fires.
    pub is_move_pending: bool,
    /// The CPUs it is sent to.
    #[serde(serialize_with = "encode::text")]
    pub target: CpuSet,
    /// The CPUs it can come to without anyone deciding so.
    #[serde(serialize_with = "encode::text")]
    pub reachable: CpuSet,
    /// Why those.
    pub reachable_evidence: String,
}

/// A domain that handles a source.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SourceBinding {
    /// Whose interrupt it is to it.
    #[serde(serialize_with = "encode::text")]
    pub domain: DomainId,
    /// The domain's pirq.
    pub pirq: i32,
    /// The event channel.
    pub port: Option<u32>,
    /// The vCPU that handles it, which it follows when that vCPU is scheduled elsewhere.
    #[serde(serialize_with = "optional_vcpu")]
    pub vcpu: Option<VcpuRef>,
    /// The domain's own number of it.
    pub number: Option<u32>,
    /// The domain's name of it.
    pub name: Option<String>,
    /// Whether Xen waits for the domain's EOI.
    pub awaits_eoi: bool,
}

impl SourceBinding {
    /// Whose the binding is.
    #[must_use]
    pub const fn owner(&self) -> Owner {
        Owner::of(self.domain)
    }
}

fn optional_vcpu<S: serde::Serializer>(vcpu: &Option<VcpuRef>, serializer: S) -> Result<S::Ok, S::Error> {
    match vcpu {
        Some(vcpu) => encode::vcpu(vcpu, serializer),
        None => serializer.serialize_none(),
    }
}

impl SourceFacts {
    /// The source's number to the arbiter.
    #[must_use]
    pub const fn id(&self) -> SourceId {
        SourceId(self.irq)
    }

    /// Every domain or Xen that is bound to it.
    #[must_use]
    pub fn binders(&self) -> Vec<Owner> {
        if self.bindings.is_empty() && self.owner == Owner::System {
            return vec![Owner::System];
        }
        self.bindings.iter().map(SourceBinding::owner).collect()
    }

    /// The binding of its owner: of a line that is shared, its least trusted sharer's.
    #[must_use]
    pub fn owners_binding(&self) -> Option<&SourceBinding> {
        self.bindings.iter().find(|binding| binding.owner() == self.owner)
    }
}

impl HostSnapshot {
    /// The line of an IRQ.
    #[must_use]
    pub fn irq(&self, number: u32) -> Option<&IrqLine> {
        self.irqs.irqs.iter().find(|irq| irq.irq == number)
    }

    /// What is known of each source, in the IRQ dump's order.
    #[must_use]
    pub fn sources(&self) -> Vec<SourceFacts> {
        let (names, _) = self.pirq_names();
        self.irqs.irqs.iter().map(|irq| self.source(irq, &names)).collect()
    }

    /// What a guest's interrupt must come from: the only function that is passed through to it.
    fn only_function_of(&self, owner: Owner) -> Option<&PciFunction> {
        let Owner::Guest(id) = owner else { return None };
        let mut functions = self.assigned_to(id);
        functions.next().filter(|_| functions.next().is_none())
    }

    fn source(&self, irq: &IrqLine, names: &[PirqName]) -> SourceFacts {
        let bindings: Vec<SourceBinding> = irq.binders().iter().map(|binder| self.binding(binder, names)).collect();
        let (owner, owner_evidence) = self.owner(irq);
        let named = bindings.iter().filter(|binding| binding.owner() == owner).find_map(|binding| binding.name.clone());
        let any_name = || bindings.iter().find_map(|binding| binding.name.clone());
        let named_function =
            bindings.iter().filter_map(|binding| binding.name.as_deref()).find_map(|name| self.function_named(name));
        let function = named_function.or_else(|| self.only_function_of(owner));
        let kind = irq.trigger.kind();
        let ack = self.io_apic_ack();
        let (acknowledgement, retains_in_service) = acknowledgement(irq, ack.value, &ack.evidence);
        let (reachable, reachable_evidence) = self.reachable(irq, &bindings);
        SourceFacts {
            irq: irq.irq,
            label: named.or_else(any_name).unwrap_or_else(|| fallback_label(irq)),
            owner,
            owner_evidence,
            function: function.map(|function| function.address.clone()),
            trigger: irq.trigger.name().to_owned(),
            kind,
            acknowledgement,
            retains_in_service,
            in_flight: match irq.handling {
                Handling::Guests { in_flight, .. } => in_flight,
                Handling::Unbound | Handling::Xen { .. } => 0,
            },
            is_move_pending: irq.status.is_move_pending(),
            target: irq.target().intersection(&self.online()),
            bindings,
            reachable,
            reachable_evidence,
        }
    }

    fn binding(&self, binder: &Binder, names: &[PirqName]) -> SourceBinding {
        let ports = self.events.as_ref().and_then(|dump| dump.domain(binder.domain));
        let place = port_of(ports, binder.pirq);
        let name = names.iter().find(|name| name.domain == binder.domain && name.pirq == binder.pirq);
        SourceBinding {
            domain: binder.domain,
            pirq: binder.pirq,
            port: place.map(|(port, _)| port),
            vcpu: place.map(|(_, vcpu)| VcpuRef { domain: binder.domain, vcpu }),
            number: name.map(|name| name.number),
            name: name.map(|name| name.name.clone()).filter(|name| !name.is_empty()),
            awaits_eoi: binder.awaits_eoi,
        }
    }

    /// Whose a source is: its handler's or least trusted binder's; unbound, that of the guest that may use it, since
    /// dom0 may use nearly all.
    fn owner(&self, irq: &IrqLine) -> (Owner, String) {
        match &irq.handling {
            Handling::Xen { handler } => (Owner::System, format!("Xen handles it in {handler}")),
            Handling::Guests { binders, .. } if !binders.is_empty() => {
                let owner =
                    binders.iter().map(|binder| Owner::of(binder.domain)).fold(Owner::System, Owner::least_trusted);
                let all: Vec<String> = binders.iter().map(|binder| binder.domain.to_string()).collect();
                (owner, format!("bound to {}", all.join(", ")))
            }
            Handling::Guests { .. } | Handling::Unbound => {
                let domains = self.domains.iter().flat_map(|dump| &dump.domains);
                let mut guests = domains.filter(|domain| domain.id != DomainId::DOM0 && domain.may_use_irq(irq.irq));
                match guests.next() {
                    Some(guest) => (Owner::of(guest.id), format!("unbound; {} may use it", guest.id)),
                    None => (Owner::Dom0, "unbound; no guest may use it".to_owned()),
                }
            }
        }
    }

    /// Where a source can come to: its target, and wherever a vCPU it follows may be scheduled.
    fn reachable(&self, irq: &IrqLine, bindings: &[SourceBinding]) -> (CpuSet, String) {
        let online = self.online();
        let target = irq.target().intersection(&online);
        if bindings.is_empty() {
            return (target, "its target: it follows no vCPU".to_owned());
        }
        let mut reachable = target;
        let mut evidence = Vec::new();
        for binding in bindings {
            let (cpus, why) = self.schedulable(binding);
            reachable = reachable.union(&cpus.intersection(&online));
            evidence.push(why);
        }
        (reachable, evidence.join("; "))
    }

    /// Where the vCPU of a binding may be scheduled; all of its domain's where the vCPU is not known.
    fn schedulable(&self, binding: &SourceBinding) -> (CpuSet, String) {
        let who = match binding.vcpu {
            Some(vcpu) => format!("{}v{}", vcpu.domain, vcpu.vcpu),
            None => format!("any vCPU of {}", binding.domain),
        };
        let vcpus = self.vcpus(binding.domain).into_iter();
        let followed = vcpus.filter(|facts| binding.vcpu.is_none_or(|vcpu| vcpu == facts.vcpu));
        let cpus = followed.fold(CpuSet::new(), |all, facts| all.union(&facts.affinity));
        if cpus.is_empty() {
            return (self.online(), format!("it follows {who}, whose affinity is not known"));
        }
        let why = format!("it follows {who}, which may run on {cpus}");
        (cpus, why)
    }
}

/// A label without any domain's help: the handler's function, or the trigger and the number.
fn fallback_label(irq: &IrqLine) -> String {
    match &irq.handling {
        Handling::Xen { handler } => handler.rsplit('#').next().unwrap_or(handler).to_owned(),
        Handling::Guests { .. } | Handling::Unbound => format!("{} {}", irq.trigger.name(), irq.irq),
    }
}

/// When the local APIC gets the EOI of a source and why (`irq_acktype`), and whether it waits for a domain.
fn acknowledgement(irq: &IrqLine, ioapic: IoApicAck, evidence: &str) -> (String, bool) {
    if matches!(irq.handling, Handling::Xen { .. }) {
        return ("at once or by Xen's own handler, which no domain can delay".to_owned(), false);
    }
    if irq.binders().is_empty() {
        return ("never: while nobody is bound to it, it cannot fire".to_owned(), false);
    }
    let why = match &irq.trigger {
        Trigger::MsiMaskable => "it can be masked at the device".to_owned(),
        Trigger::MsiUnmaskable => "an MSI without mask bit has nothing else to hold back the next one".to_owned(),
        Trigger::IoApicEdge | Trigger::LocalApicEdge => "edge-triggered".to_owned(),
        Trigger::IoApicLevel => format!("level-triggered ({evidence})"),
        Trigger::Pic => return ("at once, masked until its domain is done: the 8259 masks it".to_owned(), false),
        Trigger::IommuMsi | Trigger::HpetMsi => "Xen's own message".to_owned(),
        Trigger::Other(name) => format!("{name} is not known, taken as edge-triggered"),
    };
    match irq.trigger.kind().ack_type(ioapic) {
        AckType::None => (format!("at once: {why}"), false),
        AckType::Unmask => (format!("at once, masked until its domain is done: {why}"), false),
        AckType::Eoi => (format!("when its domain is done, after 1 ms at the latest: {why}"), true),
    }
}
