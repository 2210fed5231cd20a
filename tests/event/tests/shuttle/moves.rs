//! Senders, four vCPUs, and somebody who moves ports between vCPUs and priorities.

use std::array;

use carillon_event_tests::KernelPages;
use carillon_event_tests::bring_up;
use carillon_event_tests::kernel;
use guest_shim::EoiMode;
use hypervisor_abi::Port;
use hypervisor_abi::event::FifoPriority;
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

const SENDS: u32 = 3;

/// Two senders of the peer, an IPI between vCPUs, and one who moves each port once and gives two of them another priority: too
/// seldom for a send to be given up, so nothing may be dropped.
fn scenario() {
    let machine = machine(2);
    let pages = KernelPages::new(&machine, GUEST, PORTS);
    let guest = kernel(&machine, GUEST, &pages);
    let mut vcpus = VCPUS.map(|vcpu| bring_up(&machine, GUEST, &guest, vcpu));
    let ports: [(Port, Port); 4] = array::from_fn(|at| {
        connect(&machine, &guest, VCPUS[at], if at % 2 == 0 { EoiMode::Early } else { EoiMode::Late })
    });
    let ipi = guest.bind_ipi(VCPUS[3], EoiMode::Early).expect("a free port");
    guest.unmask(ipi).expect("a bound port");
    let accounts: [Account; 5] = Default::default();
    let account = |port: Port| &accounts[ports.iter().position(|(own, _)| *own == port).unwrap_or(4)];
    thread::scope(|scope| {
        for half in ports.chunks(2) {
            let (machine, account) = (&machine, &account);
            scope.spawn(move || {
                for (own, theirs) in (0..SENDS).flat_map(|_| half) {
                    account(*own).count_sent();
                    machine.get(PEER).send(machine, *theirs).expect("a connected port");
                }
            });
        }
        scope.spawn(|| {
            for (at, (port, _)) in ports.iter().enumerate() {
                guest.move_to(*port, VCPUS[(at + 1) % 4]).expect("a bound port");
                // The others share their new queue with a port that leaves it.
                if at % 3 == 0 {
                    let priority = if at == 0 { FifoPriority::HIGHEST } else { FifoPriority::LOWEST };
                    guest.set_priority(*port, priority).expect("a bound port");
                }
            }
        });
        for (at, vcpu) in vcpus.iter_mut().enumerate() {
            let (guest, account) = (&guest, &account);
            scope.spawn(move || {
                if at == 0 {
                    account(ipi).count_sent();
                    guest.send(ipi).expect("a bound port");
                }
                live(vcpu, guest, 6, |port| account(port).handle());
            });
        }
    });
    drain(&mut vcpus, &guest, |port| account(port).handle());
    for (port, _) in ports {
        account(port).check(&port.to_string(), 0);
        assert!(!guest.is_pending(port), "{port} is pending and in no queue");
    }
    account(ipi).check("the IPI", 0);
    assert_eq!(machine.get(GUEST).dropped_events(), 0);
    machine.check();
}

#[test]
fn senders_moves_and_priorities_lose_nothing_and_repeat_nothing() {
    explore(1000, 20_000, scenario);
}
