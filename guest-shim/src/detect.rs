//! Finding Xen, and what it offers (`public/arch-x86/cpuid.h`, `public/features.h`).

use hypervisor_abi::DomainId;
use hypervisor_abi::VcpuId;
use hypervisor_abi::cpuid;
use hypervisor_abi::cpuid::CpuidLeaf;
use hypervisor_abi::cpuid::HvmFeatures;
use hypervisor_abi::features::Feature;
use hypervisor_abi::features::FeatureInfo;
use hypervisor_abi::features::Features;
use hypervisor_abi::features::XENVER_GET_FEATURES;
use hypervisor_abi::hvm::CallbackVia;

use crate::hypercall::Calls;
use crate::hypercall::Hypercalls;
use crate::hypercall::Refused;
use crate::set_up::Upcall;

/// How far possible bases are apart.
const BASE_STEP: usize = cpuid::BASE_STEP as usize;

/// The CPUID instruction.
pub trait Cpuid {
    /// The leaf's registers, with sub-leaf 0.
    fn leaf(&self, leaf: u32) -> CpuidLeaf;
}

/// Xen, as CPUID shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Xen {
    base: u32,
    last: u32,
    /// Its version.
    pub version: Version,
    /// What it virtualizes in hardware for this guest.
    pub features: HvmFeatures,
    vcpu: u32,
    domain: u32,
}

/// A version of Xen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version {
    /// The first number.
    pub major: u16,
    /// The second.
    pub minor: u16,
}

/// Which accesses to the local APIC the guest uses (SDM vol. 3A, 11.4.3, 11.12).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ApicMode {
    /// Memory-mapped registers.
    XApic,
    /// Model-specific registers.
    X2Apic,
}

/// How a device's messages reach the guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MsiPath {
    /// To its local APICs, by vectors of its own.
    Native,
    /// As physical IRQs bound to events.
    Event,
}

impl Xen {
    /// Looks for Xen's leaves, which another hypervisor's may precede.
    #[must_use]
    pub fn find(cpu: &impl Cpuid) -> Option<Self> {
        let bases = (cpuid::FIRST_LEAF..cpuid::LAST_BASE).step_by(BASE_STEP);
        let (base, first) = bases.map(|base| (base, cpu.leaf(base))).find(|(base, leaf)| {
            // The last leaf is checked too: beyond it a processor returns whatever it likes.
            [leaf.ebx, leaf.ecx, leaf.edx] == cpuid::SIGNATURE && leaf.eax >= base + cpuid::HYPERCALL_PAGE
        })?;
        let [major, minor] = halves(cpu.leaf(base + cpuid::VERSION).eax);
        let has_features = first.eax >= base + cpuid::HVM_FEATURES;
        let hvm = if has_features { cpu.leaf(base + cpuid::HVM_FEATURES) } else { CpuidLeaf::default() };
        let features = HvmFeatures::from(hvm.eax);
        Some(Self {
            base,
            last: first.eax,
            version: Version { major, minor },
            features,
            vcpu: hvm.ebx,
            domain: hvm.ecx,
        })
    }

    /// The first of its leaves.
    #[must_use]
    pub const fn base(&self) -> u32 {
        self.base
    }

    /// The last of its leaves.
    #[must_use]
    pub const fn last(&self) -> u32 {
        self.last
    }

    /// The model-specific register that takes the address of a hypercall page.
    #[must_use]
    pub fn hypercall_msr(&self, cpu: &impl Cpuid) -> u32 {
        cpu.leaf(self.base + cpuid::HYPERCALL_PAGE).ebx
    }

    /// The number of the vCPU this was found on, if Xen tells it; otherwise it is half the APIC ID.
    #[must_use]
    pub fn vcpu(&self) -> Option<VcpuId> {
        self.features.vcpu_id_present().then_some(VcpuId(self.vcpu))
    }

    /// The guest's own number, if Xen tells it.
    #[must_use]
    pub fn domain(&self) -> Option<DomainId> {
        let domain = u16::try_from(self.domain).ok()?;
        self.features.domid_present().then_some(DomainId(domain))
    }

    /// How a vCPU's events should interrupt it, by `vector`.
    ///
    /// A vector of the vCPU's own is an ordinary interrupt, which hardware can post, but takes the domain's callback out of
    /// use for it; Xen says by a feature bit when physical IRQs work all the same. Without it the vector is injected
    /// past the local APIC; without that feature either, a line must do, which calls vCPU 0 alone.
    #[must_use]
    pub fn upcall(&self, features: Features, vector: u8) -> Option<Upcall> {
        if self.features.upcall_vector() {
            Some(Upcall::OwnVector(vector))
        } else if features.has(Feature::HvmCallbackVector) {
            Some(Upcall::Callback(CallbackVia::Vector(vector)))
        } else {
            None
        }
    }

    /// How a device's messages should reach the guest: natively where the local APIC is virtualized in hardware in the mode
    /// the guest uses, or where Xen offers nothing else; else as events, which cost fewer exits.
    #[must_use]
    pub fn msi_path(&self, features: Features, mode: ApicMode) -> MsiPath {
        let is_virtualized = match mode {
            ApicMode::X2Apic => self.features.x2apic_virt() || self.features.apic_access_virt(),
            ApicMode::XApic => self.features.apic_access_virt(),
        };
        let has_events = features.has(Feature::HvmPirqs) && features.has(Feature::HvmCallbackVector);
        if has_events && !is_virtualized { MsiPath::Event } else { MsiPath::Native }
    }
}

/// What Xen offers this guest (`XENVER_get_features`).
///
/// # Errors
/// [`Refused`].
pub fn features(hypercalls: &impl Hypercalls) -> Result<Features, Refused> {
    let mut argument = FeatureInfo::default();
    hypercalls.version(("XENVER_get_features", XENVER_GET_FEATURES), &mut argument)?;
    Ok(Features(argument.submap))
}

/// The upper and the lower half of a register.
const fn halves(register: u32) -> [u16; 2] {
    let [a, b, c, d] = register.to_be_bytes();
    [u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d])]
}
