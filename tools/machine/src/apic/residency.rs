//! Where vCPUs are, as far as hardware that delivers to them has to know: the library's states, kept between calls.

use alloc::vec::Vec;

use hypervisor_abi::avic::HostApicId;
use hypervisor_lib::delivery::avic::AvicVcpu;
use hypervisor_lib::delivery::avic::Leaving;
use hypervisor_lib::delivery::avic::Left;
use hypervisor_lib::delivery::posted;
use vector_allocator::CpuId;

use super::ApicSlot;
use super::hypervisor::Hypervisor;

/// The residencies of all vCPUs, by slot.
pub(super) type Residents<'h> = Vec<Resident<'h>>;

/// What hardware knows of where a vCPU is.
#[derive(Debug)]
pub(super) enum Resident<'h> {
    /// Nothing: what comes for it is told by the hypervisor alone.
    Untold,
    /// What its descriptor says.
    Posted(Posted<'h>),
    /// What the physical APIC-ID table and the IOMMU's entries say.
    Avic(AvicVcpu<'h>),
}

/// A vCPU with a posted-interrupt descriptor.
#[derive(Debug)]
pub(super) enum Posted<'h> {
    Offline(posted::Offline<'h, Hypervisor>),
    Running(posted::Running<'h, Hypervisor>),
    Preempted(posted::Preempted<'h, Hypervisor>),
    Blocked(posted::Blocked<'h, Hypervisor>),
}

/// What has become of an attempt to block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Blocking {
    /// The vCPU is blocked.
    Done,
    /// Something has come for it meanwhile.
    AwakeAfterAll,
}

impl<'h> Resident<'h> {
    /// The vCPU gets a CPU.
    pub(super) fn load(&mut self, slot: ApicSlot, cpu: CpuId, hypervisor: &'h Hypervisor) {
        match self {
            Self::Untold => {}
            Self::Posted(_) => self.change(|state| match state {
                Posted::Offline(state) => Posted::Running(state.load(cpu)),
                Posted::Preempted(state) => Posted::Running(state.load(cpu)),
                Posted::Blocked(state) => Posted::Running(state.load(cpu)),
                Posted::Running(state) => Posted::Running(state),
            }),
            Self::Avic(vcpu) => {
                if let Ok(core) = HostApicId::new(cpu.0) {
                    // Every vCPU of the machine is in its table for good.
                    let _ = vcpu.enter(core, &hypervisor.view(slot));
                }
            }
        }
    }

    /// Another gets its CPU.
    pub(super) fn preempt(&mut self, slot: ApicSlot, hypervisor: &'h Hypervisor) {
        match self {
            Self::Untold => {}
            Self::Posted(_) => self.change(|state| match state {
                Posted::Running(state) => Posted::Preempted(state.preempt()),
                other => other,
            }),
            Self::Avic(vcpu) => {
                let _ = vcpu.leave(Leaving::Preempting, &hypervisor.view(slot));
            }
        }
    }

    /// It has nothing to do.
    pub(super) fn block(&mut self, slot: ApicSlot, cpu: CpuId, hypervisor: &'h Hypervisor) -> Blocking {
        match self {
            Self::Untold => Blocking::Done,
            Self::Posted(_) => {
                self.change(|state| match state {
                    Posted::Running(state) => match state.block() {
                        posted::Blocking::Blocked(state) => Posted::Blocked(state),
                        posted::Blocking::Running(state) => Posted::Running(state),
                    },
                    other => other,
                });
                match self {
                    Self::Posted(Posted::Running(_)) => Blocking::AwakeAfterAll,
                    _ => Blocking::Done,
                }
            }
            Self::Avic(vcpu) => match vcpu.leave(Leaving::Blocking, &hypervisor.view(slot)) {
                Ok(Left::AwakeAfterAll(_)) => {
                    self.load(slot, cpu, hypervisor);
                    Blocking::AwakeAfterAll
                }
                Ok(Left::Gone) | Err(_) => Blocking::Done,
            },
        }
    }

    /// Whether an IOMMU that logs delivers to it.
    pub(super) fn has_devices(&self) -> bool {
        matches!(self, Self::Avic(vcpu) if vcpu.routes().next().is_some())
    }

    /// Turns one state into the next.
    fn change(&mut self, change: impl FnOnce(Posted<'h>) -> Posted<'h>) {
        *self = match core::mem::replace(self, Self::Untold) {
            Self::Posted(state) => Self::Posted(change(state)),
            other => other,
        };
    }
}
