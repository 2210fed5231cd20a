//! The second vCPU: started for one job, at the end of which it stops.
//!
//! It is started as any processor is, by INIT and start-up IPIs, so that it makes no difference which hypervisor runs below.

use core::ptr;
use core::sync::atomic::AtomicPtr;

use hypervisor_abi::sync::AtomicU32;
use hypervisor_abi::sync::Ordering;

use crate::apic;
use crate::entry;
use crate::interrupts;
use crate::interrupts::GUARD;
use crate::interrupts::WAKE;

/// The page below 1 MiB where it begins, in real mode.
const START_PAGE: u8 = 8;

unsafe extern "C" {
    /// What runs there.
    static trampoline: u8;
    /// Its end.
    static trampoline_end: u8;
    /// Not 0: a vCPU has come through the trampoline, and others must not.
    static second_taken: AtomicU32;
}

/// A job of the second vCPU's.
type Job<'a> = &'a (dyn Fn() + Sync);

/// The job, while there is one.
static JOB: AtomicPtr<Job<'static>> = AtomicPtr::new(ptr::null_mut());
/// Not 0: it is done.
static DONE: AtomicU32 = AtomicU32::new(0);

/// Does `there` on the second vCPU and `here` on this one, the first, at the same time; what `here` gave. All events must have
/// been taken by the end of `here`.
pub(crate) fn alongside<R>(there: Job<'_>, here: impl FnOnce() -> R) -> R {
    DONE.store(0, Ordering::SeqCst);
    let mut job = there;
    JOB.store((&raw mut job).cast(), Ordering::SeqCst);
    start();
    let result = here();
    while DONE.load(Ordering::SeqCst) == 0 {
        let vector = interrupts::wait();
        apic::eoi();
        assert_ne!(vector, GUARD, "the second vCPU did not get done");
    }
    JOB.store(ptr::null_mut(), Ordering::SeqCst);
    result
}

fn start() {
    apic::stop_others();
    // SAFETY: the word is in the image, and everybody uses it atomically.
    unsafe { &second_taken }.store(0, Ordering::SeqCst);
    let begin = &raw const trampoline;
    let length = (&raw const trampoline_end).addr() - begin.addr();
    let place = ptr::with_exposed_provenance_mut::<u8>(usize::from(START_PAGE) << 12);
    // SAFETY: the page is ordinary memory outside of the image, which nobody uses while the other vCPUs are stopped; the code
    // is far shorter than a page.
    unsafe { ptr::copy_nonoverlapping(begin, place, length) }
    apic::start_others(START_PAGE);
}

/// The second vCPU, in 64-bit mode on its own stack.
#[unsafe(no_mangle)]
extern "C" fn second_main() -> ! {
    interrupts::load();
    apic::enable();
    let job = JOB.load(Ordering::SeqCst);
    // SAFETY: `alongside` keeps the job alive until it is done, and does not change it; it starts no vCPU without one. Should
    // its case fail, it stops this vCPU before it gives up its stack.
    let job = unsafe { job.read() };
    job();
    DONE.store(1, Ordering::SeqCst);
    apic::interrupt_other(WAKE);
    entry::halt()
}
