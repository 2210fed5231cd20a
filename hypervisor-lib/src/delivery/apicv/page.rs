//! Accesses to the APIC-access page (SDM vol. 3C, 30.4).

use hypervisor_abi::apic::ApicRegister;
use hypervisor_abi::apic::DeliveryMode;
use hypervisor_abi::apic::DestinationMode;
use hypervisor_abi::apic::Icr;
use hypervisor_abi::apic::SLOT_SIZE;
use hypervisor_abi::apic::Shorthand;
use hypervisor_abi::apic::TriggerMode;

use super::controls::ApicvControls;
use crate::delivery::software::AccessWidth;

/// What has to be on, besides the TPR shadow, for the processor to complete an access.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum With {
    /// Nothing.
    Shadow,
    /// Virtual-interrupt delivery or APIC-register virtualization. For reads the older editions of the manual knew only the
    /// latter.
    Delivery,
    /// APIC-register virtualization.
    Registers,
    /// The processor never does it.
    Never,
}

/// What follows a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Then {
    /// TPR virtualization.
    Tpr,
    /// EOI virtualization with virtual-interrupt delivery, else an APIC-write exit.
    Eoi,
    /// What the [command](Command) says.
    Command,
    /// Nothing.
    Nothing,
    /// An APIC-write exit.
    Exit,
}

/// What the processor does with a range of registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Row {
    /// The first register's place in the page, bytes.
    pub first: u16,
    /// The last one's.
    pub last: u16,
    /// When reads are virtualized.
    pub reads: With,
    /// When writes are virtualized.
    pub writes: With,
    /// What follows a virtualized write.
    pub then: Then,
}

const fn row(first: u16, last: u16, reads: With, writes: With, then: Then) -> Row {
    Row { first, last, reads, writes, then }
}

/// The registers the processor knows; an access to any other one exits (SDM vol. 3C, 30.4.2 and 30.4.3.1).
pub const TABLE: [Row; 15] = [
    row(0x020, 0x020, With::Registers, With::Registers, Then::Exit),
    row(0x030, 0x030, With::Registers, With::Never, Then::Nothing),
    row(0x080, 0x080, With::Shadow, With::Shadow, Then::Tpr),
    row(0x0b0, 0x0b0, With::Delivery, With::Delivery, Then::Eoi),
    row(0x0d0, 0x0f0, With::Registers, With::Registers, Then::Exit),
    row(0x100, 0x170, With::Registers, With::Never, Then::Nothing),
    row(0x180, 0x1f0, With::Registers, With::Never, Then::Nothing),
    row(0x200, 0x270, With::Registers, With::Never, Then::Nothing),
    row(0x280, 0x280, With::Registers, With::Registers, Then::Exit),
    row(0x300, 0x300, With::Delivery, With::Delivery, Then::Command),
    row(0x310, 0x310, With::Registers, With::Registers, Then::Nothing),
    row(0x320, 0x370, With::Registers, With::Registers, Then::Exit),
    row(0x380, 0x380, With::Registers, With::Registers, Then::Exit),
    row(0x3e0, 0x3e0, With::Registers, With::Registers, Then::Exit),
    // Self-IPI has a place in the page for x2APIC mode alone.
    row(0x3f0, 0x3f0, With::Never, With::Never, Then::Nothing),
];

/// What becomes of a read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PageRead {
    /// The virtual-APIC page gives it.
    Virtualized,
    /// An APIC-access exit (reason 44).
    AccessExit,
}

/// What becomes of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PageWrite {
    /// It goes to the virtual-APIC page, and this follows.
    Virtualized(AfterWrite),
    /// An APIC-access exit (reason 44); nothing is written.
    AccessExit,
}

/// What the processor does after a write it has virtualized.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AfterWrite {
    /// TPR virtualization.
    Tpr,
    /// EOI virtualization.
    Eoi,
    /// Self-IPI virtualization of this vector.
    SelfIpi(u8),
    /// IPI virtualization: posts a vector to the vCPU of a table entry.
    Ipi {
        /// The vector.
        vector: u8,
        /// The number in the table of descriptors.
        target: u32,
    },
    /// Nothing.
    Nothing,
    /// An APIC-write exit (reason 56), after the write: the page offset is its qualification.
    Exit(u16),
}

/// What the processor makes of a command (SDM vol. 3C, 30.1.5, 30.1.6, 30.4.3.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Command {
    /// To itself.
    SelfIpi(u8),
    /// To the vCPU of this number.
    Ipi {
        /// The vector.
        vector: u8,
        /// The destination.
        target: u32,
    },
    /// Anything else is the hypervisor's.
    Exit,
}

impl Command {
    /// What `icr`, with its destination as a number, is under `controls`. The processor takes fixed edge-triggered commands
    /// of legal vectors with no reserved bit set: to itself with virtual-interrupt delivery, to one physical destination
    /// with IPI virtualization.
    #[must_use]
    pub const fn of(controls: ApicvControls, icr: Icr) -> Self {
        // The level bit (14) counts for neither.
        let is_plain = icr.low() & !(Icr::WRITABLE_LOW) == 0
            && matches!(icr.delivery(), DeliveryMode::Fixed)
            && matches!(icr.trigger(), TriggerMode::Edge)
            && icr.vector() >= 16;
        match (icr.shorthand(), icr.destination_mode()) {
            (Shorthand::Myself, _) if is_plain && controls.delivery => Self::SelfIpi(icr.vector()),
            (Shorthand::None, DestinationMode::Physical) if is_plain && controls.ipis => {
                Self::Ipi { vector: icr.vector(), target: icr.destination() }
            }
            _ => Self::Exit,
        }
    }

    /// What follows the write of it.
    pub(in crate::delivery) const fn after_write(self) -> AfterWrite {
        match self {
            Self::SelfIpi(vector) => AfterWrite::SelfIpi(vector),
            Self::Ipi { vector, target } => AfterWrite::Ipi { vector, target },
            Self::Exit => AfterWrite::Exit(ApicRegister::IcrLow.offset()),
        }
    }

    /// What `icr`, written to MSR 830h, is under `controls`. Of that register the manual names IPI virtualization alone as a
    /// way not to exit; a command to itself is virtualized where it is written to the page, and has MSR 83Fh besides
    /// (SDM vol. 3C, 30.4.3.2, 30.5). A hypervisor that expects the exit is right on a processor that makes none as well.
    #[must_use]
    pub const fn of_msr(controls: ApicvControls, icr: Icr) -> Self {
        match Self::of(controls, icr) {
            Self::SelfIpi(_) => Self::Exit,
            command => command,
        }
    }
}

/// What becomes of a read at `offset` of the page.
#[must_use]
pub fn read_page(controls: ApicvControls, offset: u16, width: AccessWidth) -> PageRead {
    match find(offset, width) {
        Some(row) if is_on(controls, row.reads) => PageRead::Virtualized,
        _ => PageRead::AccessExit,
    }
}

/// What becomes of a write at `offset` of the page. `command` is what ICR holds with the write done, as in xAPIC mode: the
/// destination in its highest byte. It counts for a write of ICR alone.
#[must_use]
pub fn write_page(controls: ApicvControls, offset: u16, width: AccessWidth, command: Icr) -> PageWrite {
    let Some(row) = find(offset, width).filter(|row| is_on(controls, row.writes)) else {
        return PageWrite::AccessExit;
    };
    let register = offset - offset % SLOT_SIZE;
    PageWrite::Virtualized(match row.then {
        Then::Tpr => AfterWrite::Tpr,
        Then::Eoi if controls.delivery => AfterWrite::Eoi,
        Then::Command => Command::of(controls, command.with_destination(command.destination() >> 24)).after_write(),
        Then::Nothing => AfterWrite::Nothing,
        Then::Eoi | Then::Exit => AfterWrite::Exit(register),
    })
}

/// The row of an access; none for one that is not within the lower four bytes of a register.
fn find(offset: u16, width: AccessWidth) -> Option<&'static Row> {
    let within = offset % SLOT_SIZE;
    let register = offset - within;
    TABLE.iter().find(|row| (row.first..=row.last).contains(&register)).filter(|_| within + width.bytes() <= 4)
}

const fn is_on(controls: ApicvControls, with: With) -> bool {
    controls.accesses
        && controls.tpr_shadow
        && match with {
            With::Shadow => true,
            With::Delivery => controls.delivery || controls.registers,
            With::Registers => controls.registers,
            With::Never => false,
        }
}
