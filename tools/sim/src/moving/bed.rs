//! What a move is carried out on: the words of an engine, and the hardware that reads them.

use hypervisor_lib::migration::Carrier;
use vector_allocator::CpuId;

use super::Sender;
use super::wires::Wires;

/// A vCPU with what interrupts it. As a [`Carrier`] it carries out the steps of the vCPU's plan.
pub(super) trait Bed: Carrier {
    /// The CPUs.
    fn wires(&self) -> &Wires;

    /// Somebody interrupts the vCPU.
    fn send(&mut self, sender: Sender);

    /// The hypervisor enters the vCPU, which then takes what it is made to take.
    fn enter(&mut self, cpu: CpuId);

    /// The vCPU runs on where it was entered, and takes what it is made to take.
    fn go_on(&mut self, cpu: CpuId);

    /// A CPU that does not run the vCPU takes what waits in its local APIC.
    fn take_in_host(&mut self, cpu: CpuId);
}
