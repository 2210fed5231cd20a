//! What a machine reports of itself, as raw register values, and which of its bits a delivery engine needs.

use core::fmt;

/// What a processor and its IOMMUs report. The values may come from another machine's dump.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Report {
    /// Intel's.
    Intel(IntelReport),
    /// AMD's, and Hygon's.
    Amd(AmdReport),
    /// A processor without hardware virtualization, or one this library does not know.
    Other,
}

/// What an Intel machine reports: the VMX capability MSRs, 0 where one does not exist. Those of 32-bit controls hold in their
/// upper half which bits may be 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct IntelReport {
    /// `IA32_VMX_TRUE_PINBASED_CTLS` (48Dh), or `IA32_VMX_PINBASED_CTLS` (481h).
    pub pin_based: u64,
    /// `IA32_VMX_TRUE_PROCBASED_CTLS` (48Eh), or `IA32_VMX_PROCBASED_CTLS` (482h).
    pub primary: u64,
    /// `IA32_VMX_PROCBASED_CTLS2` (48Bh).
    pub secondary: u64,
    /// `IA32_VMX_PROCBASED_CTLS3` (492h), all of whose 64 bits say what may be 1.
    pub tertiary: u64,
    /// `IA32_VMX_TRUE_EXIT_CTLS` (48Fh), or `IA32_VMX_EXIT_CTLS` (483h).
    pub exit: u64,
    /// The bits that the capability registers of all VT-d units have in common (offset 8); 0 if there is none.
    pub iommu: u64,
    /// The same of their extended capability registers (offset 10h).
    pub iommu_extended: u64,
}

/// What an AMD machine reports.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct AmdReport {
    /// The family: base plus extended, of CPUID 1 EAX. 17h are AMD's Zen and Zen 2, 18h Hygon's.
    pub family: u32,
    /// CPUID 8000_000A ECX.
    pub svm_ecx: u32,
    /// CPUID 8000_000A EDX.
    pub svm_edx: u32,
    /// The greatest number of a local APIC of the machine.
    pub greatest_apic_id: u32,
    /// The bits that the extended feature registers of all IOMMUs have in common (offset 30h), except that GAMSup is the least;
    /// 0 if there is none.
    pub iommu_features: u64,
}

/// A bit of a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Capability {
    /// "External-interrupt exiting".
    ExternalInterruptExiting,
    /// "Process posted interrupts".
    ProcessPosted,
    /// "Use TPR shadow".
    TprShadow,
    /// "Activate secondary controls".
    SecondaryControls,
    /// "Activate tertiary controls".
    TertiaryControls,
    /// "Virtualize APIC accesses".
    ApicAccesses,
    /// "Virtualize x2APIC mode".
    X2ApicMode,
    /// "APIC-register virtualization".
    RegisterVirtualization,
    /// "Virtual-interrupt delivery".
    VirtualInterruptDelivery,
    /// "IPI virtualization".
    IpiVirtualization,
    /// "Acknowledge interrupt on exit".
    AcknowledgeOnExit,
    /// Interrupt remapping of VT-d.
    VtdRemapping,
    /// Posting of VT-d.
    VtdPosting,
    /// Nested paging.
    NestedPaging,
    /// AVIC.
    Avic,
    /// x2AVIC.
    X2Avic,
    /// The guest-APIC support of AMD's IOMMU: entries of 128 bits.
    IommuGuestApic,
    /// Its delivery into backing pages.
    IommuVirtualApic,
}

/// All of them.
pub const CAPABILITIES: [Capability; 18] = [
    Capability::ExternalInterruptExiting,
    Capability::ProcessPosted,
    Capability::TprShadow,
    Capability::SecondaryControls,
    Capability::TertiaryControls,
    Capability::ApicAccesses,
    Capability::X2ApicMode,
    Capability::RegisterVirtualization,
    Capability::VirtualInterruptDelivery,
    Capability::IpiVirtualization,
    Capability::AcknowledgeOnExit,
    Capability::VtdRemapping,
    Capability::VtdPosting,
    Capability::NestedPaging,
    Capability::Avic,
    Capability::X2Avic,
    Capability::IommuGuestApic,
    Capability::IommuVirtualApic,
];

/// The extended feature register's field GAMSup, bits 23 to 21: 1 is delivery into backing pages.
const GAM_SUPPORT: u64 = 0x7 << 21;

impl Capability {
    /// Whether a report has it.
    #[must_use]
    pub const fn is_in(self, report: &Report) -> bool {
        match report {
            Report::Intel(report) => self.is_in_intel(report),
            Report::Amd(report) => self.is_in_amd(report),
            Report::Other => false,
        }
    }

    const fn is_in_intel(self, report: &IntelReport) -> bool {
        let (word, bit) = match self {
            Self::ExternalInterruptExiting => (report.pin_based, 32),
            Self::ProcessPosted => (report.pin_based, 32 + 7),
            Self::TprShadow => (report.primary, 32 + 21),
            Self::SecondaryControls => (report.primary, 32 + 31),
            Self::TertiaryControls => (report.primary, 32 + 17),
            Self::ApicAccesses => (report.secondary, 32),
            Self::X2ApicMode => (report.secondary, 32 + 4),
            Self::RegisterVirtualization => (report.secondary, 32 + 8),
            Self::VirtualInterruptDelivery => (report.secondary, 32 + 9),
            Self::IpiVirtualization => (report.tertiary, 4),
            Self::AcknowledgeOnExit => (report.exit, 32 + 15),
            Self::VtdRemapping => (report.iommu_extended, 3),
            Self::VtdPosting => (report.iommu, 59),
            _ => return false,
        };
        word >> bit & 1 == 1
    }

    const fn is_in_amd(self, report: &AmdReport) -> bool {
        match self {
            Self::NestedPaging => report.svm_edx & 1 == 1,
            Self::Avic => report.svm_edx >> 13 & 1 == 1,
            Self::X2Avic => report.svm_edx >> 18 & 1 == 1,
            Self::IommuGuestApic => report.iommu_features >> 7 & 1 == 1,
            Self::IommuVirtualApic => report.iommu_features & GAM_SUPPORT == 1 << 21,
            _ => false,
        }
    }
}

impl fmt::Display for Capability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ExternalInterruptExiting => "external-interrupt exiting (IA32_VMX_PINBASED_CTLS, bit 32)",
            Self::ProcessPosted => "posted-interrupt processing (IA32_VMX_PINBASED_CTLS, bit 39)",
            Self::TprShadow => "the TPR shadow (IA32_VMX_PROCBASED_CTLS, bit 53)",
            Self::SecondaryControls => "secondary controls (IA32_VMX_PROCBASED_CTLS, bit 63)",
            Self::TertiaryControls => "tertiary controls (IA32_VMX_PROCBASED_CTLS, bit 49)",
            Self::ApicAccesses => "virtualized APIC accesses (IA32_VMX_PROCBASED_CTLS2, bit 32)",
            Self::X2ApicMode => "a virtualized x2APIC mode (IA32_VMX_PROCBASED_CTLS2, bit 36)",
            Self::RegisterVirtualization => "APIC-register virtualization (IA32_VMX_PROCBASED_CTLS2, bit 40)",
            Self::VirtualInterruptDelivery => "virtual-interrupt delivery (IA32_VMX_PROCBASED_CTLS2, bit 41)",
            Self::IpiVirtualization => "IPI virtualization (IA32_VMX_PROCBASED_CTLS3, bit 4)",
            Self::AcknowledgeOnExit => "interrupt acknowledgement on exits (IA32_VMX_EXIT_CTLS, bit 47)",
            Self::VtdRemapping => "interrupt remapping on every VT-d unit (extended capability register, bit 3)",
            Self::VtdPosting => "interrupt posting on every VT-d unit (capability register, bit 59)",
            Self::NestedPaging => "nested paging (CPUID 8000_000A EDX, bit 0)",
            Self::Avic => "AVIC (CPUID 8000_000A EDX, bit 13)",
            Self::X2Avic => "x2AVIC (CPUID 8000_000A EDX, bit 18)",
            Self::IommuGuestApic => "guest-APIC support on every IOMMU (extended feature register, bit 7)",
            Self::IommuVirtualApic => {
                "delivery into backing pages on every IOMMU (extended feature register, bits 23 to 21)"
            }
        })
    }
}
