//! What devices do: when each raises its interrupt.
//!
//! A workload is plain data, as a scenario file has it; a [`Device`] is a workload at work, with its own stream of random
//! numbers. Open workloads (Poisson, periodic, bursty, replay) raise when they raise; closed ones (NIC, SAS) wait for
//! the driver: their next interrupt depends on when the last one was handled.

use carillon_machine::Span;
use carillon_machine::Time;
use serde::Deserialize;
use serde::Serialize;

use crate::RandomStream;
use crate::scenario::fault::brief;

/// Bytes a packet costs on the wire beyond its own: preamble and start 8, gap 12 (IEEE 802.3, 4.4.2).
const WIRE_OVERHEAD: f64 = 20.0;
/// Most packets a moderated interrupt may gather, and most commands a queue holds: far above any device's.
const MAX_COUNT: u32 = 65_536;

/// When a device raises its interrupt.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Workload {
    /// Never.
    #[default]
    Silent,
    /// At random, each time independent of all others.
    Poisson {
        /// Interrupts per second.
        rate_per_s: f64,
    },
    /// At equal distances.
    Periodic {
        /// From one to the next, µs.
        period_us: f64,
        /// How far each strays from its due time at most, evenly to both sides, µs; below half the period.
        #[serde(default)]
        jitter_us: f64,
    },
    /// At random while on, never while off; both last exponentially long.
    Bursty {
        /// Interrupts per second while on.
        rate_per_s: f64,
        /// Mean time on, µs.
        on_us: f64,
        /// Mean time off, µs.
        off_us: f64,
    },
    /// A network card that moderates its interrupts, with a driver that polls until no packet is left (as NAPI does): the
    /// driver's completion re-arms the card; the first packet after it starts the timer.
    Nic {
        /// Line rate, Gb/s.
        #[serde(default = "ten_gigabits")]
        line_rate_gbps: f64,
        /// Share of the line in use, 0 to 1.
        utilization: f64,
        /// Bytes per packet, from destination address to checksum.
        packet_bytes: f64,
        /// Longest wait of a packet, µs (`ethtool -C rx-usecs`).
        moderation_us: f64,
        /// Packets that end the wait early (`rx-frames`).
        moderation_packets: u32,
    },
    /// A storage controller whose host keeps so many commands outstanding: it raises an interrupt for each it finishes,
    /// and the driver's completion issues as many anew.
    Sas {
        /// Commands outstanding.
        queue_depth: u32,
        /// Mean time a command takes, µs.
        service_us: f64,
        /// How that time is distributed.
        #[serde(default)]
        service: Service,
    },
    /// At recorded times.
    Replay {
        /// When, ns since the start, ascending.
        at_ns: Vec<u64>,
        /// How long until the recording begins again, ns; without it, it is played once. Longer than its last time.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        repeat_ns: Option<u64>,
    },
}

/// How service times are distributed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Service {
    /// All the same: a solid-state disk left alone.
    Fixed,
    /// Evenly from none to twice the mean: a spinning disk's rotation.
    Uniform,
    /// Exponentially.
    #[default]
    Exponential,
}

/// A workload that cannot be.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum WorkloadError {
    /// A number is out of its range.
    #[error("workload parameter {name} is {}: expected {expected}", brief(*value))]
    OutOfRange {
        /// Which.
        name: &'static str,
        /// What it is.
        value: f64,
        /// What it may be.
        expected: &'static str,
    },
    /// Recorded times run backwards.
    #[error("replay time {index} is {at_ns} ns, before the one at {before_ns} ns: expected ascending times")]
    Backwards {
        /// Which, from 0.
        index: usize,
        /// When.
        at_ns: u64,
        /// The time before it.
        before_ns: u64,
    },
}

fn ten_gigabits() -> f64 {
    10.0
}

impl Workload {
    /// Checks that every parameter is in its range.
    ///
    /// # Errors
    /// [`WorkloadError`] for the first that is not.
    pub fn check(&self) -> Result<(), WorkloadError> {
        match self {
            Self::Silent => Ok(()),
            Self::Poisson { rate_per_s } => rate("rate_per_s", *rate_per_s),
            Self::Periodic { period_us, jitter_us } => {
                microseconds("period_us", *period_us)?;
                let fits = (0.0..*period_us / 2.0).contains(jitter_us);
                within("jitter_us", *jitter_us, fits, "0 to below half the period")
            }
            Self::Bursty { rate_per_s, on_us, off_us } => {
                rate("rate_per_s", *rate_per_s)?;
                microseconds("on_us", *on_us)?;
                microseconds("off_us", *off_us)
            }
            Self::Nic { line_rate_gbps, utilization, packet_bytes, moderation_us, moderation_packets } => {
                let speed = (0.001..=1000.0).contains(line_rate_gbps);
                within("line_rate_gbps", *line_rate_gbps, speed, "0.001 to 1000")?;
                let share = *utilization > 0.0 && *utilization <= 1.0;
                within("utilization", *utilization, share, "above 0, at most 1")?;
                within("packet_bytes", *packet_bytes, (64.0..=65_536.0).contains(packet_bytes), "64 to 65536")?;
                within("moderation_us", *moderation_us, (0.0..=1e6).contains(moderation_us), "0 to 1000000")?;
                count("moderation_packets", *moderation_packets)
            }
            Self::Sas { queue_depth, service_us, .. } => {
                count("queue_depth", *queue_depth)?;
                microseconds("service_us", *service_us)
            }
            Self::Replay { at_ns, repeat_ns } => {
                let backwards = at_ns.windows(2).position(|pair| pair[1] < pair[0]);
                if let Some(index) = backwards {
                    let (at_ns, before_ns) = (at_ns[index + 1], at_ns[index]);
                    return Err(WorkloadError::Backwards { index: index + 1, at_ns, before_ns });
                }
                let period = repeat_ns.unwrap_or(u64::MAX);
                let fits = at_ns.last().is_none_or(|last| *last < period);
                within("repeat_ns", period as f64, fits, "more than the last of at_ns")
            }
        }
    }
}

fn within(name: &'static str, value: f64, fits: bool, expected: &'static str) -> Result<(), WorkloadError> {
    if fits { Ok(()) } else { Err(WorkloadError::OutOfRange { name, value, expected }) }
}

fn rate(name: &'static str, value: f64) -> Result<(), WorkloadError> {
    within(name, value, (1e-3..=1e8).contains(&value), "0.001 to 100000000 per second")
}

fn microseconds(name: &'static str, value: f64) -> Result<(), WorkloadError> {
    within(name, value, (1e-2..=1e9).contains(&value), "0.01 to 1000000000 microseconds")
}

fn count(name: &'static str, value: u32) -> Result<(), WorkloadError> {
    within(name, f64::from(value), (1..=MAX_COUNT).contains(&value), "1 to 65536")
}

/// A workload at work. Whoever drives it asks for the first times, then tells it of each interrupt raised and handled, and
/// is told when the next are due.
#[derive(Debug)]
pub struct Device {
    workload: Workload,
    load: f64,
    random: RandomStream,
    state: State,
}

/// What a device remembers.
#[derive(Clone, Copy, Debug)]
enum State {
    None,
    /// How many times were played, or ticks were due.
    Played(usize),
    /// When the burst is over, ns.
    BurstEnds(f64),
    /// Commands finished that the driver has not yet seen.
    Finished(u32),
}

impl Device {
    /// A device with its stream of random numbers; `load` multiplies the workload's rate.
    ///
    /// # Errors
    /// [`WorkloadError`] when a parameter or the load is out of its range.
    pub fn new(workload: Workload, load: f64, random: RandomStream) -> Result<Self, WorkloadError> {
        workload.check()?;
        within("load", load, (1e-3..=1e3).contains(&load), "0.001 to 1000")?;
        let state = match workload {
            Workload::Bursty { .. } => State::BurstEnds(0.0),
            Workload::Sas { .. } => State::Finished(0),
            Workload::Replay { .. } | Workload::Periodic { .. } => State::Played(0),
            Workload::Silent | Workload::Poisson { .. } | Workload::Nic { .. } => State::None,
        };
        Ok(Self { workload, load, random, state })
    }

    /// The times at which the device first raises its interrupt.
    pub fn start(&mut self, mut due: impl FnMut(Time)) {
        match self.workload {
            Workload::Silent => {}
            Workload::Nic { .. } => self.handled(Time(0), due),
            Workload::Sas { queue_depth, .. } => (0..queue_depth).for_each(|_| due(self.command(Time(0)))),
            _ => self.following(Time(0)).into_iter().for_each(due),
        }
    }

    /// Tells the device that it raised its interrupt at `now`; the time of the next that does not wait for the driver.
    pub fn raised(&mut self, now: Time) -> Option<Time> {
        match &mut self.state {
            State::Finished(commands) => {
                *commands += 1;
                None
            }
            _ => self.following(now),
        }
    }

    /// Tells the device that its driver was done at `now`; the times that waited for this.
    pub fn handled(&mut self, now: Time, mut due: impl FnMut(Time)) {
        match (&self.workload, self.state) {
            (&Workload::Nic { line_rate_gbps, utilization, packet_bytes, moderation_us, moderation_packets }, _) => {
                let bits = (packet_bytes + WIRE_OVERHEAD) * 8.0;
                let share = (utilization * self.load).min(1.0);
                let gap_ns = bits / (line_rate_gbps * share);
                let first = self.random.exponential(gap_ns);
                due(now + span(first + self.random.erlang(moderation_packets - 1, gap_ns, moderation_us * 1e3)));
            }
            (Workload::Sas { .. }, State::Finished(commands)) => {
                self.state = State::Finished(0);
                (0..commands).for_each(|_| due(self.command(now)));
            }
            _ => {}
        }
    }

    /// When an open workload raises next after `now`.
    fn following(&mut self, now: Time) -> Option<Time> {
        match (&self.workload, self.state) {
            (Workload::Poisson { rate_per_s }, _) => {
                let gap = self.random.exponential(1e9 / (rate_per_s * self.load));
                Some(now + span(gap))
            }
            (Workload::Periodic { period_us, jitter_us }, State::Played(ticks)) => {
                let period = period_us * 1e3 / self.load;
                let stray = (self.random.unit() * 2.0 - 1.0) * jitter_us * 1e3 / self.load;
                self.state = State::Played(ticks + 1);
                Some((Time(0) + span((ticks + 1) as f64 * period + stray)).max(now))
            }
            (&Workload::Bursty { rate_per_s, on_us, off_us }, State::BurstEnds(mut end)) => {
                let mut at = now.0 as f64 + self.random.exponential(1e9 / (rate_per_s * self.load));
                // Whatever falls behind the burst is drawn again in the next one: the process has no memory.
                for _ in 0..MAX_COUNT {
                    if at < end {
                        break;
                    }
                    let begin = end.max(now.0 as f64) + self.random.exponential(off_us * 1e3);
                    end = begin + self.random.exponential(on_us * 1e3);
                    at = begin + self.random.exponential(1e9 / (rate_per_s * self.load));
                }
                self.state = State::BurstEnds(end);
                Some(Time(0) + span(at))
            }
            (Workload::Replay { at_ns, repeat_ns }, State::Played(index)) => {
                let (turn, place) = (index.checked_div(at_ns.len())?, index % at_ns.len());
                let begin = if turn == 0 { 0 } else { (*repeat_ns)?.saturating_mul(turn as u64) };
                self.state = State::Played(index + 1);
                let at = begin.saturating_add(at_ns[place]);
                Some((Time(0) + span(at as f64 / self.load)).max(now))
            }
            _ => None,
        }
    }

    /// When a storage command issued at `now` is finished.
    fn command(&mut self, now: Time) -> Time {
        let Workload::Sas { service_us, service, .. } = self.workload else { return now };
        let mean = service_us * 1e3 / self.load;
        now + span(match service {
            Service::Fixed => mean,
            Service::Uniform => mean * 2.0 * self.random.unit(),
            Service::Exponential => self.random.exponential(mean),
        })
    }
}

/// Whole nanoseconds, at least one: nothing a device does takes no time.
fn span(ns: f64) -> Span {
    #[expect(clippy::cast_possible_truncation, reason = "a time past 2^64 ns saturates, which is past any run's end")]
    Span(ns.max(1.0) as u64)
}

#[cfg(test)]
mod tests {
    use carillon_machine::Time;

    use super::Device;
    use super::Service;
    use super::Workload;
    use crate::RandomStream;

    const SECOND: u64 = 1_000_000_000;

    fn device(workload: Workload, load: f64) -> Device {
        Device::new(workload, load, RandomStream::new(42, 0)).unwrap()
    }

    /// The times of one second, every interrupt handled `handler` ns after it was raised.
    fn second(mut device: Device, handler: u64) -> Vec<u64> {
        let mut due = std::collections::BTreeSet::new();
        let mut number = 0;
        let mut times = Vec::new();
        let mut add = |due: &mut std::collections::BTreeSet<_>, at: Time, is_done: bool| {
            number += 1;
            due.insert((at.0, number, is_done));
        };
        device.start(|at| add(&mut due, at, false));
        while let Some((now, _, is_done)) = due.pop_first().filter(|(now, ..)| *now < SECOND) {
            if is_done {
                device.handled(Time(now), |at| add(&mut due, at, false));
            } else {
                times.push(now);
                device.raised(Time(now)).into_iter().for_each(|at| add(&mut due, at, false));
                add(&mut due, Time(now + handler), true);
            }
        }
        times
    }

    fn assert_near(count: usize, expected: f64) {
        assert!((count as f64 / expected - 1.0).abs() < 0.05, "{count} instead of {expected}");
    }

    #[test]
    fn open_workloads_keep_their_rate_and_the_load_multiplies_it() {
        let poisson = Workload::Poisson { rate_per_s: 20_000.0 };
        assert_near(second(device(poisson.clone(), 1.0), 500).len(), 20_000.0);
        assert_near(second(device(poisson, 2.5), 500).len(), 50_000.0);
        let bursty = Workload::Bursty { rate_per_s: 100_000.0, on_us: 300.0, off_us: 700.0 };
        assert_near(second(device(bursty, 1.0), 500).len(), 30_000.0);
    }

    #[test]
    fn a_jitter_moves_each_tick_but_never_the_clock() {
        let times = second(device(Workload::Periodic { period_us: 100.0, jitter_us: 20.0 }, 1.0), 500);
        assert_eq!(times.len(), 9_999 + usize::from(times.last() > Some(&(SECOND - 20_000))));
        for (tick, at) in times.iter().enumerate() {
            let due = (tick as u64 + 1) * 100_000;
            assert!(at.abs_diff(due) <= 20_000, "tick {tick} at {at}");
        }
        assert!(times.iter().any(|at| at % 100_000 != 0), "no tick strays");
    }

    #[test]
    fn bursts_are_bursts() {
        let times = second(device(Workload::Bursty { rate_per_s: 1e6, on_us: 100.0, off_us: 900.0 }, 1.0), 500);
        let gaps = times.windows(2).filter(|pair| pair[1] - pair[0] > 50_000).count();
        assert!((800..1100).contains(&gaps), "{gaps} pauses in a second");
    }

    #[test]
    fn a_network_card_gathers_packets_until_its_time_or_its_count_is_over_and_waits_for_its_driver() {
        let nic = |utilization, moderation_us, moderation_packets| Workload::Nic {
            line_rate_gbps: 10.0,
            utilization,
            packet_bytes: 1230.0,
            moderation_us,
            moderation_packets,
        };
        // 1250 bytes on the wire: one packet a microsecond. By count: 16 µs and the driver's 4 µs; by time: 1 + 10 + 4.
        assert_near(second(device(nic(1.0, 1e6, 16), 1.0), 4_000).len(), 50_000.0);
        assert_near(second(device(nic(1.0, 10.0, 65_536), 1.0), 4_000).len(), 66_667.0);
        assert_near(second(device(nic(0.5, 1e6, 16), 1.0), 4_000).len(), 27_778.0);
        let slow_driver = second(device(nic(1.0, 1e6, 16), 1.0), 84_000);
        assert!(slow_driver.windows(2).all(|pair| pair[1] - pair[0] > 84_000));
    }

    #[test]
    fn a_storage_controller_finishes_at_most_its_queue_before_the_driver_comes() {
        let sas = Workload::Sas { queue_depth: 8, service_us: 100.0, service: Service::Fixed };
        let times = second(device(sas.clone(), 1.0), 1_000);
        assert_eq!(times[..8], [100_000; 8]);
        assert_near(times.len(), 8.0 * 1e9 / 101_000.0);
        let mut alone = device(Workload::Sas { queue_depth: 8, service_us: 100.0, service: Service::Uniform }, 1.0);
        let mut first = Vec::new();
        alone.start(|at| first.push(at));
        assert_eq!(first.len(), 8);
        assert!(first.iter().all(|at| alone.raised(*at).is_none()), "nothing follows before the driver is done");
        let mut again = 0;
        alone.handled(Time(500_000), |_| again += 1);
        assert_eq!(again, 8);
    }

    #[test]
    fn a_replay_plays_what_was_recorded_and_falls_silent_or_begins_again() {
        let replay = |repeat_ns| Workload::Replay { at_ns: vec![5, 5, 70, 1_000], repeat_ns };
        assert_eq!(second(device(replay(None), 1.0), 1), [5, 5, 70, 1_000]);
        assert_eq!(second(device(replay(None), 0.5), 1), [10, 10, 140, 2_000]);
        let again = second(device(replay(Some(SECOND / 2)), 1.0), 1);
        assert_eq!(again[4..], [5, 5, 70, 1_000].map(|at| at + SECOND / 2));
        assert_eq!(second(device(Workload::Replay { at_ns: vec![], repeat_ns: Some(9) }, 1.0), 1), [0; 0]);
    }

    #[test]
    fn parameters_that_make_no_sense_are_refused_by_name() {
        let refused = |workload: Workload| workload.check().unwrap_err().to_string();
        let text = refused(Workload::Poisson { rate_per_s: f64::NAN });
        assert_eq!(text, "workload parameter rate_per_s is NaN: expected 0.001 to 100000000 per second");
        assert!(refused(Workload::Periodic { period_us: 10.0, jitter_us: 5.0 }).contains("jitter_us"));
        assert!(refused(Workload::Replay { at_ns: vec![4, 3], repeat_ns: None }).contains("replay time 1 is 3 ns"));
        assert!(
            refused(Workload::Sas { queue_depth: 0, service_us: 1.0, service: Service::Fixed }).contains("queue_depth")
        );
    }
}
