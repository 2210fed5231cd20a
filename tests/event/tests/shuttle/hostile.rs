//! A hostile guest that writes between any two atomic accesses of a sender. The bound on steps is the proof that it cannot
//! keep the sender busy; another guest of the same sender loses nothing.

use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering as StdOrdering;

use carillon_event_tests::KernelPages;
use carillon_event_tests::Layout;
use carillon_event_tests::View;
use carillon_event_tests::bring_up;
use carillon_event_tests::kernel;
use guest_shim::EoiMode;
use hypervisor_abi::DomainId;
use hypervisor_abi::Port;
use hypervisor_abi::event::BUSY;
use hypervisor_abi::event::ControlBlock;
use hypervisor_abi::event::EventArray;
use hypervisor_abi::event::LINKED;
use hypervisor_abi::event::PENDING;
use hypervisor_abi::sync::Ordering;
use hypervisor_lib::event::GuestPlace;
use shuttle::thread;

use crate::machine::Account;
use crate::machine::GUEST;
use crate::machine::PEER;
use crate::machine::PORTS;
use crate::machine::VCPUS;
use crate::machine::connect;
use crate::machine::drain;
use crate::machine::explore;
use crate::machine::machine;

const HOSTILE: DomainId = DomainId(2);
const SENDS: u32 = 4;

/// The hostile guest's ports are 1 to 3; it writes every state there is into their words, and links to anywhere.
fn scenario() {
    let machine = machine(3);
    let pages = KernelPages::new(&machine, GUEST, PORTS);
    let guest = kernel(&machine, GUEST, &pages);
    let mut vcpus = [bring_up(&machine, GUEST, &guest, VCPUS[0])];
    let (honest, to_honest) = connect(&machine, &guest, VCPUS[0], EoiMode::Early);
    let (hostile, peer) = (machine.get(HOSTILE), machine.get(PEER));
    hostile.init_control(&machine, VCPUS[0], Layout::control(VCPUS[0])).expect("a control block");
    hostile.expand_array(&machine, Layout::ARRAY).expect("a page");
    let to_hostile = [(); 3].map(|()| {
        let port = hostile.alloc_unbound(&machine, HOSTILE, PEER).expect("a port");
        peer.bind_interdomain(&machine, HOSTILE, port).expect("an offered port")
    });
    let array: &EventArray = machine.memory.view(HOSTILE, GuestPlace::frame(Layout::ARRAY)).expect("memory");
    let control: &ControlBlock = View::view(&machine.memory, HOSTILE, Layout::control(VCPUS[0]));
    let account = Account::default();
    thread::scope(|scope| {
        scope.spawn(|| {
            for (at, theirs) in (0..SENDS).flat_map(|_| to_hostile).enumerate() {
                peer.send(&machine, theirs).expect("a connected port");
                if at % 3 == 0 {
                    account.count_sent();
                    peer.send(&machine, to_honest).expect("a connected port");
                }
            }
        });
        scope.spawn(|| {
            let values = [LINKED, PENDING, LINKED | BUSY | 2, LINKED | 0x1_ffff, 0, u32::MAX, PENDING | LINKED | 1];
            for round in 0..20 {
                for port in 1..=3 {
                    array.0[port].0.store(values[(round + port) % values.len()], Ordering::SeqCst);
                }
                control.ready.store(0, Ordering::SeqCst);
            }
        });
    });
    drain(&mut vcpus, &guest, |port| {
        assert_eq!(port, honest);
        account.handle();
    });
    account.check("the honest guest's port", 0);
    assert_eq!(machine.get(GUEST).dropped_events(), 0);
    machine.check();
}

#[test]
fn r05_a_guest_that_keeps_changing_words_costs_a_sender_a_bounded_number_of_steps() {
    explore(1000, 6_000, scenario);
}

/// In how many schedules the guest made its sender give an event up. The test's own: no thread changes at it.
static GIVEN_UP: AtomicU32 = AtomicU32::new(0);

/// A queue's tail changes between any two steps of the sender that appends to it. Whatever became of the event, the guest's
/// other queues go on, and this one does once the guest has put its word right.
fn given_up() {
    let machine = machine(3);
    let hostile = machine.get(HOSTILE);
    hostile.init_control(&machine, VCPUS[0], Layout::control(VCPUS[0])).expect("a control block");
    hostile.expand_array(&machine, Layout::ARRAY).expect("a page");
    let [tail, next, other] = [(); 3].map(|()| hostile.bind_ipi(&machine, VCPUS[0]).expect("a port"));
    hostile.set_priority(other, 3).expect("a port");
    let array: &EventArray = machine.memory.view(HOSTILE, GuestPlace::frame(Layout::ARRAY)).expect("memory");
    let control: &ControlBlock = View::view(&machine.memory, HOSTILE, Layout::control(VCPUS[0]));
    let word = |port: Port| &array.0[port.index()].0;
    let head = |priority: usize| Port(control.head[priority].load(Ordering::SeqCst));
    hostile.send(&machine, tail).expect("an IPI port");
    thread::scope(|scope| {
        scope.spawn(|| hostile.send(&machine, next).expect("an IPI port"));
        scope.spawn(|| {
            for round in 0..24 {
                word(tail).store(LINKED | PENDING | (40 + round), Ordering::SeqCst);
            }
        });
    });
    let dropped = hostile.dropped_events();
    assert!(dropped <= 1);
    GIVEN_UP.fetch_add(dropped, StdOrdering::Relaxed);
    assert_ne!(word(next).load(Ordering::SeqCst) & PENDING, 0, "it is pending all the same");
    hostile.send(&machine, other).expect("an IPI port");
    assert_eq!((head(3), control.ready.load(Ordering::SeqCst)), (other, 1 << 3 | 1 << 7));
    // The guest takes both words off.
    [tail, next].into_iter().for_each(|port| word(port).store(0, Ordering::SeqCst));
    hostile.send(&machine, tail).expect("an IPI port");
    hostile.send(&machine, next).expect("an IPI port");
    assert_eq!(head(7), tail);
    assert_eq!(word(tail).load(Ordering::SeqCst), PENDING | LINKED | next.0);
    assert_eq!(hostile.dropped_events(), dropped);
    machine.check();
}

#[test]
fn r05_an_event_that_is_given_up_costs_the_guest_that_event_alone() {
    explore(1500, 6_000, given_up);
    println!("given up in {} schedules", GIVEN_UP.load(StdOrdering::Relaxed));
    assert_ne!(GIVEN_UP.load(StdOrdering::Relaxed), 0, "no schedule interfered often enough");
}
