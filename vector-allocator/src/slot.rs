//! The slot of one lease: sixteen bytes, four to a cache line.
//!
//! A host has up to two hundred thousand leases, and whoever releases one of them reads a slot that is in no near cache.
//! So a slot holds what a plain tenant needs, and says when there is more.

use crate::Owner;
use crate::Rank;
use crate::SourceKind;
use crate::Vector;
use crate::lease::Tenant;
use crate::seat::Claim;
use crate::seat::PlaceId;
use crate::seat::Seat;
use crate::seat::Standing;

/// A slot of the slab of leases.
#[derive(Clone, Copy, Debug)]
#[repr(align(16))]
pub(crate) struct Slot {
    /// Counts the leases that have ended here.
    pub(crate) generation: u32,
    /// What a [`State::Plain`] slot holds.
    pub(crate) plain: Plain,
    pub(crate) state: State,
    pub(crate) reach: Reach,
}

const _: () = assert!(size_of::<Slot>() == 16);

/// A tenant as most are: it took a free vector of the first CPU of a place, stands in order, and is not moving.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Plain {
    pub(crate) owner: Owner,
    pub(crate) place: PlaceId,
    pub(crate) vector: Vector,
    pub(crate) kind: SourceKind,
    pub(crate) rank: Rank,
}

/// Where the tenancy of a slot stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// There is none.
    Vacant,
    /// In the slot.
    Plain,
    /// In the table of wide tenants.
    Wide,
    /// Among the vectors reserved on every CPU.
    Everywhere,
}

/// Whether a lease's affinity is worth storing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reach {
    /// Every CPU: nothing is stored.
    Anywhere,
    /// The CPU at the slot's place in the table of single ones.
    Only,
    /// The words at the slot's place in the table.
    Listed,
}

impl Slot {
    /// A slot that was never used; what it holds means nothing.
    pub(crate) const VACANT: Self = Self {
        generation: 0,
        plain: Plain {
            owner: Owner::System,
            place: PlaceId(0),
            vector: Vector::LOWEST,
            kind: SourceKind::EdgeMaskable,
            rank: Rank::Host,
        },
        state: State::Vacant,
        reach: Reach::Anywhere,
    };
}

impl Plain {
    /// A tenant of a machine with `width` CPUs to a place, if it is plain.
    #[inline(always)]
    pub(crate) fn of(tenant: &Tenant, width: u32) -> Option<Self> {
        let Tenant { owner, kind, rank, target, seat, moving } = *tenant;
        let Seat { place, vector, claim, standing, members } = seat;
        let is_plain = claim == Claim::Free
            && standing == Standing::Ordered
            && members == 1
            && target == place.first(width)
            && moving.is_none();
        is_plain.then_some(Self { owner, place, vector, kind, rank })
    }

    /// The tenant in full.
    #[inline(always)]
    pub(crate) const fn tenant(self, width: u32) -> Tenant {
        let Self { owner, place, vector, kind, rank } = self;
        let seat = Seat { place, vector, claim: Claim::Free, standing: Standing::Ordered, members: 1 };
        Tenant { owner, kind, rank, target: place.first(width), seat, moving: None }
    }
}

#[cfg(test)]
mod tests {
    use super::Plain;
    use crate::CpuId;
    use crate::DomainId;
    use crate::Owner;
    use crate::Rank;
    use crate::SourceKind;
    use crate::Vector;
    use crate::lease::Tenant;
    use crate::seat::Claim;
    use crate::seat::Moving;
    use crate::seat::Phase;
    use crate::seat::PlaceId;
    use crate::seat::Seat;
    use crate::seat::Standing;

    #[test]
    fn a_tenant_is_plain_only_if_nothing_of_it_is_lost() {
        let (free, ordered) = (Claim::Free, Standing::Ordered);
        for width in [1, 16] {
            let seat = Seat { place: PlaceId(3), vector: Vector::HIGHEST, claim: free, standing: ordered, members: 1 };
            let (owner, kind, rank) = (Owner::Guest(DomainId(7)), SourceKind::Level, Rank::Retaining);
            let tenant = Tenant { owner, kind, rank, target: CpuId(3 * width), seat, moving: None };
            assert_eq!(Plain::of(&tenant, width).map(|plain| plain.tenant(width)), Some(tenant));
            let others = [
                Tenant { seat: Seat { members: 0b11, ..seat }, ..tenant },
                Tenant { seat: Seat { members: 0, ..seat }, ..tenant },
                Tenant { seat: Seat { claim: Claim::Managed, ..seat }, ..tenant },
                Tenant { seat: Seat { standing: Standing::Inherited, ..seat }, ..tenant },
                Tenant { target: CpuId(3 * width + 1), ..tenant },
                Tenant { moving: Some(Moving { from: seat, phase: Phase::Programmed }), ..tenant },
            ];
            for other in others {
                assert_eq!(Plain::of(&other, width), None, "{other:?}");
            }
        }
    }
}
