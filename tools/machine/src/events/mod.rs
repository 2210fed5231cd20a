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
mod pages;
mod plan;
mod xen;

use alloc::boxed::Box;
use alloc::vec::Vec;

use hypervisor_abi::DomainId as XenId;
use hypervisor_abi::Port;
use hypervisor_abi::VcpuId;
use hypervisor_lib::event::EventError;
use hypervisor_lib::event::Host as _;
use self_cell::self_cell;
use vector_allocator::DomainId;

use self::guest::Guest;
use self::pages::Pages;
use self::xen::BACKEND;
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
    /// Port 1 first.
    channels: Box<[Channel]>,
    summary: EventDomain,
}

/// One port: whose it is, and who sends to it.
#[derive(Clone, Copy, Debug)]
struct Channel {
    source: SourceIndex,
    sender: Sender,
}

/// Who sends to a port.
#[derive(Clone, Copy, Debug)]
enum Sender {
    /// The hypervisor, when this physical IRQ of the domain has happened.
    Pirq(u32),
    /// The backend, from this port of its own.
    Backend(Port),
}

/// A vCPU that takes events: of which guest, counted from 0, and which.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct EventVcpu {
    guest: usize,
    vcpu: VcpuId,
}

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

impl Events {
    /// Sets up the event channels of every domain that has a source for them; nothing is pending.
    ///
    /// # Errors
    /// More ports, vCPUs or domains than there can be.
    pub(crate) fn new(config: &MachineConfig) -> Result<Self, ConfigError> {
        let plans = plan::plan(config)?;
        let backend_fault = |fault| ConfigError::Events { domain: None, fault: Box::new(fault) };
        let mut xen = Xen::new(plan::software_ports(&plans)).map_err(|fault| backend_fault(fault.into()))?;
        xen.start_backend().map_err(|fault| backend_fault(fault.into()))?;
        for plan in &plans {
            let fault = |fault| ConfigError::Events { domain: Some(plan.domain), fault: Box::new(fault) };
            let kind = match plan.kind {
                DomainKind::Pv => hypervisor_lib::fabric::DomainKind::Pv,
                DomainKind::Hvm => hypervisor_lib::fabric::DomainKind::Hvm,
            };
            xen.add(kind, plan.extent(), Pages::new(plan.extent())).map_err(|error| fault(error.into()))?;
        }
        let mut guests = Vec::with_capacity(plans.len());
        let sides = Sides::try_new(xen, |xen| {
            let bring_up = |(id, plan): (XenId, &plan::GuestPlan)| {
                let fault = |fault| ConfigError::Events { domain: Some(plan.domain), fault: Box::new(fault) };
                let (guest, channels) = Guest::bring_up(xen, id, plan, config).map_err(fault)?;
                let (domain, abi) = (plan.domain, plan.abi);
                let summary = EventDomain { domain, abi, sent: 0, coalesced: 0, upcalls: 0, kicks: 0 };
                guests.push(Known { id, kind: plan.kind, channels, summary });
                Ok(guest)
            };
            xen.guests().zip(&plans).map(bring_up).collect::<Result<Guests<'_>, ConfigError>>()
        })?;
        // Being brought up is no event.
        sides.borrow_owner().take_kicks();
        Ok(Self { sides, guests })
    }

    /// Every port with its source and the guest it belongs to.
    pub(crate) fn ports(&self) -> impl Iterator<Item = (GuestIndex, Port, SourceIndex)> + '_ {
        self.guests.iter().enumerate().flat_map(|(guest, known)| {
            (1..).map(Port).zip(&known.channels).map(move |(port, channel)| (GuestIndex(guest), port, channel.source))
        })
    }

    /// What each domain's events came to.
    pub(crate) fn domains(&self) -> impl Iterator<Item = EventDomain> + '_ {
        self.guests.iter().map(|known| known.summary)
    }

    /// Sends an event to a vCPU's port.
    pub(crate) fn send(&mut self, to: EventVcpu, port: Port) -> Sent {
        let known = &mut self.guests[to.guest];
        let sender = known.sender(port);
        let sent = self.sides.with_dependent(|xen, guests| {
            let was_pending = guests[to.guest].is_pending(port);
            match sender {
                Sender::Pirq(pirq) => xen.domain(known.id).expect("it was added").send_pirq(xen, pirq),
                Sender::Backend(own) => {
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
        let known = &self.guests[at.guest];
        self.sides.with_dependent(|xen, guests| match known.kind {
            DomainKind::Pv => guests[at.guest].is_upcall_pending(at.vcpu),
            DomainKind::Hvm => {
                xen.domain(known.id).is_some_and(|domain| domain.callback_vector(xen, at.vcpu).is_some())
            }
        })
    }

    /// A vCPU enters its upcall.
    pub(crate) fn enter(&mut self, at: EventVcpu) {
        self.guests[at.guest].summary.upcalls += 1;
    }

    /// The next source whose event a vCPU takes in its upcall; `None` when the upcall is over.
    pub(crate) fn take(&mut self, at: EventVcpu, now: Time) -> Option<SourceIndex> {
        let port = self.sides.with_dependent_mut(|_, guests| guests[at.guest].take(at.vcpu, now))?;
        Some(self.guests[at.guest].channel(port).source)
    }

    /// Whether the end of a port's interrupt is to be told the hypervisor.
    pub(crate) fn needs_eoi(&self, at: EventVcpu, port: Port) -> bool {
        match self.guests[at.guest].sender(port) {
            Sender::Pirq(pirq) => self.sides.with_dependent(|_, guests| guests[at.guest].needs_eoi(pirq)),
            Sender::Backend(_) => false,
        }
    }

    /// Tells the hypervisor the end of a port's interrupt.
    pub(crate) fn end(&mut self, at: EventVcpu, port: Port) {
        if let Sender::Pirq(pirq) = self.guests[at.guest].sender(port) {
            let ended = self.sides.with_dependent(|_, guests| guests[at.guest].end_pirq(pirq));
            ended.expect("the physical IRQ is bound for good");
        }
    }

    /// The guest masks or unmasks a port. What waited behind the mask may call the vCPU.
    pub(crate) fn set_mask(&mut self, at: EventVcpu, port: Port, mask: GuestMask) -> Sent {
        let kicks = self.sides.with_dependent(|xen, guests| {
            guests[at.guest].set_mask(port, mask).expect("the port is bound for good");
            xen.take_kicks()
        });
        self.guests[at.guest].summary.kicks += u64::from(kicks);
        if kicks == 0 { Sent::Waits } else { Sent::Kicks }
    }

    /// Whether a port has an event that its vCPU has to take.
    pub(crate) fn is_deliverable(&self, at: EventVcpu, port: Port) -> bool {
        self.sides.with_dependent(|_, guests| {
            let guest = &guests[at.guest];
            guest.is_pending(port) && !guest.is_masked(port)
        })
    }

    /// How many events the hypervisor gave up.
    pub(crate) fn dropped(&self) -> u32 {
        let xen = self.sides.borrow_owner();
        xen.guests().filter_map(|id| xen.domain(id)).map(hypervisor_lib::event::Domain::dropped_events).sum()
    }
}

/// A guest, counted from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct GuestIndex(usize);

impl GuestIndex {
    /// One of its vCPUs.
    pub(crate) const fn vcpu(self, number: u32) -> EventVcpu {
        EventVcpu { guest: self.0, vcpu: VcpuId(number) }
    }
}

impl Known {
    fn channel(&self, port: Port) -> Channel {
        self.channels[port.index() - 1]
    }

    fn sender(&self, port: Port) -> Sender {
        self.channel(port).sender
    }
}
