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

    /// The cursor on a vector of the pool: its offset follows from the vector, since the stride divides what lies between.
    pub(crate) fn standing_on(pool: &VectorSet, vector: Vector) -> Self {
        let start = Self::new(pool);
        let vector = u16::from(vector.number());
        Self { vector, offset: vector.wrapping_sub(start.first) % STRIDE, ..start }
    }

    /// How many steps it is from here to `vector`, were every vector free; a whole walk for the one it stands on, none
    /// for one outside the pool.
    pub(crate) fn steps_to(self, vector: Vector) -> Option<u32> {
        let span = u32::from(self.last - self.first) + 1;
        let number = u16::from(vector.number());
        if !(self.first..=self.last).contains(&number) {
            return None;
        }
        let rank = |number: u16| {
            let from_first = u32::from(number - self.first);
            let stride = u32::from(STRIDE);
            let column = from_first % stride;
            // Columns before this one, each as long as the pool makes it, and the steps within it.
            let before: u32 = (0..column).map(|earlier| (span - earlier).div_ceil(stride)).sum();
            before + from_first / stride
        };
        let (here, there) = (rank(self.vector.clamp(self.first, self.last)), rank(number));
        Some(if there > here { there - here } else { there + span - here })
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

#[cfg(test)]
mod tests {
    use super::Cursor;
    use crate::Vector;
    use crate::VectorSet;

    #[test]
    fn a_cursor_put_on_a_vector_goes_on_as_the_one_that_walked_there() {
        let (first, last) = (Vector::new(0x23).unwrap(), Vector::new(0xef).unwrap());
        let pool = VectorSet::range(first, last);
        let mut walker = Cursor::new(&pool);
        for draw in 0..500 {
            let (vector, at) = walker.probe(&pool).unwrap();
            let put = Cursor::standing_on(&pool, vector);
            assert_eq!(put.probe(&pool), at.probe(&pool), "draw {draw}: {vector}");
            walker = at;
        }
    }

    #[test]
    fn steps_count_what_the_walk_takes() {
        let pool = VectorSet::range(Vector::new(0x20).unwrap(), Vector::new(0xef).unwrap());
        for from in pool.iter() {
            let start = Cursor::standing_on(&pool, from);
            let mut at = start;
            for steps in 1..208 {
                let (vector, next) = at.probe(&pool).unwrap();
                assert_eq!(start.steps_to(vector), Some(steps), "{from} to {vector}");
                at = next;
            }
            assert_eq!(start.steps_to(from), Some(208));
        }
        assert_eq!(Cursor::new(&pool).steps_to(Vector::new(0xf0).unwrap()), None);
    }
}
