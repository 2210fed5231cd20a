//! AMD's IOMMU in the machine: tables of entries, device by device, and the guest-APIC log with its interrupt.

use alloc::boxed::Box;
use alloc::vec;
use alloc::vec::Vec;
use core::cell::Cell;
use core::cell::RefCell;

use hypervisor_abi::amd_iommu::GA_LOG_ENTRIES;
use hypervisor_abi::amd_iommu::GaLogCell;
use hypervisor_abi::amd_iommu::GaLogControl;
use hypervisor_abi::amd_iommu::GaLogEntry;
use hypervisor_abi::amd_iommu::GaLogStatus;
use hypervisor_abi::amd_iommu::GaTag;
use hypervisor_abi::amd_iommu::GuestIrteLow;
use hypervisor_abi::amd_iommu::Irte;
use hypervisor_abi::apic::ApicId;
use hypervisor_abi::apic::MsiAddress;
use hypervisor_abi::sync::Ordering;
use hypervisor_lib::delivery::avic::Completeness;
use hypervisor_lib::delivery::avic::GaLog;
use hypervisor_lib::delivery::avic::IrteIndex;
use hypervisor_lib::delivery::avic::RESTART;
use hypervisor_lib::delivery::avic::RestartStep;
use hypervisor_lib::delivery::avic::to_host;
use vector_allocator::CpuId;
use vector_allocator::Vector;

use super::Function;
use crate::Interconnect;
use crate::InterruptMessage;
use crate::iommu;
use crate::iommu::AmdFault;
use crate::iommu::AmdMemory;
use crate::iommu::DeviceInterrupts;
use crate::iommu::GuestNotice;
use crate::iommu::InterruptControl;
use crate::iommu::Request;

/// Where the first table is in physical memory: above what processors read.
const TABLES: u64 = 1 << 46;

/// Tables begin at multiples of 128 bytes (48882, 2.2.2.1): this many entries.
const ALIGNMENT: usize = 8;

const LOG_ON: GaLogControl = GaLogControl::new().with_log_enable(true).with_interrupt_enable(true);

/// The unit, and its tables and log.
#[derive(Debug)]
pub(in crate::apic) struct Amd {
    unit: RefCell<iommu::Amd>,
    devices: Box<[DeviceInterrupts]>,
    tables: Box<[Cell<Irte>]>,
    log: Box<[GaLogCell]>,
}

/// Whether a log that was read had lost something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::apic) enum Lost {
    Nothing,
    /// It has, and runs again: whoever a device delivers to is to be told.
    Entries,
}

impl Amd {
    /// A unit with a table for each function, its log on.
    pub(super) fn new(functions: &[Function], vector: Vector, listener: CpuId) -> Self {
        let mut entries = 0;
        let mut devices = Vec::new();
        for function in functions {
            let device = DeviceInterrupts::new().with_is_valid(true).with_control(InterruptControl::Remapped);
            let [length, ..] = function.entries().trailing_zeros().to_le_bytes();
            devices.push(device.with_table_length(length).with_table_line((TABLES + entries as u64 * 16) >> 6));
            entries = (entries + usize::from(function.entries())).next_multiple_of(ALIGNMENT);
        }
        let mut unit = iommu::Amd::new(notice(vector, listener));
        unit.log.write_control(LOG_ON);
        Self {
            unit: RefCell::new(unit),
            devices: devices.into(),
            tables: vec![Cell::new(Irte { low: 0, high: 0 }); entries].into(),
            log: (0..GA_LOG_ENTRIES).map(|_| GaLogCell::default()).collect(),
        }
    }

    fn cell(&self, message: IrteIndex) -> Option<&Cell<Irte>> {
        let table = self.device(message.device)?.table_line() << 6;
        self.at(table + u64::from(message.index) * 16)
    }

    fn at(&self, address: u64) -> Option<&Cell<Irte>> {
        self.tables.get(usize::try_from(address.checked_sub(TABLES)? / 16).ok()?)
    }

    /// Has a message's entry send it to the host.
    pub(super) fn write(&self, message: IrteIndex, vector: Vector, cpu: CpuId) {
        self.store(message, to_host(vector, ApicId(cpu.0)));
        self.unit.borrow_mut().invalidate(message.device);
    }

    /// Stores an entry.
    pub(super) fn store(&self, message: IrteIndex, entry: Irte) {
        if let Some(cell) = self.cell(message) {
            cell.set(entry);
        }
    }

    /// Stores the lower half of an entry.
    pub(super) fn store_low(&self, message: IrteIndex, low: GuestIrteLow) {
        if let Some(cell) = self.cell(message) {
            cell.set(Irte { low: low.into(), ..cell.get() });
        }
    }

    /// Has the unit forget what it has read.
    pub(super) fn forget(&self) {
        self.unit.borrow_mut().invalidate_all();
    }

    /// The lower half of an entry.
    pub(super) fn low(&self, message: IrteIndex) -> Option<GuestIrteLow> {
        Some(self.cell(message)?.get().low.into())
    }

    /// A function writes a message: what becomes of it.
    pub(super) fn receive(
        &self,
        message: IrteIndex,
        memory: &impl AmdMemory,
        interconnect: &mut impl Interconnect,
    ) -> Result<(), AmdFault> {
        let address = MsiAddress::new().with_window(MsiAddress::WINDOW);
        let request = Request { address, data: message.index.into(), requester: message.device };
        self.unit.borrow_mut().request(request, memory, interconnect)
    }

    /// A device's entry.
    pub(super) fn device(&self, requester: u16) -> Option<DeviceInterrupts> {
        self.devices.get(usize::from(requester)).copied()
    }

    /// The entry at a physical address.
    pub(super) fn entry(&self, address: u64) -> Option<Irte> {
        self.at(address).map(Cell::get)
    }

    /// The ring of the log.
    pub(super) fn cells(&self) -> &[GaLogCell] {
        &self.log
    }

    /// The handler of the log's interrupt. Its status is cleared first, so that what is logged meanwhile interrupts again.
    pub(super) fn read_log(&self, log: &mut GaLog<'_>, tell: impl FnMut(GaTag)) -> Lost {
        let unit = &mut self.unit.borrow_mut().log;
        unit.write_status(GaLogStatus::new().with_interrupt(true));
        let Ok(drained) = log.drain(unit.tail(), unit.status(), tell) else {
            debug_assert!(false, "the tail is outside the log");
            return Lost::Nothing;
        };
        if drained.completeness == Completeness::Complete {
            unit.write_head(drained.head);
            return Lost::Nothing;
        }
        for step in RESTART {
            match step {
                RestartStep::Disable => unit.write_control(GaLogControl::new()),
                RestartStep::ClearOverflow => unit.write_status(GaLogStatus::new().with_has_overflowed(true)),
                RestartStep::SetHead => unit.write_head(drained.head),
                RestartStep::Enable => unit.write_control(LOG_ON),
            }
        }
        Lost::Entries
    }

    /// Whether the log, not read yet, will tell of this tag.
    pub(super) fn will_tell(&self, tag: GaTag) -> bool {
        let log = self.unit.borrow().log;
        let [head, tail] = [log.head(), log.tail()].map(|bytes| bytes as usize / size_of::<GaLogCell>());
        let unread = self.log.iter().cycle().skip(head).take((tail + self.log.len() - head) % self.log.len());
        let mut tags = unread.map(|cell| GaLogEntry::from(cell.0.load(Ordering::Relaxed)).tag());
        log.status().has_overflowed() || tags.any(|logged| logged == tag)
    }

    /// The log interrupts another CPU, if it did one that goes.
    pub(super) fn move_log(&self, from: CpuId, to: CpuId) {
        if let GuestNotice::Log(interrupt) = &mut self.unit.borrow_mut().notice
            && interrupt.destination == from.0
        {
            interrupt.destination = to.0;
        }
    }
}

fn notice(vector: Vector, listener: CpuId) -> GuestNotice {
    GuestNotice::Log(InterruptMessage::fixed(vector.number(), ApicId(listener.0)))
}
