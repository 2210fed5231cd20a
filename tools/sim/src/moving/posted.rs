//! A vCPU with a posted-interrupt descriptor, whose device is posted by the IOMMU or taken by the host.

use carillon_machine::vmx::Event;
use carillon_machine::vmx::Exit;
use carillon_machine::vmx::Guest;
use carillon_machine::vmx::RegisterPage as _;
use carillon_machine::vmx::VectorRegister;
use carillon_machine::vmx::VirtualVector;
use hypervisor_abi::apic::ApicRegister;
use hypervisor_lib::delivery::posted;
use hypervisor_lib::delivery::posted::VcpuKey;
use hypervisor_lib::migration::Carrier;
use hypervisor_lib::migration::Outcome;
use hypervisor_lib::migration::PostedWords;
use hypervisor_lib::migration::Step;
use hypervisor_lib::migration::StepError;
use hypervisor_lib::migration::Words;
use vector_allocator::CpuId;
use vector_allocator::Vector;

use super::Effect;
use super::Move;
use super::Sender;
use super::bed::Bed;
use super::intel;
use super::intel::Intel;
use super::leased::Leased;
use super::wires::NOTIFICATION;
use super::wires::Wires;

/// The vCPU on its host.
pub(super) struct PostedBed<'h> {
    host: &'h Intel,
    words: PostedWords<'h, Intel>,
    /// The device's interrupts, unless the IOMMU posts them.
    leased: Option<Leased>,
    guest: Guest,
    senders: Vec<Sender>,
    /// What the look before the next entry has come to.
    look: Outcome,
}

impl<'h> PostedBed<'h> {
    /// A vCPU that has not run yet; none if the host does not know it.
    pub(super) fn new(host: &'h Intel, of: &Move, key: VcpuKey, leased: Option<Leased>) -> Option<Self> {
        let words = PostedWords::new(host, key)?;
        Some(Self { host, words, leased, guest: intel::vcpu(), senders: of.senders(), look: Outcome::Done })
    }

    /// A CPU has taken a host vector.
    fn take(&mut self, vector: Vector, cpu: CpuId) {
        match &self.leased {
            Some(leased) => {
                if let Some(irq) = leased.identify(vector, cpu, &self.host.wires) {
                    self.host.post_by_software(irq);
                }
            }
            None if vector == NOTIFICATION => self.host.wires.note(Effect::Noticed(vector.number(), cpu)),
            None => self.host.wires.note(Effect::Stray(vector.number(), cpu)),
        }
    }

    fn vm_entry(&mut self) {
        if let Err(fault) = self.guest.enter(intel::WIDTH) {
            self.host.wires.note(Effect::Blocked(fault.to_string()));
        }
    }

    fn delivered(&mut self, vector: u8, cpu: CpuId) {
        let number = |sender: &Sender| match sender {
            Sender::Device(irq) => intel::vector_of(*irq),
            Sender::Vcpu => intel::IPI,
        };
        if let Some(sender) = self.senders.iter().find(|sender| number(sender) == vector) {
            self.host.wires.note(Effect::Delivered(*sender, cpu));
        }
        // The handler ends it.
        self.guest.wrmsr(ApicRegister::Eoi.msr(), 0);
    }
}

impl Carrier for PostedBed<'_> {
    fn carry_out(&mut self, step: &Step) -> Result<Outcome, StepError> {
        match (step.words(), &mut self.leased) {
            (Words::Vectors, Some(leased)) => leased.carry_out(step, self.host),
            _ => {
                let outcome = self.words.carry_out(step)?;
                if matches!(step, Step::FindPosted(_)) {
                    self.look = outcome;
                }
                Ok(outcome)
            }
        }
    }
}

impl Bed for PostedBed<'_> {
    fn wires(&self) -> &Wires {
        &self.host.wires
    }

    fn send(&mut self, sender: Sender) {
        match sender {
            Sender::Device(irq) => self.host.request(irq),
            Sender::Vcpu => self.host.command(),
        }
    }

    fn enter(&mut self, cpu: CpuId) {
        if std::mem::replace(&mut self.look, Outcome::Done) == Outcome::Found {
            self.host.wires.note(Effect::TakenOver);
            let guest = &mut self.guest;
            posted::take(self.host.descriptor(), |word, bits| {
                let [first, ..] = (word * 64).to_le_bytes();
                guest.page.merge(VectorRegister::Request, VirtualVector(first), bits);
                let highest = VirtualVector(first + bits.ilog2().to_le_bytes()[0]);
                guest.vmcs.status.set_rvi(guest.vmcs.status.rvi().max(highest));
            });
        }
        self.vm_entry();
        self.go_on(cpu);
    }

    fn go_on(&mut self, cpu: CpuId) {
        let host = self.host;
        loop {
            let guest = &mut self.guest;
            let passed = host.wires.with_lapic(cpu, |lapic| guest.boundary(lapic, &mut host.descriptor()));
            match passed {
                Some(Event::Delivered(vector)) => self.delivered(vector.0, cpu),
                Some(Event::Processed) => host.wires.note(Effect::Processed(cpu)),
                Some(Event::Exited(Exit::ExternalInterrupt(Some(vector)))) => {
                    host.wires.with_lapic(cpu, |lapic| lapic.eoi());
                    if let Ok(vector) = Vector::new(vector) {
                        self.take(vector, cpu);
                    }
                    self.vm_entry();
                }
                // A guest without windows, in HLT or not, has nothing else to exit for.
                Some(Event::Exited(_) | Event::External(_) | Event::Nothing) | None => break,
            }
        }
    }

    fn take_in_host(&mut self, cpu: CpuId) {
        for vector in self.host.wires.take_in_host(cpu) {
            self.take(vector, cpu);
        }
    }
}
