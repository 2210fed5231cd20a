//! Runs a scenario: the machine on the timing wheel, its facts into a result.
//!
//! ```
//! use carillon_sim::Run;
//! use carillon_sim::Shipped;
//!
//! let mut scenario = Shipped::named("question-2013").expect("it is shipped").scenario()?;
//! scenario.duration_ms = 20.0;
//! let result = Run::new(&scenario)?.to_end(|_| {});
//! assert!(result.sources.iter().all(|source| source.completed > 0));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod observer;
mod tally;
mod timeline;

use carillon_machine::Fact;
use carillon_machine::Host;
use carillon_machine::Machine;
use carillon_machine::SourceIndex;
use carillon_machine::Time;
use carillon_machine::Timer;

use crate::Device;
use crate::Fault;
use crate::Place;
use crate::RandomStream;
use crate::RunResult;
use crate::Scenario;
use crate::Wheel;

use observer::Observer;
pub use timeline::SpanLimit;

/// Events between two reports of progress.
const REPORT_EVERY: u64 = 1 << 16;

/// A scenario being run.
#[derive(Debug)]
pub struct Run {
    machine: Machine,
    world: World,
    end: Time,
    events: u64,
}

/// How far a run is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Virtual time gone, ns.
    pub now_ns: u64,
    /// Virtual time in all, ns.
    pub end_ns: u64,
    /// Events executed.
    pub events: u64,
}

/// What the calendar holds.
#[derive(Clone, Copy, Debug)]
enum Event {
    /// A device raises its interrupt.
    Raise(SourceIndex),
    /// The machine wants its timer back.
    Expire(Timer),
}

/// What is around the machine: the calendar, the devices, and whoever writes down what happens.
#[derive(Debug)]
struct World {
    calendar: Wheel<Event>,
    devices: Vec<Device>,
    observer: Observer,
}

impl Host for World {
    fn schedule(&mut self, at: Time, timer: Timer) {
        self.calendar.schedule(at.0, Event::Expire(timer));
    }

    fn observe(&mut self, at: Time, fact: Fact) {
        self.observer.observe(at, &fact);
        if let Fact::Completed { source } = fact {
            let calendar = &mut self.calendar;
            self.devices[source.0 as usize].handled(at, |due| calendar.schedule(due.0, Event::Raise(source)));
        }
    }
}

impl Run {
    /// Prepares a run without a timeline.
    ///
    /// # Errors
    /// [`Fault`] when the scenario cannot be.
    pub fn new(scenario: &Scenario) -> Result<Self, Fault> {
        Self::with_timeline(scenario, SpanLimit(0))
    }

    /// Prepares a run that keeps the first `limit` spans of the timeline.
    ///
    /// # Errors
    /// [`Fault`] when the scenario cannot be.
    pub fn with_timeline(scenario: &Scenario, limit: SpanLimit) -> Result<Self, Fault> {
        let setup = scenario.setup()?;
        let machine = Machine::new(&setup.machine).map_err(|error| Place::Top("host").fault(error))?;
        let mut devices = Vec::with_capacity(setup.workloads.len());
        for (stream, workload) in (0..).zip(setup.workloads) {
            let device = Device::new(workload, scenario.load, RandomStream::new(scenario.seed, stream));
            devices.push(device.map_err(|error| Place::Top("load").fault(error))?);
        }
        let observer = Observer::new(scenario, &setup.machine, limit);
        let world = World { calendar: Wheel::new(), devices, observer };
        let mut run = Self { machine, world, end: Time(0) + setup.duration, events: 0 };
        run.start();
        Ok(run)
    }

    fn start(&mut self) {
        self.machine.start(Time(0), &mut self.world);
        for (index, device) in (0..).zip(&mut self.world.devices) {
            let calendar = &mut self.world.calendar;
            device.start(|due| calendar.schedule(due.0, Event::Raise(SourceIndex(index))));
        }
    }

    /// Executes the next event; false when the time is over.
    pub fn step(&mut self) -> bool {
        let Some((now, event)) = self.world.calendar.pop_until(self.end.0) else { return false };
        let now = Time(now);
        self.events += 1;
        match event {
            Event::Expire(timer) => self.machine.expire(now, timer, &mut self.world),
            Event::Raise(source) => {
                // The next time is drawn first: what the machine does with this interrupt may complete it at once.
                let next = self.world.devices[source.0 as usize].raised(now);
                self.machine.raise(now, source, &mut self.world);
                if let Some(due) = next {
                    self.world.calendar.schedule(due.0, Event::Raise(source));
                }
            }
        }
        true
    }

    /// Runs to the end and tells what happened.
    pub fn to_end(mut self, mut progress: impl FnMut(Progress)) -> RunResult {
        while self.step() {
            if self.events.is_multiple_of(REPORT_EVERY) {
                progress(self.progress());
            }
        }
        progress(Progress { now_ns: self.end.0, ..self.progress() });
        self.world.observer.finish(self.end, self.events, self.machine.host_time(), self.machine.event_domains())
    }

    fn progress(&self) -> Progress {
        Progress { now_ns: self.world.calendar.now(), end_ns: self.end.0, events: self.events }
    }

    /// Whether the machine keeps its invariants; for tests.
    ///
    /// # Errors
    /// What does not hold.
    pub fn check(&self) -> Result<(), carillon_machine::Broken> {
        self.machine.check()
    }
}
