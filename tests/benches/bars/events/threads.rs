//! E4: a sender and a vCPU on two threads, with at most so many events under way, against two threads that send a line
//! back and forth. On a machine with other work this measures the other work; so it is a report.

use std::array;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::thread;

use guest_shim::Fifo;
use hypervisor_abi::Port;
use hypervisor_abi::VcpuId;
use spinning_top::RawSpinlock;

use super::floor::Line;
use super::guest::Guest;
use super::hypervisor::Size;
use crate::harness::Bar;
use crate::harness::Limit;
use crate::harness::Race;

/// How many events may be under way.
const WINDOWS: [u64; 3] = [1, 16, 256];
/// Ports that are sent to in turn.
const PORTS: u64 = 256;

/// Two lines: one thread counts up the first, the other answers on the second.
fn ping_pong() -> impl FnMut(u64) {
    move |rounds| {
        let [ping, pong] = array::from_fn(|_| Line::default());
        thread::scope(|scope| {
            scope.spawn(|| {
                (1..=rounds).for_each(|round| {
                    wait_for(|| ping.0.load(Ordering::Acquire) == low(round));
                    pong.0.store(low(round), Ordering::Release);
                })
            });
            for round in 1..=rounds {
                ping.0.store(low(round), Ordering::Release);
                wait_for(|| pong.0.load(Ordering::Acquire) == low(round));
            }
        });
    }
}

fn low(number: u64) -> u32 {
    #[expect(clippy::cast_possible_truncation, reason = "the low half is wanted")]
    let low = number as u32;
    low
}

fn wait_for(condition: impl Fn() -> bool) {
    while !condition() {
        std::hint::spin_loop();
    }
}

/// A sender that has at most so many events under way, and a vCPU that looks for its upcall all the time.
fn window(window: u64) -> impl FnMut(u64) {
    let (guest, mut vcpus) = Guest::<Fifo, RawSpinlock>::fifo(Size { vcpus: 1, ports: 1024 });
    let ports: Vec<Port> = (0..PORTS).map(|_| guest.connect(VcpuId(0), None)).collect();
    guest.take_all(&mut vcpus);
    let guest = Arc::new(guest);
    move |events| {
        let (taken, has_sent) = (AtomicU64::new(0), AtomicBool::new(false));
        thread::scope(|scope| {
            let (guest, vcpus) = (&guest, &mut vcpus);
            let (taken, has_sent) = (&taken, &has_sent);
            scope.spawn(move || {
                let mut all = 0;
                while all < events || !has_sent.load(Ordering::Acquire) {
                    all += guest.take_all(vcpus);
                    taken.store(all, Ordering::Release);
                }
            });
            for (sent, port) in (0..events).zip(ports.iter().cycle()) {
                // As many ports as events at most are under way, so none is sent to before its last event was taken.
                wait_for(|| sent - taken.load(Ordering::Acquire) < window.min(PORTS));
                guest.send(*port);
            }
            has_sent.store(true, Ordering::Release);
            wait_for(|| taken.load(Ordering::Acquire) == events);
        });
    }
}

pub(super) fn measure() -> Vec<Bar> {
    let mut race = Race::new();
    let floor = race.enter(ping_pong());
    let windows = WINDOWS.map(|size| (size, race.enter(window(size))));
    let times = race.run();
    let report = |(size, lane)| Bar::new(format!("E4-window-{size}"), times.ratio(lane, floor), Limit::Report);
    windows.map(report).to_vec()
}
