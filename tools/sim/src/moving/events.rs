//! A paravirtual vCPU: the library's event channels, and devices whose interrupts the host takes.

use std::cell::Cell;

use carillon_machine::InterruptMessage;
use carillon_machine::Signal;
use hypervisor_abi::DomainId;
use hypervisor_abi::Errno;
use hypervisor_abi::Port;
use hypervisor_abi::Shared;
use hypervisor_abi::SharedInfo64;
use hypervisor_abi::VcpuId;
use hypervisor_abi::apic::ApicId;
use hypervisor_abi::sync::Ordering;
use hypervisor_lib::event::Action;
use hypervisor_lib::event::Domain;
use hypervisor_lib::event::DomainConfig;
use hypervisor_lib::event::GuestMemory;
use hypervisor_lib::event::GuestPlace;
use hypervisor_lib::event::HeapMemory;
use hypervisor_lib::event::Host;
use hypervisor_lib::event::PinError;
use hypervisor_lib::event::Pinned;
use hypervisor_lib::event::Privilege;
use hypervisor_lib::event::Sharing;
use hypervisor_lib::event::VirqHandlers;
use hypervisor_lib::event::WordSize;
use hypervisor_lib::fabric::DomainKind;
use hypervisor_lib::migration::Carrier;
use hypervisor_lib::migration::KickTarget;
use hypervisor_lib::migration::NoteWords;
use hypervisor_lib::migration::Outcome;
use hypervisor_lib::migration::Sleep;
use hypervisor_lib::migration::Step;
use hypervisor_lib::migration::StepError;
use hypervisor_lib::migration::Words;
use parking_lot::RawMutex;
use vector_allocator::CpuId;

use super::Effect;
use super::Move;
use super::MoveFault;
use super::Sender;
use super::Silence;
use super::bed::Bed;
use super::intel::Intel;
use super::leased::GUEST;
use super::leased::Leased;
use super::wires::KICK;
use super::wires::Wires;

/// The vCPU that moves.
const MOVER: VcpuId = VcpuId(0);
const PLACE: GuestPlace = GuestPlace { gfn: 1, offset: 0 };

/// The hypervisor: one guest, and its note of where the vCPU is.
pub(super) struct EventHost {
    /// The device's way to the CPUs.
    pub(super) intel: Intel,
    memory: HeapMemory<RawMutex>,
    domain: Domain<RawMutex>,
    handlers: VirqHandlers,
    kicks_go_to: Cell<CpuId>,
    sleeps: Cell<Sleep>,
}

impl EventHost {
    pub(super) fn new(of: &Move) -> Result<Self, MoveFault> {
        let memory = HeapMemory::new(4, PLACE.gfn + 1);
        let config = DomainConfig {
            id: GUEST,
            kind: DomainKind::Pv,
            privilege: Privilege::None,
            word_size: WordSize::Bits64,
            vcpus: 2,
            max_port: 1023,
            pirqs: of.irqs().last().map_or(0, |last| last + 1),
            shared_info_gfn: PLACE.gfn,
        };
        let domain = Domain::new(config, &memory).map_err(MoveFault::Domain)?;
        let (handlers, kicks_go_to) = (VirqHandlers::new(DomainId::DOM0), Cell::new(of.from));
        Ok(Self { intel: Intel::new(of), memory, domain, handlers, kicks_go_to, sleeps: Cell::new(Sleep::Runnable) })
    }

    /// What `look` sees of the guest's shared page.
    fn with_shared<T>(&self, look: impl FnOnce(&SharedInfo64) -> T) -> Option<T> {
        let pinned = self.memory.pin::<SharedInfo64>(GUEST, PLACE).ok()?;
        let seen = self.memory.get(pinned).map(look);
        self.memory.unpin(pinned);
        seen
    }

    fn is_upcall_pending(&self) -> bool {
        let is_pending =
            |shared: &SharedInfo64| shared.vcpu_info[MOVER.index()].evtchn_upcall_pending.load(Ordering::SeqCst) != 0;
        self.with_shared(is_pending).unwrap_or(false)
    }

    /// Notes what becomes of an event: its bit, and the kick or why there is none.
    fn raising(&self, port: Port, raise: impl FnOnce()) {
        let was_pending = self.is_upcall_pending();
        self.intel.wires.note(Effect::Pending(port.0));
        raise();
        if was_pending {
            self.intel.wires.note(Effect::Silent(Silence::UpcallPending));
        }
    }
}

impl GuestMemory for EventHost {
    fn pin<T: Shared>(&self, domain: DomainId, place: GuestPlace) -> Result<Pinned<T>, PinError> {
        self.memory.pin(domain, place)
    }

    fn unpin<T: Shared>(&self, pinned: Pinned<T>) {
        self.memory.unpin(pinned);
    }

    fn get<T: Shared>(&self, pinned: Pinned<T>) -> Option<&T> {
        self.memory.get(pinned)
    }
}

impl Host for EventHost {
    type Lock = RawMutex;

    fn domain(&self, id: DomainId) -> Option<&Domain<RawMutex>> {
        (id == GUEST).then_some(&self.domain)
    }

    fn virq_handlers(&self) -> &VirqHandlers {
        &self.handlers
    }

    fn act(&self, action: Action) {
        match action {
            Action::Kick { vcpu: MOVER, .. } if self.sleeps.get() == Sleep::Asleep => {
                self.intel.wires.note(Effect::Woken);
            }
            Action::Kick { vcpu: MOVER, .. } => {
                let message = InterruptMessage::fixed(KICK.number(), ApicId(self.kicks_go_to.get().0));
                self.intel.wires.send(Signal::Interrupt(message));
            }
            // The other vCPU takes no events, and the device's interrupts follow the plan.
            _ => {}
        }
    }

    fn is_paused(&self, _: DomainId) -> bool {
        false
    }

    fn is_preempted(&self) -> bool {
        false
    }

    fn is_local_apic_enabled(&self, _: DomainId, _: VcpuId) -> bool {
        true
    }

    fn may_use_pirq(&self, _: DomainId, _: u32) -> bool {
        true
    }

    fn bind_pirq(&self, _: DomainId, _: u32, _: Sharing) -> Result<(), Errno> {
        Ok(())
    }
}

impl KickTarget for EventHost {
    fn aim(&self, cpu: CpuId) {
        self.kicks_go_to.set(cpu);
    }

    fn set_asleep(&self, sleep: Sleep) {
        self.sleeps.set(sleep);
    }

    fn is_pending(&self) -> bool {
        self.is_upcall_pending()
    }
}

/// The vCPU on its host.
pub(super) struct EventBed<'h> {
    host: &'h EventHost,
    leased: Leased,
    /// The port of each sender.
    ports: Vec<(Port, Sender)>,
    /// What the look before the next entry has come to.
    look: Outcome,
}

impl<'h> EventBed<'h> {
    /// A vCPU with a port for every sender.
    pub(super) fn new(host: &'h EventHost, of: &Move) -> Result<Self, MoveFault> {
        let leased = Leased::new(of, &host.intel)?;
        let mut ports = Vec::new();
        for sender in of.senders() {
            let port = match sender {
                Sender::Device(irq) => host.domain.bind_pirq(host, irq, Sharing::Exclusive),
                Sender::Vcpu => host.domain.bind_ipi(host, MOVER),
            };
            ports.push((port.map_err(MoveFault::Event)?, sender));
        }
        Ok(Self { host, leased, ports, look: Outcome::Done })
    }

    /// The device's interrupts.
    pub(super) const fn leased(&self) -> &Leased {
        &self.leased
    }

    fn port_of(&self, sender: Sender) -> Option<Port> {
        self.ports.iter().find(|(_, known)| *known == sender).map(|(port, _)| *port)
    }

    /// The upcall, as a guest's handler loop runs it: the flag, the selector, the words of the selector
    /// (public/event_channel.h).
    fn take_upcall(&self, cpu: CpuId) {
        let take = |shared: &SharedInfo64| {
            let info = &shared.vcpu_info[MOVER.index()];
            let mut taken = Vec::new();
            while info.evtchn_upcall_pending.swap(0, Ordering::SeqCst) != 0 {
                let words = info.evtchn_pending_sel.swap(0, Ordering::SeqCst);
                for word in (0..64_usize).filter(|word| words >> word & 1 == 1) {
                    let due = shared.evtchn_pending[word].load(Ordering::SeqCst)
                        & !shared.evtchn_mask[word].load(Ordering::SeqCst);
                    shared.evtchn_pending[word].fetch_and(!due, Ordering::SeqCst);
                    taken.extend((0..64_usize).filter(|bit| due >> bit & 1 == 1).map(|bit| word * 64 + bit));
                }
            }
            taken
        };
        for number in self.host.with_shared(take).unwrap_or_default() {
            let is_it = |(port, _): &&(Port, Sender)| usize::try_from(port.0) == Ok(number);
            if let Some((_, sender)) = self.ports.iter().find(is_it) {
                self.host.intel.wires.note(Effect::Delivered(*sender, cpu));
            }
        }
    }
}

impl Carrier for EventBed<'_> {
    fn carry_out(&mut self, step: &Step) -> Result<Outcome, StepError> {
        if step.words() == Words::Vectors {
            return self.leased.carry_out(step, &self.host.intel);
        }
        let outcome = NoteWords(self.host).carry_out(step)?;
        if matches!(step, Step::FindPending(_)) {
            self.look = outcome;
        }
        Ok(outcome)
    }
}

impl Bed for EventBed<'_> {
    fn wires(&self) -> &Wires {
        &self.host.intel.wires
    }

    fn send(&mut self, sender: Sender) {
        match sender {
            Sender::Device(irq) => self.host.intel.request(irq),
            Sender::Vcpu => {
                let Some(port) = self.port_of(sender) else { return };
                let mut refused = None;
                self.host.raising(port, || refused = self.host.domain.send(self.host, port).err());
                if let Some(refused) = refused {
                    self.wires().note(Effect::Blocked(refused.to_string()));
                }
            }
        }
    }

    fn enter(&mut self, cpu: CpuId) {
        if std::mem::replace(&mut self.look, Outcome::Done) == Outcome::Found {
            self.take_upcall(cpu);
        }
        self.go_on(cpu);
    }

    /// Every way back into the guest passes the look at the upcall.
    fn go_on(&mut self, cpu: CpuId) {
        while self.host.intel.wires.with_lapic(cpu, |lapic| lapic.dispatchable()).flatten().is_some() {
            self.take_in_host(cpu);
            self.take_upcall(cpu);
        }
    }

    fn take_in_host(&mut self, cpu: CpuId) {
        for vector in self.host.intel.wires.take_in_host(cpu) {
            let Some(irq) = self.leased.identify(vector, cpu, &self.host.intel.wires) else { continue };
            if let Some(port) = self.port_of(Sender::Device(irq)) {
                self.host.raising(port, || self.host.domain.send_pirq(self.host, irq));
            }
        }
    }
}
