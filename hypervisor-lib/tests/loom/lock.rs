//! A lock whose state loom knows, for the model-checked tests of both sides.

use std::mem;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::OnceLock;
use std::sync::PoisonError;

use hypervisor_abi::sync::Ordering;
use lock_api::GuardSend;
use lock_api::RawMutex;
use loom::sync::atomic::AtomicBool;
use loom::thread;
use loom::thread::Thread;

/// A lock that comes to be when it is first taken, since loom's atomics are no constants. Who waits is parked: loom would
/// explore every round of a spin.
pub(crate) struct LoomLock {
    flag: OnceLock<AtomicBool>,
    waiting: Mutex<Vec<Thread>>,
}

impl LoomLock {
    fn flag(&self) -> &AtomicBool {
        self.flag.get_or_init(|| AtomicBool::new(false))
    }

    fn waiting(&self) -> MutexGuard<'_, Vec<Thread>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// SAFETY: `try_lock` succeeds for one holder only, since the flag changes from false to true by one compare-and-exchange, and
// only its holder resets it.
unsafe impl RawMutex for LoomLock {
    const INIT: Self = Self { flag: OnceLock::new(), waiting: Mutex::new(Vec::new()) };

    type Guard = GuardSend;

    fn lock(&self) -> GuardSend {
        loop {
            if let Some(guard) = self.try_lock() {
                return guard;
            }
            self.waiting().push(thread::current());
            thread::park();
        }
    }

    fn try_lock(&self) -> Option<GuardSend> {
        let taken = self.flag().compare_exchange(false, true, Ordering::Acquire, Ordering::Relaxed);
        taken.ok().map(|_| GuardSend::new())
    }

    unsafe fn unlock(&self, _: GuardSend) {
        self.flag().store(false, Ordering::Release);
        mem::take(&mut *self.waiting()).into_iter().for_each(|thread| thread.unpark());
    }

    fn is_locked(&self) -> bool {
        self.flag().load(Ordering::Relaxed)
    }
}
