//! Sender against consumer and unmask over the bitmaps.

use loom::sync::Arc;
use loom::thread;

use hypervisor_abi::sync::AtomicU32;
use hypervisor_abi::sync::Ordering;
use hypervisor_abi::sync::fence;

use crate::machine::Machine;
use crate::machine::V0;
use crate::machine::explore;

#[test]
fn a_sender_and_the_consumer_lose_nothing() {
    explore(4, || {
        let machine = Arc::new(Machine::new());
        let [a, b] = [machine.ipi(V0), machine.ipi(V0)];
        machine.send(a);
        let sender = {
            let machine = Arc::clone(&machine);
            thread::spawn(move || machine.send(b))
        };
        let mut taken = machine.consume(V0);
        sender.join().expect("a sender that ends");
        taken.extend(machine.drain(V0));
        taken.sort_unstable();
        assert_eq!(taken, [a, b]);
    });
}

#[test]
fn r22_an_unmask_beside_a_send_delivers_once() {
    explore(4, || {
        let machine = Arc::new(Machine::new());
        let (port, theirs) = machine.connected();
        machine.mask(port);
        let sender = {
            let machine = Arc::clone(&machine);
            thread::spawn(move || machine.send_from_peer(theirs))
        };
        machine.unmask(port);
        sender.join().expect("a sender that ends");
        assert_eq!(machine.drain(V0), [port]);
    });
}

#[test]
fn an_event_that_is_absorbed_is_seen_by_whoever_clears_the_bit() {
    for fifo in [false, true] {
        explore(4, move || {
            let machine = Arc::new(if fifo { Machine::with_fifo() } else { Machine::new() });
            let port = machine.ipi(V0);
            let data = Arc::new(AtomicU32::new(0));
            machine.send(port);
            let sender = {
                let (machine, data) = (Arc::clone(&machine), Arc::clone(&data));
                thread::spawn(move || {
                    data.store(1, Ordering::Relaxed);
                    machine.send(port);
                })
            };
            let first = machine.consume(V0);
            fence(Ordering::SeqCst);
            let seen = data.load(Ordering::Relaxed);
            sender.join().expect("a sender that ends");
            let times = first.len() + machine.drain(V0).len();
            assert!((1..=2).contains(&times), "{times} deliveries of two events");
            assert!(seen == 1 || times == 2, "the data was written but nobody will look at it");
        });
    }
}
