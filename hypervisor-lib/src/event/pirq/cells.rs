//! What senders read of a physical IRQ without a lock: its port, what is behind it, how the guest uses it.

use alloc::boxed::Box;
use core::iter;

use hypervisor_abi::Port;
use hypervisor_abi::physdev::PirqEoiPage;
use hypervisor_abi::sync::AtomicU8;
use hypervisor_abi::sync::AtomicU32;
use hypervisor_abi::sync::Ordering;

use crate::event::memory::PinCell;

/// How many lines an HVM guest's interrupt controllers have: 16 ISA, 32 PCI (`xen/arch/x86/include/asm/hvm/irq.h`).
pub(crate) const GUEST_LINES: u8 = 48;

/// What is behind a physical IRQ.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mapping {
    /// Nothing.
    None,
    /// Nothing yet: the guest has taken the number by `PHYSDEVOP_get_free_pirq`.
    Reserved,
    /// A host IRQ.
    Irq(u32),
    /// A host IRQ that was taken away while it was bound; the number is free when whoever bound it lets go.
    Dying(u32),
}

/// What an HVM guest uses as a physical IRQ, so that it comes as an event (`hvm_domain_use_pirq`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Use {
    /// Nothing: interrupts come by vector or line.
    None,
    /// What is passed through under this number (`IRQ_PT`).
    PassedThrough,
    /// A message of an emulated device (`IRQ_MSI_EMU`).
    EmulatedMessage,
    /// A line of the guest's interrupt controllers.
    Line(u8),
}

#[derive(Debug, Default)]
struct Cell {
    /// 0 for none.
    port: AtomicU32,
    /// Bits 31:30 which [`Mapping`], the rest the IRQ.
    mapping: AtomicU32,
    /// Which [`Use`]; from [`USE_LINE`] on, the line.
    usage: AtomicU8,
}

const IRQ_BITS: u32 = 30;
const USE_LINE: u8 = 3;

/// A domain's physical IRQs.
#[derive(Debug)]
pub(crate) struct Pirqs {
    cells: Box<[Cell]>,
    /// The physical IRQ each of the guest's lines is used as, plus 1; 0 for none.
    lines: [AtomicU32; GUEST_LINES as usize],
    pub(super) page: PinCell<PirqEoiPage>,
    pub(super) unmask: AtomicU8,
}

impl Pirqs {
    pub(crate) fn new(count: u32) -> Self {
        Self {
            cells: iter::repeat_with(Cell::default).take(Port(count).index()).collect(),
            lines: core::array::from_fn(|_| AtomicU32::new(0)),
            page: PinCell::empty(),
            unmask: AtomicU8::new(0),
        }
    }

    fn cell(&self, pirq: u32) -> Option<&Cell> {
        self.cells.get(Port(pirq).index())
    }

    pub(crate) fn has(&self, pirq: u32) -> bool {
        self.cell(pirq).is_some()
    }

    /// One more than the highest.
    pub(super) fn count(&self) -> u32 {
        u32::try_from(self.cells.len()).unwrap_or(u32::MAX)
    }

    pub(crate) fn port(&self, pirq: u32) -> Option<Port> {
        let port = Port(self.cell(pirq)?.port.load(Ordering::Acquire));
        Some(port).filter(|port| port.0 != 0)
    }

    /// The caller holds the event lock.
    pub(crate) fn set_port(&self, pirq: u32, port: Option<Port>) {
        if let Some(cell) = self.cell(pirq) {
            cell.port.store(port.map_or(0, |port| port.0), Ordering::Release);
        }
    }

    pub(crate) fn mapping(&self, pirq: u32) -> Mapping {
        let word = self.cell(pirq).map_or(0, |cell| cell.mapping.load(Ordering::Acquire));
        let irq = word & ((1 << IRQ_BITS) - 1);
        match word >> IRQ_BITS {
            1 => Mapping::Reserved,
            2 => Mapping::Irq(irq),
            3 => Mapping::Dying(irq),
            _ => Mapping::None,
        }
    }

    /// The caller holds the event lock.
    pub(super) fn set_mapping(&self, pirq: u32, mapping: Mapping) {
        let word = match mapping {
            Mapping::None => 0,
            Mapping::Reserved => 1 << IRQ_BITS,
            Mapping::Irq(irq) => 2 << IRQ_BITS | irq,
            Mapping::Dying(irq) => 3 << IRQ_BITS | irq,
        };
        if let Some(cell) = self.cell(pirq) {
            cell.mapping.store(word, Ordering::Release);
        }
    }

    pub(crate) fn usage(&self, pirq: u32) -> Use {
        match self.cell(pirq).map_or(0, |cell| cell.usage.load(Ordering::Acquire)) {
            0 => Use::None,
            1 => Use::PassedThrough,
            2 => Use::EmulatedMessage,
            line => Use::Line(line - USE_LINE),
        }
    }

    /// The caller holds the event lock.
    pub(super) fn set_usage(&self, pirq: u32, usage: Use) {
        let Some(cell) = self.cell(pirq) else { return };
        if let Use::Line(line) = self.usage(pirq)
            && let Some(cell) = self.lines.get(usize::from(line))
        {
            cell.store(0, Ordering::Release);
        }
        let number = match usage {
            Use::None => 0,
            Use::PassedThrough => 1,
            Use::EmulatedMessage => 2,
            Use::Line(line) => line + USE_LINE,
        };
        cell.usage.store(number, Ordering::Release);
        if let Use::Line(line) = usage
            && let Some(cell) = self.lines.get(usize::from(line))
        {
            cell.store(pirq + 1, Ordering::Release);
        }
    }

    /// The physical IRQ a line is used as.
    pub(super) fn of_line(&self, line: u8) -> Option<u32> {
        self.lines.get(usize::from(line))?.load(Ordering::Acquire).checked_sub(1)
    }

    /// Whether nothing is behind the number, and the guest uses it for nothing (`is_free_pirq`, `xen/arch/x86/irq.c`).
    pub(super) fn is_free(&self, pirq: u32) -> bool {
        self.mapping(pirq) == Mapping::None && self.usage(pirq) == Use::None
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::GUEST_LINES;
    use super::Mapping;
    use super::Pirqs;
    use super::Use;

    #[test]
    fn what_is_behind_a_number_and_how_it_is_used_do_not_disturb_each_other() {
        let pirqs = Pirqs::new(2);
        let mappings = [Mapping::None, Mapping::Reserved, Mapping::Irq((1 << 30) - 1), Mapping::Dying(7)];
        let uses = [Use::None, Use::PassedThrough, Use::EmulatedMessage, Use::Line(0), Use::Line(GUEST_LINES - 1)];
        for (mapping, usage) in mappings.into_iter().flat_map(|mapping| uses.map(|usage| (mapping, usage))) {
            pirqs.set_mapping(1, mapping);
            pirqs.set_usage(1, usage);
            assert_eq!((pirqs.mapping(1), pirqs.usage(1)), (mapping, usage));
            assert_eq!(pirqs.is_free(1), (mapping, usage) == (Mapping::None, Use::None));
            let expected = |line| if usage == Use::Line(line) { Some(1) } else { None };
            assert!((0..=GUEST_LINES).all(|line| pirqs.of_line(line) == expected(line)));
        }
        assert!(pirqs.is_free(0) && pirqs.port(1).is_none());
        pirqs.set_mapping(2, Mapping::Reserved);
        assert_eq!(pirqs.mapping(2), Mapping::None, "there is no such number");
    }
}
