//! Which path an interrupt takes to its guest, and why.
//!
//! ```text
//! who handles it?      how does it signal?        what may the guest's APIC do?      path
//! Xen ───────────────────────────────────────────────────────────────────────────► Hypervisor
//! PV ────────────────► device ──────────────────────────────────────────────────► PirqEvent
//! HVM/PVH ───────────► device MSI ──► PIRQs on, APIC not virtualized in its mode ► PirqEvent
//!                                ├──► APIC not virtualized, PIRQs off ───────────► SoftwareApic
//!                                ├──► virtualized, IOMMU posts, one destination ─► Posted
//!                                └──► virtualized otherwise ─────────────────────► Remapped
//! HVM ───────────────► device INTx, PIRQs on ───────────────────────────────────► PirqEvent
//! HVM/PVH ───────────► device INTx otherwise ───────────────────────────────────► LevelInjected
//! any ───────────────► another domain, a VIRQ, a vCPU ──────────────────────────► Event
//! HVM ───────────────► an emulated device ──────────────────────────────────────► DeviceModel
//! ```
//!
//! The rules are those of Xen 4.23 with a current Linux guest (`arch/x86/pci/xen.c:xen_hvm_msi_init`, CPUID leaf
//! `0x40000004`, `drivers/passthrough/vtd/intremap.c`).

use core::fmt;

/// What a domain is and what its interrupt controllers can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct DomainFeatures {
    /// How it is virtualized.
    pub kind: DomainKind,
    /// It may map physical IRQs to events (`hvm_pirq=1`, XENFEAT 10; always so for PV).
    pub pirqs: bool,
    /// Its local APIC is virtualized by hardware *in the mode the guest uses* (CPUID leaf base+4: EAX bit 0 for xAPIC,
    /// bit 1 for x2APIC).
    pub apic_virtualized: bool,
    /// The IOMMU posts its device interrupts (`iommu=intpost`).
    pub posting: bool,
}

impl DomainFeatures {
    /// A paravirtual domain.
    #[must_use]
    pub const fn pv() -> Self {
        Self { kind: DomainKind::Pv, pirqs: true, apic_virtualized: false, posting: false }
    }
}

/// How a domain is virtualized.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DomainKind {
    /// Paravirtual.
    Pv,
    /// Hardware virtualization with a device model.
    Hvm,
    /// Hardware virtualization without a device model.
    Pvh,
}

/// How an interrupt signals.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Signal {
    /// The hypervisor handles it itself.
    Hypervisor,
    /// MSI or MSI-X of an assigned device, to one destination.
    DeviceMsi,
    /// MSI or MSI-X of an assigned device, to several destinations or by lowest priority.
    DeviceMsiMulticast,
    /// A line of an IO-APIC from an assigned device.
    DeviceIntx,
    /// A front-end or back-end, xenstore, the console, a virtual IRQ, another vCPU.
    Virtual,
    /// A device the device model emulates.
    Emulated,
}

/// A path and the reason for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Route {
    /// The path.
    pub path: Path,
    /// Why no other.
    pub reason: Reason,
}

/// How an interrupt reaches its guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Path {
    /// It does not: the hypervisor's own handler takes it.
    Hypervisor,
    /// The host takes it and sets an event channel pending.
    PirqEvent,
    /// The host takes it and sets it in an emulated local APIC; EOI and TPR cost exits.
    SoftwareApic,
    /// The host takes it and hands a guest vector to the virtualized local APIC: one exit.
    Remapped,
    /// The IOMMU writes it to the posted-interrupt descriptor: no host vector, no exit while the vCPU runs.
    Posted,
    /// The host takes it and asserts the guest's virtual line; the guest's EOI must be seen.
    LevelInjected,
    /// An event channel, without any physical interrupt.
    Event,
    /// The device model injects it.
    DeviceModel,
}

/// Why a path was chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// Nobody else is bound to it.
    OwnHandler,
    /// PV domains have no local APIC.
    NoApic,
    /// PIRQs are on and the APIC is not virtualized in the guest's mode.
    PirqsWithoutApicv,
    /// PIRQs are on, and a guest that has them registers every line as one, whatever its APIC (Linux:
    /// `arch/x86/pci/xen.c`).
    PirqForEveryLine,
    /// Neither PIRQs nor a virtualized APIC.
    NeitherPirqsNorApicv,
    /// The IOMMU does not post.
    PostingOff,
    /// The IOMMU posts only to a single vCPU.
    SeveralDestinations,
    /// Everything is there for posting.
    PostingOn,
    /// A shared, level-triggered line.
    LevelLine,
    /// Nothing physical behind it.
    NothingPhysical,
    /// The device exists only in the device model.
    EmulatedDevice,
}

/// The path of an interrupt that `signal`s to a domain with `features`.
#[must_use]
pub const fn classify(features: DomainFeatures, signal: Signal) -> Route {
    let (path, reason) = match (signal, features.kind) {
        (Signal::Hypervisor, _) => (Path::Hypervisor, Reason::OwnHandler),
        (Signal::Virtual, _) => (Path::Event, Reason::NothingPhysical),
        (Signal::Emulated, _) => (Path::DeviceModel, Reason::EmulatedDevice),
        (_, DomainKind::Pv) => (Path::PirqEvent, Reason::NoApic),
        (Signal::DeviceIntx, DomainKind::Hvm) if features.pirqs => (Path::PirqEvent, Reason::PirqForEveryLine),
        (Signal::DeviceIntx, _) => (Path::LevelInjected, Reason::LevelLine),
        (Signal::DeviceMsi | Signal::DeviceMsiMulticast, _) => match (features.apic_virtualized, features.pirqs) {
            (false, true) => (Path::PirqEvent, Reason::PirqsWithoutApicv),
            (false, false) => (Path::SoftwareApic, Reason::NeitherPirqsNorApicv),
            (true, _) => match (features.posting, signal) {
                (false, _) => (Path::Remapped, Reason::PostingOff),
                (true, Signal::DeviceMsiMulticast) => (Path::Remapped, Reason::SeveralDestinations),
                (true, _) => (Path::Posted, Reason::PostingOn),
            },
        },
    };
    Route { path, reason }
}

impl Path {
    /// Whether a host vector is taken on its way, so that it takes part in arbitration.
    #[must_use]
    pub const fn takes_host_vector(self) -> bool {
        !matches!(self, Self::Posted | Self::Event | Self::DeviceModel)
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Hypervisor => "hypervisor's own handler",
            Self::PirqEvent => "physical IRQ as event",
            Self::SoftwareApic => "emulated local APIC",
            Self::Remapped => "remapped, injected after an exit",
            Self::Posted => "posted by the IOMMU",
            Self::LevelInjected => "virtual line",
            Self::Event => "event channel",
            Self::DeviceModel => "device model",
        })
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::OwnHandler => "no domain is bound to it",
            Self::NoApic => "a PV domain has no local APIC, so every physical interrupt is an event",
            Self::PirqsWithoutApicv => {
                "the domain may map physical IRQs and its APIC is not virtualized in the mode it uses"
            }
            Self::PirqForEveryLine => "a guest that may map physical IRQs takes every line as one, whatever its APIC",
            Self::NeitherPirqsNorApicv => "hvm_pirq is off and the APIC is not virtualized in the mode the guest uses",
            Self::PostingOff => "the APIC is virtualized, but iommu=intpost is off",
            Self::SeveralDestinations => "the IOMMU posts only to a single vCPU, and this one has several destinations",
            Self::PostingOn => "the APIC is virtualized and iommu=intpost is on",
            Self::LevelLine => "a level-triggered line is asserted until the guest's EOI, which the host must see",
            Self::NothingPhysical => "nothing physical is behind it",
            Self::EmulatedDevice => "the device exists only in the device model",
        })
    }
}

impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.reason)
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use super::DomainFeatures;
    use super::DomainKind;
    use super::Path;
    use super::Reason;
    use super::Route;
    use super::Signal;
    use super::classify;

    const SIGNALS: [Signal; 6] = [
        Signal::Hypervisor,
        Signal::DeviceMsi,
        Signal::DeviceMsiMulticast,
        Signal::DeviceIntx,
        Signal::Virtual,
        Signal::Emulated,
    ];

    fn all_domains() -> Vec<DomainFeatures> {
        let mut all = Vec::new();
        for kind in [DomainKind::Pv, DomainKind::Hvm, DomainKind::Pvh] {
            for bits in 0..8 {
                all.push(DomainFeatures {
                    kind,
                    pirqs: bits & 1 != 0,
                    apic_virtualized: bits & 2 != 0,
                    posting: bits & 4 != 0,
                });
            }
        }
        all
    }

    #[test]
    fn with_a_virtualized_apic_a_passed_through_msi_never_becomes_an_event() {
        for domain in all_domains().into_iter().filter(|d| d.kind != DomainKind::Pv && d.apic_virtualized) {
            for signal in [Signal::DeviceMsi, Signal::DeviceMsiMulticast] {
                assert!(matches!(classify(domain, signal).path, Path::Remapped | Path::Posted), "{domain:?}");
            }
        }
    }

    #[test]
    fn only_a_single_destination_msi_of_a_virtualized_apic_is_posted() {
        for domain in all_domains() {
            for signal in SIGNALS {
                let posted = classify(domain, signal).path == Path::Posted;
                let expected = domain.kind != DomainKind::Pv
                    && domain.apic_virtualized
                    && domain.posting
                    && signal == Signal::DeviceMsi;
                assert_eq!(posted, expected, "{domain:?} {signal:?}");
            }
        }
    }

    #[test]
    fn a_pv_domain_takes_every_device_interrupt_as_an_event() {
        for domain in all_domains().into_iter().filter(|d| d.kind == DomainKind::Pv) {
            for signal in [Signal::DeviceMsi, Signal::DeviceMsiMulticast, Signal::DeviceIntx] {
                assert_eq!(classify(domain, signal).path, Path::PirqEvent);
            }
        }
    }

    #[test]
    fn a_line_is_an_event_to_an_hvm_guest_with_pirqs_and_a_virtual_line_to_all_others() {
        for domain in all_domains().into_iter().filter(|d| d.kind != DomainKind::Pv) {
            let route = classify(domain, Signal::DeviceIntx);
            let expected = match domain.kind == DomainKind::Hvm && domain.pirqs {
                true => Route { path: Path::PirqEvent, reason: Reason::PirqForEveryLine },
                false => Route { path: Path::LevelInjected, reason: Reason::LevelLine },
            };
            assert_eq!(route, expected, "{domain:?}");
        }
    }

    #[test]
    fn without_pirqs_and_apicv_an_msi_goes_through_the_emulated_apic() {
        let domain = DomainFeatures { kind: DomainKind::Hvm, pirqs: false, apic_virtualized: false, posting: true };
        assert_eq!(classify(domain, Signal::DeviceMsi).path, Path::SoftwareApic);
    }
}
