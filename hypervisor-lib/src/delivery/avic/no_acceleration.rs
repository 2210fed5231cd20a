//! What to do when a guest touches a register that the processor does not handle (exit 402h).

use hypervisor_abi::apic::ApicRegister;
use hypervisor_abi::avic::AccessKind;
use hypervisor_abi::avic::BackingPage;
use hypervisor_abi::avic::NoAcceleration;
use hypervisor_abi::avic::VectorBits;
use vector_allocator::Vector;

use super::acceleration::Acceleration;
use super::acceleration::Handling;

/// What is left to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// The instruction has done nothing yet: emulate it, and move on to the next.
    Emulate {
        /// Which way it goes.
        access: AccessKind,
        /// The register, in bytes into the page.
        offset: u16,
    },
    /// The page holds what was written, and the instruction is over: do what a write of this register does, by what the page
    /// holds. Do not write it again, and do not move on.
    Written(Written),
    /// A level-triggered interrupt has ended: tell the I/O APICs. The page is in order.
    EndOfInterrupt(Vector),
}

/// What a write that has been done calls for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Written {
    /// ID: the tables are indexed by the first one. If it differs, AVIC is to be inhibited
    /// (`InhibitReason::ApicIdModified`), else to be allowed again.
    Id,
    /// LDR or DFR: the logical table is to be built anew (`LogicalTable::rebuild`).
    LogicalId,
    /// Any other register: what the software's local APIC does for it.
    Register(ApicRegister),
    /// An entry of the extended local vector table, by its offset.
    ExtendedLvt(u16),
}

/// An exit that an intact processor does not make: the register is one it handles itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a {access:?} at {offset:#05x} exits, which the processor handles")]
pub struct Unexpected {
    /// Which way it goes.
    pub access: AccessKind,
    /// The register, in bytes into the page.
    pub offset: u16,
}

/// Does what an unaccelerated access needs of AVIC's own structures, and says what is left.
///
/// # Errors
/// The processor should have handled the access.
pub fn finish_access(
    acceleration: Acceleration,
    page: &BackingPage,
    exit: NoAcceleration,
) -> Result<Access, Unexpected> {
    let NoAcceleration { access, offset, vector } = exit;
    let unexpected = Unexpected { access, offset };
    match acceleration.handling(access, offset) {
        Handling::Fault | Handling::Absent => Ok(Access::Emulate { access, offset }),
        Handling::AcceleratedIfEdge => end_level(page, vector).ok_or(unexpected),
        Handling::Trap => Ok(Access::Written(match ApicRegister::at_offset(offset) {
            Some(ApicRegister::Id) => Written::Id,
            Some(ApicRegister::LogicalDestination | ApicRegister::DestinationFormat) => Written::LogicalId,
            Some(register) => Written::Register(register),
            None => Written::ExtendedLvt(offset),
        })),
        Handling::Allowed | Handling::Accelerated | Handling::AcceleratedOrTrap => Err(unexpected),
    }
}

/// The manual calls this exit both a trap and a fault, and so leaves open whether the vector is still in service. It is not
/// afterwards.
fn end_level(page: &BackingPage, vector: u8) -> Option<Access> {
    let vector = Vector::new(vector).ok()?;
    if page.highest(VectorBits::InService) == Some(vector.number()) {
        page.clear(VectorBits::InService, vector.number());
    }
    Some(Access::EndOfInterrupt(vector))
}

#[cfg(test)]
mod tests {
    use hypervisor_abi::apic::ApicRegister;
    use hypervisor_abi::avic::AccessKind;
    use hypervisor_abi::avic::BackingPage;
    use hypervisor_abi::avic::NoAcceleration;
    use hypervisor_abi::avic::VectorBits;
    use vector_allocator::Vector;

    use super::Access;
    use super::Unexpected;
    use super::Written;
    use super::finish_access;
    use crate::delivery::avic::Acceleration;
    use crate::delivery::avic::ExtendedLvt;
    use crate::delivery::avic::Mode;

    const XAVIC: Acceleration = Acceleration { mode: Mode::XAvic, extended_lvt: ExtendedLvt::ReadsAllowed };

    fn finish(access: AccessKind, offset: u16) -> Result<Access, Unexpected> {
        finish_access(XAVIC, &BackingPage::default(), NoAcceleration { access, offset, vector: 0 })
    }

    #[test]
    fn a_fault_is_emulated_and_a_trap_is_only_followed_up() {
        let emulated = |access, offset| Ok(Access::Emulate { access, offset });
        assert_eq!(finish(AccessKind::Write, 0x100), emulated(AccessKind::Write, 0x100));
        assert_eq!(finish(AccessKind::Read, 0x390), emulated(AccessKind::Read, 0x390));
        assert_eq!(finish(AccessKind::Write, 0xff0), emulated(AccessKind::Write, 0xff0));
        for (offset, written) in [
            (0x020, Written::Id),
            (0x0d0, Written::LogicalId),
            (0x0e0, Written::LogicalId),
            (0x0f0, Written::Register(ApicRegister::SpuriousVector)),
            (0x380, Written::Register(ApicRegister::TimerInitialCount)),
            (0x500, Written::ExtendedLvt(0x500)),
        ] {
            assert_eq!(finish(AccessKind::Write, offset), Ok(Access::Written(written)), "{offset:#x}");
        }
    }

    #[test]
    fn an_exit_for_what_the_processor_handles_is_an_error() {
        for (access, offset) in [
            (AccessKind::Read, 0x020),
            (AccessKind::Read, 0x0b0),
            (AccessKind::Write, 0x080),
            (AccessKind::Write, 0x300),
            (AccessKind::Write, 0x310),
        ] {
            assert_eq!(finish(access, offset), Err(Unexpected { access, offset }));
        }
        // EOI with a vector that cannot be in service.
        let unexpected = Unexpected { access: AccessKind::Write, offset: 0x0b0 };
        assert_eq!(finish(AccessKind::Write, 0x0b0), Err(unexpected));
    }

    /// the end of a level-triggered interrupt is seen by its trigger mode alone, and whether the processor has cleared
    /// the in-service bit before it exits, the manual leaves open.
    #[test]
    fn r77_a_level_triggered_interrupt_ends_once_whatever_the_processor_has_done() {
        let vector = Vector::new(0x61).expect("16 or more");
        let exit = NoAcceleration { access: AccessKind::Write, offset: 0x0b0, vector: 0x61 };
        for in_service in [&[0x41, 0x61][..], &[0x41]] {
            let page = BackingPage::default();
            in_service.iter().for_each(|vector| _ = page.set(VectorBits::InService, *vector));
            assert_eq!(finish_access(XAVIC, &page, exit), Ok(Access::EndOfInterrupt(vector)));
            assert_eq!(page.highest(VectorBits::InService), Some(0x41), "nothing else has ended");
        }
    }
}
