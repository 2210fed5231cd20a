//! Mapping the messages of a device (`map_domain_pirq`, `allocate_and_map_msi_pirq`; `xen/arch/x86/irq.c`).

use alloc::vec::Vec;

use hypervisor_abi::physdev::MAP_PIRQ_TYPE_MSI;
use hypervisor_abi::physdev::MAP_PIRQ_TYPE_MULTI_MSI;
use hypervisor_abi::physdev::MapPirq;
use lock_api::RawMutex;

use super::Interrupts;
use super::Mapping;
use super::MessageError;
use super::MessageSource;
use super::Permission;
use super::PirqError;
use super::map::Change;
use super::records::Block;
use super::records::as_argument;
use crate::event::domain::Domain;
use crate::event::domain::Structure;

/// The most messages an MSI capability has (PCI Local Bus Specification 3.0, 6.8.1.3).
const MAX_MESSAGES: u32 = 32;

/// What a mapping that fails half-way has to take back.
#[derive(Debug, Default)]
struct Begun {
    granted: Vec<u32>,
    created: Vec<u32>,
    /// Number, and what was behind it before.
    mapped: Vec<(u32, Mapping)>,
}

impl<L: RawMutex> Domain<L> {
    pub(super) fn map_messages<H: Interrupts<Lock = L>>(
        &self,
        host: &H,
        caller: &Self,
        arg: &mut MapPirq,
    ) -> Result<(), PirqError> {
        let count = if arg.kind == MAP_PIRQ_TYPE_MULTI_MSI { message_count(host, arg.entry_nr)? } else { 1 };
        let [bus, _, high @ ..] = arg.bus.to_le_bytes();
        let [devfn, ..] = arg.devfn.to_le_bytes();
        let segment = if arg.kind == MAP_PIRQ_TYPE_MSI { 0 } else { u16::from_le_bytes(high) };
        let entry = if arg.table_base == 0 { 0 } else { arg.entry_nr.unsigned_abs() };
        let source = MessageSource { segment, bus, devfn, entry, table_base: arg.table_base };
        let is_created = arg.kind == MAP_PIRQ_TYPE_MULTI_MSI || arg.index == -1;
        let irq = if is_created { host.create_irq(caller.id) } else { u32::try_from(arg.index).ok() };
        let irq = irq.ok_or(PirqError::NoIrq(arg.index))?;
        let result = self.map_block(host, caller, arg, irq, Block { source, count });
        if is_created && result != Ok(Change::Done) {
            host.destroy_irq(irq);
        }
        result.map(|_| ())
    }

    fn map_block<H: Interrupts<Lock = L>>(
        &self,
        host: &H,
        caller: &Self,
        arg: &mut MapPirq,
        irq: u32,
        block: Block,
    ) -> Result<Change, PirqError> {
        if !(host.lines()..host.irqs()).contains(&irq) {
            return Err(PirqError::NoIrq(arg.index));
        }
        let mut structure = self.lock_alive()?;
        let pirq = self.choose_pirq(&structure, arg.pirq, irq, || match block.count {
            1 => self.find_free_pirq(host, MAP_PIRQ_TYPE_MSI),
            length => self.find_free_block(host, length).ok_or_else(|| {
                // What would fit, so that the caller can ask again.
                let halves = (0..length.ilog2()).rev().map(|bits| 1 << bits);
                let fits = halves.into_iter().find(|length| self.find_free_block(host, *length).is_some());
                arg.entry_nr = as_argument(fits.unwrap_or(0));
                PirqError::NoFree(self.id)
            }),
        })?;
        if self.check_mapping(host, caller, pirq, irq)? == Change::None {
            arg.pirq = as_argument(pirq);
            return Ok(Change::None);
        }
        if let Some(other) = (pirq + 1..pirq.saturating_add(block.count)).find(|other| !self.may_be_behind(*other)) {
            return Err(PirqError::NoPirq(self.id, as_argument(other)));
        }
        let mut begun = Begun::default();
        let result = self.enable_block(host, caller, &mut structure, (pirq, irq), block, &mut begun);
        if let Err(error) = result {
            if let PirqError::TooMany(most) = error {
                arg.entry_nr = as_argument(most);
            }
            self.take_back(host, &mut structure, begun);
            return Err(error);
        }
        structure.pirqs.blocks.insert(pirq, block);
        arg.pirq = as_argument(pirq);
        if arg.kind == MAP_PIRQ_TYPE_MULTI_MSI {
            arg.entry_nr = as_argument(block.count);
        }
        Ok(Change::Done)
    }

    /// Switches messages on and maps each. What was done of it is in `begun`, also when it fails.
    fn enable_block<H: Interrupts<Lock = L>>(
        &self,
        host: &H,
        caller: &Self,
        structure: &mut Structure,
        (pirq, irq): (u32, u32),
        block: Block,
        begun: &mut Begun,
    ) -> Result<(), PirqError> {
        let refused = |irq, reason| PirqError::Refused { irq, reason };
        let grant = |irq, begun: &mut Begun| {
            self.grant(host, irq).map(|change| {
                if change == Change::Done {
                    begun.granted.push(irq);
                }
            })
        };
        grant(irq, begun)?;
        host.enable_messages(self.id, block.source, block.count).map_err(|error| match error {
            MessageError::TooMany(most) => PirqError::TooMany(most),
            MessageError::Refused(reason) => refused(irq, reason),
        })?;
        let programmed = (0..block.count).try_for_each(|index| {
            let irq = if index == 0 {
                irq
            } else {
                let created = host.create_irq(caller.id).ok_or(PirqError::NoIrq(-1))?;
                begun.created.push(created);
                grant(created, begun)?;
                created
            };
            host.program_message(irq, block.source, index).map_err(|reason| refused(irq, reason))?;
            begun.mapped.push((pirq + index, self.pirqs.mapping(pirq + index)));
            self.set_behind(structure, pirq + index, Mapping::Irq(irq));
            Ok(())
        });
        programmed.inspect_err(|_| host.disable_messages(block.source))
    }

    /// Takes back what a mapping that failed had done, each thing once.
    fn take_back<H: Interrupts<Lock = L>>(&self, host: &H, structure: &mut Structure, begun: Begun) {
        for (pirq, before) in begun.mapped.into_iter().rev() {
            self.set_behind(structure, pirq, before);
        }
        for irq in begun.granted.into_iter().rev() {
            // The error that stopped the mapping is the one to tell.
            let _: Result<(), _> = host.permit_irq(self.id, irq, Permission::Revoked);
        }
        begun.created.into_iter().rev().for_each(|irq| host.destroy_irq(irq));
    }
}

/// How many messages a caller gets who asks for so many.
fn message_count<H: Interrupts>(host: &H, wanted: i32) -> Result<u32, PirqError> {
    let count = u32::try_from(wanted).ok().filter(|count| (1..=MAX_MESSAGES).contains(count));
    let count = count.ok_or(PirqError::Count(wanted))?;
    if count != 1 && !host.remaps_interrupts() {
        return Err(PirqError::NoRemapping);
    }
    Ok(count.next_power_of_two())
}
