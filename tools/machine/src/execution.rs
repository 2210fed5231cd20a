//! What a CPU does next: interrupts first, then host work, softirqs, the scheduler, and the guest.

use vector_allocator::CpuId;

use crate::Cost;
use crate::ExitCause;
use crate::Fact;
use crate::Host;
use crate::Machine;
use crate::SourceIndex;
use crate::Span;
use crate::Time;
use crate::VcpuLoad;
use crate::lapic::Acknowledged;
use crate::out::Out;
use crate::pcpu::Clock;
use crate::pcpu::Frame;
use crate::pcpu::Gate;
use crate::pcpu::Mode;
use crate::pcpu::Work;
use crate::timer::Alarm;
use crate::vcpu::Activity;

/// Whether a CPU has more to decide at this instant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// It has: look again.
    Look,
    /// Time must pass first.
    Run,
}

impl Machine {
    /// Lets a CPU do all that takes no time, and starts what does. Every change at a CPU ends here.
    ///
    /// The loop ends: each turn either takes an interrupt out of the local APIC, starts a frame whose gate is closed,
    /// takes a softirq out of its queue, or decides what runs.
    pub(crate) fn settle<H: Host>(&mut self, cpu: CpuId, out: &mut Out<'_, H>) {
        while self.advance(cpu, out) == Next::Look {}
        self.arm(cpu, out);
        self.blame(cpu, out);
    }

    fn advance<H: Host>(&mut self, cpu: CpuId, out: &mut Out<'_, H>) -> Next {
        let entry = &mut self.cpus[cpu.index()];
        match entry.frames.last().map(|frame| frame.gate) {
            Some(Gate::Closed) => return Next::Run,
            None if entry.mode == Mode::Guest => return self.run_guest(cpu, out),
            Some(Gate::Open) | None => {}
        }
        if let Acknowledged::Vector(vector) = entry.lapic.acknowledge() {
            self.dispatch(cpu, vector, out);
            return Next::Look;
        }
        if !self.cpus[cpu.index()].frames.is_empty() {
            return Next::Run;
        }
        self.run_softirqs(cpu, out)
    }

    /// No frame is on the CPU and it is in the host: softirqs, the scheduler, then the guest.
    fn run_softirqs<H: Host>(&mut self, cpu: CpuId, out: &mut Out<'_, H>) -> Next {
        let entry = &mut self.cpus[cpu.index()];
        if let Some(source) = entry.assists.pop(&mut self.sources) {
            let cost = self.costs.get(Cost::DirqAssist);
            self.push(cpu, Work::Assist { source }, cost, Gate::Open, None, out);
            return Next::Look;
        }
        if core::mem::take(&mut entry.must_reschedule) {
            self.reschedule(cpu, out);
            return Next::Look;
        }
        if entry.current.is_none() {
            entry.mode = Mode::Idle;
            return Next::Run;
        }
        self.enter_guest(cpu, out);
        Next::Look
    }

    /// Puts a frame on a CPU; what it interrupts stops.
    pub(crate) fn push<H: Host>(
        &mut self,
        cpu: CpuId,
        work: Work,
        left: Span,
        gate: Gate,
        culprit: Option<SourceIndex>,
        out: &mut Out<'_, H>,
    ) {
        self.pause(cpu, out.now);
        let entry = &mut self.cpus[cpu.index()];
        if entry.mode == Mode::Idle {
            entry.mode = Mode::Host;
        }
        let waited = *entry.lapic.waiting();
        entry.frames.push(Frame { work, left, gate, culprit, waited });
    }

    /// The processor leaves guest mode, and the host hears why.
    pub(crate) fn exit<H: Host>(&mut self, cpu: CpuId, cause: ExitCause, out: &mut Out<'_, H>) {
        self.pause(cpu, out.now);
        let entry = &mut self.cpus[cpu.index()];
        entry.mode = Mode::Host;
        let Some(current) = entry.current else { return };
        let vcpu = &self.vcpus[current.index()];
        if let Some(slot) = vcpu.apic {
            self.apics.exited(slot);
        }
        out.observe(Fact::Exit { vcpu: vcpu.name, cpu, cause });
    }

    /// Stops the clock of what the CPU does and takes off what has been done of it.
    #[inline]
    pub(crate) fn pause(&mut self, cpu: CpuId, now: Time) {
        if let Clock::Running(since) = self.cpus[cpu.index()].clock {
            self.stop_clock(cpu, now - since);
        }
    }

    fn stop_clock(&mut self, cpu: CpuId, done: Span) {
        let entry = &mut self.cpus[cpu.index()];
        entry.clock = Clock::Stopped;
        entry.generation = entry.generation.wrapping_add(1);
        if entry.frames.last().is_some_and(|frame| !frame.work.is_guests()) {
            entry.host_time = entry.host_time.plus(done);
        }
        let left = match (entry.frames.last_mut(), entry.current) {
            (Some(frame), _) => &mut frame.left,
            (None, Some(vcpu)) => self.vcpus[vcpu.index()].clock(),
            (None, None) => return,
        };
        *left = Span(left.0.saturating_sub(done.0));
    }

    /// Starts the clock of what the CPU does, unless it runs.
    fn arm<H: Host>(&mut self, cpu: CpuId, out: &mut Out<'_, H>) {
        let entry = &mut self.cpus[cpu.index()];
        if entry.clock != Clock::Stopped {
            return;
        }
        let left = match (entry.frames.last(), entry.current) {
            (Some(frame), _) => frame.left,
            (None, Some(vcpu)) if entry.mode == Mode::Guest => {
                let vcpu = &mut self.vcpus[vcpu.index()];
                if vcpu.activity == Activity::Load && vcpu.load == VcpuLoad::Busy && !vcpu.is_raised() {
                    entry.clock = Clock::Running(out.now);
                    return;
                }
                *vcpu.clock()
            }
            (None, _) => return,
        };
        entry.clock = Clock::Running(out.now);
        out.after(left, Alarm::Step { cpu: cpu.0, generation: entry.generation });
    }

    /// What a CPU did is over, if it is still what it does.
    pub(crate) fn step<H: Host>(&mut self, cpu: CpuId, generation: u32, out: &mut Out<'_, H>) {
        let Some(entry) = self.cpus.get(cpu.index()) else {
            return;
        };
        if entry.generation != generation || entry.clock == Clock::Stopped {
            return;
        }
        self.pause(cpu, out.now);
        match self.cpus[cpu.index()].frames.pop() {
            Some(frame) => self.finish(cpu, frame.work, out),
            None => self.finish_activity(cpu, out),
        }
        self.settle(cpu, out);
    }
}
