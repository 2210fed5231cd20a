//! The instructions of the processor that have no place elsewhere.

use core::arch::x86_64::__cpuid;

use guest_shim::Cpuid;
use hypervisor_abi::cpuid::CpuidLeaf;
use x86_64::registers::control::Cr2;
use x86_64::registers::model_specific::Msr;

/// The CPUID instruction.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Processor;

impl Cpuid for Processor {
    fn leaf(&self, leaf: u32) -> CpuidLeaf {
        let registers = __cpuid(leaf);
        CpuidLeaf { eax: registers.eax, ebx: registers.ebx, ecx: registers.ecx, edx: registers.edx }
    }
}

/// The address that could not be reached, after a page fault.
pub(crate) fn fault_address() -> u64 {
    Cr2::read_raw()
}

/// Reads a model-specific register.
pub(crate) fn read_msr(number: u32) -> u64 {
    // SAFETY: reading changes nothing; a register that does not exist raises an exception, which ends the case.
    unsafe { Msr::new(number).read() }
}

/// Writes a model-specific register of the local APIC or the hypervisor.
///
/// # Safety
/// What the register makes the processor or the hypervisor do must be allowed to happen.
pub(crate) unsafe fn write_msr(number: u32, value: u64) {
    // SAFETY: the caller's.
    unsafe { Msr::new(number).write(value) }
}
