//! Into the guest and out again.

use core::arch::global_asm;
use core::sync::atomic::AtomicU64;
use core::sync::atomic::Ordering;

use crate::cpu;
use crate::event::Event;
use crate::event::Log;
use crate::memory::APIC_ACCESS;
use crate::println;
use crate::program::PROGRAM;

global_asm!(include_str!("entry.s"), fault = sym fault);
global_asm!(
    include_str!("guest.s"),
    program = sym PROGRAM,
    apic_access = sym APIC_ACCESS,
    log = sym LOG,
    count = sym LOG_LENGTH,
    capacity = const Log::CAPACITY,
);

// SAFETY: the names are those of entry.s and guest.s, which are part of this crate, and the types say what stands there.
unsafe extern "C" {
    fn enter_guest(registers: *const AtomicU64, launched: u64) -> u64;
    static guest_exited: u8;
    static guest_start: u8;
    static guest_stubs: u8;
    static fault_stubs: u8;
    static load_start: u8;
    static load_stubs: u8;
    static host_woken: u8;
    static host_notified: u8;
}

static REGISTERS: [AtomicU64; 15] = [const { AtomicU64::new(0) }; 15];
static LOG: [AtomicU64; Log::CAPACITY] = [const { AtomicU64::new(0) }; Log::CAPACITY];
static LOG_LENGTH: AtomicU64 = AtomicU64::new(0);

/// Places in the code that tables and VMCS name.
#[derive(Clone, Copy)]
pub(crate) enum Label {
    /// Where a VM exit continues.
    Exited,
    /// Where the guest begins.
    GuestStart,
    /// The guest's handler stubs, 16 bytes each.
    GuestStubs,
    /// The image's own.
    FaultStubs,
    /// Where the guest under load begins.
    LoadStart,
    /// Its handler stubs, 16 bytes each.
    LoadStubs,
    /// The image's handler of the wake-up vector.
    HostWoken,
    /// The image's handler of the notification vector.
    HostNotified,
}

impl Label {
    /// Its address.
    pub(crate) fn address(self) -> u64 {
        let place = match self {
            Self::Exited => &raw const guest_exited,
            Self::GuestStart => &raw const guest_start,
            Self::GuestStubs => &raw const guest_stubs,
            Self::FaultStubs => &raw const fault_stubs,
            Self::LoadStart => &raw const load_start,
            Self::LoadStubs => &raw const load_stubs,
            Self::HostWoken => &raw const host_woken,
            Self::HostNotified => &raw const host_notified,
        };
        place.addr() as u64
    }
}

/// Whether the current VMCS was launched since it was cleared.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Launch {
    /// It was not.
    Launch,
    /// It was.
    Resume,
}

/// VM entry failed before the guest's state was loaded.
pub(crate) struct EntryFailed;

/// Enters the guest; returns after the next VM exit.
///
/// # Errors
/// [`EntryFailed`], the VM-instruction error field says why.
pub(crate) fn enter(launch: Launch) -> Result<(), EntryFailed> {
    // SAFETY: a VMCS is current whose host state is this very environment and whose host RIP is `guest_exited` (processor.rs
    // loads it before the first entry), so an exit comes back here with the stack and the registers as they were. What the
    // guest executes, guest.s or load.s, writes only to its log or counters, its stacks and the APIC-access page, all of them
    // atomics or memory that nothing else uses; that holds for guest state of every kind, since programs only choose among
    // its operations. There is one guest at a time, and it is entered on one CPU at a time: its VMCS is current on one only.
    let failed = unsafe { enter_guest(REGISTERS.as_ptr(), u64::from(launch == Launch::Resume)) };
    if failed == 0 { Ok(()) } else { Err(EntryFailed) }
}

/// A register of the guest, by its place among those that `enter_guest` stores.
#[derive(Clone, Copy)]
pub(crate) enum Register {
    /// RAX.
    Rax = 0,
    /// RCX: the MSR of an RDMSR or WRMSR.
    Rcx = 2,
    /// RDX.
    Rdx = 3,
    /// R10: what `guest.s` writes.
    R10 = 9,
}

/// A register of the guest at its last exit.
pub(crate) fn guest(register: Register) -> u64 {
    REGISTERS[register as usize].load(Ordering::Relaxed)
}

/// Changes a register of the guest for its next entry.
pub(crate) fn set_guest(register: Register, value: u64) {
    REGISTERS[register as usize].store(value, Ordering::Relaxed);
}

/// Adds an event to the log that the guest writes to as well.
pub(crate) fn log(event: Event) {
    let length = LOG_LENGTH.load(Ordering::Relaxed);
    if let Some(place) = usize::try_from(length).ok().and_then(|length| LOG.get(length)) {
        place.store(event.encode(), Ordering::Relaxed);
        LOG_LENGTH.store(length + 1, Ordering::Relaxed);
    }
}

/// Moves the log to `to`, leaving it empty.
pub(crate) fn take_log(to: &mut Log) {
    let length = usize::try_from(LOG_LENGTH.swap(0, Ordering::Relaxed)).unwrap_or(usize::MAX);
    to.clear();
    LOG.iter().take(length).for_each(|bits| to.push(Event::decode(bits.load(Ordering::Relaxed))));
}

/// A fault of the image itself. `frame` is what its stub and the CPU have pushed.
extern "C" fn fault(frame: &[AtomicU64; 5]) -> ! {
    let frame = frame.each_ref().map(|word| word.load(Ordering::Relaxed));
    println!("FAIL the image: fault or interrupt, vector and frame {frame:x?}");
    cpu::shut_down()
}
