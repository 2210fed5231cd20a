//! The software engine's side: this image executes the program, and asks the engine at every instruction boundary.

use core::cell::RefCell;

use hypervisor_lib::delivery::Action;
use hypervisor_lib::delivery::ApicBus;
use hypervisor_lib::delivery::Host;
use hypervisor_lib::delivery::Message;
use hypervisor_lib::delivery::engine::Event as Injected;
use hypervisor_lib::delivery::engine::Gate;
use hypervisor_lib::delivery::engine::Gates;
use hypervisor_lib::delivery::engine::Software;
use hypervisor_lib::delivery::engine::VcpuApic;
use hypervisor_lib::delivery::software::AccessWidth;
use hypervisor_lib::delivery::software::ApicPage;

use super::hypervisor::APIC_ID;
use super::side::NOW;
use super::side::new_vcpu;
use crate::checks::Reach;
use crate::event::Event;
use crate::event::Log;
use crate::memory;
use crate::program::Operation;

/// Vectors of a non-maskable interrupt and of a general-protection fault.
const NMI: u8 = 2;
const GENERAL_PROTECTION: u8 = 13;

/// A vCPU under the software engine.
pub(super) struct Reference {
    vcpu: VcpuApic<Software>,
    host: Surroundings,
    interrupts: Gate,
}

/// The hypervisor around it.
struct Surroundings {
    bus: ApicBus,
    log: RefCell<Log>,
}

impl Host for Surroundings {
    fn bus(&self) -> &ApicBus {
        &self.bus
    }

    fn act(&self, action: Action) {
        if let Some(event) = Event::of_action(action) {
            self.log.borrow_mut().push(event);
        }
    }
}

impl Reference {
    /// A vCPU after reset, with interrupts disabled.
    pub(super) fn new(reach: Reach) -> Self {
        let host = Surroundings { bus: ApicBus::new(&[APIC_ID]).expect("one number"), log: RefCell::new(Log::new()) };
        Self { vcpu: new_vcpu(reach, Software, &host), host, interrupts: Gate::Closed }
    }

    /// Sends it a message.
    pub(super) fn send(&self, message: &Message) {
        self.host.bus.send(message, &self.host);
    }

    /// Its local APIC's engine.
    pub(super) fn vcpu(&mut self) -> &mut VcpuApic<Software> {
        &mut self.vcpu
    }

    /// Its registers.
    pub(super) fn registers(&mut self) -> ApicPage {
        self.vcpu.local_apic(&self.host).page(NOW)
    }

    /// Runs a program to its end.
    pub(super) fn run(&mut self, operations: &[Operation]) {
        self.host.log.borrow_mut().clear();
        self.boundary();
        for operation in operations {
            self.execute(*operation);
            self.boundary();
        }
    }

    /// Moves what happened in the last run to `to`.
    pub(super) fn take_log(&self, to: &mut Log) {
        to.clear();
        self.host.log.borrow().events().iter().for_each(|event| to.push(*event));
    }

    /// Delivers what there is. A handler does nothing but log its vector, with interrupts disabled until its IRET.
    fn boundary(&mut self) {
        let gates = Gates { interrupts: self.interrupts, nmis: Gate::Open };
        while let Some(event) = self.vcpu.enter(gates, NOW, &self.host) {
            self.vcpu.exited(None, &self.host);
            self.log(Event::Interrupt(match event {
                Injected::Nmi => NMI,
                Injected::Vector(vector) => vector.number(),
                Injected::External(number) => number,
            }));
            if self.host.log.borrow().is_full() {
                return;
            }
        }
        self.vcpu.exited(None, &self.host);
    }

    fn execute(&mut self, operation: Operation) {
        match operation {
            Operation::WriteCr8(class) => match u8::try_from(class) {
                Ok(class @ 0..=15) => self.vcpu.set_cr8(class, &self.host),
                _ => self.log(Event::Fault(GENERAL_PROTECTION)),
            },
            Operation::ReadCr8 => {
                let class = self.vcpu.cr8(&self.host);
                self.log(Event::Value(class.into()));
            }
            Operation::ReadPage(offset, _) => {
                let value = self.vcpu.read_mmio(NOW, offset.bytes(), AccessWidth::Dword, &self.host);
                self.log(Event::Value(value.expect("an aligned read")));
            }
            Operation::WritePage(offset, _, value) => {
                self.vcpu
                    .write_mmio(NOW, offset.bytes(), AccessWidth::Dword, value, &self.host)
                    .expect("an aligned write");
            }
            Operation::ReadMsr(msr) => {
                let value = self.vcpu.read_msr(NOW, msr.into(), &self.host).unwrap_or_else(|_| {
                    self.log(Event::Fault(GENERAL_PROTECTION));
                    0
                });
                let (low, high) = memory::halves(value);
                self.log(Event::Value(low));
                self.log(Event::Value(high));
            }
            Operation::WriteMsr(msr, value) => {
                if self.vcpu.write_msr(NOW, msr.into(), value, &self.host).is_err() {
                    self.log(Event::Fault(GENERAL_PROTECTION));
                }
            }
            Operation::Sti => self.interrupts = Gate::Open,
            // No interrupt comes right behind STI.
            Operation::Cli | Operation::StiCli => self.interrupts = Gate::Closed,
            Operation::StiHlt => {
                self.interrupts = Gate::Open;
                if !self.vcpu.wakes(Gates::OPEN, &self.host) {
                    self.log(Event::Idle);
                }
            }
            Operation::Nothing => {}
        }
    }

    fn log(&self, event: Event) {
        self.host.log.borrow_mut().push(event);
    }
}
