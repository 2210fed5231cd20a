//! A host of posted interrupts, and its vectors and devices.

use std::cell::Cell;
use std::cell::RefCell;
use std::collections::BTreeMap;

use hypervisor_abi::DomainId;
use hypervisor_abi::VcpuId;
use hypervisor_abi::sync::Ordering;
use hypervisor_lib::delivery::posted::Protocol;
use hypervisor_lib::delivery::posted::VcpuKey;
use hypervisor_lib::migration::Carrier;
use hypervisor_lib::migration::NotProgrammed;
use hypervisor_lib::migration::Outcome;
use hypervisor_lib::migration::Source;
use hypervisor_lib::migration::SourceHost;
use hypervisor_lib::migration::Step;
use hypervisor_lib::migration::StepError;
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

pub(crate) use crate::posted_host::NOTIFICATION;
pub(crate) use crate::posted_host::PROTOCOLS;
pub(crate) use crate::posted_host::PostedHost;
pub(crate) use crate::posted_host::WAKE_UP;
pub(crate) use crate::posted_host::vector;

pub(crate) const CPUS: u32 = 4;

/// Two vCPUs.
pub(crate) fn posted_host(protocol: Protocol) -> PostedHost {
    PostedHost::new(protocol, CPUS, 2)
}

pub(crate) fn is_posted(host: &PostedHost, vcpu: usize) -> bool {
    host.vcpus[vcpu].descriptor.pir.iter().any(|word| word.load(Ordering::Relaxed) != 0)
}

pub(crate) fn key(vcpu: u32) -> VcpuKey {
    VcpuKey { domain: DomainId(1), vcpu: VcpuId(vcpu) }
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
