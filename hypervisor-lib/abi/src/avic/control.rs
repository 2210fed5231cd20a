//! The fields of the virtual-machine control block that AVIC reads (APM vol. 2, appendix B), and its doorbell.

use bitfield_struct::bitfield;

/// The MSR that rings a processor's doorbell: a write makes the processor of that number look at the IRR of the guest it runs.
/// It cannot be read; only numbers up to 255 are documented (APM vol. 2, 15.29.8.2).
pub const MSR_DOORBELL: u32 = 0xc001_011b;

/// The interrupt control word, at 0x60.
#[bitfield(u64)]
#[derive(PartialEq, Eq)]
pub struct InterruptControl {
    /// V_TPR: the class of the guest's task priority, which is the value of CR8. Bits 7:4 are to be zero.
    #[bits(4)]
    pub task_priority: u8,
    #[bits(4)]
    __: u8,
    /// A virtual interrupt is pending; ignored under AVIC, as are its priority, its vector and `ignore_task_priority`.
    pub interrupt_pending: bool,
    /// The guest's global interrupt flag.
    pub interrupt_flag: bool,
    #[bits(1)]
    __: u8,
    /// A virtual NMI is pending.
    pub nmi_pending: bool,
    /// Virtual NMIs are blocked.
    pub nmi_blocked: bool,
    #[bits(3)]
    __: u8,
    /// The priority of the pending virtual interrupt.
    #[bits(4)]
    pub priority: u8,
    /// The pending virtual interrupt is taken whatever the task priority.
    pub ignore_task_priority: bool,
    #[bits(3)]
    __: u8,
    /// The guest's interrupt flag governs virtual interrupts alone.
    pub masks_virtual_interrupts: bool,
    /// The guest has a global interrupt flag of its own.
    pub interrupt_flag_enable: bool,
    /// Virtual NMIs are used.
    pub nmi_enable: bool,
    #[bits(3)]
    __: u8,
    /// AVIC handles MSRs instead of a page; without `avic` the processor refuses the control block.
    pub x2avic: bool,
    /// AVIC is on.
    pub avic: bool,
    /// The vector of the pending virtual interrupt.
    pub vector: u8,
    #[bits(24)]
    __: u32,
}

/// Where the physical APIC-ID table is and how far it goes, at 0xf8.
#[bitfield(u64)]
#[derive(PartialEq, Eq)]
pub struct PhysicalTablePointer {
    /// The greatest index the processor looks up.
    #[bits(12)]
    pub max_index: u16,
    /// The frame of the table's first page.
    #[bits(40)]
    pub frame: u64,
    #[bits(12)]
    __: u16,
}

/// What the processor flushes before it enters the guest, at 0x5c (APM vol. 2, 15.16).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum TlbControl {
    /// Nothing.
    Keep = 0,
    /// Every translation of every address space.
    FlushAll = 1,
    /// The translations of the guest's address space.
    FlushGuest = 3,
    /// Those of them that are not global.
    FlushGuestNonGlobal = 7,
}

#[cfg(test)]
mod tests {
    use super::InterruptControl;
    use super::PhysicalTablePointer;

    #[test]
    fn fields_lie_where_the_manual_draws_them() {
        let bit = |word: InterruptControl| u64::from(word).trailing_zeros();
        assert_eq!(bit(InterruptControl::new().with_interrupt_pending(true)), 8);
        assert_eq!(bit(InterruptControl::new().with_interrupt_flag(true)), 9);
        assert_eq!(bit(InterruptControl::new().with_nmi_pending(true)), 11);
        assert_eq!(bit(InterruptControl::new().with_nmi_blocked(true)), 12);
        assert_eq!(bit(InterruptControl::new().with_priority(1)), 16);
        assert_eq!(bit(InterruptControl::new().with_ignore_task_priority(true)), 20);
        assert_eq!(bit(InterruptControl::new().with_masks_virtual_interrupts(true)), 24);
        assert_eq!(bit(InterruptControl::new().with_interrupt_flag_enable(true)), 25);
        assert_eq!(bit(InterruptControl::new().with_nmi_enable(true)), 26);
        assert_eq!(bit(InterruptControl::new().with_x2avic(true)), 30);
        assert_eq!(bit(InterruptControl::new().with_avic(true)), 31);
        assert_eq!(bit(InterruptControl::new().with_vector(1)), 32);
        let pointer = PhysicalTablePointer::new().with_frame(0xab_cdef_0123).with_max_index(0xfe);
        assert_eq!(u64::from(pointer), 0x000a_bcde_f012_30fe);
    }
}
