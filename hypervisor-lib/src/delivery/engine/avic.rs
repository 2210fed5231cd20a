//! AMD's engine.

use hypervisor_abi::apic::ApicMode;
use hypervisor_abi::apic::ApicRegister;
use hypervisor_abi::apic::Icr;
use hypervisor_abi::avic::BackingPage;
use hypervisor_abi::sync::Ordering;

use super::backend::DeliveryEngine;
use super::backend::Entering;
use super::backend::Loan;
use super::backend::Rest;
use super::backend::Vectors;
use super::exit::Exit;
use super::exit::ExitError;
use super::setting::Setting;
use crate::delivery::DoorbellRinger;
use crate::delivery::Engine;
use crate::delivery::Port;
use crate::delivery::apicv::EoiExitBitmap;
use crate::delivery::avic;
use crate::delivery::avic::Access;
use crate::delivery::avic::Inhibits;
use crate::delivery::avic::LogicalIds;
use crate::delivery::avic::Mode;
use crate::delivery::avic::PhysicalTable;
use crate::delivery::avic::Written;
use crate::delivery::avic::finish_access;
use crate::delivery::avic::finish_ipi;
use crate::delivery::host::Action;
use crate::delivery::host::Host;
use crate::delivery::port::AvicSide;
use crate::delivery::software::IcrLayout;
use crate::delivery::software::LocalApic;

/// What the vCPUs of a domain share under AVIC.
#[derive(Clone, Copy, Debug)]
pub struct AvicTables<'a> {
    /// Which vCPUs there are, and where.
    pub physical: PhysicalTable<'a>,
    /// Who has which logical ID.
    pub logical: LogicalIds<'a>,
    /// Why AVIC may not serve the domain for now.
    pub inhibits: &'a Inhibits,
}

/// AVIC. It serves guests in the mode it was made for, unless it is inhibited; else the hypervisor injects, out of the same
/// page.
#[derive(Clone, Debug)]
pub struct Avic {
    acceleration: avic::Acceleration,
    ringer: DoorbellRinger,
    /// What the control block says; unknown in the beginning.
    loaded: Option<Option<Mode>>,
}

impl Avic {
    /// An engine for a new control block.
    #[must_use]
    pub const fn new(acceleration: avic::Acceleration, ringer: DoorbellRinger) -> Self {
        Self { acceleration, ringer, loaded: None }
    }

    fn set<H: Host>(&mut self, mode: Option<Mode>, host: &H) {
        if self.loaded.replace(mode) != Some(mode) {
            host.act(Action::Set(Setting::Avic(mode)));
        }
    }
}

impl DeliveryEngine for Avic {
    fn engine(&self) -> Engine {
        Engine::Avic(self.ringer)
    }

    fn port(&self, apic: &LocalApic) -> Port {
        if apic.takes_vectors() { Port::Page } else { Port::Inbox }
    }

    fn loan<H: Host>(&self, apic: &LocalApic, routes: &EoiExitBitmap, host: &H) -> Loan {
        // The processor knows nothing of a software-disabled local APIC either.
        let serves = match (self.acceleration.mode, apic.mode()) {
            (Mode::XAvic, ApicMode::XApic) | (Mode::X2Avic, ApicMode::X2Apic) => apic.takes_vectors(),
            (_, ApicMode::XApic | ApicMode::X2Apic | ApicMode::Disabled) => false,
        };
        let is_inhibited = host.avic().is_none_or(|tables| tables.inhibits.reasons().next().is_some());
        // With AVIC on, nothing says when an external interrupt could be injected, nor when an edge-triggered one has ended.
        let is_in_the_way = apic.has_external_interrupt() || routes.words() != &[0; 4];
        if serves && !is_inhibited && !is_in_the_way { Loan::Vectors } else { Loan::Nothing }
    }

    fn icr_layout(&self, _mode: ApicMode) -> IcrLayout {
        IcrLayout::Split
    }

    fn program<H: Host>(&mut self, entering: &Entering<'_>, host: &H) {
        self.set((entering.loan == Loan::Vectors).then_some(self.acceleration.mode), host);
        if let (Loan::Vectors, Vectors::Changed, Some(page)) = (entering.loan, entering.vectors, entering.page) {
            let [task_priority, ..] = page.register(ApicRegister::TaskPriority).load(Ordering::Relaxed).to_le_bytes();
            host.act(Action::Set(Setting::TaskPriority(task_priority >> 4)));
        }
    }

    fn finish<H: Host>(&mut self, exit: Exit, apic: &LocalApic, host: &H) -> Result<Rest, ExitError> {
        let foreign = ExitError::Foreign { exit, engine: self.engine() };
        let (tables, page) = (host.avic(), host.page(apic.config().vcpu));
        let (Some(tables), Some(page)) = (tables, page) else { return Err(foreign) };
        match exit {
            Exit::InterruptWindow | Exit::NmiWindow => Ok(Rest::Nothing),
            Exit::IncompleteIpi(exit) => {
                let rest = finish_ipi(tables.physical, tables.logical, apic.config().id, exit, &AvicSide(host))?;
                Ok(match rest {
                    avic::Rest::Told(_) => Rest::Nothing,
                    avic::Rest::Send(icr) => Rest::Send(icr),
                    // The local APIC notes it when it sends. A command that the page does not hold was written to SELF IPI.
                    avic::Rest::IllegalVector(_) if exit.icr == written_icr(page) => Rest::Send(exit.icr),
                    avic::Rest::IllegalVector(vector) => Rest::SelfIpi(vector),
                })
            }
            Exit::NoAcceleration(exit) => Ok(match finish_access(self.acceleration, page, exit)? {
                Access::Emulate { access, offset } => Rest::Emulate { access, offset },
                Access::EndOfInterrupt(vector) => Rest::Ended(vector),
                Access::Written(Written::Id) => Rest::Undo,
                Access::Written(Written::LogicalId) => Rest::LogicalId,
                Access::Written(Written::Register(register)) => Rest::Write(register),
                // The local APIC has no extended entries, and no guest is told that it had.
                Access::Written(Written::ExtendedLvt(_)) => Rest::Undo,
            }),
            Exit::TprBelowThreshold | Exit::EndOfInterrupt(_) | Exit::ApicWrite(_) => Err(foreign),
        }
    }

    fn forget(&mut self) {
        self.loaded = None;
    }

    fn retire<H: Host>(&mut self, host: &H) {
        self.set(None, host);
    }
}

/// ICR as the guest has written it into the page.
fn written_icr(page: &BackingPage) -> Icr {
    let [low, high] =
        [ApicRegister::IcrLow, ApicRegister::IcrHigh].map(|half| page.register(half).load(Ordering::Relaxed));
    Icr::new().with_low(low).with_destination(high)
}
