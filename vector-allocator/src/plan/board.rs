//! The host while it is being planned: where every source stands, which vectors are taken, what a pair demands.

use alloc::collections::BTreeMap;
use alloc::collections::BTreeSet;
use alloc::string::ToString;
use alloc::vec;
use alloc::vec::Vec;

use crate::AssignedSource;
use crate::Assignment;
use crate::Chance;
use crate::CpuId;
use crate::CpuSet;
use crate::Goal;
use crate::InversionKind;
use crate::Mobility;
use crate::Movers;
use crate::Owner;
use crate::Vector;
use crate::VectorSet;
use crate::When;
use crate::inversion::harms;
use crate::meeting::Meeting;
use crate::meeting::Station;
use crate::plan::Constraint;

/// The state of a plan in the making.
#[derive(Clone, Debug)]
pub(super) struct Board<'a> {
    pub(super) host: &'a Assignment,
    pub(super) goal: Goal,
    pub(super) pieces: Vec<Piece>,
    /// Pieces that every plan moves or pins to end their lotteries: bounds on the moves for all else leave them out.
    pub(super) anchors: BTreeSet<usize>,
    columns: BTreeMap<CpuId, Column>,
}

/// A source on the board.
#[derive(Clone, Debug)]
pub(super) struct Piece {
    /// The source as it stands in the plan so far.
    pub(super) source: AssignedSource,
    /// Its part in the arbitration.
    pub(super) role: Role,
    /// The CPUs on which a new vector would be taken.
    pub(super) fresh: CpuSet,
    /// Why it must stay, if it must.
    pub(super) stays: Option<Constraint>,
}

/// What a source is to the planner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// A guest's; it may have to be below dom0's.
    Guest,
    /// A guest's that keeps the in-service bit.
    Retaining,
    /// Dom0's.
    Dom0,
    /// In nobody's way and under nobody's, but on a vector: the hypervisor's, or not bound.
    Bystander,
}

/// How far below dom0's source a guest's must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Demand {
    /// Anywhere.
    Nothing,
    /// Below its vector.
    Below,
    /// In a lower class.
    ClassBelow,
}

/// The vectors of one CPU, with how many sources hold each: a damaged record can have several on one.
#[derive(Clone, Debug)]
struct Column {
    count: Vec<u16>,
    taken: VectorSet,
}

impl<'a> Board<'a> {
    pub(super) fn new(host: &'a Assignment, goal: Goal) -> Self {
        let mut clusters = BTreeMap::new();
        let pieces = host.sources.iter().map(|source| Piece::new(source, host, goal, &mut clusters)).collect();
        let mut board = Self { host, goal, pieces, anchors: BTreeSet::new(), columns: BTreeMap::new() };
        for index in 0..board.pieces.len() {
            board.put(index);
        }
        board
    }

    /// The vectors free on all of `cpus` at once, and open to leasing there.
    pub(super) fn free(&self, cpus: &CpuSet) -> VectorSet {
        let all = VectorSet::range(Vector::LOWEST, Vector::HIGHEST);
        cpus.iter().fold(all, |free, cpu| {
            let free = free.intersection(self.host.layout.leasable(cpu));
            self.columns.get(&cpu).map_or(free, |column| free.difference(&column.taken))
        })
    }

    /// Takes the vector of a piece on its CPUs.
    pub(super) fn put(&mut self, index: usize) {
        let source = &self.pieces[index].source;
        for cpu in source.holders.iter() {
            let column = self.columns.entry(cpu).or_insert_with(Column::new);
            column.count[source.vector.index()] = column.count[source.vector.index()].saturating_add(1);
            column.taken.insert(source.vector);
        }
    }

    /// Gives the vector of a piece back.
    pub(super) fn lift(&mut self, index: usize) {
        let source = &self.pieces[index].source;
        for cpu in source.holders.iter() {
            let Some(column) = self.columns.get_mut(&cpu) else { continue };
            let count = &mut column.count[source.vector.index()];
            *count = count.saturating_sub(1);
            if *count == 0 {
                column.taken.remove(source.vector);
            }
        }
    }

    /// What the goal demands of a guest's piece and dom0's, were their vectors taken on these CPUs.
    pub(super) fn demand(&self, guest: (usize, &CpuSet), dom0: (usize, &CpuSet)) -> Demand {
        let (guest_piece, dom0_piece) = (&self.pieces[guest.0], &self.pieces[dom0.0]);
        let guest_station = Station::with_holders(&guest_piece.source, guest.1);
        let dom0_station = Station::with_holders(&dom0_piece.source, dom0.1);
        let (rank, retention) = match guest_station.meets(dom0_station) {
            Meeting::Now | Meeting::NowAndDrawn => (InversionKind::Rank, InversionKind::Retention(When::Now)),
            Meeting::Kept => (InversionKind::Possible(Chance::VectorsKept), InversionKind::Retention(When::AfterMove)),
            Meeting::Never | Meeting::Drawn => return Demand::Nothing,
        };
        if guest_piece.role == Role::Retaining && self.goal.mend.include(retention) {
            Demand::ClassBelow
        } else if self.goal.mend.include(rank) {
            Demand::Below
        } else {
            Demand::Nothing
        }
    }

    /// Moves a piece and says what undoes it.
    pub(super) fn shift_logged(&mut self, shift: &Shift) -> Shift {
        let source = &self.pieces[shift.piece].source;
        let undo = Shift {
            piece: shift.piece,
            vector: source.vector,
            holders: source.holders.clone(),
            target: source.target.clone(),
        };
        self.lift(shift.piece);
        let source = &mut self.pieces[shift.piece].source;
        source.vector = shift.vector;
        source.holders.clone_from(&shift.holders);
        source.target.clone_from(&shift.target);
        self.put(shift.piece);
        undo
    }

    /// A move of a piece to another vector, its target as it is.
    pub(super) fn to_vector(&self, piece: usize, vector: Vector) -> Shift {
        let Piece { source, fresh, .. } = &self.pieces[piece];
        Shift { piece, vector, holders: fresh.clone(), target: source.target.clone() }
    }

    /// The harm of a pair where it stands, as far as the goal wants it mended.
    pub(super) fn harm(&self, guest: usize, dom0: usize) -> Harm {
        let (guest_piece, dom0_piece) = (&self.pieces[guest], &self.pieces[dom0]);
        let found = harms(&guest_piece.source, &dom0_piece.source, self.host.ioapic_ack);
        let meeting = Station::of(&guest_piece.source).meets(Station::of(&dom0_piece.source));
        found.filter(|kind| self.goal.mend.include(*kind)).fold(Harm::default(), |mut harm, kind| {
            match kind {
                InversionKind::Retention(When::Now) => harm.0[0] += 1,
                InversionKind::Retention(When::AfterMove) if meeting == Meeting::Kept => harm.0[1] += 1,
                InversionKind::Rank => harm.0[2] += 1,
                InversionKind::Possible(Chance::VectorsKept) => harm.0[3] += 1,
                // No vector mends a lottery.
                InversionKind::Possible(Chance::VectorDrawn) | InversionKind::Retention(When::AfterMove) => {}
            }
            harm
        })
    }

    /// The harm that a piece has part in against those of `others` that are on the other side.
    pub(super) fn harm_of(&self, piece: usize, others: impl Iterator<Item = usize>) -> Harm {
        match self.pieces[piece].role {
            Role::Guest | Role::Retaining => {
                let dom0 = others.filter(|other| self.pieces[*other].role == Role::Dom0);
                dom0.map(|dom0| self.harm(piece, dom0)).sum()
            }
            Role::Dom0 => {
                let guests = others.filter(|other| self.pieces[*other].role.is_guest());
                guests.map(|guest| self.harm(guest, piece)).sum()
            }
            Role::Bystander => Harm::default(),
        }
    }

    /// Whether two pieces stand against the demand on them.
    pub(super) fn is_inverted(&self, guest: usize, dom0: usize) -> bool {
        let (guest_piece, dom0_piece) = (&self.pieces[guest].source, &self.pieces[dom0].source);
        let demand = self.demand((guest, &guest_piece.holders), (dom0, &dom0_piece.holders));
        demand.is_broken(guest_piece.vector, dom0_piece.vector)
    }
}

/// A piece's move to another place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Shift {
    pub(super) piece: usize,
    pub(super) vector: Vector,
    pub(super) holders: CpuSet,
    pub(super) target: CpuSet,
}

/// How many inversions, the worst kind first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Harm([u32; 4]);

impl core::ops::AddAssign for Harm {
    fn add_assign(&mut self, other: Self) {
        for (own, more) in self.0.iter_mut().zip(other.0) {
            *own = own.saturating_add(more);
        }
    }
}

impl core::iter::Sum for Harm {
    fn sum<I: Iterator<Item = Self>>(parts: I) -> Self {
        parts.fold(Self::default(), |mut sum, part| {
            sum += part;
            sum
        })
    }
}

impl Piece {
    fn new(source: &AssignedSource, host: &Assignment, goal: Goal, clusters: &mut BTreeMap<CpuId, CpuSet>) -> Self {
        let mut fresh = CpuSet::new();
        for cpu in source.target.iter().filter(|cpu| host.online.contains(*cpu)) {
            let cluster = clusters.entry(host.model.cluster(cpu).0);
            fresh = fresh.union(cluster.or_insert_with(|| host.model.holders(cpu, &host.online)));
        }
        let role = match source.owner {
            Owner::Guest(_) if source.guest_can_retain(host.ioapic_ack) => Role::Retaining,
            Owner::Guest(_) if source.is_bound() => Role::Guest,
            Owner::Dom0 if source.is_bound() => Role::Dom0,
            Owner::Guest(_) | Owner::Dom0 | Owner::System => Role::Bystander,
        };
        let stays = match &source.mobility {
            Mobility::Fixed(why) => Some(Constraint::Fixed { source: source.id, why: why.clone() }),
            Mobility::Movable if fresh.is_empty() => {
                let why = "none of the CPUs it is sent to is online".to_string();
                Some(Constraint::Fixed { source: source.id, why })
            }
            Mobility::Movable if goal.movers == Movers::GuestsOnly && !source.owner.is_guest() => {
                Some(Constraint::Forbidden { source: source.id })
            }
            Mobility::Movable => None,
        };
        Self { source: source.clone(), role, fresh, stays }
    }
}

impl Role {
    /// Whether dom0's vectors have to be above this one.
    pub(super) const fn is_guest(self) -> bool {
        matches!(self, Self::Guest | Self::Retaining)
    }
}

impl Demand {
    /// Whether these vectors of a guest and of dom0 go against the demand.
    pub(super) const fn is_broken(self, guest: Vector, dom0: Vector) -> bool {
        match self {
            Self::Nothing => false,
            Self::Below => guest.outranks(dom0),
            Self::ClassBelow => guest.blocks_in_service(dom0),
        }
    }

    /// What the guest's vector must be below when dom0's is `dom0`.
    pub(super) fn ceiling(self, dom0: Vector) -> Option<Vector> {
        match self {
            Self::Nothing => None,
            Self::Below => Some(dom0),
            Self::ClassBelow => Vector::new(dom0.number() & 0xf0).ok(),
        }
    }

    /// What dom0's vector must be above when the guest's is `guest`.
    pub(super) fn floor(self, guest: Vector) -> Option<Vector> {
        match self {
            Self::Nothing => None,
            Self::Below => Some(guest),
            Self::ClassBelow => Vector::new(guest.number() | 0x0f).ok(),
        }
    }
}

impl Column {
    fn new() -> Self {
        Self { count: vec![0; 256], taken: VectorSet::EMPTY }
    }
}
