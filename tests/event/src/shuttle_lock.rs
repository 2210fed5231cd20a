//! A lock whose state shuttle's scheduler knows.
#![expect(unsafe_code, reason = "a lock of lock_api is an unsafe trait to implement")]

use std::fmt;
use std::mem;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;

use lock_api::GuardSend;
use lock_api::RawMutex;
use shuttle::sync::atomic::AtomicBool;
use shuttle::sync::atomic::Ordering;
use shuttle::thread;
use shuttle::thread::Thread;

/// A lock for the threads of shuttle. Who waits is parked, so that waiting takes no steps.
pub struct ShuttleLock {
    is_held: AtomicBool,
    /// No step of the scheduler lies within its guard's life.
    waiting: Mutex<Vec<Thread>>,
}

impl fmt::Debug for ShuttleLock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ShuttleLock").finish_non_exhaustive()
    }
}

impl ShuttleLock {
    fn waiting(&self) -> MutexGuard<'_, Vec<Thread>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// SAFETY: `try_lock` succeeds for one holder only, since the flag changes from false to true by one swap, and only its
// holder resets it.
unsafe impl RawMutex for ShuttleLock {
    const INIT: Self = Self { is_held: AtomicBool::new(false), waiting: Mutex::new(Vec::new()) };

    type Guard = GuardSend;

    fn lock(&self) -> GuardSend {
        loop {
            // Registered before the try: whoever gives the lock back after it finds the waiter.
            self.waiting().push(thread::current());
            if let Some(guard) = self.try_lock() {
                return guard;
            }
            thread::park();
        }
    }

    fn try_lock(&self) -> Option<GuardSend> {
        (!self.is_held.swap(true, Ordering::SeqCst)).then(GuardSend::new)
    }

    unsafe fn unlock(&self, _: GuardSend) {
        self.is_held.store(false, Ordering::SeqCst);
        let waiting = mem::take(&mut *self.waiting());
        waiting.into_iter().for_each(|thread| thread.unpark());
    }

    fn is_locked(&self) -> bool {
        self.is_held.load(Ordering::SeqCst)
    }
}
