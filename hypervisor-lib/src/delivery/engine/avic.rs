//! AMD's engine.

use hypervisor_abi::apic::ApicMode;

use super::backend::DeliveryEngine;
use super::backend::Entering;
use super::backend::Loan;
use super::backend::Rest;
use super::exit::Exit;
use super::exit::ExitError;
use super::setting::Setting;
use crate::delivery::DoorbellRinger;
use crate::delivery::Engine;
use crate::delivery::Port;
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
}

impl DeliveryEngine for Avic {
    fn engine(&self) -> Engine {
        Engine::Avic(self.ringer)
    }

    fn port(&self, apic: &LocalApic) -> Port {
        if apic.takes_vectors() { Port::Page } else { Port::Inbox }
    }

    fn loan<H: Host>(&self, apic: &LocalApic, host: &H) -> Loan {
        // The processor knows nothing of a software-disabled local APIC either.
        let serves = match (self.acceleration.mode, apic.mode()) {
            (Mode::XAvic, ApicMode::XApic) | (Mode::X2Avic, ApicMode::X2Apic) => apic.takes_vectors(),
            (_, ApicMode::XApic | ApicMode::X2Apic | ApicMode::Disabled) => false,
        };
        let is_inhibited = host.avic().is_none_or(|tables| tables.inhibits.reasons().next().is_some());
        if serves && !is_inhibited { Loan::Vectors } else { Loan::Nothing }
    }

    fn icr_layout(&self, _mode: ApicMode) -> IcrLayout {
        IcrLayout::Split
    }

    fn program<H: Host>(&mut self, entering: &Entering<'_>, host: &H) {
        let wanted = (entering.loan == Loan::Vectors).then_some(self.acceleration.mode);
        if self.loaded.replace(wanted) != Some(wanted) {
            host.act(Action::Set(Setting::Avic(wanted)));
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
                    // Whoever sends an illegal vector, notes it.
                    avic::Rest::IllegalVector(_) => Rest::Send(exit.icr),
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
}
