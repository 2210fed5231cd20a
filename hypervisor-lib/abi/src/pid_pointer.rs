//! The table by which a processor finds the posted-interrupt descriptor of another vCPU: IPI virtualization (SDM vol. 3C,
//! 26.6.8, 30.1.6).

use bitfield_struct::bitfield;

use crate::sync::AtomicU64;

/// The most entries a table has.
pub const MAX_PID_POINTERS: usize = 1 << 16;

/// The VMCS field "PID-pointer table address".
pub const VMCS_PID_POINTER_TABLE: u32 = 0x2042;

/// The VMCS field "last PID-pointer index".
pub const VMCS_LAST_PID_POINTER: u32 = 0x0008;

/// The bit of the tertiary processor-based controls that switches IPI virtualization on.
pub const TERTIARY_IPI_VIRTUALIZATION: u64 = 1 << 4;

/// The value of an entry, whose index is the virtual APIC ID.
#[bitfield(u64)]
#[derive(PartialEq, Eq)]
pub struct PidPointer {
    /// There is a descriptor.
    pub is_valid: bool,
    /// To be zero, or the processor exits.
    #[bits(5)]
    pub reserved: u8,
    /// The descriptor's physical address, divided by 64.
    #[bits(58)]
    pub line: u64,
}

/// The cell an entry is in. Processors read it at any moment; the hypervisor writes it whole.
#[derive(Debug, Default)]
#[repr(transparent)]
pub struct PidPointerCell(pub AtomicU64);

#[cfg(test)]
mod tests {
    use super::PidPointer;
    use super::PidPointerCell;

    #[test]
    fn fields_lie_where_the_manual_draws_them() {
        let entry = PidPointer::from(0x0000_1234_5678_9a41);
        assert!(entry.is_valid());
        assert_eq!((entry.reserved(), entry.line() << 6), (0, 0x1234_5678_9a40));
        assert_eq!(PidPointer::from(0x3e).reserved(), 0x1f);
        assert_eq!(size_of::<PidPointerCell>(), 8);
    }
}
