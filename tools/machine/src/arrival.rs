//! From the source to the local APIC, and from the host to the vCPU.

use vector_allocator::CpuId;

use crate::Cost;
use crate::DomainKind;
use crate::Fact;
use crate::Host;
use crate::Machine;
use crate::SourceIndex;
use crate::Span;
use crate::delivery::Agent;
use crate::delivery::Notice;
use crate::delivery::Outcome;
use crate::events::Channel;
use crate::events::Sent;
use crate::irq::Irq;
use crate::irq::MaskReason;
use crate::irq::Side;
use crate::lapic::Acceptance;
use crate::out::Out;
use crate::pcpu::Mode;
use crate::source::Route;
use crate::timer::Alarm;
use crate::timer::Ipi;
use crate::trigger::Signal;
use crate::trigger::Trigger;
use crate::vcpu::Residency;
use crate::vcpu::VcpuIndex;

/// What a guest does to a pin of its virtual IO-APIC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum GuestMask {
    /// Masks it.
    Masked,
    /// Unmasks it; what waited behind the mask is delivered.
    Unmasked,
}

impl Machine {
    /// An interrupt's message reaches its CPU.
    pub(crate) fn send<H: Host>(&mut self, irq: u32, out: &mut Out<'_, H>) {
        let Irq { cpu, vector, message, first: source, .. } = self.irqs[irq as usize];
        let arrives = message.map_or(Some((cpu, vector)), |message| self.apics.remap(message));
        let Some((cpu, vector)) = arrives else { return };
        if self.cpus[cpu.index()].lapic.accept(vector) == Acceptance::Merged {
            self.coalesce(source, out);
        }
        self.settle(cpu, out);
    }

    /// Two interrupts of a source became one. A line that is sent again is no second interrupt.
    pub(crate) fn coalesce<H: Host>(&mut self, source: SourceIndex, out: &mut Out<'_, H>) {
        let irq = self.sources[source.0 as usize].irq.get();
        if irq.is_none_or(|irq| self.irqs[irq as usize].is_edge()) {
            out.observe(Fact::Coalesced { source });
        }
    }

    /// A pin may send again after an EOI or the end of a mask.
    pub(crate) fn resend<H: Host>(&mut self, irq: u32, out: &mut Out<'_, H>) {
        if let Trigger::Level(pin) = &mut self.irqs[irq as usize].trigger
            && pin.send_if_ready() == Signal::Send
        {
            self.send(irq, out);
        }
    }

    /// The storm guard lets all sources back in (`irq_ratelimit_timer_fn`).
    pub(crate) fn unthrottle<H: Host>(&mut self, out: &mut Out<'_, H>) {
        for irq in core::mem::take(&mut self.throttled) {
            self.lift(irq, MaskReason::Throttled, out);
        }
    }

    /// Lifts a mask; an edge that was kept and a line that is still asserted go out at once.
    pub(crate) fn lift<H: Host>(&mut self, irq: u32, reason: MaskReason, out: &mut Out<'_, H>) {
        if self.irqs[irq as usize].unmask(reason) == Signal::Send {
            self.send(irq, out);
        }
    }

    /// Has the IO-APIC look at a line again, if it is asserted.
    pub(crate) fn resend_later<H: Host>(&self, irq: u32, out: &mut Out<'_, H>) {
        if let Trigger::Level(pin) = &self.irqs[irq as usize].trigger
            && pin.is_asserted()
        {
            out.after(self.costs.get(Cost::IoApicResend), Alarm::Resend { irq });
        }
    }

    /// Makes an interrupt wait at its vCPU and tells it.
    pub(crate) fn deliver<H: Host>(&mut self, agent: Agent, source: SourceIndex, out: &mut Out<'_, H>) {
        let entry = &self.sources[source.0 as usize];
        let Some(vcpu) = entry.vcpu.get() else { return };
        match entry.route {
            // What the hypervisor handles waits nowhere.
            Route::Uninterruptible | Route::Interruptible => {}
            Route::Remapped | Route::Posted | Route::Ipi => self.post_vector(agent, source, VcpuIndex(vcpu), out),
            Route::EventChannel => {
                match Outcome::of_event(&mut self.events, &self.vcpus[vcpu as usize], entry.channel) {
                    Outcome::Merged => self.coalesce(source, out),
                    Outcome::Waits(notice) => self.notify(agent.host(), VcpuIndex(vcpu), notice, out),
                }
            }
        }
    }

    /// A guest's software wants to send an interrupt to another of its vCPUs: it does so when it runs.
    pub(crate) fn command<H: Host>(&mut self, source: SourceIndex, out: &mut Out<'_, H>) {
        let Ok(at) = self.senders.binary_search_by_key(&source, |(source, _)| *source) else { return };
        let (_, sender) = self.senders[at];
        if !self.vcpus[sender.index()].commands.push(&mut self.sources, source) {
            return self.coalesce(source, out);
        }
        match self.vcpus[sender.index()].residency {
            // What wakes its software, a timer of its own, is not counted.
            Residency::Blocked => self.wake(sender, None, out),
            Residency::Running => self.settle(self.vcpus[sender.index()].cpu, out),
            Residency::Runnable => {}
        }
    }

    pub(crate) fn notify<H: Host>(
        &mut self,
        from: Option<CpuId>,
        vcpu: VcpuIndex,
        notice: Notice,
        out: &mut Out<'_, H>,
    ) {
        let cpu = self.vcpus[vcpu.index()].cpu;
        match notice {
            Notice::None => self.tell_wait(vcpu, out),
            Notice::Wake => self.wake(vcpu, from, out),
            // The CPU is in the host already and looks before it goes back.
            Notice::EventCheck if from == Some(cpu) => {}
            Notice::EventCheck => self.send_ipi(cpu, Ipi::EventCheck, out),
        }
    }

    pub(crate) fn send_ipi<H: Host>(&self, cpu: CpuId, ipi: Ipi, out: &mut Out<'_, H>) {
        out.after(self.costs.get(Cost::IpiFlight), Alarm::Ipi { cpu: cpu.0, ipi });
    }

    /// The source, if it is a guest's.
    pub(crate) fn culprit(&self, source: SourceIndex) -> Option<SourceIndex> {
        let entry = &self.sources[source.0 as usize];
        let guest = match entry.vcpu.get() {
            Some(vcpu) => self.vcpus[vcpu as usize].side == crate::vcpu::VcpuSide::Guest,
            None => false,
        };
        guest.then_some(source)
    }

    /// The guest masks or unmasks a source: the port of an event, or the pin of a level-triggered source in its virtual
    /// IO-APIC. It happens at once and costs nothing. Other sources have neither; for them nothing happens.
    pub fn set_guest_mask(&mut self, now: crate::Time, source: SourceIndex, mask: GuestMask, host: &mut impl Host) {
        let Some(entry) = self.sources.get_mut(source.0 as usize) else {
            return;
        };
        if let (Route::EventChannel, Some(vcpu)) = (entry.route, entry.vcpu.get()) {
            let channel = entry.channel;
            return self.set_port_mask(VcpuIndex(vcpu), channel, mask, &mut Out::new(now, host));
        }
        entry.is_guest_masked = mask == GuestMask::Masked;
        if mask == GuestMask::Unmasked && core::mem::take(&mut entry.is_held) {
            self.deliver(Agent::Device, source, &mut Out::new(now, host));
        }
    }

    fn set_port_mask<H: Host>(&mut self, vcpu: VcpuIndex, channel: Channel, mask: GuestMask, out: &mut Out<'_, H>) {
        let entry = &self.vcpus[vcpu.index()];
        if let Some(own) = entry.events
            && self.events.set_mask(own, channel, mask) == Sent::Kicks
        {
            self.notify(None, vcpu, entry.residency.notice_of_event(), out);
        }
    }

    /// A remapped interrupt's softirq has run: the guest vector is injected, unless the guest masks its pin.
    pub(crate) fn inject<H: Host>(&mut self, cpu: CpuId, source: SourceIndex, out: &mut Out<'_, H>) {
        let entry = &mut self.sources[source.0 as usize];
        let is_line = entry.irq.get().is_some_and(|irq| !self.irqs[irq as usize].is_edge());
        if is_line && entry.is_guest_masked {
            entry.is_held = true;
            return;
        }
        self.deliver(Agent::Host(cpu), source, out);
    }

    /// What a CPU spends from what it does to the first instruction of an interrupt's handler.
    pub(crate) fn interruption(&self, cpu: CpuId) -> Span {
        let entry = &self.cpus[cpu.index()];
        let cost = match (entry.frames.is_empty(), entry.mode, entry.current) {
            (true, Mode::Guest, Some(vcpu)) => match self.vcpus[vcpu.index()].kind {
                DomainKind::Pv => Cost::PvTrap,
                DomainKind::Hvm => Cost::VmExit,
            },
            (true, Mode::Idle, _) => Cost::IdleWake,
            _ => Cost::HostEntry,
        };
        self.costs.get(cost)
    }

    /// The guest's source behind an interrupt, if it is a guest's.
    pub(crate) fn irq_culprit(&self, irq: u32) -> Option<SourceIndex> {
        match self.irqs[irq as usize].side {
            Side::Culprit(source) => Some(source),
            Side::System | Side::Victim => None,
        }
    }
}
