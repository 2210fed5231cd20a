//! The second CPU: it waits for work, and does it beside the first.

use core::arch::global_asm;
use core::sync::atomic::AtomicU32;
use core::sync::atomic::Ordering;

use spinning_top::Spinlock;
use vector_allocator::CpuId;

use crate::cpu;
use crate::memory::SECOND_STACK;
use crate::memory::VMXON;
use crate::tables;

global_asm!(
    include_str!("second.s"),
    stack = sym SECOND_STACK,
    stack_size = const size_of_val(&SECOND_STACK),
    main = sym second_main,
);

// SAFETY: the name is that of second.s, which is part of this crate; only its address is taken.
unsafe extern "C" {
    static second_start: u8;
}

/// Its number, as the host and as local APICs have it.
pub(crate) const SECOND: CpuId = CpuId(1);
/// How often the first CPU looks whether the second has begun.
const PATIENCE: u32 = 50_000_000;

/// What a CPU can be given to do.
type Work = &'static (dyn Fn() + Sync);

static WORK: Spinlock<Option<Work>> = Spinlock::new(None);
/// How many CPUs have begun.
static BEGUN: AtomicU32 = AtomicU32::new(1);

/// Starts it, unless it runs.
///
/// # Panics
/// It does not begin.
pub(crate) fn start() {
    if BEGUN.load(Ordering::Acquire) > 1 {
        return;
    }
    let page = u8::try_from((&raw const second_start).addr() >> 12).expect("the image lies below 1 MiB");
    cpu::start_up(SECOND, page);
    let has_begun = (0..PATIENCE).any(|_| {
        core::hint::spin_loop();
        BEGUN.load(Ordering::Acquire) > 1
    });
    assert!(has_begun, "the second CPU does not begin");
}

/// Gives it work.
pub(crate) fn give(work: Work) {
    *WORK.lock() = Some(work);
}

extern "C" fn second_main() -> ! {
    tables::load(SECOND);
    cpu::enter_vmx_root(&VMXON[SECOND.index()]);
    BEGUN.store(2, Ordering::Release);
    loop {
        let work = WORK.lock().take();
        if let Some(work) = work {
            work();
        }
        core::hint::spin_loop();
    }
}
