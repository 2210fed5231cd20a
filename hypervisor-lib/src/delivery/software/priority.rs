//! Arbitration: what waits, what is in service, and which comes next (SDM vol. 3A, 11.8.3–11.8.5).

use hypervisor_abi::apic::TriggerMode;
use vector_allocator::Vector;

use crate::delivery::vector_register::VectorRegister;

/// What an acknowledge cycle gives the processor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Acknowledged {
    /// A vector, in service from now on.
    Vector(Vector),
    /// An external interrupt: ask the external interrupt controller for the vector. It is not in service here.
    ExtInt,
    /// Nothing can be dispatched any more: the spurious vector, which sets no in-service bit (SDM vol. 3A, 11.9).
    Spurious(u8),
}

/// An interrupt that has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ended {
    pub(super) vector: Vector,
    pub(super) trigger: TriggerMode,
}

/// The three 256-bit registers and the two priorities.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Priority {
    pub(super) irr: VectorRegister,
    pub(super) isr: VectorRegister,
    pub(super) tmr: VectorRegister,
    tpr: u8,
    /// Kept up to date by whatever changes TPR or ISR, for it is read more often.
    ppr: u8,
}

impl Priority {
    /// The state with these registers.
    pub(super) fn new(irr: VectorRegister, isr: VectorRegister, tmr: VectorRegister, tpr: u8) -> Self {
        let mut priority = Self { irr, isr, tmr, tpr, ppr: 0 };
        priority.update_ppr();
        priority
    }

    /// Makes a vector wait. How it is triggered is noted as it is accepted.
    #[inline]
    pub(super) fn accept(&mut self, vector: Vector, trigger: TriggerMode) {
        self.irr.insert(vector);
        match trigger {
            TriggerMode::Edge if self.tmr.is_empty() => {}
            TriggerMode::Edge => self.tmr.remove(vector),
            TriggerMode::Level => self.tmr.insert(vector),
        }
    }

    /// Makes all vectors of a word wait.
    #[inline]
    pub(super) fn accept_word(&mut self, trigger: TriggerMode, word: usize, bits: u64) {
        self.irr.merge(word, bits);
        match trigger {
            TriggerMode::Edge => self.tmr.clear(word, bits),
            TriggerMode::Level => self.tmr.merge(word, bits),
        }
    }

    /// The waiting vector that may be dispatched: of a class above the processor priority's.
    #[inline]
    pub(super) fn dispatchable(&self) -> Option<Vector> {
        self.irr.highest().filter(|vector| vector.number() >> 4 > self.ppr >> 4)
    }

    /// The dispatchable vector goes into service.
    #[inline]
    pub(super) fn acknowledge(&mut self) -> Option<Vector> {
        let vector = self.dispatchable()?;
        self.irr.remove(vector);
        self.isr.insert(vector);
        // It could be dispatched, so its class is above TPR's.
        self.ppr = vector.number() & 0xf0;
        Some(vector)
    }

    /// The highest vector in service leaves it; none if none was.
    #[inline]
    pub(super) fn end(&mut self) -> Option<Ended> {
        let vector = self.isr.highest()?;
        self.isr.remove(vector);
        self.update_ppr();
        let trigger = if self.tmr.contains(vector) { TriggerMode::Level } else { TriggerMode::Edge };
        Some(Ended { vector, trigger })
    }

    pub(super) fn tpr(&self) -> u8 {
        self.tpr
    }

    #[inline]
    pub(super) fn set_tpr(&mut self, tpr: u8) {
        self.tpr = tpr;
        self.update_ppr();
    }

    pub(super) fn ppr(&self) -> u8 {
        self.ppr
    }

    /// SDM vol. 3A, 11.8.3.1.
    #[inline]
    fn update_ppr(&mut self) {
        let served = self.isr.highest().map_or(0, Vector::number);
        self.ppr = if self.tpr >> 4 >= served >> 4 { self.tpr } else { served & 0xf0 };
    }
}

#[cfg(test)]
mod tests {
    use hypervisor_abi::apic::TriggerMode;
    use vector_allocator::Vector;

    use super::Priority;

    #[test]
    fn every_pair_of_served_and_waiting_vector_under_every_task_priority_agrees_with_the_manual() {
        for tpr in (0..=0xff).step_by(5) {
            for served in Vector::all() {
                let mut base = Priority::default();
                base.isr.insert(served);
                base.set_tpr(tpr);
                let ppr = if tpr >> 4 >= served.number() >> 4 { tpr } else { served.number() & 0xf0 };
                assert_eq!(base.ppr(), ppr, "TPR {tpr:#x}, {served} in service");
                for waiting in Vector::all() {
                    let mut priority = base;
                    priority.accept(waiting, TriggerMode::Edge);
                    let expected = (waiting.number() >> 4 > ppr >> 4).then_some(waiting);
                    assert_eq!(priority.dispatchable(), expected, "TPR {tpr:#x}, {served} in service, {waiting} waits");
                }
            }
        }
    }
}
