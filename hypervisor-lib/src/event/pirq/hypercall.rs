//! The hypercall for physical IRQs: numbers the guest chose in, results and errors out.

use hypervisor_abi::DomainId;
use hypervisor_abi::physdev::GetFreePirq;
use hypervisor_abi::physdev::IRQ_STATUS_NEEDS_EOI;
use hypervisor_abi::physdev::IRQ_STATUS_SHARED;
use hypervisor_abi::physdev::IrqStatusQuery;
use hypervisor_abi::physdev::MapPirq;
use hypervisor_abi::physdev::PirqEoi;
use hypervisor_abi::physdev::PirqEoiGmfn;
use hypervisor_abi::physdev::UnmapPirq;
use lock_api::RawMutex;

use super::EoiUnmask;
use super::Interrupts;
use super::Mapping;
use super::PirqError;
use super::Use;
use crate::event::domain::Domain;
use crate::event::host::Action;
use crate::fabric::DomainKind;

/// The first line of a guest's IO-APIC that is level-triggered: those below are ISA's.
const FIRST_LEVEL_LINE: u8 = 16;

/// An operation with its argument, as the hypervisor copied it from the guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PhysdevCall {
    /// `PHYSDEVOP_irq_status_query` (5).
    IrqStatusQuery(IrqStatusQuery),
    /// `PHYSDEVOP_eoi` (12).
    Eoi(PirqEoi),
    /// `PHYSDEVOP_map_pirq` (13).
    MapPirq(MapPirq),
    /// `PHYSDEVOP_unmap_pirq` (14).
    UnmapPirq(UnmapPirq),
    /// `PHYSDEVOP_pirq_eoi_gmfn_v1` (17) or `_v2` (28).
    PirqEoiGmfn(PirqEoiGmfn, EoiUnmask),
    /// `PHYSDEVOP_get_free_pirq` (23).
    GetFreePirq(GetFreePirq),
}

impl<L: RawMutex> Domain<L> {
    /// Carries out an operation one of the domain's vCPUs asked for (`HYPERVISOR_physdev_op`), and fills in the argument's
    /// results.
    ///
    /// A guest that is not paravirtual can always ask to map and unmap, for the three others only where physical IRQs are
    /// offered to it, for the EOI page never (`hvm_physdev_op`, `xen/arch/x86/hvm/hypercall.c`).
    ///
    /// # Errors
    /// [`PirqError`]; the argument is as it was, but for the number of several messages ([`MapPirq::entry_nr`]), which is
    /// then one that might be had.
    pub fn physdev_op<H: Interrupts<Lock = L>>(&self, host: &H, call: &mut PhysdevCall) -> Result<(), PirqError> {
        let is_offered = match call {
            PhysdevCall::MapPirq(_) | PhysdevCall::UnmapPirq(_) => true,
            PhysdevCall::Eoi(_) | PhysdevCall::IrqStatusQuery(_) | PhysdevCall::GetFreePirq(_) => {
                self.kind == DomainKind::Pv || host.offers_pirqs(self.id)
            }
            PhysdevCall::PirqEoiGmfn(..) => self.kind == DomainKind::Pv,
        };
        if !is_offered {
            return Err(PirqError::NotOffered(self.id));
        }
        match call {
            PhysdevCall::IrqStatusQuery(arg) => arg.flags = self.irq_status(host, arg.irq)?,
            PhysdevCall::Eoi(arg) => self.end_pirq(host, arg.irq)?,
            PhysdevCall::MapPirq(arg) => self.map_pirq(host, arg)?,
            PhysdevCall::UnmapPirq(arg) => self.unmap_pirq(host, DomainId(arg.domid), arg.pirq)?,
            PhysdevCall::PirqEoiGmfn(arg, unmask) => self.register_pirq_eoi_page(host, arg.gmfn, *unmask)?,
            PhysdevCall::GetFreePirq(arg) => arg.pirq = self.reserve_pirq(host, arg.kind)?,
        }
        Ok(())
    }

    /// What an interrupt needs. Every one needs an EOI, as far as a guest without a page of EOI bits knows.
    fn irq_status<H: Interrupts<Lock = L>>(&self, host: &H, pirq: u32) -> Result<u32, PirqError> {
        if !self.pirqs.has(pirq) {
            return Err(PirqError::NoPirq(self.id, i32::try_from(pirq).unwrap_or(i32::MAX)));
        }
        match self.pirqs.mapping(pirq) {
            Mapping::Irq(irq) if host.is_shared(irq) => Ok(IRQ_STATUS_NEEDS_EOI | IRQ_STATUS_SHARED),
            Mapping::Irq(_) => Ok(IRQ_STATUS_NEEDS_EOI),
            _ if self.kind != DomainKind::Pv && self.pirqs.usage(pirq) == Use::None => {
                Err(PirqError::NotMapped(self.id, pirq))
            }
            Mapping::None | Mapping::Reserved | Mapping::Dying(_) => Ok(IRQ_STATUS_NEEDS_EOI),
        }
    }

    /// The guest ends an interrupt: its port is unmasked if it asked for that, what is behind it acknowledged, and a
    /// level-triggered line of an emulated device that is still asserted happens again.
    fn end_pirq<H: Interrupts<Lock = L>>(&self, host: &H, pirq: u32) -> Result<(), PirqError> {
        self.pirq_eoi(host, pirq)?;
        let is_real = matches!(self.pirqs.mapping(pirq), Mapping::Irq(_));
        if self.kind == DomainKind::Pv || is_real {
            host.act(Action::AcknowledgePirq { domain: self.id, pirq });
        }
        if let Use::Line(line) = self.pirqs.usage(pirq)
            && line >= FIRST_LEVEL_LINE
            && host.is_line_asserted(self.id, line)
        {
            self.send_pirq(host, pirq);
        }
        Ok(())
    }
}
