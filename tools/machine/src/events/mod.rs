//! Event channels: hypervisor-lib's side and guest-shim's side of them, on pages this crate keeps.
//!
//! ```text
//! source ─► Events::send ─► hypervisor-lib: pending, queue, upcall ─► Kick? ─► the machine wakes or interrupts the vCPU
//!                                         pages
//! vCPU ───► Events::take ─► guest-shim: the upcall loop, one port a turn ────► the machine runs its source's handler
//! ```
//!
//! Which event is pending, absorbed or taken next, and when a vCPU is called, those two say; the machine adds what each
//! step costs. A source with a host vector is a physical IRQ of its domain; one without is sent by a backend domain.

mod door;
mod guest;
mod memory;
mod plan;
mod xen;

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::iter;

use guest_shim::Eoi;
use guest_shim::EoiMode;
use hypervisor_abi::DomainId as XenId;
use hypervisor_abi::Port;
use hypervisor_abi::VcpuId;
use hypervisor_lib::event::EventError;
use hypervisor_lib::event::Host as _;
use self_cell::self_cell;
use vector_allocator::DomainId;

use self::guest::Guest;
use self::memory::Extent;
use self::memory::Memory;
use self::memory::NoMemory;
use self::plan::GuestPlan;
use self::xen::BACKEND;
use self::xen::BACKEND_EXTENT;
use self::xen::Xen;
use crate::ConfigError;
use crate::DomainKind;
use crate::EventAbi;
use crate::GuestMask;
use crate::MachineConfig;
use crate::SourceIndex;
use crate::Time;

/// Both sides of all event channels.
#[derive(Debug)]
pub(crate) struct Events {
    sides: Sides,
    /// By the guest's number, less one.
    guests: Vec<Known>,
}

self_cell!(
    /// The hypervisor's side with the pages, and the guests' side, which refers to them.
    struct Sides {
        owner: Xen,
        #[not_covariant]
        dependent: Guests,
    }

    impl { Debug }
);

type Guests<'a> = Vec<Guest<'a>>;

/// What the machine knows of a domain that uses event channels.
#[derive(Debug)]
struct Known {
    id: XenId,
    kind: DomainKind,
    /// Whose each port is, port 1 first.
    sources: Box<[SourceIndex]>,
    summary: EventDomain,
}

/// A port, and who sends to it. Its source keeps it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Channel {
    port: Port,
    sender: Sender,
}

/// Who sends to a port, in four bytes: there may be a hundred thousand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Sender(u32);

/// Who sends to a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum SenderKind {
    /// The hypervisor, when this physical IRQ of the domain has happened.
    Pirq(u32),
    /// The backend, from this port of its own; the events end so.
    Backend(Port, EoiMode),
}

/// A source with its channel, and the guest that handles it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Connection {
    pub(crate) source: SourceIndex,
    pub(crate) guest: GuestIndex,
    pub(crate) channel: Channel,
}

/// A vCPU that takes events: of which guest, and which.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct EventVcpu {
    guest: GuestIndex,
    vcpu: VcpuId,
}

/// A guest, counted from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct GuestIndex(u16);

/// What became of an event that was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sent {
    /// Its port was pending already: the two are one.
    Absorbed,
    /// It waits. Its vCPU has been called before, or the port is masked.
    Waits,
    /// It waits, and is the first: its vCPU is to be called.
    Kicks,
}

/// How the interrupt of a port ends, after its handler.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// It has ended, unseen by the hypervisor.
    Unseen,
    /// The guest must tell the hypervisor: [`Events::end`].
    Owed,
    /// It has ended, and the guest has asked the hypervisor to look for an event that came to the masked port meanwhile.
    Asked,
    /// It ends then: [`Events::end_delayed`].
    Delayed(Time),
}

/// A domain's events since the start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventDomain {
    /// Whose.
    pub domain: DomainId,
    /// Over which ABI.
    pub abi: EventAbi,
    /// How many events were sent to it.
    pub sent: u64,
    /// How many of them found their port pending, and became one with what waited there.
    pub coalesced: u64,
    /// How often a vCPU entered its upcall.
    pub upcalls: u64,
    /// How often a vCPU was called: once for each time its first event came.
    pub kicks: u64,
    /// How many events the guest took for part of a storm, and ended late.
    pub delayed: u64,
}

/// A domain's event channels could not be set up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EventFault {
    /// The hypervisor's side cannot be.
    #[error(transparent)]
    Domain(#[from] hypervisor_lib::event::DomainError),
    /// A vCPU cannot be brought up.
    #[error(transparent)]
    Vcpu(#[from] guest_shim::SetUpError),
    /// A port cannot be bound.
    #[error(transparent)]
    Port(#[from] guest_shim::ChannelError),
    /// The backend cannot be connected.
    #[error(transparent)]
    Backend(#[from] EventError),
    /// There is no page for it.
    #[error("there is no page for it")]
    NoMemory,
}

impl From<NoMemory> for EventFault {
    fn from(_: NoMemory) -> Self {
        Self::NoMemory
    }
}

impl Events {
    /// Sets up the event channels of every domain that has a source for them; nothing is pending. Also gives the sources'
    /// channels.
    ///
    /// # Errors
    /// More ports, vCPUs or domains than there can be.
    pub(crate) fn new(config: &MachineConfig) -> Result<(Self, Vec<Connection>), ConfigError> {
        let plans = plan::plan(config)?;
        let xen = start_xen(&plans)?;
        let mut guests = Vec::with_capacity(plans.len());
        let mut connections = Vec::with_capacity(plans.iter().map(GuestPlan::port_count).sum());
        let sides = Sides::try_new(xen, |xen| {
            let bring_up = |((id, plan), guest): ((XenId, &GuestPlan), u16)| {
                let fault = |fault| ConfigError::Events { domain: Some(plan.domain), fault: Box::new(fault) };
                let (side, channels) = Guest::bring_up(xen, id, plan, config).map_err(fault)?;
                let connect = |(source, channel)| Connection { source, guest: GuestIndex(guest), channel };
                connections.extend(plan.sources().zip(channels).map(connect));
                guests.push(Known::new(id, plan));
                Ok(side)
            };
            xen.guests().zip(&plans).zip(0..).map(bring_up).collect::<Result<Guests<'_>, ConfigError>>()
        })?;
        // Being brought up is no event.
        sides.borrow_owner().take_kicks();
        Ok((Self { sides, guests }, connections))
    }

    /// What each domain's events came to.
    pub(crate) fn domains(&self) -> impl Iterator<Item = EventDomain> + '_ {
        self.guests.iter().map(|known| known.summary)
    }

    /// Sends an event to a vCPU's port.
    pub(crate) fn send(&mut self, to: EventVcpu, channel: Channel) -> Sent {
        let known = &mut self.guests[to.guest.index()];
        let sent = self.sides.with_dependent(|xen, guests| {
            let was_pending = guests[to.guest.index()].is_pending(channel.port);
            match channel.sender.kind() {
                SenderKind::Pirq(pirq) => xen.domain(known.id).expect("it was added").send_pirq(xen, pirq),
                SenderKind::Backend(own, _) => {
                    let backend = xen.domain(BACKEND).expect("it was added first");
                    backend.send(xen, own).expect("the port is connected and never closed");
                }
            }
            match (was_pending, xen.take_kicks()) {
                (true, _) => Sent::Absorbed,
                (false, 0) => Sent::Waits,
                (false, _) => Sent::Kicks,
            }
        });
        known.summary.sent += 1;
        known.summary.coalesced += u64::from(sent == Sent::Absorbed);
        known.summary.kicks += u64::from(sent == Sent::Kicks);
        sent
    }

    /// Whether a vCPU's upcall is due: a level, looked at whenever it could take it.
    pub(crate) fn is_due(&self, at: EventVcpu) -> bool {
        let known = &self.guests[at.guest.index()];
        self.sides.with_dependent(|xen, guests| match known.kind {
            DomainKind::Pv => guests[at.guest.index()].is_upcall_pending(at.vcpu),
            DomainKind::Hvm => {
                xen.domain(known.id).is_some_and(|domain| domain.callback_vector(xen, at.vcpu).is_some())
            }
        })
    }

    /// A vCPU enters its upcall.
    pub(crate) fn enter(&mut self, at: EventVcpu) {
        self.guests[at.guest.index()].summary.upcalls += 1;
    }

    /// The next source whose event a vCPU takes in its upcall; `None` when the upcall is over.
    pub(crate) fn take(&mut self, at: EventVcpu, now: Time) -> Option<SourceIndex> {
        let port = self.change(at, |guest| guest.take(at.vcpu, now)).0?;
        Some(self.guests[at.guest.index()].sources[port.index() - 1])
    }

    /// The handler of a port's interrupt is done.
    pub(crate) fn finish(&mut self, at: EventVcpu, channel: Channel, now: Time) -> Ending {
        match channel.sender.kind() {
            SenderKind::Pirq(pirq) => {
                let is_owed = self.sides.with_dependent(|_, guests| guests[at.guest.index()].needs_eoi(pirq));
                if is_owed { Ending::Owed } else { Ending::Unseen }
            }
            SenderKind::Backend(_, EoiMode::Early) => Ending::Unseen,
            SenderKind::Backend(_, EoiMode::Late) => {
                // The guest clears the mask by itself unless an event waits behind it.
                let (ending, _) = self.change(at, |guest| {
                    let is_awaited = guest.is_pending(channel.port);
                    match guest.finish(at.vcpu, channel.port, now) {
                        Eoi::Delayed { until } => Ending::Delayed(Time(until.0)),
                        Eoi::Ended if is_awaited => Ending::Asked,
                        Eoi::Ended | Eoi::NotAwaited => Ending::Unseen,
                    }
                });
                self.guests[at.guest.index()].summary.delayed += u64::from(matches!(ending, Ending::Delayed(_)));
                ending
            }
        }
    }

    /// Ends what a vCPU has put off until now. An event that waited for it may call the vCPU.
    pub(crate) fn end_delayed(&mut self, at: EventVcpu, now: Time) -> Sent {
        self.change(at, |guest| guest.end_delayed(at.vcpu, now)).1
    }

    /// Tells the hypervisor the end of a port's interrupt.
    pub(crate) fn end(&mut self, at: EventVcpu, channel: Channel) {
        if let SenderKind::Pirq(pirq) = channel.sender.kind() {
            let ended = self.sides.with_dependent(|_, guests| guests[at.guest.index()].end_pirq(pirq));
            ended.expect("the physical IRQ is bound for good");
        }
    }

    /// The guest masks or unmasks a port. What waited behind the mask may call the vCPU.
    pub(crate) fn set_mask(&mut self, at: EventVcpu, channel: Channel, mask: GuestMask) -> Sent {
        self.change(at, |guest| guest.set_mask(channel.port, mask).expect("the port is bound for good")).1
    }

    /// Has a guest do something, and counts the calls of its vCPU that come of it.
    fn change<T>(&mut self, at: EventVcpu, act: impl FnOnce(&mut Guest<'_>) -> T) -> (T, Sent) {
        let (result, kicks) = self.sides.with_dependent_mut(|xen, guests| {
            let result = act(&mut guests[at.guest.index()]);
            (result, xen.take_kicks())
        });
        self.guests[at.guest.index()].summary.kicks += u64::from(kicks);
        (result, if kicks == 0 { Sent::Waits } else { Sent::Kicks })
    }

    /// Whether a port has an event that its vCPU has to take.
    pub(crate) fn is_deliverable(&self, at: EventVcpu, channel: Channel) -> bool {
        self.sides.with_dependent(|_, guests| {
            let guest = &guests[at.guest.index()];
            guest.is_pending(channel.port) && !guest.is_masked(channel.port)
        })
    }

    /// How many events the hypervisor gave up.
    pub(crate) fn dropped(&self) -> u32 {
        let xen = self.sides.borrow_owner();
        xen.guests().filter_map(|id| xen.domain(id)).map(hypervisor_lib::event::Domain::dropped_events).sum()
    }
}

/// The hypervisor with its domains, none of which has a port yet.
fn start_xen(plans: &[GuestPlan]) -> Result<Xen, ConfigError> {
    let fault = |domain, fault| ConfigError::Events { domain, fault: Box::new(fault) };
    let extents: Vec<Extent> = iter::once(BACKEND_EXTENT).chain(plans.iter().map(GuestPlan::extent)).collect();
    let memory = Memory::new(&extents).map_err(|error| fault(None, error.into()))?;
    let mut xen = Xen::new(memory, plan::software_ports(plans)).map_err(|error| fault(None, error.into()))?;
    xen.start_backend().map_err(|error| fault(None, error.into()))?;
    for plan in plans {
        let kind = match plan.kind {
            DomainKind::Pv => hypervisor_lib::fabric::DomainKind::Pv,
            DomainKind::Hvm => hypervisor_lib::fabric::DomainKind::Hvm,
        };
        xen.add(kind, plan.extent()).map_err(|error| fault(Some(plan.domain), error.into()))?;
    }
    Ok(xen)
}

impl GuestIndex {
    /// One of its vCPUs.
    pub(crate) const fn vcpu(self, number: u32) -> EventVcpu {
        EventVcpu { guest: self, vcpu: VcpuId(number) }
    }

    fn index(self) -> usize {
        usize::from(self.0)
    }
}

impl Known {
    fn new(id: XenId, plan: &GuestPlan) -> Self {
        let (domain, abi) = (plan.domain, plan.abi);
        let summary = EventDomain { domain, abi, sent: 0, coalesced: 0, upcalls: 0, kicks: 0, delayed: 0 };
        Self { id, kind: plan.kind, sources: plan.sources().collect(), summary }
    }
}

impl Channel {
    /// That of a source that is no event.
    pub(crate) const NONE: Self = Self { port: Port(0), sender: Sender(0) };
}

impl Sender {
    /// The bit that tells a port of the backend from a physical IRQ; both numbers are far below it.
    const BACKEND: u32 = 1 << 31;
    /// The bit of a backend's port whose events end late.
    const LATE: u32 = 1 << 30;

    const fn pirq(number: u32) -> Self {
        Self(number)
    }

    const fn backend(port: Port, eoi: EoiMode) -> Self {
        match eoi {
            EoiMode::Early => Self(port.0 | Self::BACKEND),
            EoiMode::Late => Self(port.0 | Self::BACKEND | Self::LATE),
        }
    }

    const fn kind(self) -> SenderKind {
        let port = Port(self.0 & !(Self::BACKEND | Self::LATE));
        match (self.0 & Self::BACKEND, self.0 & Self::LATE) {
            (0, _) => SenderKind::Pirq(self.0),
            (_, 0) => SenderKind::Backend(port, EoiMode::Early),
            (_, _) => SenderKind::Backend(port, EoiMode::Late),
        }
    }
}
