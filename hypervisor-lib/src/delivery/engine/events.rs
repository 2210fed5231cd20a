//! Events that are injected rather than delivered by the processor, and the windows for those that must wait.

use core::cell::Cell;

use hypervisor_abi::VcpuId;
use hypervisor_abi::avic::BackingPage;
use hypervisor_abi::posted::PostedDescriptor;

use super::avic::AvicTables;
use super::backend::Loan;
use super::setting::Event;
use super::setting::Setting;
use super::setting::Window;
use crate::delivery::ApicBus;
use crate::delivery::Switch;
use crate::delivery::host::Action;
use crate::delivery::host::Host;
use crate::delivery::software::Acknowledged;
use crate::delivery::software::LocalApic;

/// Whether the guest takes something at the next instruction boundary.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Gate {
    /// It does.
    Open,
    /// It does not.
    Closed,
}

/// What the guest takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Gates {
    /// Interrupts: open with RFLAGS.IF set and no blocking by STI or MOV SS.
    pub interrupts: Gate,
    /// Non-maskable interrupts: closed from the delivery of one to the next IRET, and by MOV SS.
    pub nmis: Gate,
}

impl Gates {
    /// Everything.
    pub const OPEN: Self = Self { interrupts: Gate::Open, nmis: Gate::Open };
    /// Nothing.
    pub const CLOSED: Self = Self { interrupts: Gate::Closed, nmis: Gate::Closed };
}

/// A non-maskable interrupt waits. However many come meanwhile, one is delivered (SDM vol. 3A, 6.7.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum PendingNmi {
    /// None does.
    #[default]
    None,
    /// One does.
    Waits,
}

/// What waits to be injected.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Events {
    pub(super) nmi: PendingNmi,
    /// Given to an entry that has not been reported as made, or broken off by an exit. It goes before everything else.
    pub(super) in_flight: Option<Event>,
    /// What the control structure has for either window, as far as it was set.
    windows: [Option<Switch>; 2],
}

impl Events {
    /// Events that were saved, for a control structure with nothing set.
    pub(super) const fn restored(nmi: PendingNmi, in_flight: Option<Event>) -> Self {
        Self { nmi, in_flight, windows: [None; 2] }
    }

    pub(super) fn pend_nmi(&mut self) {
        self.nmi = PendingNmi::Waits;
    }

    pub(super) fn forget_windows(&mut self) {
        self.windows = [None; 2];
    }

    /// The entry was made, and delivered what it was given unless an exit broke that off.
    pub(super) fn delivered(&mut self, interrupted: Option<Event>) {
        self.in_flight = interrupted;
    }

    /// Chooses what this entry delivers, and asks for windows for what is left.
    pub(super) fn choose<H: Host>(
        &mut self,
        gates: Gates,
        loan: Loan,
        apic: &mut LocalApic,
        host: &H,
    ) -> Option<Event> {
        if self.in_flight.is_none() {
            self.in_flight = self.next(gates, loan, apic, host);
        }
        if let Some(event) = self.in_flight {
            host.act(Action::Set(Setting::Inject(event)));
        }
        let interrupt = has_interrupt(apic, loan);
        self.set_window(Window::Interrupt, if interrupt { Switch::On } else { Switch::Off }, host);
        let nmi = if self.nmi == PendingNmi::Waits { Switch::On } else { Switch::Off };
        self.set_window(Window::Nmi, nmi, host);
        self.in_flight
    }

    fn next<H: Host>(&mut self, gates: Gates, loan: Loan, apic: &mut LocalApic, host: &H) -> Option<Event> {
        if gates.nmis == Gate::Open && self.nmi == PendingNmi::Waits {
            self.nmi = PendingNmi::None;
            return Some(Event::Nmi);
        }
        if gates.interrupts == Gate::Closed || !has_interrupt(apic, loan) {
            return None;
        }
        match apic.acknowledge() {
            Acknowledged::Vector(vector) => Some(Event::Vector(vector)),
            Acknowledged::ExtInt => host.external_vector().map(Event::External),
            Acknowledged::Spurious(_) => None,
        }
    }

    /// Whether a halted guest wakes, `interrupt` saying whether an interrupt waits that it may be given.
    pub(super) fn wakes(&self, gates: Gates, interrupt: bool) -> bool {
        self.in_flight.is_some()
            || self.nmi == PendingNmi::Waits && gates.nmis == Gate::Open
            || interrupt && gates.interrupts == Gate::Open
    }

    fn set_window<H: Host>(&mut self, window: Window, switch: Switch, host: &H) {
        // A control structure begins without windows.
        let before = self.windows[window as usize].replace(switch).unwrap_or(Switch::Off);
        if before != switch {
            host.act(Action::Set(Setting::Window(window, switch)));
        }
    }
}

/// Whether there is an interrupt that the hypervisor is to inject. With the vectors on loan, it is an external one.
fn has_interrupt(apic: &LocalApic, loan: Loan) -> bool {
    apic.has_external_interrupt() || loan != Loan::Vectors && apic.dispatchable().is_some()
}

/// A host that keeps non-maskable interrupts to itself: the engine injects them.
pub(super) struct Watch<'h, H> {
    host: &'h H,
    nmi: Cell<PendingNmi>,
}

impl<'h, H> Watch<'h, H> {
    pub(super) const fn new(host: &'h H) -> Self {
        Self { host, nmi: Cell::new(PendingNmi::None) }
    }

    pub(super) fn has_nmi(&self) -> bool {
        self.nmi.get() == PendingNmi::Waits
    }
}

impl<H: Host> Host for Watch<'_, H> {
    fn bus(&self) -> &ApicBus {
        self.host.bus()
    }

    fn act(&self, action: Action) {
        match action {
            Action::Nmi => self.nmi.set(PendingNmi::Waits),
            other => self.host.act(other),
        }
    }

    fn page(&self, vcpu: VcpuId) -> Option<&BackingPage> {
        self.host.page(vcpu)
    }

    fn descriptor(&self, vcpu: VcpuId) -> Option<&PostedDescriptor> {
        self.host.descriptor(vcpu)
    }

    fn avic(&self) -> Option<AvicTables<'_>> {
        self.host.avic()
    }

    fn external_vector(&self) -> Option<u8> {
        self.host.external_vector()
    }
}
