//! Intel's IOMMU in the machine: the table that [`VtdTable`] writes and [`Vtd`] reads.

use alloc::boxed::Box;
use alloc::vec;
use core::cell::Cell;
use core::cell::RefCell;

use hypervisor_abi::apic::ApicId;
use hypervisor_abi::apic::ApicMode;
use hypervisor_abi::apic::MsiAddress;
use hypervisor_abi::posted::PostedDestination;
use hypervisor_abi::vtd::Capabilities;
use hypervisor_abi::vtd::DescriptorAddress;
use hypervisor_abi::vtd::EntryInvalidation;
use hypervisor_abi::vtd::ExtendedCapabilities;
use hypervisor_abi::vtd::Irte;
use hypervisor_lib::delivery::avic::IrteIndex;
use hypervisor_lib::delivery::posted::Urgency;
use hypervisor_lib::remapping::Delivery;
use hypervisor_lib::remapping::EntryStore;
use hypervisor_lib::remapping::PhantomFunctions;
use hypervisor_lib::remapping::RemappingAction;
use hypervisor_lib::remapping::RemappingHost;
use hypervisor_lib::remapping::RequesterId;
use hypervisor_lib::remapping::Sender;
use hypervisor_lib::remapping::SourceCheck;
use hypervisor_lib::remapping::VtdTable;
use hypervisor_lib::remapping::VtdUnit;
use hypervisor_lib::remapping::WidestStore;

use super::Function;
use super::Meaning;
use super::TooManyMessages;
use super::descriptor_address;
use crate::Interconnect;
use crate::iommu::Report;
use crate::iommu::Request;
use crate::iommu::Vtd;
use crate::iommu::VtdFault;
use crate::iommu::VtdMemory;
use crate::iommu::VtdRegisters;

/// Where the table is in physical memory: above what processors read.
const TABLE: u64 = 1 << 46;

/// What the unit and the processors beside it can do.
const UNIT: VtdUnit = VtdUnit {
    capabilities: Capabilities::new().with_posts(true),
    extended: ExtendedCapabilities::new()
        .with_queues_invalidations(true)
        .with_remaps(true)
        .with_extended_interrupt_mode(true),
    store: WidestStore::Bits128,
};

/// The unit, its table, and the hypervisor's book of it.
#[derive(Debug)]
pub(in crate::apic) struct Intel {
    unit: RefCell<Vtd>,
    book: RefCell<VtdTable>,
    table: Box<[Cell<Irte>]>,
    /// The entry of each function's first message.
    first: Box<[u16]>,
}

impl Intel {
    /// A unit with a table for these functions' messages.
    pub(super) fn new(functions: &[Function]) -> Result<Self, TooManyMessages> {
        let sizes = functions.iter().map(|function| u32::from(function.entries()));
        // A block begins at a multiple of its size, and leaves before it what smaller ones later fill.
        let entries = sizes.clone().sum::<u32>() + sizes.max().unwrap_or(0);
        let entries = u16::try_from(entries).map_err(|_| TooManyMessages)?;
        let mut book = VtdTable::new(UNIT, entries).map_err(|_| TooManyMessages)?;
        let mut claim = |(requester, function): (u16, &Function)| {
            let sender = Sender::Express { function: RequesterId(requester), phantoms: PhantomFunctions::None };
            let check = SourceCheck::of(sender).map_err(|_| TooManyMessages)?;
            book.claim(function.owner, check, function.messages).map_err(|_| TooManyMessages)
        };
        let first = (0u16..).zip(functions).map(&mut claim).collect::<Result<_, _>>()?;
        let registers = VtdRegisters::new(TABLE, size(entries), ApicMode::X2Apic);
        let table = vec![Cell::new(Irte::ABSENT); usize::from(entries)].into_boxed_slice();
        Ok(Self { unit: RefCell::new(Vtd::new(registers)), book: RefCell::new(book), table, first })
    }

    fn index(&self, message: IrteIndex) -> u16 {
        self.first[usize::from(message.device)] + message.index
    }

    /// Has the library write a message's entry.
    pub(super) fn write(&self, message: IrteIndex, meaning: Meaning) {
        let delivery = match meaning {
            Meaning::Host { vector, cpu, trigger } => {
                let destination = PostedDestination::new(ApicId(cpu.0), ApicMode::X2Apic);
                Delivery::Host { vector, destination, trigger }
            }
            Meaning::Vcpu { vector, slot, engine } => {
                // Descriptors lie at multiples of their size.
                let Ok(descriptor) = DescriptorAddress::new(descriptor_address(slot)) else { return };
                Delivery::Vcpu { vector, descriptor, urgency: Urgency::Ordinary, engine }
            }
        };
        let written = self.book.borrow_mut().deliver(self.index(message), delivery, self);
        debug_assert_eq!(written, Ok(()), "{message}");
    }

    /// A function writes a message: what becomes of it.
    pub(super) fn receive(
        &self,
        message: IrteIndex,
        memory: &impl VtdMemory,
        interconnect: &mut impl Interconnect,
    ) -> Result<(), (VtdFault, Report)> {
        let address = MsiAddress::of_entry(self.index(message));
        let request = Request { address, data: 0, requester: message.device };
        self.unit.borrow_mut().request(request, memory, interconnect)
    }

    /// The entry at a physical address.
    pub(super) fn entry(&self, address: u64) -> Option<Irte> {
        let index = usize::try_from(address.checked_sub(TABLE)? / 16).ok()?;
        self.table.get(index).map(Cell::get)
    }
}

/// S of a table of at least so many entries: it has 2 to the power of S + 1.
const fn size(entries: u16) -> u8 {
    match entries.checked_next_power_of_two() {
        Some(entries) if entries <= 2 => 0,
        Some(entries) => entries.trailing_zeros().to_le_bytes()[0] - 1,
        None => 15,
    }
}

impl RemappingHost for Intel {
    fn act(&self, action: RemappingAction) {
        match action {
            RemappingAction::Store(index, store) => {
                let cell = &self.table[usize::from(index)];
                let entry = cell.get();
                cell.set(match store {
                    EntryStore::Low(low) => Irte { low, ..entry },
                    EntryStore::High(high) => Irte { high, ..entry },
                    EntryStore::Whole { from, to } => {
                        debug_assert_eq!(entry, from, "somebody else writes to entry {index}");
                        to
                    }
                });
            }
            RemappingAction::Invalidate(index) => {
                let request = EntryInvalidation::new().with_is_selective(true).with_index(index);
                self.unit.borrow_mut().invalidate(request);
            }
            // Every request that has begun is over.
            RemappingAction::AwaitInvalidation => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::size;

    #[test]
    fn a_tables_size_is_the_smallest_that_holds_its_entries() {
        for entries in 1..=u16::MAX {
            let holds = |size: u8| 2u32 << size >= u32::from(entries);
            let size = size(entries);
            assert!(holds(size) && (size == 0 || !holds(size - 1)), "{entries} entries, size {size}");
        }
    }
}
