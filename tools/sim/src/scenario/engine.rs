//! How guests' local APICs are served, as a person writes it.

use std::fmt;

use carillon_machine::DoorbellRinger;
use hypervisor_lib::delivery::AmdReport;
use hypervisor_lib::delivery::Guest;
use hypervisor_lib::delivery::GuestMode;
use hypervisor_lib::delivery::Hypervisor;
use hypervisor_lib::delivery::IntelReport;
use hypervisor_lib::delivery::Report;
use hypervisor_lib::delivery::Switch;
use hypervisor_lib::delivery::choose;
use serde::Deserialize;
use serde::Serialize;

use super::Scenario;
use super::Vendor;

/// How guests' local APICs are served.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Engine {
    /// As Xen chooses on a processor of the host's maker that has everything.
    #[default]
    Chosen,
    /// Emulated by the hypervisor; each interrupt is injected.
    Software,
    /// Intel's APICv; each interrupt takes an exit to be injected.
    Apicv,
    /// APICv with posted interrupts.
    Posted,
    /// The same with IPI virtualization.
    Ipiv,
    /// AMD's AVIC.
    Avic,
}

impl Engine {
    /// All that can be compared, in the order of a comparison.
    pub const ALL: [Self; 5] = [Self::Software, Self::Apicv, Self::Posted, Self::Ipiv, Self::Avic];

    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
    pub(super) fn is_chosen(&self) -> bool {
        *self == Self::Chosen
    }

    /// Its name, as in files and on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Chosen => "chosen",
            Self::Software => "software",
            Self::Apicv => "apicv",
            Self::Posted => "posted",
            Self::Ipiv => "ipiv",
            Self::Avic => "avic",
        }
    }

    /// Whose processors have it; none if all have.
    const fn vendor(self) -> Option<Vendor> {
        match self {
            Self::Chosen | Self::Software => None,
            Self::Apicv | Self::Posted | Self::Ipiv => Some(Vendor::Intel),
            Self::Avic => Some(Vendor::Amd),
        }
    }

    /// The engine of a domain with so many vCPUs.
    pub(super) fn resolve(self, vendor: Vendor, vcpus: u32) -> carillon_machine::Engine {
        match self {
            Self::Chosen => chosen(vendor, vcpus),
            Self::Software => carillon_machine::Engine::Software,
            Self::Apicv => carillon_machine::Engine::Apicv,
            Self::Posted => carillon_machine::Engine::Posted,
            Self::Ipiv => carillon_machine::Engine::IpiVirtualization,
            Self::Avic => carillon_machine::Engine::Avic(DoorbellRinger::Processor),
        }
    }
}

/// What Xen would use, its options as they are unless set, but for posting by the IOMMU, which the sources' paths decide.
fn chosen(vendor: Vendor, vcpus: u32) -> carillon_machine::Engine {
    const ALL: u64 = u64::MAX;
    let report = match vendor {
        Vendor::Intel => Report::Intel(IntelReport {
            pin_based: ALL,
            primary: ALL,
            secondary: ALL,
            tertiary: ALL,
            exit: ALL,
            iommu: ALL,
            iommu_extended: ALL,
        }),
        Vendor::Amd => Report::Amd(AmdReport {
            family: 0x19,
            svm_ecx: u32::MAX,
            svm_edx: u32::MAX,
            greatest_apic_id: 0,
            // GAMSup is a field, in which 1 means delivery into backing pages.
            iommu_features: 1 << 21 | 1 << 7,
        }),
    };
    let guest = Guest { mode: GuestMode::X2Apic, greatest_apic_id: vcpus.saturating_sub(1) };
    let xen = Hypervisor::Xen { apicv: Switch::On, intremap: Switch::On, intpost: Switch::On };
    choose(&report, guest, xen).engine
}

impl Scenario {
    /// The same with all local APICs under one engine. Where the host's processors are of a maker that does not have it,
    /// others take their place.
    #[must_use]
    pub fn with_engine(&self, engine: Engine) -> Self {
        let mut scenario = self.clone();
        scenario.engine = engine;
        scenario.host.vendor = engine.vendor().unwrap_or(scenario.host.vendor);
        for domain in &mut scenario.domains {
            domain.engine = None;
        }
        scenario
    }
}

impl fmt::Display for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use carillon_machine::DoorbellRinger;

    use super::Engine;
    use crate::Shipped;
    use crate::scenario::Vendor;

    #[test]
    fn xen_chooses_posted_interrupts_on_intel_and_emulates_on_amd() {
        use carillon_machine::Engine as Machines;
        assert_eq!(Engine::Chosen.resolve(Vendor::Intel, 4), Machines::Posted);
        assert_eq!(Engine::Chosen.resolve(Vendor::Amd, 4), Machines::Software);
        let named = Engine::ALL.map(|engine| engine.resolve(Vendor::Intel, 4));
        let avic = Machines::Avic(DoorbellRinger::Processor);
        assert_eq!(named, [Machines::Software, Machines::Apicv, Machines::Posted, Machines::IpiVirtualization, avic]);
    }

    #[test]
    fn every_engine_finds_the_processor_that_has_it_and_replaces_what_domains_say() {
        let mut scenario = Shipped::named("question-2013").unwrap().scenario().unwrap();
        scenario.domains[1].engine = Some(Engine::Apicv);
        for engine in Engine::ALL {
            let other = scenario.with_engine(engine);
            let setup = other.setup().unwrap();
            let expected = if engine == Engine::Avic { Vendor::Amd } else { Vendor::Intel };
            assert_eq!(other.host.vendor, expected);
            assert_eq!(setup.machine.domains[1].engine, engine.resolve(expected, 1));
        }
        assert!(scenario.with_engine(Engine::Avic).with_engine(Engine::Software).setup().is_ok());
    }
}
