//! E1, E3 and E5: one port, one event at a time.

use guest_shim::EventAbi;
use guest_shim::Fifo;
use guest_shim::TwoLevel;
use guest_shim::VcpuEvents;
use hypervisor_abi::VcpuId;
use lock_api::RawMutex;
use spinning_top::RawSpinlock;

use super::floor;
use super::guest::Guest;
use super::hypervisor::Size;
use crate::harness::Bar;
use crate::harness::Limit;
use crate::harness::Race;

const V0: VcpuId = VcpuId(0);
/// A guest for one port.
const SMALL: Size = Size { vcpus: 1, ports: 1024 };

/// What Xen's sender takes for an event that changes nothing, over eight read-modify-writes: 32 over 51 ns at their best,
/// 42 over 67 at their worst (measured side by side, outside this repository).
const XEN_COALESCED: f64 = 0.627;

type GuestAndVcpus<A, L> = (Guest<A, L>, Vec<VcpuEvents<'static, A>>);

/// F1: one event is sent and taken, again and again.
fn round_trip<A: EventAbi, L: RawMutex>((guest, mut vcpus): GuestAndVcpus<A, L>) -> impl FnMut(u64) {
    let port = guest.connect(V0, None);
    guest.take_all(&mut vcpus);
    let mut vcpu = vcpus.remove(0);
    move |events| {
        let mut taken = 0;
        for _ in 0..events {
            guest.send(port);
            taken += guest.take(&mut vcpu);
        }
        assert_eq!(taken, events, "each event is taken by itself");
    }
}

/// F6: an event is sent to a port that is pending already.
fn coalesced<A: EventAbi, L: RawMutex>((guest, mut vcpus): GuestAndVcpus<A, L>) -> impl FnMut(u64) {
    let port = guest.connect(V0, None);
    guest.take_all(&mut vcpus);
    guest.send(port);
    move |events| (0..events).for_each(|_| guest.send(port))
}

pub(super) fn measure() -> Vec<Bar> {
    let mut race = Race::new();
    let eight = race.enter(floor::eight());
    let five = race.enter(floor::five());
    let fifo = race.enter(round_trip(Guest::<Fifo, RawSpinlock>::fifo(SMALL)));
    let parking_lot = race.enter(round_trip(Guest::<Fifo, parking_lot::RawMutex>::fifo(SMALL)));
    let two_level = race.enter(round_trip(Guest::<TwoLevel, RawSpinlock>::two_level(SMALL)));
    let again = race.enter(coalesced(Guest::<Fifo, RawSpinlock>::fifo(SMALL)));
    let again_two_level = race.enter(coalesced(Guest::<TwoLevel, RawSpinlock>::two_level(SMALL)));
    let times = race.run();
    let coalesced = Limit::AtMost(0.40 * XEN_COALESCED);
    vec![
        Bar::new("E1-fifo", times.ratio(fifo, eight), Limit::AtMost(1.3)),
        Bar::new("E1-fifo-parking-lot", times.ratio(parking_lot, eight), Limit::Report),
        Bar::new("E3-two-level", times.ratio(two_level, five), Limit::AtMost(1.4)),
        Bar::new("E3-coalesced", times.ratio(again, eight), coalesced),
        Bar::new("E3-coalesced-two-level", times.ratio(again_two_level, eight), coalesced),
    ]
}

/// E5: kicks, counted. A vCPU is kicked once for each time it was without events, and once for a burst while it runs.
pub(super) fn kicks() -> Vec<Bar> {
    const EDGES: u64 = 1000;
    const BURST: u64 = 256;
    let (guest, mut vcpus) = Guest::<Fifo, RawSpinlock>::fifo(SMALL);
    let ports: Vec<_> = (0..BURST).map(|_| guest.connect(V0, None)).collect();
    guest.take_all(&mut vcpus);
    let kicks_of = |run: &mut dyn FnMut()| {
        let before = guest.hypervisor().kicks();
        run();
        (guest.hypervisor().kicks() - before) as f64
    };
    let of_edges = kicks_of(&mut || {
        for _ in 0..EDGES {
            guest.send(ports[0]);
            assert_eq!(guest.take_all(&mut vcpus), 1);
        }
    });
    let of_burst = kicks_of(&mut || ports.iter().for_each(|port| guest.send(*port)));
    assert_eq!(guest.take_all(&mut vcpus), BURST, "each event of the burst is taken");
    vec![
        Bar::new("E5-kicks-per-edge-at-most", of_edges / EDGES as f64, Limit::AtMost(1.0)),
        Bar::new("E5-kicks-per-edge-at-least", of_edges / EDGES as f64, Limit::AtLeast(1.0)),
        Bar::new("E5-kicks-of-a-burst-of-256", of_burst, Limit::AtMost(1.0)),
    ]
}
