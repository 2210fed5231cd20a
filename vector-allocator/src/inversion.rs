//! Where a guest's interrupt outranks dom0's, could come to, or can hold it back.
//!
//! Two facts of a local APIC make a wrong order costly. Of two waiting vectors it serves the higher first
//! (SDM vol. 3A, 11.8.3.1), and while a vector is in service everything of its class and below waits. The first costs
//! dom0 the length of a handler; the second, where a guest decides when service ends, up to [`FORCED_EOI_NS`].

use alloc::rc::Rc;
use alloc::vec::Vec;
use core::fmt;

use crate::AssignedSource;
use crate::Assignment;
use crate::CpuSet;
use crate::IoApicAck;
use crate::Owner;
use crate::SourceId;
use crate::crowd::Crowd;
use crate::meeting::Meeting;
use crate::meeting::Station;

/// How long Xen lets a domain keep an interrupt in service before it sends the EOI itself, ns
/// (`irq_guest_eoi_timer_fn`: 1 ms).
///
/// The local APIC ends the highest interrupt in service first, so the EOI of one waits for those of higher classes that
/// came on top of it (`pending_eoi`), each of which has its own time. Where several sources retain on one CPU, the lowest
/// is kept for up to this long for each class of them; the classes of the dynamic vectors, 2 to E, bound that at 13 ms.
pub const FORCED_EOI_NS: u64 = 1_000_000;

/// A guest-owned source and a dom0-owned one in the wrong order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inversion {
    /// What kind of harm it is.
    pub kind: InversionKind,
    /// The guest's source.
    pub guest: SourceId,
    /// Dom0's source.
    pub dom0: SourceId,
    /// The CPUs where it holds, or could.
    pub cpus: CpuSet,
}

/// The three kinds of harm, from the mildest to the worst.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum InversionKind {
    /// The masks overlap: a change of affinity or the scheduler alone can bring them together.
    Possible(Chance),
    /// The guest's vector is above dom0's on the same CPU now: when both wait, dom0 is served second.
    Rank,
    /// The guest's source keeps the in-service bit until the guest is done, at most [`FORCED_EOI_NS`] if nothing that
    /// retains comes on top of it: until then dom0's source cannot be delivered on that CPU at all.
    Retention(When),
}

/// What would decide the order if two sources met.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Chance {
    /// The vectors they hold now travel with them (logical destinations).
    VectorsKept,
    /// The mover draws a new vector (physical destinations): the order is a lottery.
    VectorDrawn,
}

/// Whether a harm is there now or needs a move first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum When {
    /// Their reachable CPUs overlap.
    AfterMove,
    /// Both sources target the same CPU as the host stands.
    Now,
}

/// Every inversion between a bound source of a guest and a bound source of dom0.
///
/// A pair can stand in several: a level-triggered source above dom0's both outranks and retains it. A harm that a move
/// draws ([`Chance::VectorDrawn`]) is listed however the pair stands now, since the present order will not last. Sources
/// nobody is bound to cannot fire and invert nothing: [`latent`] lists those. The work is in proportion to the pairs that
/// can meet, so on a host where everything roams everywhere take no more than you need.
pub fn inversions(assignment: &Assignment) -> impl Iterator<Item = Inversion> + '_ {
    pairs(assignment, |source| source.owner.is_guest() && source.is_bound())
}

/// The inversions that would be there if a domain bound the guests' sources that are mapped but not bound.
pub fn latent(assignment: &Assignment) -> impl Iterator<Item = Inversion> + '_ {
    pairs(assignment, |source| source.owner.is_guest() && !source.is_bound())
}

/// Every inversion of a source that `is_candidate` accepts with a bound source of dom0.
fn pairs(
    assignment: &Assignment,
    is_candidate: impl Fn(&AssignedSource) -> bool,
) -> impl Iterator<Item = Inversion> + '_ {
    let sources = &assignment.sources;
    let dom0 = Rc::new(Crowd::of(sources, |source| source.owner == Owner::Dom0 && source.is_bound()));
    let guests: Vec<&AssignedSource> = sources.iter().filter(|source| is_candidate(source)).collect();
    guests.into_iter().flat_map(move |guest| {
        let dom0 = Rc::clone(&dom0);
        let groups = dom0.groups_meeting(guest);
        groups.into_iter().flat_map(move |group| dom0.members(group).to_vec()).flat_map(move |index| {
            let dom0 = &sources[index];
            harms(guest, dom0, assignment.ioapic_ack).map(move |kind| Inversion {
                kind,
                guest: guest.id,
                dom0: dom0.id,
                cpus: place(kind, guest, dom0),
            })
        })
    })
}

/// The harms of one pair.
pub(crate) fn harms(
    guest: &AssignedSource,
    dom0: &AssignedSource,
    ack: IoApicAck,
) -> impl Iterator<Item = InversionKind> + use<> {
    let meeting = Station::of(guest).meets(Station::of(dom0));
    let outranks = guest.vector.outranks(dom0.vector);
    let retains = guest.kind.retains_in_service(ack);
    let blocks = retains && guest.vector.blocks_in_service(dom0.vector);
    let now = matches!(meeting, Meeting::Now | Meeting::NowAndDrawn);
    let drawn = matches!(meeting, Meeting::Drawn | Meeting::NowAndDrawn);
    let kept = meeting == Meeting::Kept;
    [
        (now && outranks).then_some(InversionKind::Rank),
        (kept && outranks).then_some(InversionKind::Possible(Chance::VectorsKept)),
        drawn.then_some(InversionKind::Possible(Chance::VectorDrawn)),
        (now && blocks).then_some(InversionKind::Retention(When::Now)),
        (kept && blocks || drawn && retains).then_some(InversionKind::Retention(When::AfterMove)),
    ]
    .into_iter()
    .flatten()
}

/// The CPUs where a harm of this kind holds, or could.
fn place(kind: InversionKind, guest: &AssignedSource, dom0: &AssignedSource) -> CpuSet {
    match kind {
        InversionKind::Rank | InversionKind::Retention(When::Now) => guest.target.intersection(&dom0.target),
        InversionKind::Possible(_) | InversionKind::Retention(When::AfterMove) => {
            guest.reachable.intersection(&dom0.reachable)
        }
    }
}

impl fmt::Display for InversionKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Possible(Chance::VectorsKept) => "possible inversion",
            Self::Possible(Chance::VectorDrawn) => "possible inversion by lottery",
            Self::Rank => "rank inversion",
            Self::Retention(When::AfterMove) => "possible retention",
            Self::Retention(When::Now) => "retention",
        })
    }
}
