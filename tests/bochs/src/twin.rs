//! The model's side of a comparison: executes a program as `guest.s` does, and does on an exit what `processor.rs` does.

use carillon_machine::InterruptFlag;
use carillon_machine::Lapic;
use carillon_machine::vmx::Access;
use carillon_machine::vmx::Activity;
use carillon_machine::vmx::Descriptor;
use carillon_machine::vmx::Event as Boundary;
use carillon_machine::vmx::Exit;
use carillon_machine::vmx::Guest;
use carillon_machine::vmx::PhysicalWidth;
use carillon_machine::vmx::PostedControl;
use carillon_machine::vmx::RegisterPage as _;
use carillon_machine::vmx::VectorRegister;
use carillon_machine::vmx::VirtualVector;
use hypervisor_abi::apic::ApicAccess;
use hypervisor_abi::apic::ApicRegister;
use vector_allocator::Vector;

use crate::cpu;
use crate::event::Event;
use crate::event::Log;
use crate::memory;
use crate::program::Operation;

/// A general-protection fault's vector.
const GENERAL_PROTECTION: u8 = 13;
/// "VM entry with invalid control fields" (SDM vol. 3C, 31.4).
const INVALID_CONTROLS: u8 = 7;

/// The model with its guest.
pub(crate) struct Twin {
    /// The guest.
    pub(crate) guest: Guest,
    /// The CPU's own local APIC.
    pub(crate) lapic: Lapic,
    /// The guest's posted-interrupt descriptor.
    pub(crate) descriptor: Descriptor,
    width: PhysicalWidth,
    log: Log,
    /// VM entry failed, the guest idles, or the log is full: it executes nothing more.
    stopped: bool,
}

impl Twin {
    /// Begins with this guest.
    pub(crate) fn new(guest: Guest, width: PhysicalWidth) -> Self {
        let [notification_vector, _] = guest.vmcs.notification_vector.to_le_bytes();
        let control = PostedControl::new().with_notification_vector(notification_vector);
        let descriptor = Descriptor { pir: [0; 4], control };
        Self { guest, lapic: Lapic::new(0), descriptor, width, log: Log::new(), stopped: false }
    }

    /// Makes a vector wait, as a hypervisor that injects.
    pub(crate) fn inject(&mut self, vector: u8) {
        let vector = VirtualVector(vector);
        self.guest.page.insert(VectorRegister::Request, vector);
        let status = &mut self.guest.vmcs.status;
        status.set_rvi(status.rvi().max(vector));
    }

    /// Posts a vector, without the notification.
    pub(crate) fn post(&mut self, vector: Vector) {
        self.descriptor.post(vector);
    }

    /// Runs a program to its end; what happened.
    pub(crate) fn run(&mut self, operations: &[Operation]) -> &[Event] {
        self.log.clear();
        self.stopped = false;
        self.enter();
        self.boundaries();
        for operation in operations {
            if self.stopped {
                break;
            }
            self.execute(*operation);
            self.boundaries();
        }
        self.log.events()
    }

    fn enter(&mut self) {
        match self.guest.enter(self.width) {
            Ok(None) => {}
            Ok(Some(exit)) => self.leave(exit, 0),
            Err(_) => {
                self.log.push(Event::EntryFailed(INVALID_CONTROLS));
                self.stopped = true;
            }
        }
    }

    /// Passes boundaries until the guest executes its next instruction.
    fn boundaries(&mut self) {
        while !self.stopped {
            match self.guest.boundary(&mut self.lapic, &mut self.descriptor) {
                Boundary::Processed => {}
                Boundary::Exited(exit) => self.leave(exit, 0),
                Boundary::Delivered(vector) => self.handle(vector.0),
                Boundary::External(vector) => {
                    self.lapic.eoi();
                    self.handle(vector);
                }
                Boundary::Nothing => {
                    if self.guest.vmcs.activity == Activity::Hlt {
                        self.log.push(Event::Idle);
                        self.stopped = true;
                    }
                    return;
                }
            }
        }
    }

    /// The guest's handler: its gate has cleared IF, and IRET sets it again.
    fn handle(&mut self, vector: u8) {
        self.guest.vmcs.interrupt_flag = InterruptFlag::Clear;
        self.boundaries();
        self.log.push(Event::Interrupt(vector));
        self.guest.vmcs.interrupt_flag = InterruptFlag::Set;
        // A model that delivers without end is to be seen, not waited for.
        self.stopped |= self.log.is_full();
    }

    /// Logs an exit, does what `processor.rs` does, and enters again. `msr` is what an MSR access was to.
    fn leave(&mut self, exit: Exit, msr: u16) {
        let qualification = match exit {
            Exit::ExternalInterrupt(vector) => u32::from(vector.unwrap_or_default()),
            Exit::ReadMsr | Exit::WriteMsr => u32::from(msr),
            _ => memory::halves(exit.qualification()).0,
        };
        self.log.push(Event::Exit { reason: exit.reason(), qualification, status: self.guest.vmcs.status });
        match exit {
            Exit::ExternalInterrupt(_) => {
                self.lapic.eoi();
            }
            Exit::InterruptWindow => self.guest.vmcs.controls.primary.set_interrupt_window_exiting(false),
            Exit::TprBelowThreshold => self.guest.vmcs.tpr_threshold = 0,
            _ => {}
        }
        self.enter();
    }

    fn execute(&mut self, operation: Operation) {
        match operation {
            Operation::WriteCr8(value) => {
                let access = self.guest.write_cr8(value);
                self.finish(access, 0);
            }
            Operation::ReadCr8 => {
                let value = self.value_of(self.guest.read_cr8(), 0, 0);
                self.log_value(value);
            }
            Operation::ReadPage(offset, width) => {
                let access = match self.guest.read_page(offset, width) {
                    Access::Virtual(value) => Access::Virtual(u64::from(value)),
                    Access::Exit(exit) => Access::Exit(exit),
                    Access::Native => Access::Native,
                    Access::GeneralProtection => Access::GeneralProtection,
                };
                let value = self.value_of(access, 0, 0);
                self.log_value(value);
            }
            Operation::WritePage(offset, width, value) => {
                let access = self.guest.write_page(offset, width, value);
                self.finish(access, 0);
            }
            Operation::ReadMsr(msr) => {
                let native = native_read(msr);
                let access = self.guest.rdmsr(u32::from(msr));
                let value = match (access, native) {
                    (Access::Native, None) => self.value_of(Access::GeneralProtection, msr, 0),
                    (access, native) => self.value_of(access, msr, native.unwrap_or_default()),
                };
                self.log_value(value);
                self.log_value(value >> 32);
            }
            Operation::WriteMsr(msr, value) => {
                let access = match self.guest.wrmsr(u32::from(msr), value) {
                    Access::Native if !may_write(msr) => Access::GeneralProtection,
                    access => access,
                };
                self.finish(access, msr);
            }
            Operation::Sti => {
                self.guest.sti();
                // The one instruction for which STI holds interrupts back.
                self.boundaries();
            }
            Operation::Cli => self.guest.cli(),
            Operation::StiCli => {
                self.guest.sti();
                self.boundaries();
                self.guest.cli();
            }
            Operation::StiHlt => {
                self.guest.sti();
                self.boundaries();
                let access = self.guest.hlt();
                self.finish(access, 0);
            }
            Operation::Nothing => {}
        }
    }

    fn finish<T>(&mut self, access: Access<T>, msr: u16) {
        match access {
            Access::Virtual(_) | Access::Native => {}
            Access::Exit(exit) => self.leave(exit, msr),
            Access::GeneralProtection => self.fault(),
        }
    }

    /// What a read gave; 0 if it did not happen.
    fn value_of(&mut self, access: Access<u64>, msr: u16, native: u64) -> u64 {
        match access {
            Access::Virtual(value) => value,
            Access::Native => native,
            Access::Exit(exit) => {
                self.leave(exit, msr);
                self.boundaries();
                0
            }
            Access::GeneralProtection => {
                self.fault();
                0
            }
        }
    }

    /// Every exception exits; entering again is all there is to it.
    fn fault(&mut self) {
        self.log.push(Event::Fault(GENERAL_PROTECTION));
        self.enter();
        self.boundaries();
    }

    fn log_value(&mut self, value: u64) {
        self.log.push(Event::Value(memory::halves(value).0));
    }
}

/// What a native RDMSR finds in the CPU's own local APIC; none where it faults.
fn native_read(msr: u16) -> Option<u64> {
    let register = ApicRegister::of_msr(u32::from(msr))?;
    let readable = matches!(register.x2apic_access(), ApicAccess::ReadOnly | ApicAccess::ReadWrite);
    readable.then(|| cpu::read_msr(u32::from(msr)))
}

fn may_write(msr: u16) -> bool {
    ApicRegister::of_msr(u32::from(msr))
        .is_some_and(|register| matches!(register.x2apic_access(), ApicAccess::WriteOnly | ApicAccess::ReadWrite))
}
