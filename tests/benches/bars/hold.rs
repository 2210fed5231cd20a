//! The hold model, the usual test of an event list: so many events wait, and each one executed schedules one at an
//! exponential distance, mean 1000 ns, whole nanoseconds, at least one. The contenders draw the same distances.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::LazyLock;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::time::Duration;

use carillon_sim::Wheel;
use desque::SimState;
use desque::serial::OkEvent;
use nexosim::model::Context;
use nexosim::model::Model;
use nexosim::model::schedulable;
use nexosim::simulation::Mailbox;
use nexosim::simulation::SimInit;
use nexosim::time::MonotonicTime;
use serde::Deserialize;
use serde::Serialize;

const TABLE: usize = 1 << 16;
const MEAN_NS: f64 = 1000.0;

/// Exponential distances, the same on every machine: inversion of Marsaglia's xorshift64 (13, 7, 17).
static DISTANCES: LazyLock<Vec<u64>> = LazyLock::new(|| {
    let mut state = 88_172_645_463_325_252_u64;
    let mut uniform = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        ((state >> 11) as f64 + 0.5) / (1u64 << 53) as f64
    };
    #[expect(clippy::cast_possible_truncation, reason = "whole nanoseconds are wanted, and few of them")]
    (0..TABLE).map(|_| (-MEAN_NS * uniform().ln()).max(1.0) as u64).collect()
});

/// A walk through the table.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
struct Distances {
    next: usize,
}

impl Distances {
    #[inline]
    fn draw(&mut self, table: &[u64]) -> u64 {
        self.next = (self.next + 1) % TABLE;
        table[self.next]
    }
}

/// The hold model on the timing wheel.
pub(crate) fn wheel(pending: u32) -> impl FnMut(u64) {
    let table = DISTANCES.as_slice();
    let mut distances = Distances::default();
    let mut wheel = Wheel::new();
    (0..pending).for_each(|event| wheel.schedule(distances.draw(table), event));
    move |operations| {
        for _ in 0..operations {
            if let Some((now, event)) = wheel.pop() {
                wheel.schedule(now + distances.draw(table), event);
            }
        }
    }
}

/// The hold model on a binary heap by time and number.
pub(crate) fn heap(pending: u32) -> impl FnMut(u64) {
    let table = DISTANCES.as_slice();
    let mut distances = Distances::default();
    let mut heap: BinaryHeap<Reverse<(u64, u64, u32)>> = BinaryHeap::new();
    let mut number = 0;
    for event in 0..pending {
        heap.push(Reverse((distances.draw(table), number, event)));
        number += 1;
    }
    move |operations| {
        for _ in 0..operations {
            if let Some(Reverse((now, _, event))) = heap.pop() {
                heap.push(Reverse((now + distances.draw(table), number, event)));
                number += 1;
            }
        }
    }
}

#[derive(Debug)]
struct Executed {
    distances: Distances,
    left: u64,
}

impl SimState<u64> for Executed {
    fn is_complete(&self, _: &u64) -> bool {
        self.left == 0
    }
}

#[derive(Debug)]
struct Hold;

impl OkEvent<Executed, u64> for Hold {
    fn execute(&mut self, simulation: &mut desque::serial::Simulation<Executed, u64>) {
        let state = simulation.state_mut();
        state.left -= 1;
        let distance = state.distances.draw(DISTANCES.as_slice());
        simulation.schedule_with_delay(Hold, distance).expect("the future is never in the past");
    }
}

/// The hold model on desque.
pub(crate) fn desque(pending: u32) -> impl FnMut(u64) {
    let mut distances = Distances::default();
    let first: Vec<u64> = (0..pending).map(|_| distances.draw(DISTANCES.as_slice())).collect();
    let mut simulation = desque::serial::Simulation::new(Executed { distances, left: 0 }, 0);
    for at in first {
        simulation.schedule(Hold, at).expect("the future is never in the past");
    }
    move |operations| {
        simulation.state_mut().left = operations;
        simulation.run().expect("no event of the hold model fails");
    }
}

/// How many events nexosim's model has executed: its only way to tell, as the simulator owns the model.
static EXECUTED: AtomicU64 = AtomicU64::new(0);

#[derive(Serialize, Deserialize)]
struct Holder {
    pending: u32,
    distances: Distances,
}

#[Model]
impl Holder {
    #[nexosim(init)]
    async fn begin(&mut self, context: &Context<Self>) {
        (0..self.pending).for_each(|_| self.schedule(context));
    }

    #[nexosim(schedulable)]
    async fn execute(&mut self, (): (), context: &Context<Self>) {
        EXECUTED.fetch_add(1, Ordering::Relaxed);
        self.schedule(context);
    }

    fn schedule(&mut self, context: &Context<Self>) {
        let distance = Duration::from_nanos(self.distances.draw(DISTANCES.as_slice()));
        context.schedule_event(distance, schedulable!(Self::execute), ()).expect("the future is never in the past");
    }
}

/// The hold model on nexosim: one model, one thread.
pub(crate) fn nexosim(pending: u32) -> impl FnMut(u64) {
    let mailbox = Mailbox::new();
    let holder = Holder { pending, distances: Distances::default() };
    let simulation = SimInit::with_num_threads(1).add_model(holder, mailbox, "hold").init(MonotonicTime::EPOCH);
    let mut simulation = simulation.expect("a model without connections initializes");
    move |operations| {
        // A step runs all events of one instant: a slice may end a few events late, out of thousands.
        let end = EXECUTED.load(Ordering::Relaxed) + operations;
        while EXECUTED.load(Ordering::Relaxed) < end {
            simulation.step().expect("the hold model never ends");
        }
    }
}
