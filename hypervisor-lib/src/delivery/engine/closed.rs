//! The closed set of engines, for a hypervisor that has more than one.

use hypervisor_abi::apic::ApicMode;

use super::apicv::Apicv;
use super::avic::Avic;
use super::backend::DeliveryEngine;
use super::backend::Entering;
use super::backend::Loan;
use super::backend::Rest;
use super::exit::Exit;
use super::exit::ExitError;
use super::software::Software;
use crate::delivery::Engine;
use crate::delivery::Port;
use crate::delivery::host::Host;
use crate::delivery::software::IcrLayout;
use crate::delivery::software::LocalApic;

/// Any engine there is.
#[derive(Clone, Debug)]
pub enum AnyEngine {
    /// The hypervisor alone.
    Software(Software),
    /// Intel's: APICv, posted interrupts, IPI virtualization.
    Apicv(Apicv),
    /// AMD's.
    Avic(Avic),
}

macro_rules! each {
    ($any:expr, $engine:ident => $call:expr) => {
        match $any {
            AnyEngine::Software($engine) => $call,
            AnyEngine::Apicv($engine) => $call,
            AnyEngine::Avic($engine) => $call,
        }
    };
}

impl DeliveryEngine for AnyEngine {
    fn engine(&self) -> Engine {
        each!(self, engine => engine.engine())
    }

    fn port(&self, apic: &LocalApic) -> Port {
        each!(self, engine => engine.port(apic))
    }

    fn loan<H: Host>(&self, apic: &LocalApic, host: &H) -> Loan {
        each!(self, engine => engine.loan(apic, host))
    }

    fn icr_layout(&self, mode: ApicMode) -> IcrLayout {
        each!(self, engine => engine.icr_layout(mode))
    }

    fn program<H: Host>(&mut self, entering: &Entering<'_>, host: &H) {
        each!(self, engine => engine.program(entering, host));
    }

    fn finish<H: Host>(&mut self, exit: Exit, apic: &LocalApic, host: &H) -> Result<Rest, ExitError> {
        each!(self, engine => engine.finish(exit, apic, host))
    }

    fn forget(&mut self) {
        each!(self, engine => engine.forget());
    }
}

impl From<Software> for AnyEngine {
    fn from(engine: Software) -> Self {
        Self::Software(engine)
    }
}

impl From<Apicv> for AnyEngine {
    fn from(engine: Apicv) -> Self {
        Self::Apicv(engine)
    }
}

impl From<Avic> for AnyEngine {
    fn from(engine: Avic) -> Self {
        Self::Avic(engine)
    }
}
