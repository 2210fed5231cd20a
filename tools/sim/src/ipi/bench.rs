//! The IPI microbenchmark, in virtual time: a vCPU sends, the others answer, and the next turn begins.
//!
//! Its five modes are those of the kernel module that IPI patches to Linux are measured with (Yury Norov's `ipi_benchmark`):
//! the loop alone, an IPI to oneself, to another vCPU, to all others, and to all others whose handlers take a common lock.
//! One thing differs: Linux runs a function on its own CPU without an interrupt, so the module's self mode sends none; here it
//! does.

use hypervisor_abi::VcpuId;
use hypervisor_lib::delivery::BusError;
use hypervisor_lib::delivery::GuestMode;

use super::contender::Contender;
use super::contender::SendSteps;
use super::fit::Fit;
use super::guest::Command;
use super::guest::Guest;
use super::step::Step;
use crate::RandomStream;
use crate::Wheel;

/// Who sends.
const SENDER: VcpuId = VcpuId(0);
/// The most vCPUs in xAPIC mode, where number 255 is the broadcast, and in x2APIC mode under every engine.
const MOST_VCPUS: [u32; 2] = [255, 512];
/// The most IPIs of a run: more tell no more.
const MOST_IPIS: u64 = 50_000_000;
/// Points of a distribution.
const POINTS: usize = 100;

/// What a turn does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mode {
    /// Nothing.
    DryRun,
    /// An IPI to oneself.
    SelfIpi,
    /// An IPI to one other vCPU.
    Normal,
    /// IPIs to all others.
    Broadcast,
    /// The same, and every handler takes a common lock.
    BroadcastLock,
}

/// How a guest addresses all others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Sending {
    /// By one command with the shorthand for all others.
    Shorthand,
    /// By a command to each.
    Each,
}

/// A run of the benchmark.
#[derive(Clone, Copy, Debug)]
pub struct Bench<'a> {
    /// What steps take.
    pub fit: &'a Fit,
    /// Who delivers.
    pub contender: Contender,
    /// How the guest reaches its local APICs.
    pub apic: GuestMode,
    /// How many vCPUs it has, each running on a core of its own.
    pub vcpus: u32,
    /// How many turns.
    pub turns: u32,
    /// How a broadcast is sent.
    pub sending: Sending,
    /// Seed of the deviations.
    pub seed: u64,
}

/// Why a run cannot be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BenchError {
    /// Too few or too many vCPUs.
    #[error("{vcpus} vCPUs, where this mode of the local APIC takes 2 to {most}")]
    Vcpus {
        /// How many.
        vcpus: u32,
        /// How many there may be.
        most: u32,
    },
    /// No turn, or more IPIs than a run may have.
    #[error("{turns} turns of {vcpus} vCPUs, where 1 turn to {MOST_IPIS} IPIs in all are possible")]
    Turns {
        /// How many turns.
        turns: u32,
        /// How many vCPUs.
        vcpus: u32,
    },
    /// The local APICs cannot be on one bus.
    #[error("the guest's local APICs cannot be")]
    Bus(#[from] BusError),
}

/// What a run measured: turns from their beginning to the last answer, cycles.
#[derive(Clone, Debug, PartialEq)]
pub struct Measured {
    /// What a turn did.
    pub mode: Mode,
    /// How many turns.
    pub turns: u32,
    /// The mean.
    pub mean: f64,
    /// Half are at most this.
    pub p50: u64,
    /// 99 of 100 are at most this.
    pub p99: u64,
    /// The longest.
    pub max: u64,
    /// Exits of the sender for its commands, a turn.
    pub sender_exits: f64,
    /// Exits of the targets, to be told or to end, a turn.
    pub target_exits: f64,
    /// How many IPIs did not arrive; none, ever.
    pub lost: u64,
    /// Points of the cumulative distribution: cycles, and the share of turns at most that.
    pub cdf: Vec<(u64, f64)>,
}

/// What is due.
#[derive(Clone, Copy, Debug)]
enum Event {
    /// The next turn begins.
    Turn,
    /// A vCPU's handler begins.
    Handler(VcpuId),
    /// A vCPU has ended its interrupt.
    Ended(VcpuId),
}

/// A run under way.
struct Running<'a> {
    bench: &'a Bench<'a>,
    mode: Mode,
    /// What a turn sends, and what each takes the sender.
    commands: Vec<(Command, SendSteps)>,
    /// What a target goes through until its handler.
    receive: Vec<Step>,
    end: Step,
    guest: Guest,
    wheel: Wheel<Event>,
    random: RandomStream,
    began: u64,
    sender_is_back: u64,
    /// Targets that have not answered.
    awaited: u32,
    lock_is_free: u64,
    turns: Vec<u64>,
    sender_exits: u64,
    target_exits: u64,
    lost: u64,
}

impl Mode {
    /// All, in the order in which the module runs them.
    pub const ALL: [Self; 5] = [Self::DryRun, Self::SelfIpi, Self::Normal, Self::Broadcast, Self::BroadcastLock];

    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::DryRun => "dry run",
            Self::SelfIpi => "self",
            Self::Normal => "normal",
            Self::Broadcast => "broadcast",
            Self::BroadcastLock => "broadcast, lock",
        }
    }
}

impl Bench<'_> {
    /// Runs a mode.
    ///
    /// # Errors
    /// [`BenchError`].
    pub fn run(&self, mode: Mode) -> Result<Measured, BenchError> {
        let [xapic, x2apic] = MOST_VCPUS;
        let most = if self.apic == GuestMode::XApic { xapic } else { x2apic };
        if !(2..=most).contains(&self.vcpus) {
            return Err(BenchError::Vcpus { vcpus: self.vcpus, most });
        }
        if self.turns == 0 || u64::from(self.turns) * u64::from(self.vcpus) > MOST_IPIS {
            return Err(BenchError::Turns { turns: self.turns, vcpus: self.vcpus });
        }
        let with_steps = |command| (command, self.contender.send(self.apic, command));
        let mut running = Running {
            bench: self,
            mode,
            commands: self.commands(mode).into_iter().map(with_steps).collect(),
            receive: self.contender.receive(),
            end: self.contender.end(self.apic),
            guest: Guest::new(self.apic, self.vcpus)?,
            wheel: Wheel::new(),
            // Modes draw streams of their own: what one draws does not shift another.
            random: RandomStream::new(self.seed, mode as u64),
            began: 0,
            sender_is_back: 0,
            awaited: 0,
            lock_is_free: 0,
            turns: Vec::with_capacity(self.turns as usize),
            sender_exits: 0,
            target_exits: 0,
            lost: 0,
        };
        running.wheel.schedule(0, Event::Turn);
        while let Some((now, event)) = running.wheel.pop() {
            running.handle(now, event);
        }
        Ok(running.measured())
    }

    fn commands(&self, mode: Mode) -> Vec<Command> {
        match (mode, self.sending) {
            (Mode::DryRun, _) => vec![],
            (Mode::SelfIpi, _) => vec![Command::Myself],
            (Mode::Normal, _) => vec![Command::One(1)],
            (Mode::Broadcast | Mode::BroadcastLock, Sending::Shorthand) => vec![Command::Others],
            (Mode::Broadcast | Mode::BroadcastLock, Sending::Each) => (1..self.vcpus).map(Command::One).collect(),
        }
    }
}

impl Running<'_> {
    fn handle(&mut self, now: u64, event: Event) {
        match event {
            Event::Turn => self.turn(now),
            Event::Handler(vcpu) => self.handler(now, vcpu),
            Event::Ended(vcpu) => {
                self.guest.end(vcpu);
                self.awaited -= 1;
                self.finish(now);
            }
        }
    }

    /// The sender begins a turn: it writes its commands one after the other.
    fn turn(&mut self, now: u64) {
        self.began = now;
        let costs = &self.bench.fit.costs;
        let mut clock = now as f64 + costs.get(Step::Turn);
        for (command, steps) in &self.commands {
            self.sender_exits += u64::from(!steps.back.is_empty());
            clock += costs.sum(&steps.first);
            for (position, target) in self.guest.send(SENDER, *command).into_iter().enumerate() {
                if position > 0 {
                    clock += costs.get(steps.next);
                }
                let way = if target == SENDER {
                    costs.sum(&self.bench.contender.receive_own(steps))
                } else {
                    costs.get(Step::Flight) + costs.sum(&self.receive)
                };
                self.target_exits += u64::from(target != SENDER && self.receive.contains(&Step::KickExit));
                let whole_ipi = costs.sum(&steps.first) + way + costs.sum(&[Step::Handler, self.end]);
                let deviation = self.bench.fit.spread.draw(&mut self.random) * whole_ipi;
                self.awaited += 1;
                self.wheel.schedule(whole(clock + way + deviation), Event::Handler(target));
            }
            clock += costs.sum(&steps.back);
        }
        self.sender_is_back = whole(clock);
        if self.awaited == 0 {
            self.finish(self.sender_is_back);
        }
    }

    /// A target's handler runs, after the others' that hold the lock.
    fn handler(&mut self, now: u64, vcpu: VcpuId) {
        let costs = &self.bench.fit.costs;
        if !self.guest.take(vcpu) {
            self.lost += 1;
        }
        self.target_exits += u64::from(self.end == Step::EndExit);
        let mut clock = now as f64;
        if self.mode == Mode::BroadcastLock {
            clock = clock.max(self.lock_is_free as f64) + costs.get(Step::Lock);
            self.lock_is_free = whole(clock);
        }
        self.wheel.schedule(whole(clock + costs.sum(&[Step::Handler, self.end])), Event::Ended(vcpu));
    }

    /// Ends the turn if everybody has answered.
    fn finish(&mut self, now: u64) {
        if self.awaited > 0 {
            return;
        }
        let end = now.max(self.sender_is_back);
        self.turns.push(end - self.began);
        if self.turns.len() < self.bench.turns as usize {
            self.wheel.schedule(end, Event::Turn);
        }
    }

    fn measured(mut self) -> Measured {
        self.turns.sort_unstable();
        let count = self.turns.len();
        let at = |share: f64| {
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share of the length")]
            let rank = (share * count as f64).ceil() as usize;
            self.turns[rank.clamp(1, count) - 1]
        };
        let mut cdf: Vec<(u64, f64)> = Vec::new();
        for share in (1..=POINTS).map(|point| point as f64 / POINTS as f64) {
            match cdf.last_mut() {
                Some((cycles, last)) if *cycles == at(share) => *last = share,
                _ => cdf.push((at(share), share)),
            }
        }
        let a_turn = |number: u64| number as f64 / count as f64;
        Measured {
            mode: self.mode,
            turns: self.bench.turns,
            mean: self.turns.iter().map(|turn| *turn as f64).sum::<f64>() / count as f64,
            p50: at(0.5),
            p99: at(0.99),
            max: at(1.0),
            sender_exits: a_turn(self.sender_exits),
            target_exits: a_turn(self.target_exits),
            lost: self.lost,
            cdf,
        }
    }
}

/// Cycles to a whole number; never below zero.
fn whole(cycles: f64) -> u64 {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a float to an integer saturates")]
    let whole = cycles.round() as u64;
    whole
}
