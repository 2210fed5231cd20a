//! A VM, what its processor does with a command (APM vol. 2, 15.29.6.1), and a hypervisor that notes what it is asked for.

use std::array;
use std::cell::Cell;
use std::sync::Mutex;
use std::sync::PoisonError;

use hypervisor_abi::apic::ApicId;
use hypervisor_abi::apic::DeliveryMode;
use hypervisor_abi::apic::DestinationMode;
use hypervisor_abi::apic::Icr;
use hypervisor_abi::apic::Shorthand;
use hypervisor_abi::apic::TriggerMode;
use hypervisor_abi::avic::BackingPage;
use hypervisor_abi::avic::HostApicId;
use hypervisor_abi::avic::IncompleteIpi;
use hypervisor_abi::avic::LOGICAL_TABLE_ENTRIES;
use hypervisor_abi::avic::LogicalCell;
use hypervisor_abi::avic::LogicalEntry;
use hypervisor_abi::avic::PhysicalCell;
use hypervisor_abi::avic::PhysicalEntry;
use hypervisor_abi::avic::VectorBits;
use hypervisor_abi::sync::Ordering;
use hypervisor_lib::delivery::avic::Action;
use hypervisor_lib::delivery::avic::EntryCell;
use hypervisor_lib::delivery::avic::Host;
use hypervisor_lib::delivery::avic::IpiVirtualization;
use hypervisor_lib::delivery::avic::LogicalIds;
use hypervisor_lib::delivery::avic::LogicalModel;
use hypervisor_lib::delivery::avic::LogicalTable;
use hypervisor_lib::delivery::avic::Mode;
use hypervisor_lib::delivery::avic::PhysicalTable;
use hypervisor_lib::delivery::avic::X2AvicReach;

/// Notes what it is asked for.
#[derive(Debug, Default)]
pub(crate) struct Log(Mutex<Vec<Action>>);

impl Log {
    pub(crate) fn take(&self) -> Vec<Action> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Host for Log {
    fn act(&self, action: Action) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(action);
    }
}

/// Counts the looks at an entry, and the atomic operations on it.
#[derive(Default)]
pub(crate) struct Counted {
    cell: PhysicalCell,
    pub(crate) looked: Cell<usize>,
    pub(crate) replaced: Cell<usize>,
}

impl EntryCell for Counted {
    fn load(&self) -> PhysicalEntry {
        self.looked.set(self.looked.get() + 1);
        self.cell.load()
    }

    fn replace(&self, entry: PhysicalEntry) {
        self.replaced.set(self.replaced.get() + 1);
        self.cell.replace(entry);
    }
}

/// Who rings the doorbells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Doorbells {
    Processor,
    Hypervisor,
}

pub(crate) struct Vm {
    pub(crate) mode: Mode,
    doorbells: Doorbells,
    cells: Vec<PhysicalCell>,
    residence: Vec<PhysicalCell>,
    logical: [LogicalCell; LOGICAL_TABLE_ENTRIES],
    pub(crate) pages: Vec<BackingPage>,
}

impl Vm {
    pub(crate) fn new(mode: Mode, doorbells: Doorbells, capacity: usize) -> Self {
        let cells = || (0..capacity).map(|_| PhysicalCell::default()).collect();
        let pages = (0..capacity).map(|_| BackingPage::default()).collect();
        let logical = array::from_fn(|_| LogicalCell::default());
        Self { mode, doorbells, cells: cells(), residence: cells(), logical, pages }
    }

    pub(crate) fn table(&self) -> PhysicalTable<'_> {
        let ipis = match self.doorbells {
            Doorbells::Processor => IpiVirtualization::On,
            Doorbells::Hypervisor => IpiVirtualization::Off { residence: &self.residence },
        };
        PhysicalTable::new(self.mode, X2AvicReach::Standard, &self.cells, ipis).expect("a size the mode takes")
    }

    pub(crate) fn logical_table(&self) -> LogicalTable<'_> {
        LogicalTable::new(&self.logical)
    }

    pub(crate) fn logical(&self) -> LogicalIds<'_> {
        match self.mode {
            Mode::XAvic => LogicalIds::Table(self.logical_table(), LogicalModel::Flat),
            Mode::X2Avic => LogicalIds::Derived,
        }
    }

    fn entry(&self, id: u32) -> PhysicalEntry {
        let cell = self.cells.get(id as usize);
        cell.map_or_else(PhysicalEntry::new, |cell| cell.0.load(Ordering::SeqCst).into())
    }

    /// What the processor of `sender` does when the guest writes its command: doorbells it rings, and how it exits.
    pub(crate) fn send(&self, sender: ApicId, icr: Icr) -> (Vec<HostApicId>, Option<IncompleteIpi>) {
        let exit = |number: u64, index: u64| Some(IncompleteIpi::from_info(icr.into(), number << 32 | index));
        if icr.delivery() != DeliveryMode::Fixed || icr.trigger() == TriggerMode::Level {
            return (Vec::new(), exit(0, 0));
        }
        if icr.vector() < 16 {
            return (Vec::new(), exit(4, 0));
        }
        if icr.shorthand() == Shorthand::Myself {
            self.pages[sender.0 as usize].set(VectorBits::InterruptRequest, icr.vector());
            return (Vec::new(), None);
        }
        let (destination, everyone) = match self.mode {
            Mode::XAvic => (icr.destination() >> 24, 0xff),
            Mode::X2Avic => (icr.destination(), u32::MAX),
        };
        let all = (0..u32::try_from(self.cells.len()).expect("a table's size")).filter(|id| self.entry(*id).is_valid());
        let targets: Vec<u32> = match (icr.shorthand(), icr.destination_mode()) {
            (Shorthand::Others, _) => all.filter(|id| *id != sender.0).collect(),
            (Shorthand::All, _) => all.collect(),
            _ if destination == everyone => all.collect(),
            (_, DestinationMode::Physical) => vec![destination],
            (_, DestinationMode::Logical) => match self.logical_targets(destination) {
                Ok(targets) => targets,
                Err(index) => return (Vec::new(), exit(2, index)),
            },
        };
        if let Some(invalid) = targets.iter().find(|id| !self.entry(**id).is_valid()) {
            return (Vec::new(), exit(2, u64::from(*invalid) & 0xfff));
        }
        let mut away = None;
        let mut rung = Vec::new();
        for id in targets {
            self.pages[id as usize].set(VectorBits::InterruptRequest, icr.vector());
            let entry = self.entry(id);
            if entry.is_running() { rung.push(entry.host()) } else { away = Some(u64::from(id)) }
        }
        (rung, away.and_then(|id| exit(1, id)))
    }

    /// By the flat model in xAVIC mode.
    fn logical_targets(&self, destination: u32) -> Result<Vec<u32>, u64> {
        match self.mode {
            Mode::X2Avic => {
                Ok((0..16).filter(|bit| destination >> bit & 1 == 1).map(|bit| destination >> 16 << 4 | bit).collect())
            }
            Mode::XAvic => (0..8)
                .filter(|bit| destination >> bit & 1 == 1)
                .map(|bit| {
                    let entry = LogicalEntry::from(self.logical[bit].0.load(Ordering::SeqCst));
                    entry.is_valid().then(|| entry.guest().into()).ok_or(bit as u64)
                })
                .collect(),
        }
    }
}

pub(crate) fn core(number: u32) -> HostApicId {
    HostApicId::new(number).expect("12 bits")
}
