//! Sender against consumer and unmask over the bitmaps.

use loom::sync::Arc;
use loom::thread;

use crate::machine::Machine;
use crate::machine::V0;
use crate::machine::explore;

#[test]
fn a_sender_and_the_consumer_lose_nothing() {
    explore(3, || {
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
    explore(3, || {
        let machine = Arc::new(Machine::new());
        let port = machine.ipi(V0);
        machine.mask(port);
        let sender = {
            let machine = Arc::clone(&machine);
            thread::spawn(move || machine.send(port))
        };
        machine.unmask(port);
        sender.join().expect("a sender that ends");
        assert_eq!(machine.drain(V0), [port]);
    });
}

#[test]
fn an_event_that_is_absorbed_is_seen_by_whoever_clears_the_bit() {
    explore(3, || {
        let machine = Arc::new(Machine::new());
        let port = machine.ipi(V0);
        let data = Arc::new(loom::sync::atomic::AtomicU32::new(0));
        machine.send(port);
        let sender = {
            let (machine, data) = (Arc::clone(&machine), Arc::clone(&data));
            thread::spawn(move || {
                data.store(1, loom::sync::atomic::Ordering::Relaxed);
                machine.send(port);
            })
        };
        let first = machine.consume(V0);
        let seen = data.load(loom::sync::atomic::Ordering::Relaxed);
        sender.join().expect("a sender that ends");
        assert_eq!(first, [port]);
        let again = machine.drain(V0);
        assert!(seen == 1 || again == [port], "the data was written but nobody will look at it");
    });
}
