//! Bars A1 to A4 and B1: what an interrupt costs in the software engine, against the least it can cost, and among many;
//! whether finding a vCPU costs more among many;
//! and what the EOI-exit bitmap costs when a route changes and when a vCPU moves.

use crate::eoi_exit;
use crate::floor;
use crate::harness::Bar;
use crate::harness::Limit;
use crate::harness::Race;
use crate::local_apic;
use crate::lookup;

/// The bars of interrupt delivery.
pub(crate) fn measure() -> Vec<Bar> {
    let mut race = Race::new();
    let floor = race.enter(floor::local_apic());
    let local = race.enter(local_apic::local());
    let floor_posted = race.enter(floor::posted());
    let posted = race.enter(local_apic::posted());
    let routed = race.enter(local_apic::routed());
    let nothing = race.enter(local_apic::sync_of_nothing());
    let times = race.run();
    let mut bars = vec![
        Bar::new("A1-local", times.ratio(local, floor), Limit::AtMost(0.75)),
        Bar::new("A2-posted", times.ratio(posted, floor_posted), Limit::AtMost(1.0)),
        Bar::new("A2-routed", times.ratio(routed, floor_posted), Limit::Report),
        Bar::new("A2-sync-of-nothing", times.ratio(nothing, floor), Limit::AtMost(0.2)),
    ];
    for (count, bound) in [(1024, 1.5), (4096, 2.0)] {
        let mut race = Race::new();
        let two = race.enter(local_apic::command(2));
        let many = race.enter(local_apic::command(count));
        bars.push(Bar::new(format!("A3-{count}"), race.run().ratio(many, two), Limit::AtMost(bound)));
    }
    bars.extend(look_up());
    bars.extend(eoi_exit());
    bars
}

/// Both lookups are one read of a table, so that 1024 vCPUs cost no more than 2.
fn look_up() -> Vec<Bar> {
    let mut race = Race::new();
    let few = race.enter(lookup::descriptor(2));
    let many = race.enter(lookup::descriptor(1024));
    let descriptors = race.run();
    let mut race = Race::new();
    let few_residences = race.enter(lookup::residence(2));
    let many_residences = race.enter(lookup::residence(1024));
    let residences = race.run();
    vec![
        Bar::new("A4-descriptor-1024", descriptors.ratio(many, few), Limit::AtMost(1.5)),
        Bar::new("A4-residence-1024", residences.ratio(many_residences, few_residences), Limit::AtMost(1.5)),
    ]
}

fn eoi_exit() -> Vec<Bar> {
    let mut race = Race::new();
    let count = race.enter(eoi_exit::count());
    let few = race.enter(eoi_exit::change(24));
    let many = race.enter(eoi_exit::change(4096));
    let changes = race.run();
    let mut race = Race::new();
    let compare = race.enter(eoi_exit::compare());
    let load = race.enter(eoi_exit::load());
    let moves = race.run();
    let mut race = Race::new();
    let load_again = race.enter(eoi_exit::load());
    let rebuild = race.enter(eoi_exit::rebuild(240));
    let rebuilds = race.run();
    vec![
        Bar::new("B1-route", changes.ratio(few, count), Limit::AtMost(3.0)),
        Bar::new("B1-routes-4096", changes.ratio(many, few), Limit::AtMost(1.2)),
        Bar::new("B1-move", moves.ratio(load, compare), Limit::AtMost(1.5)),
        Bar::new("B1-rebuild", rebuilds.ratio(rebuild, load_again), Limit::AtLeast(20.0)),
    ]
}
