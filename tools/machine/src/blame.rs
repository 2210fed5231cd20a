//! Which of dom0's interrupts wait because of a guest's, and since when: kept exact by looking after every change.

use vector_allocator::CpuId;
use vector_allocator::Vector;

use crate::BlockCause;
use crate::Fact;
use crate::Host;
use crate::Machine;
use crate::SourceIndex;
use crate::irq::Service;
use crate::irq::Side;
use crate::out::Out;
use crate::pcpu::Block;
use crate::pcpu::Gate;

impl Machine {
    /// Compares who waits for a guest now with who did, and reports the difference.
    pub(crate) fn blame<H: Host>(&mut self, cpu: CpuId, out: &mut Out<'_, H>) {
        let entry = &self.cpus[cpu.index()];
        // After most changes nobody waits, and nobody did.
        if !entry.lapic.has_waiting() && entry.blocks.is_empty() {
            return;
        }
        let waiting = entry.waiting_dom0();
        if waiting.is_empty() && entry.blocks.is_empty() {
            return;
        }
        let mut open = core::mem::take(&mut self.cpus[cpu.index()].blocks);
        open.retain(|block| {
            let holds =
                waiting.contains(block.vector) && self.blocker(cpu, block.vector) == Some((block.by, block.cause));
            if !holds {
                let Block { victim, by, cause, .. } = *block;
                out.observe(Fact::Unblocked { victim, by, cpu, cause });
            }
            holds
        });
        let mut rest = waiting;
        while let Some(vector) = rest.highest() {
            rest.remove(vector);
            if open.iter().any(|block| block.vector == vector) {
                continue;
            }
            if let (Some((by, cause)), Some(irq)) = (self.blocker(cpu, vector), self.slot(cpu, vector)) {
                let victim = self.irqs[irq as usize].first;
                out.observe(Fact::Blocked { victim, by, cpu, cause });
                open.push(Block { vector, victim, by, cause });
            }
        }
        self.cpus[cpu.index()].blocks = open;
    }

    /// The guest's source because of which `vector` waits. A retained in-service bit outlasts any handler, so it is named
    /// first; then the handler that runs, which was served first if `vector` waited when it began.
    pub(crate) fn blocker(&self, cpu: CpuId, vector: Vector) -> Option<(SourceIndex, BlockCause)> {
        let entry = &self.cpus[cpu.index()];
        let retained = entry.pending_eoi.iter().rev().find_map(|irq| {
            let irq = &self.irqs[*irq as usize];
            let served = matches!(irq.service, Service::Retained(_) | Service::Ready(..));
            match irq.side {
                Side::Culprit(source) if served && irq.vector.blocks_in_service(vector) => Some(source),
                _ => None,
            }
        });
        if let Some(source) = retained {
            return Some((source, BlockCause::InService));
        }
        let top = entry.frames.last().filter(|frame| frame.gate == Gate::Closed)?;
        let cause = if top.waited.contains(vector) { BlockCause::ServedFirst } else { BlockCause::HandlerRunning };
        Some((top.culprit?, cause))
    }
}
