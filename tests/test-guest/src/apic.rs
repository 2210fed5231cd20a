//! The local APIC, in x2APIC mode where the processor has it (SDM vol. 3A, 11.4 and 11.12).

use core::hint::spin_loop;
use core::ptr::with_exposed_provenance_mut;

use guest_shim::Cpuid;
use guest_shim::LocalApic;

use crate::cpu::Processor;
use crate::cpu::read_msr;
use crate::cpu::write_msr;
use crate::interrupts::GUARD;
use crate::interrupts::SPURIOUS;

const APIC_BASE: u32 = 0x1b;
const IS_BOOT: u64 = 1 << 8;
const X2APIC_ENABLE: u64 = 1 << 10;
const ENABLE: u64 = 1 << 11;
/// CPUID.1:ECX: the processor has x2APIC mode.
const HAS_X2APIC: u32 = 1 << 21;
/// Where the registers are in xAPIC mode, identity-mapped.
const XAPIC: usize = 0xfee0_0000;
/// Where they begin in x2APIC mode.
const X2APIC_MSR: u32 = 0x800;

const EOI: u32 = 0xb0;
const SPURIOUS_VECTOR: u32 = 0xf0;
const SOFTWARE_ENABLE: u32 = 1 << 8;
const IN_SERVICE: u32 = 0x100;
const COMMAND: u32 = 0x300;
const LVT_TIMER: u32 = 0x320;
const INITIAL_COUNT: u32 = 0x380;
const DIVIDE: u32 = 0x3e0;

/// Interrupt commands to all but the sender.
const OTHERS: u32 = 3 << 18;
const FIXED: u32 = 0x4000;
const INIT: u32 = 0x4500;
const START_UP: u32 = 0x4600;

/// Divides the timer's clock by 128.
const BY_128: u32 = 0b1010;
/// The guard's count: 10 s of Xen's virtual APIC, whose clock runs at 100 MHz.
const GUARD_COUNT: u32 = 8_000_000;
/// How long INIT and start-up IPIs are apart, in turns of an idle loop: the receiver takes a while to get to them.
const START_UP_TURNS: u32 = 200_000;

/// The local APIC of the vCPU this runs on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Apic;

impl LocalApic for Apic {
    fn is_software_enabled(&self) -> bool {
        read(SPURIOUS_VECTOR) & SOFTWARE_ENABLE != 0
    }
}

/// Enables this vCPU's APIC, and masks nothing.
pub(crate) fn enable() {
    let mode = if Processor.leaf(1).ecx & HAS_X2APIC != 0 { ENABLE | X2APIC_ENABLE } else { ENABLE };
    // SAFETY: interrupts are disabled, and every vector has a gate.
    unsafe { write_msr(APIC_BASE, read_msr(APIC_BASE) | mode) }
    write(SPURIOUS_VECTOR, SOFTWARE_ENABLE | u32::from(SPURIOUS));
}

/// Whether this is the vCPU that the guest began on.
pub(crate) fn is_first_vcpu() -> bool {
    read_msr(APIC_BASE) & IS_BOOT != 0
}

/// Whether a vector is being serviced: it came through the APIC and has not got its EOI.
pub(crate) fn is_in_service(vector: u8) -> bool {
    read(IN_SERVICE + u32::from(vector / 32) * 0x10) >> (vector % 32) & 1 == 1
}

/// Ends the service of the last vector.
pub(crate) fn eoi() {
    write(EOI, 0);
}

/// Interrupts the other vCPU.
pub(crate) fn interrupt_other(vector: u8) {
    command(FIXED | u32::from(vector));
}

/// Stops the other vCPUs until they are started.
pub(crate) fn stop_others() {
    command(INIT);
    idle();
}

/// Starts the other vCPUs, which were stopped, in real mode at a page below 1 MiB.
pub(crate) fn start_others(page: u8) {
    command(START_UP | u32::from(page));
    idle();
}

/// Has [`GUARD`] come if the case takes too long.
pub(crate) fn guard() {
    write(LVT_TIMER, u32::from(GUARD));
    write(DIVIDE, BY_128);
    write(INITIAL_COUNT, GUARD_COUNT);
}

/// Calls the guard off.
pub(crate) fn relax() {
    write(INITIAL_COUNT, 0);
}

fn command(low: u32) {
    write(COMMAND, OTHERS | low);
}

fn idle() {
    for _ in 0..START_UP_TURNS {
        spin_loop();
    }
}

fn is_x2apic() -> bool {
    read_msr(APIC_BASE) & X2APIC_ENABLE != 0
}

fn read(register: u32) -> u32 {
    if is_x2apic() {
        // The upper half of a register other than the command's is 0.
        let [low, _] = halves(read_msr(X2APIC_MSR + register / 16));
        return low;
    }
    // SAFETY: the page of the APIC's registers is mapped, and each is read by an aligned access of 32 bits.
    unsafe { place(register).read_volatile() }
}

fn write(register: u32, value: u32) {
    if is_x2apic() {
        // SAFETY: every vector this module lets the APIC deliver has a gate.
        return unsafe { write_msr(X2APIC_MSR + register / 16, u64::from(value)) };
    }
    // SAFETY: as for reading; and every vector this module lets the APIC deliver has a gate.
    unsafe { place(register).write_volatile(value) }
}

fn place(register: u32) -> *mut u32 {
    with_exposed_provenance_mut(XAPIC + usize::try_from(register).expect("64-bit addresses"))
}

const fn halves(value: u64) -> [u32; 2] {
    let [a, b, c, d, e, f, g, h] = value.to_le_bytes();
    [u32::from_le_bytes([a, b, c, d]), u32::from_le_bytes([e, f, g, h])]
}
