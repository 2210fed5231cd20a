//! What the guest itself knows about a port: its source, its vCPU, and why it is masked.
//!
//! ```text
//! bind ─► EXPLICIT ──unmask──► (no reason) ──event of a late port──► EOI ──eoi──► (no reason)
//!            ▲                     │
//!            └───────mask──────────┘          MOVE: for the moment its vCPU changes
//! ```
//!
//! The reasons are the truth, the mask bit in shared memory follows them. Two vCPUs may change reasons at once, and bringing
//! the bit into line takes more than one step; so the first to make a difference takes on the [`Duty`], and keeps it until
//! the bit agrees with what the reasons have become meanwhile. Nobody waits for anybody.

use hypervisor_abi::VcpuId;
use hypervisor_abi::Virq;
use hypervisor_abi::sync::AtomicU32;
use hypervisor_abi::sync::AtomicU64;
use hypervisor_abi::sync::Ordering;

use crate::abi::Admission;
use crate::abi::Duty;
use crate::restore::Untaken;
use crate::time::Time;

/// The port's owner does not want its events now.
pub(crate) const EXPLICIT: u32 = 1;
/// An event of a late port has not got its EOI.
pub(crate) const EOI: u32 = 1 << 1;
/// The port is on its way to another vCPU.
pub(crate) const MOVE: u32 = 1 << 2;
/// The port's event is being passed on to its own vCPU.
pub(crate) const PASSED: u32 = 1 << 3;
const REASONS: u32 = EXPLICIT | EOI | MOVE | PASSED;
/// Somebody brings the mask bit into line with the reasons.
const SETTLING: u32 = 1 << 4;
/// The reasons have changed since; whoever settles looks again, even if they are what they were before.
const CHANGED: u32 = 1 << 5;
/// The port is in a list of delayed EOIs.
const LISTED: u32 = 1 << 6;
/// The list ends the port's present event. A port that was closed meanwhile is in the list for nothing.
const DELAYED: u32 = 1 << 7;
/// The port was bound again after a restore.
const REBOUND: u32 = 1 << 8;
const LATE: u32 = 1 << 9;
const KIND_SHIFT: u32 = 10;
const KIND_MASK: u32 = 7 << KIND_SHIFT;
/// An event of the port was waiting when the guest was suspended.
const WAITED: u32 = 1 << 13;
const SPURIOUS_SHIFT: u32 = 16;
const SPURIOUS_MASK: u32 = 0xff << SPURIOUS_SHIFT;

const KIND_INTERDOMAIN: u32 = 1;
const KIND_VIRQ: u32 = 2;
const KIND_IPI: u32 = 3;
const KIND_PIRQ: u32 = 4;

/// When a port's event ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EoiMode {
    /// Before its handler runs: the next event may come at once. For sources the guest trusts not to flood it.
    Early,
    /// When the handler, or whoever finishes its work, says so; until then the port is masked. For sources that could
    /// flood the guest, such as a backend in another domain (XSA-332).
    Late,
}

/// Where a port's events come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Source {
    /// A port of this or another domain.
    Interdomain,
    /// A virtual IRQ.
    Virq(Virq),
    /// The guest's own vCPUs.
    Ipi,
    /// A physical IRQ.
    Pirq(u32),
}

/// A port as it was bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Bound {
    /// Where its events come from.
    pub source: Source,
    /// The vCPU that takes them.
    pub vcpu: VcpuId,
    /// When they end.
    pub eoi: EoiMode,
}

/// Whether a port's mask bit should be set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Masking {
    Masked,
    Unmasked,
}

/// The guest's note about one port. A guest sets aside one for each port it wants to be able to use, in a static array.
#[derive(Debug)]
pub struct PortRecord {
    state: AtomicU32,
    vcpu: AtomicU32,
    /// The virtual or physical IRQ.
    detail: AtomicU32,
    /// The next port in a list of delayed EOIs; 0 ends it.
    pub(crate) next: AtomicU32,
    /// When a delayed EOI is due, in ns.
    due: AtomicU64,
}

impl PortRecord {
    /// The note about a port that is not bound.
    #[cfg(not(loom))]
    #[must_use]
    pub const fn new() -> Self {
        Self {
            state: AtomicU32::new(0),
            vcpu: AtomicU32::new(0),
            detail: AtomicU32::new(0),
            next: AtomicU32::new(0),
            due: AtomicU64::new(0),
        }
    }

    #[cfg(loom)]
    /// The note about a port that is not bound.
    #[must_use]
    pub fn new() -> Self {
        Self {
            state: AtomicU32::new(0),
            vcpu: AtomicU32::new(0),
            detail: AtomicU32::new(0),
            next: AtomicU32::new(0),
            due: AtomicU64::new(0),
        }
    }

    /// What the port is bound to; `None` if it is not.
    pub fn bound(&self) -> Option<Bound> {
        let state = self.state.load(Ordering::Acquire);
        let detail = self.detail.load(Ordering::Relaxed);
        let source = match (state & KIND_MASK) >> KIND_SHIFT {
            KIND_INTERDOMAIN => Source::Interdomain,
            KIND_VIRQ => Source::Virq(Virq::new(detail).ok()?),
            KIND_IPI => Source::Ipi,
            KIND_PIRQ => Source::Pirq(detail),
            _ => return None,
        };
        Some(Bound { source, vcpu: self.vcpu(), eoi: eoi_mode(state) })
    }

    /// Whether the port's owner has masked it.
    pub fn is_masked_by_owner(&self) -> bool {
        self.state.load(Ordering::Acquire) & EXPLICIT != 0
    }

    #[inline]
    pub(crate) fn vcpu(&self) -> VcpuId {
        VcpuId(self.vcpu.load(Ordering::Acquire))
    }

    pub(crate) fn set_vcpu(&self, vcpu: VcpuId) {
        self.vcpu.store(vcpu.0, Ordering::Release);
    }

    /// Notes what the port is bound to, masked by its owner.
    pub(crate) fn bind(&self, Bound { source, vcpu, eoi }: Bound) {
        let (kind, detail) = match source {
            Source::Interdomain => (KIND_INTERDOMAIN, 0),
            Source::Virq(virq) => (KIND_VIRQ, u32::from(virq.number())),
            Source::Ipi => (KIND_IPI, 0),
            Source::Pirq(pirq) => (KIND_PIRQ, pirq),
        };
        let late = if eoi == EoiMode::Late { LATE } else { 0 };
        self.set_vcpu(vcpu);
        self.detail.store(detail, Ordering::Relaxed);
        self.replace(kind << KIND_SHIFT | late | EXPLICIT);
    }

    /// Forgets what the port was bound to.
    pub(crate) fn unbind(&self) {
        self.replace(0);
    }

    /// Whoever settles goes on, and a list of delayed EOIs keeps its links.
    fn replace(&self, new: u32) {
        let mut seen = self.state.load(Ordering::Relaxed);
        while let Err(changed) = self.state.compare_exchange_weak(
            seen,
            new | seen & (LISTED | SETTLING),
            Ordering::AcqRel,
            Ordering::Relaxed,
        ) {
            seen = changed;
        }
    }

    /// Whether a vCPU may take the port's event now. A late port is masked from here on, in the record at least.
    #[inline]
    pub(crate) fn admit(&self, vcpu: VcpuId) -> Admission {
        let state = self.state.load(Ordering::Acquire);
        if state & KIND_MASK == 0 || self.vcpu() != vcpu {
            return Admission::Aside;
        }
        match eoi_mode(state) {
            EoiMode::Early => Admission::Early,
            EoiMode::Late => self.admit_late(state),
        }
    }

    #[inline(never)]
    fn admit_late(&self, mut seen: u32) -> Admission {
        loop {
            if seen & (LATE | EOI) != LATE {
                // The last event has not got its EOI, or the port was bound anew in this moment.
                return Admission::Aside;
            }
            let is_first = seen & (REASONS | SETTLING) == 0;
            let admitted = if is_first { seen | EOI | SETTLING } else { seen | EOI };
            match self.state.compare_exchange_weak(seen, admitted, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) if is_first => return Admission::Late { duty: Duty::Ours },
                Ok(_) => return Admission::Late { duty: Duty::None },
                Err(changed) => seen = changed,
            }
        }
    }

    /// Adds and takes away reasons; whether the mask bit must follow, by the caller.
    pub(crate) fn change(&self, add: u32, remove: u32) -> Duty {
        let mut seen = self.state.load(Ordering::Acquire);
        loop {
            let changed = (seen | add) & !remove;
            let differs = masking(seen) != masking(changed);
            let (duty, note) = match seen & SETTLING {
                0 if differs => (Duty::Ours, SETTLING),
                0 => (Duty::None, 0),
                _ => (Duty::None, CHANGED),
            };
            match self.state.compare_exchange_weak(seen, changed | note, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return duty,
                Err(now) => seen = now,
            }
        }
    }

    /// What the mask bit should be.
    pub(crate) fn wanted(&self) -> Masking {
        masking(self.state.load(Ordering::Acquire))
    }

    /// Ends the duty if nothing has changed since the bit was made so; else says what it should be now.
    pub(crate) fn settled(&self, made: Masking) -> Option<Masking> {
        let mut seen = self.state.load(Ordering::Acquire);
        loop {
            let again = seen & CHANGED != 0 || masking(seen) != made;
            let new = if again { seen & !CHANGED } else { seen & !SETTLING };
            match self.state.compare_exchange_weak(seen, new, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return again.then(|| masking(new)),
                Err(changed) => seen = changed,
            }
        }
    }

    /// Whether an EOI is outstanding.
    pub(crate) fn awaits_eoi(&self) -> bool {
        self.state.load(Ordering::Acquire) & EOI != 0
    }

    /// How many spurious events in a row the port has had, 255 at most, this one included.
    pub(crate) fn count_spurious(&self) -> u32 {
        let mut seen = self.state.load(Ordering::Relaxed);
        loop {
            let count = ((seen & SPURIOUS_MASK) >> SPURIOUS_SHIFT).saturating_add(1).min(0xff);
            let new = seen & !SPURIOUS_MASK | count << SPURIOUS_SHIFT;
            match self.state.compare_exchange_weak(seen, new, Ordering::AcqRel, Ordering::Relaxed) {
                Ok(_) => return count,
                Err(changed) => seen = changed,
            }
        }
    }

    /// Forgets the spurious events: a real one came.
    pub(crate) fn clear_spurious(&self) {
        if self.state.load(Ordering::Relaxed) & SPURIOUS_MASK != 0 {
            self.state.fetch_and(!SPURIOUS_MASK, Ordering::AcqRel);
        }
    }

    /// Whether a list is to end the port's event.
    pub(crate) fn is_delayed(&self) -> bool {
        self.state.load(Ordering::Acquire) & DELAYED != 0
    }

    /// Notes that a list is to end the port's event; whether the port must be put into one.
    pub(crate) fn delay(&self) -> bool {
        self.state.fetch_or(LISTED | DELAYED, Ordering::AcqRel) & LISTED == 0
    }

    /// Notes that the port is in no list; whether the list was to end its event.
    pub(crate) fn unlist(&self) -> bool {
        self.state.fetch_and(!(LISTED | DELAYED), Ordering::AcqRel) & DELAYED != 0
    }

    /// Whether the port was bound again since [`clear_rebound`](Self::clear_rebound).
    pub(crate) fn is_rebound(&self) -> bool {
        self.state.load(Ordering::Acquire) & REBOUND != 0
    }

    /// Notes that the port was bound again.
    pub(crate) fn set_rebound(&self) {
        self.state.fetch_or(REBOUND, Ordering::AcqRel);
    }

    /// Forgets that the port was bound again.
    pub(crate) fn clear_rebound(&self) {
        self.state.fetch_and(!REBOUND, Ordering::AcqRel);
    }

    /// Whether an event was waiting when the guest was suspended.
    pub(crate) fn waited(&self) -> Untaken {
        if self.state.load(Ordering::Acquire) & WAITED == 0 { Untaken::Nothing } else { Untaken::Event }
    }

    /// Notes whether an event is waiting while the guest is suspended.
    pub(crate) fn set_waited(&self, event: Untaken) {
        match event {
            Untaken::Event => self.state.fetch_or(WAITED, Ordering::AcqRel),
            Untaken::Nothing => self.state.fetch_and(!WAITED, Ordering::AcqRel),
        };
    }

    /// Until when an EOI is delayed; the beginning of time if it is not.
    pub(crate) fn due(&self) -> Time {
        Time(self.due.load(Ordering::Acquire))
    }

    #[inline]
    pub(crate) fn set_due(&self, due: Time) {
        self.due.store(due.0, Ordering::Release);
    }
}

impl Default for PortRecord {
    fn default() -> Self {
        Self::new()
    }
}

/// A port that is not bound is masked.
const fn masking(state: u32) -> Masking {
    if state & REASONS == 0 && state & KIND_MASK != 0 { Masking::Unmasked } else { Masking::Masked }
}

const fn eoi_mode(state: u32) -> EoiMode {
    if state & LATE == 0 { EoiMode::Early } else { EoiMode::Late }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use hypervisor_abi::VcpuId;

    use super::Bound;
    use super::EOI;
    use super::EXPLICIT;
    use super::EoiMode;
    use super::Masking;
    use super::PASSED;
    use super::PortRecord;
    use super::Source;
    use crate::abi::Admission;
    use crate::abi::Duty;

    fn late() -> PortRecord {
        let record = PortRecord::new();
        record.bind(Bound { source: Source::Ipi, vcpu: VcpuId(3), eoi: EoiMode::Late });
        record
    }

    #[test]
    fn only_the_ports_own_vcpu_is_admitted() {
        let record = late();
        assert_eq!(record.admit(VcpuId(2)), Admission::Aside);
        record.set_vcpu(VcpuId(2));
        assert_eq!(record.admit(VcpuId(2)), Admission::Late { duty: Duty::None }, "masked by its owner already");
        record.unbind();
        assert_eq!(record.admit(VcpuId(2)), Admission::Aside);
    }

    #[test]
    fn a_late_port_is_not_admitted_again_before_its_eoi() {
        let record = late();
        assert_eq!(record.change(0, EXPLICIT), Duty::Ours);
        assert_eq!(record.settled(Masking::Unmasked), None);
        assert_eq!(record.admit(VcpuId(3)), Admission::Late { duty: Duty::Ours });
        assert_eq!(record.admit(VcpuId(3)), Admission::Aside);
        assert_eq!(record.settled(Masking::Masked), None);
        assert_eq!(record.admit(VcpuId(3)), Admission::Aside);
        assert_eq!(record.change(0, EOI), Duty::Ours);
        assert_eq!(record.settled(Masking::Unmasked), None);
        assert_eq!(record.admit(VcpuId(3)), Admission::Late { duty: Duty::Ours });
    }

    #[test]
    fn whoever_settles_looks_again_even_if_the_reasons_are_back_where_they_were() {
        let record = late();
        assert_eq!(record.change(0, EXPLICIT), Duty::Ours);
        assert_eq!(record.change(PASSED, 0), Duty::None);
        assert_eq!(record.change(0, PASSED), Duty::None);
        assert_eq!(record.settled(Masking::Unmasked), Some(Masking::Unmasked));
        assert_eq!(record.change(EXPLICIT, 0), Duty::None);
        assert_eq!(record.settled(Masking::Unmasked), Some(Masking::Masked));
        assert_eq!(record.settled(Masking::Masked), None);
        assert_eq!(record.change(0, EXPLICIT), Duty::Ours, "the duty had ended");
    }

    #[test]
    fn spurious_events_are_counted_up_to_255_and_forgotten() {
        let record = late();
        for count in 1..300 {
            assert_eq!(record.count_spurious(), count.min(255));
        }
        record.clear_spurious();
        assert_eq!(record.count_spurious(), 1);
        assert!(record.bound().is_some());
    }
}
