//! Steps on the hypervisor's own note of where a vCPU is: a local APIC in software, or event channels.

use vector_allocator::CpuId;

use super::carrier::Carrier;
use super::carrier::Outcome;
use super::carrier::StepError;
use super::step::Step;

/// The note, as senders read it. A change of it is seen before what the vCPU's thread looks at afterwards, and a sender looks
/// at it after it has made something pending.
pub trait KickTarget {
    /// Where kicks go.
    fn aim(&self, cpu: CpuId);

    /// Whether senders wake the vCPU.
    fn set_asleep(&self, sleep: Sleep);

    /// Whether anything is pending that the vCPU would take.
    fn is_pending(&self) -> bool;
}

/// Whether a vCPU sleeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Sleep {
    /// It does: whoever makes something pending wakes it.
    Asleep,
    /// It does not.
    Runnable,
}

/// The note of a vCPU.
#[derive(Debug)]
pub struct NoteWords<'t, T>(pub &'t T);

impl<T: KickTarget> Carrier for NoteWords<'_, T> {
    fn carry_out(&mut self, step: &Step) -> Result<Outcome, StepError> {
        match *step {
            Step::AimKicks(cpu) => self.0.aim(cpu),
            Step::NoteAsleep => self.0.set_asleep(Sleep::Asleep),
            Step::NoteRunnable => self.0.set_asleep(Sleep::Runnable),
            Step::FindPending(_) => {
                return Ok(if self.0.is_pending() { Outcome::Found } else { Outcome::Done });
            }
            Step::Carry(_) | Step::LeavePosted { .. } => {}
            _ => return Err(StepError::NotOurs),
        }
        Ok(Outcome::Done)
    }
}
