//! A hostile guest that writes between any two atomic accesses of a sender. The bound on steps is the proof that it cannot
//! keep the sender busy; another guest of the same sender loses nothing.

use carillon_event_tests::KernelPages;
use carillon_event_tests::Layout;
use carillon_event_tests::View;
use carillon_event_tests::bring_up;
use carillon_event_tests::kernel;
use guest_shim::EoiMode;
use hypervisor_abi::DomainId;
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
