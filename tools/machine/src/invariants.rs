//! What must hold of a machine between any two calls.

use alloc::vec;

use vector_allocator::AckType;

use crate::BlockCause;
use crate::Machine;
use crate::irq::Service;
use crate::pcpu::Clock;
use crate::pcpu::Cpu;
use crate::pcpu::Work;
use crate::source::Route;
use crate::vcpu::Residency;

/// The machine is in a state it must never be in: a fault of this crate.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} (number {index})")]
pub struct Broken {
    /// What does not hold.
    pub what: &'static str,
    /// Of which CPU, vCPU, interrupt or source.
    pub index: usize,
}

fn hold(holds: bool, what: &'static str, index: usize) -> Result<(), Broken> {
    if holds { Ok(()) } else { Err(Broken { what, index }) }
}

impl Machine {
    /// Checks every invariant; for tests and debugging.
    ///
    /// # Errors
    /// [`Broken`] names the first that does not hold.
    pub fn check(&self) -> Result<(), Broken> {
        for (index, cpu) in self.cpus.iter().enumerate() {
            self.check_service(index, cpu)?;
            self.check_progress(index, cpu)?;
        }
        self.check_vcpus()?;
        self.check_irqs()?;
        self.check_sources()?;
        self.arbiter.vectors.check().map_err(|_| Broken { what: "the arbiter's tables disagree", index: 0 })
    }

    /// In-service bits are exactly the delayed EOIs, and their classes rise towards the top of the stack.
    fn check_service(&self, index: usize, cpu: &Cpu) -> Result<(), Broken> {
        let served = cpu.lapic.in_service().len() as usize;
        hold(served == cpu.pending_eoi.len(), "in-service bits are not the delayed EOIs of CPU", index)?;
        for pair in cpu.pending_eoi.windows(2) {
            let (below, above) = (self.irqs[pair[0] as usize].vector, self.irqs[pair[1] as usize].vector);
            hold(above.class().outranks(below.class()), "delayed EOIs are out of order on CPU", index)?;
        }
        for irq in &cpu.pending_eoi {
            let service = self.irqs[*irq as usize].service;
            let here = match service {
                Service::Idle => false,
                Service::Held(at) | Service::Retained(at) | Service::Ready(at, _) => at.index() == index,
            };
            hold(here, "a delayed EOI is not known to its interrupt on CPU", index)?;
        }
        for vector in cpu.waiting_dom0().iter() {
            let told = cpu.blocks.iter().find(|block| block.vector == vector).map(|block| (block.by, block.cause));
            let id = self.cpu_ids().nth(index);
            let holds = id.is_none_or(|id| self.blocker(id, vector) == told);
            hold(holds, "what keeps an interrupt of dom0 waiting is not what was told on CPU", index)?;
        }
        for block in &cpu.blocks {
            let waits = cpu.lapic.waiting().contains(block.vector);
            hold(waits, "an interrupt is told to be blocked and does not wait on CPU", index)?;
            let retained = !cpu.pending_eoi.is_empty();
            hold(block.cause != BlockCause::InService || retained, "blocked by nothing in service on CPU", index)?;
        }
        Ok(())
    }

    /// What can go on does; an idle CPU has nothing to do.
    fn check_progress(&self, index: usize, cpu: &Cpu) -> Result<(), Broken> {
        let runs = cpu.clock != Clock::Stopped;
        hold(runs == (!cpu.frames.is_empty() || cpu.current.is_some()), "a clock is wrong on CPU", index)?;
        let idle = self.cpu_ids().nth(index).is_some_and(|id| self.scheduler.is_idle(id));
        hold(!(idle && cpu.current.is_some()), "idle and running a vCPU: CPU", index)?;
        if cpu.frames.is_empty() {
            // Softirqs handed over by a CPU that went wait for the event check that tells of them.
            hold(cpu.assists.is_empty() || cpu.must_reschedule, "a softirq is forgotten on CPU", index)?;
            let dispatchable = cpu.lapic.dispatchable().is_some();
            hold(!dispatchable, "an interrupt could be dispatched and is not on CPU", index)?;
        }
        Ok(())
    }

    fn check_vcpus(&self) -> Result<(), Broken> {
        let mut places = vec![0u32; self.vcpus.len()];
        for vcpu in self.scheduler.waiting() {
            places[vcpu.index()] += 1;
            let runnable = self.vcpus[vcpu.index()].residency == Residency::Runnable;
            hold(runnable, "queued but not runnable: vCPU", vcpu.index())?;
        }
        for cpu in &self.cpus {
            let switching = cpu.frames.iter().filter_map(|frame| match frame.work {
                Work::Switch { to } => Some(to),
                _ => None,
            });
            for vcpu in switching.chain(cpu.current) {
                places[vcpu.index()] += 1;
            }
        }
        for (index, vcpu) in self.vcpus.iter().enumerate() {
            let agrees = vcpu.apic.is_none_or(|slot| self.apics.agrees(slot, &vcpu.ledger));
            hold(agrees, "its engine does not hold what has come: vCPU", index)?;
            let is_told = vcpu.apic.is_none_or(|slot| self.apics.is_told(slot, vcpu.residency, vcpu.cpu));
            hold(is_told, "hardware does not know where it is: vCPU", index)?;
            let expected = u32::from(vcpu.residency != Residency::Blocked);
            hold(places[index] == expected, "in no place or in two: vCPU", index)?;
            if vcpu.residency == Residency::Blocked {
                let is_announced = |slot| self.apics.is_notified(slot) || self.apics.is_logged(slot);
                let is_woken = vcpu.apic.is_some_and(is_announced) || self.is_being_told(index);
                let waits = vcpu.has_interrupts(&self.events) && !is_woken;
                hold(!waits, "blocked although an interrupt waits: vCPU", index)?;
            }
        }
        Ok(())
    }

    /// Whether a CPU is in the host to wake a vCPU for which its guest has sent something.
    fn is_being_told(&self, vcpu: usize) -> bool {
        self.cpus.iter().flat_map(|cpu| &cpu.frames).any(|frame| match frame.work {
            Work::Command { source, .. } => {
                self.sources[source.0 as usize].vcpu.get().is_some_and(|target| target as usize == vcpu)
            }
            _ => false,
        })
    }

    fn check_irqs(&self) -> Result<(), Broken> {
        for (index, irq) in (0u32..).zip(&self.irqs) {
            let at = index as usize;
            let stranded = !self.cpus[irq.cpu.index()].is_online;
            hold(
                stranded || self.slot(irq.cpu, irq.vector) == Some(index),
                "its vector is not its own: interrupt",
                at,
            )?;
            let remapped = irq.message.map(|message| self.apics.remap(message));
            let goes = remapped.is_none_or(|remapped| remapped == Some((irq.cpu, irq.vector)));
            hold(stranded || goes, "the IOMMU sends it elsewhere: interrupt", at)?;
            let owing = self.sharers(index).filter(|source| self.sources[source.0 as usize].owes_eoi).count();
            hold(irq.in_flight as usize == owing, "its EOIs are miscounted: interrupt", at)?;
            hold(irq.ack != AckType::None || owing == 0, "an EOI is owed that nobody needs: interrupt", at)?;
        }
        Ok(())
    }

    fn check_sources(&self) -> Result<(), Broken> {
        let queued = self.sources.iter().filter(|source| source.is_queued).count();
        let assists: usize = self.cpus.iter().map(|cpu| cpu.assists.count(&self.sources)).sum();
        let commands: usize = self.vcpus.iter().map(|vcpu| vcpu.commands.count(&self.sources)).sum();
        hold(queued == assists + commands, "queues and sources disagree", queued)?;
        for (index, source) in self.sources.iter().enumerate() {
            let vcpu = source.vcpu.get().map(|vcpu| &self.vcpus[vcpu as usize]);
            let Some((vcpu, own)) = vcpu.and_then(|vcpu| Some((vcpu, vcpu.events?))) else { continue };
            let is_lost = source.route == Route::EventChannel
                && self.events.is_deliverable(own, source.channel)
                && !vcpu.has_events(&self.events);
            hold(!is_lost, "its event waits and its vCPU is not called: source", index)?;
        }
        hold(self.events.dropped() == 0, "events were given up", self.events.dropped() as usize)
    }
}
