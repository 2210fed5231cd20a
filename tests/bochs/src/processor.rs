//! The CPU's side of a comparison: loads a guest, runs programs, and does on an exit what a hypervisor would have to.

use carillon_machine::vmx::Descriptor;
use carillon_machine::vmx::Guest;
use carillon_machine::vmx::GuestInterruptStatus;

use crate::cpu;
use crate::cpu::vmread;
use crate::cpu::vmwrite;
use crate::entry;
use crate::entry::Launch;
use crate::entry::Register;
use crate::event::Event;
use crate::event::Log;
use crate::memory;
use crate::memory::DESCRIPTOR;
use crate::memory::VIRTUAL_APIC;
use crate::program;
use crate::program::Operation;
use crate::vmcs;
use crate::vmcs::INTERRUPTS_ENABLED;
use crate::vmcs::field;

/// More exits than the longest program can have, each operation with one of its own and one in between.
const MOST_EXITS: usize = 4 * program::LONGEST;

/// Basic exit reasons that the model does not know (SDM vol. 3C, table C-1).
const EXCEPTION: u16 = 0;
const VMCALL: u16 = 18;
const PREEMPTION_TIMER: u16 = 52;

/// Where the descriptor's control word stands, in words.
const DESCRIPTOR_CONTROL: usize = 8;

/// The CPU with its guest.
pub(crate) struct Processor {
    launch: Launch,
    log: Log,
}

/// Whether the guest goes on after an exit.
enum Then {
    Enter,
    Stop,
}

impl Processor {
    /// Loads the guest as the model has it.
    pub(crate) fn load(guest: &Guest) -> Self {
        vmcs::load(&guest.vmcs);
        for (word, value) in guest.page.words().iter().enumerate() {
            VIRTUAL_APIC.store(word, *value);
        }
        DESCRIPTOR.fill(0);
        memory::APIC_ACCESS.fill(0xcccc_cccc);
        Self { launch: Launch::Launch, log: Log::new() }
    }

    /// Sets RVI and a word of the virtual-APIC page, as a hypervisor that injects.
    pub(crate) fn set(&mut self, status: GuestInterruptStatus, guest: &Guest) {
        vmwrite(field::GUEST_INTERRUPT_STATUS, u64::from(u16::from(status)));
        // Eight words of VIRR, 16 bytes apart from 0x200 on.
        for word in (0x200 / 4..0x280 / 4).step_by(4) {
            VIRTUAL_APIC.store(word, guest.page.words()[word]);
        }
    }

    /// Writes the descriptor to memory, `offset` words into its page.
    pub(crate) fn set_descriptor(&mut self, descriptor: &Descriptor, offset: usize) {
        for (index, bits) in descriptor.pir.into_iter().enumerate() {
            DESCRIPTOR.store_pair(offset + 2 * index, bits);
        }
        DESCRIPTOR.store_pair(offset + DESCRIPTOR_CONTROL, descriptor.control.into());
    }

    /// The descriptor as it is in memory.
    pub(crate) fn descriptor(&self) -> Descriptor {
        let pair = |word: usize| u64::from(DESCRIPTOR.load(word + 1)) << 32 | u64::from(DESCRIPTOR.load(word));
        Descriptor { pir: [pair(0), pair(2), pair(4), pair(6)], control: pair(DESCRIPTOR_CONTROL).into() }
    }

    /// Runs a program to its end; what happened.
    pub(crate) fn run(&mut self, operations: &[Operation]) -> &[Event] {
        program::lay_out(operations);
        for _ in 0..MOST_EXITS {
            if entry::enter(self.launch).is_err() {
                let [error, ..] = vmread(field::INSTRUCTION_ERROR).to_le_bytes();
                entry::log(Event::EntryFailed(error));
                break;
            }
            self.launch = Launch::Resume;
            if matches!(leave(), Then::Stop) {
                break;
            }
        }
        entry::take_log(&mut self.log);
        self.log.events()
    }

    /// RVI and SVI.
    pub(crate) fn status(&self) -> GuestInterruptStatus {
        interrupt_status()
    }

    /// Whether the guest's RFLAGS.IF is set.
    pub(crate) fn has_interrupts_enabled(&self) -> bool {
        vmread(field::GUEST_RFLAGS) & INTERRUPTS_ENABLED != 0
    }
}

fn interrupt_status() -> GuestInterruptStatus {
    let [rvi, svi, ..] = vmread(field::GUEST_INTERRUPT_STATUS).to_le_bytes();
    GuestInterruptStatus::from(u16::from_le_bytes([rvi, svi]))
}

/// Logs an exit and does what it asks for.
fn leave() -> Then {
    let [low, high, .., failed] = memory::halves(vmread(field::EXIT_REASON)).0.to_le_bytes();
    let reason = u16::from_le_bytes([low, high]);
    let (mut qualification, _) = memory::halves(vmread(field::EXIT_QUALIFICATION));
    let [vector, ..] = vmread(field::EXIT_INTERRUPTION).to_le_bytes();
    let status = interrupt_status();
    match reason {
        VMCALL => {
            skip();
            return Then::Stop;
        }
        PREEMPTION_TIMER => {
            entry::log(Event::Idle);
            return Then::Stop;
        }
        EXCEPTION => {
            entry::log(Event::Fault(vector));
            skip();
            return Then::Enter;
        }
        1 => {
            qualification = u32::from(vector);
            cpu::end_of_interrupt();
        }
        7 => vmwrite(field::PRIMARY_CONTROLS, vmread(field::PRIMARY_CONTROLS) & !(1 << 2)),
        31 | 32 => {
            (qualification, _) = memory::halves(entry::guest(Register::Rcx));
            skip();
        }
        12 | 44 => skip(),
        43 => vmwrite(field::TPR_THRESHOLD, 0),
        45 | 56 => {}
        _ => {
            entry::log(Event::Unknown(u64::from(failed) << 32 | u64::from(reason)));
            return Then::Stop;
        }
    }
    entry::log(Event::Exit { reason, qualification, status });
    Then::Enter
}

/// Moves the guest behind the instruction that exited.
fn skip() {
    vmwrite(field::GUEST_RIP, vmread(field::GUEST_RIP) + vmread(field::INSTRUCTION_LENGTH));
    vmwrite(field::INTERRUPTIBILITY, vmread(field::INTERRUPTIBILITY) & !3);
}
