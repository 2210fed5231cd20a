//! One instruction boundary in guest mode: which of the waiting interrupts comes first.
//!
//! ```text
//!  Intel:  virtual delivery ──► local APIC: notification (no exit) or exit      SDM vol. 3C, 30.2.2
//!  AMD:    local APIC: exit ──► virtual delivery                                APM vol. 2, 15.21.4
//! ```

use vector_allocator::Vector;
use vector_allocator::VectorSet;

use crate::Vendor;
use crate::lapic::Acknowledged;
use crate::lapic::Lapic;
use crate::virtual_apic::PostedDescriptor;
use crate::virtual_apic::Recognition;
use crate::virtual_apic::VirtualApic;

/// The guest's RFLAGS.IF.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum InterruptFlag {
    /// Virtual interrupts are delivered.
    Set,
    /// They wait. External interrupts exit all the same.
    Clear,
}

/// What a boundary looks at.
#[derive(Debug)]
pub struct Boundary<'a> {
    /// Whose order holds.
    pub vendor: Vendor,
    /// The guest's RFLAGS.IF.
    pub interrupt_flag: InterruptFlag,
    /// The vector that means posted-interrupt processing and not an exit.
    pub notification: Option<Vector>,
    /// The CPU's local APIC.
    pub lapic: &'a mut Lapic,
    /// The vCPU's virtual APIC.
    pub apic: &'a mut VirtualApic,
    /// The vCPU's posted-interrupt descriptor.
    pub descriptor: &'a mut PostedDescriptor,
}

/// What a boundary did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// The guest is at the gate of this vector, its first instruction not yet run.
    Delivered(Vector),
    /// A notification was processed without an exit.
    Processed {
        /// Vectors that were posted while they waited already.
        twice: VectorSet,
    },
    /// The guest exited; the vector is in service in the local APIC.
    Exited(Vector),
    /// The next instruction runs.
    Nothing,
}

impl Boundary<'_> {
    /// What happens at this boundary.
    pub fn pass(&mut self) -> Event {
        match self.vendor {
            Vendor::Intel => self.deliver().or_else(|| self.external()),
            Vendor::Amd => self.external().or_else(|| self.deliver()),
        }
        .unwrap_or(Event::Nothing)
    }

    fn deliver(&mut self) -> Option<Event> {
        if self.interrupt_flag == InterruptFlag::Clear || self.apic.recognition() == Recognition::NotRecognised {
            return None;
        }
        self.apic.deliver().map(Event::Delivered)
    }

    fn external(&mut self) -> Option<Event> {
        let Acknowledged::Vector(vector) = self.lapic.acknowledge() else {
            return None;
        };
        if self.notification != Some(vector) {
            return Some(Event::Exited(vector));
        }
        // SDM vol. 3C, 30.6, steps 3 to 7: ON, EOI, PIR into VIRR, RVI, evaluation.
        let posted = self.descriptor.take();
        self.lapic.eoi();
        let twice = self.apic.merge(&posted);
        self.apic.evaluate();
        Some(Event::Processed { twice })
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::any;
    use proptest::proptest;
    use vector_allocator::Vector;

    use super::Boundary;
    use super::Event;
    use super::InterruptFlag;
    use crate::Vendor;
    use crate::lapic::Lapic;
    use crate::lapic::XEN_TPR;
    use crate::virtual_apic::PostedDescriptor;
    use crate::virtual_apic::VirtualApic;

    const NOTIFICATION: u8 = 0xf8;
    /// More boundaries than any chain of the tests needs: reaching it would mean that the host interrupt starves.
    const PATIENCE: usize = 1000;

    fn vector(number: u8) -> Vector {
        Vector::new(number).unwrap()
    }

    /// What the guest's gates do to IF.
    #[derive(Clone, Copy, Debug, PartialEq)]
    enum Gates {
        Interrupt,
        Trap,
    }

    /// A guest in guest mode at a boundary where host vector `host` waits and `first` are pending virtual interrupts.
    /// Before each boundary one more of `posts` is posted. Returns the virtual deliveries before the host's exit.
    fn deliveries_before_exit(vendor: Vendor, gates: Gates, host: u8, first: &[u8], posts: &[u8]) -> usize {
        let mut lapic = Lapic::new(XEN_TPR);
        let mut apic = VirtualApic::new();
        let mut descriptor = PostedDescriptor::new();
        apic.merge(&first.iter().copied().map(vector).collect());
        apic.enter();
        lapic.accept(vector(host));
        let mut interrupt_flag = InterruptFlag::Set;
        let mut deliveries = 0;
        let mut posts = posts.iter().copied();
        for _ in 0..PATIENCE {
            if let Some(posted) = posts.next() {
                descriptor.post(vector(posted));
                lapic.accept(vector(NOTIFICATION));
            }
            let event = Boundary {
                vendor,
                interrupt_flag,
                notification: Some(vector(NOTIFICATION)),
                lapic: &mut lapic,
                apic: &mut apic,
                descriptor: &mut descriptor,
            }
            .pass();
            match event {
                Event::Delivered(_) => {
                    deliveries += 1;
                    if gates == Gates::Interrupt {
                        interrupt_flag = InterruptFlag::Clear;
                    }
                }
                Event::Processed { .. } => {}
                Event::Exited(exited) => {
                    assert_eq!(exited, vector(host));
                    return deliveries;
                }
                Event::Nothing => panic!("an instruction ran while a host interrupt was ready"),
            }
        }
        panic!("the host interrupt never came");
    }

    proptest! {
        /// answers.md C.3, the ordinary case: nothing is posted meanwhile.
        #[test]
        fn on_intel_at_most_one_virtual_delivery_comes_before_a_host_interrupt(
            host in 0x20u8..=0xef, first in vec(16u8.., 0..20), trap in any::<bool>()
        ) {
            let gates = if trap { Gates::Trap } else { Gates::Interrupt };
            let count = deliveries_before_exit(Vendor::Intel, gates, host, &first, &[]);
            assert_eq!(count, usize::from(!first.is_empty()));
        }

        /// answers.md C.3, the worst case: trap gates, and fresh notifications that outrank the host vector.
        #[test]
        fn on_intel_at_most_fifteen_virtual_deliveries_come_before_a_host_interrupt(
            host in 0x20u8..=0xef, first in vec(16u8.., 0..20), posts in vec(16u8.., 0..200), trap in any::<bool>()
        ) {
            let gates = if trap { Gates::Trap } else { Gates::Interrupt };
            let count = deliveries_before_exit(Vendor::Intel, gates, host, &first, &posts);
            let bound = match gates {
                Gates::Trap => 15,
                Gates::Interrupt => 1,
            };
            assert!(count <= bound, "{count} deliveries, {gates:?}");
        }

        /// answers.md C.3 on AMD: physical interrupts go first, doorbells are none.
        #[test]
        fn on_amd_no_virtual_delivery_comes_before_a_host_interrupt(
            host in 0x20u8..=0xef, first in vec(16u8.., 0..20), trap in any::<bool>()
        ) {
            let gates = if trap { Gates::Trap } else { Gates::Interrupt };
            assert_eq!(deliveries_before_exit(Vendor::Amd, gates, host, &first, &[]), 0);
        }
    }

    /// The bound of fifteen is tight: one vector of each class, each posted when the one before it has been delivered.
    #[test]
    fn fifteen_virtual_deliveries_are_reached_by_one_fresh_notification_per_class() {
        // Each class takes two boundaries, processing and delivery; the agent posts the next class at the first of them
        // and repeats itself at the second, where the repeated vector waits for a class that is already in service.
        let posts: std::vec::Vec<u8> = (2u8..=15).flat_map(|class| [class << 4, class << 4]).collect();
        assert_eq!(deliveries_before_exit(Vendor::Intel, Gates::Trap, 0x58, &[0x10], &posts[..]), 15);
    }
}
