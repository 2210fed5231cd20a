//! vCPUs that come and go while a command is on its way: whatever happens between two steps of the sender's processor, every
//! target that is to know, knows in the end.

use std::cell::Cell;
use std::cell::RefCell;

use carillon_machine::Recognition;
use carillon_machine::Signal;
use carillon_machine::svm::Access;
use carillon_machine::svm::AvicMemory;
use carillon_machine::svm::BackingPages;
use carillon_machine::svm::Erratum1235;
use carillon_machine::svm::Exit;
use carillon_machine::svm::Guest;
use carillon_machine::svm::Processor;
use hypervisor_abi::amd_iommu::GaTag;
use hypervisor_abi::apic::ApicId;
use hypervisor_abi::apic::DeliveryMode;
use hypervisor_abi::apic::Icr;
use hypervisor_abi::apic::TriggerMode;
use hypervisor_abi::avic::BackingPage;
use hypervisor_abi::avic::IncompleteIpi;
use hypervisor_abi::avic::LogicalCell;
use hypervisor_abi::avic::PhysicalCell;
use hypervisor_abi::avic::VectorBits;
use hypervisor_lib::delivery::avic::Action;
use hypervisor_lib::delivery::avic::AvicVcpu;
use hypervisor_lib::delivery::avic::Host;
use hypervisor_lib::delivery::avic::Leaving;
use hypervisor_lib::delivery::avic::Left;
use hypervisor_lib::delivery::avic::Place;
use hypervisor_lib::delivery::avic::Rest;
use hypervisor_lib::delivery::avic::finish_ipi;
use hypervisor_lib::delivery::avic::post;
use proptest::collection::vec;
use proptest::prelude::Just;
use proptest::prelude::Strategy;
use proptest::prelude::any;
use proptest::prelude::prop_oneof;
use proptest::proptest;
use vector_allocator::Vector;

use crate::avic_ipi::addressings;
use crate::avic_ipi::commands;
use crate::avic_ipi::write;
use crate::avic_vm::Addressing;
use crate::avic_vm::Memory;
use crate::avic_vm::Ringer;
use crate::avic_vm::core_of;

/// Something that a vCPU's thread does.
#[derive(Clone, Copy, Debug)]
enum Move {
    /// It enters the guest, if it is on no processor.
    Enter,
    /// It leaves, if it is on one.
    Leave(Leaving),
    /// Its doorbell, if it has rung, is heard.
    Hear,
}

/// A vCPU with its thread and the processor it runs on.
struct Thread<'a> {
    id: u32,
    page: &'a BackingPage,
    vcpu: AvicVcpu<'a>,
    guest: Guest,
    has_rung: bool,
    /// It sleeps, and nobody has woken it since it fell asleep.
    sleeps: bool,
}

/// All of them, to be moved on between any two steps of the sender.
struct Threads<'a> {
    threads: RefCell<Vec<Thread<'a>>>,
    woken: RefCell<Vec<ApicId>>,
    moves: RefCell<Vec<(u8, usize, Move)>>,
    steps: Cell<u8>,
}

impl Host for Threads<'_> {
    fn act(&self, action: Action) {
        match action {
            Action::Wake(id) => self.woken.borrow_mut().push(id),
            Action::RingDoorbell(host) => self.ring(ApicId(host.number())),
            other => panic!("{other:?}"),
        }
    }
}

impl Threads<'_> {
    fn ring(&self, host: ApicId) {
        let mut threads = self.threads.borrow_mut();
        for thread in threads.iter_mut().filter(|thread| core_of(thread.id).number() == host.0) {
            thread.has_rung = true;
        }
    }

    /// Wakes who has been woken since the last time.
    fn wake(&self) {
        for id in self.woken.take() {
            for thread in self.threads.borrow_mut().iter_mut().filter(|thread| thread.id == id.0) {
                thread.sleeps = false;
            }
        }
    }

    /// Lets one step pass: everything that is due in it happens.
    fn step(&self) {
        let step = self.steps.replace(self.steps.get().saturating_add(1));
        self.wake();
        for (_, who, what) in self.moves.borrow().iter().filter(|(when, ..)| *when == step) {
            let mut threads = self.threads.borrow_mut();
            let count = threads.len();
            // The first is the sender: it stays where it is.
            if let Some(thread) = threads.get_mut(1 + who % count.max(2).saturating_sub(1)) {
                thread.step(*what);
            }
        }
    }
}

/// No vCPU's own way to and from processors asks for anything here: no device delivers to it.
struct Silent;

impl Host for Silent {
    fn act(&self, action: Action) {
        panic!("{action:?}");
    }
}

impl Thread<'_> {
    fn step(&mut self, what: Move) {
        let runs = matches!(self.vcpu.place(), Place::On(_));
        match what {
            Move::Enter if !runs => {
                self.vcpu.enter(core_of(self.id), &Silent).expect("it is there");
                self.guest.enter(self.page).expect("sensible fields");
                self.sleeps = false;
            }
            Move::Leave(why) if runs => {
                let left = self.vcpu.leave(why, &Silent).expect("it is there");
                self.sleeps = why == Leaving::Blocking && left == Left::Gone;
                // A doorbell that rings from now on finds nobody in guest mode.
                self.has_rung = false;
            }
            Move::Hear if runs && self.has_rung => {
                self.guest.hear_doorbell(self.page);
                self.has_rung = false;
            }
            _ => {}
        }
    }
}

/// The tables as the sender's processor sees them: time passes before each look.
struct Racing<'a> {
    memory: &'a Memory,
    threads: &'a Threads<'a>,
}

impl BackingPages for Racing<'_> {
    fn backing_page(&self, frame: u64) -> Option<&BackingPage> {
        self.threads.step();
        self.memory.backing_page(frame)
    }
}

impl AvicMemory for Racing<'_> {
    fn physical_entry(&self, address: u64) -> Option<&PhysicalCell> {
        self.threads.step();
        self.memory.physical_entry(address)
    }

    fn logical_entry(&self, address: u64) -> Option<&LogicalCell> {
        self.threads.step();
        self.memory.logical_entry(address)
    }
}

/// Sends a command while others move; the vCPUs that should know of it and do not.
fn race(memory: &Memory, processor: Processor, ringer: Ringer, icr: Icr, moves: Vec<(u8, usize, Move)>) -> Vec<u32> {
    let (table, logical) = memory.tables(ringer);
    let sender = memory.ids[0];
    let thread = |id: &u32| {
        let (page, guest) = (memory.page(*id), memory.guest(processor));
        let vcpu = AvicVcpu::new(ApicId(*id), GaTag(*id), table, page).expect("it is there");
        let mut thread = Thread { id: *id, page, vcpu, guest, has_rung: false, sleeps: false };
        thread.step(Move::Enter);
        thread
    };
    let threads = Threads {
        threads: RefCell::new(memory.ids.iter().map(thread).collect()),
        woken: RefCell::default(),
        moves: RefCell::new(moves),
        steps: Cell::new(0),
    };
    let racing = Racing { memory, threads: &threads };
    let mut guest = memory.guest(processor);
    // Whom the sender has found running before, it may believe to run for ever.
    for before in memory.ids.iter().skip(1) {
        let to_one = Icr::new().with_vector(0x20);
        let destination = if guest.vmcb.control.x2avic() { *before } else { before << 24 };
        let ipi = write(&mut guest, memory, sender, to_one.with_destination(destination));
        let _ = guest.send_ipi(ipi, memory.page(sender), memory, &mut |_| ());
        memory.page(*before).clear(VectorBits::InterruptRequest, 0x20);
    }
    let ipi = write(&mut guest, memory, sender, icr);
    let sent = guest.send_ipi(ipi, memory.page(sender), &racing, &mut |signal| match signal {
        Signal::Doorbell(host) => threads.ring(host),
        Signal::Interrupt(message) => panic!("{message:?}"),
    });
    threads.step();
    if let Access::Exit(exit @ Exit::IncompleteIpi { .. }) = sent {
        let told = IncompleteIpi::from_info(exit.info1(), exit.info2());
        if let Rest::Send(_) = finish_ipi(table, logical, ApicId(sender), told, &threads).expect("intact") {
            for id in memory.addressed(sender, icr) {
                let vector = Vector::new(icr.vector()).expect("16 or more");
                threads.step();
                post(table, ApicId(id), memory.page(id), vector, TriggerMode::Edge, &threads).expect("it is there");
            }
        }
    }
    threads.wake();
    // Doorbells arrive in the end.
    threads.threads.borrow_mut().iter_mut().for_each(|thread| thread.step(Move::Hear));
    let addressed = memory.addressed(sender, icr);
    let lost = |thread: &&Thread<'_>| {
        let pending = thread.page.has(VectorBits::InterruptRequest, icr.vector());
        assert_eq!(pending, addressed.contains(&thread.id), "{} of {addressed:?}", thread.id);
        let knows = match thread.vcpu.place() {
            Place::On(_) => thread.guest.recognition() == Recognition::Recognised,
            Place::Blocked => !thread.sleeps,
            Place::Preempted => true,
        };
        pending && !knows && thread.id != sender
    };
    threads.threads.borrow().iter().filter(lost).map(|thread| thread.id).collect()
}

fn moves() -> impl Strategy<Value = Vec<(u8, usize, Move)>> {
    let what = prop_oneof![
        2 => Just(Move::Enter),
        2 => Just(Move::Leave(Leaving::Blocking)),
        1 => Just(Move::Leave(Leaving::Preempting)),
        1 => Just(Move::Hear),
    ];
    vec((0..40_u8, any::<usize>(), what), 0..60)
}

proptest! {
    /// R-73's other half: IsRunning may change at any moment, and neither table nor doorbell loses a vector.
    #[test]
    fn nothing_is_lost_however_vcpus_come_and_go_while_a_command_is_sent(
        (addressing, icr) in addressings().prop_flat_map(|addressing| (Just(addressing), commands(addressing))),
        count in 2..9_u32,
        moves in moves(),
        ringer in prop_oneof![3 => Just(Ringer::Processor), 1 => Just(Ringer::Hypervisor)],
    ) {
        let icr = icr
            .with_delivery(DeliveryMode::Fixed)
            .with_trigger(TriggerMode::Edge)
            .with_vector(icr.vector().max(0x21));
        let memory = Memory::new(addressing, (0..count).collect(), 64);
        // With the erratum nothing is lost if the hypervisor rings, and without it if the processor does.
        let erratum_1235 = if ringer == Ringer::Hypervisor { Erratum1235::PRESENT } else { Erratum1235::Absent };
        let processor = Processor { erratum_1235, ..Processor::default() };
        assert_eq!(race(&memory, processor, ringer, icr, moves), []);
    }
}

/// What the erratum does to a hypervisor that does not know it: the sender rings where the target has run, and does not exit.
#[test]
fn with_erratum_1235_a_processor_that_rings_itself_loses_a_wake_up() {
    let memory = Memory::new(Addressing::Derived, vec![0, 1], 8);
    let icr = Icr::new().with_vector(0x51).with_destination(1);
    let lost = |erratum_1235, ringer| {
        let processor = Processor { erratum_1235, ..Processor::default() };
        let memory = Memory::new(Addressing::Derived, memory.ids.clone(), 8);
        race(&memory, processor, ringer, icr, vec![(0, 0, Move::Leave(Leaving::Blocking))])
    };
    assert_eq!(lost(Erratum1235::PRESENT, Ringer::Processor), [1]);
    assert_eq!(lost(Erratum1235::PRESENT, Ringer::Hypervisor), []);
    assert_eq!(lost(Erratum1235::Absent, Ringer::Processor), []);
}
