//! The VMCS of the guest: field encodings (SDM vol. 3D, appendix B), and how the model's VMCS becomes the CPU's.

use carillon_machine::InterruptFlag;
use carillon_machine::vmx::Activity;
use carillon_machine::vmx::PinBased;
use carillon_machine::vmx::Primary;
use carillon_machine::vmx::Vmcs;

use vector_allocator::CpuId;

use crate::checks::Posting;
use crate::comparison::NOTIFICATION;
use crate::cpu;
use crate::cpu::vmread;
use crate::cpu::vmwrite;
use crate::entry::Label;
use crate::memory;
use crate::tables;
use crate::tables::CODE;
use crate::tables::DATA;
use crate::tables::TASK;

/// Encodings of the fields that more than one place uses.
pub(crate) mod field {
    pub(crate) const GUEST_INTERRUPT_STATUS: u32 = 0x0810;
    pub(crate) const PIN_CONTROLS: u32 = 0x4000;
    pub(crate) const PRIMARY_CONTROLS: u32 = 0x4002;
    pub(crate) const EXIT_CONTROLS: u32 = 0x400c;
    pub(crate) const TPR_THRESHOLD: u32 = 0x401c;
    pub(crate) const SECONDARY_CONTROLS: u32 = 0x401e;
    pub(crate) const INSTRUCTION_ERROR: u32 = 0x4400;
    pub(crate) const EXIT_REASON: u32 = 0x4402;
    pub(crate) const EXIT_INTERRUPTION: u32 = 0x4404;
    pub(crate) const VECTORING: u32 = 0x4408;
    pub(crate) const INSTRUCTION_LENGTH: u32 = 0x440c;
    pub(crate) const INTERRUPTIBILITY: u32 = 0x4824;
    pub(crate) const PREEMPTION_TIMER: u32 = 0x482e;
    pub(crate) const EXIT_QUALIFICATION: u32 = 0x6400;
    pub(crate) const GUEST_RIP: u32 = 0x681e;
    pub(crate) const GUEST_RFLAGS: u32 = 0x6820;
}

/// RFLAGS.IF.
pub(crate) const INTERRUPTS_ENABLED: u64 = 1 << 9;
/// Its bit 1 is always set.
const RFLAGS: u64 = 2;

/// The MSRs that say which controls may and must be set (SDM vol. 3D, appendix A.3 to A.5).
pub(crate) const PIN_CAPABILITIES: u32 = 0x481;
const PRIMARY_CAPABILITIES: u32 = 0x482;
const EXIT_CAPABILITIES: u32 = 0x483;
const ENTRY_CAPABILITIES: u32 = 0x484;
const SECONDARY_CAPABILITIES: u32 = 0x48b;

/// Controls beside the model's: a timer that ends a run in which nothing happens any more, and 64-bit mode.
const PREEMPTION_TIMER: u32 = 1 << 6;
const HOST_ADDRESS_SPACE_SIZE: u32 = 1 << 9;
const IA32E_GUEST: u32 = 1 << 9;
/// Controls that let the hypervisor say when the guest takes NMIs.
const NMI_EXITING: u64 = 1 << 3;
const VIRTUAL_NMIS: u64 = 1 << 5;
/// When the timer ends a run: long after the longest program, soon for who waits.
const PATIENCE: u64 = 400_000;

/// Makes the guest's VMCS anew from the model's.
pub(crate) fn load(vmcs: &Vmcs) {
    cpu::load_vmcs(&memory::VMCS);
    load_controls(vmcs);
    load_msr_bitmap(vmcs);
    load_host();
    load_segments();
    load_guest(vmcs);
}

/// Makes the guest's VMCS anew for an engine, which is to set what concerns interrupts; the addresses are fixed. HLT and NMIs
/// exit.
pub(crate) fn load_for_engine(virtual_apic_address: u64, descriptor_address: u64, posting: Posting) {
    let mut vmcs = Vmcs {
        virtual_apic_address,
        apic_access_address: memory::APIC_ACCESS.address(),
        descriptor_address,
        notification_vector: u16::from(NOTIFICATION),
        ..Vmcs::default()
    };
    vmcs.controls.pin = PinBased::new().with_external_interrupt_exiting(true);
    vmcs.controls.primary =
        Primary::new().with_hlt_exiting(true).with_use_msr_bitmaps(true).with_activate_secondary(true);
    load(&vmcs);
    vmwrite(field::PIN_CONTROLS, vmread(field::PIN_CONTROLS) | NMI_EXITING | VIRTUAL_NMIS);
    if posting == Posting::On {
        load_posting(&vmcs);
    }
}

/// The guest is the one under load. How long it runs is for others to judge.
pub(crate) fn load_guest_under_load() {
    vmwrite(field::PREEMPTION_TIMER, u64::from(u32::MAX));
    vmwrite(field::GUEST_RIP, Label::LoadStart.address());
    vmwrite(0x6818, tables::bases().load_idt);
}

/// The state that exits load, as far as it differs from CPU to CPU.
pub(crate) fn load_host_of(cpu: CpuId) {
    vmwrite(0x0c0c, u64::from(tables::task(cpu)));
    vmwrite(0x6c0a, tables::tss(cpu));
}

/// What may be 1 of `wanted`, and what must be.
fn adjusted(capabilities: u32, wanted: u32) -> u64 {
    let (must, may) = memory::halves(cpu::read_msr(capabilities));
    assert!(wanted & !may == 0, "controls {wanted:#x} are not all offered by MSR {capabilities:#x}");
    u64::from(wanted | must)
}

fn load_controls(vmcs: &Vmcs) {
    let controls = &vmcs.controls;
    let primary = adjusted(PRIMARY_CAPABILITIES, u32::from(controls.primary));
    vmwrite(field::PIN_CONTROLS, adjusted(PIN_CAPABILITIES, u32::from(controls.pin) | PREEMPTION_TIMER));
    vmwrite(field::PRIMARY_CONTROLS, primary);
    vmwrite(field::SECONDARY_CONTROLS, adjusted(SECONDARY_CAPABILITIES, u32::from(controls.secondary)));
    vmwrite(field::EXIT_CONTROLS, adjusted(EXIT_CAPABILITIES, u32::from(controls.exit) | HOST_ADDRESS_SPACE_SIZE));
    vmwrite(0x4012, adjusted(ENTRY_CAPABILITIES, IA32E_GUEST));
    // Every exception exits.
    vmwrite(0x4004, u64::from(u32::MAX));
    vmwrite(0x2012, vmcs.virtual_apic_address);
    vmwrite(0x2014, vmcs.apic_access_address);
    vmwrite(field::TPR_THRESHOLD, u64::from(vmcs.tpr_threshold));
    for (encoding, bits) in [0x201c, 0x201e, 0x2020, 0x2022].into_iter().zip(vmcs.eoi_exit.0) {
        vmwrite(encoding, bits);
    }
    if controls.pin.process_posted_interrupts() {
        load_posting(vmcs);
    }
    vmwrite(field::GUEST_INTERRUPT_STATUS, u64::from(u16::from(vmcs.status)));
    vmwrite(field::PREEMPTION_TIMER, PATIENCE);
}

fn load_posting(vmcs: &Vmcs) {
    vmwrite(0x0002, u64::from(vmcs.notification_vector));
    vmwrite(0x2016, vmcs.descriptor_address);
}

fn load_msr_bitmap(vmcs: &Vmcs) {
    // MSR 0x800 is bit 0x800 of either bitmap for low MSRs; the one for writes begins at byte 2048.
    for (first_byte, bits) in [(0x100, vmcs.msr_bitmap.read), (0x900, vmcs.msr_bitmap.write)] {
        for (index, bits) in bits.into_iter().enumerate() {
            memory::MSR_BITMAP.store_pair(first_byte / 4 + 2 * index, bits);
        }
    }
    vmwrite(0x2004, memory::MSR_BITMAP.address());
}

fn load_host() {
    let bases = tables::bases();
    for (encoding, value) in [0x6c00, 0x6c02, 0x6c04].into_iter().zip(cpu::control_registers()) {
        vmwrite(encoding, value);
    }
    for (encoding, selector) in
        [(0x0c00, DATA), (0x0c02, CODE), (0x0c04, DATA), (0x0c06, DATA), (0x0c08, DATA), (0x0c0a, DATA), (0x0c0c, TASK)]
    {
        vmwrite(encoding, u64::from(selector));
    }
    // Bases of FS and GS, then TR, GDTR, IDTR; the SYSENTER MSRs are not used.
    for (encoding, value) in
        [(0x6c06, 0), (0x6c08, 0), (0x6c0a, bases.tss), (0x6c0c, bases.gdt), (0x6c0e, bases.fault_idt)]
    {
        vmwrite(encoding, value);
    }
    for encoding in [0x4c00, 0x6c10, 0x6c12] {
        vmwrite(encoding, 0);
    }
    vmwrite(0x6c16, Label::Exited.address());
}

/// ES, CS, SS, DS, FS, GS, LDTR and TR: selector, base, limit, access rights (SDM vol. 3C, 25.4.1).
fn load_segments() {
    let bases = tables::bases();
    let data = (DATA, 0, u32::MAX, 0xc093);
    let code = (CODE, 0, u32::MAX, 0xa09b);
    let unusable = (0, 0, 0, 0x1_0000);
    let task = (TASK, bases.tss, 0x67, 0x8b);
    for (index, (selector, base, limit, rights)) in (0..).zip([data, code, data, data, data, data, unusable, task]) {
        vmwrite(0x0800 + 2 * index, u64::from(selector));
        vmwrite(0x6806 + 2 * index, base);
        vmwrite(0x4800 + 2 * index, u64::from(limit));
        vmwrite(0x4814 + 2 * index, rights);
    }
    for (encoding, value) in [(0x6816, bases.gdt), (0x4810, 63), (0x6818, bases.guest_idt), (0x4812, 4095)] {
        vmwrite(encoding, value);
    }
}

fn load_guest(vmcs: &Vmcs) {
    for (encoding, value) in [0x6800, 0x6802, 0x6804].into_iter().zip(cpu::control_registers()) {
        vmwrite(encoding, value);
    }
    let enabled = if vmcs.interrupt_flag == InterruptFlag::Set { INTERRUPTS_ENABLED } else { 0 };
    vmwrite(field::GUEST_RFLAGS, RFLAGS | enabled);
    vmwrite(field::GUEST_RIP, Label::GuestStart.address());
    vmwrite(0x681c, memory::GUEST_STACK.top());
    vmwrite(0x681a, 0x400);
    vmwrite(field::INTERRUPTIBILITY, 0);
    vmwrite(0x4826, u64::from(vmcs.activity == Activity::Hlt));
    // No pending debug exceptions, no SYSENTER, no debug MSR, no shadow VMCS.
    for encoding in [0x6822, 0x482a, 0x6824, 0x6826, 0x2802] {
        vmwrite(encoding, 0);
    }
    vmwrite(0x2800, u64::MAX);
}
