//! Changing real vectors on stock Xen, which lets nobody choose one: aimed moves.
//!
//! With physical destinations every interrupt that moves to another pCPU is given the next free vector of one global cursor.
//! That is a lottery only for who does not watch it: the cursor stands on the vector it gave out last, so after one draw that
//! is seen every further one can be told in advance. [`Sight`] is what is known of the cursor; [`Apply`] makes the moves that
//! lead to a wanted order, reads the vectors back after each, corrects itself, and takes everything back if it fails. With
//! logical destinations vectors survive moves; there it separates pCPUs, and may, if that is allowed, attach a device
//! again, which draws anew. [`Watch`] says when it is time to do so again.
//!
//! What it is not: whoever reads the host and carries deeds out; that is a [`Host`].

mod apply;
mod board;
mod deed;
mod host;
mod refusal;
mod sight;
mod walk;
mod watch;

pub use apply::Apply;
pub use apply::Consent;
pub use apply::Done;
pub use apply::Limits;
pub use apply::Progress;
pub use deed::Deed;
pub use deed::Lever;
pub use deed::Mover;
pub use deed::Task;
pub use host::Host;
pub use host::Model;
pub use refusal::Outcome;
pub use refusal::Refusal;
pub use sight::Sight;
pub use watch::Pace;
pub use watch::Seen;
pub use watch::Tried;
pub use watch::Verdict;
pub use watch::Watch;
