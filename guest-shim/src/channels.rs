//! A guest's event channels: binding, masking, moving, closing, sending.
//!
//! Every method may be called on several vCPUs at once, from a handler too: nothing here is locked. What concerns one
//! port's binding (bind, close, move) is its owner's to call, one at a time.

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
use hypervisor_abi::event::Close;
use hypervisor_abi::event::EventOp;
use hypervisor_abi::event::FifoPriority;
use hypervisor_abi::event::Send;
use hypervisor_abi::event::SetPriority;
use hypervisor_abi::event::Unmask;
use hypervisor_abi::event::WILL_SHARE;
use hypervisor_abi::virq::VirqClass;

use crate::abi::Admission;
use crate::abi::Duty;
use crate::abi::EventAbi;
use crate::abi::Unmasked;
use crate::hypercall::Calls;
use crate::hypercall::Hypercalls;
use crate::hypercall::Object;
use crate::hypercall::Refused;
use crate::port::Bound;
use crate::port::EOI;
use crate::port::EXPLICIT;
use crate::port::EoiMode;
use crate::port::MOVE;
use crate::port::Masking;
use crate::port::PASSED;
use crate::port::PortRecord;
use crate::port::Source;

/// A guest's event channels over one of the two ABIs.
#[derive(Debug)]
pub struct EventChannels<'a, A, H> {
    abi: A,
    hypercalls: H,
    ports: &'a [PortRecord],
}

/// An operation on an event channel failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChannelError {
    /// The hypervisor refused.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// The port is not bound, or not through this crate.
    #[error("{0} is not bound")]
    NotBound(Port),
    /// The hypervisor gave a port for which the guest has no record or no event word; it was closed again.
    #[error("{0} is beyond the ports this guest has set memory aside for")]
    OutOfRange(Port),
    /// The port's source belongs to one vCPU.
    #[error("{0} cannot leave its vCPU")]
    FixedToVcpu(Port),
}

/// Whether other domains may take the same physical line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Sharing {
    /// The line is this guest's alone.
    Exclusive,
    /// Other domains may share it.
    Shared,
}

impl<'a, A: EventAbi, H: Hypercalls> EventChannels<'a, A, H> {
    /// Nothing bound, everything masked. Record *p* of `ports` is port *p*'s, so there should be as many as ports that may
    /// come to use; they must be nobody else's.
    pub fn new(abi: A, hypercalls: H, ports: &'a [PortRecord]) -> Self {
        abi.restart();
        ports.iter().for_each(PortRecord::unbind);
        Self { abi, hypercalls, ports }
    }

    /// The ABI.
    pub const fn abi(&self) -> &A {
        &self.abi
    }

    /// The way to the hypervisor.
    pub const fn hypercalls(&self) -> &H {
        &self.hypercalls
    }

    pub(crate) const fn ports(&self) -> &'a [PortRecord] {
        self.ports
    }

    /// The ports that are bound, with their records.
    pub(crate) fn bound_ports(&self) -> impl Iterator<Item = (&'a PortRecord, Port)> {
        self.ports.iter().zip((0..).map(Port)).filter(|(record, _)| record.bound().is_some())
    }

    /// What a port is bound to; `None` if it is not.
    pub fn bound(&self, port: Port) -> Option<Bound> {
        self.ports.get(port.index())?.bound()
    }

    /// Whether a port has an event that was not taken yet.
    pub fn is_pending(&self, port: Port) -> bool {
        self.abi.is_pending(port)
    }

    /// Binds interrupts from the guest's own vCPUs to `vcpu` (`EVTCHNOP_bind_ipi`). As all ports, it is masked until
    /// [`unmask`](Self::unmask).
    ///
    /// # Errors
    /// [`ChannelError::Refused`], [`ChannelError::OutOfRange`].
    pub fn bind_ipi(&self, vcpu: VcpuId, eoi: EoiMode) -> Result<Port, ChannelError> {
        let port = self.call_bind_ipi(vcpu)?;
        self.note(port, Bound { source: Source::Ipi, vcpu, eoi })
    }

    pub(crate) fn call_bind_ipi(&self, vcpu: VcpuId) -> Result<Port, ChannelError> {
        let mut argument = BindIpi { vcpu: vcpu.0, ..BindIpi::default() };
        self.hypercalls.event(EventOp::BindIpi, Object::Vcpu(vcpu.0), &mut argument)?;
        Ok(Port(argument.port))
    }

    /// Binds a virtual IRQ (`EVTCHNOP_bind_virq`); one that is not per vCPU is then moved to `vcpu`.
    ///
    /// # Errors
    /// [`ChannelError::Refused`], [`ChannelError::OutOfRange`].
    pub fn bind_virq(&self, virq: Virq, vcpu: VcpuId, eoi: EoiMode) -> Result<Port, ChannelError> {
        let port = self.call_bind_virq(virq, vcpu)?;
        self.note(port, Bound { source: Source::Virq(virq), vcpu, eoi })
    }

    pub(crate) fn call_bind_virq(&self, virq: Virq, vcpu: VcpuId) -> Result<Port, ChannelError> {
        let vcpu = if virq.class() == VirqClass::PerVcpu { vcpu } else { VcpuId(0) };
        let mut argument = BindVirq { virq: u32::from(virq.number()), vcpu: vcpu.0, ..BindVirq::default() };
        self.hypercalls.event(EventOp::BindVirq, Object::Virq(argument.virq), &mut argument)?;
        Ok(Port(argument.port))
    }

    /// Binds a physical IRQ the guest has mapped (`EVTCHNOP_bind_pirq`).
    ///
    /// # Errors
    /// [`ChannelError::Refused`], [`ChannelError::OutOfRange`].
    pub fn bind_pirq(&self, pirq: u32, sharing: Sharing, vcpu: VcpuId, eoi: EoiMode) -> Result<Port, ChannelError> {
        let flags = if sharing == Sharing::Shared { WILL_SHARE } else { 0 };
        let mut argument = BindPirq { pirq, flags, ..BindPirq::default() };
        self.hypercalls.event(EventOp::BindPirq, Object::Pirq(pirq), &mut argument)?;
        self.note(Port(argument.port), Bound { source: Source::Pirq(pirq), vcpu, eoi })
    }

    /// Connects to a port another domain offers (`EVTCHNOP_bind_interdomain`). It has an event at once, since what was sent
    /// before has gone nowhere.
    ///
    /// # Errors
    /// [`ChannelError::Refused`], [`ChannelError::OutOfRange`].
    pub fn bind_interdomain(
        &self,
        remote: DomainId,
        remote_port: Port,
        vcpu: VcpuId,
        eoi: EoiMode,
    ) -> Result<Port, ChannelError> {
        let mut argument = BindInterdomain { remote_dom: remote.0, remote_port: remote_port.0, ..Default::default() };
        self.hypercalls.event(EventOp::BindInterdomain, Object::Domain(remote.0), &mut argument)?;
        self.note(Port(argument.local_port), Bound { source: Source::Interdomain, vcpu, eoi })
    }

    /// Offers a port to another domain (`EVTCHNOP_alloc_unbound`).
    ///
    /// # Errors
    /// [`ChannelError::Refused`], [`ChannelError::OutOfRange`].
    pub fn offer(&self, remote: DomainId, vcpu: VcpuId, eoi: EoiMode) -> Result<Port, ChannelError> {
        let mut argument = AllocUnbound { dom: DomainId::SELF.0, remote_dom: remote.0, port: 0 };
        self.hypercalls.event(EventOp::AllocUnbound, Object::Domain(remote.0), &mut argument)?;
        self.note(Port(argument.port), Bound { source: Source::Interdomain, vcpu, eoi })
    }

    /// Takes over a port the toolstack opened for the guest, such as xenstore's or the console's, which notifies vCPU 0.
    ///
    /// # Errors
    /// [`ChannelError::OutOfRange`]; the port stays open.
    pub fn adopt(&self, port: Port, eoi: EoiMode) -> Result<(), ChannelError> {
        self.record_at(port, Bound { source: Source::Interdomain, vcpu: VcpuId(0), eoi })
    }

    /// Notes a port the hypervisor has just given; closes it if that cannot be done.
    fn note(&self, port: Port, bound: Bound) -> Result<Port, ChannelError> {
        self.note_at(port, bound).inspect_err(|_| {
            // The error that counts is the first.
            let _ = self.hypercalls.event(EventOp::Close, Object::Port(port.0), &mut Close { port: port.0 });
        })?;
        Ok(port)
    }

    /// Notes a port, and has it notify its vCPU: the hypervisor notifies vCPU 0 if the source leaves it the choice.
    pub(crate) fn note_at(&self, port: Port, bound: Bound) -> Result<(), ChannelError> {
        let chosen = if is_fixed(bound.source) { bound.vcpu } else { VcpuId(0) };
        if chosen != bound.vcpu {
            self.call_bind_vcpu(port, bound.vcpu)?;
        }
        self.record_at(port, bound)
    }

    fn record_at(&self, port: Port, bound: Bound) -> Result<(), ChannelError> {
        let record = self.ports.get(port.index()).filter(|_| port != Port(0) && self.abi.has(port));
        let record = record.ok_or(ChannelError::OutOfRange(port))?;
        self.abi.mask(port);
        record.bind(bound);
        Ok(())
    }

    fn call_bind_vcpu(&self, port: Port, vcpu: VcpuId) -> Result<(), Refused> {
        let mut argument = BindVcpu { port: port.0, vcpu: vcpu.0 };
        self.hypercalls.event(EventOp::BindVcpu, Object::Port(port.0), &mut argument)
    }

    /// Sends an event to the other end (`EVTCHNOP_send`).
    ///
    /// # Errors
    /// [`ChannelError::Refused`].
    pub fn send(&self, port: Port) -> Result<(), ChannelError> {
        Ok(self.hypercalls.event(EventOp::Send, Object::Port(port.0), &mut Send { port: port.0 })?)
    }

    /// Wants no events of a port for now. What happens meanwhile is delivered once, after [`unmask`](Self::unmask). A
    /// handler that runs on another vCPU may still be at it.
    ///
    /// # Errors
    /// [`ChannelError::NotBound`]; [`ChannelError::Refused`] if an unmasking that was interrupted by this could not be
    /// finished.
    pub fn mask(&self, port: Port) -> Result<(), ChannelError> {
        self.change(port, self.record(port)?, EXPLICIT, 0)
    }

    /// Wants a port's events, also the one that came while it was masked.
    ///
    /// # Errors
    /// [`ChannelError::NotBound`], [`ChannelError::Refused`].
    pub fn unmask(&self, port: Port) -> Result<(), ChannelError> {
        self.change(port, self.record(port)?, 0, EXPLICIT)
    }

    /// Sets the priority of a port's events to come (`EVTCHNOP_set_priority`).
    ///
    /// # Errors
    /// [`ChannelError::Refused`]: [`Errno::NotImplemented`](hypervisor_abi::Errno::NotImplemented) with the 2-level ABI.
    pub fn set_priority(&self, port: Port, priority: FifoPriority) -> Result<(), ChannelError> {
        let mut argument = SetPriority { port: port.0, priority: u32::from(priority.number()) };
        Ok(self.hypercalls.event(EventOp::SetPriority, Object::Port(port.0), &mut argument)?)
    }

    /// Lets another vCPU take a port's events (`EVTCHNOP_bind_vcpu`). An event that is still queued for the vCPU of before
    /// is passed on by it. The other vCPU must have been set up: there is no queue to put an event into before.
    ///
    /// # Errors
    /// [`ChannelError::NotBound`]; [`ChannelError::FixedToVcpu`] for an IPI or a virtual IRQ of one vCPU;
    /// [`ChannelError::Refused`].
    pub fn move_to(&self, port: Port, vcpu: VcpuId) -> Result<(), ChannelError> {
        let record = self.record(port)?;
        let bound = record.bound().ok_or(ChannelError::NotBound(port))?;
        if is_fixed(bound.source) {
            return Err(ChannelError::FixedToVcpu(port));
        }
        // Masked meanwhile: neither vCPU takes an event that belongs to the other.
        self.change(port, record, MOVE, 0)?;
        let moved = self.call_bind_vcpu(port, vcpu);
        if moved.is_ok() {
            record.set_vcpu(vcpu);
        }
        self.change(port, record, 0, MOVE)?;
        Ok(moved?)
    }

    /// Closes a port (`EVTCHNOP_close`). An event that is on its way is dropped, even if it is in a vCPU's queue already
    ///
    ///
    /// # Errors
    /// [`ChannelError::NotBound`]; [`ChannelError::Refused`]: then it is still bound, and masked.
    pub fn close(&self, port: Port) -> Result<(), ChannelError> {
        let record = self.record(port)?;
        let bound = record.bound().ok_or(ChannelError::NotBound(port))?;
        self.change(port, record, EXPLICIT, 0)?;
        // Before the call: after it the port may be given to somebody else at once.
        record.unbind();
        let closed = self.hypercalls.event(EventOp::Close, Object::Port(port.0), &mut Close { port: port.0 });
        if closed.is_err() {
            record.bind(bound);
        }
        Ok(closed?)
    }

    fn record(&self, port: Port) -> Result<&'a PortRecord, ChannelError> {
        let record = self.ports.get(port.index()).ok_or(ChannelError::NotBound(port))?;
        record.bound().map(|_| record).ok_or(ChannelError::NotBound(port))
    }

    /// Changes the reasons for which a port is masked, and the mask bit if that is ours to do.
    fn change(&self, port: Port, record: &PortRecord, add: u32, remove: u32) -> Result<(), ChannelError> {
        match record.change(add, remove) {
            Duty::Ours => self.settle(port, record),
            Duty::None => Ok(()),
        }
    }

    /// Brings the mask bit into line with the record. It goes on only as often as somebody changes the record meanwhile.
    fn settle(&self, port: Port, record: &PortRecord) -> Result<(), ChannelError> {
        let mut wanted = record.wanted();
        loop {
            let made = self.make(port, wanted);
            match record.settled(wanted) {
                None => return made,
                Some(other) => wanted = other,
            }
        }
    }

    fn make(&self, port: Port, masking: Masking) -> Result<(), ChannelError> {
        match masking {
            Masking::Masked => self.abi.mask(port),
            Masking::Unmasked => match self.abi.unmask(port) {
                Unmasked::Done => {}
                Unmasked::AskHypervisor => {
                    self.hypercalls.event(EventOp::Unmask, Object::Port(port.0), &mut Unmask { port: port.0 })?;
                }
            },
        }
        Ok(())
    }

    /// Whether a vCPU may take a port's event now.
    #[inline]
    pub(crate) fn admit(&self, port: Port, vcpu: VcpuId) -> Admission {
        self.ports.get(port.index()).map_or(Admission::Aside, |record| record.admit(vcpu))
    }

    /// A late event was taken: the mask it left behind is made to agree with the record.
    pub(crate) fn keep_masked(&self, port: Port, duty: Duty) -> Result<(), ChannelError> {
        match (duty, self.ports.get(port.index())) {
            (Duty::Ours, Some(record)) => self.settle(port, record),
            _ => Ok(()),
        }
    }

    /// Ends a late event, or one that turned out to be none.
    pub(crate) fn end(&self, port: Port, duty: Duty) -> Result<(), ChannelError> {
        let Some(record) = self.ports.get(port.index()) else { return Ok(()) };
        self.change(port, record, 0, EOI)?;
        self.keep_masked(port, duty)
    }

    /// Has the hypervisor put an event that was put aside into the right vCPU's queue. One of a port that is not bound stays
    /// masked, and waits for whoever binds it.
    #[inline(never)]
    pub(crate) fn pass_on(&self, port: Port) -> Result<(), ChannelError> {
        let Ok(record) = self.record(port) else { return Ok(()) };
        self.change(port, record, PASSED, 0)?;
        self.change(port, record, 0, PASSED)
    }
}

/// Whether a source belongs to the vCPU it was bound to.
pub(crate) fn is_fixed(source: Source) -> bool {
    match source {
        Source::Ipi => true,
        Source::Virq(virq) => virq.class() == VirqClass::PerVcpu,
        Source::Interdomain | Source::Pirq(_) => false,
    }
}
