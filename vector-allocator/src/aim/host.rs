//! What carries deeds out: a host, or a model of one.

use core::convert::Infallible;

use alloc::vec::Vec;

use crate::Assignment;
use crate::Vector;
use crate::aim::board::Board;
use crate::aim::board::of_lever;
use crate::aim::deed::Deed;
use crate::aim::deed::Mover;

/// A host as a toolstack reaches it.
pub trait Host {
    /// What can fail on the way.
    type Error;

    /// The host as it is now: every source, its vector, and where it is sent (`xl debug-keys i`). What was kept to some
    /// CPUs is reachable on exactly those.
    ///
    /// # Errors
    /// If it cannot be read.
    fn read(&mut self) -> Result<Assignment, Self::Error>;

    /// Does it. It may take effect later: Xen moves an interrupt when it fires next.
    ///
    /// # Errors
    /// If it cannot be done; the host is then taken to be as it was.
    fn carry_out(&mut self, deed: &Deed) -> Result<(), Self::Error>;
}

/// A host that obeys Xen's rule at once and on which nobody else draws: what a dry run works on.
#[derive(Clone, Debug)]
pub struct Model {
    board: Board,
    movers: Vec<Mover>,
}

impl Model {
    /// A host as it was read, whose last draw is supposed to have been `drawn`.
    #[must_use]
    pub fn new(host: &Assignment, drawn: Vector, movers: &[Mover]) -> Self {
        Self { board: Board::new(host, drawn), movers: movers.to_vec() }
    }
}

impl Host for Model {
    type Error = Infallible;

    fn read(&mut self) -> Result<Assignment, Infallible> {
        Ok(self.board.host.clone())
    }

    fn carry_out(&mut self, deed: &Deed) -> Result<(), Infallible> {
        if let Some(mover) = of_lever(&self.movers, deed.lever()) {
            let before = self.board.clone();
            // With every vector taken Xen answers ENOSPC and leaves the source where it was.
            if self.board.carry_out(mover, deed).is_err() {
                self.board = before;
            }
        }
        Ok(())
    }
}
