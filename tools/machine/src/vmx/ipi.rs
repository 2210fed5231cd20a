//! IPI virtualization (SDM vol. 3C, 30.1.6): which commands the processor sends to another virtual processor itself, and how it
//! finds that one's posted-interrupt descriptor.
//!
//! A write that is to be sent is done in two steps, since the second leaves the processor: [`Guest::write_page`],
//! [`Guest::wrmsr`] or [`Guest::notify_user`] puts it into the virtual-APIC page and answers with an [`Ipi`];
//! [`Guest::send_ipi`] does the rest.

use hypervisor_abi::apic::ApicMode;
use hypervisor_abi::pid_pointer::PidPointerCell;
use hypervisor_abi::posted::PostedDestination;
use hypervisor_abi::sync::Ordering;

use super::Access;
use super::Exit;
use super::Guest;
use super::PageAccess;
use super::PageOffset;
use super::PhysicalWidth;
use super::VirtualVector;
use crate::Interconnect;
use crate::PostedMemory;
use crate::Signal;
use crate::Urgency;
use crate::posting::post;

/// The host's memory, where it holds a PID-pointer table too.
pub trait PidMemory: PostedMemory {
    /// The table entry at a physical address, a multiple of 8; none where there is no memory.
    fn pid_pointer(&self, address: u64) -> Option<&PidPointerCell>;
}

/// A virtual IPI on its way out of the processor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Ipi {
    /// V, the vector.
    pub vector: VirtualVector,
    /// T, the virtual APIC ID.
    pub target: u32,
}

/// The bits of an ICR's lower half that keep a command from being virtualized: reserved ones (31:20, 17:16, 13), the delivery
/// status (12), and everything that makes it other than fixed, physical, edge-triggered and without shorthand. The level
/// (14) counts for nothing.
const NOT_VIRTUALIZED: u32 = 0xffff_bf00;

/// The bits that fault when they are written by MSR: those that x2APIC mode reserves.
const RESERVED_BY_MSR: u32 = 0xfff3_3000;

/// Bits 5:0 of a PID pointer that names a descriptor: it is valid, and no reserved bit is set.
const VALID: u64 = 1;

impl Guest {
    /// Sends an IPI that a write has called for, on a processor whose physical addresses have `width` bits and whose own local
    /// APIC is in `host_mode`. Nothing has been posted if it exits.
    ///
    /// Where the table names memory that is not there, all ones are read, as of every address nobody answers: an entry of
    /// ones is none, and a descriptor of ones has its notification outstanding.
    pub fn send_ipi(
        &self,
        ipi: Ipi,
        width: PhysicalWidth,
        host_mode: ApicMode,
        memory: &impl PidMemory,
        interconnect: &mut impl Interconnect,
    ) -> Access {
        let Some(address) = self.descriptor_of(ipi, width, memory) else {
            return Access::Exit(Exit::ApicWrite(PageOffset::VICR_LO));
        };
        let descriptor = memory.descriptor(address);
        let notification = descriptor.and_then(|found| post(found, ipi.vector, Urgency::Ordinary, host_mode));
        if let Some(message) = notification {
            interconnect.send(Signal::Interrupt(message));
        }
        Access::Virtual(())
    }

    /// The notification of a user interrupt that SENDUIPI has posted, by NV and NDST of the user posted-interrupt descriptor
    /// (SDM vol. 3C, 30.7). It is no access of an instruction to the local APIC: no MSR bitmap stops it.
    ///
    /// The manual's edition at hand names the outcomes, not the page: that the page holds the command afterwards, as after
    /// the write it stands for, is taken from what an APIC-write exit tells its handler.
    pub fn notify_user(&mut self, vector: u8, destination: PostedDestination) -> Access<Option<Ipi>> {
        let secondary = self.vmcs.controls.secondary();
        let destination = destination.into_bits();
        if secondary.virtualize_apic_accesses() {
            if !self.shadows_tpr() || !self.virtualizes_registers() && !self.delivers() {
                let exit = Exit::ApicAccess { offset: PageOffset::VICR_LO, access: PageAccess::Write };
                return Access::Exit(exit);
            }
            self.page.set_word(PageOffset::VICR_HI, (destination >> 8 & 0xff) << 24);
            self.page.set_word(PageOffset::VICR_LO, vector.into());
            return sent_or_exit(self.ipi_of_page());
        }
        if secondary.virtualize_x2apic_mode() {
            return self.command(u64::from(destination) << 32 | u64::from(vector));
        }
        Access::Native
    }

    /// WRMSR of `value` to 830H (SDM vol. 3C, 30.5).
    pub(super) fn write_icr_msr(&mut self, value: u64) -> Access<Option<Ipi>> {
        if low(value) & RESERVED_BY_MSR != 0 { Access::GeneralProtection } else { self.command(value) }
    }

    /// A command of 64 bits, once it is legal: to another virtual processor, or an exit.
    fn command(&mut self, value: u64) -> Access<Option<Ipi>> {
        self.page.set_slot(PageOffset::VICR_LO, value);
        let [.., a, b, c, d] = value.to_le_bytes();
        let target = u32::from_le_bytes([a, b, c, d]);
        sent_or_exit(self.ipi_of(low(value), target))
    }

    /// The IPI that the command in the page calls for (SDM vol. 3C, 30.4.3.2).
    pub(super) fn ipi_of_page(&self) -> Option<Ipi> {
        self.ipi_of(self.page.word(PageOffset::VICR_LO), self.page.word(PageOffset::VICR_HI) >> 24)
    }

    fn ipi_of(&self, command: u32, target: u32) -> Option<Ipi> {
        let [vector, ..] = command.to_le_bytes();
        let virtualized = self.virtualizes_ipis() && command & NOT_VIRTUALIZED == 0;
        virtualized.then_some(Ipi { vector: VirtualVector(vector), target })
    }

    /// The address of the target's descriptor; none for an illegal vector, beyond the table, and by an entry that is not
    /// valid.
    fn descriptor_of(&self, ipi: Ipi, width: PhysicalWidth, memory: &impl PidMemory) -> Option<u64> {
        if ipi.vector.class() == 0 || ipi.target > u32::from(self.vmcs.last_pid_pointer) {
            return None;
        }
        let address = self.vmcs.pid_pointer_table.wrapping_add(u64::from(ipi.target) << 3);
        let pointer = memory.pid_pointer(address).map_or(u64::MAX, |cell| cell.0.load(Ordering::SeqCst));
        let is_valid = pointer & 0x3f == VALID && width.holds(pointer & !0x3f, 64);
        is_valid.then_some(pointer & !0x3f)
    }
}

fn sent_or_exit(ipi: Option<Ipi>) -> Access<Option<Ipi>> {
    match ipi {
        Some(_) => Access::Virtual(ipi),
        None => Access::Exit(Exit::ApicWrite(PageOffset::VICR_LO)),
    }
}

const fn low(value: u64) -> u32 {
    let [a, b, c, d, ..] = value.to_le_bytes();
    u32::from_le_bytes([a, b, c, d])
}
