//! CR8 and the APIC-access page: which accesses are virtualized, which exit, and what a write sets off
//! (SDM vol. 3C, 30.3 and 30.4).

use hypervisor_abi::apic::DeliveryMode;
use hypervisor_abi::apic::Icr;
use hypervisor_abi::apic::Shorthand;
use hypervisor_abi::apic::TriggerMode;

use super::Access;
use super::Exit;
use super::Guest;
use super::Ipi;
use super::PageAccess;
use super::PageOffset;
use super::VirtualVector;
use super::Width;

impl Guest {
    /// MOV to CR8 (SDM vol. 3C, 30.3). CR8-load exiting is not modelled.
    pub fn write_cr8(&mut self, value: u64) -> Access {
        if !self.shadows_tpr() {
            return Access::Native;
        }
        let [class @ 0..=15, 0, 0, 0, 0, 0, 0, 0] = value.to_le_bytes() else {
            return Access::GeneralProtection;
        };
        self.page.set_word(PageOffset::VTPR, u32::from(class << 4));
        after(self.virtualize_tpr(), ())
    }

    /// MOV from CR8. CR8-store exiting is not modelled.
    #[must_use]
    pub const fn read_cr8(&self) -> Access<u64> {
        if self.shadows_tpr() { Access::Virtual((self.page.vtpr() >> 4) as u64) } else { Access::Native }
    }

    /// A data read of the APIC-access page at a linear address (SDM vol. 3C, 30.4.2).
    #[must_use]
    pub fn read_page(&self, offset: PageOffset, width: Width) -> Access<u32> {
        if !self.vmcs.controls.secondary().virtualize_apic_accesses() {
            return Access::Native;
        }
        if self.is_virtualized(offset, width, is_readable) {
            Access::Virtual(self.page.load(offset, width))
        } else {
            Access::Exit(Exit::ApicAccess { offset, access: PageAccess::Read })
        }
    }

    /// A data write to the APIC-access page at a linear address (SDM vol. 3C, 30.4.3); the IPI it calls for, which is to be
    /// given to [`send_ipi`](Self::send_ipi).
    pub fn write_page(&mut self, offset: PageOffset, width: Width, value: u32) -> Access<Option<Ipi>> {
        if !self.vmcs.controls.secondary().virtualize_apic_accesses() {
            return Access::Native;
        }
        if !self.is_virtualized(offset, width, is_writable) {
            return Access::Exit(Exit::ApicAccess { offset, access: PageAccess::Write });
        }
        self.page.store(offset, width, value);
        match self.ipi_of_page().filter(|_| offset == PageOffset::VICR_LO) {
            Some(ipi) => Access::Virtual(Some(ipi)),
            None => after(self.emulate_write(offset), None),
        }
    }

    /// An instruction fetch from the APIC-access page: never virtualized (SDM vol. 3C, 30.4.2).
    #[must_use]
    pub fn fetch_page(&self, offset: PageOffset) -> Access {
        if self.vmcs.controls.secondary().virtualize_apic_accesses() {
            Access::Exit(Exit::ApicAccess { offset, access: PageAccess::Fetch })
        } else {
            Access::Native
        }
    }

    /// Whether an access of this kind reaches the virtual-APIC page; `registers` are those that it reaches under APIC-register
    /// virtualization. Without it the offset itself counts: an access to the other bytes of a register exits.
    fn is_virtualized(&self, offset: PageOffset, width: Width, registers: fn(PageOffset) -> bool) -> bool {
        let reached = if self.virtualizes_registers() {
            registers(offset.slot())
        } else {
            offset == PageOffset::VTPR || self.delivers() && [PageOffset::VEOI, PageOffset::VICR_LO].contains(&offset)
        };
        self.shadows_tpr() && reached && is_within_register(offset, width)
    }

    /// APIC-write emulation (SDM vol. 3C, 30.4.3.2), once the write is in the page.
    fn emulate_write(&mut self, offset: PageOffset) -> Option<Exit> {
        match offset {
            PageOffset::VTPR => {
                self.page.set_word(PageOffset::VTPR, u32::from(self.page.vtpr()));
                self.virtualize_tpr()
            }
            PageOffset::VEOI if self.delivers() => {
                self.page.set_word(PageOffset::VEOI, 0);
                self.virtualize_eoi()
            }
            PageOffset::VICR_LO if self.delivers() => match self_ipi_of(self.page.word(PageOffset::VICR_LO)) {
                Some(vector) => {
                    self.virtualize_self_ipi(vector);
                    None
                }
                None => Some(Exit::ApicWrite(offset)),
            },
            _ if offset.slot() == PageOffset::VICR_HI => {
                let value = self.page.word(PageOffset::VICR_HI) & Icr::WRITABLE_HIGH_XAPIC;
                self.page.set_word(PageOffset::VICR_HI, value);
                None
            }
            _ => Some(Exit::ApicWrite(offset)),
        }
    }
}

/// What follows an access that was virtualized, with this result unless it exits.
pub(super) const fn after<T: Copy>(exit: Option<Exit>, done: T) -> Access<T> {
    match exit {
        Some(exit) => Access::Exit(exit),
        None => Access::Virtual(done),
    }
}

/// Whether all of the access lies in the low four bytes of a 16-byte slot; what does not, always exits.
const fn is_within_register(offset: PageOffset, width: Width) -> bool {
    (offset.bytes() & 0xf) + width.bytes() <= 4
}

/// The registers that a write reaches under APIC-register virtualization (SDM vol. 3C, 30.4.3.1).
const fn is_writable(slot: PageOffset) -> bool {
    matches!(
        slot.bytes(),
        0x020 | 0x080 | 0x0b0 | 0x0d0 | 0x0e0 | 0x0f0 | 0x280 | 0x300 | 0x310 | 0x320..=0x380 | 0x3e0
    )
}

/// The registers that a read reaches under APIC-register virtualization (SDM vol. 3C, 30.4.2).
const fn is_readable(slot: PageOffset) -> bool {
    is_writable(slot) || matches!(slot.bytes(), 0x030 | 0x100..=0x270)
}

/// The vector of a command that the processor sends to the guest itself (SDM vol. 3C, 30.4.3.2): fixed, edge-triggered, to
/// the sender by shorthand, no reserved bit set, vector of class 1 or above.
fn self_ipi_of(command: u32) -> Option<VirtualVector> {
    let icr = Icr::from(u64::from(command));
    let virtualized = command & !Icr::WRITABLE_LOW == 0
        && icr.shorthand() == Shorthand::Myself
        && icr.trigger() == TriggerMode::Edge
        && icr.delivery() == DeliveryMode::Fixed
        && icr.vector() >= 0x10;
    virtualized.then_some(VirtualVector(icr.vector()))
}

#[cfg(test)]
mod tests {
    use crate::vmx::Access;
    use crate::vmx::Exit;
    use crate::vmx::Guest;
    use crate::vmx::PageAccess;
    use crate::vmx::PageOffset;
    use crate::vmx::VirtualVector;
    use crate::vmx::Width;
    use crate::vmx::guest::tests::delivering;

    fn at(offset: u16) -> PageOffset {
        PageOffset::of_address(u64::from(offset))
    }

    /// A guest without APIC-register virtualization, with or without virtual-interrupt delivery.
    fn plain(delivers: bool) -> Guest {
        let mut guest = delivering();
        guest.vmcs.controls.secondary.set_apic_register_virtualization(false);
        guest.vmcs.controls.secondary.set_virtual_interrupt_delivery(delivers);
        guest
    }

    /// The offsets, in steps of four, that `access` does not leave by an APIC-access exit.
    fn reached(access: impl Fn(PageOffset) -> Option<Exit>) -> std::vec::Vec<u16> {
        let exits = |offset: &u16| !matches!(access(at(*offset)), Some(Exit::ApicAccess { .. }));
        (0..0x1000).step_by(4).filter(exits).collect()
    }

    fn read_by(guest: &Guest) -> std::vec::Vec<u16> {
        reached(|offset| match guest.read_page(offset, Width::Doubleword) {
            Access::Exit(exit) => Some(exit),
            _ => None,
        })
    }

    fn written_by(guest: &Guest) -> std::vec::Vec<u16> {
        reached(|offset| match guest.clone().write_page(offset, Width::Doubleword, 0) {
            Access::Exit(exit) => Some(exit),
            _ => None,
        })
    }

    #[test]
    fn each_control_adds_the_registers_that_the_manual_lists() {
        assert_eq!(read_by(&plain(false)), [0x80]);
        assert_eq!(written_by(&plain(false)), [0x80]);
        assert_eq!(read_by(&plain(true)), [0x80, 0xb0, 0x300]);
        assert_eq!(written_by(&plain(true)), [0x80, 0xb0, 0x300]);
        let written = [
            0x20, 0x80, 0xb0, 0xd0, 0xe0, 0xf0, 0x280, 0x300, 0x310, 0x320, 0x330, 0x340, 0x350, 0x360, 0x370, 0x380,
            0x3e0,
        ];
        assert_eq!(written_by(&delivering()), written);
        let mut read: std::vec::Vec<u16> =
            written.into_iter().chain([0x30]).chain((0x100..0x280).step_by(16)).collect();
        read.sort_unstable();
        assert_eq!(read_by(&delivering()), read);
        let mut without = delivering();
        without.vmcs.controls.primary.set_use_tpr_shadow(false);
        assert_eq!(read_by(&without), []);
        assert_eq!(written_by(&without), []);
    }

    #[test]
    fn an_access_that_leaves_the_low_four_bytes_of_a_slot_exits() {
        let guest = delivering();
        for offset in 0x80..0x90 {
            for width in Width::ALL {
                let expected = if offset - 0x80 + width.bytes() <= 4 {
                    Access::Virtual(0)
                } else {
                    Access::Exit(Exit::ApicAccess { offset: at(offset), access: PageAccess::Read })
                };
                assert_eq!(guest.read_page(at(offset), width), expected);
            }
        }
    }

    #[test]
    fn a_fetch_from_the_page_always_exits() {
        let exit = Exit::ApicAccess { offset: PageOffset::VTPR, access: PageAccess::Fetch };
        assert_eq!(delivering().fetch_page(PageOffset::VTPR), Access::Exit(exit));
        assert_eq!(exit.qualification(), 0x2080);
    }

    #[test]
    fn only_a_plain_command_to_the_sender_is_a_self_ipi() {
        // Everything above the vector, for a vector that qualifies; then every vector, for a command that does.
        for upper in 0..1_u32 << 24 {
            let command = upper << 8 | 0x51;
            assert_eq!(super::self_ipi_of(command).is_some(), matches!(upper, 0x400 | 0x440 | 0x408 | 0x448));
        }
        for vector in 0..=255_u8 {
            let expected = (vector >= 16).then_some(VirtualVector(vector));
            assert_eq!(super::self_ipi_of(0x4_0000 | u32::from(vector)), expected);
        }
    }

    #[test]
    fn a_command_that_is_no_self_ipi_is_in_the_page_when_the_guest_is_left() {
        let mut guest = delivering();
        assert_eq!(guest.write_page(PageOffset::VICR_HI, Width::Doubleword, 0x0512_3456), Access::Virtual(None));
        assert_eq!(guest.page.word(PageOffset::VICR_HI), 0x0500_0000);
        let exit = Access::Exit(Exit::ApicWrite(PageOffset::VICR_LO));
        assert_eq!(guest.write_page(PageOffset::VICR_LO, Width::Doubleword, 0x51), exit);
        assert_eq!(guest.page.word(PageOffset::VICR_LO), 0x51);
    }

    #[test]
    fn cr8_is_the_upper_half_of_the_task_priority() {
        let mut guest = delivering();
        guest.page.set_word(PageOffset::VTPR, 0xffff_ffff);
        assert_eq!(guest.write_cr8(7), Access::Virtual(()));
        assert_eq!(guest.page.word(PageOffset::VTPR), 0x70);
        assert_eq!(guest.read_cr8(), Access::Virtual(7));
        assert_eq!(guest.write_cr8(16), Access::GeneralProtection);
        assert_eq!(guest.write_cr8(1 << 63), Access::GeneralProtection);
        assert_eq!(guest.page.word(PageOffset::VTPR), 0x70);
    }
}
