//! Passing a device's interrupt through to a guest with interrupt controllers of its own (`XEN_DOMCTL_bind_pt_irq`,
//! `XEN_DOMCTL_unbind_pt_irq`; `xen/drivers/passthrough/x86/hvm.c`, `xen/arch/x86/domctl.c`).
//!
//! | type | the device sends | the guest sees | as an event, where it uses the pirq |
//! |---|---|---|---|
//! | MSI | a message | a message: a vector of its local APICs | instead |
//! | MSI translate | a message | a pin of a PCI slot; the message is acknowledged at once | beside |
//! | PCI | a line | a pin of a PCI slot; the line is acknowledged with the guest's EOI | beside |
//! | ISA | – | refused | – |

use alloc::vec;
use alloc::vec::Vec;

use hypervisor_abi::DomainId;
use hypervisor_abi::domctl::BindPtIrq;
use hypervisor_abi::domctl::GuestMessageFlags;
use hypervisor_abi::domctl::PT_IRQ_TYPE_MSI;
use hypervisor_abi::domctl::PT_IRQ_TYPE_MSI_TRANSLATE;
use hypervisor_abi::domctl::PT_IRQ_TYPE_PCI;
use lock_api::RawMutex;

use super::Interrupts;
use super::Mapping;
use super::PirqError;
use crate::event::domain::Domain;
use crate::event::domain::Structure;
use crate::event::host::Action;
use crate::event::host::MaskState;
use crate::event::host::Sharing;
use crate::fabric::DomainKind;

/// What a passed-through interrupt is in the guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Assignment {
    /// A message of the device is one in the guest.
    Message(GuestMessage),
    /// A message of the device is a pin's line in the guest.
    TranslatedMessage(GuestPin),
    /// A line of the device is a pin's line in the guest.
    Line(GuestPin),
}

/// A message as the guest sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct GuestMessage {
    /// The vector.
    pub vector: u8,
    /// How it is delivered, without the request to unmask it.
    pub flags: GuestMessageFlags,
}

/// A pin of a PCI slot of the guest's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct GuestPin {
    /// The bus.
    pub bus: u8,
    /// The slot, 0–31.
    pub device: u8,
    /// The pin: 0 is INTA.
    pub intx: u8,
}

impl GuestPin {
    /// The line of the guest's IO-APIC the pin is wired to (`hvm_pci_intx_gsi`, `xen/arch/x86/include/asm/hvm/irq.h`).
    #[must_use]
    pub const fn line(self) -> u8 {
        (self.device.wrapping_shl(2).wrapping_add(self.device >> 3).wrapping_add(self.intx) & 31) + 16
    }

    /// The link of the PCI-to-ISA bridge the pin is wired to (`hvm_pci_intx_link`).
    #[must_use]
    pub const fn link(self) -> u8 {
        self.device.wrapping_add(self.intx) & 3
    }

    const fn is_there(self) -> bool {
        self.device < 32 && self.intx < 4
    }
}

impl TryFrom<BindPtIrq> for Assignment {
    type Error = PirqError;

    fn try_from(arg: BindPtIrq) -> Result<Self, PirqError> {
        let pin = GuestPin { bus: arg.first, device: arg.device, intx: arg.intx };
        let checked = |pin: GuestPin| match pin.is_there() {
            true => Ok(pin),
            false => Err(PirqError::NoPin { device: pin.device, intx: pin.intx }),
        };
        match arg.irq_type {
            PT_IRQ_TYPE_MSI => {
                let flags = GuestMessageFlags::from(arg.gflags).with_unmasked(false);
                Ok(Self::Message(GuestMessage { vector: arg.first, flags }))
            }
            PT_IRQ_TYPE_MSI_TRANSLATE => checked(pin).map(Self::TranslatedMessage),
            PT_IRQ_TYPE_PCI => checked(pin).map(Self::Line),
            kind => Err(PirqError::Type(kind)),
        }
    }
}

/// What is passed through under one number.
#[derive(Clone, Debug)]
pub(crate) enum Assigned {
    Message(GuestMessage),
    Pins {
        /// Whether the device sends a message.
        by_message: ByMessage,
        pins: Vec<GuestPin>,
        /// How many assertions the guest has not ended yet.
        unended: u32,
    },
}

/// Whether a device whose interrupt is a pin's line in the guest sends a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ByMessage {
    Yes,
    No,
}

impl Assigned {
    fn new(assignment: Assignment) -> Self {
        let pins = |pin, by_message| Self::Pins { by_message, pins: vec![pin], unended: 0 };
        match assignment {
            Assignment::Message(message) => Self::Message(message),
            Assignment::TranslatedMessage(pin) => pins(pin, ByMessage::Yes),
            Assignment::Line(pin) => pins(pin, ByMessage::No),
        }
    }

    /// Whether it drives a line of the guest's.
    pub(crate) fn drives(&self, line: u8) -> bool {
        match self {
            Self::Message(_) => false,
            Self::Pins { pins, .. } => pins.iter().any(|pin| pin.line() == line),
        }
    }
}

impl<L: RawMutex> Domain<L> {
    /// Passes a physical IRQ of `target`'s through (`XEN_DOMCTL_bind_pt_irq`). A number can drive several pins, and a
    /// message be changed; the rest of an old message is then acknowledged first.
    ///
    /// # Errors
    /// No such domain; no power over it; it is paravirtual; the number is not mapped, or the caller may not use what is
    /// behind it; no IOMMU; a type that cannot be passed through, or no such pin; passed through as something else; the host
    /// refused. In this order.
    pub fn assign_pirq<H: Interrupts<Lock = L>>(
        &self,
        host: &H,
        target: DomainId,
        arg: BindPtIrq,
    ) -> Result<(), PirqError> {
        let target = self.assignment_target(host, target, arg.machine_irq)?;
        let pirq = arg.machine_irq;
        let assignment = Assignment::try_from(arg)?;
        let mut structure = target.lock_alive()?;
        target.assign(host, &mut structure, pirq, assignment)?;
        if let Assignment::Message(_) = assignment
            && GuestMessageFlags::from(arg.gflags).unmasked()
        {
            host.act(Action::MaskMessage { domain: target.id, pirq, state: MaskState::Open });
        }
        Ok(())
    }

    fn assignment_target<'h, H: Interrupts<Lock = L>>(
        &'h self,
        host: &'h H,
        target: DomainId,
        pirq: u32,
    ) -> Result<&'h Self, PirqError> {
        let target = self.pirq_target(host, target)?;
        self.may_drive(target.id)?;
        if target.kind == DomainKind::Pv {
            return Err(PirqError::Paravirtual(target.id));
        }
        let Mapping::Irq(irq) = target.pirqs.mapping(pirq) else { return Err(PirqError::IrqDenied(self.id, pirq)) };
        if !host.may_use_irq(self.id, irq) {
            return Err(PirqError::IrqDenied(self.id, irq));
        }
        if host.has_iommu(target.id) { Ok(target) } else { Err(PirqError::NoIommu(target.id)) }
    }

    fn assign<H: Interrupts<Lock = L>>(
        &self,
        host: &H,
        structure: &mut Structure,
        pirq: u32,
        assignment: Assignment,
    ) -> Result<(), PirqError> {
        let is_translated = matches!(assignment, Assignment::TranslatedMessage(_));
        match (structure.pirqs.assigned.get_mut(&pirq), assignment) {
            (None, _) => {
                let sharing = if let Assignment::Line(_) = assignment { Sharing::Shared } else { Sharing::Exclusive };
                let taken = host.bind_pirq(self.id, pirq, sharing);
                taken.map_err(|reason| PirqError::Refused { irq: pirq, reason })?;
                structure.pirqs.assigned.insert(pirq, Assigned::new(assignment));
            }
            (Some(Assigned::Message(old)), Assignment::Message(new)) => {
                if *old != new {
                    host.act(Action::AcknowledgePirq { domain: self.id, pirq });
                    *old = new;
                }
            }
            (
                Some(Assigned::Pins { by_message, pins, .. }),
                Assignment::Line(pin) | Assignment::TranslatedMessage(pin),
            ) if is_translated == (*by_message == ByMessage::Yes) => {
                if !pins.contains(&pin) {
                    pins.push(pin);
                }
            }
            (Some(_), _) => return Err(PirqError::OtherAssignment(self.id, pirq)),
        }
        Ok(())
    }

    /// Ends that (`XEN_DOMCTL_unbind_pt_irq`). A message is left masked, as a new one is found.
    ///
    /// # Errors
    /// As [`assign_pirq`](Self::assign_pirq); not passed through so.
    pub fn unassign_pirq<H: Interrupts<Lock = L>>(
        &self,
        host: &H,
        target: DomainId,
        arg: BindPtIrq,
    ) -> Result<(), PirqError> {
        let target = self.assignment_target(host, target, arg.machine_irq)?;
        let pirq = arg.machine_irq;
        let assignment = Assignment::try_from(arg)?;
        let mut structure = target.lock();
        let not_assigned = PirqError::NotAssigned(target.id, pirq);
        match (structure.pirqs.assigned.get_mut(&pirq), assignment) {
            (Some(Assigned::Message(_)), Assignment::Message(_)) => {
                host.act(Action::MaskMessage { domain: target.id, pirq, state: MaskState::Masked });
            }
            (Some(Assigned::Pins { pins, .. }), Assignment::Line(pin) | Assignment::TranslatedMessage(pin)) => {
                let place = pins.iter().position(|other| *other == pin).ok_or(not_assigned)?;
                pins.remove(place);
                if !pins.is_empty() {
                    return Ok(());
                }
            }
            _ => return Err(not_assigned),
        }
        structure.pirqs.assigned.remove(&pirq);
        target.let_go(host, &mut structure, pirq);
        Ok(())
    }

    /// What a physical IRQ is passed through as: a message, or the pins.
    pub fn pirq_assignments(&self, pirq: u32) -> Vec<Assignment> {
        match self.lock().pirqs.assigned.get(&pirq) {
            None => Vec::new(),
            Some(Assigned::Message(message)) => vec![Assignment::Message(*message)],
            Some(Assigned::Pins { by_message: ByMessage::Yes, pins, .. }) => {
                pins.iter().copied().map(Assignment::TranslatedMessage).collect()
            }
            Some(Assigned::Pins { by_message: ByMessage::No, pins, .. }) => {
                pins.iter().copied().map(Assignment::Line).collect()
            }
        }
    }
}
