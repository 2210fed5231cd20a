//! Which ends of interrupts the hypervisor has to hear of (SDM vol. 3C, 25.6.8, 30.1.4).

use vector_allocator::Vector;
use vector_allocator::VectorSet;

/// The EOI-exit bitmap of a vCPU, with how many routes need each vector's exit: the lines of I/O APICs that are level-triggered,
/// timers that count their ticks. A route that changes costs as much with one route as with thousands; a vCPU that moves to
/// another physical CPU takes the bitmap along as it is.
#[derive(Clone, Debug)]
pub struct EoiExitBitmap {
    routes: [u32; 256],
    words: [u64; 4],
}

/// A route was taken back that had not been added.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no route needs the end of vector {0}")]
pub struct NotRouted(pub Vector);

impl Default for EoiExitBitmap {
    fn default() -> Self {
        Self { routes: [0; 256], words: [0; 4] }
    }
}

impl EoiExitBitmap {
    /// One more route needs the exits of `vector`.
    #[inline]
    pub fn add(&mut self, vector: Vector) {
        self.routes[vector.index()] += 1;
        self.words[vector.index() / 64] |= 1 << (vector.index() % 64);
    }

    /// One route fewer needs the exits of `vector`. A vector whose end is still to come keeps its route until then: whoever
    /// takes it back while it is in service would never hear of the end.
    ///
    /// # Errors
    /// No route needs them; nothing has changed.
    #[inline]
    pub fn remove(&mut self, vector: Vector) -> Result<(), NotRouted> {
        let routes = &mut self.routes[vector.index()];
        *routes = routes.checked_sub(1).ok_or(NotRouted(vector))?;
        self.words[vector.index() / 64] &= !(u64::from(*routes == 0) << (vector.index() % 64));
        Ok(())
    }

    /// Whether the end of `vector` exits.
    #[must_use]
    pub const fn exits(&self, vector: Vector) -> bool {
        self.words[vector.index() / 64] >> (vector.index() % 64) & 1 == 1
    }

    /// The four fields of the VMCS.
    #[must_use]
    pub const fn words(&self) -> &[u64; 4] {
        &self.words
    }

    /// The vectors whose end exits.
    #[must_use]
    pub const fn to_set(&self) -> VectorSet {
        VectorSet::from_words(self.words)
    }

    /// Before an entry: writes those of the four fields that differ from what the VMCS holds, which `loaded` keeps.
    #[inline]
    pub fn load(&self, loaded: &mut [u64; 4], mut write_field: impl FnMut(usize, u64)) {
        for (i, (wanted, loaded)) in self.words.iter().zip(loaded).enumerate() {
            if wanted != loaded {
                *loaded = *wanted;
                write_field(i, *wanted);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use alloc::collections::BTreeMap;
    use alloc::vec::Vec;

    use proptest::collection::vec;
    use proptest::prelude::any;
    use proptest::proptest;
    use vector_allocator::Vector;

    use super::EoiExitBitmap;
    use super::NotRouted;

    proptest! {
        #[test]
        fn a_bitmap_agrees_with_a_list_of_routes(changes in vec((any::<bool>(), 16_u8..40, any::<bool>()), 0..200)) {
            let (mut bitmap, mut routes, mut fields) = (EoiExitBitmap::default(), Vec::new(), BTreeMap::new());
            let mut loaded = [0; 4];
            for (add, number, enter) in changes {
                let vector = Vector::new(number | 0xe0 & number << 4).unwrap();
                if add {
                    bitmap.add(vector);
                    routes.push(vector);
                } else {
                    let at = routes.iter().position(|routed| *routed == vector);
                    let expected = at.map(|at| routes.swap_remove(at)).ok_or(NotRouted(vector));
                    assert_eq!(bitmap.remove(vector).map(|()| vector), expected);
                }
                for vector in Vector::all() {
                    assert_eq!(bitmap.exits(vector), routes.contains(&vector), "{vector}");
                }
                if enter {
                    let before = loaded;
                    let mut written = 0;
                    bitmap.load(&mut loaded, |field, value| {
                        fields.insert(field, value);
                        written += 1;
                    });
                    assert_eq!(&loaded, bitmap.words());
                    assert_eq!(written, (0..4).filter(|i| before[*i] != loaded[*i]).count(), "only what differs");
                    for (field, value) in &fields {
                        assert_eq!(loaded[*field], *value);
                    }
                }
            }
        }
    }
}
