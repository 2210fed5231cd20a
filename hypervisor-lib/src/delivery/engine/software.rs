//! The software engine: the processor knows nothing of the local APIC, every access exits, and every vector is injected.

use hypervisor_abi::apic::ApicMode;

use super::backend::DeliveryEngine;
use super::backend::Entering;
use super::backend::Loan;
use super::backend::Rest;
use super::exit::Exit;
use super::exit::ExitError;
use crate::delivery::Engine;
use crate::delivery::Port;
use crate::delivery::host::Host;
use crate::delivery::software::IcrLayout;
use crate::delivery::software::LocalApic;

/// The software engine. It has no state but the local APIC's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Software;

impl DeliveryEngine for Software {
    fn engine(&self) -> Engine {
        Engine::Software
    }

    fn port(&self, _apic: &LocalApic) -> Port {
        Port::Inbox
    }

    fn loan<H: Host>(&self, _apic: &LocalApic, _host: &H) -> Loan {
        Loan::Nothing
    }

    fn icr_layout(&self, _mode: ApicMode) -> IcrLayout {
        IcrLayout::Split
    }

    fn program<H: Host>(&mut self, _entering: &Entering<'_>, _host: &H) {}

    fn finish<H: Host>(&mut self, exit: Exit, _apic: &LocalApic, _host: &H) -> Result<Rest, ExitError> {
        match exit {
            Exit::InterruptWindow | Exit::NmiWindow => Ok(Rest::Nothing),
            _ => Err(ExitError::Foreign { exit, engine: self.engine() }),
        }
    }

    fn forget(&mut self) {}
}
