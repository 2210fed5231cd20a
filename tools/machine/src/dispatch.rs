//! The host's side of an interrupt: from the acknowledge cycle to the last EOI.

use vector_allocator::AckType;
use vector_allocator::CpuId;
use vector_allocator::FORCED_EOI_NS;
use vector_allocator::Vector;

use crate::Cost;
use crate::ExitCause;
use crate::Fact;
use crate::Host;
use crate::Machine;
use crate::RetentionEnd;
use crate::SourceIndex;
use crate::Span;
use crate::delivery::Agent;
use crate::irq::MaskReason;
use crate::irq::Service;
use crate::irq::Side;
use crate::out::Out;
use crate::pcpu::Gate;
use crate::pcpu::Mode;
use crate::pcpu::Work;
use crate::source::Route;
use crate::storm::STORM_PERIOD;
use crate::storm::Verdict;
use crate::timer::Alarm;
use crate::trigger::Trigger;

impl Machine {
    /// A CPU has acknowledged `vector`: it is in service, and its handler starts.
    pub(crate) fn dispatch<H: Host>(&mut self, cpu: CpuId, vector: Vector, out: &mut Out<'_, H>) {
        let overhead = self.interruption(cpu);
        if self.cpus[cpu.index()].frames.is_empty() && self.cpus[cpu.index()].mode == Mode::Guest {
            let kick = vector == self.special.event_check;
            self.exit(cpu, if kick { ExitCause::Kick } else { ExitCause::ExternalInterrupt }, out);
        }
        match self.slot(cpu, vector) {
            Some(irq) => self.handle(cpu, irq, overhead, out),
            None => self.handle_own(cpu, vector, overhead, out),
        }
    }

    /// A vector of the machine's own, or of nobody: a source that has moved away.
    fn handle_own<H: Host>(&mut self, cpu: CpuId, vector: Vector, overhead: Span, out: &mut Out<'_, H>) {
        self.cpus[cpu.index()].lapic.eoi();
        let (work, cost) = if Some(vector) == self.special.wake_up {
            (Work::WakeUp, Cost::WakeUpHandler)
        } else if Some(vector) == self.special.notification {
            (Work::Acknowledge, Cost::NotificationHandler)
        } else {
            (Work::Acknowledge, Cost::EventCheckHandler)
        };
        let culprit = match cost {
            Cost::EventCheckHandler => None,
            _ => self.cpus[cpu.index()].notified_by,
        };
        self.push(cpu, work, self.costs.get(cost).plus(overhead), Gate::Closed, culprit, out);
    }

    fn handle<H: Host>(&mut self, cpu: CpuId, irq: u32, overhead: Span, out: &mut Out<'_, H>) {
        let entry = &mut self.irqs[irq as usize];
        entry.generation = entry.generation.wrapping_add(1);
        let source = entry.first;
        let route = self.sources[source.0 as usize].route;
        let vector = entry.vector;
        let own = match route {
            Route::Interruptible => Some(Gate::Open),
            Route::Uninterruptible => Some(Gate::Closed),
            Route::EventChannel | Route::Remapped | Route::Posted | Route::Ipi => None,
        };
        if let Some(gate) = own {
            out.observe(Fact::Dispatched { source, cpu, vector, entry: overhead });
            self.hold(cpu, irq);
            let time = self.sources[source.0 as usize].handler.plus(overhead);
            return self.push(cpu, Work::Internal { irq }, time, gate, None, out);
        }
        let cost = self.costs.get(Cost::GuestBoundHandler).plus(overhead);
        let culprit = self.irq_culprit(irq);
        if self.irqs[irq as usize].storm.admit(out.now) == Verdict::TurnedAway {
            self.turn_away(cpu, irq, out);
            return self.push(cpu, Work::Acknowledge, cost, Gate::Closed, culprit, out);
        }
        out.observe(Fact::Dispatched { source: self.speaker(irq), cpu, vector, entry: overhead });
        match self.irqs[irq as usize].ack {
            AckType::None => {
                self.cpus[cpu.index()].lapic.eoi();
                self.follow(irq, out);
            }
            AckType::Unmask => {
                self.irqs[irq as usize].mask(MaskReason::Unfinished);
                self.eoi_now(cpu, irq);
                self.follow(irq, out);
            }
            AckType::Eoi => self.hold(cpu, irq),
        }
        self.push(cpu, Work::GuestBound { irq }, cost, Gate::Closed, culprit, out);
    }

    /// The source that a line's interrupt is told under: the first that asserts it.
    fn speaker(&self, irq: u32) -> SourceIndex {
        let first = self.irqs[irq as usize].first;
        self.sharers(irq).find(|source| self.sources[source.0 as usize].is_asserting).unwrap_or(first)
    }

    /// The sources that share a line.
    pub(crate) fn sharers(&self, irq: u32) -> impl Iterator<Item = SourceIndex> + '_ {
        let first = self.irqs[irq as usize].first;
        core::iter::successors(Some(first), |source| self.sources[source.0 as usize].sharer.get().map(SourceIndex))
    }

    /// The storm guard's answer: the interrupt is not handled, and its source disabled. What cannot be masked goes on, and
    /// is turned away each time. The first source that is disabled starts the timer for all that follow.
    fn turn_away<H: Host>(&mut self, cpu: CpuId, irq: u32, out: &mut Out<'_, H>) {
        out.observe(Fact::Throttled { source: self.speaker(irq) });
        let entry = &mut self.irqs[irq as usize];
        if entry.is_maskable() {
            entry.mask(MaskReason::Throttled);
        }
        self.eoi_now(cpu, irq);
        if self.throttled.is_empty() {
            out.after(STORM_PERIOD, Alarm::Unthrottle);
        }
        if !self.throttled.contains(&irq) {
            self.throttled.push(irq);
        }
    }

    /// The EOI of an interrupt that has just been dispatched: its bit is the highest.
    fn eoi_now(&mut self, cpu: CpuId, irq: u32) {
        self.cpus[cpu.index()].lapic.eoi();
        if let Trigger::Level(pin) = &mut self.irqs[irq as usize].trigger {
            pin.eoi();
        }
    }

    /// Delays the EOI: the interrupt goes onto the CPU's stack.
    fn hold(&mut self, cpu: CpuId, irq: u32) {
        self.cpus[cpu.index()].pending_eoi.push(irq);
        self.irqs[irq as usize].service = Service::Held(cpu);
    }

    /// A frame's work is done.
    pub(crate) fn finish<H: Host>(&mut self, cpu: CpuId, work: Work, out: &mut Out<'_, H>) {
        match work {
            Work::GuestBound { irq } => self.finish_guest_bound(cpu, irq, out),
            Work::Internal { irq } => self.finish_internal(cpu, irq, out),
            Work::Acknowledge | Work::Processing | Work::Sending | Work::Window => {}
            Work::Emulate => self.finish_write(cpu, out),
            Work::Command { source, cause } => self.finish_command(cpu, (source, cause), out),
            Work::WakeUp => self.wake_listed(cpu, out),
            Work::Assist { source } => self.inject(cpu, source, out),
            Work::GuestEoi { source } => self.guest_eoi(cpu, source, out),
            Work::Block => self.block(cpu, out),
            Work::Switch { to } => self.finish_switch(cpu, to, out),
        }
    }

    /// The handler of one of the hypervisor's own interrupts returns; its device lets go of the line before the EOI.
    fn finish_internal<H: Host>(&mut self, cpu: CpuId, irq: u32, out: &mut Out<'_, H>) {
        let source = self.irqs[irq as usize].first;
        out.observe(Fact::HostHandlerDone { source, cpu });
        self.complete(source, out);
        self.ready(cpu, irq, RetentionEnd::Guest, out);
    }

    /// The handler of an interrupt that domains handle returns: each of them is told, and its time to finish runs.
    fn finish_guest_bound<H: Host>(&mut self, cpu: CpuId, irq: u32, out: &mut Out<'_, H>) {
        let source = self.speaker(irq);
        out.observe(Fact::HostHandlerDone { source, cpu });
        let ack = self.irqs[irq as usize].ack;
        if ack == AckType::Eoi {
            self.irqs[irq as usize].service = Service::Retained(cpu);
            if let Some(source) = self.irq_culprit(irq) {
                out.observe(Fact::RetentionBegan { source, cpu });
            }
        }
        if ack != AckType::None {
            let generation = self.irqs[irq as usize].generation;
            out.after(Span(FORCED_EOI_NS), Alarm::ForcedEoi { irq, generation });
        }
        let mut next = Some(self.irqs[irq as usize].first);
        while let Some(source) = next {
            let entry = &mut self.sources[source.0 as usize];
            next = entry.sharer.get().map(SourceIndex);
            if ack != AckType::None && !core::mem::replace(&mut entry.owes_eoi, true) {
                self.irqs[irq as usize].in_flight += 1;
            }
            match self.sources[source.0 as usize].route {
                Route::Remapped => {
                    if !self.cpus[cpu.index()].assists.push(&mut self.sources, source) {
                        self.coalesce(source, out);
                    }
                }
                _ => self.deliver(Agent::Host(cpu), source, out),
            }
        }
    }

    /// A domain's EOI reaches the host, which passes it on whatever the guest's own mask says.
    pub(crate) fn guest_eoi<H: Host>(&mut self, cpu: CpuId, source: SourceIndex, out: &mut Out<'_, H>) {
        let entry = &mut self.sources[source.0 as usize];
        if let (Route::EventChannel, Some(vcpu)) = (entry.route, entry.vcpu.get())
            && let Some(own) = self.vcpus[vcpu as usize].events
        {
            self.events.end(own, entry.channel);
        }
        let (Some(irq), true) = (entry.irq.get(), core::mem::take(&mut entry.owes_eoi)) else {
            return;
        };
        let line = &mut self.irqs[irq as usize];
        line.in_flight -= 1;
        if line.in_flight > 0 {
            return;
        }
        match (line.ack, line.service) {
            (AckType::Unmask, _) => self.lift(irq, MaskReason::Unfinished, out),
            (AckType::Eoi, Service::Retained(at)) if at == cpu => self.ready(cpu, irq, RetentionEnd::Guest, out),
            (AckType::Eoi, Service::Retained(_)) => {
                let generation = line.generation;
                out.after(self.costs.get(Cost::IpiFlight), Alarm::RemoteEoi { irq, generation });
            }
            _ => {}
        }
    }

    /// A domain's EOI from elsewhere reaches the CPU where the interrupt is in service.
    pub(crate) fn remote_eoi<H: Host>(&mut self, irq: u32, generation: u32, out: &mut Out<'_, H>) {
        self.end_retention(irq, generation, RetentionEnd::Guest, out);
    }

    /// A domain has kept an interrupt for too long (`irq_guest_eoi_timer_fn`).
    pub(crate) fn force_eoi<H: Host>(&mut self, irq: u32, generation: u32, out: &mut Out<'_, H>) {
        let line = &self.irqs[irq as usize];
        if line.generation != generation || line.in_flight == 0 {
            return;
        }
        let mut next = Some(line.first);
        while let Some(source) = next {
            let entry = &mut self.sources[source.0 as usize];
            entry.owes_eoi = false;
            next = entry.sharer.get().map(SourceIndex);
        }
        self.irqs[irq as usize].in_flight = 0;
        match self.irqs[irq as usize].ack {
            AckType::None => {}
            AckType::Unmask => self.lift(irq, MaskReason::Unfinished, out),
            AckType::Eoi => self.end_retention(irq, generation, RetentionEnd::Forced, out),
        }
    }

    fn end_retention<H: Host>(&mut self, irq: u32, generation: u32, by: RetentionEnd, out: &mut Out<'_, H>) {
        let line = &self.irqs[irq as usize];
        if let (true, Service::Retained(cpu)) = (line.generation == generation, line.service) {
            self.ready(cpu, irq, by, out);
            self.settle(cpu, out);
        }
    }

    /// The EOI may be sent; it goes out once those above it on the stack have gone, since the local APIC ends the highest
    /// first (`flush_ready_eoi`).
    pub(crate) fn ready<H: Host>(&mut self, cpu: CpuId, irq: u32, by: RetentionEnd, out: &mut Out<'_, H>) {
        self.irqs[irq as usize].service = Service::Ready(cpu, by);
        while let Some(top) = self.cpus[cpu.index()].pending_eoi.last().copied() {
            let Service::Ready(_, by) = self.irqs[top as usize].service else {
                return;
            };
            self.cpus[cpu.index()].pending_eoi.pop();
            self.eoi_now(cpu, top);
            self.irqs[top as usize].service = Service::Idle;
            if let Side::Culprit(source) = self.irqs[top as usize].side {
                out.observe(Fact::RetentionEnded { source, cpu, by });
            }
            self.resend_later(top, out);
            self.follow(top, out);
        }
    }

    /// The handler of a source has run: its device lets go of the line, and may raise again.
    pub(crate) fn complete<H: Host>(&mut self, source: SourceIndex, out: &mut Out<'_, H>) {
        let entry = &mut self.sources[source.0 as usize];
        if let Some(irq) = entry.irq.get()
            && let Trigger::Level(pin) = &mut self.irqs[irq as usize].trigger
        {
            // The handler of a line runs for every interrupt of it; only the device that asserted it is done.
            if !core::mem::take(&mut entry.is_asserting) {
                return;
            }
            pin.deassert();
        }
        out.observe(Fact::Completed { source });
    }
}
