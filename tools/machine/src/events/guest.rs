//! The guests' side: guest-shim's event channels on a domain's pages, in either ABI.

use alloc::vec::Vec;
use core::num::NonZeroU32;

use guest_shim::ChannelError;
use guest_shim::ControlPage;
use guest_shim::Eoi;
use guest_shim::EoiMode;
use guest_shim::EventChannels;
use guest_shim::Fifo;
use guest_shim::LocalApic;
use guest_shim::PirqEois;
use guest_shim::Round;
use guest_shim::Served;
use guest_shim::SetUpError;
use guest_shim::Sharing;
use guest_shim::Throttle;
use guest_shim::TwoLevel;
use guest_shim::Upcall;
use guest_shim::VcpuEvents;
use guest_shim::VcpuSetUp;
use guest_shim::Work;
use hypervisor_abi::DomainId;
use hypervisor_abi::Port;
use hypervisor_abi::SharedInfo64;
use hypervisor_abi::VcpuId;
use hypervisor_abi::event::FifoPriority;
use hypervisor_abi::hvm::CallbackVia;
use hypervisor_lib::event::EoiNeed;
use hypervisor_lib::event::Host as _;
use vector_allocator::AckType;

use super::Channel;
use super::EventFault;
use super::Sender;
use super::door::Door;
use super::memory::Pages;
use super::plan::GuestPlan;
use super::plan::Line;
use super::plan::PortPlan;
use super::xen::BACKEND;
use super::xen::Xen;
use crate::DomainKind;
use crate::EventAbi;
use crate::GuestMask;
use crate::MachineConfig;
use crate::Time;

/// The vector of hardware-assisted guests' callback, the number Linux takes (`HYPERVISOR_CALLBACK_VECTOR`).
const CALLBACK_VECTOR: u8 = 0xf3;

/// A guest's side of its events.
#[derive(Debug)]
pub(super) enum Guest<'a> {
    /// Over event words and queues.
    Fifo(Side<'a, Fifo<'a>>),
    /// Over bitmaps.
    TwoLevel(Side<'a, TwoLevel<'a>>),
}

/// A guest's side over one ABI.
#[derive(Debug)]
pub(super) struct Side<'a, A: guest_shim::EventAbi> {
    channels: EventChannels<'a, A, Door<'a>>,
    /// By number.
    vcpus: Vec<VcpuEvents<'a, A>>,
    eois: PirqEois<'a>,
}

/// Calls a method of whichever side a guest has.
macro_rules! on_side {
    ($guest:expr, $side:ident => $result:expr) => {
        match $guest {
            Guest::Fifo($side) => $result,
            Guest::TwoLevel($side) => $result,
        }
    };
}

impl<'a> Guest<'a> {
    /// Brings a guest up and connects its ports, port 1 first.
    pub(super) fn bring_up(
        xen: &'a Xen,
        id: DomainId,
        plan: &GuestPlan,
        config: &MachineConfig,
    ) -> Result<(Self, Vec<Channel>), EventFault> {
        let Some(pages) = xen.pages(id) else { return Err(EventFault::NoMemory) };
        let door = Door { xen, domain: id };
        Ok(match plan.abi {
            EventAbi::Fifo => {
                let channels = EventChannels::new(Fifo::new(pages.arrays), door, pages.records);
                let control = |vcpu| pages.control(vcpu).map(|(block, place)| ControlPage { block, place });
                let (side, channels) = Side::new(channels, pages, (plan, config), control)?;
                (Self::Fifo(side), channels)
            }
            EventAbi::TwoLevel => {
                let channels = EventChannels::new(TwoLevel::new(pages.shared), door, pages.records);
                let (side, channels) = Side::new(channels, pages, (plan, config), |_| Some(()))?;
                (Self::TwoLevel(side), channels)
            }
        })
    }

    /// Whether a port has an event that was not taken.
    pub(super) fn is_pending(&self, port: Port) -> bool {
        on_side!(self, side => side.channels.is_pending(port))
    }

    /// Whether a port is masked.
    pub(super) fn is_masked(&self, port: Port) -> bool {
        on_side!(self, side => guest_shim::EventAbi::is_masked(side.channels.abi(), port))
    }

    /// Whether the hypervisor has announced events to a vCPU.
    pub(super) fn is_upcall_pending(&self, vcpu: VcpuId) -> bool {
        on_side!(self, side => side.vcpus.get(vcpu.index()).is_some_and(VcpuEvents::is_upcall_pending))
    }

    /// One turn of a vCPU's upcall loop: the next port whose event it takes; `None` when the loop is over.
    pub(super) fn take(&mut self, vcpu: VcpuId, now: Time) -> Option<Port> {
        on_side!(self, side => side.take(vcpu, now))
    }

    /// The handler of a late port's event is done.
    pub(super) fn finish(&mut self, vcpu: VcpuId, port: Port, now: Time) -> Eoi {
        on_side!(self, side => side.finish(vcpu, port, now))
    }

    /// Ends what a vCPU has put off until now.
    pub(super) fn end_delayed(&mut self, vcpu: VcpuId, now: Time) {
        on_side!(self, side => side.end_delayed(vcpu, now));
    }

    /// Masks or unmasks a port.
    pub(super) fn set_mask(&self, port: Port, mask: GuestMask) -> Result<(), ChannelError> {
        on_side!(self, side => match mask {
            GuestMask::Masked => side.channels.mask(port),
            GuestMask::Unmasked => side.channels.unmask(port),
        })
    }

    /// Whether the guest must tell the hypervisor of a physical IRQ's EOI.
    pub(super) fn needs_eoi(&self, pirq: u32) -> bool {
        on_side!(self, side => side.eois.needs_call(pirq))
    }

    /// Tells the hypervisor of a physical IRQ's EOI, if it must.
    pub(super) fn end_pirq(&self, pirq: u32) -> Result<(), guest_shim::Refused> {
        on_side!(self, side => side.eois.end(side.channels.hypercalls(), pirq))
    }
}

impl<'a, A: guest_shim::EventAbi<Shared = SharedInfo64>> Side<'a, A> {
    fn new(
        channels: EventChannels<'a, A, Door<'a>>,
        pages: Pages<'a>,
        (plan, config): (&GuestPlan, &MachineConfig),
        pages_of: impl Fn(VcpuId) -> Option<A::Pages>,
    ) -> Result<(Self, Vec<Channel>), EventFault> {
        let upcall = match plan.kind {
            // Its callback is an address and comes by its own hypercall (CALLBACKOP_register).
            DomainKind::Pv => Upcall::Callback(CallbackVia::None),
            DomainKind::Hvm => Upcall::Callback(CallbackVia::Vector(CALLBACK_VECTOR)),
        };
        // One port a turn: the machine's time passes in handlers, and the next turn sees what came meanwhile.
        let throttle = Throttle { budget: NonZeroU32::MIN, ..Throttle::default() };
        let mut vcpus = Vec::new();
        for vcpu in (0..plan.vcpus).map(VcpuId) {
            let (Some((info, info_place)), Some(pages)) = (pages.info(vcpu), pages_of(vcpu)) else {
                return Err(EventFault::NoMemory);
            };
            let set_up = VcpuSetUp { vcpu, info, info_place, pages, upcall, throttle };
            vcpus.push(channels.bring_up(set_up, &Enabled)?);
        }
        let eois = match pages.eois() {
            Some((page, gfn)) => PirqEois::register(channels.hypercalls(), page, gfn).map_err(SetUpError::from)?,
            None => PirqEois::by_call(),
        };
        let mut side = Self { channels, vcpus, eois };
        let opened = plan.ports(config).map(|port| side.open(&port)).collect::<Result<_, EventFault>>()?;
        // A block that is registered announces everything, so that nothing is lost: there is nothing yet.
        for vcpu in (0..plan.vcpus).map(VcpuId) {
            while let Some(port) = side.take(vcpu, Time(0)) {
                side.finish(vcpu, port, Time(0));
            }
        }
        Ok((side, opened))
    }

    /// Binds and unmasks the next port. Events of physical IRQs end before their handler runs, as Linux's edge interrupts
    /// do: the next one may come meanwhile.
    fn open(&self, plan: &PortPlan) -> Result<Channel, EventFault> {
        let Door { xen, domain } = *self.channels.hypercalls();
        let (port, sender) = match plan.line {
            Line::Pirq { number, ack } => {
                let port = self.channels.bind_pirq(number, Sharing::Shared, plan.vcpu, EoiMode::Early)?;
                let need = if ack == AckType::None { EoiNeed::None } else { EoiNeed::Hypercall };
                if let Some(domain) = xen.domain(domain) {
                    domain.set_pirq_needs_eoi(xen, number, need);
                }
                (port, Sender::pirq(number))
            }
            Line::Software(eoi) => {
                let port = self.channels.offer(BACKEND, plan.vcpu, eoi)?;
                let backend = xen.domain(BACKEND).ok_or(EventFault::NoMemory)?;
                (port, Sender::backend(backend.bind_interdomain(xen, domain, port)?, eoi))
            }
        };
        if plan.priority != FifoPriority::DEFAULT {
            self.channels.set_priority(port, plan.priority)?;
        }
        self.channels.unmask(port)?;
        Ok(Channel { port, sender })
    }

    fn take(&mut self, vcpu: VcpuId, now: Time) -> Option<Port> {
        let events = self.vcpus.get_mut(vcpu.index())?;
        let now = guest_shim::Time(now.0);
        let mut taken = None;
        loop {
            // The machine says when a late event's handler is done; an early one has ended already.
            let turn = events.handle(&self.channels, now, |port| {
                taken = Some(port);
                Served::Unfinished
            });
            // A port whose event is gone takes a turn too.
            if taken.is_some() || turn.expect(NEVER_REFUSED) == Round::Done {
                return taken;
            }
        }
    }

    fn finish(&mut self, vcpu: VcpuId, port: Port, now: Time) -> Eoi {
        let Some(events) = self.vcpus.get_mut(vcpu.index()) else { return Eoi::NotAwaited };
        events.eoi(&self.channels, port, guest_shim::Time(now.0), Work::Done).expect(NEVER_REFUSED)
    }

    fn end_delayed(&mut self, vcpu: VcpuId, now: Time) {
        if let Some(events) = self.vcpus.get_mut(vcpu.index()) {
            // The machine has a timer for each event that was put off.
            events.end_due(&self.channels, guest_shim::Time(now.0)).expect(NEVER_REFUSED);
        }
    }
}

/// Why a port can always be unmasked.
const NEVER_REFUSED: &str = "ports are bound for good, and the hypervisor refuses nothing of theirs";

/// Guests' local APICs are on from the start.
struct Enabled;

impl LocalApic for Enabled {
    fn is_software_enabled(&self) -> bool {
        true
    }
}
