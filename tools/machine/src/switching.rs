//! vCPUs onto CPUs and off them.

use vector_allocator::CpuId;
use vector_allocator::VectorSet;

use crate::Cost;
use crate::ExitCause;
use crate::Fact;
use crate::Host;
use crate::Machine;
use crate::Span;
use crate::Time;
use crate::VcpuLoad;
use crate::apic::Blocking;
use crate::apic::Request;
use crate::out::Out;
use crate::pcpu::Gate;
use crate::pcpu::Mode;
use crate::pcpu::Work;
use crate::sched::Judgement;
use crate::sched::Placement;
use crate::sched::Rank;
use crate::sched::Running;
use crate::timer::Alarm;
use crate::timer::Ipi;
use crate::vcpu::Residency;
use crate::vcpu::VcpuIndex;
use crate::vcpu::VcpuSide;

impl Machine {
    /// A vCPU's load begins.
    pub(crate) fn begin_load<H: Host>(&mut self, vcpu: VcpuIndex, out: &mut Out<'_, H>) {
        let entry = &mut self.vcpus[vcpu.index()];
        match entry.load {
            VcpuLoad::Idle => return,
            VcpuLoad::Busy => {}
            VcpuLoad::Periodic { run, .. } => entry.load_left = run,
        }
        self.wake(vcpu, None, out);
    }

    /// A periodic load's sleep is over.
    pub(crate) fn load_wakes<H: Host>(&mut self, vcpu: VcpuIndex, out: &mut Out<'_, H>) {
        self.begin_load(vcpu, out);
    }

    /// A blocked vCPU has something to do: it goes to an idle CPU, or waits behind a busy one. `from` is the CPU whose
    /// host code does it.
    pub(crate) fn wake<H: Host>(&mut self, vcpu: VcpuIndex, from: Option<CpuId>, out: &mut Out<'_, H>) {
        let entry = &mut self.vcpus[vcpu.index()];
        if entry.residency != Residency::Blocked {
            return;
        }
        entry.residency = Residency::Runnable;
        entry.wait_is_told = false;
        entry.burned = self.scheduler.credited(entry.cpu, entry.burned);
        let burned = entry.burned;
        let now = out.now;
        let placement = self.scheduler.place(&self.vcpus[vcpu.index()], |cpu| self.rank_of(cpu, now));
        match placement {
            Placement::Idle(cpu) => {
                self.scheduler.set_busy(cpu);
                self.vcpus[vcpu.index()].behind = cpu;
                self.scheduler.enqueue(cpu, burned, vcpu);
                self.tickle(cpu, from, out);
            }
            Placement::Behind(cpu) => {
                self.vcpus[vcpu.index()].behind = cpu;
                self.scheduler.enqueue(cpu, burned, vcpu);
                self.tell_wait(vcpu, out);
                self.contest(cpu, burned, from, out);
            }
        }
    }

    /// How good a CPU is to wait for; none if it is offline.
    fn rank_of(&self, cpu: CpuId, now: Time) -> Option<Rank> {
        self.cpus[cpu.index()].is_online.then(|| self.scheduler.rank(self.running(cpu, now)))
    }

    fn running(&self, cpu: CpuId, now: Time) -> Option<Running> {
        let entry = &self.cpus[cpu.index()];
        let vcpu = entry.current?;
        let ran = now - entry.running_since;
        let watermark = self.scheduler.watermark(cpu);
        Some(Running { ran, burned: self.vcpus[vcpu.index()].burned.plus(ran), watermark })
    }

    /// A vCPU woke and waits for a busy CPU: that looks now, or when its timer goes off, which is set late: only now does
    /// anybody wait for it. A CPU that is between two looks when it has switched.
    fn contest<H: Host>(&mut self, cpu: CpuId, waiting: Span, from: Option<CpuId>, out: &mut Out<'_, H>) {
        let Some(running) = self.running(cpu, out.now) else {
            return;
        };
        match self.scheduler.wake(running, waiting) {
            Judgement::Switch => self.tickle(cpu, from, out),
            Judgement::Stay(ran) if self.cpus[cpu.index()].slice_ends.is_none() => {
                self.look_again(cpu, self.cpus[cpu.index()].running_since + ran, out);
            }
            Judgement::Stay(_) | Judgement::StayForGood => {}
        }
    }

    /// Has the scheduler of `cpu` look: at the end of what `from` does in the host, or by an IPI.
    pub(crate) fn tickle<H: Host>(&mut self, cpu: CpuId, from: Option<CpuId>, out: &mut Out<'_, H>) {
        self.cpus[cpu.index()].must_reschedule = true;
        if from != Some(cpu) {
            self.send_ipi(cpu, Ipi::EventCheck, out);
        }
    }

    /// Sets the scheduler's timer anew.
    fn look_again<H: Host>(&mut self, cpu: CpuId, at: Time, out: &mut Out<'_, H>) {
        let entry = &mut self.cpus[cpu.index()];
        entry.slice_ends = Some(at);
        entry.slice_generation = entry.slice_generation.wrapping_add(1);
        out.at(at, Alarm::Slice { cpu: cpu.0, generation: entry.slice_generation });
    }

    /// The scheduler's timer.
    pub(crate) fn slice_over<H: Host>(&mut self, cpu: CpuId, generation: u32, out: &mut Out<'_, H>) {
        let entry = &mut self.cpus[cpu.index()];
        if entry.slice_generation != generation || entry.slice_ends.take().is_none() {
            return;
        }
        let (Some((waiting, _)), Some(running)) = (self.scheduler.peek(cpu, &self.vcpus), self.running(cpu, out.now))
        else {
            return;
        };
        match self.scheduler.judge(running, waiting) {
            Judgement::Stay(ran) => self.look_again(cpu, self.cpus[cpu.index()].running_since + ran, out),
            Judgement::StayForGood => {}
            Judgement::Switch => {
                let entry = &mut self.cpus[cpu.index()];
                entry.must_reschedule = true;
                if entry.frames.is_empty() && entry.mode == Mode::Guest {
                    let overhead = self.interruption(cpu);
                    self.exit(cpu, ExitCause::Preempted, out);
                    self.push(cpu, Work::Acknowledge, overhead, Gate::Closed, None, out);
                }
                self.settle(cpu, out);
            }
        }
    }

    /// The scheduler looks at a CPU that is in the host with no frame on it.
    pub(crate) fn reschedule<H: Host>(&mut self, cpu: CpuId, out: &mut Out<'_, H>) {
        let waiting = self.scheduler.peek(cpu, &self.vcpus);
        match (self.running(cpu, out.now), waiting) {
            (None, None) => self.scheduler.set_idle(cpu),
            (Some(_), None) => {}
            (None, Some((_, next))) => self.begin_switch(cpu, next, out),
            (Some(running), Some((burned, next))) => match self.scheduler.judge(running, burned) {
                Judgement::Switch => {
                    self.put_off(cpu, out);
                    self.begin_switch(cpu, next, out);
                }
                Judgement::Stay(ran) => self.look_again(cpu, self.cpus[cpu.index()].running_since + ran, out),
                Judgement::StayForGood => {}
            },
        }
    }

    fn begin_switch<H: Host>(&mut self, cpu: CpuId, to: VcpuIndex, out: &mut Out<'_, H>) {
        self.scheduler.remove(cpu, to);
        self.scheduler.set_busy(cpu);
        self.push(cpu, Work::Switch { to }, self.costs.get(Cost::ContextSwitch), Gate::Open, None, out);
    }

    pub(crate) fn finish_switch<H: Host>(&mut self, cpu: CpuId, to: VcpuIndex, out: &mut Out<'_, H>) {
        if let Some(slot) = self.vcpus[to.index()].apic {
            self.apics.load(slot, cpu);
        }
        let vcpu = &mut self.vcpus[to.index()];
        vcpu.residency = Residency::Running;
        vcpu.cpu = cpu;
        vcpu.behind = cpu;
        out.observe(Fact::VcpuRuns { vcpu: vcpu.name, cpu });
        let entry = &mut self.cpus[cpu.index()];
        entry.current = Some(to);
        entry.running_since = out.now;
        entry.must_reschedule = true;
        entry.slice_ends = None;
        if let Some((_, waiting)) = self.scheduler.peek(cpu, &self.vcpus) {
            self.tell_wait(waiting, out);
        }
    }

    /// The current vCPU leaves its CPU; whether it goes on to wait or to block is the caller's.
    pub(crate) fn leave<H: Host>(&mut self, cpu: CpuId, out: &mut Out<'_, H>) -> Option<VcpuIndex> {
        let running = self.running(cpu, out.now)?;
        let entry = &mut self.cpus[cpu.index()];
        let vcpu = entry.current.take()?;
        entry.mode = Mode::Host;
        entry.slice_ends = None;
        self.scheduler.note(cpu, running.burned);
        self.vcpus[vcpu.index()].burned = running.burned;
        self.vcpus[vcpu.index()].wait_is_told = false;
        out.observe(Fact::VcpuStops { vcpu: self.vcpus[vcpu.index()].name, cpu });
        Some(vcpu)
    }

    /// The current vCPU is pre-empted.
    fn put_off<H: Host>(&mut self, cpu: CpuId, out: &mut Out<'_, H>) {
        if let Some(vcpu) = self.leave(cpu, out) {
            let entry = &mut self.vcpus[vcpu.index()];
            if let Some(slot) = entry.apic {
                self.apics.preempt(slot);
            }
            entry.residency = Residency::Runnable;
            entry.behind = cpu;
            self.scheduler.enqueue(cpu, entry.burned, vcpu);
        }
    }

    /// A vCPU has asked to block; it does unless something has come meanwhile.
    pub(crate) fn block<H: Host>(&mut self, cpu: CpuId, out: &mut Out<'_, H>) {
        let Some(current) = self.cpus[cpu.index()].current else {
            return;
        };
        if self.vcpus[current.index()].has_work(&self.events) || self.stays_awake(cpu, current, out) {
            return;
        }
        self.leave(cpu, out);
        self.vcpus[current.index()].residency = Residency::Blocked;
        self.cpus[cpu.index()].must_reschedule = true;
    }

    /// Whether a vCPU must not block for what has come to its local APIC.
    fn stays_awake<H: Host>(&mut self, cpu: CpuId, vcpu: VcpuIndex, out: &mut Out<'_, H>) -> bool {
        let entry = &self.vcpus[vcpu.index()];
        let Some(slot) = entry.apic else { return false };
        let wakes = self.apics.wakes(slot, entry.interrupt_flag());
        self.take_vectors(vcpu, &VectorSet::EMPTY, out);
        wakes || self.apics.block(slot, cpu) == Blocking::AwakeAfterAll
    }

    /// The wake-up vector's handler: every vCPU on the CPU's list that was posted something wakes, and those that AMD's IOMMU
    /// has logged.
    pub(crate) fn wake_listed<H: Host>(&mut self, cpu: CpuId, out: &mut Out<'_, H>) {
        self.apics.wake_up(cpu);
        while let Some(request) = self.apics.request() {
            if let Request::Wake(slot) = request {
                self.wake(self.apics.vcpu(slot), Some(cpu), out);
            }
        }
    }

    /// Reports, once per wait, that a dom0 vCPU with an interrupt waits for a CPU that a guest's vCPU keeps.
    pub(crate) fn tell_wait<H: Host>(&mut self, vcpu: VcpuIndex, out: &mut Out<'_, H>) {
        let entry = &self.vcpus[vcpu.index()];
        let waits = entry.side == VcpuSide::Dom0
            && entry.residency == Residency::Runnable
            && !entry.wait_is_told
            && entry.has_interrupts(&self.events);
        let cpu = entry.behind;
        let Some(current) = self.cpus[cpu.index()].current else {
            return;
        };
        if waits && self.vcpus[current.index()].side == VcpuSide::Guest {
            let behind = self.vcpus[current.index()].name;
            out.observe(Fact::VcpuWaits { vcpu: entry.name, behind, cpu });
            self.vcpus[vcpu.index()].wait_is_told = true;
        }
    }
}
