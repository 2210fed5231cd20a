//! What a guest is told it may use: the features of `XENVER_get_features` and the hypervisor's CPUID leaves.
//!
//! The two must agree with what the host then does: a guest takes [`Feature::HvmPirqs`] and
//! [`HvmFeatures::upcall_vector`] at their word when it chooses how its device interrupts come
//! (`arch/x86/pci/xen.c:xen_hvm_msi_init` in Linux).

use hypervisor_abi::DomainId;
use hypervisor_abi::VcpuId;
use hypervisor_abi::cpuid;
use hypervisor_abi::cpuid::CpuidLeaf;
use hypervisor_abi::cpuid::HvmFeatures;
use hypervisor_abi::features::Feature;
use hypervisor_abi::features::Features;

use crate::fabric::DomainKind;

/// What one domain is offered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Offer {
    /// Its number.
    pub domain: DomainId,
    /// How it is virtualized.
    pub kind: DomainKind,
    /// It drives the hardware.
    pub is_hardware_domain: bool,
    /// Its frames are host frames.
    pub is_direct_mapped: bool,
    /// It may map physical IRQs to events (`hvm_pirq=1`; for HVM and PVH off by default since Xen 4.19).
    pub has_pirqs: bool,
    /// How its local APIC is virtualized by hardware.
    pub apic: ApicAssist,
    /// MSI addresses and redirection entries may carry 15-bit destinations.
    pub has_extended_destinations: bool,
    /// Foreign and granted pages get IOMMU mappings.
    pub has_iommu_mappings: bool,
    /// The version it sees: major, minor.
    pub version: (u16, u16),
    /// The scale of its time-stamp counter.
    pub tsc: TscScale,
}

/// What hardware does for a local APIC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ApicAssist {
    /// Nothing: every access exits.
    None,
    /// Registers are virtualized in the xAPIC's page.
    Registers,
    /// Registers, x2APIC accesses and the delivery of interrupts are.
    RegistersAndDelivery,
}

/// How a domain's time-stamp counter relates to time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct TscScale {
    /// The counter is emulated.
    pub is_emulated: bool,
    /// The host's counter is the same on all CPUs.
    pub host_is_reliable: bool,
    /// The mode the domain was created with.
    pub mode: u32,
    /// The frequency, in kHz.
    pub khz: u32,
    /// How often the domain has moved.
    pub incarnation: u32,
    /// The counter at time 0.
    pub offset: u64,
    /// Multiplies cycles; the product's upper 32 bits are ns.
    pub multiplier: u32,
    /// How far cycles are shifted left before; negative shifts right.
    pub shift: i8,
    /// The host's frequency, in kHz.
    pub host_khz: u32,
}

impl Offer {
    /// Submap 0 of the features.
    #[must_use]
    pub fn features(&self) -> Features {
        let mut features = Features::default();
        let hvm = self.kind != DomainKind::Pv;
        let offered = [
            (hvm, Feature::AutoTranslatedPhysmap),
            (hvm, Feature::HvmCallbackVector),
            (hvm, Feature::HvmSafePvclock),
            (hvm && self.has_pirqs, Feature::HvmPirqs),
            (hvm, Feature::DmMsixAllWrites),
            (self.is_hardware_domain, Feature::Dom0),
            (self.is_direct_mapped, Feature::DirectMapped),
            (!self.is_direct_mapped, Feature::NotDirectMapped),
            (true, Feature::RunstatePhysArea),
            (true, Feature::VcpuTimePhysArea),
        ];
        for (_, feature) in offered.into_iter().filter(|(is_offered, _)| *is_offered) {
            features = features.with(feature);
        }
        features
    }

    /// A hypervisor leaf, by its distance from the base; `None` beyond the last. `subleaf` is ECX.
    #[must_use]
    pub fn leaf(&self, base: u32, distance: u32, subleaf: u32, vcpu: VcpuId) -> Option<CpuidLeaf> {
        let [ebx, ecx, edx] = cpuid::SIGNATURE;
        Some(match distance {
            0 => CpuidLeaf { eax: base + cpuid::MAX_LEAVES, ebx, ecx, edx },
            cpuid::VERSION => {
                CpuidLeaf { eax: u32::from(self.version.0) << 16 | u32::from(self.version.1), ..CpuidLeaf::default() }
            }
            cpuid::HYPERCALL_PAGE => CpuidLeaf { eax: 1, ebx: HYPERCALL_MSR, ..CpuidLeaf::default() },
            cpuid::TSC => self.tsc.leaf(subleaf),
            cpuid::HVM_FEATURES if self.kind == DomainKind::Pv || subleaf != 0 => CpuidLeaf::default(),
            cpuid::HVM_FEATURES => {
                CpuidLeaf { eax: self.hvm_features().into(), ebx: vcpu.0, ecx: u32::from(self.domain.0), edx: 0 }
            }
            cpuid::PV_LIMITS => CpuidLeaf::default(),
            _ => return None,
        })
    }

    /// EAX of leaf base + 4.
    #[must_use]
    pub fn hvm_features(&self) -> HvmFeatures {
        HvmFeatures::new()
            .with_apic_access_virt(self.apic != ApicAssist::None)
            .with_x2apic_virt(self.apic == ApicAssist::RegistersAndDelivery)
            .with_iommu_mappings(self.has_iommu_mappings)
            .with_vcpu_id_present(true)
            .with_domid_present(true)
            .with_ext_dest_id(self.has_extended_destinations)
            .with_upcall_vector(true)
    }
}

/// The MSR a guest writes its hypercall page's address to, where no other hypervisor's leaves come first.
const HYPERCALL_MSR: u32 = 0x4000_0000;

impl TscScale {
    fn leaf(&self, subleaf: u32) -> CpuidLeaf {
        match subleaf {
            0 => CpuidLeaf {
                eax: u32::from(self.is_emulated) | u32::from(self.host_is_reliable) << 1,
                ebx: self.mode,
                ecx: self.khz,
                edx: self.incarnation,
            },
            1 => {
                let [a, b, c, d, e, f, g, h] = self.offset.to_le_bytes();
                let [shift] = self.shift.to_le_bytes();
                CpuidLeaf {
                    eax: u32::from_le_bytes([a, b, c, d]),
                    ebx: u32::from_le_bytes([e, f, g, h]),
                    ecx: self.multiplier,
                    edx: u32::from(shift),
                }
            }
            2 => CpuidLeaf { eax: self.host_khz, ..CpuidLeaf::default() },
            _ => CpuidLeaf::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use hypervisor_abi::DomainId;
    use hypervisor_abi::VcpuId;
    use hypervisor_abi::cpuid;
    use hypervisor_abi::features::Feature;

    use super::ApicAssist;
    use super::Offer;
    use super::TscScale;
    use crate::fabric::DomainKind;

    fn offer(kind: DomainKind) -> Offer {
        Offer {
            domain: DomainId(7),
            kind,
            is_hardware_domain: false,
            is_direct_mapped: false,
            has_pirqs: true,
            apic: ApicAssist::Registers,
            has_extended_destinations: true,
            has_iommu_mappings: false,
            version: (4, 23),
            tsc: TscScale { khz: 2_000_000, offset: 0x1_0000_0002, shift: -1, ..TscScale::default() },
        }
    }

    #[test]
    fn physical_irqs_are_offered_only_where_the_domain_has_them() {
        let hvm = offer(DomainKind::Hvm);
        assert!(hvm.features().has(Feature::HvmPirqs));
        assert!(!Offer { has_pirqs: false, ..hvm }.features().has(Feature::HvmPirqs));
        let pv = offer(DomainKind::Pv).features();
        assert!(!pv.has(Feature::HvmPirqs) && !pv.has(Feature::HvmCallbackVector));
        assert!(pv.has(Feature::NotDirectMapped) && !pv.has(Feature::DirectMapped));
    }

    #[test]
    fn r31_cpuid_bit_6_says_that_upcall_vectors_and_physical_irqs_go_together() {
        let leaf = offer(DomainKind::Hvm).leaf(cpuid::FIRST_LEAF, cpuid::HVM_FEATURES, 0, VcpuId(3)).expect("leaf 4");
        assert_eq!((leaf.eax, leaf.ebx, leaf.ecx), (0x79, 3, 7));
        let assisted = Offer { apic: ApicAssist::RegistersAndDelivery, ..offer(DomainKind::Hvm) };
        assert_eq!(u32::from(assisted.hvm_features()) & 3, 3);
        let pv = offer(DomainKind::Pv).leaf(cpuid::FIRST_LEAF, cpuid::HVM_FEATURES, 0, VcpuId(3)).expect("leaf 4");
        assert_eq!(pv.eax, 0);
    }

    #[test]
    fn the_base_leaf_names_the_last_and_nothing_is_beyond_it() {
        let offer = offer(DomainKind::Pvh);
        let base = cpuid::FIRST_LEAF + cpuid::BASE_STEP;
        let first = offer.leaf(base, 0, 0, VcpuId(0)).expect("the base leaf");
        assert_eq!([first.ebx, first.ecx, first.edx], cpuid::SIGNATURE);
        for distance in 0..=first.eax - base {
            assert!(offer.leaf(base, distance, 0, VcpuId(0)).is_some(), "leaf {distance}");
        }
        assert_eq!(offer.leaf(base, first.eax - base + 1, 0, VcpuId(0)), None);
        assert_eq!(offer.leaf(base, cpuid::VERSION, 0, VcpuId(0)).map(|leaf| leaf.eax), Some(0x4_0017));
    }

    #[test]
    fn the_time_stamp_counters_scale_is_spread_over_three_subleaves() {
        let leaf = |subleaf| offer(DomainKind::Hvm).leaf(0, cpuid::TSC, subleaf, VcpuId(0)).expect("leaf 3");
        assert_eq!(leaf(0).ecx, 2_000_000);
        assert_eq!((leaf(1).eax, leaf(1).ebx, leaf(1).edx), (2, 1, 0xff));
        assert_eq!(leaf(3).eax, 0);
    }
}
