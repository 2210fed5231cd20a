//! A lock for one thread: it counts how often it is taken, and a thread that would wait for itself fails instead.
#![expect(unsafe_code, reason = "a lock of lock_api is an unsafe trait to implement")]

use std::cell::Cell;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;

use lock_api::GuardNoSend;
use lock_api::RawMutex;

thread_local! {
    static TAKEN: Cell<u64> = const { Cell::new(0) };
}

/// How many [`CountedLock`]s this thread has taken so far.
#[must_use]
pub fn locks_taken() -> u64 {
    TAKEN.get()
}

/// A lock that panics where another would wait: with one thread, nobody would ever give it back.
#[derive(Debug)]
pub struct CountedLock {
    is_held: AtomicBool,
}

// SAFETY: `try_lock` succeeds for one holder only, since the flag changes from false to true by one swap, and only its
// holder resets it.
unsafe impl RawMutex for CountedLock {
    const INIT: Self = Self { is_held: AtomicBool::new(false) };

    type Guard = GuardNoSend;

    fn lock(&self) -> GuardNoSend {
        let guard = self.try_lock();
        guard.expect("a lock was taken twice by one thread: it would wait for itself")
    }

    fn try_lock(&self) -> Option<GuardNoSend> {
        TAKEN.set(TAKEN.get() + 1);
        (!self.is_held.swap(true, Ordering::Acquire)).then(GuardNoSend::new)
    }

    unsafe fn unlock(&self, _: GuardNoSend) {
        self.is_held.store(false, Ordering::Release);
    }

    fn is_locked(&self) -> bool {
        self.is_held.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use lock_api::Mutex;

    use super::CountedLock;
    use super::locks_taken;

    #[test]
    #[should_panic(expected = "wait for itself")]
    fn a_thread_that_would_wait_for_itself_fails() {
        let lock = Mutex::<CountedLock, ()>::new(());
        let _held = lock.lock();
        let _again = lock.lock();
    }

    #[test]
    fn every_taking_counts() {
        let before = locks_taken();
        let lock = Mutex::<CountedLock, u32>::new(0);
        (0..3).for_each(|_| *lock.lock() += 1);
        assert_eq!((locks_taken() - before, *lock.lock()), (3, 3));
    }
}
