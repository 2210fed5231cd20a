//! The part of AMD-Vi's device table that concerns interrupts: the third quadword of a device's entry (48882, 2.2.2.1).

use bitfield_struct::bitfield;

/// What becomes of a device's fixed and arbitrated interrupts (IntCtl).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum InterruptControl {
    /// They are aborted.
    Aborted,
    /// They are passed on as they come.
    Passed,
    /// They are remapped.
    Remapped,
    /// No meaning.
    Reserved,
}

impl InterruptControl {
    const fn from_bits(bits: u8) -> Self {
        match bits & 3 {
            0 => Self::Aborted,
            1 => Self::Passed,
            2 => Self::Remapped,
            _ => Self::Reserved,
        }
    }

    const fn into_bits(self) -> u8 {
        self as u8
    }
}

/// Bits 191:128 of a device's entry.
#[bitfield(u64)]
#[derive(PartialEq, Eq)]
pub struct DeviceInterrupts {
    /// IV: the rest counts; otherwise the device's interrupts are passed on.
    pub is_valid: bool,
    /// `IntTabLen`: the table has 2 to the power of this entries.
    #[bits(4)]
    pub table_length: u8,
    /// IG: interrupts that are not remapped for want of an entry are not reported.
    pub ignores_unmapped: bool,
    /// Bits 51:6 of the table's physical address.
    #[bits(46)]
    pub table_line: u64,
    #[bits(4)]
    __: u8,
    /// `InitPass`: INIT is passed on.
    pub passes_init: bool,
    /// `EIntPass`: `ExtINT` is passed on.
    pub passes_ext_int: bool,
    /// `NMIPass`: NMI is passed on.
    pub passes_nmi: bool,
    #[bits(1)]
    __: u8,
    /// `IntCtl`.
    #[bits(2)]
    pub control: InterruptControl,
    #[bits(2)]
    __: u8,
}

#[cfg(test)]
mod tests {
    use super::DeviceInterrupts;
    use super::InterruptControl;

    #[test]
    fn fields_lie_where_the_specification_draws_them() {
        let entry = DeviceInterrupts::from(0x200f_edcb_a987_6565);
        assert!(entry.is_valid() && entry.ignores_unmapped());
        assert_eq!((entry.table_length(), entry.table_line() << 6), (2, 0x000f_edcb_a987_6540));
        assert_eq!(entry.control(), InterruptControl::Remapped);
        let passes = [DeviceInterrupts::passes_init, DeviceInterrupts::passes_ext_int, DeviceInterrupts::passes_nmi];
        for (bit, passes) in (56..).zip(passes) {
            assert!(passes(&DeviceInterrupts::from(1 << bit)) && !passes(&DeviceInterrupts::from(!(1 << bit))));
        }
    }
}
