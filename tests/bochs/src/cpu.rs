//! Instructions of the CPU that Rust has no words for, and what it says of itself.

use core::arch::asm;
use core::arch::x86_64::__cpuid;
use core::fmt;

use carillon_machine::vmx::PhysicalWidth;
use hypervisor_abi::apic::ApicId;
use hypervisor_abi::apic::ApicMode;
use hypervisor_abi::apic::DeliveryMode;
use hypervisor_abi::apic::Icr;
use hypervisor_abi::apic::IcrLevel;
use hypervisor_abi::apic::MSR_APIC_BASE;
use hypervisor_abi::apic::MSR_X2APIC_FIRST;
use hypervisor_abi::posted::PostedDestination;
use vector_allocator::CpuId;

use crate::memory::Page;
use crate::serial;

/// MSRs of VMX (SDM vol. 3D, appendix A).
mod msr {
    pub(super) const FEATURE_CONTROL: u32 = 0x3a;
    pub(super) const VMX_BASIC: u32 = 0x480;
}

const APIC_ID: u32 = MSR_X2APIC_FIRST + 0x02;
const ICR: u32 = MSR_X2APIC_FIRST + 0x30;
const SVR: u32 = MSR_X2APIC_FIRST + 0x0f;
const TPR: u32 = MSR_X2APIC_FIRST + 0x08;
const EOI: u32 = MSR_X2APIC_FIRST + 0x0b;
const SELF_IPI: u32 = MSR_X2APIC_FIRST + 0x3f;

/// A byte from an I/O port.
pub(crate) fn read_port(port: u16) -> u8 {
    let value;
    // SAFETY: the ports read here are those of the serial line, whose registers have no effect on memory.
    unsafe { asm!("in al, dx", in("dx") port, out("al") value, options(nomem, nostack, preserves_flags)) };
    value
}

/// A byte to an I/O port.
pub(crate) fn write_port(port: u16, value: u8) {
    // SAFETY: the ports written here are those of the serial line, of the interrupt controllers' masks and of Bochs's
    // shutdown device; none of them does DMA.
    unsafe { asm!("out dx, al", in("dx") port, in("al") value, options(nomem, nostack, preserves_flags)) };
}

/// Reads an MSR.
pub(crate) fn read_msr(number: u32) -> u64 {
    let (low, high): (u32, u32);
    // SAFETY: reading has no effect; an MSR that does not exist ends in fault().
    unsafe {
        asm!("rdmsr", in("ecx") number, out("eax") low, out("edx") high, options(nomem, nostack, preserves_flags))
    };
    u64::from(high) << 32 | u64::from(low)
}

/// Writes an MSR.
fn write_msr(number: u32, value: u64) {
    let (low, high) = crate::memory::halves(value);
    // SAFETY: the MSRs written here are IA32_FEATURE_CONTROL and those of the local APIC. They decide which interrupts come, and
    // those have handlers of their own wherever they are enabled; a start-up begins at second.s, on a stack of its own.
    unsafe { asm!("wrmsr", in("ecx") number, in("eax") low, in("edx") high, options(nomem, nostack, preserves_flags)) };
}

/// VMREAD of a field that exists.
pub(crate) fn vmread(field: u32) -> u64 {
    let value;
    // SAFETY: a VMCS is current; the destination is a register.
    unsafe { asm!("vmread {}, {}", out(reg) value, in(reg) u64::from(field), options(nostack)) };
    value
}

/// VMWRITE.
///
/// # Panics
/// If there is no such field, or it is read-only.
pub(crate) fn vmwrite(field: u32, value: u64) {
    let failed: u8;
    // SAFETY: it changes the current VMCS, which only entry::enter() uses; what it must contain is argued there.
    unsafe {
        asm!("vmwrite {}, {}", "setbe {}", in(reg) u64::from(field), in(reg) value, out(reg_byte) failed, options(nostack))
    };
    assert!(failed == 0, "VMCS field {field:#x} cannot be written");
}

/// Makes `region` a clear VMCS and the current one.
pub(crate) fn load_vmcs(region: &'static Page) {
    region.store(0, revision());
    clear_vmcs(region);
    make_current(region);
}

/// VMCLEAR: what the VMCS holds is in its region, for whichever CPU is next.
pub(crate) fn clear_vmcs(region: &'static Page) {
    let address = region.address();
    let failed: u8;
    // SAFETY: the region is a page of its own with the CPU's revision identifier, and is used for nothing else.
    unsafe { asm!("vmclear [{}]", "setbe {}", in(reg) &raw const address, out(reg_byte) failed) };
    assert!(failed == 0, "VMCLEAR failed");
}

/// VMPTRLD.
pub(crate) fn make_current(region: &'static Page) {
    let address = region.address();
    let failed: u8;
    // SAFETY: as in clear_vmcs(); no other CPU has it, since whoever had it has cleared it.
    unsafe { asm!("vmptrld [{}]", "setbe {}", in(reg) &raw const address, out(reg_byte) failed) };
    assert!(failed == 0, "VMPTRLD failed");
}

fn revision() -> u32 {
    crate::memory::halves(read_msr(msr::VMX_BASIC)).0 & 0x7fff_ffff
}

/// The control registers that host and guest share.
pub(crate) fn control_registers() -> [u64; 3] {
    let (cr0, cr3, cr4);
    // SAFETY: reading them has no effect.
    unsafe {
        asm!("mov {}, cr0", "mov {}, cr3", "mov {}, cr4", out(reg) cr0, out(reg) cr3, out(reg) cr4, options(nomem, nostack));
    }
    [cr0, cr3, cr4]
}

/// Enters VMX root mode, and the local APIC into x2APIC mode, software-enabled. The interrupt controllers are masked.
pub(crate) fn enter_vmx_root(region: &'static Page) {
    write_port(0x21, 0xff);
    write_port(0xa1, 0xff);
    if read_msr(msr::FEATURE_CONTROL) & 1 == 0 {
        // Locked, VMX outside SMX allowed.
        write_msr(msr::FEATURE_CONTROL, 5);
    }
    let cr4 = control_registers()[2] | 1 << 13;
    // SAFETY: CR4.VMXE only allows VMX instructions.
    unsafe { asm!("mov cr4, {}", in(reg) cr4, options(nostack)) };
    region.store(0, revision());
    let address = region.address();
    let failed: u8;
    // SAFETY: the region is a page of its own with the CPU's revision identifier, never touched again.
    unsafe { asm!("vmxon [{}]", "setbe {}", in(reg) &raw const address, out(reg_byte) failed) };
    assert!(failed == 0, "VMXON failed");
    write_msr(MSR_APIC_BASE, read_msr(MSR_APIC_BASE) | 0xc00);
    restore_local_apic();
}

/// The CPU's own local APIC as the checks expect it, whatever a guest's native writes did to it.
pub(crate) fn restore_local_apic() {
    write_msr(SVR, 0x1ff);
    write_msr(TPR, 0);
    for lvt in [0x2f, 0x32, 0x33, 0x34, 0x35, 0x36, 0x37] {
        write_msr(MSR_X2APIC_FIRST + lvt, 1 << 16);
    }
}

/// Sends this CPU an interrupt; it waits for the next guest.
pub(crate) fn interrupt_self(vector: u8) {
    write_msr(SELF_IPI, u64::from(vector));
}

/// This CPU as notifications name it.
pub(crate) fn posted_destination() -> PostedDestination {
    let (id, _) = crate::memory::halves(read_msr(APIC_ID));
    PostedDestination::new(ApicId(id), ApicMode::X2Apic)
}

/// Sends a CPU an interrupt.
pub(crate) fn interrupt(destination: PostedDestination, vector: u8) {
    let command = Icr::new().with_vector(vector).with_destination(destination.into_bits());
    write_msr(ICR, command.into_bits());
}

/// INIT, and a start-up at `page`, which has to lie below 1 MiB.
pub(crate) fn start_up(cpu: CpuId, page: u8) {
    let to = Icr::new().with_destination(cpu.0).with_level(IcrLevel::Assert);
    write_msr(ICR, to.with_delivery(DeliveryMode::Init).into_bits());
    write_msr(ICR, to.with_delivery(DeliveryMode::StartUp).with_vector(page).into_bits());
}

/// Takes the interrupts that wait; their handlers are those of tables.rs.
pub(crate) fn take_interrupts() {
    // SAFETY: the handlers, in load.s, change nothing but a counter, and have a stack of their own.
    unsafe { asm!("sti", "nop", "nop", "cli") };
}

/// Ends the interrupt in service in the CPU's own local APIC.
pub(crate) fn end_of_interrupt() {
    write_msr(EOI, 0);
}

/// Tells Bochs to end.
pub(crate) fn shut_down() -> ! {
    serial::drain();
    b"Shutdown".iter().for_each(|byte| write_port(0x8900, *byte));
    loop {
        // SAFETY: with interrupts disabled it waits for ever, which is what is wanted.
        unsafe { asm!("cli", "hlt", options(nomem, nostack)) };
    }
}

/// What the CPU offers.
pub(crate) struct Capabilities {
    brand: [u8; 48],
    /// How wide physical addresses are.
    pub(crate) width: PhysicalWidth,
    /// Posted-interrupt processing may be set.
    pub(crate) posts: bool,
}

impl Capabilities {
    /// Asks CPUID and the capability MSRs of VMX.
    pub(crate) fn read() -> Self {
        let mut brand = [0; 48];
        let leaves = (0x8000_0002..=0x8000_0004).map(__cpuid);
        let registers = leaves.flat_map(|leaf| [leaf.eax, leaf.ebx, leaf.ecx, leaf.edx]);
        for (place, byte) in brand.iter_mut().zip(registers.flat_map(u32::to_le_bytes)) {
            *place = byte;
        }
        let [width, ..] = __cpuid(0x8000_0008).eax.to_le_bytes();
        let posts = read_msr(crate::vmcs::PIN_CAPABILITIES) >> 39 & 1 == 1;
        Self { brand, width: PhysicalWidth(width), posts }
    }
}

impl fmt::Display for Capabilities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let brand = core::str::from_utf8(&self.brand).unwrap_or("?").trim_matches(['\0', ' ']);
        let posting = if self.posts { "posted interrupts" } else { "no posted interrupts" };
        write!(f, "{brand}, {} address bits, {posting}", self.width.0)
    }
}
