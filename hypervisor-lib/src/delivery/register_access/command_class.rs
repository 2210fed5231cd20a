//! Commands by what becomes of them: the processor does the same with those of a class, on every engine.

use hypervisor_abi::apic::ApicRegister;
use hypervisor_abi::apic::BROADCAST_X2APIC;
use hypervisor_abi::apic::BROADCAST_XAPIC;
use hypervisor_abi::apic::DeliveryMode;
use hypervisor_abi::apic::DestinationMode;
use hypervisor_abi::apic::Icr;
use hypervisor_abi::apic::Shorthand;
use hypervisor_abi::apic::TriggerMode;
use vector_allocator::Vector;

use super::RegisterAccess;
use crate::delivery::choice::GuestMode;

/// A kind of command. A command belongs to the first that fits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CommandClass {
    /// It sets a bit that no command has.
    Reserved,
    /// It needs a vector, fixed or to the lowest priority, and has one below 16.
    IllegalVector,
    /// Its delivery mode is not fixed: lowest priority, SMI, NMI, INIT, start-up.
    NotFixed,
    /// It is level-triggered.
    Level,
    /// To the sender.
    Myself,
    /// By the shorthands for all, and for all others.
    Several,
    /// To the physical destination that means everybody.
    Broadcast,
    /// To the logical destination that means everybody.
    LogicalBroadcast,
    /// To other logical destinations.
    Logical,
    /// To one physical destination.
    One,
}

impl CommandClass {
    /// Every class, in the order in which they are tried.
    pub const ALL: [Self; 10] = [
        Self::Reserved,
        Self::IllegalVector,
        Self::NotFixed,
        Self::Level,
        Self::Myself,
        Self::Several,
        Self::Broadcast,
        Self::LogicalBroadcast,
        Self::Logical,
        Self::One,
    ];

    /// The class of what is written to ICR; in xAPIC mode with ICR's destination register as the upper half.
    #[must_use]
    pub fn of(mode: GuestMode, value: u64) -> Self {
        let icr = command(mode, value);
        let broadcast = match mode {
            GuestMode::XApic => BROADCAST_XAPIC,
            GuestMode::X2Apic => BROADCAST_X2APIC,
        };
        let needs_vector = matches!(icr.delivery(), DeliveryMode::Fixed | DeliveryMode::LowestPriority);
        match (icr.shorthand(), icr.destination_mode()) {
            _ if icr.low() & !Icr::WRITABLE_LOW != 0 => Self::Reserved,
            _ if needs_vector && Vector::new(icr.vector()).is_err() => Self::IllegalVector,
            _ if icr.delivery() != DeliveryMode::Fixed => Self::NotFixed,
            _ if icr.trigger() == TriggerMode::Level => Self::Level,
            (Shorthand::Myself, _) => Self::Myself,
            (Shorthand::All | Shorthand::Others, _) => Self::Several,
            (Shorthand::None, DestinationMode::Physical) if icr.destination() == broadcast => Self::Broadcast,
            (Shorthand::None, DestinationMode::Logical) if icr.destination() == broadcast => Self::LogicalBroadcast,
            (Shorthand::None, DestinationMode::Logical) => Self::Logical,
            (Shorthand::None, DestinationMode::Physical) => Self::One,
        }
    }

    /// The classes of the commands that a write of the access's register can be.
    pub(super) fn of_register(access: RegisterAccess) -> impl Iterator<Item = Self> {
        let is_self_ipi = access.slot.register() == Some(ApicRegister::SelfIpi);
        Self::ALL
            .into_iter()
            .filter(move |class| !is_self_ipi || matches!(class, Self::Reserved | Self::IllegalVector | Self::Myself))
    }

    /// A value of the access's register that is such a command.
    pub(super) fn example(self, access: RegisterAccess) -> u64 {
        let plain = Icr::new().with_vector(0x51).with_destination(match access.mode {
            GuestMode::XApic => 1 << 24,
            GuestMode::X2Apic => 1,
        });
        let of_icr = match self {
            Self::Reserved => u64::from(plain) | 1 << 20,
            Self::NotFixed => plain.with_delivery(DeliveryMode::Nmi).into(),
            Self::Level => plain.with_trigger(TriggerMode::Level).into(),
            Self::IllegalVector => plain.with_vector(0x0f).into(),
            Self::Myself => plain.with_shorthand(Shorthand::Myself).into(),
            Self::Several => plain.with_shorthand(Shorthand::Others).into(),
            Self::Broadcast => plain.with_destination(u32::MAX).into(),
            Self::LogicalBroadcast => {
                plain.with_destination(u32::MAX).with_destination_mode(DestinationMode::Logical).into()
            }
            Self::Logical => plain.with_destination_mode(DestinationMode::Logical).into(),
            Self::One => plain.into(),
        };
        match (access.slot.register(), self) {
            (Some(ApicRegister::SelfIpi), Self::Reserved) => 0x151,
            (Some(ApicRegister::SelfIpi), _) => u64::from(Icr::from(of_icr).vector()),
            _ => of_icr,
        }
    }
}

/// The command, its destination being a number as in x2APIC mode.
pub(super) fn command(mode: GuestMode, value: u64) -> Icr {
    let icr = Icr::from(value);
    match mode {
        GuestMode::XApic => icr.with_destination(icr.destination() >> 24),
        GuestMode::X2Apic => icr,
    }
}

#[cfg(test)]
mod tests {
    use hypervisor_abi::apic::ApicRegister;
    use hypervisor_abi::avic::AccessKind;

    use super::CommandClass;
    use crate::delivery::choice::GuestMode;
    use crate::delivery::register_access::RegisterAccess;
    use crate::delivery::register_access::RegisterSlot;

    #[test]
    fn the_example_of_a_class_belongs_to_it() {
        for mode in [GuestMode::XApic, GuestMode::X2Apic] {
            let slot = RegisterSlot::of(ApicRegister::IcrLow);
            let access = RegisterAccess { mode, kind: AccessKind::Write, slot, value: None };
            for class in CommandClass::ALL {
                assert_eq!(CommandClass::of(mode, class.example(access)), class, "{mode:?}");
            }
        }
    }
}
