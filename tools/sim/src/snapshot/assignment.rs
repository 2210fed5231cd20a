//! A recorded host in the arbiter's words.

use vector_allocator::AssignedSource;
use vector_allocator::Assignment;
use vector_allocator::Mobility;
use vector_allocator::Vector;
use vector_allocator::VectorLayout;

use super::HostSnapshot;
use super::SourceFacts;
use crate::import::IrqLine;

/// The timer's interrupt, whose vector Xen binds at boot (`IRQ0_VECTOR`).
const TIMER_IRQ: u32 = 0;

impl HostSnapshot {
    /// Every source that holds a vector, with whose it is, where it is and where it can come to.
    #[must_use]
    pub fn assignment(&self) -> Assignment {
        let layout = VectorLayout::xen(self.layout_options().value);
        let facts = self.sources();
        let sources =
            self.irqs.irqs.iter().zip(facts).filter_map(|(irq, facts)| assigned(irq, facts, &layout)).collect();
        Assignment {
            model: self.destination_model().value,
            online: self.online(),
            ioapic_ack: self.io_apic_ack().value,
            sources,
            layout,
        }
    }
}

/// One source; none if it holds no vector.
fn assigned(irq: &IrqLine, facts: SourceFacts, layout: &VectorLayout) -> Option<AssignedSource> {
    let vector = irq.vector?;
    Some(AssignedSource {
        id: facts.id(),
        binders: facts.binders(),
        owner: facts.owner,
        kind: facts.kind,
        vector,
        holders: irq.holders.clone(),
        mobility: mobility(irq, vector, layout),
        label: facts.label,
        target: facts.target,
        reachable: facts.reachable,
    })
}

/// The timer's interrupt and those in reserved bands keep their vectors.
fn mobility(irq: &IrqLine, vector: Vector, layout: &VectorLayout) -> Mobility {
    if irq.irq == TIMER_IRQ {
        return Mobility::Fixed("Xen binds the timer's interrupt to its vector at boot".to_owned());
    }
    if layout.notification().contains(vector) {
        return Mobility::Fixed("its vector is one of the few Xen reserves on every CPU above all others".to_owned());
    }
    if layout.system().contains(vector) {
        return Mobility::Fixed("its vector is Xen's own on every CPU".to_owned());
    }
    Mobility::Movable
}
