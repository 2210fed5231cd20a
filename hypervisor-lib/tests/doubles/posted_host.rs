//! A host of posted interrupts, which notes what it is asked: vCPUs with descriptors, and nothing else.

use std::sync::Mutex;

use hypervisor_abi::apic::ApicId;
use hypervisor_abi::apic::ApicMode;
use hypervisor_abi::posted::PostedControl;
use hypervisor_abi::posted::PostedDestination;
use hypervisor_abi::sync::Ordering;
use hypervisor_lib::delivery::posted::PostedVcpu;
use hypervisor_lib::delivery::posted::PostingAction;
use hypervisor_lib::delivery::posted::PostingHost;
use hypervisor_lib::delivery::posted::Protocol;
use hypervisor_lib::delivery::posted::VcpuKey;
use hypervisor_lib::delivery::posted::WakeLists;
use parking_lot::RawMutex;
use vector_allocator::CpuId;
use vector_allocator::Vector;

pub(crate) const PROTOCOLS: [Protocol; 2] = [Protocol::Xen, Protocol::Kvm];
pub(crate) const NOTIFICATION: u8 = 0xf2;
pub(crate) const WAKE_UP: u8 = 0xf1;

pub(crate) fn vector(number: u8) -> Vector {
    Vector::new(number).expect("16 or more")
}

/// A host whose vCPUs have descriptors.
pub(crate) struct PostedHost {
    pub(crate) vcpus: Vec<PostedVcpu>,
    pub(crate) lists: WakeLists<RawMutex>,
    protocol: Protocol,
    actions: Mutex<Vec<PostingAction>>,
}

impl PostedHost {
    pub(crate) fn new(protocol: Protocol, cpus: u32, vcpus: usize) -> Self {
        let vcpus = (0..vcpus).map(|_| PostedVcpu::default()).collect();
        Self { vcpus, lists: WakeLists::new(cpus), protocol, actions: Mutex::default() }
    }

    pub(crate) fn take(&self) -> Vec<PostingAction> {
        std::mem::take(&mut *self.actions.lock().expect("nobody panicked"))
    }

    pub(crate) fn control(&self, vcpu: usize) -> PostedControl {
        self.vcpus[vcpu].descriptor.control.load(Ordering::Relaxed).into()
    }
}

impl PostingHost for PostedHost {
    type Lock = RawMutex;

    fn posted_vcpu(&self, key: VcpuKey) -> Option<&PostedVcpu> {
        self.vcpus.get(key.vcpu.index())
    }

    fn wake_lists(&self) -> &WakeLists<RawMutex> {
        &self.lists
    }

    fn destination(&self, cpu: CpuId) -> PostedDestination {
        PostedDestination::new(ApicId(cpu.0 * 4), ApicMode::X2Apic)
    }

    fn notification_vector(&self) -> Vector {
        vector(NOTIFICATION)
    }

    fn wake_up_vector(&self) -> Vector {
        vector(WAKE_UP)
    }

    fn protocol(&self) -> Protocol {
        self.protocol
    }

    fn act(&self, action: PostingAction) {
        self.actions.lock().expect("nobody panicked").push(action);
    }
}
