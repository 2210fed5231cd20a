//! The two forms of an entry: which one a device's interrupt gets, and its bits.

use hypervisor_abi::apic::DeliveryMode;
use hypervisor_abi::apic::TriggerMode;
use hypervisor_abi::posted::PostedDestination;
use hypervisor_abi::vtd::Capabilities;
use hypervisor_abi::vtd::DescriptorAddress;
use hypervisor_abi::vtd::ExtendedCapabilities;
use hypervisor_abi::vtd::Irte;
use hypervisor_abi::vtd::IrteHigh;
use hypervisor_abi::vtd::PostedIrteLow;
use hypervisor_abi::vtd::RemappedIrteLow;
use vector_allocator::Vector;

use super::source::SourceCheck;
use super::update::WidestStore;
use crate::delivery::Engine;
use crate::delivery::Message;
use crate::delivery::posted::Urgency;

/// What an IOMMU and the processors beside it can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VtdUnit {
    /// Its capability register.
    pub capabilities: Capabilities,
    /// Its extended capability register.
    pub extended: ExtendedCapabilities,
    /// What the processors can store at once.
    pub store: WidestStore,
}

/// Why nothing is posted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum PostingRefusal {
    /// CAP.PI is clear.
    #[error("the IOMMU does not post: its capability register has bit 59 clear")]
    Iommu,
    /// A posted entry cannot be written at once.
    #[error("the processors have no CMPXCHG16B to write a posted entry by")]
    Store,
    /// The vCPU's descriptor is read by no processor: bits would be set and stay.
    #[error("the vCPU is served by {0:?}, which reads no posted-interrupt descriptor")]
    Engine(Engine),
}

impl VtdUnit {
    /// Whether interrupts may be posted to a vCPU that `engine` serves.
    ///
    /// # Errors
    /// [`PostingRefusal`].
    pub const fn may_post_to(self, engine: Engine) -> Result<(), PostingRefusal> {
        match (self.capabilities.posts(), self.store, engine) {
            (false, _, _) => Err(PostingRefusal::Iommu),
            (true, WidestStore::Bits64, _) => Err(PostingRefusal::Store),
            (true, WidestStore::Bits128, Engine::Posted | Engine::IpiVirtualization) => Ok(()),
            (true, WidestStore::Bits128, engine @ (Engine::Software | Engine::Apicv | Engine::Avic(_))) => {
                Err(PostingRefusal::Engine(engine))
            }
        }
    }
}

/// What an entry is to make of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Delivery {
    /// A fixed interrupt of the host, to one physical CPU: remapped form.
    Host {
        /// The host's vector.
        vector: Vector,
        /// The host's CPU.
        destination: PostedDestination,
        /// As the source signals.
        trigger: TriggerMode,
    },
    /// A bit in a vCPU's descriptor: posted form.
    Vcpu {
        /// The guest's vector.
        vector: Vector,
        /// The vCPU's descriptor.
        descriptor: DescriptorAddress,
        /// Whether suppression is overridden.
        urgency: Urgency,
        /// What serves the vCPU.
        engine: Engine,
    },
}

/// Why a guest's message is not posted but goes to the host, which delivers it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum NotPosted {
    /// Only fixed interrupts are posted. Of a lowest-priority one the host looks for the target each time.
    #[error("delivery mode {0:?} is not posted")]
    Mode(DeliveryMode),
    /// A posted interrupt has no trigger mode: the vCPU takes it as an edge.
    #[error("a level-triggered interrupt is not posted")]
    Level,
    /// The vector is illegal: whoever receives it notes that in its error status.
    #[error("vector {0:#x} is illegal and not posted")]
    Vector(u8),
    /// An entry names one descriptor.
    #[error("an interrupt to {0} vCPUs is not posted")]
    Targets(usize),
    /// The machine does not let it.
    #[error(transparent)]
    Machine(PostingRefusal),
}

/// How a guest's message that addresses these vCPUs is delivered: posted where it can be, otherwise by the host. To be asked
/// again whenever the guest changes the message or a local APIC's ID: what was posted may fall back, and come back.
pub fn delivery_of(
    message: Message,
    addressed: &[DescriptorAddress],
    engine: Engine,
    unit: VtdUnit,
    host: Delivery,
) -> (Delivery, Option<NotPosted>) {
    match posted(message, addressed, engine, unit) {
        Ok(posted) => (posted, None),
        Err(why) => (host, Some(why)),
    }
}

fn posted(
    message: Message,
    addressed: &[DescriptorAddress],
    engine: Engine,
    unit: VtdUnit,
) -> Result<Delivery, NotPosted> {
    unit.may_post_to(engine).map_err(NotPosted::Machine)?;
    match (message.delivery, message.trigger) {
        (DeliveryMode::Fixed, TriggerMode::Edge) => {}
        (DeliveryMode::Fixed, TriggerMode::Level) => return Err(NotPosted::Level),
        (mode, _) => return Err(NotPosted::Mode(mode)),
    }
    let [descriptor] = *addressed else { return Err(NotPosted::Targets(addressed.len())) };
    let vector = Vector::new(message.vector).map_err(|_| NotPosted::Vector(message.vector))?;
    // No guest has anything to say about notifications that its hypervisor suppresses.
    Ok(Delivery::Vcpu { vector, descriptor, urgency: Urgency::Ordinary, engine })
}

impl Delivery {
    /// The entry that does it, for requests that pass the check. It is present.
    #[must_use]
    pub const fn entry(self, source: SourceCheck) -> Irte {
        let high = IrteHigh::new().with_source(source.bits());
        match self {
            Self::Host { vector, destination, trigger } => {
                let is_level = matches!(trigger, TriggerMode::Level);
                let low = RemappedIrteLow::new().with_is_present(true).with_is_level(is_level);
                let low = low.with_vector(vector.number()).with_destination(destination);
                Irte { low: low.into_bits(), high: high.into_bits() }
            }
            Self::Vcpu { vector, descriptor, urgency, engine: _ } => {
                let is_urgent = matches!(urgency, Urgency::Urgent);
                let low = PostedIrteLow::new().with_is_present(true).with_is_posted(true).with_is_urgent(is_urgent);
                let low = low.with_vector(vector.number()).with_descriptor_low(descriptor.low());
                Irte { low: low.into_bits(), high: high.with_descriptor_high(descriptor.high()).into_bits() }
            }
        }
    }
}

/// What an IOMMU makes of a request that an entry answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Remapped {
    /// An interrupt of the host.
    Host {
        /// The host's vector.
        vector: u8,
        /// The host's CPU.
        destination: PostedDestination,
    },
    /// A bit in a descriptor, and a notification if one is due.
    Posted {
        /// The guest's vector.
        vector: u8,
        /// The descriptor.
        descriptor: DescriptorAddress,
        /// Whether suppression is overridden.
        urgency: Urgency,
    },
}

impl Remapped {
    /// What a present entry says.
    pub(super) const fn by(entry: Irte) -> Self {
        if entry.is_posted() {
            let low = PostedIrteLow::from_bits(entry.low);
            let urgency = if low.is_urgent() { Urgency::Urgent } else { Urgency::Ordinary };
            Self::Posted { vector: low.vector(), descriptor: entry.descriptor(), urgency }
        } else {
            let low = RemappedIrteLow::from_bits(entry.low);
            Self::Host { vector: low.vector(), destination: low.destination() }
        }
    }
}

#[cfg(test)]
mod tests {
    use hypervisor_abi::apic::DeliveryMode;
    use hypervisor_abi::apic::TriggerMode;
    use hypervisor_abi::posted::PostedDestination;
    use hypervisor_abi::vtd::Capabilities;
    use hypervisor_abi::vtd::DescriptorAddress;
    use hypervisor_abi::vtd::ExtendedCapabilities;
    use hypervisor_abi::vtd::IRTE_HIGH_DEFINED;
    use hypervisor_abi::vtd::POSTED_LOW_DEFINED;
    use hypervisor_abi::vtd::REMAPPED_HIGH_DEFINED;
    use hypervisor_abi::vtd::REMAPPED_LOW_DEFINED;
    use vector_allocator::Vector;

    use super::Delivery;
    use super::NotPosted;
    use super::PostingRefusal;
    use super::Remapped;
    use super::VtdUnit;
    use super::delivery_of;
    use crate::delivery::Destination;
    use crate::delivery::DoorbellRinger;
    use crate::delivery::Engine;
    use crate::delivery::Message;
    use crate::delivery::posted::Urgency;
    use crate::remapping::RequesterId;
    use crate::remapping::Sender;
    use crate::remapping::SourceCheck;
    use crate::remapping::WidestStore;

    const UNIT: VtdUnit = VtdUnit {
        capabilities: Capabilities::new().with_posts(true),
        extended: ExtendedCapabilities::new().with_remaps(true),
        store: WidestStore::Bits128,
    };

    fn descriptor(address: u64) -> DescriptorAddress {
        DescriptorAddress::new(address).expect("a multiple of 64")
    }

    fn message(delivery: DeliveryMode, vector: u8, trigger: TriggerMode) -> Message {
        Message { destination: Destination::Physical(1), delivery, vector, trigger }
    }

    fn host() -> Delivery {
        let (vector, destination) = (Vector::LOWEST, PostedDestination::from_bits(3));
        Delivery::Host { vector, destination, trigger: TriggerMode::Edge }
    }

    #[test]
    fn every_entry_says_what_it_was_built_from_and_sets_no_reserved_bit() {
        let check = SourceCheck::of(Sender::Integrated(RequesterId(0x0318))).expect("a known device");
        for vector in Vector::all() {
            for bits in [0, 1, 0xff00, 0xffff_ffff, 0x8000_0100] {
                let destination = PostedDestination::from_bits(bits);
                for trigger in [TriggerMode::Edge, TriggerMode::Level] {
                    let entry = Delivery::Host { vector, destination, trigger }.entry(check);
                    assert!(entry.is_present() && !entry.is_posted());
                    assert_eq!(entry.low & !REMAPPED_LOW_DEFINED, 0);
                    assert_eq!(entry.high & !REMAPPED_HIGH_DEFINED, 0);
                    assert_eq!(entry.high, check.bits().into());
                    assert_eq!(entry.low >> 4 & 1 == 1, trigger == TriggerMode::Level);
                    assert_eq!(Remapped::by(entry), Remapped::Host { vector: vector.number(), destination });
                }
                let descriptor = descriptor(u64::from(bits) << 24 & !63);
                for urgency in [Urgency::Ordinary, Urgency::Urgent] {
                    let engine = Engine::Posted;
                    let entry = Delivery::Vcpu { vector, descriptor, urgency, engine }.entry(check);
                    assert!(entry.is_present() && entry.is_posted());
                    assert_eq!(entry.low & !POSTED_LOW_DEFINED, 0);
                    assert_eq!(entry.high & !IRTE_HIGH_DEFINED, 0);
                    assert_eq!(entry.high & 0xf_ffff, check.bits().into());
                    let expected = Remapped::Posted { vector: vector.number(), descriptor, urgency };
                    assert_eq!(Remapped::by(entry), expected);
                }
            }
        }
    }

    #[test]
    fn only_a_fixed_edge_triggered_interrupt_to_one_vcpu_is_posted_and_everything_else_goes_to_the_host() {
        use DeliveryMode::Fixed;
        let (one, other) = (descriptor(0x1000), descriptor(0x2000));
        let form =
            |message, addressed: &[DescriptorAddress]| delivery_of(message, addressed, Engine::Posted, UNIT, host());
        let edge = message(Fixed, 0x51, TriggerMode::Edge);
        let vector = Vector::new(0x51).expect("a vector");
        let posted = Delivery::Vcpu { vector, descriptor: one, urgency: Urgency::Ordinary, engine: Engine::Posted };
        assert_eq!(form(edge, &[one]), (posted, None));
        assert_eq!(form(edge, &[one, other]), (host(), Some(NotPosted::Targets(2))), "multicast falls back");
        assert_eq!(form(edge, &[one]), (posted, None), "and comes back");
        assert_eq!(form(edge, &[]), (host(), Some(NotPosted::Targets(0))));
        let lowest = message(DeliveryMode::LowestPriority, 0x51, TriggerMode::Edge);
        assert_eq!(form(lowest, &[one]), (host(), Some(NotPosted::Mode(DeliveryMode::LowestPriority))));
        assert_eq!(form(message(Fixed, 0x51, TriggerMode::Level), &[one]), (host(), Some(NotPosted::Level)));
        for illegal in 0..16 {
            let message = message(Fixed, illegal, TriggerMode::Edge);
            assert_eq!(form(message, &[one]), (host(), Some(NotPosted::Vector(illegal))));
        }
    }

    /// posting by VT-d was asked for on processors without posted interrupts, and set up.
    #[test]
    fn r50_nothing_is_posted_to_a_vcpu_whose_processor_reads_no_descriptor() {
        for engine in [Engine::Software, Engine::Apicv, Engine::Avic(DoorbellRinger::Processor)] {
            let refusal = PostingRefusal::Engine(engine);
            assert_eq!(UNIT.may_post_to(engine), Err(refusal));
            let edge = message(DeliveryMode::Fixed, 0x51, TriggerMode::Edge);
            let form = delivery_of(edge, &[descriptor(0)], engine, UNIT, host());
            assert_eq!(form, (host(), Some(NotPosted::Machine(refusal))));
        }
        for engine in [Engine::Posted, Engine::IpiVirtualization] {
            assert_eq!(UNIT.may_post_to(engine), Ok(()));
            let narrow = VtdUnit { store: WidestStore::Bits64, ..UNIT };
            assert_eq!(narrow.may_post_to(engine), Err(PostingRefusal::Store));
            let older = VtdUnit { capabilities: Capabilities::new(), ..UNIT };
            assert_eq!(older.may_post_to(engine), Err(PostingRefusal::Iommu));
        }
    }
}
