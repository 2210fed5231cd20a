//! Who gets a CPU: queues of waiting vCPUs and the set of idle CPUs. Nothing here looks at more than one queue's CPUs.

mod credit2;
mod null;
mod pinned;

use alloc::vec;
use alloc::vec::Vec;

use vector_allocator::CpuId;
use vector_allocator::CpuSet;

use self::credit2::Credit2;
use self::null::Null;
use self::pinned::Pinned;
use crate::Span;
use crate::vcpu::Vcpu;
use crate::vcpu::VcpuIndex;

/// How much a sleeper is credited at most: it comes back at most this far ahead of those that ran
/// (`CSCHED2_CREDIT_INIT`, 10 ms).
const CREDIT: Span = Span(10_000_000);

/// What distinguishes one scheduler from another.
trait Rules {
    /// How many CPUs share a queue.
    fn cpus_per_queue(&self) -> u32;

    /// Where a vCPU may run: wherever its affinity says, or only where it is.
    fn roaming(&self) -> Roaming;

    /// Whether one that has had its CPU for `ran` may lose it to one that wakes.
    fn is_preemptable(&self, ran: Span) -> bool;

    /// Whether a vCPU that wakes makes the CPU of a running one look.
    fn wake(&self, running: Running, waiting: Span) -> Judgement;

    /// Whether a waiting vCPU gets the CPU of a running one when the scheduler looks.
    fn judge(&self, running: Running, waiting: Span) -> Judgement;
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Roaming {
    Affinity,
    Home,
}

/// The vCPU that has a CPU.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Running {
    /// How long it has had it.
    pub(crate) ran: Span,
    /// What it has burned, this run included.
    pub(crate) burned: Span,
    /// The most that any vCPU of its queue had burned when it last left a CPU.
    pub(crate) watermark: Span,
}

/// How good a busy CPU is to wait for: rather one whose vCPU may be pre-empted, then the one that has burned most.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Rank {
    is_preemptable: bool,
    burned: Span,
}

/// What becomes of a running vCPU while another waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Judgement {
    /// The other gets the CPU.
    Switch,
    /// It stays at least until it has had the CPU this long.
    Stay(Span),
    /// It stays for good.
    StayForGood,
}

/// Where a woken vCPU goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Placement {
    /// This CPU has nothing to do.
    Idle(CpuId),
    /// All are busy; it waits behind what this one runs.
    Behind(CpuId),
}

/// The scheduler.
#[derive(Debug)]
pub(crate) struct Scheduler {
    rules: AnyRules,
    /// [`Rules::cpus_per_queue`] and [`Rules::roaming`], which are asked for at every look.
    width: u32,
    roaming: Roaming,
    queues: Vec<Queue>,
    idle: Vec<u64>,
    cpus: u32,
}

#[derive(Debug)]
enum AnyRules {
    Credit2(Credit2),
    Null(Null),
    Pinned(Pinned),
}

/// The vCPUs that wait for one group of CPUs.
#[derive(Debug, Default)]
struct Queue {
    /// What each has burned, and who; the least burned last, of equals the first to come last.
    waiting: Vec<(Span, VcpuIndex)>,
    /// The most any vCPU of this queue has burned.
    watermark: Span,
}

impl Scheduler {
    pub(crate) fn new(config: &crate::Scheduler, cpus: u32) -> Self {
        let rules = match *config {
            crate::Scheduler::Credit2 { ratelimit, slice } => AnyRules::Credit2(Credit2 { ratelimit, slice }),
            crate::Scheduler::Null => AnyRules::Null(Null),
            crate::Scheduler::Pinned { slice } => AnyRules::Pinned(Pinned { slice }),
        };
        let (width, roaming) = (rules.get().cpus_per_queue(), rules.get().roaming());
        let mut idle = vec![0; cpus.div_ceil(64) as usize];
        for cpu in 0..cpus {
            idle[cpu as usize / 64] |= 1 << (cpu % 64);
        }
        let queues = (0..cpus.div_ceil(width)).map(|_| Queue::default()).collect();
        Self { rules, width, roaming, queues, idle, cpus }
    }

    /// Chooses a CPU for a vCPU that woke: its own if idle, else an idle one of its affinity, else the busy one of its
    /// queue that ranks highest. `rank` tells that; none for a CPU that cannot be waited for.
    pub(crate) fn place(&self, vcpu: &Vcpu, rank: impl Fn(CpuId) -> Option<Rank>) -> Placement {
        if self.roaming == Roaming::Home {
            return if self.is_idle(vcpu.cpu) { Placement::Idle(vcpu.cpu) } else { Placement::Behind(vcpu.cpu) };
        }
        if vcpu.affinity.contains(vcpu.cpu) && self.is_idle(vcpu.cpu) {
            return Placement::Idle(vcpu.cpu);
        }
        if let Some(cpu) = self.idle_in(&vcpu.affinity) {
            return Placement::Idle(cpu);
        }
        let first = vcpu.cpu.0 - vcpu.cpu.0 % self.width;
        let group = (first..self.cpus.min(first + self.width)).map(CpuId);
        let best = group
            .filter(|cpu| vcpu.affinity.contains(*cpu))
            .filter_map(|cpu| rank(cpu).map(|rank| (rank, core::cmp::Reverse(cpu))))
            .max();
        match best {
            Some((_, core::cmp::Reverse(cpu))) => Placement::Behind(cpu),
            None => Placement::Behind(vcpu.affinity.iter().find(|cpu| rank(*cpu).is_some()).unwrap_or(vcpu.cpu)),
        }
    }

    /// How good the CPU of `running` is to wait for; none is between two vCPUs and soon looks by itself.
    pub(crate) fn rank(&self, running: Option<Running>) -> Rank {
        let is_preemptable = running.is_none_or(|running| self.rules.get().is_preemptable(running.ran));
        Rank { is_preemptable, burned: running.map_or(Span(0), |running| running.burned) }
    }

    /// The most that a vCPU of the queue of `cpu` had burned when it left a CPU.
    pub(crate) fn watermark(&self, cpu: CpuId) -> Span {
        self.queues[self.queue_of(cpu)].watermark
    }

    /// Whether a vCPU that wakes makes the CPU of `running` look.
    pub(crate) fn wake(&self, running: Running, waiting: Span) -> Judgement {
        self.rules.get().wake(running, waiting)
    }

    /// Whether a waiting vCPU gets the CPU of `running` when the scheduler looks.
    pub(crate) fn judge(&self, running: Running, waiting: Span) -> Judgement {
        self.rules.get().judge(running, waiting)
    }

    /// What a vCPU that slept is taken to have burned, so that sleep is not hoarded.
    pub(crate) fn credited(&self, cpu: CpuId, burned: Span) -> Span {
        Span(burned.0.max(self.queues[self.queue_of(cpu)].watermark.0.saturating_sub(CREDIT.0)))
    }

    /// Puts a vCPU into the queue of `behind`.
    pub(crate) fn enqueue(&mut self, behind: CpuId, burned: Span, vcpu: VcpuIndex) {
        let queue = self.queue_of(behind);
        let waiting = &mut self.queues[queue].waiting;
        let at = waiting.partition_point(|(other, _)| *other > burned);
        waiting.insert(at, (burned, vcpu));
    }

    /// The waiting vCPU that has burned least among those that `cpu` may run.
    pub(crate) fn peek(&self, cpu: CpuId, vcpus: &[Vcpu]) -> Option<(Span, VcpuIndex)> {
        self.queues[self.queue_of(cpu)]
            .waiting
            .iter()
            .rev()
            .find(|(_, vcpu)| self.may_run(cpu, &vcpus[vcpu.index()]))
            .copied()
    }

    /// Takes a vCPU out of the queue of `cpu`.
    pub(crate) fn remove(&mut self, cpu: CpuId, vcpu: VcpuIndex) {
        let queue = self.queue_of(cpu);
        self.queues[queue].waiting.retain(|(_, other)| *other != vcpu);
    }

    /// Notes what a vCPU has burned on `cpu`.
    pub(crate) fn note(&mut self, cpu: CpuId, burned: Span) {
        let queue = self.queue_of(cpu);
        let watermark = &mut self.queues[queue].watermark;
        *watermark = burned.max(*watermark);
    }

    pub(crate) fn is_idle(&self, cpu: CpuId) -> bool {
        self.idle[cpu.index() / 64] >> (cpu.index() % 64) & 1 == 1
    }

    pub(crate) fn set_idle(&mut self, cpu: CpuId) {
        self.idle[cpu.index() / 64] |= 1 << (cpu.index() % 64);
    }

    pub(crate) fn set_busy(&mut self, cpu: CpuId) {
        self.idle[cpu.index() / 64] &= !(1 << (cpu.index() % 64));
    }

    /// All who wait, with the first CPU of their queue; for checks.
    pub(crate) fn waiting(&self) -> impl Iterator<Item = VcpuIndex> + '_ {
        self.queues.iter().flat_map(|queue| queue.waiting.iter().map(|(_, vcpu)| *vcpu))
    }

    fn may_run(&self, cpu: CpuId, vcpu: &Vcpu) -> bool {
        match self.roaming {
            Roaming::Affinity => vcpu.affinity.contains(cpu),
            Roaming::Home => vcpu.cpu == cpu,
        }
    }

    fn queue_of(&self, cpu: CpuId) -> usize {
        (cpu.0 / self.width) as usize
    }

    fn idle_in(&self, affinity: &CpuSet) -> Option<CpuId> {
        let both = self.idle.iter().zip(affinity.words()).map(|(idle, may)| idle & may);
        let (word, bits) = (0u32..).zip(both).find(|(_, bits)| *bits != 0)?;
        Some(CpuId(word * 64 + bits.trailing_zeros()))
    }
}

impl AnyRules {
    fn get(&self) -> &dyn Rules {
        match self {
            Self::Credit2(rules) => rules,
            Self::Null(rules) => rules,
            Self::Pinned(rules) => rules,
        }
    }
}
