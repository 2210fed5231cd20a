//! RDMSR and WRMSR of the APIC's MSRs (SDM vol. 3C, 30.5): what the virtual-APIC page answers, and what reaches the
//! processor's own APIC unless the MSR bitmap keeps it away.

use hypervisor_abi::apic::MSR_X2APIC_FIRST;
use hypervisor_abi::apic::MSR_X2APIC_LAST;

use super::Access;
use super::Exit;
use super::Guest;
use super::Ipi;
use super::PageOffset;
use super::VirtualVector;
use super::page_access::after;

/// The part of the MSR bitmaps that concerns MSRs 0x800 to 0x8ff (SDM vol. 3C, 25.6.9): bit x of a bitmap makes the access to
/// MSR 0x800 + x exit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MsrBitmap {
    /// The reads that exit.
    pub read: [u64; 4],
    /// The writes that exit.
    pub write: [u64; 4],
}

/// The number of an MSR of the APIC, less 0x800.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct MsrIndex(u8);

impl MsrIndex {
    const TPR: Self = Self(0x08);
    const EOI: Self = Self(0x0b);
    const ICR: Self = Self(0x30);
    const SELF_IPI: Self = Self(0x3f);

    /// The index of `msr`; none if it is not of the APIC's range.
    #[must_use]
    pub const fn of(msr: u32) -> Option<Self> {
        match msr {
            MSR_X2APIC_FIRST..=MSR_X2APIC_LAST => Some(Self(msr.to_le_bytes()[0])),
            _ => None,
        }
    }

    /// The place in the virtual-APIC page.
    #[must_use]
    pub const fn offset(self) -> PageOffset {
        PageOffset::of_address((self.0 as u64) << 4)
    }

    const fn is_in(self, bitmap: &[u64; 4]) -> bool {
        bitmap[(self.0 >> 6) as usize] >> (self.0 & 63) & 1 == 1
    }
}

impl Guest {
    /// RDMSR of `msr`. Native outside 0x800 to 0x8ff, whose interception is not modelled.
    #[must_use]
    pub const fn rdmsr(&self, msr: u32) -> Access<u64> {
        let Some(index) = MsrIndex::of(msr) else { return Access::Native };
        if !self.vmcs.controls.primary.use_msr_bitmaps() || index.is_in(&self.vmcs.msr_bitmap.read) {
            return Access::Exit(Exit::ReadMsr);
        }
        let virtualized = self.vmcs.controls.secondary().virtualize_x2apic_mode()
            && (self.virtualizes_registers() || index.0 == MsrIndex::TPR.0);
        if virtualized { Access::Virtual(self.page.slot(index.offset())) } else { Access::Native }
    }

    /// WRMSR of `value` to `msr`; the IPI it calls for, which is to be given to [`send_ipi`](Self::send_ipi). Native outside 0x800 to 0x8ff, whose interception is not modelled.
    pub fn wrmsr(&mut self, msr: u32, value: u64) -> Access<Option<Ipi>> {
        let Some(index) = MsrIndex::of(msr) else { return Access::Native };
        if !self.vmcs.controls.primary.use_msr_bitmaps() || index.is_in(&self.vmcs.msr_bitmap.write) {
            return Access::Exit(Exit::WriteMsr);
        }
        if !self.vmcs.controls.secondary().virtualize_x2apic_mode() {
            return Access::Native;
        }
        match index {
            MsrIndex::TPR => self.write_byte_register(index, value, |guest, _| after(guest.virtualize_tpr(), None)),
            MsrIndex::EOI if self.delivers() => {
                if value != 0 {
                    return Access::GeneralProtection;
                }
                // VEOI has 32 bits; the manual does not speak of the four bytes behind it.
                self.page.set_word(PageOffset::VEOI, 0);
                after(self.virtualize_eoi(), None)
            }
            MsrIndex::ICR if self.virtualizes_ipis() => self.write_icr_msr(value),
            MsrIndex::SELF_IPI if self.delivers() => self.write_byte_register(index, value, |guest, number| {
                let vector = VirtualVector(number);
                if vector.class() == 0 {
                    return Access::Exit(Exit::ApicWrite(PageOffset::SELF_IPI));
                }
                guest.virtualize_self_ipi(vector);
                Access::Virtual(None)
            }),
            _ => Access::Native,
        }
    }

    /// A write to a register of which only the low byte is not reserved.
    fn write_byte_register(
        &mut self,
        index: MsrIndex,
        value: u64,
        then: impl FnOnce(&mut Self, u8) -> Access<Option<Ipi>>,
    ) -> Access<Option<Ipi>> {
        let Ok(byte) = u8::try_from(value) else {
            return Access::GeneralProtection;
        };
        self.page.set_slot(index.offset(), value);
        then(self, byte)
    }
}

#[cfg(test)]
mod tests {
    use super::MsrIndex;
    use crate::vmx::Access;
    use crate::vmx::Exit;
    use crate::vmx::Guest;
    use crate::vmx::PageOffset;
    use crate::vmx::VectorRegister;
    use crate::vmx::VirtualVector;
    use crate::vmx::guest::tests::delivering;
    use crate::vmx::guest::tests::delivering_x2apic;

    #[test]
    fn every_read_of_the_range_comes_from_the_page_under_register_virtualization() {
        let mut guest = delivering_x2apic();
        for index in 0..0x100_u32 {
            guest
                .page
                .set_slot(MsrIndex::of(0x800 + index).unwrap().offset(), u64::from(index) << 32 | u64::from(!index));
        }
        for index in 0..0x100_u32 {
            let expected = u64::from(index) << 32 | u64::from(!index);
            assert_eq!(guest.rdmsr(0x800 + index), Access::Virtual(expected));
        }
        guest.vmcs.controls.secondary.set_apic_register_virtualization(false);
        for index in 0..0x100 {
            assert_eq!(guest.rdmsr(0x800 + index) == Access::Native, index != 8, "{index:#x}");
        }
    }

    /// R-59, XSA-108: what is not of the APIC's 256 MSRs never finds a place in its page.
    #[test]
    fn no_msr_outside_the_range_reads_or_writes_the_page() {
        let guest = delivering_x2apic();
        for msr in (0..0x1000).filter(|msr| !(0x800..0x900).contains(msr)).chain([0x1_0808, 0xc000_0808, u32::MAX]) {
            assert_eq!(guest.rdmsr(msr), Access::Native, "{msr:#x}");
            let mut written = guest.clone();
            assert_eq!(written.wrmsr(msr, 0x51), Access::Native, "{msr:#x}");
            assert_eq!(written, guest);
        }
    }

    /// CVE-2023-5090's family: a write that the processor does not virtualize must be intercepted, or it is done for real.
    #[test]
    fn every_write_but_three_reaches_the_real_apic_unless_the_bitmap_catches_it() {
        for index in 0..0x100 {
            let mut guest = delivering_x2apic();
            let native = guest.wrmsr(0x800 + index, 0) == Access::Native;
            assert_eq!(native, ![0x08, 0x0b, 0x3f].contains(&index), "{index:#x}");
            guest.vmcs.msr_bitmap.write = [u64::MAX; 4];
            assert_eq!(guest.wrmsr(0x800 + index, 0), Access::Exit(Exit::WriteMsr));
            guest.vmcs.msr_bitmap.read[index as usize / 64] = 1 << (index % 64);
            assert_eq!(guest.rdmsr(0x800 + index), Access::Exit(Exit::ReadMsr));
        }
    }

    #[test]
    fn a_reserved_bit_faults_and_changes_nothing() {
        let guest = delivering_x2apic();
        for (msr, legal) in [(0x808, 0xff_u64), (0x83f, 0xff), (0x80b, 0)] {
            for bit in 0..64 {
                let value = 1_u64 << bit;
                let mut written = guest.clone();
                let faults = written.wrmsr(msr, value) == Access::GeneralProtection;
                assert_eq!(faults, value & !legal != 0, "MSR {msr:#x}, bit {bit}");
                assert!(!faults || written == guest);
            }
        }
    }

    #[test]
    fn a_self_ipi_needs_a_class() {
        let mut guest = delivering_x2apic();
        assert_eq!(guest.wrmsr(0x83f, 0x0f), Access::Exit(Exit::ApicWrite(PageOffset::SELF_IPI)));
        assert_eq!(guest.page.word(PageOffset::SELF_IPI), 0x0f);
        assert_eq!(guest.wrmsr(0x83f, 0x10), Access::Virtual(None));
        assert!(guest.page.contains(VectorRegister::Request, VirtualVector(0x10)));
    }

    #[test]
    fn without_x2apic_mode_the_msrs_are_the_processors_own() {
        let mut guest: Guest = delivering();
        assert_eq!(guest.rdmsr(0x808), Access::Native);
        assert_eq!(guest.wrmsr(0x808, 0), Access::Native);
    }
}
