//! What the protocol needs of its hypervisor, and what it asks it to do.

use core::fmt;

use hypervisor_abi::DomainId;
use hypervisor_abi::VcpuId;
use hypervisor_abi::posted::PostedDescriptor;
use hypervisor_abi::posted::PostedDestination;
use hypervisor_abi::sync::AtomicU32;
use lock_api::RawMutex;
use vector_allocator::CpuId;
use vector_allocator::Vector;

use super::wake_list::NO_LIST;
use super::wake_list::WakeLists;

/// A vCPU of the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VcpuKey {
    /// Whose.
    pub domain: DomainId,
    /// Which.
    pub vcpu: VcpuId,
}

impl fmt::Display for VcpuKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.domain, self.vcpu)
    }
}

/// A vCPU's descriptor, which processors and IOMMUs know by its physical address, and the list it is on.
#[derive(Debug)]
pub struct PostedVcpu {
    /// The descriptor.
    pub descriptor: PostedDescriptor,
    /// The pCPU whose list the vCPU is on, or [`NO_LIST`]; changes under that list's lock.
    pub(super) list: AtomicU32,
}

impl Default for PostedVcpu {
    fn default() -> Self {
        Self { descriptor: PostedDescriptor::default(), list: AtomicU32::new(NO_LIST) }
    }
}

/// How what was posted while nobody was notified of it is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// Every entry looks at PIR. Blocking looks at it, too, and does not come about if something is posted; a woken vCPU
    /// leaves the list at once.
    Xen,
    /// Loading looks at PIR once and sets ON, so that entries look at ON alone. Blocking with ON set notifies the own pCPU,
    /// whose handler wakes the vCPU; it stays on the list until it is loaded.
    Kvm,
}

/// The hypervisor around the descriptors.
///
/// All methods may be called from several threads at once, and [`act`](Self::act) while a list is locked: it must not call
/// back.
pub trait PostingHost {
    /// The lock of the lists.
    type Lock: RawMutex;

    /// A vCPU's descriptor; none once the vCPU is gone.
    fn posted_vcpu(&self, key: VcpuKey) -> Option<&PostedVcpu>;

    /// The lists of blocked vCPUs.
    fn wake_lists(&self) -> &WakeLists<Self::Lock>;

    /// How notifications name a physical CPU.
    fn destination(&self, cpu: CpuId) -> PostedDestination;

    /// The host vector that tells a pCPU of what was posted to the vCPU it runs.
    fn notification_vector(&self) -> Vector;

    /// The host vector whose handler is [`wake_up`](super::wake_up).
    fn wake_up_vector(&self) -> Vector;

    /// Which protocol this host follows.
    fn protocol(&self) -> Protocol;

    /// Carries out what a transition asks for.
    fn act(&self, action: PostingAction);
}

/// What the protocol asks for. A move between pCPUs asks for nothing: neither the IOMMU's tables nor physical IRQs change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PostingAction {
    /// Make the vCPU runnable.
    Wake(VcpuKey),
    /// Send the wake-up vector to this very pCPU.
    WakeUpSelf(CpuId),
}
