//! The posted-interrupt descriptor (SDM vol. 3C, 30.6 and table 30-1): what agents post, and what the processor takes over.

use bitfield_struct::bitfield;
use hypervisor_abi::apic::ApicId;
use hypervisor_abi::posted::PostedDescriptor;
use hypervisor_abi::sync::Ordering;
use vector_allocator::Vector;

use super::Guest;
use super::RegisterPage;
use super::VectorRegister;
use super::VirtualVector;

/// Bits 319:256 of the descriptor, which are changed as a whole.
#[bitfield(u64)]
#[derive(PartialEq, Eq)]
pub struct PostedControl {
    /// ON: a notification is on its way, or the descriptor is about to be looked at.
    pub outstanding: bool,
    /// SN: bits are posted without a notification.
    pub suppressed: bool,
    #[bits(14)]
    __: u16,
    /// NV: the vector of notifications.
    pub notification_vector: u8,
    #[bits(8)]
    __: u8,
    /// NDST: the local APIC they go to, as 32 bits in x2APIC mode; in xAPIC mode its 8 bits are 15:8.
    pub destination: u32,
}

/// A posted-interrupt descriptor.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Descriptor {
    /// PIR: a bit for every vector that was posted.
    pub pir: [u64; 4],
    /// The rest.
    pub control: PostedControl,
}

/// A descriptor of which the processor takes what was posted: its own memory, or memory that others share.
pub trait PostedRequests {
    /// Clears ON, then takes PIR out, each word that holds anything by one locked operation.
    fn take(&mut self) -> [u64; 4];
}

impl PostedRequests for Descriptor {
    fn take(&mut self) -> [u64; 4] {
        self.control.set_outstanding(false);
        core::mem::take(&mut self.pir)
    }
}

impl PostedRequests for &PostedDescriptor {
    fn take(&mut self) -> [u64; 4] {
        let outstanding = PostedControl::new().with_outstanding(true);
        self.control.fetch_and(!u64::from(outstanding), Ordering::SeqCst);
        self.pir.each_ref().map(|word| match word.load(Ordering::SeqCst) {
            0 => 0,
            _ => word.swap(0, Ordering::SeqCst),
        })
    }
}

/// What a posting agent does besides setting its bit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Notification {
    /// It sends this vector to this local APIC (in the format of x2APIC).
    Send(u8, ApicId),
    /// Nothing: a notification is outstanding, or suppressed.
    None,
}

impl Descriptor {
    /// What an agent does that posts `vector`: sets its bit; if neither ON nor SN is set, sets ON and notifies.
    pub const fn post(&mut self, vector: Vector) -> Notification {
        self.pir[vector.index() / 64] |= 1 << (vector.index() % 64);
        if self.control.outstanding() || self.control.suppressed() {
            return Notification::None;
        }
        self.control.set_outstanding(true);
        Notification::Send(self.control.notification_vector(), ApicId(self.control.destination()))
    }
}

impl<P: RegisterPage> Guest<P> {
    /// Steps 3 and 5 to 7 of posted-interrupt processing (SDM vol. 3C, 30.6): ON is cleared, PIR moves into VIRR, RVI rises
    /// to the highest vector posted, and that is evaluated.
    pub(super) fn process_posted(&mut self, descriptor: &mut impl PostedRequests) {
        for (first, bits) in (0..=192).step_by(64).map(VirtualVector).zip(descriptor.take()) {
            if bits != 0 {
                self.page.merge(VectorRegister::Request, first, bits);
                let highest = VirtualVector(first.0 + bits.ilog2().to_le_bytes()[0]);
                self.vmcs.status.set_rvi(self.vmcs.status.rvi().max(highest));
            }
        }
        self.evaluate();
    }
}

#[cfg(test)]
mod tests {
    use hypervisor_abi::apic::ApicId;
    use hypervisor_abi::posted::PostedDescriptor;
    use hypervisor_abi::sync::Ordering;
    use proptest::prelude::any;
    use proptest::proptest;
    use vector_allocator::Vector;

    use super::Descriptor;
    use super::Notification;
    use super::PostedControl;
    use super::PostedRequests;
    use crate::Recognition;
    use crate::vmx::RegisterPage as _;
    use crate::vmx::VectorRegister;
    use crate::vmx::VirtualVector;
    use crate::vmx::guest::tests::delivering;

    #[test]
    fn fields_lie_where_the_manual_puts_them() {
        let control = PostedControl::from(0x0000_0005_00f2_0003);
        assert!(control.outstanding() && control.suppressed());
        assert_eq!(control.notification_vector(), 0xf2);
        assert_eq!(control.destination(), 5);
    }

    #[test]
    fn one_notification_is_sent_until_the_processor_has_looked() {
        let vector = Vector::new(0x81).unwrap();
        let control = PostedControl::new().with_notification_vector(0xf2).with_destination(3);
        let mut descriptor = Descriptor { pir: [0; 4], control };
        assert_eq!(descriptor.post(vector), Notification::Send(0xf2, ApicId(3)));
        assert_eq!(descriptor.post(Vector::LOWEST), Notification::None);
        delivering().process_posted(&mut descriptor);
        assert_eq!(descriptor, Descriptor { pir: [0; 4], control });
        descriptor.control.set_suppressed(true);
        assert_eq!(descriptor.post(vector), Notification::None);
        assert!(!descriptor.control.outstanding());
        assert_eq!(descriptor.pir, [0, 0, 1 << 1, 0]);
    }

    #[test]
    fn a_descriptor_that_others_share_is_taken_like_an_own_one() {
        let (pir, control) = ([1 << 20, 2, 3, 4], PostedControl::from(0x0000_0005_00f2_0003));
        let mut own = Descriptor { pir, control };
        let shared = PostedDescriptor::default();
        shared.pir.iter().zip(pir).for_each(|(word, value)| word.store(value, Ordering::Relaxed));
        shared.control.store(control.into(), Ordering::Relaxed);
        assert_eq!((&mut &shared).take(), own.take());
        assert_eq!(shared.control.load(Ordering::Relaxed), u64::from(own.control));
        assert_eq!((&mut &shared).take(), [0; 4]);
    }

    proptest! {
        #[test]
        fn what_was_posted_waits_beside_what_waited(pir in any::<[u64; 4]>(), waiting in any::<u8>()) {
            let mut guest = delivering();
            guest.vmcs.status.set_rvi(VirtualVector(waiting));
            guest.page.insert(VectorRegister::Request, VirtualVector(waiting));
            guest.process_posted(&mut Descriptor { pir, control: PostedControl::new() });
            let posted = |number: u8| pir[usize::from(number) / 64] >> (number % 64) & 1 == 1;
            for number in 0..=255 {
                let expected = number == waiting || posted(number);
                assert_eq!(guest.page.contains(VectorRegister::Request, VirtualVector(number)), expected);
            }
            let highest = (0..=255).rev().find(|number| *number == waiting || posted(*number)).unwrap();
            assert_eq!(guest.vmcs.status.rvi(), VirtualVector(highest));
            assert_eq!(guest.recognition() == Recognition::Recognised, highest >= 0x10);
        }
    }
}
