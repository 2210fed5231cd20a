//! What an engine is: the part of a vCPU's interrupt delivery that differs from processor to processor.

use hypervisor_abi::apic::ApicMode;
use hypervisor_abi::apic::ApicRegister;
use hypervisor_abi::apic::Icr;
use hypervisor_abi::avic::AccessKind;
use hypervisor_abi::avic::BackingPage;
use vector_allocator::Vector;

use super::exit::Exit;
use super::exit::ExitError;
use crate::delivery::Engine;
use crate::delivery::Port;
use crate::delivery::apicv::EoiExitBitmap;
use crate::delivery::host::Host;
use crate::delivery::software::IcrLayout;
use crate::delivery::software::LocalApic;

/// What of a local APIC stands in the page while the guest runs, for the processor to work on; each includes those before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Loan {
    /// Nothing.
    Nothing,
    /// The task priority.
    TaskPriority,
    /// All registers, for the guest to read; the vectors are still the hypervisor's to deliver.
    Registers,
    /// All of it: the processor delivers.
    Vectors,
}

/// Whether the page's vectors have changed in a way the processor does not notice by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Vectors {
    /// They are as the processor left them.
    Untouched,
    /// They are not.
    Changed,
}

/// A vCPU that is about to be entered.
#[derive(Debug)]
pub struct Entering<'e> {
    /// Its local APIC, apart from what is on loan.
    pub apic: &'e LocalApic,
    /// Its page, if it has one.
    pub page: Option<&'e BackingPage>,
    /// What is on loan.
    pub loan: Loan,
    /// Whether that has changed.
    pub vectors: Vectors,
    /// Whose ends the hypervisor has to hear of.
    pub routes: &'e EoiExitBitmap,
}

/// What an exit leaves to do to the local APIC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rest {
    /// Nothing but to enter again.
    Nothing,
    /// This vector has ended, and is in service no longer.
    Ended(Vector),
    /// What a write of this register does, by what the page holds.
    Write(ApicRegister),
    /// What a write of ICR does: the value, as the page has it.
    Send(Icr),
    /// What a write of SELF IPI does, of this number: no page holds it.
    SelfIpi(u8),
    /// The page is to hold again what the register is: the guest has written what cannot be changed.
    Undo,
    /// What a write of LDR and DFR does, by what the page holds; and the domain's tables are to follow.
    LogicalId,
    /// To emulate the instruction, which has done nothing yet.
    Emulate {
        /// Which way it goes.
        access: AccessKind,
        /// The register, in bytes into the page.
        offset: u16,
    },
}

/// An engine: what the processor is told before it enters the guest, and what its exits mean. Everything else is
/// [`VcpuApic`](super::VcpuApic)'s.
pub trait DeliveryEngine {
    /// Which it is.
    fn engine(&self) -> Engine;

    /// Where others are to leave vectors.
    fn port(&self, apic: &LocalApic) -> Port;

    /// What is to be on loan the next time the guest runs.
    fn loan<H: Host>(&self, apic: &LocalApic, routes: &EoiExitBitmap, host: &H) -> Loan;

    /// Where ICR's upper half stands in the page, in this mode.
    fn icr_layout(&self, mode: ApicMode) -> IcrLayout;

    /// Sets what the entry needs, by [`Action::Set`](crate::delivery::Action::Set): of what is set already, nothing.
    fn program<H: Host>(&mut self, entering: &Entering<'_>, host: &H);

    /// Does what an exit needs of the engine's own structures, and says what is left.
    ///
    /// # Errors
    /// It is not one of this engine's exits, or tells something that cannot be.
    fn finish<H: Host>(&mut self, exit: Exit, apic: &LocalApic, host: &H) -> Result<Rest, ExitError>;

    /// The structure that controls the vCPU is a new one, with nothing set.
    fn forget(&mut self);

    /// Another engine takes over: nothing of this one stays on.
    fn retire<H: Host>(&mut self, host: &H);
}
