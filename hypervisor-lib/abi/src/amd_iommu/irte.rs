//! An entry of the interrupt-remapping table, 128 bits, in its two forms.

use bitfield_struct::bitfield;

/// The number the IOMMU logs for a vCPU that does not run. Its 32 bits are software's: here a VM's number, 20 bits, above its
/// vCPU's, 12 bits, since x2AVIC has up to 4096 of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct GaTag(pub u32);

/// Numbers that no tag has room for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("vCPU {vcpu} of VM {vm} does not fit into a tag of 20 bits for VMs and 12 for vCPUs")]
pub struct NoGaTag {
    /// The VM.
    pub vm: u32,
    /// Its vCPU.
    pub vcpu: u32,
}

impl GaTag {
    /// The tag of a vCPU.
    ///
    /// # Errors
    /// A number is too big.
    pub const fn new(vm: u32, vcpu: u32) -> Result<Self, NoGaTag> {
        if vm >> 20 != 0 || vcpu >> 12 != 0 { Err(NoGaTag { vm, vcpu }) } else { Ok(Self(vm << 12 | vcpu)) }
    }

    /// The VM's number.
    #[must_use]
    pub const fn vm(self) -> u32 {
        self.0 >> 12
    }

    /// The vCPU's number.
    #[must_use]
    pub const fn vcpu(self) -> u32 {
        self.0 & 0xfff
    }

    pub(crate) const fn from_bits(bits: u32) -> Self {
        Self(bits)
    }

    pub(crate) const fn into_bits(self) -> u32 {
        self.0
    }
}

/// The lower half of an entry in guest mode. All that changes when a vCPU moves is in here, so that one 64-bit store does it.
#[bitfield(u64)]
#[derive(PartialEq, Eq)]
pub struct GuestIrteLow {
    /// The entry remaps (`RemapEn`). Clear, what the device sends is aborted.
    pub is_valid: bool,
    /// Faults of this entry are not logged.
    pub no_fault: bool,
    /// An interrupt for a vCPU that does not run is logged.
    pub logs: bool,
    #[bits(2)]
    __: u8,
    /// A newer IOMMU does not tell the hypervisor by an interrupt of its own (`GAPPIDis`).
    pub gappi_disabled: bool,
    /// The vCPU is on a processor: that one's doorbell is rung.
    pub is_running: bool,
    /// This is a guest-mode entry; always set here.
    pub guest_mode: bool,
    /// That processor's local APIC, its lower 24 bits.
    #[bits(24)]
    pub destination: u32,
    /// What is logged.
    #[bits(32, default = GaTag(0))]
    pub tag: GaTag,
}

/// The upper half of an entry; in remapped mode only vector and destination count.
#[bitfield(u64)]
#[derive(PartialEq, Eq)]
pub struct GuestIrteHigh {
    /// The vector: the guest's in guest mode, the host's in remapped mode.
    pub vector: u8,
    #[bits(4)]
    __: u8,
    /// The frame of the vCPU's backing page.
    #[bits(40)]
    pub backing_frame: u64,
    #[bits(4)]
    __: u8,
    /// The local APIC's upper 8 bits.
    pub destination: u8,
}

/// The lower half of an entry in remapped mode: the host takes the interrupt.
#[bitfield(u64)]
#[derive(PartialEq, Eq)]
pub struct RemappedIrteLow {
    /// The entry remaps (`RemapEn`).
    pub is_valid: bool,
    /// Faults of this entry are not logged.
    pub no_fault: bool,
    /// What kind of interrupt: 0 fixed, 1 arbitrated.
    #[bits(3)]
    pub kind: u8,
    /// The end of interrupt is requested.
    pub requests_eoi: bool,
    /// The destination is a logical one.
    pub is_logical: bool,
    /// Clear in this form.
    pub guest_mode: bool,
    /// The host's local APIC, its lower 24 bits.
    #[bits(24)]
    pub destination: u32,
    #[bits(32)]
    __: u32,
}

/// A whole entry. The IOMMU may read it at any moment: it is written by one 128-bit store, or its lower half by one of 64.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Irte {
    /// Bits 63 to 0.
    pub low: u64,
    /// Bits 127 to 64.
    pub high: u64,
}

impl Irte {
    /// The 128 bits.
    #[must_use]
    pub const fn bits(self) -> u128 {
        (self.high as u128) << 64 | self.low as u128
    }
}

#[cfg(test)]
mod tests {
    use super::GaTag;
    use super::GuestIrteHigh;
    use super::GuestIrteLow;
    use super::Irte;
    use super::NoGaTag;
    use super::RemappedIrteLow;

    #[test]
    fn fields_lie_where_the_specification_draws_them() {
        let low = GuestIrteLow::from(0x1234_5678_abcd_efc5);
        assert!(low.is_valid() && !low.no_fault() && low.logs() && low.is_running() && low.guest_mode());
        assert!(GuestIrteLow::from(1 << 5).gappi_disabled());
        assert_eq!((low.destination(), low.tag()), (0x00ab_cdef, GaTag(0x1234_5678)));
        let high = GuestIrteHigh::from(0x770a_bcde_f012_3051);
        assert_eq!((high.vector(), high.backing_frame(), high.destination()), (0x51, 0xab_cdef_0123, 0x77));
        let remapped = RemappedIrteLow::new().with_is_logical(true).with_kind(1).with_destination(0x0a_bcde);
        assert_eq!(u64::from(remapped), 0x0abc_de44);
        assert_eq!(Irte { low: 1, high: 2 }.bits(), 2 << 64 | 1);
    }

    #[test]
    fn a_tag_names_vm_and_vcpu_or_is_refused() {
        let tag = GaTag::new(0xf_ffff, 0xfff).expect("the greatest");
        assert_eq!((tag.vm(), tag.vcpu(), tag.0), (0xf_ffff, 0xfff, u32::MAX));
        assert_eq!(GaTag::new(0x10_0000, 0), Err(NoGaTag { vm: 0x10_0000, vcpu: 0 }));
        assert_eq!(GaTag::new(0, 0x1000), Err(NoGaTag { vm: 0, vcpu: 0x1000 }));
    }
}
