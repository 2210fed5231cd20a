//! A vCPU's interrupts, whatever its engine: what is done before it is entered, at its exits, and while it halts.

use hypervisor_abi::VcpuId;
use hypervisor_abi::apic::ApicRegister;
use hypervisor_abi::avic::BackingPage;
use hypervisor_abi::sync::Ordering;
use vector_allocator::Vector;

use super::backend::DeliveryEngine;
use super::backend::Entering;
use super::backend::Loan;
use super::backend::Rest;
use super::backend::Vectors;
use super::closed::AnyEngine;
use super::events::Events;
use super::events::Gates;
use super::events::Watch;
use super::exit::Exit;
use super::exit::ExitError;
use super::setting::Event;
use crate::delivery::Engine;
use crate::delivery::apicv::EoiExitBitmap;
use crate::delivery::avic::due;
use crate::delivery::host::Action;
use crate::delivery::host::Host;
use crate::delivery::posted;
use crate::delivery::software::LocalApic;
use crate::delivery::software::LocalApicConfig;
use crate::delivery::time::Moment;
use crate::delivery::vector_register::VectorRegister;

/// A vCPU's local APIC under an engine, and the events that wait to be injected. It belongs to the thread that runs the vCPU.
#[derive(Clone, Debug)]
pub struct VcpuApic<E = AnyEngine> {
    pub(super) apic: LocalApic,
    pub(super) engine: E,
    pub(super) events: Events,
    routes: EoiExitBitmap,
    /// Where the registers are.
    pub(super) loan: Loan,
    /// Whether the page shows those registers that change by writes alone.
    shown: Shown,
    /// The TMR of the page when the vectors came back last.
    shown_tmr: VectorRegister,
    vectors: Vectors,
}

/// Whether the page shows what the registers are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shown {
    Current,
    Stale,
}

/// What is left to the caller after an exit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Finished {
    /// To enter the guest again.
    Enter,
    /// To emulate the instruction, and to move on to the next: it has done nothing yet.
    Emulate,
}

impl<E: DeliveryEngine> VcpuApic<E> {
    /// A vCPU's interrupts after reset. The bus knows of its local APIC from now on.
    pub fn new<H: Host>(config: LocalApicConfig, engine: E, host: &H) -> Self {
        Self::of(LocalApic::new(config, host), engine, Events::default(), host)
    }

    pub(super) fn of<H: Host>(apic: LocalApic, engine: E, events: Events, host: &H) -> Self {
        let mut vcpu = Self {
            apic,
            engine,
            events,
            routes: EoiExitBitmap::default(),
            loan: Loan::Nothing,
            shown: Shown::Stale,
            shown_tmr: VectorRegister::default(),
            vectors: Vectors::Changed,
        };
        if let Some(page) = host.page(vcpu.vcpu()) {
            vcpu.shown_tmr = LocalApic::shown_tmr(page);
        }
        vcpu.update_port(host);
        vcpu
    }

    /// Its engine.
    #[must_use]
    pub fn engine(&self) -> Engine {
        self.engine.engine()
    }

    /// The vectors whose ends the hypervisor has to hear of besides those that come level-triggered: timers that count their
    /// ticks. What changes here counts from the next entry on.
    pub fn routes_mut(&mut self) -> &mut EoiExitBitmap {
        &mut self.routes
    }

    /// Its local APIC with all its registers, which are taken back from the processor: for what this type has no function of
    /// its own for. What it asks of `host` by [`Action::Nmi`] is to be handed to [`pend_nmi`](Self::pend_nmi).
    pub fn local_apic<H: Host>(&mut self, host: &H) -> &mut LocalApic {
        self.collect(host);
        self.take_back(host);
        self.mark_stale(host);
        &mut self.apic
    }

    /// The structure that controls the vCPU (VMCS, VMCB) is a new one: everything is set again.
    pub fn forget_settings(&mut self) {
        self.engine.forget();
        self.events.forget_windows();
        self.mark_changed();
    }

    /// What the processor knows of the vectors is no longer right.
    pub(super) fn mark_changed(&mut self) {
        self.vectors = Vectors::Changed;
    }

    /// INIT, once the vCPU takes it. What waits and what was being injected is lost.
    pub fn init<H: Host>(&mut self, host: &H) {
        let _ = self.local_apic(host);
        self.apic.init(&Watch::new(host));
        self.events = Events::default();
        self.update_port(host);
    }

    /// A non-maskable interrupt comes, by another way than a message or the local APIC.
    pub fn pend_nmi(&mut self) {
        self.events.pend_nmi();
    }

    /// Prepares an entry: takes in what others have left, gives the processor what it delivers by itself, injects what it does
    /// not, and asks for windows for what must wait. Returns the event that the entry delivers, if any.
    ///
    /// It may be called again without an entry in between: what was chosen first is injected all the same, and nothing is lost
    /// . It is to be called when the vCPU's thread can no longer miss that it is kicked, whether because host interrupts
    /// are off or because kicks are counted; and after it [`exited`](Self::exited) for each exit.
    pub fn enter<H: Host>(&mut self, gates: Gates, now: Moment, host: &H) -> Option<Event> {
        self.update_port(host);
        self.collect(host);
        let page = host.page(self.apic.config().vcpu);
        let loan = page.map_or(Loan::Nothing, |_| self.engine.loan(&self.apic, &self.routes, host));
        if loan != Loan::Vectors || self.loan != Loan::Vectors {
            self.take_back(host);
        }
        let event = self.events.choose(gates, loan, &mut self.apic, host);
        if let Some(page) = page {
            self.lend(loan, page, now);
        }
        let entering =
            Entering { apic: &self.apic, page, loan: self.loan, vectors: self.vectors, routes: &self.routes };
        self.engine.program(&entering, host);
        self.vectors = Vectors::Untouched;
        debug_assert!(loan != Loan::Vectors || self.apic.highest().0.is_none(), "a vector waits where nobody looks");
        event
    }

    /// The guest was left. `interrupted` is the event whose delivery the exit has broken off, if any (Intel: IDT-vectoring
    /// information; AMD: EXITINTINFO): it is injected again.
    pub fn exited<H: Host>(&mut self, interrupted: Option<Event>, host: &H) {
        self.events.delivered(interrupted);
        if self.loan >= Loan::TaskPriority
            && let Some(page) = host.page(self.apic.config().vcpu)
            && let Some(inbox) = host.bus().inbox(self.apic.config().vcpu)
        {
            let [task_priority, ..] = page.register(ApicRegister::TaskPriority).load(Ordering::Relaxed).to_le_bytes();
            inbox.set_priority(task_priority >> 4);
        }
    }

    /// Does what an exit asks for.
    ///
    /// # Errors
    /// Processor, tables or caller are not as they should be; nothing has been done.
    pub fn finish<H: Host>(&mut self, exit: Exit, now: Moment, host: &H) -> Result<Finished, ExitError> {
        let page = host.page(self.apic.config().vcpu);
        let watch = Watch::new(host);
        match (self.engine.finish(exit, &self.apic, host)?, page) {
            (Rest::Emulate { .. }, _) => return Ok(Finished::Emulate),
            (Rest::Ended(vector), _) => self.ended(vector, &watch),
            (Rest::Send(icr), Some(page)) => {
                self.apic.send_written(icr, now, &watch);
                self.apic.show_icr(page, self.engine.icr_layout(self.apic.mode()));
            }
            (Rest::Write(ApicRegister::Eoi), Some(page)) => {
                self.take_back(host);
                self.end_of_interrupt(&watch);
                page.register(ApicRegister::Eoi).store(0, Ordering::Relaxed);
            }
            (Rest::Write(register), Some(page)) => {
                self.take_back(host);
                self.mark_stale(host);
                self.apic.write_from_page(page, register, now, &watch);
            }
            (Rest::LogicalId, Some(page)) => {
                self.take_back(host);
                for register in [ApicRegister::LogicalDestination, ApicRegister::DestinationFormat] {
                    self.apic.write_from_page(page, register, now, &watch);
                }
                self.mark_stale(host);
                host.act(Action::LogicalIdChanged);
            }
            (Rest::SelfIpi(vector), _) => self.apic.send_self_ipi(vector, now, &watch),
            (Rest::Undo, _) => self.mark_stale(host),
            (Rest::Nothing | Rest::Send(_) | Rest::Write(_) | Rest::LogicalId, _) => {}
        }
        self.note(&watch);
        Ok(Finished::Enter)
    }

    /// Whether a guest that halts has something to wake up for. It must not sleep if so; and must not miss what comes from now
    /// on: what others leave asks for a kick, a notification or a doorbell.
    pub fn wakes<H: Host>(&mut self, gates: Gates, host: &H) -> bool {
        self.collect(host);
        let interrupt = self.apic.has_external_interrupt() || self.dispatchable(host).is_some();
        self.events.wakes(gates, interrupt)
    }

    /// The vector the guest would be given next, external interrupts apart; what others have left has been taken in.
    fn dispatchable<H: Host>(&mut self, host: &H) -> Option<Vector> {
        match host.page(self.apic.config().vcpu) {
            Some(page) if self.loan == Loan::Vectors => {
                self.lend_accepted(page);
                due(page)
            }
            _ => {
                self.take_back(host);
                self.apic.dispatchable()
            }
        }
    }

    /// Takes in what others have left, wherever: a sender may have looked up the port before it changed. What is posted is
    /// merged even if something else goes first.
    pub(super) fn collect<H: Host>(&mut self, host: &H) {
        let vcpu = self.apic.config().vcpu;
        if let Some(descriptor) = host.descriptor(vcpu) {
            posted::take(descriptor, |word, bits| self.apic.accept_posted(word, bits));
        }
        if self.loan != Loan::Vectors
            && host.avic().is_some()
            && let Some(page) = host.page(vcpu)
        {
            self.apic.accept_from_page(page);
        }
        // After what is edge-triggered: of a vector that came both ways the end is to be told.
        let watch = Watch::new(host);
        self.apic.sync(&watch);
        self.note(&watch);
    }

    /// Takes back what is on loan.
    pub(super) fn take_back<H: Host>(&mut self, host: &H) {
        let Some(page) = host.page(self.apic.config().vcpu) else { return };
        let loan = core::mem::replace(&mut self.loan, Loan::Nothing);
        if loan >= Loan::Registers && self.shown == Shown::Current {
            self.apic.take_back_icr(page, self.engine.icr_layout(self.apic.mode()));
        }
        match loan {
            Loan::Nothing => {}
            Loan::TaskPriority => self.apic.take_back_task_priority(page),
            Loan::Registers => {
                self.apic.take_back_task_priority(page);
                self.shown_tmr = LocalApic::hide_vectors(page);
            }
            Loan::Vectors => self.shown_tmr = self.apic.take_back_vectors(page),
        }
    }

    fn lend(&mut self, loan: Loan, page: &BackingPage, now: Moment) {
        if loan >= Loan::Registers && (self.shown == Shown::Stale || self.loan < Loan::Registers) {
            self.apic.show_others(page, now, self.engine.icr_layout(self.apic.mode()));
            self.shown = Shown::Current;
        }
        match loan {
            Loan::Nothing => {}
            Loan::TaskPriority => self.apic.lend_task_priority(page),
            Loan::Registers => self.apic.show_vectors(page),
            Loan::Vectors if self.loan == Loan::Vectors => self.lend_accepted(page),
            Loan::Vectors => {
                self.apic.lend_vectors(page, &self.shown_tmr);
                self.vectors = Vectors::Changed;
            }
        }
        self.loan = loan;
    }

    fn lend_accepted(&mut self, page: &BackingPage) {
        if self.apic.lend_accepted(page) {
            self.vectors = Vectors::Changed;
        }
    }

    /// Ends the highest interrupt in service, the registers being here.
    pub(super) fn end_of_interrupt<H: Host>(&mut self, host: &H) {
        let (_, served) = self.apic.highest();
        self.apic.end_of_interrupt(host);
        self.tell_edge_end(served, host);
    }

    /// Tells that `served` has ended, if it was edge-triggered: the end of another is told by the local APIC.
    pub(super) fn tell_edge_end<H: Host>(&self, served: Option<Vector>, host: &H) {
        if let Some(vector) = served.filter(|vector| !self.apic.is_level(*vector)) {
            self.tell_end(vector, host);
        }
    }

    /// An interrupt has ended without us.
    fn ended<H: Host>(&mut self, vector: Vector, host: &H) {
        // Under AVIC the page knows more of trigger modes than we.
        if self.apic.is_level(vector) || matches!(self.engine.engine(), Engine::Avic(_)) {
            self.apic.end_level(vector, host);
        } else {
            self.tell_end(vector, host);
        }
        // A pin of the local APIC may have raised it, whose entry shows that.
        self.mark_stale(host);
    }

    fn tell_end<H: Host>(&self, vector: Vector, host: &H) {
        if self.routes.exits(vector) {
            host.act(Action::VectorEnded(vector));
        }
    }

    /// Notes the non-maskable interrupts that an operation has asked for.
    pub(super) fn note<H: Host>(&mut self, watch: &Watch<'_, H>) {
        if watch.has_nmi() {
            self.events.pend_nmi();
        }
    }

    /// Says where vectors are to be left, which depends on what the guest has made of its local APIC.
    pub(super) fn update_port<H: Host>(&mut self, host: &H) {
        self.apic.set_port(self.engine.port(&self.apic), host);
    }

    /// The page is about to show other registers than it should. ICR is taken out before: the guest writes it without an exit.
    pub(super) fn mark_stale<H: Host>(&mut self, host: &H) {
        let shown = core::mem::replace(&mut self.shown, Shown::Stale);
        if shown == Shown::Current
            && self.loan >= Loan::Registers
            && let Some(page) = host.page(self.vcpu())
        {
            self.apic.take_back_icr(page, self.engine.icr_layout(self.apic.mode()));
        }
    }

    /// The vCPU.
    #[must_use]
    pub fn vcpu(&self) -> VcpuId {
        self.apic.config().vcpu
    }
}
