//! Virtual interrupts: when the processor looks at the IRR, what it delivers, and what ends it (APM vol. 2, 15.21.4, 15.29.2 and
//! 15.29.8; 16.6.4 for priorities).
//!
//! The priority that counts is the control block's, V_TPR. A guest's own writes keep it and the page's TPR together; a host that
//! writes the page alone is not heard.

use hypervisor_abi::apic::ApicRegister;
use hypervisor_abi::avic::BackingPage;
use hypervisor_abi::avic::VectorBits;
use hypervisor_abi::sync::Ordering;

use super::Access;
use super::Direction;
use super::Exit;
use super::Guest;
use super::HltIntercept;
use super::InterruptIntercept;
use super::LevelEnd;
use super::RegisterOffset;
use super::access::store;
use crate::Acknowledged;
use crate::InterruptFlag;
use crate::Lapic;
use crate::Recognition;
use crate::vmx::Activity;
use crate::vmx::Blocking;
use crate::vmx::ExitStyle;

/// What happened at a boundary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// The guest was left.
    Exited(Exit),
    /// A virtual interrupt goes through the guest's IDT; its handler's first instruction is next.
    Delivered(u8),
    /// A physical interrupt goes through the guest's IDT.
    External(u8),
    /// The next instruction is executed, or the guest stays in HLT.
    Nothing,
}

impl Guest {
    /// Hears the doorbell: looks at the IRR (APM vol. 2, 15.29.8.2). To a processor that is not in guest mode it does
    /// nothing the manual tells of, and VMRUN looks anyway.
    pub fn hear_doorbell(&mut self, page: &BackingPage) {
        self.evaluate(page);
    }

    /// Passes a boundary: the guest has executed an instruction, was entered, or waits in HLT. Anything but
    /// [`Event::Nothing`] leaves it at a boundary again.
    ///
    /// `lapic` is the processor's own. A physical interrupt goes before a virtual one (15.21.4), the other way round than on
    /// Intel's processors. With V_INTR_MASKING the guest's IF concerns virtual ones alone; the host's is taken to be set.
    pub fn boundary(&mut self, page: &BackingPage, lapic: &mut Lapic) -> Event {
        if let Some(event) = self.physical_interrupt(lapic) {
            return event;
        }
        let open = self.is_window_open() && self.has_global_interrupts();
        if open
            && self.recognition == Recognition::Recognised
            && let Some(vector) = self.deliver(page)
        {
            return Event::Delivered(vector);
        }
        self.vmcb.shadow = Blocking::None;
        Event::Nothing
    }

    /// HLT. What wakes the guest is a boundary that delivers.
    pub fn hlt(&mut self, page: &BackingPage) -> Access {
        let exit = match self.vmcb.hlt_intercept {
            HltIntercept::None => None,
            HltIntercept::Always => Some(Exit::Hlt),
            HltIntercept::Idle => self.due(page).is_none().then_some(Exit::IdleHlt),
        };
        if let Some(exit) = exit {
            return Access::Exit(exit);
        }
        self.vmcb.activity = Activity::Hlt;
        Access::Virtual(())
    }

    /// A new task priority, by CR8 or TPR: its class in the control block, all of it in the page.
    pub(super) fn set_task_priority(&mut self, page: &BackingPage, priority: u8) {
        self.vmcb.control.set_task_priority(priority >> 4);
        store(page, RegisterOffset::TPR, priority.into());
        self.update_ppr(page);
        self.evaluate(page);
    }

    /// EOI: the highest vector in service ends. If it came level-triggered, that exits.
    pub(super) fn end_of_interrupt(&mut self, page: &BackingPage) -> Option<Exit> {
        let vector = page.highest(VectorBits::InService)?;
        let is_level = page.has(VectorBits::TriggerMode, vector);
        if !is_level || self.processor.level_end == LevelEnd::Cleared {
            page.clear(VectorBits::InService, vector);
            self.update_ppr(page);
        }
        if is_level {
            // VMRUN evaluates when the hypervisor comes back.
            let (direction, offset) = (Direction::Write, RegisterOffset::EOI);
            return Some(Exit::NoAcceleration { direction, offset, vector, style: ExitStyle::Trap });
        }
        self.evaluate(page);
        None
    }

    /// Looks at the IRR: whether its highest vector could be delivered.
    pub(super) fn evaluate(&mut self, page: &BackingPage) {
        self.recognition = if self.due(page).is_some() { Recognition::Recognised } else { Recognition::NotRecognised };
    }

    /// PPR, which the guest reads in the page: the higher of the task priority and the class in service.
    pub(super) fn update_ppr(&self, page: &BackingPage) {
        store(page, RegisterOffset::PPR, self.ppr(page).into());
    }

    fn ppr(&self, page: &BackingPage) -> u8 {
        // V_TPR has the class alone (APM vol. 2, appendix B); where the rest comes from the manual does not say.
        let [within_class, ..] = page.register(ApicRegister::TaskPriority).load(Ordering::Relaxed).to_le_bytes();
        let task = self.vmcb.control.task_priority() << 4 | within_class & 0xf;
        let served = page.highest(VectorBits::InService).unwrap_or(0);
        if task >> 4 >= served >> 4 { task } else { served & 0xf0 }
    }

    /// The vector to deliver: the highest that waits, if its class is above the priority. None below 16 is.
    fn due(&self, page: &BackingPage) -> Option<u8> {
        let vector = page.highest(VectorBits::InterruptRequest)?;
        (vector >> 4 > self.ppr(page) >> 4).then_some(vector)
    }

    /// Takes the vector to deliver from IRR to ISR, and looks for the next.
    fn deliver(&mut self, page: &BackingPage) -> Option<u8> {
        let vector = self.due(page);
        if let Some(vector) = vector {
            // Others set bits meanwhile; none but the guest's own processor clears one.
            page.clear(VectorBits::InterruptRequest, vector);
            page.set(VectorBits::InService, vector);
            self.vmcb.activity = Activity::Active;
            self.update_ppr(page);
        }
        self.evaluate(page);
        vector
    }

    fn is_window_open(&self) -> bool {
        self.vmcb.interrupt_flag == InterruptFlag::Set && self.vmcb.shadow == Blocking::None
    }

    /// The virtual global interrupt flag, if the guest has one.
    const fn has_global_interrupts(&self) -> bool {
        self.vmcb.control.interrupt_flag() || !self.vmcb.control.interrupt_flag_enable()
    }

    fn physical_interrupt(&mut self, lapic: &mut Lapic) -> Option<Event> {
        lapic.dispatchable()?;
        if !self.vmcb.control.masks_virtual_interrupts() && !self.is_window_open() {
            return None;
        }
        if self.vmcb.interrupt_intercept == InterruptIntercept::Exit {
            return Some(Event::Exited(Exit::Interrupt));
        }
        self.vmcb.activity = Activity::Active;
        Some(Event::External(match lapic.acknowledge() {
            Acknowledged::Vector(vector) => vector.number(),
            Acknowledged::Spurious => 0xff,
        }))
    }
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use hypervisor_abi::avic::BackingPage;
    use hypervisor_abi::avic::InterruptControl;
    use hypervisor_abi::avic::VectorBits;
    use hypervisor_abi::sync::Ordering;
    use proptest::collection::vec;
    use proptest::prelude::any;
    use proptest::proptest;
    use vector_allocator::Vector;

    use super::Event;
    use crate::InterruptFlag;
    use crate::Lapic;
    use crate::Recognition;
    use crate::svm::Access;
    use crate::svm::Direction;
    use crate::svm::Exit;
    use crate::svm::Guest;
    use crate::svm::HltIntercept;
    use crate::svm::InterruptIntercept;
    use crate::svm::LevelEnd;
    use crate::svm::NestedPaging;
    use crate::svm::Processor;
    use crate::svm::RegisterOffset;
    use crate::svm::Vmcb;
    use crate::vmx::Activity;

    const EOI: RegisterOffset = RegisterOffset::EOI;

    /// A guest with interrupts enabled, under xAVIC.
    fn guest() -> Guest {
        let vmcb = Vmcb {
            control: InterruptControl::new().with_avic(true).with_masks_virtual_interrupts(true),
            nested_paging: NestedPaging::On,
            interrupt_intercept: InterruptIntercept::Exit,
            interrupt_flag: InterruptFlag::Set,
            ..Vmcb::default()
        };
        Guest::new(vmcb, Processor::default())
    }

    fn pass(guest: &mut Guest, page: &BackingPage) -> Event {
        guest.boundary(page, &mut Lapic::new(0))
    }

    /// Sets of numbers, searched anew each time, and whether somebody has told the processor since.
    #[derive(Default)]
    struct Naive {
        waiting: Vec<u8>,
        served: Vec<u8>,
        tpr: u8,
        told: bool,
    }

    impl Naive {
        fn ppr(&self) -> u8 {
            let served = self.served.iter().copied().max().unwrap_or(0);
            if self.tpr & 0xf0 >= served & 0xf0 { self.tpr } else { served & 0xf0 }
        }

        /// What looking finds.
        fn look(&mut self) {
            self.told = self.waiting.iter().any(|vector| vector & 0xf0 > self.ppr() & 0xf0);
        }

        fn boundary(&mut self) -> Option<u8> {
            let vector = self.waiting.iter().copied().max().filter(|_| self.told)?;
            self.waiting.retain(|other| *other != vector);
            self.served.push(vector);
            self.look();
            Some(vector)
        }
    }

    proptest! {
        #[test]
        fn any_sequence_agrees_with_sets_of_numbers_and_nothing_is_seen_before_it_is_told(
            steps in vec((0..6_u8, 16_u8..), 0..150),
            levels in any::<[u64; 4]>(),
        ) {
            let (mut guest, page, mut naive) = (guest(), BackingPage::default(), Naive::default());
            let is_level = |vector: u8| levels[usize::from(vector / 64)] >> (vector % 64) & 1 == 1;
            (16..=255).filter(|vector| is_level(*vector)).for_each(|vector| _ = page.set(VectorBits::TriggerMode, vector));
            for (step, number) in steps {
                match step {
                    0 | 1 => {
                        page.set(VectorBits::InterruptRequest, number);
                        naive.waiting.retain(|other| *other != number);
                        naive.waiting.push(number);
                    }
                    2 => {
                        guest.hear_doorbell(&page);
                        naive.look();
                    }
                    3 => {
                        assert_eq!(guest.write_page(&page, RegisterOffset::TPR, number.into()), Access::Virtual(None));
                        naive.tpr = number;
                        naive.look();
                        assert_eq!(guest.read_cr8(), u64::from(number >> 4));
                    }
                    4 => {
                        let ended = naive.served.iter().copied().max();
                        naive.served.retain(|other| Some(*other) != ended);
                        let access = guest.write_page(&page, EOI, 0);
                        match ended.filter(|vector| is_level(*vector)) {
                            Some(vector) => {
                                let Access::Exit(exit) = access else { panic!("{vector:#x} ends by {access:?}") };
                                assert_eq!((exit.code(), exit.info1(), exit.info2()), (0x402, 1 << 32 | 0xb0, vector.into()));
                                assert_eq!(guest.enter(&page), Ok(()));
                                naive.look();
                            }
                            None => {
                                assert_eq!(access, Access::Virtual(None));
                                if ended.is_some() {
                                    naive.look();
                                }
                            }
                        }
                    }
                    _ => {
                        let expected = naive.boundary().map_or(Event::Nothing, Event::Delivered);
                        assert_eq!(pass(&mut guest, &page), expected);
                    }
                }
                assert_eq!(page.highest(VectorBits::InterruptRequest), naive.waiting.iter().copied().max());
                assert_eq!(page.highest(VectorBits::InService), naive.served.iter().copied().max());
                assert_eq!(guest.read_page(&page, RegisterOffset::PPR), Access::Virtual(naive.ppr().into()));
            }
        }
    }

    #[test]
    fn a_physical_interrupt_goes_before_a_virtual_one_and_is_not_acknowledged() {
        let (mut guest, page, mut lapic) = (guest(), BackingPage::default(), Lapic::new(0));
        page.set(VectorBits::InterruptRequest, 0xe1);
        guest.enter(&page).unwrap();
        lapic.accept(Vector::new(0x31).unwrap());
        assert_eq!(guest.boundary(&page, &mut lapic), Event::Exited(Exit::Interrupt));
        assert_eq!(lapic.dispatchable(), Some(Vector::new(0x31).unwrap()));
        assert_eq!(guest.boundary(&page, &mut Lapic::new(0)), Event::Delivered(0xe1));
    }

    #[test]
    fn physical_interrupts_heed_the_guests_flag_only_without_masking() {
        let (mut guest, page, mut lapic) = (guest(), BackingPage::default(), Lapic::new(0));
        lapic.accept(Vector::new(0x31).unwrap());
        guest.cli();
        assert_eq!(guest.boundary(&page, &mut lapic), Event::Exited(Exit::Interrupt));
        guest.vmcb.control.set_masks_virtual_interrupts(false);
        assert_eq!(guest.boundary(&page, &mut lapic), Event::Nothing);
        guest.vmcb.interrupt_intercept = InterruptIntercept::None;
        guest.sti();
        assert_eq!(guest.boundary(&page, &mut lapic), Event::Nothing, "the shadow of STI");
        assert_eq!(guest.boundary(&page, &mut lapic), Event::External(0x31));
        assert!(lapic.in_service().contains(Vector::new(0x31).unwrap()));
    }

    #[test]
    fn if_its_shadow_and_the_global_flag_hold_virtual_interrupts_back() {
        let (mut guest, page) = (guest(), BackingPage::default());
        page.set(VectorBits::InterruptRequest, 0x61);
        guest.enter(&page).unwrap();
        guest.cli();
        assert_eq!(pass(&mut guest, &page), Event::Nothing);
        guest.vmcb.control.set_interrupt_flag_enable(true);
        guest.sti();
        assert_eq!(pass(&mut guest, &page), Event::Nothing, "the shadow of STI");
        assert_eq!(pass(&mut guest, &page), Event::Nothing, "the global flag is clear");
        guest.vmcb.control.set_interrupt_flag(true);
        assert_eq!(pass(&mut guest, &page), Event::Delivered(0x61));
    }

    /// A host that restores a guest's TPR in the page and not in the control block lets the guest be interrupted at the wrong
    /// priority (Linux, "KVM: SVM: Sync TPR from LAPIC into VMCB::V_TPR even if AVIC is active").
    #[test]
    fn the_control_blocks_priority_counts_and_not_the_pages() {
        let (mut guest, page) = (guest(), BackingPage::default());
        page.set(VectorBits::InterruptRequest, 0x61);
        super::store(&page, RegisterOffset::TPR, 0x70);
        guest.enter(&page).unwrap();
        assert_eq!(guest.recognition(), Recognition::Recognised);
        guest.vmcb.control.set_task_priority(7);
        guest.enter(&page).unwrap();
        assert_eq!(guest.recognition(), Recognition::NotRecognised);
        assert_eq!(guest.write_cr8(&page, 5), Access::Virtual(()));
        assert_eq!(guest.read_page(&page, RegisterOffset::TPR), Access::Virtual(0x50));
        assert_eq!(pass(&mut guest, &page), Event::Delivered(0x61));
        assert_eq!(guest.write_cr8(&page, 16), Access::GeneralProtection);
    }

    /// V_TPR has four bits with a meaning, as CR8 has (APM vol. 2, appendix B, table B-1).
    #[test]
    fn the_control_block_holds_the_class_of_the_task_priority_and_the_page_all_of_it() {
        let (mut guest, page) = (guest(), BackingPage::default());
        assert_eq!(guest.write_page(&page, RegisterOffset::TPR, 0x57), Access::Virtual(None));
        assert_eq!((guest.vmcb.control.task_priority(), guest.read_cr8()), (5, 5));
        for register in [RegisterOffset::TPR, RegisterOffset::PPR] {
            assert_eq!(page.slot(register.bytes()).map(|cell| cell.load(Ordering::Relaxed)), Some(0x57));
        }
        for (vector, delivered) in [(0x5f, Event::Nothing), (0x60, Event::Delivered(0x60))] {
            page.set(VectorBits::InterruptRequest, vector);
            guest.hear_doorbell(&page);
            assert_eq!(pass(&mut guest, &page), delivered);
        }
    }

    #[test]
    fn hlt_waits_for_a_delivery_and_exits_as_its_intercepts_say() {
        for intercept in [HltIntercept::None, HltIntercept::Always, HltIntercept::Idle] {
            for waiting in [None, Some(0x61), Some(0x41)] {
                let (mut guest, page) = (guest(), BackingPage::default());
                guest.vmcb.control.set_task_priority(5);
                guest.vmcb.hlt_intercept = intercept;
                waiting.map(|vector| page.set(VectorBits::InterruptRequest, vector));
                let is_due = waiting == Some(0x61);
                let expected = match intercept {
                    HltIntercept::Always => Access::Exit(Exit::Hlt),
                    HltIntercept::Idle if !is_due => Access::Exit(Exit::IdleHlt),
                    HltIntercept::None | HltIntercept::Idle => Access::Virtual(()),
                };
                assert_eq!(guest.hlt(&page), expected, "{intercept:?} {waiting:?}");
                if expected != Access::Virtual(()) {
                    assert_eq!(guest.vmcb.activity, Activity::Active);
                    continue;
                }
                assert_eq!(pass(&mut guest, &page), Event::Nothing, "nobody has rung");
                guest.hear_doorbell(&page);
                let delivered = if is_due { Event::Delivered(0x61) } else { Event::Nothing };
                assert_eq!(pass(&mut guest, &page), delivered);
                assert_eq!(guest.vmcb.activity, if is_due { Activity::Active } else { Activity::Hlt });
            }
        }
    }

    /// trigger mode alone makes an end exit, whatever the processor does with the in-service bit.
    #[test]
    fn r77_the_end_of_a_level_triggered_interrupt_exits_and_of_an_edge_triggered_one_does_not() {
        for level_end in [LevelEnd::Cleared, LevelEnd::Kept] {
            let page = BackingPage::default();
            let processor = Processor { level_end, ..Processor::default() };
            let mut guest = Guest { processor, ..guest() };
            page.set(VectorBits::TriggerMode, 0x61);
            [0x51, 0x61].into_iter().for_each(|vector| _ = page.set(VectorBits::InService, vector));
            let Access::Exit(exit) = guest.write_page(&page, EOI, 0) else { panic!("no exit") };
            let Exit::NoAcceleration { direction, offset, vector, .. } = exit else { panic!("{exit:?}") };
            assert_eq!((direction, offset, vector), (Direction::Write, EOI, 0x61));
            assert_eq!(page.has(VectorBits::InService, 0x61), level_end == LevelEnd::Kept);
            page.clear(VectorBits::InService, 0x61);
            assert_eq!(guest.write_page(&page, EOI, 0), Access::Virtual(None));
            assert_eq!(page.highest(VectorBits::InService), None);
            assert_eq!(guest.write_page(&page, EOI, 0), Access::Virtual(None), "nothing is in service");
        }
    }
}
