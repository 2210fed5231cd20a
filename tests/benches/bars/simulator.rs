//! Bars S1 and S2: the event list of the simulator against a binary heap and two simulation libraries.

use crate::harness::Bar;
use crate::harness::Limit;
use crate::harness::Race;
use crate::hold;

/// S1: events waiting, least ratio to the heap, least ratio to nexosim.
const HOLD: [(u32, f64, f64); 3] = [(256, 1.5, 8.0), (4096, 2.5, 8.0), (65536, 4.0, 15.0)];

/// The simulator's bars.
pub(crate) fn measure() -> Vec<Bar> {
    let mut bars = Vec::new();
    for (pending, heap_bound, nexosim_bound) in HOLD {
        // In pairs: a third one's memory between them would make both cold, and the faster one the more so.
        let heap = against(pending, hold::heap(pending));
        bars.push(Bar::new(format!("S1-heap-{pending}"), heap, Limit::AtLeast(heap_bound)));
        let nexosim = against(pending, hold::nexosim(pending));
        bars.push(Bar::new(format!("S1-nexosim-{pending}"), nexosim, Limit::AtLeast(nexosim_bound)));
        let desque = against(pending, hold::desque(pending));
        bars.push(Bar::new(format!("S1-desque-{pending}"), desque, Limit::Report));
    }
    bars.push(flat());
    bars
}

/// How many times as long as on the wheel an event takes on another engine.
fn against(pending: u32, other: impl FnMut(u64)) -> f64 {
    let mut race = Race::new();
    let wheel = race.enter(hold::wheel(pending));
    let other = race.enter(other);
    race.run().ratio(other, wheel)
}

/// S2: an event costs hardly more among many.
fn flat() -> Bar {
    let mut race = Race::new();
    let few = race.enter(hold::wheel(256));
    let many = race.enter(hold::wheel(65536));
    Bar::new("S2-flat", race.run().ratio(many, few), Limit::AtMost(2.0))
}
