//! The CPUs a move concerns, as signals reach them, and the record of what happens.

use std::cell::RefCell;

use carillon_machine::Acknowledged;
use carillon_machine::Doorbell;
use carillon_machine::Input;
use carillon_machine::Inputs;
use carillon_machine::Lapic;
use carillon_machine::Signal;
use hypervisor_abi::apic::ApicId;
use vector_allocator::CpuId;
use vector_allocator::CpuSet;
use vector_allocator::Vector;

use super::Effect;

/// The host's vector of notifications.
pub(super) const NOTIFICATION: Vector = host_vector(0xf2);
/// The host's vector of kicks.
pub(super) const KICK: Vector = host_vector(0xfc);

/// Local APICs and doorbells of the two CPUs; a CPU's number is its local APIC's.
#[derive(Debug)]
pub(super) struct Wires {
    inputs: RefCell<[Input; 2]>,
    effects: RefCell<Vec<Effect>>,
}

impl Wires {
    pub(super) fn new(from: CpuId, to: CpuId) -> Self {
        let inputs = [from, to].map(|cpu| Input::new(ApicId(cpu.0)));
        Self { inputs: RefCell::new(inputs), effects: RefCell::default() }
    }

    /// Notes what happens.
    pub(super) fn note(&self, effect: Effect) {
        self.effects.borrow_mut().push(effect);
    }

    /// What has happened since the last look.
    pub(super) fn take(&self) -> Vec<Effect> {
        self.effects.take()
    }

    /// Carries a signal.
    pub(super) fn send(&self, signal: Signal) {
        self.note(match signal {
            Signal::Doorbell(id) => Effect::Rang(CpuId(id.0)),
            Signal::Interrupt(message) if message.vector == NOTIFICATION.number() => {
                Effect::Notified(message.vector, CpuId(message.destination))
            }
            Signal::Interrupt(message) if message.vector == KICK.number() => Effect::Kicked(CpuId(message.destination)),
            Signal::Interrupt(message) => Effect::Interrupted(message.vector, CpuId(message.destination)),
        });
        Inputs(&mut self.inputs.borrow_mut()[..]).deliver(signal);
    }

    /// What `look` sees of a CPU's local APIC; nothing of a CPU the move does not concern.
    pub(super) fn with_lapic<T>(&self, cpu: CpuId, look: impl FnOnce(&mut Lapic) -> T) -> Option<T> {
        let mut inputs = self.inputs.borrow_mut();
        inputs.iter_mut().find(|input| input.id.0 == cpu.0).map(|input| look(&mut input.lapic))
    }

    /// Whether a CPU's doorbell has rung since it was heard last.
    pub(super) fn hear(&self, cpu: CpuId) -> Doorbell {
        let mut inputs = self.inputs.borrow_mut();
        inputs.iter_mut().find(|input| input.id.0 == cpu.0).map_or(Doorbell::Silent, Input::hear)
    }

    /// The CPUs on which a vector waits or is in service.
    pub(super) fn live_on(&self, vector: Vector) -> CpuSet {
        let is_live = |lapic: &Lapic| lapic.waiting().contains(vector) || lapic.in_service().contains(vector);
        self.inputs.borrow().iter().filter(|input| is_live(&input.lapic)).map(|input| CpuId(input.id.0)).collect()
    }

    /// Has a CPU take, in the host, what waits in its local APIC, the highest first, and end it.
    pub(super) fn take_in_host(&self, cpu: CpuId) -> Vec<Vector> {
        let take = |lapic: &mut Lapic| {
            let mut taken = Vec::new();
            while lapic.dispatchable().is_some() {
                if let Acknowledged::Vector(vector) = lapic.acknowledge() {
                    taken.push(vector);
                }
                lapic.eoi();
            }
            taken
        };
        self.with_lapic(cpu, take).unwrap_or_default()
    }
}

/// A vector, or a build that fails.
pub(super) const fn host_vector(number: u8) -> Vector {
    match Vector::new(number) {
        Ok(vector) => vector,
        Err(_) => panic!("below 16"),
    }
}
