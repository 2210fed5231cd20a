//! A word of shuttle's that counts the read-modify-writes of it, so that tests can say how many an operation costs.

use core::fmt;
use core::sync::atomic;

use shuttle::sync::atomic::Ordering;

/// shuttle's `AtomicU64`, with a count.
#[derive(Default)]
pub struct AtomicU64 {
    word: shuttle::sync::atomic::AtomicU64,
    exchanges: atomic::AtomicU64,
}

/// Methods that are the word's own; those that change it by what it holds are counted.
macro_rules! counted {
    ($($name:ident($($argument:ident: $type:ty),*) -> $result:ty;)*) => {$(
        #[doc = concat!("As `core`'s `AtomicU64::", stringify!($name), "`; counted.")]
        #[expect(clippy::missing_errors_doc, reason = "as core's")]
        pub fn $name(&self, $($argument: $type),*) -> $result {
            self.exchanges.fetch_add(1, Ordering::Relaxed);
            self.word.$name($($argument),*)
        }
    )*};
}

impl AtomicU64 {
    /// As `core`'s.
    #[must_use]
    pub const fn new(value: u64) -> Self {
        Self { word: shuttle::sync::atomic::AtomicU64::new(value), exchanges: atomic::AtomicU64::new(0) }
    }

    /// How many read-modify-writes there have been.
    pub fn exchanges(&self) -> u64 {
        self.exchanges.load(Ordering::Relaxed)
    }

    /// As `core`'s.
    pub fn load(&self, order: Ordering) -> u64 {
        self.word.load(order)
    }

    /// As `core`'s.
    pub fn store(&self, value: u64, order: Ordering) {
        self.word.store(value, order);
    }

    /// As `core`'s.
    pub fn get_mut(&mut self) -> &mut u64 {
        self.word.get_mut()
    }

    /// As `core`'s.
    #[must_use]
    pub fn into_inner(self) -> u64 {
        self.word.into_inner()
    }

    counted! {
        swap(value: u64, order: Ordering) -> u64;
        compare_exchange(current: u64, new: u64, success: Ordering, failure: Ordering) -> Result<u64, u64>;
        compare_exchange_weak(current: u64, new: u64, success: Ordering, failure: Ordering) -> Result<u64, u64>;
        fetch_add(value: u64, order: Ordering) -> u64;
        fetch_sub(value: u64, order: Ordering) -> u64;
        fetch_and(value: u64, order: Ordering) -> u64;
        fetch_or(value: u64, order: Ordering) -> u64;
        fetch_xor(value: u64, order: Ordering) -> u64;
        fetch_max(value: u64, order: Ordering) -> u64;
        fetch_min(value: u64, order: Ordering) -> u64;
    }
}

impl From<u64> for AtomicU64 {
    fn from(value: u64) -> Self {
        Self::new(value)
    }
}

impl fmt::Debug for AtomicU64 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.word.fmt(f)
    }
}
