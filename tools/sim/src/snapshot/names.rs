//! What the domains call their interrupts: joins Xen's pirqs with the names in each domain's `/proc/interrupts`.
//!
//! Linux numbers an IO-APIC pin's interrupt as Xen does, so those join by number. A message's number is Linux's own, but
//! numbers and ports are both given in the order of binding, so those join by order, if both sides have as many.

use vector_allocator::DomainId;

use super::HostSnapshot;
use crate::import::DomainPorts;
use crate::import::InterruptRow;
use crate::import::InterruptTable;
use crate::import::Note;
use crate::import::PciFunction;

/// A domain's name of one of its physical interrupts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PirqName {
    pub(super) domain: DomainId,
    pub(super) pirq: i32,
    /// The domain's own number of it.
    pub(super) number: u32,
    /// The name of its handlers.
    pub(super) name: String,
}

/// Drivers whose handlers' names do not begin with theirs.
const HANDLER_NAMES: [(&str, &str); 4] =
    [("megasas", "megaraid_sas"), ("ioc", "mptsas"), ("ioc", "mptspi"), ("ioc", "mptfc")];

impl HostSnapshot {
    /// Every name that can be told, and what could not be told.
    pub(super) fn pirq_names(&self) -> (Vec<PirqName>, Vec<Note>) {
        let mut names = Vec::new();
        let mut notes = Vec::new();
        let dom0 = self.interrupts.iter().map(|file| (DomainId(0), file));
        let guests = self.guest_interrupts.iter().map(|(id, file)| (DomainId(*id), file));
        for (domain, file) in dom0.chain(guests) {
            let Some(table) = file.last() else { continue };
            self.join(domain, table, &mut names, &mut notes);
        }
        (names, notes)
    }

    fn join(&self, domain: DomainId, table: &InterruptTable, names: &mut Vec<PirqName>, notes: &mut Vec<Note>) {
        let mut pirqs = self.pirqs_in_port_order(domain);
        let mut rows: Vec<(u32, &InterruptRow)> = table.pirqs().filter_map(|row| Some((row.number()?, row))).collect();
        rows.sort_by_key(|(number, _)| *number);
        let mut name = |pirq: i32, number: u32, row: &InterruptRow| {
            names.push(PirqName { domain, pirq, number, name: row.action.clone() });
        };
        rows.retain(|(number, row)| {
            let same = pirqs.iter().position(|pirq| u32::try_from(*pirq) == Ok(*number));
            match same.filter(|_| row.is_io_apic()) {
                Some(place) => {
                    name(pirqs.remove(place), *number, row);
                    false
                }
                // A pin the domain lists and the dumps have not got was bound or given back in between.
                None => !row.is_io_apic(),
            }
        });
        if rows.len() == pirqs.len() {
            for (pirq, (number, row)) in pirqs.into_iter().zip(rows) {
                name(pirq, number, row);
            }
        } else {
            let text = format!(
                "{domain} has {} more physical interrupts and {} more names: which is whose cannot be told",
                pirqs.len(),
                rows.len()
            );
            notes.push(Note::on_file("interrupts", text));
        }
    }

    /// A domain's pirqs in the order they were bound; from the IRQ dump, unordered, if event channels are not known.
    fn pirqs_in_port_order(&self, domain: DomainId) -> Vec<i32> {
        match self.events.as_ref().and_then(|dump| dump.domain(domain)) {
            Some(ports) => {
                let mut pirqs: Vec<(u32, i32)> = ports.pirqs().map(|(line, pirq, _)| (line.port, pirq)).collect();
                pirqs.sort_unstable();
                pirqs.into_iter().map(|(_, pirq)| pirq).collect()
            }
            None => {
                let bound = self.irqs.irqs.iter().flat_map(|irq| irq.binders());
                bound.filter(|binder| binder.domain == domain).map(|binder| binder.pirq).collect()
            }
        }
    }

    /// The PCI function a handler's name points to: by an address in it, or by its driver if only one function has it.
    pub(super) fn function_named(&self, name: &str) -> Option<&PciFunction> {
        let functions = || self.functions.iter().flatten();
        let address = name.split(['[', ']']).find(|part| crate::import::pci::is_address(part));
        if let Some(address) = address {
            return functions().find(|function| function.address == address);
        }
        let mut driven =
            functions().filter(|function| function.driver.as_deref().is_some_and(|driver| drives(driver, name)));
        driven.next().filter(|_| driven.next().is_none())
    }
}

/// Whether a handler's name is one that `driver` gives: `mpt3sas0-msix0`, `megasas1-msix0`, `ioc0`.
fn drives(driver: &str, name: &str) -> bool {
    let is_stem =
        |stem: &str| name.strip_prefix(stem).is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
    is_stem(driver) || HANDLER_NAMES.iter().any(|(stem, of)| *of == driver && is_stem(stem))
}

/// Where a domain's physical interrupt is delivered: port and vCPU; none if its event channels are not known.
pub(super) fn port_of(ports: Option<&DomainPorts>, pirq: i32) -> Option<(u32, u32)> {
    ports?.pirqs().find(|(_, number, _)| *number == pirq).map(|(line, _, _)| (line.port, line.vcpu))
}

#[cfg(test)]
mod tests {
    use super::drives;

    #[test]
    fn handlers_are_told_to_drivers_by_their_stem_and_number() {
        assert!(drives("mpt3sas", "mpt3sas0-msix0"));
        assert!(drives("megaraid_sas", "megasas1-msix0"));
        assert!(drives("mptsas", "ioc0"));
        assert!(!drives("mptsas", "iochannel"));
        assert!(!drives("nvme", "nvidia0"));
    }
}
