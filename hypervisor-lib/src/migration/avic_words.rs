//! Steps on AVIC's tables and the remapping entries of a vCPU: what [`AvicVcpu`] does, one by one.

use hypervisor_abi::apic::ApicId;
use hypervisor_abi::avic::HostApicId;
use hypervisor_abi::avic::TlbControl;
use vector_allocator::CpuId;

use super::carrier::Carrier;
use super::carrier::Outcome;
use super::carrier::StepError;
use super::step::Said;
use super::step::Step;
use crate::delivery::avic::Action;
use crate::delivery::avic::AvicVcpu;
use crate::delivery::avic::EntryCell;
use crate::delivery::avic::Host;
use crate::delivery::avic::Mode;
use crate::delivery::avic::Place;
use crate::delivery::avic::Residence;
use crate::delivery::avic::SharedAsid;

/// A vCPU's entries, and how the host's tables name its CPUs.
#[derive(Debug)]
pub struct AvicWords<'v, 'a, C, H, N> {
    /// The vCPU.
    pub vcpu: &'v mut AvicVcpu<'a, C>,
    /// The hypervisor.
    pub host: &'v H,
    /// The number of a CPU's local APIC.
    pub number: N,
    /// The VM's address space, and the vCPU in it; the flush that is due is left in `flush`.
    pub space: Option<(&'v mut SharedAsid, ApicId)>,
    /// What the next entry is to flush.
    pub flush: TlbControl,
}

impl<C: EntryCell, H: Host, N: Fn(CpuId) -> Option<HostApicId>> AvicWords<'_, '_, C, H, N> {
    fn core(&self, cpu: CpuId) -> Result<HostApicId, StepError> {
        (self.number)(cpu).ok_or(StepError::NoCpu(cpu))
    }

    fn publish(&mut self, place: Place, wanted: Residence) -> Result<Outcome, StepError> {
        self.vcpu.set_place(place);
        let now = self.vcpu.publish()?;
        if now == wanted { Ok(Outcome::Done) } else { Err(StepError::NotKept(0)) }
    }
}

impl<C: EntryCell, H: Host, N: Fn(CpuId) -> Option<HostApicId>> Carrier for AvicWords<'_, '_, C, H, N> {
    fn carry_out(&mut self, step: &Step) -> Result<Outcome, StepError> {
        match *step {
            Step::SetRunning(cpu) => {
                let core = self.core(cpu)?;
                self.publish(Place::On(core), Residence::On(core))
            }
            Step::ClearRunning => {
                let place = match self.vcpu.place() {
                    Place::On(_) => Place::Preempted,
                    left => left,
                };
                self.publish(place, Residence::Away)
            }
            Step::SayInIrte(irte, said) => {
                let place = match said {
                    Said::Running(cpu) => Place::On(self.core(cpu)?),
                    Said::Waiting => Place::Preempted,
                    Said::Sleeping => Place::Blocked,
                };
                self.vcpu.set_place(place);
                self.vcpu.say_in(irte, self.host)?;
                Ok(Outcome::Done)
            }
            Step::InvalidateIrtes => {
                self.host.act(Action::InvalidateIrtes);
                Ok(Outcome::Done)
            }
            Step::FindDue => match self.vcpu.due() {
                Some(_) => {
                    self.vcpu.set_place(Place::Preempted);
                    Ok(Outcome::Found)
                }
                None => {
                    self.vcpu.set_place(Place::Blocked);
                    Ok(Outcome::Done)
                }
            },
            Step::FlushIfAnotherRan(cpu) => {
                if let Some((space, id)) = &mut self.space {
                    let flush = space.enter(cpu.index(), *id, Mode::XAvic).map_err(|_| StepError::NoCpu(cpu))?;
                    self.flush = flush;
                }
                Ok(Outcome::Done)
            }
            Step::Carry(_) | Step::LeavePosted { .. } => Ok(Outcome::Done),
            _ => Err(StepError::NotOurs),
        }
    }
}
