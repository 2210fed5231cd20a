//! Closing, opening again and switching ABIs beside senders.

use loom::sync::Arc;
use loom::thread;

use hypervisor_abi::DomainId;
use hypervisor_abi::event::LINKED;
use hypervisor_abi::sync::Ordering;
use hypervisor_lib::event::EoiUnmask;
use hypervisor_lib::event::ResetStep;

use crate::machine::ARRAY_GFN;
use crate::machine::Machine;
use crate::machine::V0;
use crate::machine::explore;

#[test]
fn a_send_beside_close_and_open_again_never_reaches_the_next_owner_of_the_port() {
    for fifo in [false, true] {
        explore(4, move || {
            let machine = Arc::new(if fifo { Machine::with_fifo() } else { Machine::new() });
            let (port, theirs) = machine.connected();
            let sender = {
                let machine = Arc::clone(&machine);
                thread::spawn(move || machine.send_from_peer(theirs))
            };
            machine.own().close(&*machine, port).expect("an open port");
            let next = machine.ipi(V0);
            sender.join().expect("a sender that ends");
            assert!(!machine.is_pending(next), "{next} has got another's event");
            if next == port && fifo {
                assert_eq!(machine.word(port).0.load(Ordering::Acquire) & LINKED, 0);
            }
        });
    }
}

#[test]
fn a_send_beside_the_close_of_its_own_end_shows_at_the_other_end_before_the_close_returns_or_never() {
    for fifo in [false, true] {
        explore(4, move || {
            let machine = Arc::new(if fifo { Machine::with_fifo() } else { Machine::new() });
            let (port, theirs) = machine.connected();
            let sender = {
                let machine = Arc::clone(&machine);
                // Open or not any more.
                thread::spawn(move || machine.peer().send(&*machine, theirs).is_ok())
            };
            machine.peer().close(&*machine, theirs).expect("an open port");
            let was_pending = machine.is_pending(port);
            sender.join().expect("a sender that ends");
            assert_eq!(machine.is_pending(port), was_pending, "an event has come from an end that is closed");
        });
    }
}

#[test]
fn a_send_beside_a_reset_writes_no_page_that_was_given_back() {
    explore(4, || {
        let machine = Arc::new(Machine::with_fifo());
        let (port, theirs) = machine.connected();
        let sender = {
            let machine = Arc::clone(&machine);
            thread::spawn(move || machine.send_from_peer(theirs))
        };
        machine.own().reset(&*machine, DomainId::SELF, ResetStep::Begin).expect("nobody is preempted");
        // The guest takes its pages for something else.
        machine.word(port).0.store(0, Ordering::SeqCst);
        machine.control(V0).ready.store(0, Ordering::SeqCst);
        sender.join().expect("a sender that ends");
        let (word, ready) =
            (machine.word(port).0.load(Ordering::SeqCst), machine.control(V0).ready.load(Ordering::SeqCst));
        assert_eq!((word, ready), (0, 0), "a page was written after it was given back");
    });
}

#[test]
fn both_ends_closed_at_once_leave_nothing_connected() {
    explore(4, || {
        let machine = Arc::new(Machine::new());
        let (port, theirs) = machine.connected();
        let closer = {
            let machine = Arc::clone(&machine);
            thread::spawn(move || machine.peer().close(&*machine, theirs).expect("an open port"))
        };
        machine.own().close(&*machine, port).expect("an open port");
        closer.join().expect("a closer that ends");
        assert_eq!((machine.own().open_ports(), machine.peer().open_ports()), (0, 0));
    });
}

#[test]
fn an_event_beside_the_switch_to_fifo_is_delivered_once() {
    explore(2, || {
        let machine = Arc::new(Machine::new());
        let (port, theirs) = machine.connected();
        let sender = {
            let machine = Arc::clone(&machine);
            thread::spawn(move || machine.send_from_peer(theirs))
        };
        machine.use_fifo();
        machine.own().expand_array(&*machine, ARRAY_GFN).expect("a page");
        sender.join().expect("a sender that ends");
        assert_eq!(machine.drain(V0), [port]);
    });
}

/// R-62 speaks of Viridian's reference-TSC page. The pages a guest names here are set the same way, by any of its vCPUs.
#[test]
fn r62_a_page_that_two_vcpus_set_at_once_is_held_once() {
    explore(3, || {
        let machine = Arc::new(Machine::new());
        let before = machine.pins();
        let register =
            |gfn| move |machine: &Machine| machine.own().register_pirq_eoi_page(machine, gfn, EoiUnmask::Manual);
        let other = {
            let (machine, register) = (Arc::clone(&machine), register(ARRAY_GFN));
            thread::spawn(move || register(&machine))
        };
        let results = [register(ARRAY_GFN + 1)(&machine), other.join().expect("a vCPU that ends")];
        assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 1, "{results:?}");
        assert_eq!(machine.pins(), before + 1);
    });
}

#[test]
fn r10_a_poll_beside_a_send_is_ready_or_woken() {
    explore(4, || {
        let machine = Arc::new(Machine::with_fifo());
        let (port, theirs) = machine.connected();
        machine.mask(port);
        machine.kicks();
        let sender = {
            let machine = Arc::clone(&machine);
            thread::spawn(move || machine.send_from_peer(theirs))
        };
        let poll = machine.own().poll(&*machine, V0, &[port]).expect("a port");
        sender.join().expect("a sender that ends");
        let woken = machine.kicks() > 0;
        assert!(poll == hypervisor_lib::event::Poll::Ready || woken, "the poller sleeps on a pending port");
    });
}
