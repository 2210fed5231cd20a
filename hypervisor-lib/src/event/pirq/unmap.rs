//! Taking numbers back (`PHYSDEVOP_unmap_pirq`; `xen/arch/x86/physdev.c`, `xen/arch/x86/irq.c`).

use hypervisor_abi::DomainId;
use lock_api::RawMutex;

use super::Interrupts;
use super::Mapping;
use super::Permission;
use super::PirqError;
use super::Use;
use crate::event::domain::Domain;
use crate::event::domain::Structure;
use crate::event::host::Action;
use crate::event::host::Host;
use crate::fabric::DomainKind;

impl<L: RawMutex> Domain<L> {
    /// Takes a number back (`PHYSDEVOP_unmap_pirq`). An HVM guest that names its own ends how it *uses* the number; what is
    /// behind it is not the guest's to take away.
    pub(super) fn unmap_pirq<H: Interrupts<Lock = L>>(
        &self,
        host: &H,
        named: DomainId,
        pirq: i32,
    ) -> Result<(), PirqError> {
        let target = self.pirq_target(host, named)?;
        let is_own = target.id == self.id && self.kind != DomainKind::Pv && host.offers_pirqs(self.id);
        if !is_own {
            self.may_drive(target.id)?;
        }
        let number = u32::try_from(pirq).ok().filter(|pirq| target.pirqs.has(*pirq));
        let mut structure = target.lock();
        if let Some(pirq) = number
            && host.offers_pirqs(target.id)
        {
            target.pirqs.set_usage(pirq, Use::None);
        }
        if is_own {
            return Ok(());
        }
        let pirq = number.ok_or(PirqError::NoPirq(target.id, pirq))?;
        target.take_away(host, &mut structure, pirq)
    }

    /// Takes away what is behind a number; all of a device's messages with the first (`unmap_domain_pirq`).
    pub(super) fn take_away<H: Interrupts<Lock = L>>(
        &self,
        host: &H,
        structure: &mut Structure,
        pirq: u32,
    ) -> Result<(), PirqError> {
        let Mapping::Irq(_) = self.pirqs.mapping(pirq) else { return Err(PirqError::NotMapped(self.id, pirq)) };
        let block = structure.pirqs.block_of(pirq);
        if block.is_some_and(|(first, _)| first != pirq) {
            return Err(PirqError::NotFirst(self.id, pirq));
        }
        let is_message = structure.pirqs.blocks.remove(&pirq).is_some();
        if let Some((_, block)) = block {
            host.disable_messages(block.source);
        }
        let mut result = Ok(());
        for pirq in pirq..pirq + block.map_or(1, |(_, block)| block.count) {
            let Mapping::Irq(irq) = self.pirqs.mapping(pirq) else { continue };
            if self.is_held(structure, pirq) {
                host.act(Action::UnbindPirq { domain: self.id, pirq });
                self.set_behind(structure, pirq, Mapping::Dying(irq));
            } else {
                self.set_behind(structure, pirq, Mapping::None);
            }
            if let Err(reason) = host.permit_irq(self.id, irq, Permission::Revoked) {
                result = Err(PirqError::Refused { irq, reason });
            }
            if is_message {
                host.destroy_irq(irq);
            }
        }
        result
    }

    /// Whether the hypervisor was asked to take the IRQ behind a number, and not yet to give it up.
    fn is_held(&self, structure: &Structure, pirq: u32) -> bool {
        match self.kind {
            DomainKind::Pv => self.pirqs.port(pirq).is_some(),
            DomainKind::Hvm | DomainKind::Pvh => structure.pirqs.assigned.contains_key(&pirq),
        }
    }

    /// Whoever bound the IRQ behind a number lets go of it: the hypervisor gives it up, unless it was taken away before, in
    /// which case the number becomes free (R-34: nothing is given up twice).
    pub(crate) fn let_go<H: Host<Lock = L>>(&self, host: &H, structure: &mut Structure, pirq: u32) {
        match self.pirqs.mapping(pirq) {
            Mapping::Dying(_) => self.set_behind(structure, pirq, Mapping::None),
            Mapping::None | Mapping::Reserved | Mapping::Irq(_) => {
                host.act(Action::UnbindPirq { domain: self.id, pirq });
            }
        }
    }

    /// Takes back everything about a domain's physical IRQs, before it is destroyed: what is passed through is given up
    /// (`arch_pci_clean_pirqs`), what is mapped unmapped (`free_domain_pirqs`).
    ///
    /// # Errors
    /// The host refused to revoke an IRQ; all others are taken back.
    pub fn release_pirqs<H: Interrupts<Lock = L>>(&self, host: &H) -> Result<(), PirqError> {
        let mut structure = self.lock();
        while let Some((pirq, _)) = structure.pirqs.assigned.pop_first() {
            self.let_go(host, &mut structure, pirq);
        }
        let mut result = Ok(());
        for pirq in 0..self.pirqs.count() {
            self.pirqs.set_usage(pirq, Use::None);
            match self.pirqs.mapping(pirq) {
                Mapping::None | Mapping::Dying(_) => {}
                Mapping::Reserved => self.pirqs.set_mapping(pirq, Mapping::None),
                Mapping::Irq(_) => result = self.take_away(host, &mut structure, pirq).and(result),
            }
        }
        result
    }
}
