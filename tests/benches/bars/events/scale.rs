//! E6: many ports, many vCPUs, many priorities. An operation is a batch of events, sent and then taken.
//!
//! With all ports at work an event touches a line of three tables, five mebibytes in all: what that costs is the caches'
//! business, and other work on the machine, which turns them out, shows here more than in any other bar.

use carillon_tests::Xorshift;
use guest_shim::Fifo;
use hypervisor_abi::Port;
use hypervisor_abi::VcpuId;
use hypervisor_abi::event::FIFO_CHANNELS;
use hypervisor_abi::event::FifoPriority;
use spinning_top::RawSpinlock;

use super::guest::Guest;
use super::hypervisor::Size;
use crate::harness::Bar;
use crate::harness::Limit;
use crate::harness::Race;

const SEED: u64 = 0x9e37_79b9_7f4a_7c15;

/// A workload: each batch, so many random ports get an event, and then all are taken.
#[derive(Clone, Copy)]
struct Batches {
    /// Events in a batch.
    events: u64,
    /// Ports of the guest.
    ports: u32,
    /// The guest's vCPUs, among which the ports are shared out.
    vcpus: u32,
    /// How many priorities the ports have.
    priorities: u8,
}

/// F2: few enough ports for a near cache.
const F2: Batches = Batches { events: 256, ports: 4095, vcpus: 1, priorities: 1 };
/// F3: as many ports as there can be.
const F3: Batches = Batches { events: 1024, ports: FIFO_CHANNELS - 1, ..F2 };
/// F4: of all priorities.
const F4: Batches = Batches { priorities: 16, ..F3 };
/// F5: of as many vCPUs as there can be.
const F5: Batches = Batches { events: 32_768, vcpus: 4096, ..F3 };

/// The workload over ports that vCPUs of the guest send each other, as many as there can be; a connection would need as many
/// ports on the other side.
fn batches(Batches { events, ports, vcpus, priorities }: Batches) -> impl FnMut(u64) {
    let (guest, mut takers) = Guest::<Fifo, RawSpinlock>::fifo(Size { vcpus, ports: ports + 1 });
    for number in 0..ports {
        let priority = u8::try_from(number / vcpus % u32::from(priorities)).ok().map(FifoPriority::from_low_bits);
        guest.bind(VcpuId(number % vcpus), priority.filter(|_| priorities > 1));
    }
    guest.take_all(&mut takers);
    // The first event of a port that was moved or given a priority takes its old queue's lock, too: once in the port's life,
    // which is not what a batch is to tell.
    for port in 1..=ports {
        guest.send_to_itself(Port(port));
    }
    guest.take_all(&mut takers);
    let mut random = Xorshift::new(SEED);
    move |batches| {
        for _ in 0..batches {
            for _ in 0..events {
                // The high half of the product is as good as a remainder, and there is no division to be timed.
                let high = (u128::from(random.next()) * u128::from(ports)) >> u64::BITS;
                guest.send_to_itself(Port(1 + u32::try_from(high).expect("below a u32")));
            }
            let taken = guest.take_all(&mut takers);
            assert!((1..=events).contains(&taken), "{taken} of {events} events were taken");
        }
    }
}

/// The time of an event of one workload over that of another. Each pair has a race of its own: a third workload would turn
/// the caches out between their turns.
fn ratio(slow: Batches, fast: Batches) -> f64 {
    let mut race = Race::new();
    let (slow_lane, fast_lane) = (race.enter(batches(slow)), race.enter(batches(fast)));
    race.run().ratio(slow_lane, fast_lane) * fast.events as f64 / slow.events as f64
}

pub(super) fn measure() -> Vec<Bar> {
    vec![
        Bar::new("E6-ports-131071", ratio(F3, F2), Limit::AtMost(2.2)),
        Bar::new("E6-vcpus-4096", ratio(F5, F3), Limit::AtMost(2.0)),
        Bar::new("E6-priorities-16", ratio(F4, F3), Limit::AtMost(1.2)),
    ]
}
