//! Xen's global cursor over the vectors (`_assign_irq_vector`, `xen/arch/x86/irq.c`).

use crate::Vector;
use crate::VectorSet;

/// Vectors between consecutive allocations: two per priority class, because a local APIC is "not very good" at several
/// interrupts of one level.
const STRIDE: u16 = 8;

/// Where the last vector was given out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cursor {
    first: u16,
    last: u16,
    vector: u16,
    offset: u16,
}

impl Cursor {
    /// The cursor before the first allocation: on the first vector of the pool's lowest class (0x20 on Xen).
    pub(crate) fn new(pool: &VectorSet) -> Self {
        let first = pool.lowest().map_or(0x10, |lowest| u16::from(lowest.number() & 0xf0));
        let last = pool.highest().map_or(first, |highest| u16::from(highest.number()));
        Self { first, last, vector: first, offset: 0 }
    }

    /// The next vector in `free` and the cursor standing on it; none once the walk is back where it began. The vector
    /// under the cursor itself is never probed.
    pub(crate) fn probe(self, free: &VectorSet) -> Option<(Vector, Self)> {
        let mut at = self;
        loop {
            at.vector += STRIDE;
            if at.vector > at.last {
                at.offset = (at.offset + 1) % STRIDE;
                at.vector = at.first + at.offset;
            }
            if at.vector == self.vector {
                return None;
            }
            let vector = u8::try_from(at.vector).ok().and_then(|number| Vector::new(number).ok());
            if let Some(vector) = vector.filter(|vector| free.contains(*vector)) {
                return Some((vector, at));
            }
        }
    }
}
