//! CR8, the page of the local APIC, and its MSRs: what the guest's accesses do.

use hypervisor_abi::apic::Icr;
use hypervisor_abi::avic::BackingPage;
use hypervisor_abi::sync::Ordering;

use super::Access;
use super::Direction;
use super::Exit;
use super::Guest;
use super::Ipi;
use super::RegisterOffset;
use super::register::Treatment;
use super::vmcb::Mode;
use crate::vmx::ExitStyle;

/// The part of the MSR permission map that concerns MSRs 0x800 to 0x8ff (APM vol. 2, 15.11): a set bit makes the access exit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MsrPermissions {
    /// The reads that exit.
    pub read: [u64; 4],
    /// The writes that exit.
    pub write: [u64; 4],
}

impl MsrPermissions {
    fn exits(&self, direction: Direction, offset: RegisterOffset) -> bool {
        let index = usize::from(offset.bytes() >> 4);
        let map = match direction {
            Direction::Read => &self.read,
            Direction::Write => &self.write,
        };
        map[index / 64] >> (index % 64) & 1 == 1
    }
}

impl Guest {
    /// MOV from CR8. Its intercept is not modelled.
    #[must_use]
    pub const fn read_cr8(&self) -> u64 {
        self.vmcb.control.task_priority() as u64
    }

    /// MOV to CR8: the task priority of control block and page (APM vol. 2, 15.29.2). Its intercept is not modelled.
    pub fn write_cr8(&mut self, page: &BackingPage, value: u64) -> Access {
        let [class @ 0..=15, 0, 0, 0, 0, 0, 0, 0] = value.to_le_bytes() else {
            return Access::GeneralProtection;
        };
        self.set_task_priority(page, class << 4);
        Access::Virtual(())
    }

    /// A 32-bit read of the page where the guest expects its local APIC. Other widths, and the twelve bytes behind a register,
    /// are not modelled.
    #[must_use]
    pub fn read_page(&self, page: &BackingPage, offset: RegisterOffset) -> Access<u32> {
        match self.mode() {
            Mode::Page => self.read(page, offset),
            Mode::Off | Mode::Msrs => Access::Native,
        }
    }

    /// A 32-bit write to that page; the IPI it calls for, which is to be given to [`send_ipi`](Self::send_ipi).
    pub fn write_page(&mut self, page: &BackingPage, offset: RegisterOffset, value: u32) -> Access<Option<Ipi>> {
        match self.mode() {
            Mode::Page => self.write(page, offset, value.into()),
            Mode::Off | Mode::Msrs => Access::Native,
        }
    }

    /// RDMSR of `msr`. Native outside 0x800 to 0x8ff, whose interception is not modelled.
    #[must_use]
    pub fn rdmsr(&self, page: &BackingPage, msr: u32) -> Access<u64> {
        let Some(offset) = RegisterOffset::of_msr(msr) else { return Access::Native };
        if self.vmcb.msr_permissions.exits(Direction::Read, offset) {
            return Access::Exit(Exit::Msr(Direction::Read));
        }
        // What is left of a guest whose MSRs are neither intercepted nor virtualized is the host's local APIC
        // (CVE-2023-5090).
        if self.mode() != Mode::Msrs {
            return Access::Native;
        }
        match self.read(page, offset) {
            Access::Virtual(low) if offset == RegisterOffset::ICR_LOW => {
                Access::Virtual(u64::from(load(page, RegisterOffset::ICR_HIGH)) << 32 | u64::from(low))
            }
            Access::Virtual(value) => Access::Virtual(value.into()),
            Access::Native => Access::Native,
            Access::Exit(exit) => Access::Exit(exit),
            Access::GeneralProtection => Access::GeneralProtection,
        }
    }

    /// WRMSR of `value` to `msr`; the IPI it calls for, which is to be given to [`send_ipi`](Self::send_ipi). Native outside
    /// 0x800 to 0x8ff, whose interception is not modelled.
    pub fn wrmsr(&mut self, page: &BackingPage, msr: u32, value: u64) -> Access<Option<Ipi>> {
        let Some(offset) = RegisterOffset::of_msr(msr) else { return Access::Native };
        if self.vmcb.msr_permissions.exits(Direction::Write, offset) {
            return Access::Exit(Exit::Msr(Direction::Write));
        }
        if self.mode() != Mode::Msrs {
            return Access::Native;
        }
        let legal = match offset {
            RegisterOffset::TPR | RegisterOffset::SELF_IPI => 0xff,
            RegisterOffset::EOI => 0,
            RegisterOffset::ICR_LOW => u64::MAX << 32 | u64::from(Icr::WRITABLE_LOW),
            _ => 0xffff_ffff,
        };
        if value & !legal != 0 { Access::GeneralProtection } else { self.write(page, offset, value) }
    }

    fn read(&self, page: &BackingPage, offset: RegisterOffset) -> Access<u32> {
        match offset.treatment(Direction::Read, self.mode(), self.processor.extended_lvt) {
            Treatment::GeneralProtection => Access::GeneralProtection,
            Treatment::Fault => Access::Exit(not_accelerated(Direction::Read, offset, ExitStyle::Fault)),
            _ => Access::Virtual(load(page, offset)),
        }
    }

    /// A write. Only an MSR's has more than 32 bits, and only ICR's uses them.
    fn write(&mut self, page: &BackingPage, offset: RegisterOffset, value: u64) -> Access<Option<Ipi>> {
        let [a, b, c, d, high @ ..] = value.to_le_bytes();
        let low = u32::from_le_bytes([a, b, c, d]);
        match offset.treatment(Direction::Write, self.mode(), self.processor.extended_lvt) {
            Treatment::GeneralProtection => Access::GeneralProtection,
            Treatment::Fault => Access::Exit(not_accelerated(Direction::Write, offset, ExitStyle::Fault)),
            Treatment::Trap => {
                store(page, offset, low);
                Access::Exit(not_accelerated(Direction::Write, offset, ExitStyle::Trap))
            }
            Treatment::TaskPriority => {
                self.set_task_priority(page, a);
                Access::Virtual(None)
            }
            Treatment::EndOfInterrupt => match self.end_of_interrupt(page) {
                Some(exit) => Access::Exit(exit),
                None => Access::Virtual(None),
            },
            Treatment::Command => {
                if self.mode() == Mode::Msrs {
                    store(page, RegisterOffset::ICR_HIGH, u32::from_le_bytes(high));
                }
                // The delivery status is the processor's, and it is never busy.
                store(page, RegisterOffset::ICR_LOW, Icr::from(u64::from(low)).with_send_pending(false).low());
                Access::Virtual(Some(Ipi::of_page(page)))
            }
            Treatment::SelfIpi => Access::Virtual(Some(Ipi::to_sender(a))),
            Treatment::Memory => {
                store(page, offset, low);
                Access::Virtual(None)
            }
        }
    }
}

const fn not_accelerated(direction: Direction, offset: RegisterOffset, style: ExitStyle) -> Exit {
    Exit::NoAcceleration { direction, offset, vector: 0, style }
}

/// A register's value. Every offset is within the page.
pub(super) fn load(page: &BackingPage, offset: RegisterOffset) -> u32 {
    page.slot(offset.bytes()).map_or(0, |cell| cell.load(Ordering::SeqCst))
}

/// Sets a register.
pub(super) fn store(page: &BackingPage, offset: RegisterOffset, value: u32) {
    if let Some(cell) = page.slot(offset.bytes()) {
        cell.store(value, Ordering::SeqCst);
    }
}
