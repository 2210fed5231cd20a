//! What comes to a local APIC from outside while its vCPU does not run: accesses of the guest that exit before anything is
//! done, pins, and time.

use hypervisor_abi::apic::ApicMode;
use hypervisor_abi::apic::ApicRegister;
use hypervisor_abi::apic::LvtEntry;
use hypervisor_abi::apic::MSR_TSC_DEADLINE;
use hypervisor_abi::apic::SLOT_SIZE;

use super::backend::DeliveryEngine;
use super::backend::Loan;
use super::events::Watch;
use super::vcpu::VcpuApic;
use crate::delivery::host::Host;
use crate::delivery::software::AccessWidth;
use crate::delivery::software::MmioFault;
use crate::delivery::software::MsrFault;
use crate::delivery::software::Pin;
use crate::delivery::time::Moment;
use crate::event::Level;

const ICR: u32 = ApicRegister::IcrLow.msr();
const EOI: u32 = ApicRegister::Eoi.msr();

impl<E: DeliveryEngine> VcpuApic<E> {
    /// A read from the register page, at `offset` bytes.
    ///
    /// # Errors
    /// As [`LocalApic::read_mmio`](crate::delivery::software::LocalApic::read_mmio).
    pub fn read_mmio<H: Host>(
        &mut self,
        now: Moment,
        offset: u16,
        width: AccessWidth,
        host: &H,
    ) -> Result<u32, MmioFault> {
        self.collect(host);
        self.take_back(host);
        self.apic.read_mmio(now, offset, width)
    }

    /// A write to the register page, at `offset` bytes.
    ///
    /// # Errors
    /// As [`LocalApic::write_mmio`](crate::delivery::software::LocalApic::write_mmio).
    pub fn write_mmio<H: Host>(
        &mut self,
        now: Moment,
        offset: u16,
        width: AccessWidth,
        value: u32,
        host: &H,
    ) -> Result<(), MmioFault> {
        self.take_back(host);
        self.mark_stale(host);
        let is_eoi = offset - offset % SLOT_SIZE == ApicRegister::Eoi.offset() && self.apic.mode() == ApicMode::XApic;
        let watch = Watch::new(host);
        let (_, served) = self.apic.highest();
        let written = self.apic.write_mmio(now, offset, width, value, &watch);
        if is_eoi && written.is_ok() {
            self.tell_edge_end(served, host);
        }
        self.note(&watch);
        written
    }

    /// RDMSR of `IA32_APIC_BASE`, `IA32_TSC_DEADLINE`, or a register in x2APIC mode.
    ///
    /// # Errors
    /// A general-protection fault: no such register, or one that cannot be read.
    pub fn read_msr<H: Host>(&mut self, now: Moment, msr: u32, host: &H) -> Result<u64, MsrFault> {
        self.collect(host);
        self.take_back(host);
        self.apic.read_msr(now, msr, host)
    }

    /// WRMSR of `IA32_APIC_BASE`, `IA32_TSC_DEADLINE`, or a register in x2APIC mode.
    ///
    /// # Errors
    /// A general-protection fault: no such register, one that cannot be written, or a reserved bit.
    pub fn write_msr<H: Host>(&mut self, now: Moment, msr: u32, value: u64, host: &H) -> Result<(), MsrFault> {
        let watch = Watch::new(host);
        let written = match msr {
            // What is sent often needs no register that is on loan, nor does the deadline.
            ICR | MSR_TSC_DEADLINE => self.apic.write_msr(now, msr, value, &watch),
            EOI if value == 0 && self.apic.mode() == ApicMode::X2Apic => {
                self.take_back(host);
                self.end_of_interrupt(&watch);
                Ok(())
            }
            _ => {
                self.take_back(host);
                self.mark_stale(host);
                self.apic.write_msr(now, msr, value, &watch)
            }
        };
        if msr == ICR
            && self.loan >= Loan::Registers
            && let Some(page) = host.page(self.vcpu())
        {
            self.apic.show_icr(page, self.engine.icr_layout(self.apic.mode()));
        }
        self.note(&watch);
        written
    }

    /// Drives a pin, as [`LocalApic::set_pin`](crate::delivery::software::LocalApic::set_pin).
    pub fn set_pin<H: Host>(&mut self, pin: Pin, level: Level, host: &H) {
        self.mark_stale(host);
        let watch = Watch::new(host);
        self.apic.set_pin(pin, level, &watch);
        self.note(&watch);
    }

    /// An own source of the local APIC has something to report, as
    /// [`LocalApic::raise`](crate::delivery::software::LocalApic::raise).
    pub fn raise<H: Host>(&mut self, entry: LvtEntry, host: &H) {
        self.mark_stale(host);
        let watch = Watch::new(host);
        self.apic.raise(entry, &watch);
        self.note(&watch);
    }

    /// Time has passed, as [`LocalApic::tick`](crate::delivery::software::LocalApic::tick). Nothing is taken back from the
    /// processor for it.
    pub fn tick<H: Host>(&mut self, now: Moment, host: &H) {
        let watch = Watch::new(host);
        self.apic.tick(now, &watch);
        self.note(&watch);
    }

    /// The task priority as control register 8 has it: the class alone.
    pub fn cr8<H: Host>(&mut self, host: &H) -> u8 {
        self.take_back(host);
        self.apic.cr8()
    }

    /// A write of control register 8 that exits; of `class` the lower four bits count.
    pub fn set_cr8<H: Host>(&mut self, class: u8, host: &H) {
        self.take_back(host);
        self.apic.set_cr8(class, host);
    }
}
