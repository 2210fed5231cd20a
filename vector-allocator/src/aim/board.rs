//! Xen as far as vectors are concerned: who holds which, where the cursor stands, and what a deed makes of both.
//!
//! The rule is `_assign_irq_vector`'s (`xen/arch/x86/irq.c`): a source whose vector is taken where it is sent keeps it;
//! another draws the next vector of the global cursor that is free there.

use alloc::vec::Vec;

use crate::Assignment;
use crate::CpuId;
use crate::CpuSet;
use crate::DestinationModel;
use crate::SourceId;
use crate::Vector;
use crate::VectorSet;
use crate::aim::deed::Deed;
use crate::aim::deed::Lever;
use crate::aim::deed::Mover;
use crate::aim::sight::free_on;
use crate::cursor::Cursor;

/// A host whose next draw is known.
#[derive(Clone, Debug)]
pub(super) struct Board {
    pub(super) host: Assignment,
    cursor: Cursor,
}

/// Every vector is taken where a source was to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Full;

impl Board {
    pub(super) fn new(host: &Assignment, drawn: Vector) -> Self {
        let pool = *host.layout.leasable(CpuId(1));
        Self { host: host.clone(), cursor: Cursor::standing_on(&pool, drawn) }
    }

    /// Does it. Says which vectors were drawn.
    pub(super) fn carry_out(&mut self, mover: &Mover, deed: &Deed) -> Result<VectorSet, Full> {
        match deed {
            Deed::Keep { cpus, .. } => self.keep(mover, cpus),
            Deed::Send { to, .. } => self.send(mover, *to),
            Deed::Reattach { .. } => self.reattach(mover),
        }
    }

    fn keep(&mut self, mover: &Mover, cpus: &CpuSet) -> Result<VectorSet, Full> {
        self.confine(mover, cpus);
        let mut targets = mover.sources.iter().filter_map(|id| Some(&self.host.sources[self.index(*id)?].target));
        let is_outside = targets.any(|target| !target.intersects(cpus));
        match cpus.first().filter(|_| is_outside) {
            Some(cpu) => self.go(mover, cpu),
            None => Ok(VectorSet::EMPTY),
        }
    }

    /// What is sent stays where it is sent: that is how it is sent.
    fn send(&mut self, mover: &Mover, cpu: CpuId) -> Result<VectorSet, Full> {
        self.confine(mover, &CpuSet::single(cpu));
        self.go(mover, cpu)
    }

    /// All that hangs on it is kept to these CPUs. What does not fire is still delivered where it is.
    fn confine(&mut self, mover: &Mover, cpus: &CpuSet) {
        for id in mover.followers() {
            if let Some(index) = self.index(id) {
                let source = &mut self.host.sources[index];
                source.reachable = if mover.moves(id) { cpus.clone() } else { cpus.union(&source.target) };
            }
        }
    }

    /// What fires arrives, and draws unless it takes its vector along.
    fn go(&mut self, mover: &Mover, cpu: CpuId) -> Result<VectorSet, Full> {
        let mut drawn = VectorSet::EMPTY;
        for id in &mover.sources {
            let Some(index) = self.index(*id) else { continue };
            if !self.host.sources[index].holders.contains(cpu) {
                drawn.insert(self.draw(index, cpu)?);
            }
            self.host.sources[index].target = CpuSet::single(cpu);
        }
        Ok(drawn)
    }

    fn reattach(&mut self, mover: &Mover) -> Result<VectorSet, Full> {
        let indices: Vec<usize> = mover.sources.iter().filter_map(|id| self.index(*id)).collect();
        for index in &indices {
            self.host.sources[*index].holders = CpuSet::new();
        }
        let mut drawn = VectorSet::EMPTY;
        for index in indices {
            let cpu = self.host.sources[index].target.first().unwrap_or(CpuId::BOOT);
            drawn.insert(self.draw(index, cpu)?);
        }
        Ok(drawn)
    }

    /// Gives the source the next vector for `cpu`; its old one is free from now on.
    fn draw(&mut self, index: usize, cpu: CpuId) -> Result<Vector, Full> {
        let (vector, cursor) = self.cursor.probe(&free_on(&self.host, cpu)).ok_or(Full)?;
        self.cursor = cursor;
        let holders = match self.host.model {
            DestinationModel::Physical => CpuSet::single(cpu),
            model @ DestinationModel::Logical { .. } => model.holders(cpu, &self.host.online),
        };
        let source = &mut self.host.sources[index];
        (source.vector, source.holders) = (vector, holders);
        Ok(vector)
    }

    fn index(&self, id: SourceId) -> Option<usize> {
        self.host.sources.iter().position(|source| source.id == id)
    }
}

/// The CPU a lever's sources are sent to: that of the first.
pub(super) fn place(host: &Assignment, mover: &Mover) -> Option<CpuId> {
    let first = mover.sources.iter().find_map(|id| host.sources.iter().find(|source| source.id == *id))?;
    first.target.first()
}

/// The mover of a lever.
pub(super) fn of_lever(movers: &[Mover], lever: Lever) -> Option<&Mover> {
    movers.iter().find(|mover| mover.lever == lever)
}
