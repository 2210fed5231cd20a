//! Which MSRs of its local APIC a guest reaches without the hypervisor.
//!
//! An access that is not intercepted and not virtualized reaches the processor's own local APIC (CVE-2023-5090). So
//! everything is intercepted but what is known to end in the guest's backing page without an exit: to intercept what would
//! exit anyway costs nothing, and spares us what the manual leaves open about such exits.

use hypervisor_abi::apic::ApicAccess;
use hypervisor_abi::apic::ApicRegister;
use hypervisor_abi::apic::MSR_X2APIC_FIRST;
use hypervisor_abi::apic::MSR_X2APIC_LAST;
use hypervisor_abi::apic::SLOT_SIZE;
use hypervisor_abi::avic::AccessKind;

use super::acceleration::Acceleration;
use super::acceleration::Handling;
use super::acceleration::Mode;
use crate::delivery::Interception;

/// What handles a vCPU's local APIC at present.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Handler {
    /// The hypervisor: AVIC is inhibited, or the guest's mode is another.
    Software,
    /// The processor.
    Avic(Acceleration),
}

/// What the permission map says of an access to an MSR. It is to be set anew whenever `handler` changes, in the same step.
#[must_use]
pub fn interception(handler: Handler, access: AccessKind, msr: u32) -> Interception {
    let Handler::Avic(acceleration @ Acceleration { mode: Mode::X2Avic, .. }) = handler else {
        return Interception::Intercept;
    };
    if !(MSR_X2APIC_FIRST..=MSR_X2APIC_LAST).contains(&msr) {
        return Interception::Intercept;
    }
    let offset = u16::from(msr.to_le_bytes()[0]) * SLOT_SIZE;
    // The page would answer; a guest that reads EOI is to fault.
    let is_write_only = ApicRegister::of_msr(msr).is_some_and(|it| it.x2apic_access() == ApicAccess::WriteOnly);
    match acceleration.handling(access, offset) {
        Handling::Allowed if access == AccessKind::Read && is_write_only => Interception::Intercept,
        Handling::Allowed | Handling::Accelerated | Handling::AcceleratedIfEdge | Handling::AcceleratedOrTrap => {
            Interception::PassThrough
        }
        Handling::Trap | Handling::Fault | Handling::Absent => Interception::Intercept,
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use hypervisor_abi::avic::AccessKind;

    use super::Handler;
    use super::interception;
    use crate::delivery::Interception;
    use crate::delivery::avic::Acceleration;
    use crate::delivery::avic::ExtendedLvt;
    use crate::delivery::avic::Mode;

    const X2AVIC: Handler = Handler::Avic(Acceleration { mode: Mode::X2Avic, extended_lvt: ExtendedLvt::Faults });

    /// Every MSR of the three ranges the permission map covers, and some outside.
    fn msrs() -> impl Iterator<Item = u32> {
        (0..0x2000).chain(0xc000_0000..0xc000_2000).chain(0xc001_0000..0xc001_2000).chain([0x0001_0808, u32::MAX])
    }

    fn passed(handler: Handler, access: AccessKind) -> Vec<u32> {
        msrs().filter(|msr| interception(handler, access, *msr) == Interception::PassThrough).collect()
    }

    /// KVM switched the interception of MSRs off that x2AVIC did not virtualize, so that a guest reached the host's
    /// local APIC.
    #[test]
    fn r76_only_what_x2avic_virtualizes_is_passed_through() {
        assert_eq!(passed(X2AVIC, AccessKind::Write), [0x808, 0x80b, 0x830, 0x83f]);
        let reads = [0x802, 0x803, 0x808, 0x80a, 0x80d, 0x80f]
            .into_iter()
            .chain(0x810..=0x828)
            .chain([0x830])
            .chain(0x832..=0x838)
            .chain([0x83e]);
        assert_eq!(passed(X2AVIC, AccessKind::Read), reads.collect::<Vec<_>>());
    }

    #[test]
    fn r76_nothing_is_passed_through_while_x2avic_is_off() {
        let xavic = Handler::Avic(Acceleration { mode: Mode::XAvic, extended_lvt: ExtendedLvt::ReadsAllowed });
        for handler in [Handler::Software, xavic] {
            for access in [AccessKind::Read, AccessKind::Write] {
                assert_eq!(passed(handler, access), [], "{handler:?} {access:?}");
            }
        }
    }
}
