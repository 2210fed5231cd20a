//! A vCPU on its way on and off processors while devices and software send to it.

use std::cell::Cell;
use std::cell::RefCell;
use std::collections::BTreeMap;

use hypervisor_abi::amd_iommu::GaTag;
use hypervisor_abi::amd_iommu::GuestIrteHigh;
use hypervisor_abi::amd_iommu::GuestIrteLow;
use hypervisor_abi::amd_iommu::Irte;
use hypervisor_abi::amd_iommu::RemappedIrteLow;
use hypervisor_abi::apic::ApicId;
use hypervisor_abi::avic::BackingPage;
use hypervisor_abi::avic::HostApicId;
use hypervisor_abi::avic::PhysicalCell;
use hypervisor_abi::avic::VectorBits;
use hypervisor_lib::delivery::avic::Action;
use hypervisor_lib::delivery::avic::AvicVcpu;
use hypervisor_lib::delivery::avic::EntryCell;
use hypervisor_lib::delivery::avic::Host;
use hypervisor_lib::delivery::avic::IpiVirtualization;
use hypervisor_lib::delivery::avic::IrteIndex;
use hypervisor_lib::delivery::avic::Leaving;
use hypervisor_lib::delivery::avic::Left;
use hypervisor_lib::delivery::avic::Mode;
use hypervisor_lib::delivery::avic::PhysicalTable;
use hypervisor_lib::delivery::avic::Place;
use hypervisor_lib::delivery::avic::RouteError;
use hypervisor_lib::delivery::avic::TableError;
use hypervisor_lib::delivery::avic::X2AvicReach;
use hypervisor_lib::delivery::avic::tell;
use hypervisor_lib::delivery::avic::to_host;
use vector_allocator::Vector;

use crate::vm::Counted;
use crate::vm::Log;
use crate::vm::core;

const ID: ApicId = ApicId(0);
const TAG: GaTag = GaTag(0x7000);
const VECTOR: u8 = 0x51;

fn irte(index: u16) -> IrteIndex {
    IrteIndex { device: 0x310, index }
}

fn vector(number: u8) -> Vector {
    Vector::new(number).expect("16 or more")
}

fn table<C: EntryCell>(cells: &[C]) -> PhysicalTable<'_, C> {
    PhysicalTable::new(Mode::XAvic, X2AvicReach::Standard, cells, IpiVirtualization::On).expect("a table")
}

#[test]
fn a_vcpu_moves_by_at_most_three_atomic_operations() {
    let (cells, page, log) = ([Counted::default()], BackingPage::default(), Log::default());
    table(&cells).insert(ID, 1).expect("room");
    let mut vcpu = AvicVcpu::new(ID, TAG, table(&cells), &page).expect("in the table");
    for device in 0..5 {
        vcpu.attach(irte(device), vector(VECTOR), &log).expect("in the table");
    }
    let mut count = |step: &mut dyn FnMut(&mut AvicVcpu<'_, Counted>)| {
        let (before, _) = (cells[0].replaced.get(), log.take());
        step(&mut vcpu);
        let stores = log.take();
        let wide = stores.iter().filter(|action| matches!(action, Action::ReplaceIrte(..))).count();
        assert_eq!(stores.len(), 6, "a plain store a device, and one invalidation: {stores:?}");
        cells[0].replaced.get() - before + wide
    };
    assert_eq!(count(&mut |vcpu| vcpu.enter(core(1), &log).expect("in the table")), 1);
    assert_eq!(count(&mut |vcpu| _ = vcpu.leave(Leaving::Preempting, &log).expect("in the table")), 1);
    assert_eq!(count(&mut |vcpu| vcpu.enter(core(2), &log).expect("in the table")), 1);
    assert_eq!(count(&mut |vcpu| _ = vcpu.leave(Leaving::Blocking, &log).expect("in the table")), 1);
}

/// Linux 5.4 to 6.3 took an entry that was in guest mode already for done, and left the old vector in it.
#[test]
fn an_entry_that_delivers_already_is_replaced_when_its_vector_changes() {
    let (cells, page, log) = ([PhysicalCell::default()], BackingPage::default(), Log::default());
    table(&cells).insert(ID, 0x1234).expect("room");
    let mut vcpu = AvicVcpu::new(ID, TAG, table(&cells), &page).expect("in the table");
    vcpu.attach(irte(0), vector(0x51), &log).expect("in the table");
    vcpu.enter(core(9), &log).expect("in the table");
    log.take();
    vcpu.attach(irte(0), vector(0x61), &log).expect("in the table");
    let low = GuestIrteLow::new().with_is_valid(true).with_guest_mode(true).with_tag(TAG);
    let low = low.with_is_running(true).with_destination(9);
    let high = GuestIrteHigh::new().with_vector(0x61).with_backing_frame(0x1234);
    let expected = Irte { low: low.into(), high: high.into() };
    assert_eq!(log.take(), [Action::ReplaceIrte(irte(0), expected), Action::InvalidateIrtes]);
    vcpu.leave(Leaving::Preempting, &log).expect("in the table");
    let stores = log.take();
    assert_eq!(stores.len(), 2, "it is one entry still: {stores:?}");
}

#[test]
fn an_entry_to_the_host_is_fixed_and_names_all_of_its_destination() {
    for (number, destination) in [(0x10, 0), (0x51, 5), (0xff, 0x00ff_ffff), (0xf2, 0x77ab_cdef)] {
        let Irte { low, high } = to_host(vector(number), ApicId(destination));
        let (remapped, upper) = (RemappedIrteLow::from(low), GuestIrteHigh::from(high));
        assert_eq!(remapped.destination() | u32::from(upper.destination()) << 24, destination);
        assert_eq!(upper, GuestIrteHigh::new().with_vector(number).with_destination(upper.destination()));
        let expected = RemappedIrteLow::new().with_is_valid(true).with_destination(remapped.destination());
        assert_eq!(remapped, expected);
    }
}

#[test]
fn an_entry_remaps_at_every_moment() {
    let (cells, page, log) = ([PhysicalCell::default()], BackingPage::default(), Log::default());
    table(&cells).insert(ID, 1).expect("room");
    let mut vcpu = AvicVcpu::new(ID, TAG, table(&cells), &page).expect("in the table");
    let remapped = |valid| Irte { low: RemappedIrteLow::new().with_is_valid(valid).into(), high: 0x33 };
    vcpu.attach(irte(0), vector(VECTOR), &log).expect("in the table");
    vcpu.enter(core(1), &log).expect("in the table");
    vcpu.leave(Leaving::Blocking, &log).expect("in the table");
    assert_eq!(vcpu.detach(irte(0), remapped(false), &log), Err(RouteError::NotRemapping(irte(0))));
    assert_eq!(vcpu.detach(irte(1), remapped(true), &log), Err(RouteError::Foreign(irte(1))));
    assert_eq!(vcpu.detach(irte(0), remapped(true), &log), Ok(()));
    assert_eq!(vcpu.detach(irte(0), remapped(true), &log), Err(RouteError::Foreign(irte(0))));
    let lows = log.take().into_iter().filter_map(|action| match action {
        Action::StoreIrteLow(_, low) => Some(low),
        Action::ReplaceIrte(_, irte) => Some(irte.low.into()),
        _ => None,
    });
    let lows: Vec<GuestIrteLow> = lows.collect();
    assert_eq!(lows.len(), 4);
    assert!(lows.iter().all(|low| low.is_valid()), "{lows:?}");
    vcpu.enter(core(1), &log).expect("in the table");
    assert_eq!(log.take(), [], "no device is left");
}

#[test]
fn a_vcpu_that_is_taken_out_of_the_table_goes_nowhere() {
    let (cells, page, log) = ([PhysicalCell::default()], BackingPage::default(), Log::default());
    assert_eq!(AvicVcpu::new(ID, TAG, table(&cells), &page).err(), Some(TableError::Absent(ID)));
    table(&cells).insert(ID, 1).expect("room");
    let mut vcpu = AvicVcpu::new(ID, TAG, table(&cells), &page).expect("in the table");
    table(&cells).remove(ID).expect("there");
    assert_eq!(vcpu.enter(core(1), &log), Err(TableError::Absent(ID)));
    assert_eq!(vcpu.place(), Place::Preempted);
}

/// An IOMMU that goes on using an old copy of an entry until it is told not to, and a device that interrupts once, at a given
/// moment: before the first action, or after so many.
struct Iommu<'a> {
    table: PhysicalTable<'a>,
    page: &'a BackingPage,
    stored: RefCell<BTreeMap<IrteIndex, Irte>>,
    cached: RefCell<BTreeMap<IrteIndex, Irte>>,
    copy: Copy,
    moment: usize,
    actions: Cell<usize>,
    rung: RefCell<Vec<HostApicId>>,
    logged: RefCell<Vec<GaTag>>,
    woken: Cell<bool>,
}

/// What the IOMMU goes by where its copy differs from the table.
#[derive(Clone, Copy, Debug)]
enum Copy {
    Old,
    New,
}

impl<'a> Iommu<'a> {
    fn new(table: PhysicalTable<'a>, page: &'a BackingPage, copy: Copy, moment: usize) -> Self {
        Self {
            table,
            page,
            stored: RefCell::default(),
            cached: RefCell::default(),
            copy,
            moment,
            actions: Cell::new(0),
            rung: RefCell::default(),
            logged: RefCell::default(),
            woken: Cell::new(false),
        }
    }

    /// Time goes on by a step: the device interrupts if it is its moment.
    fn step(&self) {
        if self.actions.replace(self.actions.get() + 1) == self.moment {
            self.interrupt();
        }
    }

    fn interrupt(&self) {
        let entries = match self.copy {
            Copy::Old => self.cached.borrow(),
            Copy::New => self.stored.borrow(),
        };
        let entry = entries[&irte(0)];
        let (low, high) = (GuestIrteLow::from(entry.low), GuestIrteHigh::from(entry.high));
        assert!(low.is_valid() && low.guest_mode());
        self.page.set(VectorBits::InterruptRequest, high.vector());
        if low.is_running() {
            self.rung.borrow_mut().push(core(low.destination()));
        } else if low.logs() {
            self.logged.borrow_mut().push(low.tag());
        }
    }

    /// The hypervisor's handler of the log.
    fn read_log(&self) {
        for tag in self.logged.take() {
            assert_eq!(tag, TAG);
            tell(self.table, ID, self).expect("in the table");
        }
    }

    /// Whether the doorbell of `core` has rung since this was asked last.
    fn heard(&self, core: HostApicId) -> bool {
        self.rung.take().contains(&core)
    }
}

impl Host for Iommu<'_> {
    fn act(&self, action: Action) {
        match action {
            Action::RingDoorbell(core) => self.rung.borrow_mut().push(core),
            Action::Wake(_) => self.woken.set(true),
            Action::StoreIrteLow(index, low) => {
                self.stored.borrow_mut().get_mut(&index).expect("an entry").low = low.into();
                self.step();
            }
            Action::ReplaceIrte(index, irte) => _ = self.stored.borrow_mut().insert(index, irte),
            Action::InvalidateIrtes => {
                *self.cached.borrow_mut() = self.stored.borrow().clone();
                self.step();
            }
        }
    }
}

/// the entry says that the vCPU runs and the table that it does not, or the other way round, or names the core it ran on
/// before. Whenever the device interrupts, and whichever copy of the entry the IOMMU goes by, the vCPU looks at its IRR
/// afterwards.
#[test]
fn r73_an_interrupt_at_any_moment_of_a_move_is_noticed() {
    for copy in [Copy::Old, Copy::New] {
        for moment in 0..16 {
            let (cells, page) = ([PhysicalCell::default()], BackingPage::default());
            table(&cells).insert(ID, 1).expect("room");
            let iommu = Iommu::new(table(&cells), &page, copy, moment + 1000);
            let mut vcpu = AvicVcpu::new(ID, TAG, table(&cells), &page).expect("in the table");
            vcpu.attach(irte(0), vector(VECTOR), &iommu).expect("in the table");
            let iommu = Iommu { moment, actions: Cell::new(0), ..iommu };
            let pending = || page.has(VectorBits::InterruptRequest, VECTOR);
            for host in [core(1), core(2)] {
                vcpu.enter(host, &iommu).expect("in the table");
                iommu.step();
                iommu.rung.take();
                // The processor enters the guest, which looks at the IRR and takes what it finds.
                page.clear(VectorBits::InterruptRequest, VECTOR);
                iommu.step();
                iommu.read_log();
                if iommu.heard(host) {
                    page.clear(VectorBits::InterruptRequest, VECTOR);
                }
                assert!(!pending(), "{copy:?} {moment}: the guest runs and does not know");
                iommu.step();
                let left = vcpu.leave(Leaving::Blocking, &iommu).expect("in the table");
                iommu.step();
                iommu.read_log();
                let is_awake = left != Left::Gone || iommu.woken.take();
                assert!(is_awake || !pending(), "{copy:?} {moment}: the vCPU sleeps and does not know");
                if pending() {
                    vcpu.leave(Leaving::Preempting, &iommu).expect("in the table");
                }
            }
            assert!(iommu.actions.get() > moment, "the device has interrupted");
        }
    }
}

/// a preempted vCPU tells nobody, but finds what came when it runs again.
#[test]
fn r73_what_comes_while_a_vcpu_is_preempted_waits_for_it() {
    let (cells, page) = ([PhysicalCell::default()], BackingPage::default());
    table(&cells).insert(ID, 1).expect("room");
    let iommu = Iommu::new(table(&cells), &page, Copy::New, usize::MAX);
    let mut vcpu = AvicVcpu::new(ID, TAG, table(&cells), &page).expect("in the table");
    vcpu.attach(irte(0), vector(VECTOR), &iommu).expect("in the table");
    vcpu.enter(core(1), &iommu).expect("in the table");
    assert_eq!(vcpu.leave(Leaving::Preempting, &iommu), Ok(Left::Gone));
    iommu.interrupt();
    assert!(iommu.logged.take().is_empty() && iommu.rung.take().is_empty());
    vcpu.enter(core(1), &iommu).expect("in the table");
    assert!(page.has(VectorBits::InterruptRequest, VECTOR));
    assert_eq!(vcpu.leave(Leaving::Blocking, &iommu), Ok(Left::AwakeAfterAll(vector(VECTOR))));
    assert_eq!(vcpu.place(), Place::Preempted);
}
