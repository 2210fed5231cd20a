//! The path each source takes to its handler, as far as the recording tells.

use carillon_machine::DomainKind;
use hypervisor_lib::fabric;
use hypervisor_lib::fabric::DomainFeatures;
use hypervisor_lib::fabric::Route;
use hypervisor_lib::fabric::Signal;
use hypervisor_lib::fabric::classify;
use vector_allocator::DomainId;
use vector_allocator::SourceKind;

use super::HostSnapshot;
use super::SourceFacts;

/// The path of a source, or which recording would tell it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RouteFinding {
    /// It takes this path.
    Known(Route),
    /// How its domain is virtualized is not recorded (`dump-q.txt`).
    NoDomainDump,
    /// Its domain has native interrupts, and what the processor can do is not recorded (`xl-dmesg.txt` from the boot on).
    NoBootLog,
}

impl HostSnapshot {
    /// The path `source` takes to its owner's handler.
    ///
    /// A hardware-assisted domain that has bound an event channel to its physical interrupt has thereby chosen the event:
    /// a guest does so only where it may (`hvm_pirq`), with messages only if its APIC is not virtualized. One that has not
    /// is served by its local APIC: a line is injected, and of messages the processor and the IOMMU decide.
    #[must_use]
    pub fn route(&self, source: &SourceFacts) -> RouteFinding {
        let Some(binding) = source.owners_binding() else {
            return RouteFinding::Known(classify(DomainFeatures::pv(), Signal::Hypervisor));
        };
        let signal = if source.kind == SourceKind::Level { Signal::DeviceIntx } else { Signal::DeviceMsi };
        match self.kind_of(binding.domain) {
            None => RouteFinding::NoDomainDump,
            Some(DomainKind::Pv) => RouteFinding::Known(classify(DomainFeatures::pv(), signal)),
            Some(DomainKind::Hvm) if binding.port.is_some() => {
                RouteFinding::Known(classify(assisted(true, false, false), signal))
            }
            Some(DomainKind::Hvm) if signal == Signal::DeviceIntx => {
                RouteFinding::Known(classify(assisted(false, false, false), signal))
            }
            Some(DomainKind::Hvm) => match self.boot_log.as_ref().and_then(|log| log.virtual_interrupt_delivery) {
                None => RouteFinding::NoBootLog,
                Some(virtualized) => {
                    let posts = self.boot_log.as_ref().and_then(|log| log.posted_interrupts).unwrap_or(false);
                    RouteFinding::Known(classify(assisted(false, virtualized, posts), signal))
                }
            },
        }
    }

    fn kind_of(&self, id: DomainId) -> Option<DomainKind> {
        self.domain_facts().into_iter().find(|domain| domain.id == id)?.kind
    }
}

/// A hardware-assisted domain.
const fn assisted(pirqs: bool, apic_virtualized: bool, posting: bool) -> DomainFeatures {
    DomainFeatures { kind: fabric::DomainKind::Hvm, pirqs, apic_virtualized, posting }
}

#[cfg(test)]
mod tests {
    use hypervisor_lib::fabric::Path;
    use vector_allocator::Owner;

    use super::RouteFinding;
    use crate::import::BootLog;
    use crate::snapshot::HostSnapshot;
    use crate::snapshot::Recorded;
    use crate::snapshot::SourceFacts;

    fn nic() -> (HostSnapshot, SourceFacts) {
        let host = HostSnapshot::recorded(Recorded::SasNic).unwrap();
        let nic = host.sources().into_iter().find(|source| source.label == "eth0-rxtx-0").unwrap();
        (host, nic)
    }

    /// The same host with a hardware-assisted guest that has native interrupts.
    fn assisted(log: BootLog) -> Option<Path> {
        let (mut host, mut nic) = nic();
        for domain in host.domains.iter_mut().flat_map(|dump| &mut dump.domains).filter(|domain| domain.id.0 == 1) {
            domain.paging = Some("hap refcounts translate external".to_owned());
        }
        for binding in &mut nic.bindings {
            binding.port = None;
        }
        host.boot_log = Some(log);
        match host.route(&nic) {
            RouteFinding::Known(route) => Some(route.path),
            _ => None,
        }
    }

    #[test]
    fn a_paravirtual_guests_card_comes_as_an_event_and_xens_own_sources_as_neither() {
        let (host, nic) = nic();
        let path = |source: &SourceFacts| match host.route(source) {
            RouteFinding::Known(route) => route.path,
            other => panic!("{other:?}"),
        };
        assert_eq!(path(&nic), Path::PirqEvent);
        let xens = host.sources().into_iter().find(|source| source.owner == Owner::System).unwrap();
        assert_eq!(path(&xens), Path::Hypervisor);
    }

    #[test]
    fn a_native_guests_path_follows_what_the_boot_log_says_and_without_one_is_not_known() {
        let log = |virtual_interrupt_delivery, posted_interrupts| BootLog {
            virtual_interrupt_delivery,
            posted_interrupts,
            ..BootLog::default()
        };
        assert_eq!(assisted(log(None, None)), None);
        assert_eq!(assisted(log(Some(false), None)), Some(Path::SoftwareApic));
        assert_eq!(assisted(log(Some(true), Some(false))), Some(Path::Remapped));
        assert_eq!(assisted(log(Some(true), Some(true))), Some(Path::Posted));
    }

    #[test]
    fn a_hardware_assisted_guest_that_bound_a_port_to_its_line_takes_it_as_an_event() {
        let mut host = HostSnapshot::recorded(Recorded::SasIntx).unwrap();
        for domain in host.domains.iter_mut().flat_map(|dump| &mut dump.domains).filter(|domain| domain.id.0 == 1) {
            domain.paging = Some("hap refcounts translate external".to_owned());
        }
        let mut line = host.sources().into_iter().find(|source| source.irq == 23).unwrap();
        let path = |line: &SourceFacts| match host.route(line) {
            RouteFinding::Known(route) => route.path,
            other => panic!("{other:?}"),
        };
        assert!(line.bindings.iter().all(|binding| binding.port.is_some()));
        assert_eq!(path(&line), Path::PirqEvent);
        line.bindings.iter_mut().for_each(|binding| binding.port = None);
        assert_eq!(path(&line), Path::LevelInjected);
    }

    #[test]
    fn without_a_domain_dump_the_path_is_not_known() {
        let (mut host, nic) = nic();
        host.domains = None;
        assert_eq!(host.route(&nic), RouteFinding::NoDomainDump);
    }
}
