//! What reaches a processor from another, from an IOMMU or from a device: interrupt messages, and doorbells.
//!
//! Everything that the models of hardware send goes out as a [`Signal`] to an [`Interconnect`]; [`Inputs`] is one that ends
//! at the processors of a machine.

use hypervisor_abi::apic::ApicId;
use hypervisor_abi::apic::ApicMode;
use hypervisor_abi::apic::BROADCAST_X2APIC;
use hypervisor_abi::apic::DeliveryMode;
use hypervisor_abi::apic::DestinationMode;
use hypervisor_abi::apic::TriggerMode;
use hypervisor_abi::apic::logical_x2apic_id;
use hypervisor_abi::posted::PostedDestination;
use vector_allocator::Vector;

use crate::Lapic;

/// A message to physical processors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Signal {
    /// An interrupt, for their local APICs.
    Interrupt(InterruptMessage),
    /// AVIC's doorbell: the processor looks at the IRR of the guest it runs (APM vol. 2, 15.29.8.2).
    Doorbell(ApicId),
}

/// An interrupt on its way, in the fields every local APIC understands (SDM vol. 3A, 11.6.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct InterruptMessage {
    /// The vector; counts for the delivery modes that have one.
    pub vector: u8,
    /// What kind of interrupt.
    pub delivery: DeliveryMode,
    /// How the destination is meant.
    pub destination_mode: DestinationMode,
    /// Whom it is for.
    pub destination: u32,
    /// How it signals.
    pub trigger: TriggerMode,
}

impl InterruptMessage {
    /// A fixed, edge-triggered interrupt for one local APIC.
    #[must_use]
    pub const fn fixed(vector: u8, destination: ApicId) -> Self {
        Self {
            vector,
            delivery: DeliveryMode::Fixed,
            destination_mode: DestinationMode::Physical,
            destination: destination.0,
            trigger: TriggerMode::Edge,
        }
    }

    /// The notification that a posted-interrupt descriptor asks for by NV and NDST, on a host whose local APICs are in this
    /// mode: all of NDST in x2APIC mode, else its bits 15:8 (SDM vol. 3C, 30.1.6; VT-d, 9.11).
    #[must_use]
    pub const fn notification(vector: u8, destination: PostedDestination, host_mode: ApicMode) -> Self {
        let bits = destination.into_bits();
        let id = match host_mode {
            ApicMode::X2Apic => bits,
            ApicMode::XApic | ApicMode::Disabled => bits >> 8 & 0xff,
        };
        Self::fixed(vector, ApicId(id))
    }
}

/// What carries signals.
pub trait Interconnect {
    /// Sends a signal off.
    fn send(&mut self, signal: Signal);
}

impl<F: FnMut(Signal)> Interconnect for F {
    fn send(&mut self, signal: Signal) {
        self(signal);
    }
}

/// Whether a doorbell has rung that the processor has not heard yet. Rings are not counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Doorbell {
    /// It has not.
    #[default]
    Silent,
    /// It has.
    Rung,
}

/// Where signals end at one processor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Input {
    /// Its local APIC's number.
    pub id: ApicId,
    /// Its local APIC, in x2APIC mode.
    pub lapic: Lapic,
    /// Its doorbell.
    pub doorbell: Doorbell,
}

impl Input {
    /// A processor to which nothing was sent yet, its local APIC's task priority being 0.
    #[must_use]
    pub const fn new(id: ApicId) -> Self {
        Self { id, lapic: Lapic::new(0), doorbell: Doorbell::Silent }
    }

    /// Hears the doorbell: what it was, silent from now on.
    pub const fn hear(&mut self) -> Doorbell {
        core::mem::replace(&mut self.doorbell, Doorbell::Silent)
    }

    const fn is_addressed(&self, message: InterruptMessage) -> bool {
        let own = logical_x2apic_id(self.id);
        match message.destination_mode {
            _ if message.destination == BROADCAST_X2APIC => true,
            DestinationMode::Physical => self.id.0 == message.destination,
            DestinationMode::Logical => {
                own >> 16 == message.destination >> 16 && own & message.destination & 0xffff != 0
            }
        }
    }
}

/// The inputs of a machine's processors.
#[derive(Debug)]
pub struct Inputs<'a>(pub &'a mut [Input]);

impl Inputs<'_> {
    /// Takes a signal to those it is for; how many they are. A signal for nobody is lost, and so is a vector below 16, which
    /// no local APIC accepts. Interrupts without a vector (NMI, INIT and the like) reach nobody here: what they do is no
    /// matter of a local APIC's priorities.
    pub fn deliver(&mut self, signal: Signal) -> usize {
        match signal {
            Signal::Doorbell(id) => {
                let rung = self.0.iter_mut().find(|input| input.id == id);
                rung.map_or(0, |input| {
                    input.doorbell = Doorbell::Rung;
                    1
                })
            }
            Signal::Interrupt(message) => match (message.delivery, Vector::new(message.vector)) {
                (DeliveryMode::Fixed, Ok(vector)) => self
                    .0
                    .iter_mut()
                    .filter(|input| input.is_addressed(message))
                    .map(|input| input.lapic.accept(vector))
                    .count(),
                (DeliveryMode::LowestPriority, Ok(vector)) => self
                    .0
                    .iter_mut()
                    .filter(|input| input.is_addressed(message))
                    .min_by_key(|input| input.lapic.ppr())
                    .map_or(0, |input| {
                        input.lapic.accept(vector);
                        1
                    }),
                _ => 0,
            },
        }
    }
}

impl Interconnect for Inputs<'_> {
    fn send(&mut self, signal: Signal) {
        self.deliver(signal);
    }
}

#[cfg(test)]
mod tests {
    use hypervisor_abi::apic::ApicId;
    use hypervisor_abi::apic::ApicMode;
    use hypervisor_abi::apic::DeliveryMode;
    use hypervisor_abi::apic::DestinationMode;
    use hypervisor_abi::posted::PostedDestination;
    use vector_allocator::Vector;

    use super::Doorbell;
    use super::Input;
    use super::Inputs;
    use super::InterruptMessage;
    use super::Signal;

    fn inputs() -> [Input; 3] {
        [ApicId(1), ApicId(2), ApicId(17)].map(Input::new)
    }

    fn waiting(inputs: &[Input; 3]) -> [bool; 3] {
        let vector = Vector::new(0x51).unwrap();
        [0, 1, 2].map(|i: usize| inputs[i].lapic.waiting().contains(vector))
    }

    #[test]
    fn an_interrupt_reaches_whom_its_destination_names() {
        let message = InterruptMessage::fixed(0x51, ApicId(2));
        let logical =
            InterruptMessage { destination_mode: DestinationMode::Logical, destination: 0x0000_0006, ..message };
        let other_cluster = InterruptMessage { destination: 0x0001_0002, ..logical };
        let everybody = InterruptMessage { destination: u32::MAX, ..message };
        let nobody = InterruptMessage { destination: 3, ..message };
        for (message, expected) in [
            (message, [false, true, false]),
            (logical, [true, true, false]),
            (other_cluster, [false, false, true]),
            (everybody, [true, true, true]),
            (nobody, [false, false, false]),
            (InterruptMessage { vector: 0x0f, ..everybody }, [false, false, false]),
            (InterruptMessage { delivery: DeliveryMode::Nmi, ..everybody }, [false, false, false]),
        ] {
            let mut inputs = inputs();
            let reached = Inputs(&mut inputs).deliver(Signal::Interrupt(message));
            assert_eq!(waiting(&inputs), expected, "{message:?}");
            assert_eq!(reached, expected.iter().filter(|reached| **reached).count());
        }
    }

    #[test]
    fn a_lowest_priority_interrupt_reaches_the_least_busy_of_its_destinations() {
        let mut inputs = inputs();
        inputs[0].lapic.accept(Vector::new(0xe0).unwrap());
        inputs[0].lapic.acknowledge();
        let message = InterruptMessage {
            delivery: DeliveryMode::LowestPriority,
            destination_mode: DestinationMode::Logical,
            destination: 6,
            ..InterruptMessage::fixed(0x51, ApicId(0))
        };
        assert_eq!(Inputs(&mut inputs).deliver(Signal::Interrupt(message)), 1);
        assert_eq!(waiting(&inputs), [false, true, false]);
    }

    #[test]
    fn a_doorbell_rings_until_it_is_heard_and_rings_are_not_counted() {
        let mut inputs = inputs();
        for _ in 0..2 {
            assert_eq!(Inputs(&mut inputs).deliver(Signal::Doorbell(ApicId(17))), 1);
        }
        assert_eq!(Inputs(&mut inputs).deliver(Signal::Doorbell(ApicId(3))), 0);
        assert_eq!(inputs.map(|input| input.doorbell), [Doorbell::Silent, Doorbell::Silent, Doorbell::Rung]);
        assert_eq!((inputs[2].hear(), inputs[2].hear()), (Doorbell::Rung, Doorbell::Silent));
    }

    #[test]
    fn a_notification_goes_to_eight_bits_of_its_destination_in_xapic_mode_and_to_all_in_x2apic_mode() {
        let destination = PostedDestination::from_bits(0x0001_1203);
        let sent = |mode| InterruptMessage::notification(0xf2, destination, mode);
        assert_eq!(sent(ApicMode::XApic), InterruptMessage::fixed(0xf2, ApicId(0x12)));
        assert_eq!(sent(ApicMode::X2Apic), InterruptMessage::fixed(0xf2, ApicId(0x0001_1203)));
    }
}
