//! A guest that runs guests of its own (L1, and its L2): whose interrupts are whose, and what of them a control structure may
//! hold while the other one's guest runs.
//!
//! ```text
//!  L1 runs                      enter_nested: nothing for L1                    L2 runs, in a structure of its own
//!  registers in L1's page  ───────────────────────────────────────────────►  L1's registers in the local APIC, nothing set
//!          ▲                                                                             │
//!          └── enter: RVI, SVI, EOI-exit bitmap afresh ◄── exit_to_l1 ◄── ExitToL1 ──────┘
//! ```
//!
//! The structure that L2 runs in holds what L1 asks for, never what is L1's own: its EOI-exit bitmap there would let the ends
//! of L1's interrupts go by, and their lines would stay asserted for good (R-66).

use vector_allocator::Vector;

use super::backend::DeliveryEngine;
use super::events::Gates;
use super::vcpu::VcpuApic;
use crate::delivery::host::Host;
use crate::delivery::software::Acknowledged;

/// What becomes of an entry of L2.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[must_use]
pub enum NestedEntry {
    /// L2 may run.
    Enter,
    /// Something of L1's waits that it wants to exit for: leave L2, then [`exit_to_l1`](VcpuApic::exit_to_l1).
    ExitToL1,
}

/// L1's "acknowledge interrupt on exit".
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AcknowledgeOnExit {
    /// It gets the vector with the exit, and has it in service.
    Acknowledge,
    /// It takes the interrupt by itself once it is entered.
    Leave,
}

impl<E: DeliveryEngine> VcpuApic<E> {
    /// Prepares an entry of L2: takes in what others have left for L1, and takes everything of L1's back from the processor.
    /// Nothing is set in any control structure. `gates` are L1's while L2 runs: open for interrupts if it wants external
    /// interrupts to exit, and for non-maskable ones likewise.
    pub fn enter_nested<H: Host>(&mut self, gates: Gates, host: &H) -> NestedEntry {
        self.collect(host);
        self.take_back(host);
        let interrupt = self.apic.has_external_interrupt() || self.apic.dispatchable().is_some();
        if self.events.wakes(gates, interrupt) { NestedEntry::ExitToL1 } else { NestedEntry::Enter }
    }

    /// L2 has been left for L1, because of an interrupt: the vector that L1 is told of. It goes into service only if L1 asks
    /// for it to be acknowledged; what is requested is worked out afresh in either case when L1 is entered (R-55).
    pub fn exit_to_l1<H: Host>(&mut self, acknowledge: AcknowledgeOnExit, host: &H) -> Option<Vector> {
        self.collect(host);
        self.take_back(host);
        if acknowledge == AcknowledgeOnExit::Leave || self.apic.has_external_interrupt() {
            return None;
        }
        self.apic.dispatchable()?;
        match self.apic.acknowledge() {
            Acknowledged::Vector(vector) => Some(vector),
            Acknowledged::ExtInt | Acknowledged::Spurious(_) => None,
        }
    }
}

/// The posted-interrupt descriptor that L1 has named for L2, by its address in L1's memory. It is looked up anew at each use:
/// a translation that is kept outlives the page (R-69, CVE-2018-16882).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NestedDescriptor(Option<u64>);

/// An address that is none of a descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:#x} is no address of a posted-interrupt descriptor")]
pub struct NoDescriptor(pub u64);

impl NestedDescriptor {
    /// L1 enters L2 with another descriptor. The one before is forgotten, whether or not this one is any good.
    ///
    /// # Errors
    /// The address is no multiple of 64, or beyond `physical_bits`; there is no descriptor then.
    pub fn name(&mut self, address: u64, physical_bits: u8) -> Result<(), NoDescriptor> {
        self.0 = None;
        let beyond = address.checked_shr(physical_bits.into()).unwrap_or(0);
        if beyond != 0 || !address.is_multiple_of(64) {
            return Err(NoDescriptor(address));
        }
        self.0 = Some(address);
        Ok(())
    }

    /// L2 is not entered any more with a descriptor.
    pub fn forget(&mut self) {
        self.0 = None;
    }

    /// Where it is, if there is one: to be translated now, and not to be kept.
    #[must_use]
    pub const fn address(self) -> Option<u64> {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::NestedDescriptor;
    use super::NoDescriptor;

    /// R-69 (CVE-2018-16882): KVM went on using a descriptor's page after L1 had named another one that could not be mapped.
    #[test]
    fn r69_a_descriptor_is_forgotten_when_another_is_named_even_a_bad_one() {
        let mut descriptor = NestedDescriptor::default();
        assert_eq!(descriptor.address(), None);
        for bad in [0x1020, 1 << 46, u64::MAX] {
            assert_eq!(descriptor.name(0x1040, 46), Ok(()));
            assert_eq!(descriptor.address(), Some(0x1040));
            assert_eq!(descriptor.name(bad, 46), Err(NoDescriptor(bad)));
            assert_eq!(descriptor.address(), None);
        }
        assert_eq!(descriptor.name(0x1040, 46), Ok(()));
        descriptor.forget();
        assert_eq!(descriptor.address(), None);
    }
}
