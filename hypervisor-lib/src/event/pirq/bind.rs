//! What opening and closing a port does to the physical IRQ it is bound to (`arch_evtchn_bind_pirq`,
//! `xen/arch/x86/irq.c`; `evtchn_close`, `xen/common/event_channel.c`).

use lock_api::RawMutex;

use super::Mapping;
use super::Use;
use crate::event::domain::Domain;
use crate::event::domain::Structure;
use crate::event::host::Action;
use crate::event::host::Host;
use crate::event::host::MaskState;
use crate::fabric::DomainKind;

impl<L: RawMutex> Domain<L> {
    /// A number with something real behind it has got a port: to an HVM guest it comes as an event now, unless the guest uses
    /// it otherwise; a message is unmasked on the guest's behalf.
    pub(crate) fn pirq_bound<H: Host<Lock = L>>(&self, host: &H, _: &Structure, pirq: u32) {
        if !matches!(self.pirqs.mapping(pirq), Mapping::Irq(_)) {
            return;
        }
        if self.kind != DomainKind::Pv && self.pirqs.usage(pirq) == Use::None {
            self.pirqs.set_usage(pirq, Use::PassedThrough);
        }
        host.act(Action::MaskMessage { domain: self.id, pirq, state: MaskState::Open });
    }

    /// A number has lost its port: a paravirtual domain lets go of what is behind it, an HVM guest gets what is passed
    /// through as a vector or a line again.
    pub(crate) fn pirq_unbound<H: Host<Lock = L>>(&self, host: &H, structure: &mut Structure, pirq: u32) {
        if self.kind == DomainKind::Pv {
            self.let_go(host, structure, pirq);
        } else if matches!(self.pirqs.mapping(pirq), Mapping::Irq(_)) {
            self.pirqs.set_usage(pirq, Use::None);
        }
    }
}
