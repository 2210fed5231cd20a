//! What a processor does when a guest writes its interrupt command register, and what it leaves to the hypervisor
//! (SDM vol. 3C, 30.4.3.2, 30.5).

use hypervisor_abi::apic::ApicRegister;
use hypervisor_abi::apic::DeliveryMode;
use hypervisor_abi::apic::Icr;
use vector_allocator::Vector;

use crate::delivery::Interception;
use crate::delivery::apicv;
use crate::delivery::apicv::AfterWrite;
use crate::delivery::apicv::ApicvControls;
use crate::delivery::apicv::Command;
use crate::delivery::apicv::MsrWrite;
use crate::delivery::apicv::PageWrite;
use crate::delivery::software::AccessWidth;

/// A way to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum IcrWrite {
    /// 32 bits to offset 300h of the APIC-access page.
    Memory {
        /// What is written.
        low: u32,
        /// What the virtual-APIC page holds at 310h.
        high: u32,
    },
    /// To MSR 830h.
    Msr(u64, Interception),
    /// To MSR 83Fh, SELF IPI.
    SelfIpiMsr(u64, Interception),
    /// The notification that SENDUIPI sends when a user interrupt has been posted. It is no instruction's access to the local
    /// APIC: no MSR bitmap stops it.
    UserNotification {
        /// The notification vector (UPID.NV).
        vector: u8,
        /// The notification destination (UPID.NDST).
        destination: u32,
    },
}

/// Which accesses of the guest to its local APIC the processor takes for such.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Interface {
    /// None: neither of the two controls is on.
    None,
    /// Those of the APIC-access page ("virtualize APIC accesses").
    Page,
    /// Those of MSRs ("virtualize x2APIC mode").
    Msrs,
}

/// What it can do with them; each includes those before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Assist {
    /// Only the task priority ("use TPR shadow").
    TprShadow,
    /// Registers are read from the virtual-APIC page and written to it ("APIC-register virtualization").
    Registers,
    /// Interrupts are delivered, and those to the sender itself sent ("virtual-interrupt delivery").
    Delivery,
    /// Interrupts are sent to other vCPUs ("IPI virtualization").
    IpiVirtualization,
}

/// What the processor does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// The vector is set in the sender's VIRR, and RVI raised.
    SelfIpi(Vector),
    /// The target is looked up, and the vector posted or an APIC-write exit made.
    Ipi {
        /// The vector.
        vector: Vector,
        /// The virtual APIC ID.
        target: u32,
    },
    /// It has put the value into the virtual-APIC page and exits after the instruction (reason 56), telling this offset.
    ApicWriteExit(u16),
    /// It exits instead of the access (reason 44).
    ApicAccessExit,
    /// It exits instead of the instruction (reason 32).
    MsrExit,
    /// The guest gets a general-protection fault.
    GeneralProtection,
    /// The host's own local APIC gets it. No guest may be able to do that.
    HostApic,
}

const ICR_OFFSET: u16 = ApicRegister::IcrLow.offset();

/// What a write does, with what interface and assist the hypervisor has switched on: by the rules of [`apicv`], which are
/// those of every access.
#[must_use]
pub fn judge(write: IcrWrite, interface: Interface, assist: Assist) -> Outcome {
    let controls = controls(interface, assist);
    match (write, interface) {
        (IcrWrite::Msr(_, Interception::Intercept) | IcrWrite::SelfIpiMsr(_, Interception::Intercept), _) => {
            Outcome::MsrExit
        }
        (IcrWrite::Memory { low, high }, Interface::Page) => memory_write(low, high, controls),
        (IcrWrite::Msr(value, _), _) => msr_write(ApicRegister::IcrLow, value, controls),
        (IcrWrite::SelfIpiMsr(value, _), _) => msr_write(ApicRegister::SelfIpi, value, controls),
        (IcrWrite::UserNotification { vector, destination }, Interface::Page) => {
            let [_, id, ..] = destination.to_le_bytes();
            memory_write(vector.into(), u32::from(id) << 24, controls)
        }
        (IcrWrite::UserNotification { vector, destination }, Interface::Msrs) => {
            let icr = Icr::new().with_vector(vector).with_destination(destination);
            after(Command::of_msr(controls, icr).after_write())
        }
        (IcrWrite::Memory { .. }, Interface::None | Interface::Msrs)
        | (IcrWrite::UserNotification { .. }, Interface::None) => Outcome::HostApic,
    }
}

const fn controls(interface: Interface, assist: Assist) -> ApicvControls {
    let level = assist as u8;
    ApicvControls {
        tpr_shadow: true,
        accesses: matches!(interface, Interface::Page),
        x2apic: matches!(interface, Interface::Msrs),
        registers: level >= Assist::Registers as u8,
        delivery: level >= Assist::Delivery as u8,
        posting: level >= Assist::IpiVirtualization as u8,
        ipis: level >= Assist::IpiVirtualization as u8,
        external_interrupts_exit: true,
        acknowledge_on_exit: true,
    }
}

fn memory_write(low: u32, high: u32, controls: ApicvControls) -> Outcome {
    let icr = Icr::from(u64::from(high) << 32 | u64::from(low));
    match apicv::write_page(controls, ICR_OFFSET, AccessWidth::Dword, icr) {
        PageWrite::Virtualized(then) => after(then),
        PageWrite::AccessExit => Outcome::ApicAccessExit,
    }
}

fn msr_write(register: ApicRegister, value: u64, controls: ApicvControls) -> Outcome {
    match apicv::write_msr(controls, register.msr(), value) {
        MsrWrite::Virtualized(then) => after(then),
        MsrWrite::Fault => Outcome::GeneralProtection,
        MsrWrite::Physical => Outcome::HostApic,
    }
}

fn after(then: AfterWrite) -> Outcome {
    match then {
        AfterWrite::SelfIpi(vector) => Vector::new(vector).map_or(Outcome::ApicWriteExit(ICR_OFFSET), Outcome::SelfIpi),
        AfterWrite::Ipi { vector, target } => {
            let sent = |vector| Outcome::Ipi { vector, target };
            Vector::new(vector).map_or(Outcome::ApicWriteExit(ICR_OFFSET), sent)
        }
        AfterWrite::Exit(offset) => Outcome::ApicWriteExit(offset),
        // Of other registers.
        AfterWrite::Tpr | AfterWrite::Eoi | AfterWrite::Nothing => Outcome::HostApic,
    }
}

/// What an APIC-write exit at 300h or 3F0h leaves to do. The instruction is over, and nothing has been posted: the processor
/// exits before it does anything, whatever the reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rest {
    /// Send the command by software.
    Send(Icr),
    /// Note in the sender's error status register that it sent an illegal vector, and raise its error interrupt.
    IllegalVector(u8),
}

/// What to do at an APIC-write exit at 300h, by the command the virtual-APIC page holds: 32 bits at 300h and 310h each in
/// xAPIC mode, 64 bits at 300h in x2APIC mode (AMD splits them in either).
#[must_use]
pub fn finish(icr: Icr) -> Rest {
    let needs_vector = matches!(icr.delivery(), DeliveryMode::Fixed | DeliveryMode::LowestPriority);
    if needs_vector && icr.vector() < Vector::LOWEST.number() {
        Rest::IllegalVector(icr.vector())
    } else {
        Rest::Send(icr)
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use hypervisor_abi::apic::Icr;
    use vector_allocator::Vector;

    use super::Assist;
    use super::IcrWrite;
    use super::Interface;
    use super::Outcome;
    use super::Rest;
    use super::finish;
    use super::judge;
    use crate::delivery::Interception;

    const INTERFACES: [Interface; 3] = [Interface::None, Interface::Page, Interface::Msrs];
    const ASSISTS: [Assist; 4] = [Assist::TprShadow, Assist::Registers, Assist::Delivery, Assist::IpiVirtualization];
    const DESTINATIONS: [u32; 7] = [0, 1, 0xff, 0x100, 0x0100_0000, 0xff00_0000, u32::MAX];

    /// Every class of the lower half: all values of all fields but the vector, of which the borders; reserved bits by the
    /// first, a middle and the last.
    fn lows() -> impl Iterator<Item = u32> {
        const VECTORS: [u32; 5] = [0x00, 0x0f, 0x10, 0x51, 0xff];
        const RESERVED: [u32; 4] = [0, 1 << 20, 1 << 25, 1 << 31];
        // Bits 19 to 8: delivery, destination mode, status, level, trigger, shorthand and the reserved ones among them.
        let fields = (0..1_u32 << 12).map(|bits| bits << 8);
        fields.flat_map(|fields| {
            RESERVED
                .into_iter()
                .flat_map(move |reserved| VECTORS.into_iter().map(move |vector| fields | reserved | vector))
        })
    }

    fn vector(low: u32) -> Option<Vector> {
        Vector::new(low.to_le_bytes()[0]).ok()
    }

    /// The manual's conditions, as masks of the whole lower half.
    fn is_self_ipi(low: u32) -> bool {
        low & 0xffff_b700 == 0x0004_0000 && low & 0xf0 != 0
    }

    fn is_ipi(low: u32) -> bool {
        low & 0xffff_bf00 == 0 && low & 0xf0 != 0
    }

    #[test]
    fn every_class_of_command_by_memory_does_what_the_manual_says() {
        for low in lows() {
            for high in DESTINATIONS {
                for assist in ASSISTS {
                    let expected = match assist {
                        Assist::TprShadow => Outcome::ApicAccessExit,
                        Assist::Delivery | Assist::IpiVirtualization if is_self_ipi(low) => {
                            Outcome::SelfIpi(vector(low).expect("legal"))
                        }
                        Assist::IpiVirtualization if is_ipi(low) => {
                            Outcome::Ipi { vector: vector(low).expect("legal"), target: high >> 24 }
                        }
                        _ => Outcome::ApicWriteExit(0x300),
                    };
                    let write = IcrWrite::Memory { low, high };
                    assert_eq!(judge(write, Interface::Page, assist), expected, "{low:#010x} {high:#x} {assist:?}");
                }
            }
        }
    }

    #[test]
    fn every_class_of_command_by_msr_does_what_the_manual_says() {
        for low in lows() {
            for high in DESTINATIONS {
                let value = u64::from(high) << 32 | u64::from(low);
                for assist in ASSISTS {
                    let expected = match assist {
                        Assist::IpiVirtualization if low & 0xfff3_3000 != 0 => Outcome::GeneralProtection,
                        Assist::IpiVirtualization if is_ipi(low) => {
                            Outcome::Ipi { vector: vector(low).expect("legal"), target: high }
                        }
                        Assist::IpiVirtualization => Outcome::ApicWriteExit(0x300),
                        _ => Outcome::HostApic,
                    };
                    let write = |interception| judge(IcrWrite::Msr(value, interception), Interface::Msrs, assist);
                    assert_eq!(write(Interception::PassThrough), expected, "{value:#018x} {assist:?}");
                    assert_eq!(write(Interception::Intercept), Outcome::MsrExit);
                }
            }
        }
    }

    #[test]
    fn every_value_of_self_ipi_does_what_the_manual_says() {
        let values = (0..0x200_u64).chain((9..64).map(|bit| 1 << bit | 0x51));
        for value in values {
            for assist in ASSISTS {
                let expected = match (assist, value) {
                    (Assist::TprShadow | Assist::Registers, _) => Outcome::HostApic,
                    (_, 0..=0x0f) => Outcome::ApicWriteExit(0x3f0),
                    (_, 0x10..=0xff) => Outcome::SelfIpi(Vector::new(value.to_le_bytes()[0]).expect("legal")),
                    _ => Outcome::GeneralProtection,
                };
                let write = |interception| judge(IcrWrite::SelfIpiMsr(value, interception), Interface::Msrs, assist);
                assert_eq!(write(Interception::PassThrough), expected, "{value:#x} {assist:?}");
                assert_eq!(write(Interception::Intercept), Outcome::MsrExit);
            }
        }
    }

    #[test]
    fn a_user_notification_goes_the_way_of_a_command_past_the_msr_bitmap() {
        for number in 0..=u8::MAX {
            for destination in DESTINATIONS {
                let write = IcrWrite::UserNotification { vector: number, destination };
                let sent = |target| match Vector::new(number) {
                    Ok(vector) => Outcome::Ipi { vector, target },
                    Err(_) => Outcome::ApicWriteExit(0x300),
                };
                let judged = |interface, assist| judge(write, interface, assist);
                assert_eq!(judged(Interface::Page, Assist::IpiVirtualization), sent(destination >> 8 & 0xff));
                assert_eq!(judged(Interface::Msrs, Assist::IpiVirtualization), sent(destination));
                for assist in [Assist::Registers, Assist::Delivery] {
                    assert_eq!(judged(Interface::Page, assist), Outcome::ApicWriteExit(0x300));
                    assert_eq!(judged(Interface::Msrs, assist), Outcome::ApicWriteExit(0x300));
                }
                assert_eq!(judged(Interface::Page, Assist::TprShadow), Outcome::ApicAccessExit);
                assert_eq!(judged(Interface::None, Assist::IpiVirtualization), Outcome::HostApic);
            }
        }
    }

    /// R-76, Intel's side: what no control virtualizes and no bitmap stops is the host's. So only these may be passed through.
    #[test]
    fn r76_only_with_their_controls_may_writes_be_passed_through() {
        let through = Interception::PassThrough;
        let mut safe = Vec::new();
        for interface in INTERFACES {
            for assist in ASSISTS {
                let icr = judge(IcrWrite::Msr(0x51, through), interface, assist) != Outcome::HostApic;
                let self_ipi = judge(IcrWrite::SelfIpiMsr(0x51, through), interface, assist) != Outcome::HostApic;
                if icr || self_ipi {
                    safe.push((interface, assist, icr, self_ipi));
                }
            }
        }
        let expected = [
            (Interface::Msrs, Assist::Delivery, false, true),
            (Interface::Msrs, Assist::IpiVirtualization, true, true),
        ];
        assert_eq!(safe, expected);
    }

    #[test]
    fn software_sends_whatever_exits_except_illegal_vectors() {
        for low in lows() {
            let icr = Icr::from(u64::from(low));
            let is_illegal = low & 0x600 == 0 && low & 0xf0 == 0;
            let expected = if is_illegal { Rest::IllegalVector(icr.vector()) } else { Rest::Send(icr) };
            assert_eq!(finish(icr), expected, "{low:#x}");
        }
    }
}
