//! Taking a CPU offline: everything that waits there is handed to others (Xen: `fixup_irqs`, `vmx_pi_desc_fixup`,
//! `dpci` hand-over, `cpu_disable_scheduler`).

use alloc::vec::Vec;

use vector_allocator::CpuId;
use vector_allocator::Evacuation;
use vector_allocator::HotplugError;

use crate::Host;
use crate::Machine;
use crate::RetentionEnd;
use crate::Time;
use crate::apic::Request;
use crate::irq::MaskReason;
use crate::out::Out;
use crate::pcpu::Mode;
use crate::pcpu::Work;
use crate::source::Link;
use crate::vcpu::Residency;
use crate::vcpu::VcpuIndex;

/// A CPU cannot be taken offline.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OfflineError {
    /// There is no such CPU.
    #[error("there is no CPU {0}")]
    NoSuchCpu(CpuId),
    /// It is in the midst of host work other than a softirq; ask again when that is over.
    #[error("CPU {0} is in the midst of a handler")]
    Busy(CpuId),
    /// The arbiter refuses.
    #[error(transparent)]
    Refused(#[from] HotplugError),
}

impl Machine {
    /// Takes a CPU offline. Its vCPUs wait elsewhere, its interrupts are sent elsewhere, those that waited in its local
    /// APIC again; delayed EOIs are sent; softirqs that have not run are handed over.
    ///
    /// # Errors
    /// [`OfflineError`] says why it cannot; nothing has changed then.
    pub fn take_offline(&mut self, now: Time, cpu: CpuId, host: &mut impl Host) -> Result<(), OfflineError> {
        let out = &mut Out::new(now, host);
        let entry = self.cpus.get(cpu.index()).ok_or(OfflineError::NoSuchCpu(cpu))?;
        let running = match entry.frames.as_slice() {
            [] => None,
            [frame] => match frame.work {
                Work::Assist { source } => Some(source),
                _ => return Err(OfflineError::Busy(cpu)),
            },
            _ => return Err(OfflineError::Busy(cpu)),
        };
        let evacuation = self.arbiter.vectors.take_offline(cpu, entry.lapic.waiting())?;
        let Some(heir) = self.arbiter.vectors.online().first() else {
            return Err(OfflineError::Busy(cpu));
        };
        self.pause(cpu, out.now);
        self.cpus[cpu.index()].frames.clear();
        self.cpus[cpu.index()].is_online = false;
        self.scheduler.set_busy(cpu);
        for irq in self.cpus[cpu.index()].pending_eoi.clone().into_iter().rev() {
            self.ready(cpu, irq, RetentionEnd::Forced, out);
        }
        self.cpus[cpu.index()].lapic.drain();
        self.blame(cpu, out);
        self.hand_over_vcpus(cpu, heir, out);
        if let Some(source) = running {
            self.cpus[heir.index()].assists.push(&mut self.sources, source);
        }
        while let Some(source) = self.cpus[cpu.index()].assists.pop(&mut self.sources) {
            self.cpus[heir.index()].assists.push(&mut self.sources, source);
        }
        self.tickle(heir, None, out);
        self.reroute(cpu, &evacuation, out);
        Ok(())
    }

    /// Every vCPU that runs, waits or sleeps on a CPU that goes finds another; one that may run nowhere else any more may
    /// run anywhere.
    fn hand_over_vcpus<H: Host>(&mut self, cpu: CpuId, heir: CpuId, out: &mut Out<'_, H>) {
        let was_in_guest = self.cpus[cpu.index()].mode == Mode::Guest;
        let current = self.leave(cpu, out);
        if let Some(slot) = current.and_then(|vcpu| self.vcpus[vcpu.index()].apic) {
            if was_in_guest {
                self.apics.exited(slot);
            }
            self.apics.preempt(slot);
        }
        let waiting: Vec<VcpuIndex> =
            self.scheduler.waiting().filter(|vcpu| self.vcpus[vcpu.index()].behind == cpu).collect();
        for vcpu in &waiting {
            self.scheduler.remove(cpu, *vcpu);
        }
        let online = self.arbiter.vectors.online().clone();
        for index in self.vcpu_indices() {
            let vcpu = &mut self.vcpus[index.index()];
            if vcpu.cpu == cpu {
                if !vcpu.affinity.intersects(&online) {
                    vcpu.affinity = online.clone();
                }
                vcpu.cpu = if vcpu.affinity.contains(heir) {
                    heir
                } else {
                    vcpu.affinity.intersection(&online).first().unwrap_or(heir)
                };
            }
        }
        for vcpu in waiting.into_iter().chain(current) {
            self.vcpus[vcpu.index()].residency = Residency::Blocked;
            self.wake(vcpu, None, out);
        }
        self.wake_listed(cpu, out);
        self.apics.relocate(cpu, heir);
        while let Some(request) = self.apics.request() {
            if let Request::Wake(slot) = request {
                self.wake(self.apics.vcpu(slot), None, out);
            }
        }
    }

    /// Interrupts that came to a CPU that went go where the arbiter says; what waited there is sent again.
    fn reroute<H: Host>(&mut self, gone: CpuId, evacuation: &Evacuation, out: &mut Out<'_, H>) {
        self.slots[gone.index() * 256..][..256].fill(Link::NONE);
        self.cpus[gone.index()].dom0 = vector_allocator::VectorSet::EMPTY;
        for irq in 0..u32::try_from(self.irqs.len()).unwrap_or(u32::MAX) {
            self.forget_old(irq, gone);
            let lease = self.arbiter.lease(irq);
            let Ok(placement) = self.arbiter.vectors.placement(lease) else {
                continue;
            };
            let (target, vector, holders) = (placement.target, placement.vector, placement.holders.to_set());
            if evacuation.stranded.contains(&lease) {
                self.irqs[irq as usize].mask(MaskReason::Stranded);
                continue;
            }
            if (self.irqs[irq as usize].cpu, self.irqs[irq as usize].vector) != (target, vector) {
                self.replace(irq, target, vector, &holders, out);
            }
            if evacuation.forwards.iter().any(|forward| forward.lease == lease) {
                self.send(irq, out);
            }
        }
    }
}
