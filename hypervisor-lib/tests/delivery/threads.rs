//! Many threads and one vCPU: nothing is lost, nothing is doubled, nobody is kicked for nothing.

use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;
use std::thread;

use hypervisor_abi::VcpuId;
use hypervisor_abi::apic::DeliveryMode;
use hypervisor_abi::apic::TriggerMode;
use hypervisor_lib::delivery::Action;
use hypervisor_lib::delivery::Destination;
use hypervisor_lib::delivery::Message;

use crate::machine::Machine;

#[test]
fn every_vector_of_three_senders_arrives_with_a_kick_that_is_due() {
    const ROUNDS: usize = 2000;
    let Machine { host, mut apics, .. } = Machine::x2apic(&[0, 1]);
    let seen: Vec<AtomicUsize> = (0..256).map(|_| AtomicUsize::new(0)).collect();
    let mut apic = apics.pop().expect("the second");
    thread::scope(|scope| {
        for sender in 0..3_u8 {
            let (host, seen) = (&host, &seen);
            scope.spawn(move || {
                let trigger = if sender == 2 { TriggerMode::Level } else { TriggerMode::Edge };
                for round in 0..ROUNDS {
                    // A vector is sent again only when it has been seen, so each must arrive.
                    let vector = 0x20 + sender * 70 + u8::try_from(round % 70).expect("below 70");
                    let before = seen[usize::from(vector)].load(Ordering::Acquire);
                    let destination = Destination::Physical(1);
                    let message = Message { destination, delivery: DeliveryMode::Fixed, vector, trigger };
                    host.bus.send(&message, host);
                    while round % 70 == 69 && seen[usize::from(vector)].load(Ordering::Acquire) == before {
                        thread::yield_now();
                    }
                }
            });
        }
        let total = |seen: &[AtomicUsize]| seen.iter().map(|count| count.load(Ordering::Relaxed)).sum::<usize>();
        while total(&seen) < 3 * ROUNDS {
            apic.sync(&host);
            while let Some(vector) = apic.dispatchable() {
                apic.acknowledge();
                apic.end_of_interrupt(&host);
                seen[vector.index()].fetch_add(1, Ordering::Release);
            }
            thread::yield_now();
        }
    });
    let actions = host.take();
    let kicks = actions.iter().filter(|action| **action == Action::Kick(VcpuId(1))).count();
    let ends = actions.iter().filter(|action| matches!(action, Action::EndOfInterrupt(_))).count();
    assert_eq!(kicks + ends, actions.len());
    assert_eq!(ends, ROUNDS, "the level-triggered ones");
    assert!((1..=3 * ROUNDS).contains(&kicks), "{kicks} kicks");
}
