//! What the host keeps about one port: 12 bytes, 8 of them its word, which lies among the words of other ports.
//!
//! ```text
//! word   8 bytes   what the port is bound to, who in the hypervisor consumes its events, and where they go
//! notes  2 bytes   where the event was linked last: vCPU << 4 | priority
//!        1 byte    1: an event came while there was no event word to hold it
//!        1 byte    lock, held by whoever changes the word
//! ```
//!
//! Word and last queue are single words, so that neither is ever read torn (R-11). A sender reads the word without the
//! lock; what that is worth says [`send`](super::send).

use bitfield_struct::bitfield;
use hypervisor_abi::DomainId;
use hypervisor_abi::Port;
use hypervisor_abi::VcpuId;
use hypervisor_abi::Virq;
use hypervisor_abi::event::FifoPriority;
use hypervisor_abi::sync::AtomicU8;
use hypervisor_abi::sync::AtomicU16;
use hypervisor_abi::sync::AtomicU64;
use hypervisor_abi::sync::Ordering;
use lock_api::Mutex;
use lock_api::MutexGuard;
use lock_api::RawMutex;

/// The most vCPUs a domain can have: a route has 12 bits for them.
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

/// A port's word.
#[bitfield(u64)]
#[derive(PartialEq, Eq)]
pub(crate) struct Bound {
    /// The other end's port, or the physical or virtual IRQ.
    #[bits(24)]
    detail: u32,
    /// The other end's domain.
    domain: u16,
    #[bits(3)]
    kind: u8,
    /// Who in the hypervisor consumes the events, plus 1; 0 for the guest.
    #[bits(5)]
    taker: u8,
    route_word: u16,
}

impl Bound {
    /// The word of a port that is open to everybody.
    const FREE: Self = Self::new().with_route(Route::DEFAULT);

    pub(crate) fn with_binding(self, binding: Binding) -> Self {
        let (kind, domain, detail) = match binding {
            Binding::Free => (0, 0, 0),
            Binding::Reserved => (1, 0, 0),
            Binding::Unbound { remote } => (2, remote.0, 0),
            Binding::Interdomain { remote, port } => (3, remote.0, port.0),
            Binding::Pirq(pirq) => (4, 0, pirq),
            Binding::Virq(virq) => (5, 0, u32::from(virq.number())),
            Binding::Ipi => (6, 0, 0),
        };
        self.with_kind(kind).with_domain(domain).with_detail(detail)
    }

    #[inline]
    pub(crate) fn binding(self) -> Binding {
        let (domain, detail) = (DomainId(self.domain()), self.detail());
        match self.kind() {
            1 => Binding::Reserved,
            2 => Binding::Unbound { remote: domain },
            3 => Binding::Interdomain { remote: domain, port: Port(detail) },
            4 => Binding::Pirq(detail),
            5 => Virq::new(detail).map_or(Binding::Free, Binding::Virq),
            6 => Binding::Ipi,
            _ => Binding::Free,
        }
    }

    /// Whether the port is bound to the same as in another word, wherever its events go.
    #[inline]
    pub(crate) fn is_bound_as(self, other: Self) -> bool {
        const BINDING: Bound = Bound::new().with_kind(7).with_domain(u16::MAX).with_detail(MAX_PIRQS - 1);
        (u64::from(self) ^ u64::from(other)) & u64::from(BINDING) == 0
    }

    /// Who in the hypervisor consumes the port's events.
    #[inline]
    pub(crate) const fn consumer(self) -> Option<ConsumerId> {
        match self.taker() {
            0 => None,
            number => Some(ConsumerId(number - 1)),
        }
    }

    pub(crate) const fn with_consumer(self, consumer: Option<ConsumerId>) -> Self {
        match consumer {
            None => self.with_taker(0),
            Some(ConsumerId(number)) => self.with_taker(number + 1),
        }
    }

    /// Where the port's events go.
    #[inline]
    pub(crate) const fn route(self) -> Route {
        Route::from_word(self.route_word())
    }

    pub(crate) const fn with_route(self, route: Route) -> Self {
        self.with_route_word(route.word())
    }
}

/// A vCPU's queue: where a port's events go.
#[derive(Clone, Copy, Debug, Eq)]
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

impl PartialEq for Route {
    /// One comparison of words, since that is what senders have before them.
    #[inline]
    fn eq(&self, other: &Self) -> bool {
        self.word() == other.word()
    }
}

/// Why a port is raised: the word of the port, maybe another's, that is bound to it.
pub(crate) struct Source<'p, L: RawMutex> {
    slot: Slot<'p, L>,
    bound: Bound,
}

impl<'p, L: RawMutex> Source<'p, L> {
    /// The source whose word was `bound` a moment ago.
    #[inline]
    pub(crate) const fn new(slot: Slot<'p, L>, bound: Bound) -> Self {
        Self { slot, bound }
    }

    /// Whether the port is still bound as it was.
    #[inline]
    pub(crate) fn is_unchanged(&self) -> bool {
        self.slot.bound().is_bound_as(self.bound)
    }

    #[inline]
    pub(crate) fn lock(&self) -> SlotGuard<'p, L> {
        self.slot.lock()
    }
}

/// The cell of a port's word.
pub(crate) struct Word(AtomicU64);

impl Word {
    pub(crate) fn free() -> Self {
        Self(AtomicU64::new(Bound::FREE.into()))
    }
}

/// What the host keeps about a port beside its word.
pub(crate) struct Notes<L: RawMutex> {
    last: AtomicU16,
    unraised: AtomicU8,
    lock: Mutex<L, ()>,
}

impl<L: RawMutex> Notes<L> {
    pub(crate) fn new() -> Self {
        Self { last: AtomicU16::new(Route::DEFAULT.word()), unraised: AtomicU8::new(0), lock: Mutex::new(()) }
    }
}

/// One port, as the host keeps it.
pub(crate) struct Slot<'p, L: RawMutex> {
    word: &'p Word,
    notes: &'p Notes<L>,
}

impl<L: RawMutex> Clone for Slot<'_, L> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<L: RawMutex> Copy for Slot<'_, L> {}

/// A slot whose lock is held: only then its word may be changed.
pub(crate) struct SlotGuard<'p, L: RawMutex> {
    slot: Slot<'p, L>,
    _held: MutexGuard<'p, L, ()>,
}

impl<'p, L: RawMutex> Slot<'p, L> {
    #[inline]
    pub(crate) const fn new(word: &'p Word, notes: &'p Notes<L>) -> Self {
        Self { word, notes }
    }

    #[inline]
    pub(crate) fn lock(self) -> SlotGuard<'p, L> {
        SlotGuard { slot: self, _held: self.notes.lock.lock() }
    }

    #[inline]
    pub(crate) fn bound(self) -> Bound {
        self.word.0.load(Ordering::Acquire).into()
    }

    pub(crate) fn binding(self) -> Binding {
        self.bound().binding()
    }

    pub(crate) fn route(self) -> Route {
        self.bound().route()
    }

    /// Who in the hypervisor consumes the port's events.
    pub(crate) fn consumer(self) -> Option<ConsumerId> {
        self.bound().consumer()
    }

    #[inline]
    pub(crate) fn last_queue(self) -> Route {
        Route::from_word(self.notes.last.load(Ordering::Acquire))
    }

    /// The caller holds both queues' locks.
    pub(crate) fn set_last_queue(self, route: Route) {
        self.notes.last.store(route.word(), Ordering::Release);
    }

    /// Keeps an event until there is an event word for it.
    pub(crate) fn keep_unraised(self) {
        self.notes.unraised.store(1, Ordering::Release);
    }

    /// Whether an event was kept; it is no longer.
    pub(crate) fn take_unraised(self) -> bool {
        // A look first: ports without a kept event are the rule.
        self.has_unraised() && self.notes.unraised.swap(0, Ordering::AcqRel) != 0
    }

    pub(crate) fn has_unraised(self) -> bool {
        self.notes.unraised.load(Ordering::Acquire) != 0
    }
}

impl<L: RawMutex> SlotGuard<'_, L> {
    pub(crate) fn bound(&self) -> Bound {
        self.slot.bound()
    }

    pub(crate) fn binding(&self) -> Binding {
        self.bound().binding()
    }

    /// Changes the whole word at once.
    pub(crate) fn set_bound(&mut self, bound: Bound) {
        self.slot.word.0.store(bound.into(), Ordering::Release);
    }

    /// Changes what the port is bound to, and nothing else.
    pub(crate) fn set(&mut self, binding: Binding) {
        self.set_bound(self.bound().with_binding(binding));
    }

    /// Changes where the port's events go. If they go to a queue, the caller holds its lock: whoever puts the port into it
    /// relies on that.
    pub(crate) fn set_route(&mut self, route: Route) {
        self.set_bound(self.bound().with_route(route));
    }

    /// The word of a port that was never bound.
    pub(crate) fn reset(&mut self) {
        self.set_bound(Bound::FREE);
    }
}

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
    use super::Notes;
    use super::Route;
    use super::Slot;
    use super::Word;

    #[test]
    fn bindings_survive_packing_beside_consumers_and_routes() {
        let bindings = [
            Binding::Free,
            Binding::Reserved,
            Binding::Unbound { remote: DomainId(0x7fef) },
            Binding::Interdomain { remote: DomainId(0x7fef), port: Port(131_071) },
            Binding::Pirq(super::MAX_PIRQS - 1),
            Binding::Virq(Virq::new(23).expect("a VIRQ")),
            Binding::Ipi,
        ];
        let route = Route { vcpu: VcpuId(MAX_VCPUS - 1), priority: FifoPriority::LOWEST };
        for binding in bindings {
            for consumer in [None, ConsumerId::new(0), ConsumerId::new(30)] {
                let bound = Bound::FREE.with_binding(binding).with_consumer(consumer).with_route(route);
                assert_eq!((bound.binding(), bound.consumer(), bound.route()), (binding, consumer, route));
                assert!(bound.is_bound_as(Bound::FREE.with_binding(binding)));
                assert!(!bound.is_bound_as(Bound::FREE.with_binding(Binding::Pirq(7))));
            }
        }
        assert_eq!(ConsumerId::new(31), None);
    }

    #[test]
    fn a_kept_event_is_taken_once() {
        let (word, notes) = (Word::free(), Notes::<RawMutex>::new());
        let slot = Slot::new(&word, &notes);
        assert!(!slot.take_unraised());
        slot.keep_unraised();
        assert!(slot.take_unraised());
        assert!(!slot.take_unraised());
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
