//! Producer against consumer, producer against producer, and moves between queues.

use loom::sync::Arc;
use loom::thread;

use hypervisor_abi::Port;

use crate::machine::ARRAY_GFN;
use crate::machine::Machine;
use crate::machine::V0;
use crate::machine::V1;
use crate::machine::explore;

fn sorted(mut ports: Vec<Port>) -> Vec<Port> {
    ports.sort_unstable();
    ports
}

#[test]
fn two_senders_and_the_consumer_lose_nothing_and_repeat_nothing() {
    explore(4, || {
        let machine = Arc::new(Machine::with_fifo());
        let [a, b] = [machine.ipi(V0), machine.ipi(V0)];
        let senders = [a, b].map(|port| {
            let machine = Arc::clone(&machine);
            thread::spawn(move || machine.send(port))
        });
        let mut taken = machine.consume(V0);
        senders.into_iter().for_each(|sender| sender.join().expect("a sender that ends"));
        taken.extend(machine.drain(V0));
        assert_eq!(sorted(taken), [a, b]);
        assert!(machine.kicks() <= 2);
    });
}

#[test]
fn r02_an_old_tail_added_again_beside_another_port_loses_neither() {
    explore(4, || {
        let machine = Arc::new(Machine::with_fifo());
        let [tail, other] = [machine.ipi(V0), machine.ipi(V0)];
        machine.send(tail);
        assert_eq!(machine.drain(V0), [tail]);
        let senders = [tail, other].map(|port| {
            let machine = Arc::clone(&machine);
            thread::spawn(move || machine.send(port))
        });
        senders.into_iter().for_each(|sender| sender.join().expect("a sender that ends"));
        assert_eq!(sorted(machine.drain(V0)), [tail, other]);
    });
}

#[test]
fn r04_a_queue_the_consumer_empties_while_a_port_is_appended_loses_nothing() {
    explore(4, || {
        let machine = Arc::new(Machine::with_fifo());
        let [first, second] = [machine.ipi(V0), machine.ipi(V0)];
        machine.send(first);
        let sender = {
            let machine = Arc::clone(&machine);
            thread::spawn(move || machine.send(second))
        };
        let mut taken = machine.consume(V0);
        sender.join().expect("a sender that ends");
        taken.extend(machine.drain(V0));
        assert_eq!(sorted(taken), [first, second]);
    });
}

#[test]
fn r22_an_unmask_beside_a_send_delivers_once() {
    explore(4, || {
        let machine = Arc::new(Machine::with_fifo());
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
fn r11_a_move_beside_two_sends_leaves_every_queue_sound() {
    explore(4, || {
        let machine = Arc::new(Machine::with_fifo());
        let (port, theirs) = machine.connected();
        let other = machine.ipi(V0);
        machine.send_from_peer(theirs);
        assert_eq!(machine.drain(V0), [port]);
        let mover = {
            let machine = Arc::clone(&machine);
            thread::spawn(move || machine.own().bind_vcpu(&*machine, port, V1).expect("a port"))
        };
        let sender = {
            let machine = Arc::clone(&machine);
            thread::spawn(move || machine.send_from_peer(theirs))
        };
        machine.send(other);
        mover.join().expect("a mover that ends");
        sender.join().expect("a sender that ends");
        let taken = [machine.drain(V0), machine.drain(V1)].concat();
        assert_eq!(sorted(taken), [port, other]);
    });
}

#[test]
fn r06_an_event_beside_the_page_that_brings_its_word_is_raised_once() {
    explore(4, || {
        let machine = Machine::new();
        machine.use_fifo();
        let machine = Arc::new(machine);
        let (port, theirs) = machine.connected();
        let sender = {
            let machine = Arc::clone(&machine);
            thread::spawn(move || machine.send_from_peer(theirs))
        };
        machine.own().expand_array(&*machine, ARRAY_GFN).expect("a page");
        sender.join().expect("a sender that ends");
        assert_eq!(machine.drain(V0), [port]);
    });
}
