//! Real threads: senders, vCPUs and a mover at once. Every event must be seen, whatever the interleaving.

use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::SeqCst;
use std::thread;

use guest_shim::EoiMode;
use guest_shim::Round;
use guest_shim::Served;
use guest_shim::Time;
use guest_shim::Work;
use hypervisor_abi::Port;
use parking_lot::RawMutex;

use crate::machine::Bitmaps;
use crate::machine::Machine;
use crate::machine::PEER;
use crate::machine::Queues;
use crate::machine::TestAbi;
use crate::machine::V0;
use crate::machine::V1;
use crate::machine::bring_up;
use crate::machine::guest;

const PORTS: usize = 8;
const SENDS: u32 = 4000;

/// What has been sent on each port, and what its handler has seen of that.
#[derive(Default)]
struct Tally {
    sent: [AtomicU32; PORTS],
    seen: [AtomicU32; PORTS],
    handled: [AtomicU32; PORTS],
}

fn run<T: TestAbi>()
where
    for<'m> T::Abi<'m>: Sync + Send,
{
    let machine = Machine::<RawMutex>::new(2, 63);
    let guest = guest::<T, _>(&machine, 64);
    let vcpus = [V0, V1].map(|vcpu| bring_up::<T, _>(&machine, &guest, vcpu));
    let ports: Vec<(Port, Port)> = (0..PORTS)
        .map(|at| {
            let eoi = if at % 2 == 0 { EoiMode::Early } else { EoiMode::Late };
            let port = guest.offer(PEER, V0, eoi).unwrap();
            guest.unmask(port).unwrap();
            (port, machine.connect(&guest, port))
        })
        .collect();
    let (tally, is_over) = (Tally::default(), AtomicBool::new(false));
    let index = |port: Port| ports.iter().position(|(own, _)| *own == port).expect("a port of the test");
    let all_seen = || (0..PORTS).all(|at| tally.seen[at].load(SeqCst) == SENDS);
    thread::scope(|scope| {
        for half in 0..2 {
            let (tally, ports, machine) = (&tally, &ports, &machine);
            scope.spawn(move || {
                for number in 1..=SENDS {
                    for at in (0..PORTS).filter(|at| at / (PORTS / 2) == half) {
                        tally.sent[at].store(number, SeqCst);
                        machine.send_from_peer(ports[at].1);
                    }
                }
            });
        }
        scope.spawn(|| {
            for round in 0..500_usize {
                let (port, _) = ports[round % PORTS];
                guest.move_to(port, if round % 3 == 0 { V1 } else { V0 }).unwrap();
                guest.mask(port).unwrap();
                guest.unmask(port).unwrap();
                thread::yield_now();
            }
            is_over.store(true, SeqCst);
        });
        for mut vcpu in vcpus {
            let (tally, guest, index, is_over, all_seen) = (&tally, &guest, &index, &is_over, &all_seen);
            scope.spawn(move || {
                // Bounded, so that a lost event is a failure below and not a test that hangs.
                for _ in 0..20_000_000_u32 {
                    if vcpu.is_upcall_pending() {
                        let mut round = Round::More;
                        while round == Round::More {
                            round = vcpu
                                .handle(guest, Time(0), |port| {
                                    let at = index(port);
                                    tally.handled[at].fetch_add(1, SeqCst);
                                    let sent = tally.sent[at].load(SeqCst);
                                    tally.seen[at].fetch_max(sent, SeqCst);
                                    Served::Finished(Work::Done)
                                })
                                .unwrap();
                        }
                    } else if is_over.load(SeqCst) && all_seen() {
                        break;
                    } else {
                        thread::yield_now();
                    }
                }
            });
        }
    });
    for (at, (port, _)) in ports.iter().enumerate() {
        assert_eq!(tally.seen[at].load(SeqCst), SENDS, "the last event of {port} was lost");
        assert!(tally.handled[at].load(SeqCst) <= SENDS, "{port} was handled more often than sent");
        assert!(!guest.is_pending(*port));
    }
    assert_eq!(machine.guest().dropped_events(), 0);
}

#[test]
fn no_event_is_lost_between_senders_vcpus_and_moves_with_the_2_level_abi() {
    run::<Bitmaps>();
}

#[test]
fn no_event_is_lost_between_senders_vcpus_and_moves_with_the_fifo_abi() {
    run::<Queues>();
}
