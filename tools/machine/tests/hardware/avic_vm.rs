//! A VM under AVIC, as its hypervisor keeps it: the memory that the models look into.

use std::cell::RefCell;

use carillon_machine::svm::AvicMemory;
use carillon_machine::svm::BackingPages;
use carillon_machine::svm::Guest;
use carillon_machine::svm::NestedPaging;
use carillon_machine::svm::Processor;
use carillon_machine::svm::Vmcb;
use hypervisor_abi::apic::ApicId;
use hypervisor_abi::apic::ApicRegister;
use hypervisor_abi::apic::DestinationMode;
use hypervisor_abi::apic::Icr;
use hypervisor_abi::apic::Shorthand;
use hypervisor_abi::apic::logical_x2apic_id;
use hypervisor_abi::avic::BackingPage;
use hypervisor_abi::avic::HostApicId;
use hypervisor_abi::avic::InterruptControl;
use hypervisor_abi::avic::LogicalCell;
use hypervisor_abi::avic::PhysicalCell;
use hypervisor_abi::avic::PhysicalTablePointer;
use hypervisor_abi::sync::Ordering;
use hypervisor_lib::delivery::avic::Action;
use hypervisor_lib::delivery::avic::Host;
use hypervisor_lib::delivery::avic::IpiVirtualization;
use hypervisor_lib::delivery::avic::LogicalIds;
use hypervisor_lib::delivery::avic::LogicalMember;
use hypervisor_lib::delivery::avic::LogicalModel;
use hypervisor_lib::delivery::avic::LogicalTable;
use hypervisor_lib::delivery::avic::Mode;
use hypervisor_lib::delivery::avic::PhysicalTable;
use hypervisor_lib::delivery::avic::X2AvicReach;

const PHYSICAL: u64 = 0x10_0000;
/// Where the logical table is.
pub(crate) const LOGICAL: u64 = 0x20_0000;
const FIRST_FRAME: u64 = 0x1000;

/// How a VM's vCPUs are addressed logically.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Addressing {
    /// xAPIC, by a table.
    Table(LogicalModel),
    /// x2APIC, by their numbers.
    Derived,
}

/// Pages and tables.
pub(crate) struct Memory {
    addressing: Addressing,
    /// The vCPUs there are, ascending.
    pub(crate) ids: Vec<u32>,
    physical: Vec<PhysicalCell>,
    residence: Vec<PhysicalCell>,
    logical: [LogicalCell; 64],
    pages: Vec<BackingPage>,
}

impl Memory {
    /// Memory of a VM with these vCPUs, in a table of so many entries.
    pub(crate) fn new(addressing: Addressing, ids: Vec<u32>, entries: usize) -> Self {
        let cells = || (0..entries).map(|_| PhysicalCell::default()).collect();
        let pages: Vec<BackingPage> = ids.iter().map(|_| BackingPage::default()).collect();
        for (position, (id, page)) in ids.iter().zip(&pages).enumerate() {
            let store = |register, value: u32| page.register(register).store(value, Ordering::Relaxed);
            let logical = match addressing {
                Addressing::Table(LogicalModel::Flat) if position < 8 => 1 << position,
                Addressing::Table(LogicalModel::Cluster) if position < 60 => {
                    (position % 15) << 4 | 1 << (position / 15)
                }
                _ => 0,
            };
            match addressing {
                Addressing::Table(model) => {
                    store(ApicRegister::Id, id << 24);
                    store(ApicRegister::LogicalDestination, u32::try_from(logical).expect("8 bits") << 24);
                    let format = if model == LogicalModel::Flat { u32::MAX } else { 0x0fff_ffff };
                    store(ApicRegister::DestinationFormat, format);
                }
                Addressing::Derived => {
                    store(ApicRegister::Id, *id);
                    store(ApicRegister::LogicalDestination, logical_x2apic_id(ApicId(*id)));
                }
            }
        }
        let logical = std::array::from_fn(|_| LogicalCell::default());
        let (physical, residence) = (cells(), cells());
        Self { addressing, ids, physical, residence, logical, pages }
    }

    /// The hypervisor's tables over it. `ringer` decides who rings.
    pub(crate) fn tables(&self, ringer: Ringer) -> (PhysicalTable<'_>, LogicalIds<'_>) {
        let mode = self.mode();
        let ipis = match ringer {
            Ringer::Processor => IpiVirtualization::On,
            Ringer::Hypervisor => IpiVirtualization::Off { residence: &self.residence },
        };
        let table = PhysicalTable::new(mode, X2AvicReach::Extended, &self.physical, ipis).expect("not too many");
        for (id, frame) in self.ids.iter().zip(FIRST_FRAME..) {
            table.insert(ApicId(*id), frame).expect("room");
        }
        let logical = match self.addressing {
            Addressing::Table(model) => {
                let table = LogicalTable::new(&self.logical);
                let members = self.ids.iter().zip(&self.pages).map(|(id, page)| LogicalMember::of(ApicId(*id), page));
                table.rebuild(members).expect("no aliases");
                LogicalIds::Table(table, model)
            }
            Addressing::Derived => LogicalIds::Derived,
        };
        (table, logical)
    }

    fn mode(&self) -> Mode {
        if self.addressing == Addressing::Derived { Mode::X2Avic } else { Mode::XAvic }
    }

    /// The page of a vCPU.
    pub(crate) fn page(&self, id: u32) -> &BackingPage {
        let position = self.ids.iter().position(|known| *known == id).expect("it is there");
        &self.pages[position]
    }

    /// A vCPU as the processor sees it.
    pub(crate) fn guest(&self, processor: Processor) -> Guest {
        let control = InterruptControl::new().with_avic(true).with_x2avic(self.addressing == Addressing::Derived);
        let last = u16::try_from(self.physical.len() - 1).expect("not too many");
        let vmcb = Vmcb {
            control: control.with_masks_virtual_interrupts(true),
            logical_table: LOGICAL,
            physical_table: PhysicalTablePointer::new().with_frame(PHYSICAL >> 12).with_max_index(last),
            nested_paging: NestedPaging::On,
            ..Vmcb::default()
        };
        Guest::new(vmcb, processor)
    }

    /// The vCPUs that a command addresses, by the definition: each compares it with itself.
    pub(crate) fn addressed(&self, sender: u32, icr: Icr) -> Vec<u32> {
        let (destination, broadcast) = match self.addressing {
            Addressing::Table(_) => (icr.destination() >> 24, 0xff),
            Addressing::Derived => (icr.destination(), u32::MAX),
        };
        let is_for = |id: u32| match (icr.shorthand(), icr.destination_mode()) {
            (Shorthand::Myself, _) => id == sender,
            (Shorthand::All, _) => true,
            (Shorthand::Others, _) => id != sender,
            _ if destination == broadcast => true,
            (Shorthand::None, DestinationMode::Physical) => id == destination,
            (Shorthand::None, DestinationMode::Logical) => {
                let own = self.page(id).register(ApicRegister::LogicalDestination).load(Ordering::Relaxed);
                match self.addressing {
                    Addressing::Table(LogicalModel::Flat) => own >> 24 & destination != 0,
                    Addressing::Table(LogicalModel::Cluster) => {
                        own != 0 && own >> 28 == destination >> 4 && own >> 24 & destination & 0xf != 0
                    }
                    Addressing::Derived => own >> 16 == destination >> 16 && own & destination & 0xffff != 0,
                }
            }
        };
        self.ids.iter().copied().filter(|id| is_for(*id)).collect()
    }
}

impl BackingPages for Memory {
    fn backing_page(&self, frame: u64) -> Option<&BackingPage> {
        self.pages.get(usize::try_from(frame.checked_sub(FIRST_FRAME)?).ok()?)
    }
}

impl AvicMemory for Memory {
    fn physical_entry(&self, address: u64) -> Option<&PhysicalCell> {
        self.physical.get(usize::try_from(address.checked_sub(PHYSICAL)? / 8).ok()?)
    }

    fn logical_entry(&self, address: u64) -> Option<&LogicalCell> {
        self.logical.get(usize::try_from(address.checked_sub(LOGICAL)? / 4).ok()?)
    }
}

/// Who rings the doorbells of a command's targets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ringer {
    /// The processor of the sender.
    Processor,
    /// The hypervisor, because of erratum 1235.
    Hypervisor,
}

/// The processor that a vCPU runs on whenever it runs.
pub(crate) fn core_of(id: u32) -> HostApicId {
    HostApicId::new(0x400 + id % 0x400).expect("12 bits")
}

/// What the hypervisor was asked to do.
#[derive(Default)]
pub(crate) struct Log(pub(crate) RefCell<Vec<Action>>);

impl Host for Log {
    fn act(&self, action: Action) {
        self.0.borrow_mut().push(action);
    }
}
