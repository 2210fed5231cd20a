//! An instruction boundary in VMX non-root operation: interrupt windows, virtual interrupts, external interrupts and
//! posted-interrupt notifications, in the order of their priority (SDM vol. 3C, 26.2, 30.2.2 and 30.6).

use super::Activity;
use super::Blocking;
use super::Exit;
use super::Guest;
use super::PostedRequests;
use super::VirtualVector;
use crate::Acknowledged;
use crate::InterruptFlag;
use crate::Lapic;
use crate::Recognition;

/// What happened at a boundary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// The guest was left.
    Exited(Exit),
    /// A virtual interrupt goes through the guest's IDT; its handler's first instruction is next. Whether its gate clears IF
    /// is the guest's choice.
    Delivered(VirtualVector),
    /// An external interrupt goes through the guest's IDT, as without virtualization.
    External(u8),
    /// A notification was processed without an exit. What it brought may be delivered at this very boundary.
    Processed,
    /// The next instruction is executed, or the guest stays in HLT.
    Nothing,
}

impl Guest {
    /// Passes a boundary: the guest has executed an instruction, was entered, or waits in HLT. Anything but
    /// [`Event::Nothing`] leaves it at a boundary again.
    ///
    /// `lapic` is the processor's own local APIC, which interrupts it when it can dispatch something; `descriptor` what the
    /// VMCS's descriptor address points to. The processor's spurious vector is taken to be 0xff.
    pub fn boundary(&mut self, lapic: &mut Lapic, descriptor: &mut impl PostedRequests) -> Event {
        let window = self.is_window_open();
        if window && self.vmcs.controls.primary.interrupt_window_exiting() {
            return Event::Exited(Exit::InterruptWindow);
        }
        if window && self.recognition == Recognition::Recognised {
            self.vmcs.activity = Activity::Active;
            return Event::Delivered(self.deliver());
        }
        if let Some(event) = self.external_interrupt(window, lapic, descriptor) {
            return event;
        }
        self.vmcs.blocking = Blocking::None;
        Event::Nothing
    }

    /// Whether the guest could take an interrupt.
    fn is_window_open(&self) -> bool {
        self.vmcs.interrupt_flag == InterruptFlag::Set && self.vmcs.blocking == Blocking::None
    }

    fn external_interrupt(
        &mut self,
        window: bool,
        lapic: &mut Lapic,
        descriptor: &mut impl PostedRequests,
    ) -> Option<Event> {
        lapic.dispatchable()?;
        let pin = self.vmcs.controls.pin;
        if !pin.external_interrupt_exiting() {
            if !window {
                return None;
            }
            self.vmcs.activity = Activity::Active;
            return Some(Event::External(acknowledge(lapic)));
        }
        if !self.vmcs.controls.exit.acknowledge_interrupt_on_exit() {
            return Some(Event::Exited(Exit::ExternalInterrupt(None)));
        }
        // SDM vol. 3C, 30.6, steps 1 and 2; then 4 among the rest.
        let vector = acknowledge(lapic);
        if !pin.process_posted_interrupts() || u16::from(vector) != self.vmcs.notification_vector {
            return Some(Event::Exited(Exit::ExternalInterrupt(Some(vector))));
        }
        lapic.eoi();
        self.process_posted(descriptor);
        Some(Event::Processed)
    }
}

fn acknowledge(lapic: &mut Lapic) -> u8 {
    match lapic.acknowledge() {
        Acknowledged::Vector(vector) => vector.number(),
        Acknowledged::Spurious => 0xff,
    }
}

#[cfg(test)]
mod tests {
    use vector_allocator::Vector;

    use super::Event;
    use crate::InterruptFlag;
    use crate::Lapic;
    use crate::vmx::Activity;
    use crate::vmx::Descriptor;
    use crate::vmx::Exit;
    use crate::vmx::Guest;
    use crate::vmx::PageOffset;
    use crate::vmx::PhysicalWidth;
    use crate::vmx::VirtualVector;
    use crate::vmx::guest::tests::delivering;

    const NOTIFICATION: u8 = 0xf2;

    fn vector(number: u8) -> Vector {
        Vector::new(number).unwrap()
    }

    struct World {
        guest: Guest,
        lapic: Lapic,
        descriptor: Descriptor,
    }

    impl World {
        /// A guest with interrupts enabled, a vector waiting for it if `waiting` is not 0.
        fn new(waiting: u8) -> Self {
            let mut guest = delivering();
            guest.vmcs.controls.pin.set_process_posted_interrupts(true);
            guest.vmcs.notification_vector = u16::from(NOTIFICATION);
            guest.vmcs.interrupt_flag = InterruptFlag::Set;
            guest.vmcs.status.set_rvi(VirtualVector(waiting));
            Self { guest, lapic: Lapic::new(0), descriptor: Descriptor::default() }
        }

        fn entered(mut self) -> Self {
            assert_eq!(self.guest.enter(PhysicalWidth(40)), Ok(None));
            self
        }

        fn post(&mut self, number: u8) {
            self.descriptor.post(vector(number));
            self.lapic.accept(vector(NOTIFICATION));
        }

        fn pass(&mut self) -> Event {
            self.guest.boundary(&mut self.lapic, &mut self.descriptor)
        }
    }

    #[test]
    fn a_virtual_interrupt_goes_before_an_external_one() {
        let mut world = World::new(0x51).entered();
        world.lapic.accept(vector(0xe0));
        assert_eq!(world.pass(), Event::Delivered(VirtualVector(0x51)));
        assert_eq!(world.pass(), Event::Exited(Exit::ExternalInterrupt(Some(0xe0))));
        assert!(
            world.lapic.in_service().contains(vector(0xe0)),
            "it is acknowledged, and its end is the host's affair"
        );
    }

    #[test]
    fn an_external_interrupt_exits_whatever_the_guests_interrupt_flag() {
        let mut world = World::new(0x51).entered();
        world.guest.cli();
        world.lapic.accept(vector(0xe0));
        assert_eq!(world.pass(), Event::Exited(Exit::ExternalInterrupt(Some(0xe0))));
        assert_eq!(world.pass(), Event::Nothing);
    }

    #[test]
    fn without_acknowledgement_the_interrupt_stays_in_the_local_apic() {
        let mut world = World::new(0);
        world.guest.vmcs.controls.pin.set_process_posted_interrupts(false);
        world.guest.vmcs.controls.exit.set_acknowledge_interrupt_on_exit(false);
        let mut world = world.entered();
        world.lapic.accept(vector(0xe0));
        assert_eq!(world.pass(), Event::Exited(Exit::ExternalInterrupt(None)));
        assert_eq!(world.lapic.dispatchable(), Some(vector(0xe0)));
    }

    #[test]
    fn without_exiting_the_guest_takes_the_interrupt_itself_once_it_may() {
        let mut world = World::new(0);
        world.guest.vmcs.controls.secondary.set_virtual_interrupt_delivery(false);
        world.guest.vmcs.controls.pin = super::super::PinBased::new();
        let mut world = world.entered();
        world.guest.cli();
        world.lapic.accept(vector(0xe0));
        assert_eq!(world.pass(), Event::Nothing);
        world.guest.sti();
        assert_eq!(world.pass(), Event::Nothing);
        assert_eq!(world.pass(), Event::External(0xe0));
    }

    #[test]
    fn a_notification_is_processed_without_an_exit_and_ended_in_the_local_apic() {
        let mut world = World::new(0).entered();
        world.post(0x61);
        world.post(0x91);
        assert_eq!(world.pass(), Event::Processed);
        assert_eq!(world.lapic, Lapic::new(0));
        assert_eq!(world.descriptor, Descriptor::default());
        assert_eq!(world.pass(), Event::Delivered(VirtualVector(0x91)));
        assert_eq!(world.guest.vmcs.status.rvi(), VirtualVector(0x61));
    }

    #[test]
    fn a_notification_without_anything_posted_delivers_nothing() {
        let mut world = World::new(0).entered();
        world.lapic.accept(vector(NOTIFICATION));
        assert_eq!(world.pass(), Event::Processed);
        assert_eq!(world.pass(), Event::Nothing);
    }

    #[test]
    fn sti_holds_interrupts_back_for_one_instruction() {
        let mut world = World::new(0x51).entered();
        world.guest.cli();
        world.guest.sti();
        assert_eq!(world.pass(), Event::Nothing);
        world.guest.cli();
        assert_eq!(world.pass(), Event::Nothing);
        world.guest.sti();
        assert_eq!(world.pass(), Event::Nothing);
        assert_eq!(world.pass(), Event::Delivered(VirtualVector(0x51)));
    }

    #[test]
    fn an_interrupt_window_is_open_when_interrupts_are_enabled_whether_or_not_one_waits() {
        let mut world = World::new(0);
        world.guest.vmcs.controls.primary.set_interrupt_window_exiting(true);
        let mut world = world.entered();
        world.guest.cli();
        assert_eq!(world.pass(), Event::Nothing);
        world.guest.sti();
        assert_eq!(world.pass(), Event::Nothing);
        assert_eq!(world.pass(), Event::Exited(Exit::InterruptWindow));
    }

    #[test]
    fn a_virtual_interrupt_wakes_a_halted_guest() {
        let mut world = World::new(0x51);
        world.guest.vmcs.activity = Activity::Hlt;
        let mut world = world.entered();
        assert_eq!(world.pass(), Event::Delivered(VirtualVector(0x51)));
        assert_eq!(world.guest.vmcs.activity, Activity::Active);
    }

    #[test]
    fn a_notification_wakes_a_halted_guest_only_with_what_it_may_take() {
        let mut world = World::new(0);
        world.guest.page.set_word(PageOffset::VTPR, 0xf0);
        world.guest.vmcs.activity = Activity::Hlt;
        let mut world = world.entered();
        world.post(0x77);
        assert_eq!(world.pass(), Event::Processed);
        assert_eq!(world.pass(), Event::Nothing);
        assert_eq!(world.guest.vmcs.activity, Activity::Hlt);
        world.guest.page.set_word(PageOffset::VTPR, 0x60);
        let mut world = world.entered();
        assert_eq!(world.pass(), Event::Delivered(VirtualVector(0x77)));
        assert_eq!(world.guest.vmcs.activity, Activity::Active);
    }
}
