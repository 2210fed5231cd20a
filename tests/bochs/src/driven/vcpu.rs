//! The CPU's side: the engine sets the VMCS, the CPU runs the guest, and every exit goes to the engine.

use core::fmt;

use hypervisor_lib::delivery::Host;
use hypervisor_lib::delivery::Message;
use hypervisor_lib::delivery::engine::Apicv;
use hypervisor_lib::delivery::engine::ApicvLevel;
use hypervisor_lib::delivery::engine::Event as Injected;
use hypervisor_lib::delivery::engine::Exit;
use hypervisor_lib::delivery::engine::Finished;
use hypervisor_lib::delivery::engine::Gate;
use hypervisor_lib::delivery::engine::Gates;
use hypervisor_lib::delivery::engine::VcpuApic;
use hypervisor_lib::delivery::software::AccessWidth;
use hypervisor_lib::delivery::software::ApicPage;
use vector_allocator::Vector;

use super::hypervisor::Hypervisor;
use super::side::NOW;
use super::side::new_vcpu;
use crate::checks::Posting;
use crate::checks::Reach;
use crate::cpu;
use crate::cpu::vmread;
use crate::cpu::vmwrite;
use crate::entry;
use crate::entry::Launch;
use crate::entry::Register;
use crate::event::Event;
use crate::event::Log;
use crate::memory;
use crate::program;
use crate::program::Operation;
use crate::vmcs;
use crate::vmcs::INTERRUPTS_ENABLED;
use crate::vmcs::field;

/// More exits than the longest program can have: with engines that inject, one before each interrupt, one for each access.
const MOST_EXITS: usize = 8 * program::LONGEST;
/// A general-protection fault.
const GENERAL_PROTECTION: u8 = 13;

/// Basic exit reasons (SDM vol. 3C, table C-1).
pub(super) mod reason {
    pub(in crate::driven) const EXCEPTION_OR_NMI: u16 = 0;
    pub(in crate::driven) const EXTERNAL_INTERRUPT: u16 = 1;
    pub(in crate::driven) const INTERRUPT_WINDOW: u16 = 7;
    pub(in crate::driven) const NMI_WINDOW: u16 = 8;
    pub(in crate::driven) const HLT: u16 = 12;
    pub(in crate::driven) const VMCALL: u16 = 18;
    pub(in crate::driven) const RDMSR: u16 = 31;
    pub(in crate::driven) const WRMSR: u16 = 32;
    pub(in crate::driven) const TPR_BELOW_THRESHOLD: u16 = 43;
    pub(in crate::driven) const APIC_ACCESS: u16 = 44;
    pub(in crate::driven) const VIRTUALIZED_EOI: u16 = 45;
    pub(in crate::driven) const APIC_WRITE: u16 = 56;
}

/// How often the guest was left, by reason; that of the program's end is not counted.
pub(super) struct Exits([u32; 64]);

impl Exits {
    /// For this reason.
    pub(super) fn of(&self, reason: u16) -> u32 {
        self.0[usize::from(reason)]
    }

    /// For any.
    pub(super) fn all(&self) -> u32 {
        self.0.iter().sum()
    }

    /// For any but this.
    pub(super) fn others(&self, reason: u16) -> u32 {
        self.all() - self.of(reason)
    }
}

impl fmt::Display for Exits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (reason, count) in self.0.iter().enumerate().filter(|(_, count)| **count > 0) {
            write!(f, "{count} for reason {reason}, ")?;
        }
        write!(f, "one at the end")
    }
}

/// A vCPU that the CPU runs.
pub(super) struct Vcpu {
    host: &'static Hypervisor,
    apic: VcpuApic<Apicv>,
    launch: Launch,
    exits: Exits,
}

/// Whether the guest goes on after an exit.
enum Then {
    Enter,
    Stop,
}

impl Vcpu {
    /// A vCPU after reset, with interrupts disabled, and a VMCS in which the engine has set nothing.
    pub(super) fn new(host: &'static Hypervisor, level: ApicvLevel, reach: Reach) -> Self {
        let posting = if level >= ApicvLevel::Posting { Posting::On } else { Posting::Off };
        vmcs::load_for_engine(host.page_address(), host.descriptor_address(), posting);
        host.clear_page();
        let apic = new_vcpu(reach, Apicv::new(level), host);
        Self { host, apic, launch: Launch::Launch, exits: Exits([0; 64]) }
    }

    /// Sends it a message.
    pub(super) fn send(&self, message: &Message) {
        self.host.bus().send(message, self.host);
    }

    /// Its local APIC's engine.
    pub(super) fn apic(&mut self) -> &mut VcpuApic<Apicv> {
        &mut self.apic
    }

    /// Another engine from now on.
    pub(super) fn switch(&mut self, level: ApicvLevel) {
        self.apic.switch(Apicv::new(level), self.host);
    }

    /// Its registers, taken back from the CPU.
    pub(super) fn registers(&mut self) -> ApicPage {
        self.apic.local_apic(self.host).page(NOW)
    }

    /// Why the guest was left in the last run.
    pub(super) fn exits(&self) -> &Exits {
        &self.exits
    }

    /// Runs a program to its end.
    pub(super) fn run(&mut self, operations: &[Operation]) {
        program::lay_out(operations);
        self.exits = Exits([0; 64]);
        for _ in 0..MOST_EXITS {
            self.apic.enter(gates(), NOW, self.host);
            if entry::enter(self.launch).is_err() {
                let [error, ..] = vmread(field::INSTRUCTION_ERROR).to_le_bytes();
                entry::log(Event::EntryFailed(error));
                return;
            }
            self.launch = Launch::Resume;
            self.apic.exited(interrupted(), self.host);
            if matches!(self.leave(), Then::Stop) {
                return;
            }
        }
    }

    /// Moves what happened since the last call to `to`.
    pub(super) fn take_log(&self, to: &mut Log) {
        entry::take_log(to);
    }

    /// Does what an exit asks for.
    fn leave(&mut self) -> Then {
        let [low, high, ..] = vmread(field::EXIT_REASON).to_le_bytes();
        let reason = u16::from_le_bytes([low, high]);
        let qualification = vmread(field::EXIT_QUALIFICATION);
        let [lowest, second, ..] = qualification.to_le_bytes();
        if reason == reason::VMCALL {
            skip();
            return Then::Stop;
        }
        if let Some(count) = self.exits.0.get_mut(usize::from(reason)) {
            *count += 1;
        }
        match reason {
            reason::EXCEPTION_OR_NMI => {
                let [vector, ..] = vmread(field::EXIT_INTERRUPTION).to_le_bytes();
                entry::log(Event::Fault(vector));
                skip();
            }
            reason::EXTERNAL_INTERRUPT => cpu::end_of_interrupt(),
            reason::HLT => {
                skip();
                if !self.apic.wakes(gates(), self.host) {
                    entry::log(Event::Idle);
                }
            }
            reason::RDMSR => self.read_msr(),
            reason::WRMSR => self.write_msr(),
            reason::APIC_ACCESS => self.access(u16::from_le_bytes([lowest, second])),
            reason::INTERRUPT_WINDOW => return self.finish(Exit::InterruptWindow),
            reason::NMI_WINDOW => return self.finish(Exit::NmiWindow),
            reason::TPR_BELOW_THRESHOLD => return self.finish(Exit::TprBelowThreshold),
            reason::VIRTUALIZED_EOI => return self.finish(Exit::EndOfInterrupt(lowest)),
            reason::APIC_WRITE => {
                return self.finish(Exit::ApicWrite(u16::from_le_bytes([lowest, second & 0xf])));
            }
            _ => {
                entry::log(Event::Unknown(reason.into()));
                return Then::Stop;
            }
        }
        Then::Enter
    }

    fn finish(&mut self, exit: Exit) -> Then {
        match self.apic.finish(exit, NOW, self.host) {
            Ok(Finished::Enter) => Then::Enter,
            Ok(Finished::Emulate) | Err(_) => {
                entry::log(Event::Unknown(u64::from(u16::MAX)));
                Then::Stop
            }
        }
    }

    fn read_msr(&mut self) {
        let (msr, _) = memory::halves(entry::guest(Register::Rcx));
        match self.apic.read_msr(NOW, msr, self.host) {
            Ok(value) => {
                let (low, high) = memory::halves(value);
                entry::set_guest(Register::Rax, low.into());
                entry::set_guest(Register::Rdx, high.into());
            }
            Err(_) => entry::log(Event::Fault(GENERAL_PROTECTION)),
        }
        skip();
    }

    fn write_msr(&mut self) {
        let (msr, _) = memory::halves(entry::guest(Register::Rcx));
        let (low, high): (u32, u32) =
            [Register::Rax, Register::Rdx].map(|register| memory::halves(entry::guest(register)).0).into();
        if self.apic.write_msr(NOW, msr, u64::from(high) << 32 | u64::from(low), self.host).is_err() {
            entry::log(Event::Fault(GENERAL_PROTECTION));
        }
        skip();
    }

    /// Emulates a doubleword access to the page: `guest.s` reads to EAX and writes from R10.
    fn access(&mut self, qualification: u16) {
        let (offset, kind) = (qualification & 0xfff, qualification >> 12);
        let done = if kind == 0 {
            let read = self.apic.read_mmio(NOW, offset, AccessWidth::Dword, self.host);
            read.map(|value| entry::set_guest(Register::Rax, value.into()))
        } else {
            let (value, _) = memory::halves(entry::guest(Register::R10));
            self.apic.write_mmio(NOW, offset, AccessWidth::Dword, value, self.host)
        };
        if done.is_err() {
            entry::log(Event::Unknown(qualification.into()));
        }
        skip();
    }
}

/// What the guest takes at its next instruction boundary (SDM vol. 3C, table 25-3).
pub(super) fn gates() -> Gates {
    let blocking = vmread(field::INTERRUPTIBILITY);
    let open = |is_open| if is_open { Gate::Open } else { Gate::Closed };
    Gates {
        interrupts: open(vmread(field::GUEST_RFLAGS) & INTERRUPTS_ENABLED != 0 && blocking & 3 == 0),
        nmis: open(blocking & 0b1011 == 0),
    }
}

/// The event whose delivery the exit has broken off (SDM vol. 3C, 25.9.3).
pub(super) fn interrupted() -> Option<Injected> {
    let [vector, kind, _, valid, ..] = vmread(field::VECTORING).to_le_bytes();
    match (valid >> 7, kind & 7) {
        (1, 2) => Some(Injected::Nmi),
        (1, 0) => Vector::new(vector).ok().map(Injected::Vector),
        _ => None,
    }
}

/// Moves the guest behind the instruction that exited.
pub(super) fn skip() {
    vmwrite(field::GUEST_RIP, vmread(field::GUEST_RIP) + vmread(field::INSTRUCTION_LENGTH));
    vmwrite(field::INTERRUPTIBILITY, vmread(field::INTERRUPTIBILITY) & !3);
}
