//! vCPUs that move, halt and are woken while devices and other CPUs send to them, under shuttle's random schedules: every
//! atomic access may be the last before another thread runs. Weak memory is loom's to explore.
//!
//! Run with `RUSTFLAGS="--cfg shuttle" cargo test -p hypervisor-lib --test shuttle --release`. In an ordinary build there is
//! nothing here.
#![cfg(shuttle)]

mod avic;
mod cost;
#[expect(unreachable_pub, reason = "the crate it comes from exports it")]
#[path = "../../../tests/event/src/shuttle_lock.rs"]
mod lock;
mod posted;

use std::collections::hash_map::RandomState;
use std::env;
use std::hash::BuildHasher;

use shuttle::Config;
use shuttle::MaxSteps;
use shuttle::Runner;
use shuttle::rand::RngCore as _;
use shuttle::scheduler::PctScheduler;
use shuttle::scheduler::RandomScheduler;

/// Lets the others run for a random while, so that what a thread does next meets any moment of theirs.
fn linger() {
    for _ in 0..shuttle::rand::thread_rng().next_u32() % 64 {
        shuttle::thread::yield_now();
    }
}

/// Runs a scenario under so many random schedules, and as many of probabilistic concurrency testing. Whoever waits for an
/// interrupt that was lost waits until the steps are used up, which fails.
fn explore(iterations: usize, scenario: impl Fn() + Send + Sync + Copy + 'static) {
    let seed =
        env::var("SEED").ok().map_or_else(|| RandomState::new().hash_one(0), |seed| seed.parse().expect("a seed"));
    println!("SEED={seed}");
    let mut config = Config::new();
    config.stack_size = 1 << 18;
    config.max_steps = MaxSteps::FailAfter(50_000);
    config.silence_warnings = true;
    Runner::new(RandomScheduler::new_from_seed(seed, iterations), config.clone()).run(scenario);
    Runner::new(PctScheduler::new_from_seed(seed, 4, iterations), config).run(scenario);
}
