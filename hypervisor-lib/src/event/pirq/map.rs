//! Giving host IRQs numbers of a domain's (`PHYSDEVOP_map_pirq`; `xen/arch/x86/physdev.c`, `xen/arch/x86/irq.c`).

use hypervisor_abi::DomainId;
use hypervisor_abi::physdev::MAP_PIRQ_TYPE_GSI;
use hypervisor_abi::physdev::MAP_PIRQ_TYPE_MSI;
use hypervisor_abi::physdev::MAP_PIRQ_TYPE_MSI_SEG;
use hypervisor_abi::physdev::MAP_PIRQ_TYPE_MULTI_MSI;
use hypervisor_abi::physdev::MapPirq;
use lock_api::RawMutex;

use super::Interrupts;
use super::Mapping;
use super::Permission;
use super::PirqError;
use super::Use;
use super::cells::GUEST_LINES;
use super::records::as_argument;
use crate::event::domain::Domain;
use crate::event::domain::Life;
use crate::event::domain::Privilege;
use crate::event::domain::Structure;
use crate::event::domain::StructureGuard;
use crate::event::error::EventError;
use crate::event::host::Host;
use crate::fabric::DomainKind;

/// Whether something that succeeded changed anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    Done,
    /// It was so already, or the number stands for something else: the caller is told that all is well, as Xen does.
    None,
}

impl<L: RawMutex> Domain<L> {
    /// Maps a physical IRQ (`PHYSDEVOP_map_pirq`) and fills in its number; for several messages also how many there are,
    /// which is rounded up to a power of two. An HVM guest maps its own lines, a control domain or a device model what is
    /// real.
    ///
    /// A number that stands for something else already stays as it is, and the call succeeds.
    ///
    /// # Errors
    /// [`PirqError`]. The argument is as it was, but for the number of messages, which is then one that might be had.
    pub(super) fn map_pirq<H: Interrupts<Lock = L>>(&self, host: &H, arg: &mut MapPirq) -> Result<(), PirqError> {
        if arg.kind == MAP_PIRQ_TYPE_MULTI_MSI && arg.table_base != 0 {
            return Err(PirqError::Kind(arg.kind));
        }
        let target = self.pirq_target(host, DomainId(arg.domid))?;
        if target.id == self.id && self.kind != DomainKind::Pv && host.offers_pirqs(self.id) {
            if !self.takes_events_by_vector() {
                return Err(PirqError::NoVector(self.id));
            }
            return self.map_own_line(host, arg);
        }
        self.may_drive(target.id)?;
        match arg.kind {
            MAP_PIRQ_TYPE_GSI => target.map_line(host, self, arg),
            MAP_PIRQ_TYPE_MSI | MAP_PIRQ_TYPE_MSI_SEG | MAP_PIRQ_TYPE_MULTI_MSI => target.map_messages(host, self, arg),
            kind => Err(PirqError::Kind(kind)),
        }
    }

    /// The domain of a number in a hypercall's argument.
    pub(super) fn pirq_target<'h, H: Host<Lock = L>>(
        &'h self,
        host: &'h H,
        named: DomainId,
    ) -> Result<&'h Self, PirqError> {
        let id = self.resolve(named);
        if id == self.id { Ok(self) } else { host.domain(id).ok_or(PirqError::NoDomain(id)) }
    }

    /// Whether the domain has power over another's hardware. Nobody has it over his own by that alone.
    pub(super) fn may_drive(&self, target: DomainId) -> Result<(), PirqError> {
        match self.privilege {
            Privilege::Control => Ok(()),
            Privilege::Over(client) if client == target => Ok(()),
            Privilege::Over(_) | Privilege::None => Err(PirqError::NotPermitted { caller: self.id, target }),
        }
    }

    pub(super) fn lock_alive(&self) -> Result<StructureGuard<'_, L>, PirqError> {
        let structure = self.lock();
        if structure.life == Life::Alive { Ok(structure) } else { Err(EventError::Dying(self.id).into()) }
    }

    /// An HVM guest maps a line of its own interrupt controllers: that of a passed-through device by the number it has
    /// already, that of an emulated one to a number of the guest's choice.
    fn map_own_line<H: Interrupts<Lock = L>>(&self, host: &H, arg: &mut MapPirq) -> Result<(), PirqError> {
        if arg.kind != MAP_PIRQ_TYPE_GSI {
            return Err(PirqError::Kind(arg.kind));
        }
        let line = u8::try_from(arg.index).ok().filter(|line| *line < GUEST_LINES);
        let line = line.ok_or(PirqError::NoLine(arg.index))?;
        let structure = self.lock_alive()?;
        let behind = structure.pirqs.assigned.iter().rev().find(|(_, assigned)| assigned.drives(line));
        if let Some((pirq, _)) = behind {
            if let Mapping::Irq(irq) = self.pirqs.mapping(*pirq) {
                arg.index = as_argument(irq);
            }
            arg.pirq = as_argument(*pirq);
            return Ok(());
        }
        let pirq = match u32::try_from(arg.pirq) {
            Ok(pirq) => pirq,
            // Xen takes its failure to find a number for the number.
            Err(_) => self.find_free_pirq(host, MAP_PIRQ_TYPE_GSI).map_err(|_| PirqError::NoPirq(self.id, arg.pirq))?,
        };
        self.use_pirq(&structure, pirq, Use::Line(line))?;
        arg.pirq = as_argument(pirq);
        Ok(())
    }

    /// The guest uses a number so from now on (`map_domain_emuirq_pirq`). The caller holds the event lock.
    pub(super) fn use_pirq(&self, _: &Structure, pirq: u32, usage: Use) -> Result<(), PirqError> {
        if self.kind == DomainKind::Pv {
            return Err(PirqError::Paravirtual(self.id));
        }
        if !self.pirqs.has(pirq) {
            return Err(PirqError::NoPirq(self.id, as_argument(pirq)));
        }
        let line_is_taken = match usage {
            Use::Line(line) => self.pirqs.of_line(line).is_some_and(|other| other != pirq),
            Use::None | Use::PassedThrough | Use::EmulatedMessage => false,
        };
        if self.pirqs.usage(pirq) == Use::None && !line_is_taken {
            self.pirqs.set_usage(pirq, usage);
        }
        Ok(())
    }

    fn map_line<H: Interrupts<Lock = L>>(&self, host: &H, caller: &Self, arg: &mut MapPirq) -> Result<(), PirqError> {
        let index = u32::try_from(arg.index).ok().filter(|index| *index < host.lines());
        let index = index.ok_or(PirqError::NoLine(arg.index))?;
        let irq = match caller.pirqs.mapping(index) {
            Mapping::Irq(irq) => irq,
            _ if host.virq_handlers().hardware_domain() == caller.id => index,
            Mapping::None | Mapping::Reserved | Mapping::Dying(_) => return Err(PirqError::NoIrq(arg.index)),
        };
        let mut structure = self.lock_alive()?;
        let pirq = self.choose_pirq(&structure, arg.pirq, irq, || self.find_free_pirq(host, MAP_PIRQ_TYPE_GSI))?;
        if self.check_mapping(host, caller, pirq, irq)? == Change::Done {
            self.grant(host, irq)?;
            self.set_behind(&mut structure, pirq, Mapping::Irq(irq));
        }
        arg.pirq = as_argument(pirq);
        Ok(())
    }

    /// Whether an IRQ may get a number (`map_domain_pirq`), and whether anything is left to do.
    pub(super) fn check_mapping<H: Interrupts<Lock = L>>(
        &self,
        host: &H,
        caller: &Self,
        pirq: u32,
        irq: u32,
    ) -> Result<Change, PirqError> {
        if !host.may_use_irq(caller.id, irq) {
            return Err(PirqError::IrqDenied(caller.id, irq));
        }
        if !self.pirqs.has(pirq) {
            return Err(PirqError::NoPirq(self.id, as_argument(pirq)));
        }
        // IRQ 0 is the hypervisor's timer, and stands for none.
        if irq == 0 || irq >= host.irqs() {
            return Err(PirqError::NoIrq(as_argument(irq)));
        }
        match self.pirqs.mapping(pirq) {
            Mapping::None | Mapping::Reserved => Ok(Change::Done),
            Mapping::Irq(_) => Ok(Change::None),
            Mapping::Dying(old) => Err(PirqError::StillBound(self.id, old)),
        }
    }

    /// Gives the domain an IRQ it does not have yet.
    pub(super) fn grant<H: Interrupts<Lock = L>>(&self, host: &H, irq: u32) -> Result<Change, PirqError> {
        if host.may_use_irq(self.id, irq) {
            return Ok(Change::None);
        }
        let granted = host.permit_irq(self.id, irq, Permission::Granted);
        granted.map_err(|reason| PirqError::Refused { irq, reason })?;
        Ok(Change::Done)
    }

    /// Lets a domain use an IRQ that the caller has mapped, or not any more (`XEN_DOMCTL_irq_permission`,
    /// `xen/common/domctl.c`). To use it, the domain has to have it mapped all the same.
    ///
    /// # Errors
    /// No such domain; the caller is no control domain; out of the caller's range; an IRQ the caller has not mapped or may
    /// not use; the host refused. In this order.
    pub fn permit_pirq<H: Interrupts<Lock = L>>(
        &self,
        host: &H,
        target: DomainId,
        pirq: u32,
        permission: Permission,
    ) -> Result<(), PirqError> {
        let target = self.pirq_target(host, target)?;
        if self.privilege != Privilege::Control {
            return Err(PirqError::NotPermitted { caller: self.id, target: target.id });
        }
        if !self.pirqs.has(pirq) {
            return Err(PirqError::NoPirq(self.id, as_argument(pirq)));
        }
        match self.pirqs.mapping(pirq) {
            Mapping::Irq(irq) if host.may_use_irq(self.id, irq) => {
                let result = host.permit_irq(target.id, irq, permission);
                result.map_err(|reason| PirqError::Refused { irq, reason })
            }
            _ => Err(PirqError::IrqDenied(self.id, pirq)),
        }
    }
}
