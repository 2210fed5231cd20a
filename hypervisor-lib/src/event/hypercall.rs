//! The event-channel hypercall: numbers the guest chose in, results and errors out.

use hypervisor_abi::DomainId;
use hypervisor_abi::Port;
use hypervisor_abi::VcpuId;
use hypervisor_abi::Virq;
use hypervisor_abi::event::AllocUnbound;
use hypervisor_abi::event::BindInterdomain;
use hypervisor_abi::event::BindIpi;
use hypervisor_abi::event::BindPirq;
use hypervisor_abi::event::BindVcpu;
use hypervisor_abi::event::BindVirq;
use hypervisor_abi::event::ChannelState;
use hypervisor_abi::event::Close;
use hypervisor_abi::event::EventOp;
use hypervisor_abi::event::ExpandArray;
use hypervisor_abi::event::InitControl;
use hypervisor_abi::event::Reset;
use hypervisor_abi::event::Send;
use hypervisor_abi::event::SetPriority;
use hypervisor_abi::event::Status;
use hypervisor_abi::event::Unmask;
use hypervisor_abi::event::WILL_SHARE;
use lock_api::RawMutex;

use super::close::ResetStep;
use super::domain::Domain;
use super::error::EventError;
use super::host::Host;
use super::host::Sharing;
use super::memory::GuestPlace;
use super::slot::Binding;
use super::status::PortStatus;

/// An operation with its argument, as the hypervisor copied it from the guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventCall {
    /// [`EventOp::BindInterdomain`].
    BindInterdomain(BindInterdomain),
    /// [`EventOp::BindVirq`].
    BindVirq(BindVirq),
    /// [`EventOp::BindPirq`].
    BindPirq(BindPirq),
    /// [`EventOp::Close`].
    Close(Close),
    /// [`EventOp::Send`].
    Send(Send),
    /// [`EventOp::Status`].
    Status(Status),
    /// [`EventOp::AllocUnbound`].
    AllocUnbound(AllocUnbound),
    /// [`EventOp::BindIpi`].
    BindIpi(BindIpi),
    /// [`EventOp::BindVcpu`].
    BindVcpu(BindVcpu),
    /// [`EventOp::Unmask`].
    Unmask(Unmask),
    /// [`EventOp::Reset`].
    Reset(Reset),
    /// [`EventOp::ResetContinuation`].
    ResetContinuation(Reset),
    /// [`EventOp::InitControl`].
    InitControl(InitControl),
    /// [`EventOp::ExpandArray`].
    ExpandArray(ExpandArray),
    /// [`EventOp::SetPriority`].
    SetPriority(SetPriority),
}

impl EventCall {
    /// Which operation it is.
    #[must_use]
    pub const fn op(&self) -> EventOp {
        match self {
            Self::BindInterdomain(_) => EventOp::BindInterdomain,
            Self::BindVirq(_) => EventOp::BindVirq,
            Self::BindPirq(_) => EventOp::BindPirq,
            Self::Close(_) => EventOp::Close,
            Self::Send(_) => EventOp::Send,
            Self::Status(_) => EventOp::Status,
            Self::AllocUnbound(_) => EventOp::AllocUnbound,
            Self::BindIpi(_) => EventOp::BindIpi,
            Self::BindVcpu(_) => EventOp::BindVcpu,
            Self::Unmask(_) => EventOp::Unmask,
            Self::Reset(_) => EventOp::Reset,
            Self::ResetContinuation(_) => EventOp::ResetContinuation,
            Self::InitControl(_) => EventOp::InitControl,
            Self::ExpandArray(_) => EventOp::ExpandArray,
            Self::SetPriority(_) => EventOp::SetPriority,
        }
    }
}

impl<L: RawMutex> Domain<L> {
    /// Carries out an operation one of the domain's vCPUs asked for (`HYPERVISOR_event_channel_op`), and fills in the
    /// argument's results.
    ///
    /// # Errors
    /// [`EventError`]; the argument is as it was.
    pub fn event_channel_op<H: Host<Lock = L>>(&self, host: &H, call: &mut EventCall) -> Result<(), EventError> {
        match call {
            // Apart from the others, whose many cases would cost it registers.
            EventCall::Send(arg) => self.send(host, Port(arg.port)),
            other => self.structural_op(host, other),
        }
    }

    #[inline(never)]
    fn structural_op<H: Host<Lock = L>>(&self, host: &H, call: &mut EventCall) -> Result<(), EventError> {
        match call {
            EventCall::BindInterdomain(arg) => {
                let port = self.bind_interdomain(host, DomainId(arg.remote_dom), Port(arg.remote_port))?;
                arg.local_port = port.0;
            }
            EventCall::BindVirq(arg) => {
                arg.port = self.bind_virq(host, Virq::new(arg.virq)?, VcpuId(arg.vcpu))?.0;
            }
            EventCall::BindPirq(arg) => {
                let sharing = if arg.flags & WILL_SHARE != 0 { Sharing::Shared } else { Sharing::Exclusive };
                arg.port = self.bind_pirq(host, arg.pirq, sharing)?.0;
            }
            EventCall::Close(arg) => self.close(host, Port(arg.port))?,
            EventCall::Send(arg) => self.send(host, Port(arg.port))?,
            EventCall::Status(arg) => {
                let status = self.status(host, DomainId(arg.dom), Port(arg.port))?;
                fill(arg, status);
            }
            EventCall::AllocUnbound(arg) => {
                arg.port = self.alloc_unbound(host, DomainId(arg.dom), DomainId(arg.remote_dom))?.0;
            }
            EventCall::BindIpi(arg) => arg.port = self.bind_ipi(host, VcpuId(arg.vcpu))?.0,
            EventCall::BindVcpu(arg) => self.bind_vcpu(host, Port(arg.port), VcpuId(arg.vcpu))?,
            EventCall::Unmask(arg) => self.unmask(host, Port(arg.port))?,
            EventCall::Reset(arg) => self.reset(host, DomainId(arg.dom), ResetStep::Begin)?,
            EventCall::ResetContinuation(arg) => self.reset(host, DomainId(arg.dom), ResetStep::Continue)?,
            EventCall::InitControl(arg) => {
                let place = GuestPlace { gfn: arg.control_gfn, offset: arg.offset };
                arg.link_bits = self.init_control(host, VcpuId(arg.vcpu), place)?;
            }
            EventCall::ExpandArray(arg) => self.expand_array(host, arg.array_gfn)?,
            EventCall::SetPriority(arg) => self.set_priority(Port(arg.port), arg.priority)?,
        }
        Ok(())
    }
}

fn fill(arg: &mut Status, status: PortStatus) {
    let (state, detail, remote_port) = match status.binding {
        Binding::Free | Binding::Reserved => (ChannelState::Closed, 0, 0),
        Binding::Unbound { remote } => (ChannelState::Unbound, u32::from(remote.0), 0),
        Binding::Interdomain { remote, port } => (ChannelState::Interdomain, u32::from(remote.0), port.0),
        Binding::Pirq(pirq) => (ChannelState::Pirq, pirq, 0),
        Binding::Virq(virq) => (ChannelState::Virq, u32::from(virq.number()), 0),
        Binding::Ipi => (ChannelState::Ipi, 0, 0),
    };
    *arg = Status { status: state as u32, vcpu: status.vcpu.0, detail, remote_port, ..*arg };
}
