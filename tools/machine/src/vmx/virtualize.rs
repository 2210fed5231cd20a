//! What the processor does to its virtual registers: TPR, PPR, EOI and self-IPI virtualization
//! (SDM vol. 3C, 30.1.2–30.1.5), evaluation and delivery of virtual interrupts (30.2).

use super::Exit;
use super::Guest;
use super::PageOffset;
use super::RegisterPage;
use super::VectorRegister;
use super::VirtualVector;
use crate::Recognition;

impl<P: RegisterPage> Guest<P> {
    /// TPR virtualization (SDM vol. 3C, 30.1.2), after VTPR was written.
    pub(super) fn virtualize_tpr(&mut self) -> Option<Exit> {
        if self.delivers() {
            self.virtualize_ppr();
            self.evaluate();
            return None;
        }
        self.is_below_threshold().then_some(Exit::TprBelowThreshold)
    }

    /// Whether the class of VTPR is below bits 3:0 of the TPR threshold.
    pub(super) fn is_below_threshold(&self) -> bool {
        u32::from_le_bytes([self.page.vtpr() >> 4, 0, 0, 0]) < self.vmcs.tpr_threshold & 0xf
    }

    /// PPR virtualization (SDM vol. 3C, 30.1.3): the higher of VTPR's and SVI's class. Bytes 3:1 of VPPR become 0.
    pub(super) fn virtualize_ppr(&mut self) {
        let vtpr = self.page.vtpr();
        let svi = self.vmcs.status.svi();
        let vppr = if vtpr >> 4 >= svi.class() { vtpr } else { svi.0 & 0xf0 };
        self.page.set_word(PageOffset::VPPR, u32::from(vppr));
    }

    /// EOI virtualization (SDM vol. 3C, 30.1.4): SVI leaves service and the next takes its place.
    pub(super) fn virtualize_eoi(&mut self) -> Option<Exit> {
        let ended = self.vmcs.status.svi();
        self.page.remove(VectorRegister::InService, ended);
        self.vmcs.status.set_svi(self.page.highest(VectorRegister::InService).unwrap_or_default());
        self.virtualize_ppr();
        if self.vmcs.eoi_exit.contains(ended) {
            // The hypervisor comes back by a VM entry, which evaluates.
            return Some(Exit::VirtualizedEoi(ended));
        }
        self.evaluate();
        None
    }

    /// Self-IPI virtualization (SDM vol. 3C, 30.1.5).
    pub(super) fn virtualize_self_ipi(&mut self, vector: VirtualVector) {
        self.page.insert(VectorRegister::Request, vector);
        self.vmcs.status.set_rvi(self.vmcs.status.rvi().max(vector));
        self.evaluate();
    }

    /// Evaluation of pending virtual interrupts (SDM vol. 3C, 30.2.1). RVI is believed: VIRR is not looked at.
    pub(super) fn evaluate(&mut self) {
        let window = self.vmcs.controls.primary.interrupt_window_exiting();
        self.recognition = if !window && self.vmcs.status.rvi().class() > self.page.vppr() >> 4 {
            Recognition::Recognised
        } else {
            Recognition::NotRecognised
        };
    }

    /// Virtual-interrupt delivery (SDM vol. 3C, 30.2.2): RVI goes into service and its class becomes the priority; the rest
    /// waits for the next evaluation.
    pub(super) fn deliver(&mut self) -> VirtualVector {
        let vector = self.vmcs.status.rvi();
        self.page.insert(VectorRegister::InService, vector);
        self.page.set_word(PageOffset::VPPR, u32::from(vector.0 & 0xf0));
        self.page.remove(VectorRegister::Request, vector);
        self.vmcs.status.set_svi(vector);
        self.vmcs.status.set_rvi(self.page.highest(VectorRegister::Request).unwrap_or_default());
        self.recognition = Recognition::NotRecognised;
        vector
    }
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use proptest::collection::vec;
    use proptest::prelude::any;
    use proptest::proptest;

    use crate::Recognition;
    use crate::vmx::EoiExitBitmap;
    use crate::vmx::Exit;
    use crate::vmx::Guest;
    use crate::vmx::PageOffset;
    use crate::vmx::RegisterPage as _;
    use crate::vmx::VirtualVector;
    use crate::vmx::guest::tests::delivering;

    /// Sets of numbers, the maximum sought anew each time: the manual's words without its registers.
    #[derive(Default)]
    struct Naive {
        waiting: Vec<u8>,
        served: Vec<u8>,
        tpr: u8,
        ppr: u8,
    }

    impl Naive {
        fn settle(&mut self) {
            let served = self.served.iter().copied().max().unwrap_or(0);
            self.ppr = if self.tpr & 0xf0 >= served & 0xf0 { self.tpr } else { served & 0xf0 };
        }

        fn is_recognised(&self) -> bool {
            self.waiting.iter().any(|vector| vector >> 4 > self.ppr >> 4)
        }

        fn deliver(&mut self) -> u8 {
            let vector = self.waiting.iter().copied().max().unwrap();
            self.waiting.retain(|other| *other != vector);
            self.served.push(vector);
            self.ppr = vector & 0xf0;
            vector
        }

        fn end(&mut self) -> u8 {
            let vector = self.served.iter().copied().max().unwrap_or(0);
            self.served.retain(|other| *other != vector);
            self.settle();
            vector
        }
    }

    fn ask(guest: &mut Guest, naive: &mut Naive) {
        while guest.recognition == Recognition::Recognised {
            assert!(naive.is_recognised());
            assert_eq!(guest.deliver(), VirtualVector(naive.deliver()));
        }
    }

    proptest! {
        #[test]
        fn any_sequence_of_self_ipis_ends_and_task_priorities_agrees_with_sets_of_numbers(
            steps in vec((0..4_u8, any::<u8>()), 0..200),
            exits in any::<[u64; 4]>(),
        ) {
            let mut guest = delivering();
            guest.vmcs.eoi_exit = EoiExitBitmap(exits);
            let mut naive = Naive::default();
            for (step, number) in steps {
                match step {
                    0 | 1 => {
                        let vector = number | 0x10;
                        guest.virtualize_self_ipi(VirtualVector(vector));
                        naive.waiting.retain(|other| *other != vector);
                        naive.waiting.push(vector);
                    }
                    2 => {
                        let exit = guest.virtualize_eoi();
                        let ended = naive.end();
                        let exits = exits[usize::from(ended / 64)] >> (ended % 64) & 1 == 1;
                        assert_eq!(exit, exits.then_some(Exit::VirtualizedEoi(VirtualVector(ended))));
                        if exits {
                            guest.evaluate();
                        }
                    }
                    _ => {
                        guest.page.set_word(PageOffset::VTPR, u32::from(number));
                        assert_eq!(guest.virtualize_tpr(), None);
                        naive.tpr = number;
                        naive.settle();
                    }
                }
                ask(&mut guest, &mut naive);
                assert_eq!(guest.page.vppr(), naive.ppr);
                assert_eq!(guest.vmcs.status.rvi().0, naive.waiting.iter().copied().max().unwrap_or(0));
                assert_eq!(guest.vmcs.status.svi().0, naive.served.iter().copied().max().unwrap_or(0));
            }
        }
    }

    #[test]
    fn an_interrupt_window_is_asked_for_instead_of_recognising() {
        let mut guest = delivering();
        guest.vmcs.controls.primary.set_interrupt_window_exiting(true);
        guest.virtualize_self_ipi(VirtualVector(0xf0));
        assert_eq!(guest.recognition, Recognition::NotRecognised);
    }

    #[test]
    fn evaluation_believes_rvi_although_virr_is_empty() {
        let mut guest = delivering();
        guest.vmcs.status.set_rvi(VirtualVector(0x41));
        guest.evaluate();
        assert_eq!(guest.recognition, Recognition::Recognised);
        assert_eq!(guest.deliver(), VirtualVector(0x41));
        assert_eq!(guest.vmcs.status.rvi(), VirtualVector(0));
    }

    #[test]
    fn an_end_of_interrupt_with_nothing_in_service_is_one_of_vector_zero() {
        let mut guest = delivering();
        guest.vmcs.eoi_exit = EoiExitBitmap([1, 0, 0, 0]);
        assert_eq!(guest.virtualize_eoi(), Some(Exit::VirtualizedEoi(VirtualVector(0))));
    }

    #[test]
    fn without_virtual_interrupt_delivery_only_a_class_below_the_threshold_exits() {
        for threshold in 0..16 {
            for vtpr in 0..=255_u8 {
                let mut guest = delivering();
                guest.vmcs.controls.secondary.set_virtual_interrupt_delivery(false);
                guest.vmcs.tpr_threshold = threshold;
                guest.page.set_word(PageOffset::VTPR, u32::from(vtpr));
                let expected = (u32::from(vtpr >> 4) < threshold).then_some(Exit::TprBelowThreshold);
                assert_eq!(guest.virtualize_tpr(), expected);
                assert_eq!(guest.page.vppr(), 0, "nothing else happens");
            }
        }
    }
}
