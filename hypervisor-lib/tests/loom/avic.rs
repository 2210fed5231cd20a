//! A vCPU on its way on and off a processor while others send to it: it never sleeps, or runs on, over an interrupt.

use std::sync::atomic;

use hypervisor_abi::amd_iommu::GaTag;
use hypervisor_abi::amd_iommu::GuestIrteLow;
use hypervisor_abi::apic::ApicId;
use hypervisor_abi::apic::Icr;
use hypervisor_abi::apic::TriggerMode;
use hypervisor_abi::avic::BackingPage;
use hypervisor_abi::avic::HostApicId;
use hypervisor_abi::avic::IncompleteIpi;
use hypervisor_abi::avic::PhysicalCell;
use hypervisor_abi::avic::PhysicalEntry;
use hypervisor_abi::avic::VectorBits;
use hypervisor_abi::sync::change_before_look;
use hypervisor_lib::delivery::avic::Action;
use hypervisor_lib::delivery::avic::AvicVcpu;
use hypervisor_lib::delivery::avic::EntryCell;
use hypervisor_lib::delivery::avic::Host;
use hypervisor_lib::delivery::avic::IpiVirtualization;
use hypervisor_lib::delivery::avic::IrteIndex;
use hypervisor_lib::delivery::avic::Leaving;
use hypervisor_lib::delivery::avic::Left;
use hypervisor_lib::delivery::avic::LogicalIds;
use hypervisor_lib::delivery::avic::Mode;
use hypervisor_lib::delivery::avic::PhysicalTable;
use hypervisor_lib::delivery::avic::X2AvicReach;
use hypervisor_lib::delivery::avic::finish_ipi;
use hypervisor_lib::delivery::avic::post;
use hypervisor_lib::delivery::avic::tell;
use loom::sync::Arc;
use loom::sync::Mutex;
use loom::sync::MutexGuard;
use loom::sync::atomic::AtomicBool;
use loom::sync::atomic::Ordering;
use loom::thread;
use vector_allocator::Vector;

use crate::machine::explore;

const TARGET: ApicId = ApicId(0);
const SENDER: ApicId = ApicId(1);
const CORE: HostApicId = HostApicId::MAX;
const VECTOR: u8 = 0x51;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Doorbells {
    Processor,
    Hypervisor,
}

struct Machine {
    doorbells: Doorbells,
    cells: [PhysicalCell; 2],
    residence: [PhysicalCell; 2],
    page: BackingPage,
    /// The doorbell of the one core there is.
    rung: AtomicBool,
    /// The scheduler has been asked to let the target run.
    woken: AtomicBool,
    /// Locked as long as it treats an interrupt: an invalidation waits for that.
    iommu: Mutex<Iommu>,
}

/// An IOMMU with one entry, which it may go on using an old copy of.
#[derive(Default)]
struct Iommu {
    stored: GuestIrteLow,
    copy: GuestIrteLow,
    has_logged: bool,
}

/// Which of the two it goes by.
#[derive(Clone, Copy)]
enum Goes {
    ByCopy,
    ByTable,
}

impl Host for Machine {
    fn act(&self, action: Action) {
        match action {
            Action::RingDoorbell(_) => self.rung.store(true, Ordering::Release),
            Action::Wake(_) => self.woken.store(true, Ordering::Release),
            Action::StoreIrteLow(_, low) => self.iommu().stored = low,
            Action::ReplaceIrte(_, irte) => self.iommu().stored = irte.low.into(),
            Action::InvalidateIrtes => {
                let mut iommu = self.iommu();
                iommu.copy = iommu.stored;
            }
        }
    }
}

impl Machine {
    fn new(doorbells: Doorbells) -> Self {
        let machine = Self {
            doorbells,
            cells: Default::default(),
            residence: Default::default(),
            page: BackingPage::default(),
            rung: AtomicBool::new(false),
            woken: AtomicBool::new(false),
            iommu: Mutex::default(),
        };
        machine.table().insert(TARGET, 1).expect("room");
        machine.table().insert(SENDER, 2).expect("room");
        machine
    }

    fn table(&self) -> PhysicalTable<'_> {
        let ipis = match self.doorbells {
            Doorbells::Processor => IpiVirtualization::On,
            Doorbells::Hypervisor => IpiVirtualization::Off { residence: &self.residence },
        };
        PhysicalTable::new(Mode::X2Avic, X2AvicReach::Standard, &self.cells, ipis).expect("two entries")
    }

    fn vcpu(&self) -> AvicVcpu<'_> {
        AvicVcpu::new(TARGET, GaTag(0), self.table(), &self.page).expect("in the table")
    }

    fn vcpu_with_device(&self) -> AvicVcpu<'_> {
        let (mut vcpu, vector) = (self.vcpu(), Vector::new(VECTOR).expect("16 or more"));
        vcpu.attach(IrteIndex { device: 0, index: 0 }, vector, self).expect("in the table");
        vcpu
    }

    fn iommu(&self) -> MutexGuard<'_, Iommu> {
        self.iommu.lock().expect("nobody panicked")
    }

    /// A device interrupts.
    fn interrupt(&self, goes: Goes) {
        let mut iommu = self.iommu();
        let entry = match goes {
            Goes::ByCopy => iommu.copy,
            Goes::ByTable => iommu.stored,
        };
        self.page.set(VectorBits::InterruptRequest, VECTOR);
        // The vector is set before anybody is told.
        change_before_look();
        if entry.is_running() {
            self.rung.store(true, Ordering::Release);
        } else {
            iommu.has_logged |= entry.logs();
        }
    }

    /// The handler of the IOMMU's log.
    fn read_log(&self) {
        if self.iommu().has_logged {
            tell(self.table(), TARGET, self).expect("in the table");
        }
    }

    fn is_pending(&self) -> bool {
        self.page.has(VectorBits::InterruptRequest, VECTOR)
    }

    /// The processor enters the guest. A doorbell that has rung in the host is forgotten; then the guest looks at its IRR.
    fn run_guest(&self) {
        self.rung.swap(false, Ordering::AcqRel);
        change_before_look();
        if self.is_pending() {
            self.page.clear(VectorBits::InterruptRequest, VECTOR);
        }
    }

    fn post(&self, trigger: TriggerMode) {
        let vector = Vector::new(VECTOR).expect("16 or more");
        post(self.table(), TARGET, &self.page, vector, trigger, self).expect("in the table");
    }

    /// Another vCPU's processor carries out a command, going by `entry` if it has an old copy; then we finish it.
    fn send(&self, entry: Option<PhysicalEntry>) {
        self.page.set(VectorBits::InterruptRequest, VECTOR);
        change_before_look();
        let entry = entry.unwrap_or_else(|| self.cells[0].load());
        if entry.is_running() {
            self.rung.store(true, Ordering::Release);
            return;
        }
        let icr = Icr::new().with_vector(VECTOR).with_destination(TARGET.0);
        let exit = IncompleteIpi::from_info(icr.into(), 1 << 32);
        finish_ipi(self.table(), LogicalIds::Derived, SENDER, exit, self).expect("an intact table");
    }
}

/// The target runs from the start, while `send` sends, until its guest halts; says whether it sleeps over an interrupt.
fn halt_beside(machine: &Arc<Machine>, send: impl Fn(&Machine) + Send + 'static) -> bool {
    let mut vcpu = machine.vcpu_with_device();
    vcpu.enter(CORE, &**machine).expect("in the table");
    let sender = {
        let machine = Arc::clone(machine);
        thread::spawn(move || send(&machine))
    };
    machine.run_guest();
    let left = vcpu.leave(Leaving::Blocking, &**machine).expect("in the table");
    sender.join().expect("a sender that ends");
    machine.is_pending() && left == Left::Gone && !machine.woken.load(Ordering::Acquire)
}

/// The target comes from preemption, while `send` sends, and its guest runs on; says whether it does not know.
fn enter_beside(machine: &Arc<Machine>, send: impl Fn(&Machine) + Send + 'static) -> bool {
    let mut vcpu = machine.vcpu_with_device();
    let sender = {
        let machine = Arc::clone(machine);
        thread::spawn(move || send(&machine))
    };
    vcpu.enter(CORE, &**machine).expect("in the table");
    machine.run_guest();
    sender.join().expect("a sender that ends");
    machine.is_pending() && !machine.rung.load(Ordering::Acquire)
}

fn post_edge(machine: &Machine) {
    machine.post(TriggerMode::Edge);
}

#[test]
fn a_vcpu_that_halts_beside_a_post_does_not_sleep_over_it() {
    for doorbells in [Doorbells::Processor, Doorbells::Hypervisor] {
        explore(4, move || assert!(!halt_beside(&Arc::new(Machine::new(doorbells)), post_edge)));
    }
}

#[test]
fn a_vcpu_that_is_entered_beside_a_post_does_not_run_on_without_it() {
    for doorbells in [Doorbells::Processor, Doorbells::Hypervisor] {
        explore(4, move || assert!(!enter_beside(&Arc::new(Machine::new(doorbells)), post_edge)));
    }
}

#[test]
fn a_vcpu_that_halts_beside_a_command_of_another_does_not_sleep_over_it() {
    for doorbells in [Doorbells::Processor, Doorbells::Hypervisor] {
        explore(4, move || assert!(!halt_beside(&Arc::new(Machine::new(doorbells)), |machine| machine.send(None))));
    }
}

#[test]
fn a_vcpu_that_is_entered_beside_a_command_of_another_does_not_run_on_without_it() {
    for doorbells in [Doorbells::Processor, Doorbells::Hypervisor] {
        explore(4, move || assert!(!enter_beside(&Arc::new(Machine::new(doorbells)), |machine| machine.send(None))));
    }
}

#[test]
fn of_two_senders_of_one_vector_one_tells_the_vcpu() {
    explore(3, || {
        let machine = Arc::new(Machine::new(Doorbells::Processor));
        let second = {
            let machine = Arc::clone(&machine);
            thread::spawn(move || machine.post(TriggerMode::Edge))
        };
        let sleeps_over = halt_beside(&machine, post_edge);
        second.join().expect("a sender that ends");
        assert!(!sleeps_over || machine.woken.load(Ordering::Acquire));
    });
}

#[test]
fn whoever_sees_a_level_triggered_vector_sees_its_trigger_mode() {
    explore(4, || {
        let machine = Arc::new(Machine::new(Doorbells::Processor));
        let sender = {
            let machine = Arc::clone(&machine);
            thread::spawn(move || machine.post(TriggerMode::Level))
        };
        if machine.is_pending() {
            assert!(machine.page.has(VectorBits::TriggerMode, VECTOR), "its end goes unnoticed");
        }
        sender.join().expect("a sender that ends");
    });
}

#[test]
fn a_vcpu_that_halts_beside_a_device_does_not_sleep_over_its_interrupt() {
    for goes in [Goes::ByCopy, Goes::ByTable] {
        explore(4, move || {
            let machine = Arc::new(Machine::new(Doorbells::Processor));
            assert!(!halt_beside(&machine, move |machine| {
                machine.interrupt(goes);
                machine.read_log();
            }));
        });
    }
}

#[test]
fn a_vcpu_that_is_entered_beside_a_device_does_not_run_on_without_its_interrupt() {
    for goes in [Goes::ByCopy, Goes::ByTable] {
        explore(4, move || {
            let machine = Arc::new(Machine::new(Doorbells::Processor));
            assert!(!enter_beside(&machine, move |machine| {
                machine.interrupt(goes);
                machine.read_log();
            }));
        });
    }
}

/// Erratum 1235: a processor goes on using an old copy of the entry. With the processor ringing, an interrupt is slept over;
/// with us ringing, the copy never says that the vCPU runs, and none is.
#[test]
fn with_erratum_1235_an_old_copy_of_an_entry_loses_nothing_if_the_hypervisor_rings() {
    for doorbells in [Doorbells::Processor, Doorbells::Hypervisor] {
        let slept_over = std::sync::Arc::new(atomic::AtomicBool::new(false));
        let seen = std::sync::Arc::clone(&slept_over);
        explore(4, move || {
            let machine = Arc::new(Machine::new(doorbells));
            let old = {
                let mut vcpu = machine.vcpu();
                vcpu.enter(CORE, &*machine).expect("in the table");
                machine.cells[0].load()
            };
            if halt_beside(&machine, move |machine| machine.send(Some(old))) {
                seen.store(true, Ordering::Relaxed);
            }
        });
        assert_eq!(slept_over.load(Ordering::Relaxed), doorbells == Doorbells::Processor);
    }
}
