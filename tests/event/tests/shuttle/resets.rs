//! A guest that resets its event channels while its peer sends, and starts again.

use carillon_event_tests::KernelPages;
use carillon_event_tests::bring_up;
use carillon_event_tests::kernel;
use guest_shim::EoiMode;
use hypervisor_abi::DomainId;
use hypervisor_abi::Port;
use hypervisor_lib::event::EventAbi;
use hypervisor_lib::event::ResetStep;
use hypervisor_lib::event::WordSize;
use shuttle::thread;

use crate::machine::Account;
use crate::machine::GUEST;
use crate::machine::PEER;
use crate::machine::PORTS;
use crate::machine::VCPUS;
use crate::machine::connect;
use crate::machine::drain;
use crate::machine::explore;
use crate::machine::live;
use crate::machine::machine;

const SENDS: u32 = 4;

/// The first life's ports get events until the reset, from a peer that goes on sending; the second life's ports are others.
/// An event of the first life must not show in the second, where an IPI port that nobody sends to tells; and what is sent in
/// the second must all arrive.
fn scenario() {
    let machine = machine(2);
    let before = KernelPages::new(&machine, GUEST, PORTS);
    let first = kernel(&machine, GUEST, &before);
    let mut vcpus = VCPUS.map(|vcpu| bring_up(&machine, GUEST, &first, vcpu));
    let ports = [0, 1].map(|at| connect(&machine, &first, VCPUS[at], EoiMode::Early));
    let account = Account::default();
    let pages = KernelPages::new(&machine, GUEST, PORTS);
    let mut outcome = None;
    thread::scope(|scope| {
        for (_, theirs) in ports {
            let machine = &machine;
            // Connected or not any more: a send to nowhere is no error.
            scope.spawn(move || {
                (0..SENDS).for_each(|_| machine.get(PEER).send(machine, theirs).expect("a port of the peer"));
            });
        }
        let (machine, account, pages, first, outcome) = (&machine, &account, &pages, &first, &mut outcome);
        // Not on this thread: shuttle wakes a scope's thread when the scope's last thread ends, whatever it waits for.
        scope.spawn(move || {
            thread::scope(|lives| {
                for vcpu in &mut vcpus {
                    lives.spawn(move || live(vcpu, first, 2, |_| {}));
                }
            });
            // The vCPUs have stopped; the peer sends on.
            machine.get(GUEST).reset(machine, DomainId::SELF, ResetStep::Begin).expect("nobody preempts it");
            assert_eq!(machine.get(GUEST).abi(), EventAbi::TwoLevel(WordSize::Bits64));
            let second = kernel(machine, GUEST, pages);
            let vcpus = VCPUS.map(|vcpu| bring_up(machine, GUEST, &second, vcpu));
            let silent: [Port; 2] = [2, 3].map(|at| {
                let port = second.bind_ipi(VCPUS[at], EoiMode::Early).expect("a free port");
                second.unmask(port).expect("a bound port");
                port
            });
            // The peer's end of the first connection is offered to the guest again.
            let port = second.bind_interdomain(PEER, ports[0].1, VCPUS[1], EoiMode::Late).expect("offered again");
            second.unmask(port).expect("a bound port");
            scope.spawn(move || {
                for _ in 0..SENDS {
                    account.count_sent();
                    machine.get(PEER).send(machine, ports[0].1).expect("a connected port");
                }
            });
            *outcome = Some((second, vcpus, port, silent));
        });
    });
    let (second, mut vcpus_after, port, silent) = outcome.expect("the guest has come to its second life");
    drain(&mut vcpus_after, &second, |taken| {
        assert!(!silent.contains(&taken), "an event of before the reset shows at {taken}");
        assert_eq!(taken, port);
        account.handle();
    });
    // Beside what was counted: the event of the connection itself, and the first life's sender.
    account.check(&port.to_string(), 1 + SENDS);
    assert!(!second.is_pending(port));
    machine.check();
}

#[test]
fn a_reset_beside_senders_leaves_nothing_behind_and_loses_nothing_after() {
    explore(1000, 20_000, scenario);
}
