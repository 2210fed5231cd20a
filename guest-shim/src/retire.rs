//! Taking over from a vCPU that goes offline: its ports, its queues, its delayed EOIs.

use hypervisor_abi::Port;
use hypervisor_abi::VcpuId;

use crate::abi::Admission;
use crate::abi::EventAbi;
use crate::abi::Found;
use crate::channels::ChannelError;
use crate::channels::EventChannels;
use crate::channels::is_fixed;
use crate::hypercall::Hypercalls;
use crate::port::Source;
use crate::upcall::VcpuEvents;

/// What became of an offline vCPU's ports.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Retired {
    /// How many ports the heir has got.
    pub moved: u32,
    /// How many were closed, since they cannot belong to another vCPU.
    pub closed: u32,
    /// How many events were still in the vCPU's queues and have been passed on.
    pub passed_on: u32,
}

impl<'a, A: EventAbi> VcpuEvents<'a, A> {
    /// Gives everything of a vCPU that has stopped to `heir`; called on another vCPU. IPIs and virtual IRQs of the vCPU are
    /// closed, and told to `closed`. No event of a port that lives on is lost.
    ///
    /// The value can be used again when the vCPU comes back: its pages are still the hypervisor's, so it needs no
    /// [`bring_up`](EventChannels::bring_up), only ports.
    ///
    /// # Errors
    /// The hypervisor refused a step; it can be called again.
    pub fn retire<H: Hypercalls>(
        &mut self,
        channels: &EventChannels<'a, A, H>,
        heir: VcpuId,
        mut closed: impl FnMut(Port, Source),
    ) -> Result<Retired, ChannelError> {
        let mut retired = Retired::default();
        // Ended first: an event of a port that is closed below has no EOI any more.
        self.end_all(channels)?;
        for (record, number) in channels.ports().iter().zip(0..) {
            let Some(bound) = record.bound().filter(|bound| bound.vcpu == self.vcpu()) else { continue };
            let port = Port(number);
            if is_fixed(bound.source) {
                channels.close(port)?;
                closed(port, bound.source);
                retired.closed += 1;
            } else {
                channels.move_to(port, heir)?;
                retired.moved += 1;
            }
        }
        let (info, queues) = self.parts();
        channels.abi().begin(info, queues);
        while let Some(visit) = channels.abi().next(queues, |_| Admission::Aside) {
            if visit.event == Found::Event {
                channels.pass_on(visit.port)?;
                retired.passed_on += 1;
            }
        }
        Ok(retired)
    }
}
