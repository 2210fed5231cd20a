//! The interrupt is a vector of a virtual local APIC. Where it is left, and who is told, its engine decides.

use hypervisor_abi::apic::TriggerMode;
use vector_allocator::CpuId;
use vector_allocator::VectorSet;

use super::Agent;
use crate::Host;
use crate::Machine;
use crate::SourceIndex;
use crate::apic::ApicSlot;
use crate::apic::Entry;
use crate::apic::Means;
use crate::apic::Place;
use crate::apic::Request;
use crate::out::Out;
use crate::source::Route;
use crate::timer::Ipi;
use crate::vcpu::VcpuIndex;

impl Machine {
    /// A vector of a source comes for its vCPU.
    pub(crate) fn post_vector<H: Host>(
        &mut self,
        agent: Agent,
        source: SourceIndex,
        vcpu: VcpuIndex,
        out: &mut Out<'_, H>,
    ) {
        let entry = &self.sources[source.0 as usize];
        let (Some(vector), Some(slot)) = (entry.guest_vector, self.vcpus[vcpu.index()].apic) else { return };
        let means = match entry.route {
            Route::Posted => match self.posted.binary_search_by_key(&source, |(source, _)| *source) {
                Ok(at) => Means::Iommu(self.posted[at].1),
                Err(_) => return,
            },
            _ if self.is_level(source) => Means::Bus(TriggerMode::Level),
            _ => Means::Bus(TriggerMode::Edge),
        };
        self.expect_vector(source, out);
        self.apics.post(slot, vector, means);
        self.carry_out(agent, source, out);
    }

    /// Notes that a source's vector waits from now on; if it waited in the same place already, the two are one.
    pub(crate) fn expect_vector<H: Host>(&mut self, source: SourceIndex, out: &mut Out<'_, H>) {
        let entry = &self.sources[source.0 as usize];
        let (Some(vector), Some(vcpu)) = (entry.guest_vector, entry.vcpu.get()) else { return };
        let vcpu = &mut self.vcpus[vcpu as usize];
        let Some(slot) = vcpu.apic else { return };
        let merged = match self.apics.place(slot) {
            Place::Staged => vcpu.ledger.stage(vector),
            Place::Requested => vcpu.ledger.request(vector),
        };
        if merged == Entry::Merged {
            self.coalesce(source, out);
        }
    }

    /// What was left for a vCPU is taken into its IRR, but for `except`; what waited there already is one with it.
    pub(crate) fn take_vectors<H: Host>(&mut self, vcpu: VcpuIndex, except: &VectorSet, out: &mut Out<'_, H>) {
        let twice = self.vcpus[vcpu.index()].ledger.take(except);
        for vector in twice.iter() {
            if let Some(source) = self.vcpus[vcpu.index()].source_of(vector) {
                self.coalesce(source, out);
            }
        }
    }

    fn is_level(&self, source: SourceIndex) -> bool {
        let irq = self.sources[source.0 as usize].irq.get();
        irq.is_some_and(|irq| !self.irqs[irq as usize].is_edge())
    }

    /// Carries out what engines, processors and the IOMMU have asked for on behalf of a source.
    pub(crate) fn carry_out<H: Host>(&mut self, agent: Agent, source: SourceIndex, out: &mut Out<'_, H>) {
        while let Some(request) = self.apics.request() {
            match request {
                Request::Kick(slot) => self.kick(agent, slot, out),
                Request::Wake(slot) => self.wake(self.apics.vcpu(slot), agent.host(), out),
                Request::Notify { vector, cpu } => self.send_notification(agent, (vector, cpu), source, out),
                // The CPU is in the host already and looks before it goes back.
                Request::Doorbell(cpu) if agent.host() == Some(cpu) => {}
                Request::Doorbell(cpu) => self.send_ipi(cpu, Ipi::Doorbell, out),
                Request::Ended(vector) => debug_assert!(false, "{vector} ends while something is sent"),
            }
        }
        if let Some(vcpu) = self.sources[source.0 as usize].vcpu.get() {
            self.tell_wait(VcpuIndex(vcpu), out);
        }
    }

    fn kick<H: Host>(&mut self, agent: Agent, slot: ApicSlot, out: &mut Out<'_, H>) {
        let vcpu = self.apics.vcpu(slot);
        let notice = self.vcpus[vcpu.index()].residency.notice_of_event();
        self.notify(agent.host(), vcpu, notice, out);
    }

    fn send_notification<H: Host>(
        &mut self,
        agent: Agent,
        (vector, cpu): (u8, CpuId),
        source: SourceIndex,
        out: &mut Out<'_, H>,
    ) {
        let is_wake_up = self.special.wake_up.is_some_and(|wake_up| wake_up.number() == vector);
        match agent {
            // As Xen's `vmx_deliver_posted_intr`: `vcpu_unblock` spares the wake-up vector, and the CPU that posts looks
            // before it goes back.
            Agent::Host(from) => {
                if let (true, Some(vcpu)) = (is_wake_up, self.sources[source.0 as usize].vcpu.get()) {
                    self.wake(VcpuIndex(vcpu), Some(from), out);
                } else if from != cpu {
                    self.note_culprit(cpu, source);
                    self.send_ipi(cpu, Ipi::Notification, out);
                }
            }
            Agent::Device => {
                self.note_culprit(cpu, source);
                let vector = if is_wake_up { self.special.wake_up } else { self.special.notification };
                if let Some(vector) = vector.filter(|_| self.cpus[cpu.index()].is_online) {
                    self.cpus[cpu.index()].lapic.accept(vector);
                }
                self.settle(cpu, out);
            }
            Agent::Processor(_) => {
                self.note_culprit(cpu, source);
                self.send_ipi(cpu, if is_wake_up { Ipi::WakeUp } else { Ipi::Notification }, out);
            }
        }
    }

    fn note_culprit(&mut self, cpu: CpuId, source: SourceIndex) {
        self.cpus[cpu.index()].notified_by = self.culprit(source);
    }
}

impl Agent {
    /// The CPU whose host code does it.
    pub(crate) const fn host(self) -> Option<CpuId> {
        match self {
            Self::Host(cpu) => Some(cpu),
            Self::Device | Self::Processor(_) => None,
        }
    }
}
