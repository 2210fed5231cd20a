//! The shortest sequence of deeds after which fewer harms are left.
//!
//! With physical destinations the vector a source gets at home depends on when it arrives there: so it is sent away, it or
//! another goes to and fro until the cursor stands in front of a vector that suits, and then it is sent home. With logical
//! ones a vector is drawn when a device is attached, so a device is attached again until it suits.

use alloc::collections::BTreeSet;
use alloc::vec::Vec;
use core::cell::Cell;

use crate::Assignment;
use crate::CpuId;
use crate::DestinationModel;
use crate::Harms;
use crate::SourceId;
use crate::VectorSet;
use crate::aim::board::Board;
use crate::aim::board::place;
use crate::aim::deed::Deed;
use crate::aim::deed::Lever;
use crate::aim::deed::Mover;
use crate::inversions;

/// The most movers of harmful sources that are tried, and the most that go to and fro for them.
const TRIED: usize = 16;
/// The most CPUs that are tried as a mover's home.
const HOMES: usize = 8;

/// What is to become less.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted<'a> {
    /// The kinds of harm that count.
    pub(super) harms: Harms,
    /// As many harms as this cost nothing.
    pub(super) tolerated: usize,
    /// Where the movers are to be in the end; none if anywhere will do.
    pub(super) home: Option<&'a Assignment>,
}

/// A sequence of deeds, each with the vector it draws first, and what is left to be wanted after it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Walk {
    pub(super) deeds: Vec<(Deed, VectorSet)>,
    pub(super) cost: usize,
}

impl Wanted<'_> {
    /// How much of what is wanted is still missing.
    pub(super) fn cost(&self, host: &Assignment, movers: &[Mover]) -> usize {
        let harms = inversions(host).filter(|one| self.harms.include(one.kind)).count();
        let away = self.home.map_or(0, |home| movers.iter().filter(|mover| is_away(host, home, mover)).count());
        harms.saturating_sub(self.tolerated) + away
    }

    /// The movers whose sources do harm, suffer it, or are not where they should be.
    fn concerned<'m>(&self, host: &Assignment, movers: &'m [Mover]) -> Vec<&'m Mover> {
        let harmed: BTreeSet<SourceId> =
            inversions(host).filter(|one| self.harms.include(one.kind)).flat_map(|one| [one.dom0, one.guest]).collect();
        let is_concerned = |mover: &&Mover| {
            mover.sources.iter().any(|id| harmed.contains(id))
                || self.home.is_some_and(|home| is_away(host, home, mover))
        };
        movers.iter().filter(is_concerned).take(TRIED).collect()
    }
}

/// Whether a mover is on another CPU than it was at home. A device has no place of its own: it is with its guest's vCPU.
pub(super) fn is_away(host: &Assignment, home: &Assignment, mover: &Mover) -> bool {
    !matches!(mover.lever, Lever::Device { .. }) && place(host, mover) != place(home, mover)
}

/// The walk that leaves least to be wanted, and of those the shortest; none if none leaves less than there is. At most
/// `longest` deeds.
pub(super) fn find(board: &Board, movers: &[Mover], wanted: &Wanted<'_>, longest: usize) -> Option<Walk> {
    let mut best: Option<Walk> = None;
    let mut longest = longest;
    let now = wanted.cost(&board.host, movers);
    for mover in wanted.concerned(&board.host, movers) {
        let walks = match (mover.lever, board.host.model) {
            (Lever::Device { .. }, _) => [again(board, mover, movers, wanted, longest)].into_iter().flatten().collect(),
            (_, DestinationModel::Physical) => homeward(board, mover, movers, wanted, longest),
            // The vector would stay as it is: only the place can be changed.
            (_, DestinationModel::Logical { .. }) => aside(board, mover, movers, wanted),
        };
        for walk in walks {
            let is_better = best
                .as_ref()
                .map_or(walk.cost < now, |best| (walk.cost, walk.deeds.len()) < (best.cost, best.deeds.len()));
            if is_better {
                // Nothing is better than a walk after which nothing is wanted, but a shorter one.
                if walk.cost == 0 {
                    longest = walk.deeds.len().saturating_sub(1);
                }
                best = Some(walk);
            }
        }
    }
    best
}

/// The device is attached again and again.
fn again(board: &Board, device: &Mover, movers: &[Mover], wanted: &Wanted<'_>, longest: usize) -> Option<Walk> {
    let now = wanted.cost(&board.host, movers);
    let mut path = Path::from(board);
    for _ in 0..longest {
        path.go(device, Deed::Reattach { lever: device.lever })?;
        let cost = wanted.cost(&path.board.host, movers);
        if cost < now {
            return Some(Walk { deeds: path.deeds, cost });
        }
    }
    None
}

/// The source is sent to each of its CPUs, and takes its vector along.
fn aside(board: &Board, mover: &Mover, movers: &[Mover], wanted: &Wanted<'_>) -> Vec<Walk> {
    let ways = mover.cpus.iter().filter_map(|cpu| {
        let mut path = Path::from(board);
        path.go(mover, Deed::Send { lever: mover.lever, to: cpu })?;
        let cost = wanted.cost(&path.board.host, movers);
        Some(Walk { deeds: path.deeds, cost })
    });
    ways.collect()
}

/// The best walk home, or to each CPU where anywhere will do, with each mover going to and fro meanwhile.
fn homeward(board: &Board, mover: &Mover, movers: &[Mover], wanted: &Wanted<'_>, longest: usize) -> Vec<Walk> {
    let now = wanted.cost(&board.host, movers);
    let bound = Cell::new(longest);
    let mut walks = Vec::new();
    let homes: Vec<CpuId> = match wanted.home {
        Some(host) => place(host, mover).into_iter().collect(),
        None => mover.cpus.iter().take(HOMES).collect(),
    };
    for home in homes {
        let can_walk = |walker: &&Mover| !matches!(walker.lever, Lever::Device { .. }) && !walker.sources.is_empty();
        let walkers = movers.iter().filter(can_walk).take(TRIED);
        walks.extend(walkers.filter_map(|walker| {
            let mut path = Path::from(board);
            while path.deeds.len() < bound.get() {
                if place(&path.board.host, mover) != Some(home) {
                    let mut arrived = path.clone();
                    arrived.go(mover, Deed::Send { lever: mover.lever, to: home })?;
                    let cost = wanted.cost(&arrived.board.host, movers);
                    if cost < now {
                        if cost == 0 {
                            bound.set(arrived.deeds.len().saturating_sub(1));
                        }
                        return Some(Walk { deeds: arrived.deeds, cost });
                    }
                }
                // Who must leave home first does so; then the walker goes round its CPUs.
                let leaves = place(&path.board.host, mover) == Some(home);
                let next = if leaves { mover } else { walker };
                let avoided = (next.lever == mover.lever).then_some(home);
                let to = next_cpu(next, place(&path.board.host, next), avoided)?;
                path.go(next, Deed::Send { lever: next.lever, to })?;
            }
            None
        }));
    }
    walks
}

/// The mover's next CPU in the round, other than the one it is on and the one to avoid.
fn next_cpu(mover: &Mover, at: Option<CpuId>, avoided: Option<CpuId>) -> Option<CpuId> {
    let is_open = |cpu: &CpuId| Some(*cpu) != at && Some(*cpu) != avoided;
    let after = mover.cpus.iter().filter(is_open).find(|cpu| at.is_none_or(|at| cpu.0 > at.0));
    after.or_else(|| mover.cpus.iter().find(is_open))
}

/// A sequence of deeds on its way.
#[derive(Clone, Debug)]
struct Path {
    board: Board,
    deeds: Vec<(Deed, VectorSet)>,
}

impl Path {
    fn from(board: &Board) -> Self {
        Self { board: board.clone(), deeds: Vec::new() }
    }

    /// Does one more; none if that cannot be.
    fn go(&mut self, mover: &Mover, deed: Deed) -> Option<()> {
        let drawn = self.board.carry_out(mover, &deed).ok()?;
        self.deeds.push((deed, drawn));
        Some(())
    }
}
