//! Guest mode: boundaries, handlers, loads, and the ways out.

use vector_allocator::AckType;
use vector_allocator::CpuId;
use vector_allocator::VectorSet;

use crate::Cost;
use crate::DomainKind;
use crate::ExitCause;
use crate::Fact;
use crate::Host;
use crate::Machine;
use crate::SourceIndex;
use crate::Span;
use crate::Time;
use crate::VcpuLoad;
use crate::boundary::Boundary;
use crate::boundary::Event;
use crate::boundary::InterruptFlag;
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
use crate::vcpu::Vcpu;
use crate::vcpu::VcpuIndex;

impl Vcpu {
    /// What is left of what it does.
    pub(crate) const fn clock(&mut self) -> &mut Span {
        match self.activity {
            Activity::Load => &mut self.load_left,
            Activity::Entry(_) | Activity::Handler(_) => &mut self.left,
        }
    }

    /// Guests' handlers run behind interrupt gates, as Linux's do.
    const fn interrupt_flag(&self) -> InterruptFlag {
        match self.activity {
            Activity::Load if self.is_in_upcall => InterruptFlag::Clear,
            Activity::Load => InterruptFlag::Set,
            Activity::Entry(_) | Activity::Handler(_) => InterruptFlag::Clear,
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
        let vcpu = &mut self.vcpus[current.index()];
        if vcpu.kind == DomainKind::Pv {
            return;
        }
        let posted = vcpu.descriptor.take();
        let twice = vcpu.apic.merge(&posted);
        vcpu.apic.enter();
        // The entry is charged to what the guest does next; an idle load that is charged nothing blocks at once.
        if vcpu.activity != Activity::Load || vcpu.load_left.0 > 0 {
            let clock = vcpu.clock();
            *clock = clock.plus(self.costs.get(Cost::VmEntry));
        }
        self.merged(current, &twice, out);
    }

    /// AVIC's doorbell in guest mode: the backing page is looked at. In host mode the next entry does it.
    pub(crate) fn ring_doorbell(&mut self, cpu: CpuId) {
        let entry = &self.cpus[cpu.index()];
        if let (Mode::Guest, Some(current)) = (entry.mode, entry.current) {
            self.vcpus[current.index()].apic.evaluate();
        }
    }

    /// Vectors that were posted while they waited already.
    fn merged<H: Host>(&mut self, vcpu: VcpuIndex, twice: &VectorSet, out: &mut Out<'_, H>) {
        if twice.is_empty() {
            return;
        }
        for vector in twice.iter() {
            if let Some(source) = self.vcpus[vcpu.index()].source_of(vector) {
                self.coalesce(source, out);
            }
        }
    }

    /// One boundary in guest mode, and what the guest does after it.
    pub(crate) fn run_guest<H: Host>(&mut self, cpu: CpuId, out: &mut Out<'_, H>) -> Next {
        let entry = &mut self.cpus[cpu.index()];
        let Some(current) = entry.current else {
            entry.mode = Mode::Host;
            return Next::Look;
        };
        let vcpu = &mut self.vcpus[current.index()];
        let event = match vcpu.kind {
            DomainKind::Hvm => Boundary {
                vendor: self.vendor,
                interrupt_flag: vcpu.interrupt_flag(),
                notification: self.special.notification,
                lapic: &mut entry.lapic,
                apic: &mut vcpu.apic,
                descriptor: &mut vcpu.descriptor,
            }
            .pass(),
            DomainKind::Pv => match entry.lapic.acknowledge() {
                Acknowledged::Vector(vector) => Event::Exited(vector),
                Acknowledged::Spurious => Event::Nothing,
            },
        };
        match event {
            Event::Nothing => return self.go_on(cpu, current, out),
            Event::Exited(vector) => self.dispatch(cpu, vector, out),
            Event::Processed { twice } => {
                self.merged(current, &twice, out);
                let culprit = self.cpus[cpu.index()].notified_by;
                let cost = self.costs.get(Cost::PostedProcessing);
                self.push(cpu, Work::Processing, cost, Gate::Closed, culprit, out);
            }
            Event::Delivered(vector) => {
                self.pause(cpu, out.now);
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
        if self.cpus[cpu.index()].clock != Clock::Stopped || vcpu.activity != Activity::Load {
            return Next::Run;
        }
        if let (Some(own), true) = (vcpu.events, vcpu.has_events(&self.events)) {
            return self.go_on_in_upcall(current, own, out.now);
        }
        if vcpu.load == VcpuLoad::Busy || vcpu.load_left.0 > 0 {
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
        }
    }

    /// The guest's handler returns, and ends its interrupt.
    fn handled<H: Host>(&mut self, cpu: CpuId, current: VcpuIndex, source: SourceIndex, out: &mut Out<'_, H>) {
        self.complete(source, out);
        let vcpu = &mut self.vcpus[current.index()];
        vcpu.activity = Activity::Load;
        match (self.sources[source.0 as usize].route, vcpu.events) {
            (Route::EventChannel, Some(own)) => self.end_event(cpu, own, source, out),
            _ => self.end_vector(cpu, current, source, out),
        }
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

    fn end_vector<H: Host>(&mut self, cpu: CpuId, current: VcpuIndex, source: SourceIndex, out: &mut Out<'_, H>) {
        let entry = &self.sources[source.0 as usize];
        let is_owed = entry.irq.get().is_some_and(|irq| self.irqs[irq as usize].ack != AckType::None);
        let vcpu = &mut self.vcpus[current.index()];
        vcpu.apic.eoi();
        let has_events = vcpu.has_events(&self.events);
        if is_owed {
            self.exit(cpu, ExitCause::Eoi, out);
            self.push(cpu, Work::GuestEoi { source }, self.costs.get(Cost::EoiExit), Gate::Open, None, out);
        } else if has_events {
            self.exit(cpu, ExitCause::InterruptWindow, out);
            self.push(cpu, Work::Window, self.costs.get(Cost::WindowExit), Gate::Open, None, out);
        }
    }

    /// A guest's timer goes off, and it ends the events it has put off until now. What its timer costs is not counted.
    pub(crate) fn end_delayed<H: Host>(&mut self, source: SourceIndex, out: &mut Out<'_, H>) {
        let Some(vcpu) = self.sources.get(source.0 as usize).and_then(|entry| entry.vcpu.get()) else { return };
        let entry = &self.vcpus[vcpu as usize];
        if let Some(own) = entry.events
            && self.events.end_delayed(own, out.now) == Sent::Kicks
        {
            self.notify(None, VcpuIndex(vcpu), entry.residency.notice_of_event(), source, out);
        }
    }
}
