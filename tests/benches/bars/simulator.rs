//! Bars S1 to S4: the event list of the simulator against a binary heap and two simulation libraries, the whole model
//! against what its parts cost, and the largest host.

use crate::floor;
use crate::harness::Bar;
use crate::harness::Limit;
use crate::harness::Race;
use crate::hold;
use crate::host;
use crate::host::PORTS_PER_CPU;
use crate::model;

/// S1: events waiting, least ratio to the heap, least ratio to nexosim.
const HOLD: [(u32, f64, f64); 3] = [(256, 1.5, 8.0), (4096, 2.5, 8.0), (65536, 4.0, 15.0)];

/// The simulator's bars.
pub(crate) fn measure() -> Vec<Bar> {
    let mut bars = size();
    bars.extend(model());
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

/// CPUs of the largest host: 4096 vCPUs and 131072 ports.
const LARGEST: u32 = 1024;
const MIB: f64 = 1024.0 * 1024.0;

/// S4: the largest host fits into 64 MiB, after it has run for a while.
pub(crate) fn memory() -> Vec<Bar> {
    let before = host::resident_bytes();
    let mut largest = host::host(LARGEST, LARGEST * PORTS_PER_CPU);
    largest(1_000_000);
    vec![Bar::new("S4-memory-mib", (host::resident_bytes() - before) / MIB, Limit::AtMost(64.0))]
}

/// S4: an event of the largest host costs hardly more than one of a host with four vCPUs.
///
/// The bar is about the size of the host, so both have the same load: 128 ports at work, on the largest host each on
/// another CPU. Whatever is looked through, sorted or copied in proportion to CPUs, vCPUs or ports breaks it.
///
/// With every port at work the load grows a thousandfold as well. 40 MiB are then touched in turn, and the processor waits
/// for memory and mispredicts, since events that follow each other belong to different CPUs: that alone shows with sixteen
/// CPUs, which fit into a near cache. 131072 ports do not: sixteen bytes for each are two mebibytes. Both are reported.
fn size() -> Vec<Bar> {
    let against_smallest = |cpus, active| {
        let mut race = Race::new();
        let smallest = race.enter(host::host(1, PORTS_PER_CPU));
        let larger = race.enter(host::host(cpus, active));
        race.run().ratio(larger, smallest)
    };
    let all_ports = |cpus| against_smallest(cpus, cpus * PORTS_PER_CPU);
    vec![
        Bar::new("S4-size", against_smallest(LARGEST, PORTS_PER_CPU), Limit::AtMost(2.0)),
        Bar::new("S4-all-ports-16", all_ports(16), Limit::Report),
        Bar::new("S4-all-ports-1024", all_ports(LARGEST), Limit::Report),
    ]
}

/// S3: the model, whole, costs no more than its parts by a factor, and runs more events than another library's queue.
/// Nearly as many events as sources wait, so the part that is the calendar is timed with 256.
fn model() -> Vec<Bar> {
    let mut race = Race::new();
    let whole = race.enter(model::model());
    let wheel = race.enter(hold::wheel(256));
    let apic = race.enter(floor::local_apic());
    let queue = race.enter(hold::nexosim_queue());
    let times = race.run();
    let parts = 1.0 / times.ratio(whole, wheel) + 1.0 / times.ratio(whole, apic);
    vec![
        Bar::new("S3-parts", 1.0 / parts, Limit::AtMost(2.5)),
        Bar::new("S3-nexosim-queue", times.ratio(queue, whole), Limit::AtLeast(2.0)),
    ]
}
