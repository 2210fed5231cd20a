//! A host of posted interrupts, and its vectors and devices.

use std::cell::Cell;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Mutex;

use hypervisor_abi::DomainId;
use hypervisor_abi::VcpuId;
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
use hypervisor_lib::migration::Carrier;
use hypervisor_lib::migration::NotProgrammed;
use hypervisor_lib::migration::Outcome;
use hypervisor_lib::migration::Source;
use hypervisor_lib::migration::SourceHost;
use hypervisor_lib::migration::Step;
use hypervisor_lib::migration::StepError;
use parking_lot::RawMutex;
use vector_allocator::CpuId;
use vector_allocator::CpuSet;
use vector_allocator::DestinationModel;
use vector_allocator::Evacuation;
use vector_allocator::IoApicAck;
use vector_allocator::Owner;
use vector_allocator::Policy;
use vector_allocator::SourceKind;
use vector_allocator::Vector;
use vector_allocator::VectorAllocator;
use vector_allocator::VectorLayout;
use vector_allocator::VectorSet;
use vector_allocator::XenLayout;

pub(crate) const PROTOCOLS: [Protocol; 2] = [Protocol::Xen, Protocol::Kvm];
pub(crate) const NOTIFICATION: u8 = 0xf2;
pub(crate) const WAKE_UP: u8 = 0xf1;
pub(crate) const CPUS: u32 = 4;

pub(crate) fn vector(number: u8) -> Vector {
    Vector::new(number).expect("16 or more")
}

pub(crate) fn key(vcpu: u32) -> VcpuKey {
    VcpuKey { domain: DomainId(1), vcpu: VcpuId(vcpu) }
}

/// A host whose vCPUs have descriptors.
pub(crate) struct PostedHost {
    pub(crate) vcpus: Vec<PostedVcpu>,
    pub(crate) lists: WakeLists<RawMutex>,
    protocol: Protocol,
    actions: Mutex<Vec<PostingAction>>,
}

impl PostedHost {
    pub(crate) fn new(protocol: Protocol) -> Self {
        let vcpus = (0..2).map(|_| PostedVcpu::default()).collect();
        Self { vcpus, lists: WakeLists::new(CPUS), protocol, actions: Mutex::default() }
    }

    pub(crate) fn take(&self) -> Vec<PostingAction> {
        std::mem::take(&mut *self.actions.lock().expect("nobody panicked"))
    }

    pub(crate) fn control(&self, vcpu: usize) -> PostedControl {
        self.vcpus[vcpu].descriptor.control.load(Ordering::Relaxed).into()
    }

    pub(crate) fn is_posted(&self, vcpu: usize) -> bool {
        self.vcpus[vcpu].descriptor.pir.iter().any(|word| word.load(Ordering::Relaxed) != 0)
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

pub(crate) fn allocator(model: DestinationModel) -> VectorAllocator {
    let (layout, online) = (VectorLayout::xen(XenLayout::default()), CpuSet::first_n(CPUS));
    VectorAllocator::new(layout, model, CPUS, &online, Policy::BelowDom0, IoApicAck::New).expect("a host")
}

/// A source of a guest on CPU 0.
pub(crate) fn source(vectors: &mut VectorAllocator, irq: u32) -> Source {
    let owner = Owner::Guest(DomainId(1));
    let lease = vectors.allocate(owner, SourceKind::EdgeMaskable, &CpuSet::single(CpuId(0))).expect("a vector");
    Source { irq, lease }
}

/// Devices, and the CPUs that take their interrupts.
#[derive(Default)]
pub(crate) struct Devices {
    /// Where each is sent, and under which vector.
    pub(crate) programmed: RefCell<BTreeMap<u32, (Vector, CpuId)>>,
    /// What waits or is in service, and where.
    pub(crate) live: RefCell<Vec<(Vector, CpuId)>>,
    /// What came of a CPU's going.
    pub(crate) evacuated: RefCell<Vec<Evacuation>>,
    pub(crate) is_stuck: Cell<bool>,
}

impl SourceHost for Devices {
    fn program(&self, source: Source, vector: Vector, target: CpuId) -> Result<(), NotProgrammed> {
        if self.is_stuck.get() {
            return Err(NotProgrammed);
        }
        self.programmed.borrow_mut().insert(source.irq, (vector, target));
        Ok(())
    }

    fn live_on(&self, vector: Vector) -> CpuSet {
        self.live.borrow().iter().filter(|(live, _)| *live == vector).map(|(_, cpu)| *cpu).collect()
    }

    fn waiting_on(&self, cpu: CpuId) -> VectorSet {
        let mut waiting = VectorSet::EMPTY;
        self.live.borrow().iter().filter(|(_, on)| *on == cpu).for_each(|(vector, _)| _ = waiting.insert(*vector));
        waiting
    }

    fn evacuated(&self, evacuation: Evacuation) {
        self.evacuated.borrow_mut().push(evacuation);
    }
}

/// A carrier that fails once: at the step of this number, before anything of it is done.
pub(crate) struct Failing<'c, C> {
    pub(crate) carrier: &'c mut C,
    pub(crate) at: usize,
    pub(crate) count: usize,
}

impl<C: Carrier> Carrier for Failing<'_, C> {
    fn carry_out(&mut self, step: &Step) -> Result<Outcome, StepError> {
        self.count += 1;
        if self.count == self.at + 1 { Err(StepError::NotKept(0)) } else { self.carrier.carry_out(step) }
    }
}
