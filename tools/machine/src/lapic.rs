//! The physical local APIC of one CPU: which waiting interrupt the processor is given, and when
//! (SDM vol. 3A, 11.8.3–11.8.5).

use vector_allocator::Vector;
use vector_allocator::VectorSet;

/// What Xen programs into the task-priority register: classes 2 and up are accepted
/// (`(FIRST_IRQ_VECTOR & 0xF0) - 0x10`).
pub const XEN_TPR: u8 = 0x10;

/// A local APIC's priority logic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lapic {
    irr: VectorSet,
    isr: VectorSet,
    tpr: u8,
    /// The highest vector of IRR, 0 for none. Kept by what changes IRR, for it is compared at every boundary; so is PPR.
    request: u8,
    ppr: u8,
}

/// What became of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Acceptance {
    /// The vector now waits.
    New,
    /// It waited already; the two are one.
    Merged,
}

/// What an acknowledge cycle returned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Acknowledged {
    /// The vector that is in service from now on.
    Vector(Vector),
    /// Nothing could be dispatched: the spurious vector, which sets no in-service bit (SDM vol. 3A, 11.9).
    Spurious,
}

impl Lapic {
    /// A local APIC with nothing waiting and the task priority `tpr`.
    #[must_use]
    pub const fn new(tpr: u8) -> Self {
        Self { irr: VectorSet::EMPTY, isr: VectorSet::EMPTY, tpr, request: 0, ppr: tpr }
    }

    /// Takes in a message with `vector`.
    pub const fn accept(&mut self, vector: Vector) -> Acceptance {
        if vector.number() > self.request {
            self.request = vector.number();
        }
        if self.irr.insert(vector) { Acceptance::New } else { Acceptance::Merged }
    }

    /// The processor priority: bits 7:4 are the class an interrupt must exceed (SDM vol. 3A, 11.8.3.1).
    #[must_use]
    pub const fn ppr(&self) -> u8 {
        self.ppr
    }

    /// The vector the processor is given once it takes interrupts; none if what waits is masked by the priority.
    #[inline]
    #[must_use]
    pub const fn dispatchable(&self) -> Option<Vector> {
        if self.request >> 4 > self.ppr >> 4 { self.irr.highest() } else { None }
    }

    /// The processor acknowledges: the dispatchable vector goes into service.
    #[inline]
    pub const fn acknowledge(&mut self) -> Acknowledged {
        let Some(vector) = self.dispatchable() else { return Acknowledged::Spurious };
        self.irr.remove(vector);
        self.isr.insert(vector);
        self.update_request();
        // It could be dispatched, so its class is above all others in service and TPR's.
        self.ppr = vector.number() & 0xf0;
        Acknowledged::Vector(vector)
    }

    /// End of interrupt: the highest vector in service leaves it. None if nothing was in service.
    pub const fn eoi(&mut self) -> Option<Vector> {
        let served = self.isr.highest();
        if let Some(vector) = served {
            self.isr.remove(vector);
            self.update_ppr();
        }
        served
    }

    /// Whether a vector waits, dispatchable or not.
    #[inline]
    pub(crate) const fn has_waiting(&self) -> bool {
        self.request != 0
    }

    /// The vectors that wait.
    #[must_use]
    pub const fn waiting(&self) -> &VectorSet {
        &self.irr
    }

    /// The vectors in service.
    #[must_use]
    pub const fn in_service(&self) -> &VectorSet {
        &self.isr
    }

    /// Takes out everything that waits, as a CPU does that goes offline.
    pub const fn drain(&mut self) -> VectorSet {
        self.request = 0;
        core::mem::replace(&mut self.irr, VectorSet::EMPTY)
    }

    const fn update_request(&mut self) {
        self.request = match self.irr.highest() {
            Some(waiting) => waiting.number(),
            None => 0,
        };
    }

    const fn update_ppr(&mut self) {
        self.ppr = match self.isr.highest() {
            Some(served) if served.number() >> 4 > self.tpr >> 4 => served.number() & 0xf0,
            _ => self.tpr,
        };
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use proptest::collection::vec;
    use proptest::prelude::any;
    use proptest::proptest;
    use vector_allocator::Vector;

    use super::Acceptance;
    use super::Acknowledged;
    use super::Lapic;
    use super::XEN_TPR;

    fn vector(number: u8) -> Vector {
        Vector::new(number).unwrap()
    }

    /// The manual's text, as slowly and plainly as possible.
    #[derive(Default)]
    struct Naive {
        irr: Vec<u8>,
        isr: Vec<u8>,
        tpr: u8,
    }

    impl Naive {
        fn ppr(&self) -> u8 {
            let isrv = self.isr.iter().copied().max().unwrap_or(0);
            if self.tpr >> 4 >= isrv >> 4 { self.tpr } else { isrv & 0xf0 }
        }

        fn dispatchable(&self) -> Option<u8> {
            self.irr.iter().copied().max().filter(|irrv| irrv >> 4 > self.ppr() >> 4)
        }

        fn acknowledge(&mut self) -> Option<u8> {
            let vector = self.dispatchable()?;
            self.irr.retain(|v| *v != vector);
            self.isr.push(vector);
            Some(vector)
        }

        fn drain(&mut self) -> Vec<u8> {
            self.irr.sort_unstable();
            core::mem::take(&mut self.irr)
        }

        fn eoi(&mut self) -> Option<u8> {
            let vector = self.isr.iter().copied().max()?;
            self.isr.retain(|v| *v != vector);
            Some(vector)
        }
    }

    #[test]
    fn every_pair_of_served_and_waiting_vector_under_every_task_priority_agrees_with_the_manual() {
        for tpr in (0..=0xff).step_by(8) {
            for served in Vector::all() {
                for waiting in Vector::all() {
                    let mut lapic = Lapic::new(tpr);
                    lapic.isr.insert(served);
                    lapic.update_ppr();
                    lapic.accept(waiting);
                    let naive = Naive { irr: [waiting.number()].into(), isr: [served.number()].into(), tpr };
                    assert_eq!(lapic.ppr(), naive.ppr(), "tpr {tpr:#x}, {served} in service");
                    assert_eq!(lapic.dispatchable().map(Vector::number), naive.dispatchable());
                }
            }
        }
    }

    proptest! {
        #[test]
        fn any_sequence_agrees_with_the_manual(tpr in any::<u8>(), steps in vec((0u8..4, 16u8..), 0..200)) {
            let mut lapic = Lapic::new(tpr);
            let mut naive = Naive { tpr, ..Naive::default() };
            for (step, number) in steps {
                match step {
                    0 => {
                        let merged = naive.irr.contains(&number);
                        let expected = if merged { Acceptance::Merged } else { Acceptance::New };
                        assert_eq!(lapic.accept(vector(number)), expected);
                        naive.irr.retain(|v| *v != number);
                        naive.irr.push(number);
                    }
                    1 => {
                        let expected = naive.acknowledge().map_or(Acknowledged::Spurious, |v| Acknowledged::Vector(vector(v)));
                        assert_eq!(lapic.acknowledge(), expected);
                    }
                    2 => assert_eq!(lapic.eoi().map(Vector::number), naive.eoi()),
                    _ if number < 64 => {
                        assert!(lapic.drain().iter().map(Vector::number).eq(naive.drain()));
                    }
                    _ => {}
                }
                assert_eq!(lapic.has_waiting(), !naive.irr.is_empty());
                assert_eq!(lapic.ppr(), naive.ppr());
                assert_eq!(lapic.dispatchable().map(Vector::number), naive.dispatchable());
            }
        }
    }

    #[test]
    fn a_vector_of_the_same_class_does_not_nest_and_comes_after_the_eoi() {
        let mut lapic = Lapic::new(XEN_TPR);
        lapic.accept(vector(0x58));
        assert_eq!(lapic.acknowledge(), Acknowledged::Vector(vector(0x58)));
        lapic.accept(vector(0x5f));
        assert_eq!(lapic.acknowledge(), Acknowledged::Spurious);
        assert_eq!(lapic.eoi(), Some(vector(0x58)));
        assert_eq!(lapic.acknowledge(), Acknowledged::Vector(vector(0x5f)));
    }

    #[test]
    fn xen_task_priority_accepts_classes_two_and_up() {
        for number in Vector::all() {
            let mut lapic = Lapic::new(XEN_TPR);
            lapic.accept(number);
            assert_eq!(lapic.dispatchable().is_some(), number.number() >= 0x20, "{number}");
        }
    }
}
