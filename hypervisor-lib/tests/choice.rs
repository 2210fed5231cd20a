//! The choice of an engine, from what a machine reports.
#![cfg(not(any(loom, shuttle)))]

use hypervisor_lib::delivery::AmdReport;
use hypervisor_lib::delivery::CAPABILITIES;
use hypervisor_lib::delivery::Capability;
use hypervisor_lib::delivery::Choice;
use hypervisor_lib::delivery::DoorbellRinger;
use hypervisor_lib::delivery::Engine;
use hypervisor_lib::delivery::Feature;
use hypervisor_lib::delivery::Guest;
use hypervisor_lib::delivery::GuestMode;
use hypervisor_lib::delivery::Hypervisor;
use hypervisor_lib::delivery::IntelReport;
use hypervisor_lib::delivery::Lack;
use hypervisor_lib::delivery::Report;
use hypervisor_lib::delivery::Switch;
use hypervisor_lib::delivery::XenOption;
use hypervisor_lib::delivery::choose;
use proptest::prelude::Just;
use proptest::prelude::Strategy;
use proptest::prelude::any;
use proptest::prelude::prop_oneof;
use proptest::proptest;

/// All that Intel's engines need, and no bit more.
const INTEL: IntelReport = IntelReport {
    pin_based: 0x0000_0081_0000_0000,
    primary: 0x8022_0000_0000_0000,
    secondary: 0x0000_0311_0000_0000,
    tertiary: 0x10,
    exit: 0x0000_8000_0000_0000,
    iommu: 1 << 59,
    iommu_extended: 1 << 3,
};

/// All that AVIC needs.
const AMD: AmdReport =
    AmdReport { family: 0x19, svm_ecx: 0x40, svm_edx: 0x0004_2001, greatest_apic_id: 255, iommu_features: 0x0020_0080 };

const XAPIC: Guest = Guest { mode: GuestMode::XApic, greatest_apic_id: 254 };
const X2APIC: Guest = Guest { mode: GuestMode::X2Apic, greatest_apic_id: 254 };

const XEN: Hypervisor = xen(Switch::On, Switch::On);

const fn xen(apicv: Switch, intpost: Switch) -> Hypervisor {
    Hypervisor::Xen { apicv, intremap: Switch::On, intpost }
}

fn intel(report: IntelReport, guest: Guest, hypervisor: Hypervisor) -> Choice {
    choose(&Report::Intel(report), guest, hypervisor)
}

fn amd(report: AmdReport, guest: Guest, hypervisor: Hypervisor) -> Choice {
    choose(&Report::Amd(report), guest, hypervisor)
}

fn lacks(choice: &Choice, feature: Feature) -> &[Lack] {
    choice.refusals.iter().find(|refusal| refusal.feature == feature).map_or(&[], |refusal| &refusal.lacks)
}

#[test]
fn a_machine_that_has_everything_is_used_to_the_full() {
    for guest in [XAPIC, X2APIC] {
        let choice = intel(INTEL, guest, Hypervisor::Full);
        assert_eq!((choice.engine, choice.devices), (Engine::IpiVirtualization, Switch::On));
        assert!(choice.refusals.is_empty());
        let choice = amd(AMD, guest, Hypervisor::Full);
        assert_eq!((choice.engine, choice.devices), (Engine::Avic(DoorbellRinger::Processor), Switch::On));
        assert!(choice.refusals.is_empty());
    }
}

#[test]
fn every_bit_that_is_missing_is_named_and_costs_what_needs_it() {
    use Capability::ApicAccesses;
    use Capability::VtdPosting;
    use Capability::VtdRemapping;
    use Capability::X2ApicMode;
    for bit in 0..64 {
        let without = |word: u64| word & !(1 << bit);
        let reports = [
            IntelReport { pin_based: without(INTEL.pin_based), ..INTEL },
            IntelReport { primary: without(INTEL.primary), ..INTEL },
            IntelReport { secondary: without(INTEL.secondary), ..INTEL },
            IntelReport { tertiary: without(INTEL.tertiary), ..INTEL },
            IntelReport { exit: without(INTEL.exit), ..INTEL },
            IntelReport { iommu: without(INTEL.iommu), ..INTEL },
            IntelReport { iommu_extended: without(INTEL.iommu_extended), ..INTEL },
        ];
        for report in reports.into_iter().filter(|report| *report != INTEL) {
            let missing: Vec<Capability> = CAPABILITIES
                .into_iter()
                .filter(|c| c.is_in(&Report::Intel(INTEL)) && !c.is_in(&Report::Intel(report)))
                .collect();
            let [missing] = missing[..] else { panic!("{report:x?} lacks {missing:?}") };
            for guest in [XAPIC, X2APIC] {
                let choice = intel(report, guest, Hypervisor::Full);
                let other = if guest.mode == GuestMode::XApic { X2ApicMode } else { ApicAccesses };
                let engine = match missing {
                    missing if missing == other => Engine::IpiVirtualization,
                    VtdPosting | VtdRemapping => Engine::IpiVirtualization,
                    Capability::TertiaryControls | Capability::IpiVirtualization => Engine::Posted,
                    Capability::ProcessPosted | Capability::AcknowledgeOnExit => Engine::Apicv,
                    _ => Engine::Software,
                };
                assert_eq!(choice.engine, engine, "{missing:?}");
                if missing != other {
                    let texts: String = choice.refusals.iter().map(ToString::to_string).collect();
                    assert!(texts.contains(&missing.to_string()), "{texts}");
                }
            }
        }
    }
}

#[test]
fn every_capability_is_a_bit_of_one_makers_report_and_of_no_others() {
    for capability in CAPABILITIES {
        let [is_intel, is_amd] = [Report::Intel(INTEL), Report::Amd(AMD)].map(|report| capability.is_in(&report));
        assert!(is_intel != is_amd, "{capability}");
        assert!(!capability.is_in(&Report::Other));
        assert!(!capability.is_in(&Report::Intel(IntelReport::default())));
        assert!(!capability.is_in(&Report::Amd(AmdReport::default())));
    }
}

#[test]
fn on_xen_a_user_reads_which_option_would_help_and_where_none_would() {
    let choice = intel(INTEL, X2APIC, xen(Switch::Off, Switch::Off));
    assert_eq!((choice.engine, choice.devices), (Engine::Software, Switch::Off));
    let texts: Vec<String> = choice.refusals.iter().map(ToString::to_string).collect();
    assert_eq!(
        texts,
        [
            "no APICv: it is switched off: put apicv=1 on Xen's command line",
            "no posted interrupts: APICv would have to be used",
            "no IPI virtualization: posted interrupts would have to be used; Xen 4.23 cannot use it, and has no option for it",
            "no posting of device interrupts: posted interrupts would have to be used; it is switched off: put \
             iommu=intpost on Xen's command line",
        ]
    );
    let choice = intel(INTEL, X2APIC, XEN);
    assert_eq!((choice.engine, choice.devices), (Engine::Posted, Switch::On));
    assert_eq!(lacks(&choice, Feature::IpiVirtualization), [Lack::Code]);
    let choice = amd(AMD, X2APIC, XEN);
    assert_eq!((choice.engine, choice.devices), (Engine::Software, Switch::Off));
    assert_eq!(lacks(&choice, Feature::Avic), [Lack::Code]);
}

/// posting by VT-d was asked for on processors without posted interrupts, and set up.
#[test]
fn r50_devices_are_not_posted_to_processors_that_cannot_be_posted_to() {
    let report = IntelReport { pin_based: 1 << 32, ..INTEL };
    for hypervisor in [Hypervisor::Full, XEN] {
        let choice = intel(report, X2APIC, hypervisor);
        assert_eq!((choice.engine, choice.devices), (Engine::Apicv, Switch::Off));
        assert_eq!(lacks(&choice, Feature::DevicePosting), [Lack::Needs(Feature::Posted)]);
    }
}

#[test]
fn posting_needs_remapping_to_be_switched_on_too() {
    let hypervisor = Hypervisor::Xen { apicv: Switch::On, intremap: Switch::Off, intpost: Switch::On };
    let choice = intel(INTEL, X2APIC, hypervisor);
    assert_eq!(lacks(&choice, Feature::DevicePosting), [Lack::Option(XenOption::Intremap)]);
}

#[test]
fn with_erratum_1235_avic_is_used_without_its_ipis() {
    for (family, ringer) in [
        (0x15, DoorbellRinger::Processor),
        (0x17, DoorbellRinger::Hypervisor),
        (0x18, DoorbellRinger::Hypervisor),
        (0x19, DoorbellRinger::Processor),
        (0x1a, DoorbellRinger::Processor),
    ] {
        let choice = amd(AmdReport { family, ..AMD }, XAPIC, Hypervisor::Full);
        assert_eq!((choice.engine, choice.devices), (Engine::Avic(ringer), Switch::On));
    }
}

#[test]
fn numbers_beyond_the_tables_are_told_with_the_tables_reach() {
    let standard = AmdReport { svm_ecx: 0, ..AMD };
    for (report, mode, reach) in
        [(AMD, GuestMode::XApic, 254), (standard, GuestMode::X2Apic, 511), (AMD, GuestMode::X2Apic, 4095)]
    {
        let guest = |greatest_apic_id| Guest { mode, greatest_apic_id };
        assert_ne!(amd(report, guest(reach), Hypervisor::Full).engine, Engine::Software);
        let choice = amd(report, guest(reach + 1), Hypervisor::Full);
        assert_eq!(choice.engine, Engine::Software);
        assert_eq!(lacks(&choice, Feature::Avic), [Lack::GuestApicId { greatest: reach + 1, reach }]);
    }
    let choice = amd(AmdReport { greatest_apic_id: 4096, ..AMD }, XAPIC, Hypervisor::Full);
    assert_eq!(lacks(&choice, Feature::Avic), [Lack::HostApicId(4096)]);
    for (mode, reach) in [(GuestMode::XApic, 0xfe), (GuestMode::X2Apic, 0xffff)] {
        let guest = |greatest_apic_id| Guest { mode, greatest_apic_id };
        assert_eq!(intel(INTEL, guest(reach), Hypervisor::Full).engine, Engine::IpiVirtualization);
        let choice = intel(INTEL, guest(reach + 1), Hypervisor::Full);
        assert_eq!(choice.engine, Engine::Posted);
        assert_eq!(lacks(&choice, Feature::IpiVirtualization), [Lack::GuestApicId { greatest: reach + 1, reach }]);
    }
}

#[test]
fn an_unknown_processor_is_served_by_software() {
    let choice = choose(&Report::Other, XAPIC, Hypervisor::Full);
    assert_eq!((choice.engine, choice.devices), (Engine::Software, Switch::Off));
    assert_eq!(lacks(&choice, Feature::Apicv), [Lack::Maker]);
}

fn sparse(full: u64) -> impl Strategy<Value = u64> {
    prop_oneof![3 => Just(full), 1 => any::<u64>(), 1 => any::<u64>().prop_map(move |mask| full & mask)]
}

proptest! {
    /// Whatever a machine reports: what is used has all it needs, and what is not used has a reason.
    #[test]
    fn an_engine_is_used_exactly_if_it_has_all_it_needs(
        pin_based in sparse(INTEL.pin_based),
        primary in sparse(INTEL.primary),
        secondary in sparse(INTEL.secondary),
        tertiary in sparse(INTEL.tertiary),
        exit in sparse(INTEL.exit),
        iommu in sparse(INTEL.iommu),
        iommu_extended in sparse(INTEL.iommu_extended),
        is_x2apic in any::<bool>(),
    ) {
        let report = IntelReport { pin_based, primary, secondary, tertiary, exit, iommu, iommu_extended };
        let choice = intel(report, if is_x2apic { X2APIC } else { XAPIC }, Hypervisor::Full);
        let high = |word: u64, bits: u64| word >> 32 & bits == bits;
        let interface = if is_x2apic { 0x10 } else { 0x01 };
        let apicv = high(pin_based, 0x01) && high(primary, 0x8020_0000) && high(secondary, 0x300 | interface);
        let posted = apicv && high(pin_based, 0x80) && high(exit, 0x8000);
        let ipis = posted && high(primary, 0x2_0000) && tertiary & 0x10 != 0;
        let engine = match (apicv, posted, ipis) {
            (_, _, true) => Engine::IpiVirtualization,
            (_, true, _) => Engine::Posted,
            (true, _, _) => Engine::Apicv,
            _ => Engine::Software,
        };
        assert_eq!(choice.engine, engine);
        let devices = posted && iommu >> 59 & 1 == 1 && iommu_extended & 8 != 0;
        assert_eq!(choice.devices == Switch::On, devices);
        for (feature, is_used) in [
            (Feature::Apicv, apicv),
            (Feature::Posted, posted),
            (Feature::IpiVirtualization, ipis),
            (Feature::DevicePosting, devices),
        ] {
            assert_eq!(lacks(&choice, feature).is_empty(), is_used, "{feature}");
        }
    }
}
