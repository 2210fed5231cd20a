//! What hardware does that posts an interrupt: a processor that virtualizes an IPI (SDM vol. 3C, 30.1.6), or an IOMMU
//! (VT-d, 5.2.3).

use hypervisor_abi::apic::ApicMode;
use hypervisor_abi::posted::PostedControl;
use hypervisor_abi::posted::PostedDescriptor;
use hypervisor_abi::sync::Ordering;

use crate::InterruptMessage;
use crate::vmx::VirtualVector;

/// The host's memory, where it holds posted-interrupt descriptors.
pub trait PostedMemory {
    /// The descriptor at a physical address, a multiple of 64; none where there is no memory.
    fn descriptor(&self, address: u64) -> Option<&PostedDescriptor>;
}

/// Whether an agent notifies although notifications are suppressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Urgency {
    /// It does not. A processor never does.
    Ordinary,
    /// It does: URG of an IOMMU's entry.
    Urgent,
}

/// Posts `vector`: sets its bit in PIR, then ON if that is clear and notifications are not suppressed; the notification to
/// send, if it has set ON. `host_mode` says how NDST is read. Each of the two steps is one locked read-modify-write.
pub fn post(
    descriptor: &PostedDescriptor,
    vector: VirtualVector,
    urgency: Urgency,
    host_mode: ApicMode,
) -> Option<InterruptMessage> {
    let number = usize::from(vector.0);
    descriptor.pir[number / 64].fetch_or(1 << (number % 64), Ordering::SeqCst);
    let notify = |word| {
        let control = PostedControl::from(word);
        let silent = control.outstanding() || control.suppressed() && urgency == Urgency::Ordinary;
        (!silent).then(|| control.with_outstanding(true).into())
    };
    let before = descriptor.control.fetch_update(Ordering::SeqCst, Ordering::SeqCst, notify).ok()?;
    let control = PostedControl::from(before);
    Some(InterruptMessage::notification(control.vector(), control.destination(), host_mode))
}

#[cfg(test)]
mod tests {
    use hypervisor_abi::apic::ApicId;
    use hypervisor_abi::apic::ApicMode;
    use hypervisor_abi::posted::PostedControl;
    use hypervisor_abi::posted::PostedDescriptor;
    use hypervisor_abi::posted::PostedDestination;
    use hypervisor_abi::sync::AtomicU64;
    use hypervisor_abi::sync::Ordering;

    use super::Urgency;
    use super::post;
    use crate::InterruptMessage;
    use crate::vmx::VirtualVector;

    #[test]
    fn the_four_states_of_on_and_sn_decide_alone_who_is_notified() {
        let base = PostedControl::new().with_vector(0xf2).with_destination(PostedDestination::from_bits(0x500));
        for outstanding in [false, true] {
            for suppressed in [false, true] {
                for (urgency, overrides) in [(Urgency::Ordinary, false), (Urgency::Urgent, true)] {
                    let before = base.with_outstanding(outstanding).with_suppressed(suppressed);
                    let descriptor = PostedDescriptor::default();
                    descriptor.control.store(before.into(), Ordering::Relaxed);
                    let sent = post(&descriptor, VirtualVector(0x83), urgency, ApicMode::XApic);
                    let notifies = !outstanding && (!suppressed || overrides);
                    assert_eq!(sent, notifies.then(|| InterruptMessage::fixed(0xf2, ApicId(5))));
                    let after = PostedControl::from(descriptor.control.load(Ordering::Relaxed));
                    assert_eq!(after, before.with_outstanding(outstanding || notifies));
                    let pir = descriptor.pir.each_ref().map(|word: &AtomicU64| word.load(Ordering::Relaxed));
                    assert_eq!(pir, [0, 0, 1 << 3, 0]);
                }
            }
        }
    }
}
