//! Where a recording's files contradict each other, because they were taken one after the other.
//!
//! One rule decides: the IRQ dump counts over all others, and Xen's dumps count over the toolstack's lists.

use std::collections::BTreeMap;

use vector_allocator::CpuId;
use vector_allocator::CpuSet;

use super::HostSnapshot;
use crate::import::Affinity;
use crate::import::Binding;
use crate::import::DestinationMode;
use crate::import::Handling;
use crate::import::IrqLine;
use crate::import::Maskability;
use crate::import::Note;
use crate::import::Trigger;

const IRQS_COUNT: &str = "the IRQ dump counts";

/// The most CPUs a flat logical destination can name, one bit each.
const FLAT_CPUS: u32 = 8;

impl HostSnapshot {
    /// Compares the files pair by pair and notes what disagrees.
    pub(super) fn note_contradictions(&mut self) {
        let mut notes = Vec::new();
        self.compare_messages(&mut notes);
        self.compare_pins(&mut notes);
        self.compare_bindings(&mut notes);
        self.compare_port_lists(&mut notes);
        self.compare_affinities(&mut notes);
        self.compare_vectors(&mut notes);
        for irq in &self.irqs.irqs {
            if irq.vector.is_some() && !irq.affinity.intersects(&irq.holders) {
                let text = format!(
                    "IRQ {}: affinity {} and holders {} have no CPU in common: a move is under way; the holders count",
                    irq.irq, irq.affinity, irq.holders
                );
                notes.push(note("dump-i.txt", irq.line, text));
            }
        }
        self.notes.append(&mut notes);
    }

    /// The CPUs of a flat logical destination; none if the host's destinations are of another kind.
    fn flat_cpus(&self, mode: DestinationMode, destination: u32) -> Option<CpuSet> {
        let is_flat = mode == DestinationMode::Logical && self.online().iter().all(|cpu| cpu.0 < FLAT_CPUS);
        let fits = destination < 1 << FLAT_CPUS;
        (is_flat && fits).then(|| (0..FLAT_CPUS).filter(|cpu| destination >> cpu & 1 == 1).map(CpuId).collect())
    }

    fn compare_messages(&self, notes: &mut Vec<Note>) {
        for message in self.messages.iter().flat_map(|dump| &dump.messages) {
            let mut say = |text| notes.push(note("dump-M.txt", message.line, text));
            let Some(irq) = self.irq(message.irq) else {
                say(format!("IRQ {} is not in the IRQ dump; {IRQS_COUNT}", message.irq));
                continue;
            };
            if irq.vector.is_none_or(|vector| vector.number() != message.vector) {
                say(format!(
                    "IRQ {}: vector {:02x} here, {} there; {IRQS_COUNT}",
                    irq.irq,
                    message.vector,
                    vector_of(irq)
                ));
            }
            if let Some(cpus) = self.flat_cpus(message.mode, message.destination)
                && cpus != irq.target()
            {
                say(format!("IRQ {}: sent to {cpus} here, to {} there; {IRQS_COUNT}", irq.irq, irq.target()));
            }
            let is_maskable = message.maskability == Maskability::Maskable;
            if matches!((&irq.trigger, is_maskable), (Trigger::MsiMaskable, false) | (Trigger::MsiUnmaskable, true)) {
                let can = if is_maskable { "can" } else { "cannot" };
                say(format!("IRQ {}: it {can} be masked here, is {} there; {IRQS_COUNT}", irq.irq, irq.trigger.name()));
            }
        }
    }

    /// Finds IRQs that hold one vector on one CPU, where only one of them can be served.
    fn compare_vectors(&self, notes: &mut Vec<Note>) {
        let mut holders = BTreeMap::new();
        for irq in &self.irqs.irqs {
            let Some(vector) = irq.vector else { continue };
            let mut known: Option<(CpuId, &IrqLine)> = None;
            for cpu in irq.holders.iter() {
                let other = *holders.entry((vector.number(), cpu)).or_insert(irq);
                if other.irq != irq.irq {
                    known = known.or(Some((cpu, other)));
                }
            }
            if let Some((cpu, other)) = known {
                let text = format!(
                    "IRQ {} holds vector {vector} on CPU {cpu}, as IRQ {} on line {} does: a simulation gives it another",
                    irq.irq, other.irq, other.line
                );
                notes.push(note("dump-i.txt", irq.line, text));
            }
        }
    }

    fn compare_pins(&self, notes: &mut Vec<Note>) {
        let places: BTreeMap<(u32, u32), u32> =
            self.irqs.pins.iter().filter_map(|pin| Some(((pin.apic, pin.pin), pin.irq?))).collect();
        for pin in self.io_apics.iter().flat_map(|dump| dump.apics.iter().flat_map(|apic| &apic.pins)) {
            let Some(irq) = places.get(&(pin.apic, pin.pin)).and_then(|irq| self.irq(*irq)) else { continue };
            let mut say = |text| {
                notes.push(Note::on_file(
                    "dump-z.txt",
                    format!("pin {}:{}, IRQ {}: {text}", pin.apic, pin.pin, irq.irq),
                ));
            };
            if irq.vector.is_none_or(|vector| vector.number() != pin.entry.vector) {
                say(format!("vector {:02x} here, {} there; {IRQS_COUNT}", pin.entry.vector, vector_of(irq)));
            }
            if pin.entry.is_level != (irq.trigger == Trigger::IoApicLevel) {
                let trigger = if pin.entry.is_level { "level" } else { "edge" };
                say(format!("{trigger}-triggered here, {} there; {IRQS_COUNT}", irq.trigger.name()));
            }
            if let Some(cpus) = self.flat_cpus(pin.entry.mode, pin.entry.destination)
                && cpus != irq.target()
            {
                say(format!("sent to {cpus} here, to {} there; {IRQS_COUNT}", irq.target()));
            }
        }
    }

    /// Compares the binders of the IRQ dump with the physical interrupts of the event-channel dump, both ways.
    fn compare_bindings(&self, notes: &mut Vec<Note>) {
        let Some(events) = &self.events else { return };
        for irq in &self.irqs.irqs {
            for binder in irq.binders() {
                let found = events
                    .domain(binder.domain)
                    .is_some_and(|ports| ports.pirqs().any(|(_, pirq, _)| pirq == binder.pirq));
                if !found {
                    let text = format!(
                        "IRQ {}: {} has no port for pirq {}; {IRQS_COUNT}",
                        irq.irq, binder.domain, binder.pirq
                    );
                    notes.push(Note::on_file("dump-e.txt", text));
                }
            }
        }
        for ports in &events.domains {
            for (line, pirq, number) in ports.pirqs() {
                let irq = u32::try_from(number).ok().and_then(|number| self.irq(number));
                let is_bound = irq.is_some_and(|irq| {
                    irq.binders().iter().any(|binder| binder.domain == ports.domain && binder.pirq == pirq)
                });
                if number > 0 && !is_bound {
                    let text = format!(
                        "{} port {}: bound to pirq {pirq}, IRQ {number} here, not there; {IRQS_COUNT}",
                        ports.domain, line.port
                    );
                    notes.push(Note::on_file("dump-e.txt", text));
                }
            }
        }
    }

    /// Compares the toolstack's list of ports with the event-channel dump.
    fn compare_port_lists(&self, notes: &mut Vec<Note>) {
        let Some(events) = &self.events else { return };
        for ports in &events.domains {
            let Some(listed) = self.ports.get(&ports.domain.0) else { continue };
            let file = format!("lsevtchn-{}.txt", ports.domain.0);
            for line in ports.ports.iter().filter(|line| line.xen_consumer == 0) {
                match listed.iter().find(|status| status.port == line.port) {
                    None => notes.push(Note::on_file(
                        &file,
                        format!("port {} is in the event-channel dump, not here; the dump counts", line.port),
                    )),
                    Some(status) if !same_binding(status.binding, line.binding) || status.vcpu != line.vcpu => {
                        let text =
                            format!("port {} is bound otherwise in the event-channel dump, which counts", line.port);
                        notes.push(Note::on_file(&file, text));
                    }
                    Some(_) => {}
                }
            }
        }
    }

    /// Compares where `xl vcpu-list` and the domain dump let vCPUs run.
    fn compare_affinities(&self, notes: &mut Vec<Note>) {
        let Some(domains) = &self.domains else { return };
        for line in self.vcpu_list.iter().flatten() {
            let vcpu =
                domains.domain(line.domain).and_then(|domain| domain.vcpus.iter().find(|vcpu| vcpu.vcpu == line.vcpu));
            let (Some(vcpu), Affinity::Cpus(cpus)) = (vcpu, &line.hard) else { continue };
            if vcpu.hard_affinity.intersection(&self.online()) != cpus.intersection(&self.online()) {
                let text = format!(
                    "{}v{}: may run on {cpus} here, on {} in the domain dump, which counts",
                    line.domain, line.vcpu, vcpu.hard_affinity
                );
                notes.push(Note::on_file("xl-vcpu-list.txt", text));
            }
        }
    }
}

fn note(file: &str, line: u32, text: String) -> Note {
    Note { file: file.to_owned(), line: Some(line), text }
}

fn vector_of(irq: &IrqLine) -> String {
    irq.vector.map_or_else(|| "none".to_owned(), |vector| format!("{:02x}", vector.number()))
}

/// Whether two bindings are the same as far as the toolstack knows, which has no IRQ numbers.
fn same_binding(listed: Binding, dumped: Binding) -> bool {
    match (listed, dumped) {
        (Binding::Pirq { pirq: a, .. }, Binding::Pirq { pirq: b, .. }) => a == b,
        (a, b) => a == b,
    }
}

impl IrqLine {
    /// The domains it goes to; none if Xen handles it or nobody.
    #[must_use]
    pub fn binders(&self) -> &[crate::import::Binder] {
        match &self.handling {
            Handling::Guests { binders, .. } => binders,
            Handling::Unbound | Handling::Xen { .. } => &[],
        }
    }

    /// The CPUs the hardware may deliver it to: its affinity, as far as its vector is held there; while it moves, its
    /// holders.
    #[must_use]
    pub fn target(&self) -> CpuSet {
        let target = self.affinity.intersection(&self.holders);
        if target.is_empty() { self.holders.clone() } else { target }
    }
}
