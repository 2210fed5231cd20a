//! From the host as it is to the host as it should be, by as few moves as will do.
//!
//! On every CPU the wanted order, from the top of the vector space, is
//!
//! ```text
//!   F9–FF  the hypervisor's own: timer, IPIs                   class F
//!   F1–F8  notifications: posted interrupts, wake-ups
//!   ─────────────────────────────────────────────
//!   EF     dom0's sources          ▲ a source of dom0's that must move goes to the highest free vector
//!    ·
//!    ·     free: the boundary is wherever the two sides leave it, on each CPU (or cluster) its own
//!    ·
//!          guests' sources         ▲ above the classes that retaining guests need
//!          retaining guests'       ▼ to the lowest free vector; their class lies below every class of dom0's
//!   20
//! ```
//!
//! but the planner moves only what inversions demand. Sources that can never meet on a CPU are planned apart
//! ([`arena`]). The movers of an arena are a minimum vertex cover of its inversions ([`cover`]): whoever ends them all
//! must move that many. [`place`] finds them vectors and [`order`] a sequence in which no vector is taken before it is
//! released. What has no place falls to the other side of its pairs; small arenas where that was not enough are searched
//! exhaustively ([`exact`]). Lotteries, which no order of vectors mends, are ended first by pins ([`pin`]) and last by
//! vectors that are taken wherever their source can go ([`anchor`]). Guests move down and dom0's sources up, so no state in between has an inversion that was not
//! there before.

mod anchor;
mod arena;
mod band;
mod board;
mod change;
mod cover;
mod exact;
mod goal;
mod lottery;
mod order;
mod pairs;
mod pin;
mod place;
mod remaining;
mod report;
mod rescue;
mod settle;

pub use change::Change;
pub use change::Mended;
pub use change::Move;
pub use change::Optimality;
pub use change::Place;
pub use change::Plan;
pub use change::Step;
pub use goal::Goal;
pub use goal::Harms;
pub use goal::Movers;
pub use goal::Pinning;
pub use goal::Retarget;
pub use remaining::Constraint;
pub use remaining::Remaining;

use alloc::vec::Vec;

use crate::Assignment;
use crate::meeting::covers;
use board::Board;
use board::Shift;

/// Plans the moves that mend the inversions of `assignment`, as far as `goal` asks and the host allows.
///
/// What cannot be mended is in [`Plan::remaining`], with what stops it: after [`Plan::apply`],
/// [`inversions`](crate::inversions()) finds those and no others. A damaged assignment (several sources on one vector, CPUs
/// that are not online) is planned as it stands and never panics.
#[must_use]
pub fn plan(assignment: &Assignment, goal: &Goal) -> Plan {
    let mut start = Board::new(assignment, *goal);
    start.anchors = anchor::needed(&start);
    let mut board = start.clone();
    let pins = pin::pin(&mut board);
    let mut budget = exact::Budget::default();
    let mut shifts: Vec<Shift> = Vec::new();
    let mut lower_bound = 0;
    for arena in arena::arenas(&board) {
        let settled = settle::settle(&mut board, &arena, &start, &mut budget);
        shifts.extend(settled.shifts);
        lower_bound += settled.lower_bound;
    }
    shifts.extend(anchor::anchor(&mut board, &start));
    lower_bound += anchor::settled(&start.anchors, &board);
    // A pin and a new vector are different changes, unless the new vector alone would have settled the source.
    let is_pin_needed = |pin: &pin::Pin| !covers(&start.pieces[pin.piece].fresh, &pin.from);
    if goal.pin == Pinning::GuestsOnly && pins.iter().all(is_pin_needed) {
        lower_bound += pins.len();
    }
    let moves = report::moves(&start, &board, &pins, &shifts);
    let optimality = match moves.len() <= lower_bound {
        true => Optimality::Proven,
        false => Optimality::AtMost { lower_bound },
    };
    Plan { moves, remaining: report::remaining(&board), optimality }
}
