//! What the host keeps about one port: 12 bytes, with a lock of one byte.
//!
//! ```text
//! byte 0        lock          guards the binding; a sender holds its own port's
//! byte 1–6      binding       what the port is bound to
//! byte 7        notes         bit 0: an event came while there was no event word to hold it;
//!                             bits 7:3: who in the hypervisor consumes the events, plus 1
//! byte 8–9      route         where events go: vCPU << 4 | priority
//! byte 10–11    last queue    where the event was linked last: vCPU << 4 | priority
//! ```
//!
//! Route and last queue are single words, so that neither is ever read torn (R-11).

use hypervisor_abi::DomainId;
use hypervisor_abi::Port;
use hypervisor_abi::VcpuId;
use hypervisor_abi::Virq;
use hypervisor_abi::event::FifoPriority;
use hypervisor_abi::sync::AtomicU8;
use hypervisor_abi::sync::AtomicU16;
use hypervisor_abi::sync::Ordering;
use lock_api::Mutex;
use lock_api::RawMutex;

/// The most vCPUs a domain can have: a [`Route`] has 12 bits for them.
pub const MAX_VCPUS: u32 = 1 << 12;
/// One more than the highest physical IRQ: a binding has 24 bits for it.
pub const MAX_PIRQS: u32 = 1 << 24;

/// What a port is bound to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Binding {
    /// Nothing.
    Free,
    /// Nothing ever: port 0.
    Reserved,
    /// Nothing yet; one domain may connect to it.
    Unbound {
        /// Who may connect.
        remote: DomainId,
    },
    /// A port of a domain, maybe the same.
    Interdomain {
        /// Whose port.
        remote: DomainId,
        /// Which port.
        port: Port,
    },
    /// A physical IRQ.
    Pirq(u32),
    /// A virtual IRQ.
    Virq(Virq),
    /// An interrupt between the domain's vCPUs.
    Ipi,
}

impl Binding {
    /// Whether the port is bound to anything.
    pub(crate) const fn is_open(self) -> bool {
        !matches!(self, Self::Free | Self::Reserved)
    }
}

/// Who inside the hypervisor takes a port's events instead of the guest (an ioreq server, a monitor).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ConsumerId(u8);

impl ConsumerId {
    /// A consumer of the host's own numbering, 0–30; `None` above.
    #[must_use]
    pub const fn new(number: u8) -> Option<Self> {
        if number < 31 { Some(Self(number)) } else { None }
    }

    /// The number.
    #[must_use]
    pub const fn number(self) -> u8 {
        self.0
    }
}

/// A binding, as the slot's lock guards it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bound {
    kind: u8,
    domain: [u8; 2],
    detail: [u8; 3],
}

impl Bound {
    const FREE: Self = Self { kind: 0, domain: [0; 2], detail: [0; 3] };

    pub(crate) fn set(&mut self, binding: Binding) {
        let (kind, domain, detail) = match binding {
            Binding::Free => (0, 0, 0),
            Binding::Reserved => (1, 0, 0),
            Binding::Unbound { remote } => (2, remote.0, 0),
            Binding::Interdomain { remote, port } => (3, remote.0, port.0),
            Binding::Pirq(pirq) => (4, 0, pirq),
            Binding::Virq(virq) => (5, 0, u32::from(virq.number())),
            Binding::Ipi => (6, 0, 0),
        };
        let [low, middle, high, _] = detail.to_le_bytes();
        *self = Self { kind, domain: domain.to_le_bytes(), detail: [low, middle, high] };
    }

    pub(crate) fn binding(self) -> Binding {
        let domain = DomainId(u16::from_le_bytes(self.domain));
        let [low, middle, high] = self.detail;
        let detail = u32::from_le_bytes([low, middle, high, 0]);
        match self.kind {
            1 => Binding::Reserved,
            2 => Binding::Unbound { remote: domain },
            3 => Binding::Interdomain { remote: domain, port: Port(detail) },
            4 => Binding::Pirq(detail),
            5 => Virq::new(detail).map_or(Binding::Free, Binding::Virq),
            6 => Binding::Ipi,
            _ => Binding::Free,
        }
    }
}

/// A vCPU's queue: where a port's events go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Route {
    pub(crate) vcpu: VcpuId,
    pub(crate) priority: FifoPriority,
}

impl Route {
    /// Where the events of a port go that nobody has moved.
    pub(crate) const DEFAULT: Self = Self { vcpu: VcpuId(0), priority: FifoPriority::DEFAULT };

    #[expect(clippy::cast_possible_truncation, reason = "12 bits of vCPU and 4 of priority fill the word exactly")]
    const fn word(self) -> u16 {
        (self.vcpu.0 as u16) << 4 | self.priority.number() as u16
    }

    const fn from_word(word: u16) -> Self {
        let [low, _] = word.to_le_bytes();
        Self { vcpu: VcpuId((word >> 4) as u32), priority: FifoPriority::from_low_bits(low) }
    }

    /// The order in which queues are locked.
    pub(crate) const fn rank(self) -> u16 {
        self.word()
    }
}

/// One port, as the host keeps it.
pub(crate) struct Slot<L: RawMutex> {
    bound: Mutex<L, Bound>,
    notes: AtomicU8,
    route: AtomicU16,
    last: AtomicU16,
}

/// A slot whose lock is held.
pub(crate) type SlotGuard<'s, L> = lock_api::MutexGuard<'s, L, Bound>;

impl<L: RawMutex> Slot<L> {
    pub(crate) fn free() -> Self {
        Self {
            bound: Mutex::new(Bound::FREE),
            notes: AtomicU8::new(0),
            route: AtomicU16::new(Route::DEFAULT.word()),
            last: AtomicU16::new(Route::DEFAULT.word()),
        }
    }

    pub(crate) fn lock(&self) -> SlotGuard<'_, L> {
        self.bound.lock()
    }

    pub(crate) fn binding(&self) -> Binding {
        self.lock().binding()
    }

    pub(crate) fn route(&self) -> Route {
        Route::from_word(self.route.load(Ordering::Acquire))
    }

    pub(crate) fn set_route(&self, route: Route) {
        self.route.store(route.word(), Ordering::Release);
    }

    pub(crate) fn last_queue(&self) -> Route {
        Route::from_word(self.last.load(Ordering::Acquire))
    }

    /// The caller holds both queues' locks.
    pub(crate) fn set_last_queue(&self, route: Route) {
        self.last.store(route.word(), Ordering::Release);
    }

    /// Keeps an event until there is an event word for it.
    pub(crate) fn keep_unraised(&self) {
        self.notes.fetch_or(UNRAISED, Ordering::AcqRel);
    }

    /// Whether an event was kept; it is no longer.
    pub(crate) fn take_unraised(&self) -> bool {
        // A look first: ports without a kept event are the rule.
        self.has_unraised() && self.notes.fetch_and(!UNRAISED, Ordering::AcqRel) & UNRAISED != 0
    }

    pub(crate) fn has_unraised(&self) -> bool {
        self.notes.load(Ordering::Acquire) & UNRAISED != 0
    }

    /// Who in the hypervisor consumes the port's events; senders read it without the port's lock.
    pub(crate) fn consumer(&self) -> Option<ConsumerId> {
        (self.notes.load(Ordering::Acquire) >> CONSUMER_SHIFT).checked_sub(1).map(ConsumerId)
    }

    /// The caller holds the slot's lock, and the port is not connected.
    pub(crate) fn set_consumer(&self, consumer: Option<ConsumerId>) {
        self.notes.fetch_and(UNRAISED, Ordering::AcqRel);
        let number = consumer.map_or(0, |consumer| consumer.0 + 1);
        self.notes.fetch_or(number << CONSUMER_SHIFT, Ordering::AcqRel);
    }
}

/// Bit of the notes: an event waits for its event word.
const UNRAISED: u8 = 1;
/// Where the consumer's number plus 1 begins in the notes.
const CONSUMER_SHIFT: u32 = 3;

#[cfg(all(test, not(loom)))]
mod tests {
    use hypervisor_abi::DomainId;
    use hypervisor_abi::Port;
    use hypervisor_abi::VcpuId;
    use hypervisor_abi::Virq;
    use hypervisor_abi::event::FifoPriority;
    use parking_lot::RawMutex;

    use super::Binding;
    use super::Bound;
    use super::ConsumerId;
    use super::MAX_VCPUS;
    use super::Route;
    use super::Slot;

    #[test]
    fn a_port_costs_the_host_12_bytes() {
        assert_eq!(size_of::<Slot<RawMutex>>(), 12);
    }

    #[test]
    fn bindings_survive_packing() {
        let bindings = [
            Binding::Free,
            Binding::Reserved,
            Binding::Unbound { remote: DomainId(0x7fef) },
            Binding::Interdomain { remote: DomainId(0x7fef), port: Port(131_071) },
            Binding::Pirq(super::MAX_PIRQS - 1),
            Binding::Virq(Virq::new(23).expect("a VIRQ")),
            Binding::Ipi,
        ];
        for binding in bindings {
            let mut bound = Bound::FREE;
            bound.set(binding);
            assert_eq!(bound.binding(), binding);
        }
    }

    #[test]
    fn a_consumer_and_a_kept_event_do_not_disturb_each_other() {
        let slot = Slot::<RawMutex>::free();
        for consumer in [None, ConsumerId::new(0), ConsumerId::new(30)] {
            slot.keep_unraised();
            slot.set_consumer(consumer);
            assert_eq!(slot.consumer(), consumer);
            assert!(slot.take_unraised());
            assert!(!slot.take_unraised());
            assert_eq!(slot.consumer(), consumer);
        }
        assert_eq!(ConsumerId::new(31), None);
    }

    #[test]
    fn every_route_survives_packing() {
        for vcpu in [0, 1, 127, MAX_VCPUS - 1] {
            for priority in 0..16 {
                let route = Route { vcpu: VcpuId(vcpu), priority: FifoPriority::from_low_bits(priority) };
                assert_eq!(Route::from_word(route.word()), route);
            }
        }
    }
}
