//! Bars A1 to A3: what an interrupt costs in the software engine, against the least it can cost, and among many.

use crate::floor;
use crate::harness::Bar;
use crate::harness::Limit;
use crate::harness::Race;
use crate::local_apic;

/// The bars of interrupt delivery.
pub(crate) fn measure() -> Vec<Bar> {
    let mut race = Race::new();
    let floor = race.enter(floor::local_apic());
    let local = race.enter(local_apic::local());
    let floor_posted = race.enter(floor::posted());
    let posted = race.enter(local_apic::posted());
    let nothing = race.enter(local_apic::sync_of_nothing());
    let times = race.run();
    let mut bars = vec![
        Bar::new("A1-local", times.ratio(local, floor), Limit::AtMost(0.75)),
        Bar::new("A2-posted", times.ratio(posted, floor_posted), Limit::AtMost(1.0)),
        Bar::new("A2-sync-of-nothing", times.ratio(nothing, floor), Limit::AtMost(0.2)),
    ];
    for (count, bound) in [(1024, 1.5), (4096, 2.0)] {
        let mut race = Race::new();
        let two = race.enter(local_apic::command(2));
        let many = race.enter(local_apic::command(count));
        bars.push(Bar::new(format!("A3-{count}"), race.run().ratio(many, two), Limit::AtMost(bound)));
    }
    bars
}
