//! Both sides with the same messages and programs, and what must be equal afterwards.

use hypervisor_lib::delivery::Message;
use hypervisor_lib::delivery::engine::ApicvLevel;
use hypervisor_lib::delivery::software::REGISTER_SLOTS;
use vector_allocator::Vector;

use super::hypervisor::Hypervisor;
use super::reference::Reference;
use super::vcpu::Exits;
use super::vcpu::Vcpu;
use crate::checks::Reach;
use crate::event::Event;
use crate::event::Listed;
use crate::event::Log;
use crate::println;
use crate::program::Operation;

/// How many events before the first difference are shown.
const MEMORY: usize = 8;
/// SELF IPI's slot: where a CPU stores what was written there (deviation D7), software does not.
const SELF_IPI: usize = 0x3f;

/// A vCPU on both sides.
pub(super) struct Pair {
    vcpu: Vcpu,
    reference: Reference,
    seen: Log,
    expected: Log,
}

/// The guest saw other things than under the software engine; what differs has been printed.
pub(super) struct Differs;

impl Pair {
    /// A vCPU after reset on both sides, with interrupts disabled.
    pub(super) fn new(host: &'static Hypervisor, level: ApicvLevel, reach: Reach) -> Self {
        Self {
            vcpu: Vcpu::new(host, level, reach),
            reference: Reference::new(reach),
            seen: Log::new(),
            expected: Log::new(),
        }
    }

    /// Sends both a message.
    pub(super) fn send(&self, message: &Message) {
        self.vcpu.send(message);
        self.reference.send(message);
    }

    /// Adds a route that needs the ends of `vector`.
    pub(super) fn add_route(&mut self, vector: Vector) {
        self.vcpu.apic().routes_mut().add(vector);
        self.reference.vcpu().routes_mut().add(vector);
    }

    /// Takes a route back.
    pub(super) fn remove_route(&mut self, vector: Vector) {
        let removed = self.vcpu.apic().routes_mut().remove(vector);
        assert_eq!(removed, self.reference.vcpu().routes_mut().remove(vector));
    }

    /// Another engine serves the vCPU from now on.
    pub(super) fn switch(&mut self, level: ApicvLevel) {
        self.vcpu.switch(level);
    }

    /// Runs a program on both sides and compares what the guest saw.
    ///
    /// # Errors
    /// [`Differs`].
    pub(super) fn run(&mut self, operations: &[Operation]) -> Result<(), Differs> {
        self.vcpu.run(operations);
        self.vcpu.take_log(&mut self.seen);
        self.reference.run(operations);
        self.reference.take_log(&mut self.expected);
        let (seen, expected) = (self.seen.events(), self.expected.events());
        let Some(at) = (0..seen.len().max(expected.len())).find(|at| seen.get(*at) != expected.get(*at)) else {
            return Ok(());
        };
        let one = |events: &[Event]| events.get(at).copied();
        println!("     after: {}", Listed(&seen[at.saturating_sub(MEMORY).min(seen.len())..at.min(seen.len())]));
        println!(
            "     event {at}: under the CPU's engine {}, under the software engine {}",
            Listed(one(seen).as_slice()),
            Listed(one(expected).as_slice())
        );
        println!("     exits: {}", self.vcpu.exits());
        println!("     program: {operations:x?}");
        Err(Differs)
    }

    /// Takes the registers back and compares them.
    ///
    /// # Errors
    /// [`Differs`].
    pub(super) fn compare_registers(&mut self) -> Result<(), Differs> {
        let (seen, expected) = (self.vcpu.registers(), self.reference.registers());
        let differs = |slot: &usize| *slot != SELF_IPI && seen.0[*slot] != expected.0[*slot];
        let Some(slot) = (0..REGISTER_SLOTS).find(differs) else { return Ok(()) };
        let (seen, expected) = (seen.0[slot], expected.0[slot]);
        println!(
            "     register {:03X}H: under the CPU's engine {seen:#010x}, under the software engine {expected:#010x}",
            16 * slot
        );
        Err(Differs)
    }

    /// What the guest saw in the last run.
    pub(super) fn seen(&self) -> &[Event] {
        self.seen.events()
    }

    /// Why the guest was left in the last run.
    pub(super) fn exits(&self) -> &Exits {
        self.vcpu.exits()
    }
}
