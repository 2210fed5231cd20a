//! Guest mode: boundaries, handlers, loads, and the ways out.

use vector_allocator::CpuId;
use vector_allocator::VectorSet;

use crate::Cost;
use crate::DeferredWork;
use crate::DomainKind;
use crate::ExitCause;
use crate::Fact;
use crate::Host;
use crate::InterruptFlag;
use crate::Machine;
use crate::SourceIndex;
use crate::Span;
use crate::Time;
use crate::VcpuLoad;
use crate::apic::Event;
use crate::apic::Request;
use crate::delivery::Agent;
use crate::events::Ending;
use crate::events::EventVcpu;
use crate::events::Sent;
use crate::execution::Next;
use crate::lapic::Acknowledged;
use crate::out::Out;
use crate::pcpu::Clock;
use crate::pcpu::Gate;
use crate::pcpu::Mode;
use crate::pcpu::Work;
use crate::source::Route;
use crate::timer::Alarm;
use crate::vcpu::Activity;
use crate::vcpu::TaskPriority;
use crate::vcpu::Vcpu;
use crate::vcpu::VcpuIndex;

impl Vcpu {
    /// What is left of what it does.
    pub(crate) const fn clock(&mut self) -> &mut Span {
        match self.activity {
            Activity::Load if matches!(self.task_priority, TaskPriority::Raised) => &mut self.deferred_left,
            Activity::Load => &mut self.load_left,
            Activity::Entry(_) | Activity::Handler(_) | Activity::Return => &mut self.left,
        }
    }

    /// Guests' handlers run behind interrupt gates, as Linux's do.
    pub(crate) const fn interrupt_flag(&self) -> InterruptFlag {
        match self.activity {
            Activity::Load if self.is_in_upcall => InterruptFlag::Clear,
            Activity::Load => InterruptFlag::Set,
            Activity::Entry(_) | Activity::Handler(_) | Activity::Return => InterruptFlag::Clear,
        }
    }
}

impl Machine {
    /// The way into guest mode: what was posted is taken in on every entry.
    pub(crate) fn enter_guest<H: Host>(&mut self, cpu: CpuId, out: &mut Out<'_, H>) {
        let Some(current) = self.cpus[cpu.index()].current else {
            return;
        };
        self.cpus[cpu.index()].mode = Mode::Guest;
        let vcpu = &self.vcpus[current.index()];
        if vcpu.kind == DomainKind::Pv {
            return;
        }
        if let Some(slot) = vcpu.apic {
            self.apics.enter(slot, vcpu.interrupt_flag(), out.now);
            self.take_vectors(current, &VectorSet::EMPTY, out);
        }
        // The entry is charged to what the guest does next; an idle load that is charged nothing blocks at once.
        let vcpu = &mut self.vcpus[current.index()];
        if vcpu.activity != Activity::Load || vcpu.load_left.0 > 0 || vcpu.is_raised() {
            let cost = self.costs.get(Cost::VmEntry);
            let clock = vcpu.clock();
            *clock = clock.plus(cost);
            let host_time = &mut self.cpus[cpu.index()].host_time;
            *host_time = host_time.plus(cost);
        }
    }

    /// AVIC's doorbell in guest mode: the backing page is looked at. In host mode the next entry does it.
    pub(crate) fn ring_doorbell(&mut self, cpu: CpuId) {
        let entry = &self.cpus[cpu.index()];
        if let (Mode::Guest, Some(current)) = (entry.mode, entry.current)
            && let Some(slot) = self.vcpus[current.index()].apic
        {
            self.apics.hear_doorbell(slot);
        }
    }

    /// One boundary in guest mode, and what the guest does after it.
    pub(crate) fn run_guest<H: Host>(&mut self, cpu: CpuId, out: &mut Out<'_, H>) -> Next {
        let entry = &mut self.cpus[cpu.index()];
        let Some(current) = entry.current else {
            entry.mode = Mode::Host;
            return Next::Look;
        };
        let vcpu = &self.vcpus[current.index()];
        let event = match vcpu.apic {
            Some(slot) => self.apics.boundary(slot, vcpu.interrupt_flag(), &mut entry.lapic),
            None => match entry.lapic.acknowledge() {
                Acknowledged::Vector(vector) => Event::Interrupted(vector),
                Acknowledged::Spurious => Event::Nothing,
            },
        };
        match event {
            Event::Nothing => return self.go_on(cpu, current, out),
            Event::Interrupted(vector) => self.dispatch(cpu, vector, out),
            Event::Window => {
                self.exit(cpu, ExitCause::InterruptWindow, out);
                self.push(cpu, Work::Window, self.costs.get(Cost::WindowExit), Gate::Open, None, out);
            }
            Event::Processed => {
                let level = vcpu.apic.map_or(VectorSet::EMPTY, |slot| *self.apics.level(slot));
                self.take_vectors(current, &level, out);
                let culprit = self.cpus[cpu.index()].notified_by;
                let cost = self.costs.get(Cost::PostedProcessing);
                self.push(cpu, Work::Processing, cost, Gate::Closed, culprit, out);
            }
            Event::Delivered(vector) => {
                self.pause(cpu, out.now);
                self.vcpus[current.index()].ledger.deliver(vector);
                if let Some(source) = self.vcpus[current.index()].source_of(vector) {
                    self.begin_entry(current, source, Cost::IdtDelivery);
                }
            }
        }
        Next::Look
    }

    fn begin_entry(&mut self, vcpu: VcpuIndex, source: SourceIndex, cost: Cost) {
        let cost = self.costs.get(cost);
        let vcpu = &mut self.vcpus[vcpu.index()];
        vcpu.activity = Activity::Entry(source);
        vcpu.left = cost;
    }

    /// No interrupt is taken at this boundary: the guest goes on, takes an event, or has nothing left to do.
    fn go_on<H: Host>(&mut self, cpu: CpuId, current: VcpuIndex, out: &mut Out<'_, H>) -> Next {
        let vcpu = &mut self.vcpus[current.index()];
        if vcpu.activity == Activity::Load
            && !vcpu.is_raised()
            && !vcpu.has_events(&self.events)
            && let Some(source) = vcpu.commands.pop(&mut self.sources)
        {
            self.pause(cpu, out.now);
            self.send_command(cpu, current, source, out);
            return Next::Look;
        }
        let vcpu = &mut self.vcpus[current.index()];
        if self.cpus[cpu.index()].clock != Clock::Stopped || vcpu.activity != Activity::Load {
            return Next::Run;
        }
        if let (Some(own), true) = (vcpu.events, vcpu.has_events(&self.events)) {
            return self.go_on_in_upcall(current, own, out.now);
        }
        if vcpu.has_load() || vcpu.is_raised() {
            return Next::Run;
        }
        self.exit(cpu, ExitCause::Halt, out);
        self.push(cpu, Work::Block, self.costs.get(Cost::Block), Gate::Open, None, out);
        Next::Look
    }

    /// One turn of a vCPU's upcall loop. Between the turns interrupts stay off.
    fn go_on_in_upcall(&mut self, current: VcpuIndex, own: EventVcpu, now: Time) -> Next {
        let vcpu = &mut self.vcpus[current.index()];
        let cost = if core::mem::replace(&mut vcpu.is_in_upcall, true) {
            Cost::NextEvent
        } else {
            self.events.enter(own);
            Cost::Upcall
        };
        match self.events.take(own, now) {
            Some(source) => {
                self.begin_entry(current, source, cost);
                Next::Run
            }
            None => {
                vcpu.is_in_upcall = false;
                Next::Look
            }
        }
    }

    /// What the guest did is over.
    pub(crate) fn finish_activity<H: Host>(&mut self, cpu: CpuId, out: &mut Out<'_, H>) {
        let Some(current) = self.cpus[cpu.index()].current else {
            return;
        };
        let vcpu = &mut self.vcpus[current.index()];
        match vcpu.activity {
            Activity::Load if vcpu.is_raised() => {
                vcpu.deferred_left = Span(0);
                // Either way the CPU looks again: what was held back comes now.
                let _ = self.set_task_priority(cpu, current, TaskPriority::Low, out);
            }
            Activity::Load => {
                vcpu.load_left = Span(0);
                if let VcpuLoad::Periodic { sleep, .. } = vcpu.load {
                    out.after(sleep, Alarm::LoadWake { vcpu: current.0 });
                }
            }
            Activity::Entry(source) => {
                vcpu.activity = Activity::Handler(source);
                vcpu.left = self.sources[source.0 as usize].handler;
                out.observe(Fact::HandlerEntered { source, vcpu: vcpu.name, cpu });
            }
            Activity::Handler(source) => self.handled(cpu, current, source, out),
            Activity::Return => vcpu.activity = Activity::Load,
        }
    }

    /// The guest's handler returns, and ends its interrupt.
    fn handled<H: Host>(&mut self, cpu: CpuId, current: VcpuIndex, source: SourceIndex, out: &mut Out<'_, H>) {
        let vcpu = &mut self.vcpus[current.index()];
        let defers = self.sources[source.0 as usize].route != Route::EventChannel;
        if let Some(DeferredWork { lasts, .. }) = vcpu.deferred.filter(|_| defers) {
            // Before the EOI: nothing that it lets through is to come in between.
            if !vcpu.is_raised() && self.set_task_priority(cpu, current, TaskPriority::Raised, out) == Next::Look {
                // The guest was left: its handler goes on here when it comes back.
                return;
            }
            let vcpu = &mut self.vcpus[current.index()];
            vcpu.deferred_left = vcpu.deferred_left.plus(lasts);
        }
        let vcpu = &mut self.vcpus[current.index()];
        vcpu.activity = Activity::Load;
        match (self.sources[source.0 as usize].route, vcpu.events) {
            (Route::EventChannel, Some(own)) => {
                self.complete(source, out);
                self.end_event(cpu, own, source, out);
            }
            _ => {
                // Its EOI is part of the handler.
                self.end_vector(cpu, current, out);
                self.complete(source, out);
            }
        }
    }

    /// The guest raises its task priority or lowers it: the processor does it, or the guest is left for it.
    fn set_task_priority<H: Host>(
        &mut self,
        cpu: CpuId,
        current: VcpuIndex,
        to: TaskPriority,
        out: &mut Out<'_, H>,
    ) -> Next {
        let vcpu = &mut self.vcpus[current.index()];
        vcpu.task_priority = to;
        let class = match (to, vcpu.deferred) {
            (TaskPriority::Raised, Some(deferred)) => deferred.class,
            (TaskPriority::Low, _) | (_, None) => 0,
        };
        let Some(cause) = vcpu.apic.and_then(|slot| self.apics.set_task_priority(slot, class)) else {
            return Next::Run;
        };
        self.exit(cpu, cause, out);
        self.push(cpu, Work::Emulate, self.costs.get(Cost::TprExit), Gate::Open, None, out);
        Next::Look
    }

    fn end_event<H: Host>(&mut self, cpu: CpuId, own: EventVcpu, source: SourceIndex, out: &mut Out<'_, H>) {
        let work = match self.events.finish(own, self.sources[source.0 as usize].channel, out.now) {
            Ending::Unseen => return,
            Ending::Owed => Work::GuestEoi { source },
            Ending::Asked => Work::Acknowledge,
            Ending::Delayed(until) => {
                out.observe(Fact::EoiDelayed { source, until });
                return out.at(until, Alarm::DelayedEoi { source: source.0 });
            }
        };
        self.exit(cpu, ExitCause::Eoi, out);
        self.push(cpu, work, self.costs.get(Cost::EoiHypercall), Gate::Open, None, out);
    }

    /// The EOI of a vector: the processor does it, or the guest is left for it.
    fn end_vector<H: Host>(&mut self, cpu: CpuId, current: VcpuIndex, out: &mut Out<'_, H>) {
        let vcpu = &mut self.vcpus[current.index()];
        let cause = vcpu.apic.and_then(|slot| self.apics.end(slot));
        if let Some(cause) = cause {
            // The handler's IRET is still to come.
            (vcpu.activity, vcpu.left) = (Activity::Return, Span(0));
            self.exit(cpu, cause, out);
            self.push(cpu, Work::Emulate, self.costs.get(Cost::EoiExit), Gate::Open, None, out);
        } else if vcpu.has_events(&self.events) {
            self.exit(cpu, ExitCause::InterruptWindow, out);
            self.push(cpu, Work::Window, self.costs.get(Cost::WindowExit), Gate::Open, None, out);
        }
    }

    /// The host does what the guest's write has left to it, and hears which interrupts have ended.
    pub(crate) fn finish_write<H: Host>(&mut self, cpu: CpuId, out: &mut Out<'_, H>) {
        let Some(current) = self.cpus[cpu.index()].current else { return };
        let Some(slot) = self.vcpus[current.index()].apic else { return };
        self.apics.finish(slot, out.now);
        while let Some(request) = self.apics.request() {
            if let Request::Ended(vector) = request
                && let Some(source) = self.vcpus[current.index()].source_of(vector)
            {
                self.guest_eoi(cpu, source, out);
            }
        }
    }

    /// The guest sends an interrupt to another of its vCPUs.
    fn send_command<H: Host>(&mut self, cpu: CpuId, current: VcpuIndex, source: SourceIndex, out: &mut Out<'_, H>) {
        let entry = &self.sources[source.0 as usize];
        let target = entry.vcpu.get().and_then(|vcpu| self.vcpus[vcpu as usize].apic);
        let (Some(vector), Some(slot), Some(to)) = (entry.guest_vector, self.vcpus[current.index()].apic, target)
        else {
            return;
        };
        let cause = self.apics.send(slot, to, vector);
        if cause.is_none_or(|cause| cause == ExitCause::IncompleteIpi) {
            // The processor has set the bit, and told whom it could.
            self.expect_vector(source, out);
            self.carry_out(Agent::Processor(cpu), source, out);
        }
        match cause {
            None => {
                let cost = self.costs.get(Cost::IpiVirtualization);
                self.push(cpu, Work::Sending, cost, Gate::Closed, self.culprit(source), out);
            }
            Some(cause) => {
                self.exit(cpu, cause, out);
                let work = Work::Command { source, cause };
                self.push(cpu, work, self.costs.get(Cost::IcrExit), Gate::Open, None, out);
            }
        }
    }

    /// The host sends what the processor has left to it.
    pub(crate) fn finish_command<H: Host>(
        &mut self,
        cpu: CpuId,
        (source, cause): (SourceIndex, ExitCause),
        out: &mut Out<'_, H>,
    ) {
        let Some(current) = self.cpus[cpu.index()].current else { return };
        let Some(slot) = self.vcpus[current.index()].apic else { return };
        if cause != ExitCause::IncompleteIpi {
            self.expect_vector(source, out);
        }
        self.apics.finish(slot, out.now);
        self.carry_out(Agent::Host(cpu), source, out);
    }

    /// A guest's timer goes off, and it ends the events it has put off until now. What its timer costs is not counted.
    pub(crate) fn end_delayed<H: Host>(&mut self, source: SourceIndex, out: &mut Out<'_, H>) {
        let Some(vcpu) = self.sources.get(source.0 as usize).and_then(|entry| entry.vcpu.get()) else { return };
        let entry = &self.vcpus[vcpu as usize];
        if let Some(own) = entry.events
            && self.events.end_delayed(own, out.now) == Sent::Kicks
        {
            self.notify(None, VcpuIndex(vcpu), entry.residency.notice_of_event(), out);
        }
    }
}
