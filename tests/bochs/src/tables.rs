//! GDT, TSS and the two IDTs: the image's own, of which every gate ends in a report, and the guest's.

use core::arch::asm;
use core::sync::atomic::AtomicU32;
use core::sync::atomic::AtomicU64;
use core::sync::atomic::Ordering;

use vector_allocator::CpuId;

use crate::comparison::NOTIFICATION;
use crate::driven::WAKE_UP;
use crate::entry::Label;
use crate::memory::FAULT_STACK;
use crate::memory::GUEST_INTERRUPT_STACK;

/// The code segment.
pub(crate) const CODE: u16 = 24;
/// The data segment.
pub(crate) const DATA: u16 = 16;
/// The task-state segment of the first CPU; that of the second is the next.
pub(crate) const TASK: u16 = 48;

/// The interrupt stack of the guest's gates and that of the image's, as the TSS numbers them.
const GUEST_STACK_NUMBER: u64 = 1;
const FAULT_STACK_NUMBER: u64 = 2;

static GDT: [AtomicU64; 10] = [const { AtomicU64::new(0) }; 10];
/// The 64-bit TSS of each CPU (SDM vol. 3A, figure 8-11), as words: its interrupt stacks begin at byte 36.
static TSS: [[AtomicU32; 26]; 2] = [const { [const { AtomicU32::new(0) }; 26] }; 2];
static FAULT_IDT: [AtomicU64; 512] = [const { AtomicU64::new(0) }; 512];
static GUEST_IDT: [AtomicU64; 512] = [const { AtomicU64::new(0) }; 512];
/// That of the guest under load, whose handlers may be interrupted (deviation D2), and have no stack of their own.
static LOAD_IDT: [AtomicU64; 512] = [const { AtomicU64::new(0) }; 512];

/// Where the tables are, for the VMCS.
pub(crate) struct Bases {
    /// The global descriptor table.
    pub(crate) gdt: u64,
    /// The task-state segment.
    pub(crate) tss: u64,
    /// The image's interrupt descriptor table.
    pub(crate) fault_idt: u64,
    /// The guest's.
    pub(crate) guest_idt: u64,
    /// That of the guest under load.
    pub(crate) load_idt: u64,
}

/// Where the tables are.
pub(crate) fn bases() -> Bases {
    Bases {
        gdt: GDT.as_ptr().addr() as u64,
        tss: tss(CpuId::BOOT),
        fault_idt: FAULT_IDT.as_ptr().addr() as u64,
        guest_idt: GUEST_IDT.as_ptr().addr() as u64,
        load_idt: LOAD_IDT.as_ptr().addr() as u64,
    }
}

/// Where a CPU's task-state segment is.
pub(crate) fn tss(cpu: CpuId) -> u64 {
    TSS[cpu.index()].as_ptr().addr() as u64
}

/// A CPU's task-state segment, as the GDT numbers it.
pub(crate) fn task(cpu: CpuId) -> u16 {
    if cpu == CpuId::BOOT { TASK } else { TASK + 16 }
}

/// Fills the tables.
pub(crate) fn fill() {
    let mut descriptors = [0, 0, 0x00cf_9200_0000_ffff, 0x00af_9a00_0000_ffff, 0, 0, 0, 0, 0, 0];
    for (cpu, stacks) in (0..).map(CpuId).zip(&FAULT_STACK) {
        for (number, top) in [GUEST_INTERRUPT_STACK.top(), stacks[stacks.len() - 1].top()].into_iter().enumerate() {
            let (low, high) = crate::memory::halves(top);
            TSS[cpu.index()][9 + 2 * number].store(low, Ordering::Relaxed);
            TSS[cpu.index()][10 + 2 * number].store(high, Ordering::Relaxed);
        }
        let (tss, place) = (tss(cpu), usize::from(task(cpu)) / 8);
        descriptors[place] = 0x67 | (tss & 0xff_ffff) << 16 | 0x89 << 40 | (tss >> 24 & 0xff) << 56;
        descriptors[place + 1] = tss >> 32;
    }
    for (place, descriptor) in GDT.iter().zip(descriptors) {
        place.store(descriptor, Ordering::Relaxed);
    }
    fill_gates(&FAULT_IDT, Label::FaultStubs, FAULT_STACK_NUMBER);
    fill_gates(&GUEST_IDT, Label::GuestStubs, GUEST_STACK_NUMBER);
    fill_gates(&LOAD_IDT, Label::LoadStubs, 0);
    set_gate(&FAULT_IDT, WAKE_UP, Label::HostWoken.address(), FAULT_STACK_NUMBER);
    set_gate(&FAULT_IDT, NOTIFICATION, Label::HostNotified.address(), FAULT_STACK_NUMBER);
}

/// Loads them on this CPU.
pub(crate) fn load(cpu: CpuId) {
    let bases = bases();
    load_registers(&pointer(79, bases.gdt), &pointer(4095, bases.fault_idt), task(cpu));
}

/// Interrupt gates to stubs that are 16 bytes apart (SDM vol. 3A, figure 6-8).
fn fill_gates(table: &[AtomicU64; 512], stubs: Label, stack: u64) {
    for vector in 0..=u8::MAX {
        set_gate(table, vector, stubs.address() + 16 * u64::from(vector), stack);
    }
}

fn set_gate(table: &[AtomicU64; 512], vector: u8, stub: u64, stack: u64) {
    let gate = stub & 0xffff | u64::from(CODE) << 16 | stack << 32 | 0x8e00 << 32 | (stub >> 16 & 0xffff) << 48;
    let place = 2 * usize::from(vector);
    table[place].store(gate, Ordering::Relaxed);
    table[place + 1].store(stub >> 32, Ordering::Relaxed);
}

/// What LGDT and LIDT take: the limit, and the base right behind it.
fn pointer(limit: u16, base: u64) -> [u16; 5] {
    let [a, b, c, d, e, f, g, h] = base.to_le_bytes();
    [
        limit,
        u16::from_le_bytes([a, b]),
        u16::from_le_bytes([c, d]),
        u16::from_le_bytes([e, f]),
        u16::from_le_bytes([g, h]),
    ]
}

fn load_registers(gdt: &[u16; 5], idt: &[u16; 5], task: u16) {
    // SAFETY: both tables are filled and live as long as the image; the selectors are those of flat segments that look like
    // the boot sector's, so that code and stack stay where they are.
    unsafe {
        asm!(
            "lgdt [{gdt}]",
            "lidt [{idt}]",
            "mov ds, {data:x}",
            "mov es, {data:x}",
            "mov ss, {data:x}",
            "mov fs, {data:x}",
            "mov gs, {data:x}",
            "push {code}",
            "lea {scratch}, [rip + 2f]",
            "push {scratch}",
            "retfq",
            "2:",
            "ltr {task:x}",
            gdt = in(reg) gdt,
            idt = in(reg) idt,
            data = in(reg) u64::from(DATA),
            code = in(reg) u64::from(CODE),
            task = in(reg) u64::from(task),
            scratch = out(reg) _,
        );
    }
}
