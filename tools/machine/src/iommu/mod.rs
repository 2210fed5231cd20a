//! What an IOMMU does with a device's interrupt: Intel's VT-d and AMD's AMD-Vi, from the write on the bus to the processor or
//! the vCPU.
//!
//! ```text
//!  Request ──► look up ──► Flight ──► deliver ──┬─► Signal: interrupt message     (remapped, or passed on)
//!   address, data,  │   (an entry, perhaps      ├─► descriptor, notification      (VT-d, posted)
//!   requester       │    an old one)            └─► backing page, doorbell or log (AMD-Vi, guest mode)
//!                   └► fault
//! ```
//!
//! The two steps are apart because a machine lets things happen between them: an entry is read, perhaps out of a cache, and
//! what it says is done later. An invalidation is over only when every flight that began before it has been delivered.
//!
//! ```
//! use carillon_machine::InterruptMessage;
//! use carillon_machine::PostedMemory;
//! use carillon_machine::Signal;
//! use carillon_machine::iommu::*;
//! use hypervisor_abi::apic::*;
//! use hypervisor_abi::posted::PostedDescriptor;
//! use hypervisor_abi::vtd::Irte;
//!
//! // A table of 512 entries, of which the fourth remaps to vector 51H on processor 2.
//! struct Memory;
//! impl PostedMemory for Memory {
//!     fn descriptor(&self, _: u64) -> Option<&PostedDescriptor> {
//!         None
//!     }
//! }
//! impl VtdMemory for Memory {
//!     fn remapping_entry(&self, address: u64) -> Option<Irte> {
//!         Some(if address == 0x4_0030 { Irte { low: 2 << 32 | 0x51_0001, high: 0 } } else { Irte::ABSENT })
//!     }
//! }
//!
//! let mut vtd = Vtd::new(VtdRegisters::new(0x4_0000, 8, ApicMode::X2Apic));
//! let request = |index: u32| Request { address: MsiAddress::from(0xfee0_0010 | index << 5), data: 0, requester: 0x0310 };
//! let mut sent = Vec::new();
//! let done = vtd.request(request(3), &Memory, &mut |signal| sent.push(signal));
//! assert_eq!((done, sent), (Ok(()), vec![Signal::Interrupt(InterruptMessage::fixed(0x51, ApicId(2)))]));
//! let blocked = vtd.request(request(4), &Memory, &mut |_| ());
//! assert_eq!(blocked, Err((VtdFault::NotPresent, Report::Recorded)));
//! ```
//!
//! Not modelled: translation of addresses, interrupts of I/O APICs that do not come as messages, the queues of commands and
//! faults, and their own interrupts.

mod amd;
mod amd_device;
mod ga_log;
mod vtd;
mod vtd_entry;

pub use amd::Amd;
pub use amd::AmdFault;
pub use amd::AmdFlight;
pub use amd::AmdMemory;
pub use amd::GuestNotice;
pub use amd_device::DeviceInterrupts;
pub use amd_device::InterruptControl;
pub use ga_log::GaLogUnit;
pub use vtd::Compatibility;
pub use vtd::Posting;
pub use vtd::Remapping;
pub use vtd::Vtd;
pub use vtd::VtdFlight;
pub use vtd::VtdMemory;
pub use vtd::VtdRegisters;
pub use vtd_entry::Report;
pub use vtd_entry::VtdFault;

use hypervisor_abi::apic::DeliveryMode;
use hypervisor_abi::apic::DestinationMode;
use hypervisor_abi::apic::MsiAddress;
use hypervisor_abi::apic::MsiData;

use crate::InterruptMessage;

/// A device's interrupt as the bus carries it: a write to the window of interrupts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    /// The address, of which an IOMMU looks at the lower half.
    pub address: MsiAddress,
    /// The data.
    pub data: u32,
    /// Who writes: bus, device and function.
    pub requester: u16,
}

impl Request {
    /// The message a local APIC would take it for, if no IOMMU changed it (SDM vol. 3A, 11.11). A hint to redirect counts for
    /// logical destinations, and lets the one of lowest priority have it.
    #[must_use]
    pub fn unchanged(self) -> InterruptMessage {
        let data = MsiData::from(self.data);
        let destination_mode = self.address.destination_mode();
        InterruptMessage {
            vector: data.vector(),
            delivery: if self.address.redirection_hint() {
                redirected(data.delivery(), destination_mode)
            } else {
                data.delivery()
            },
            destination_mode,
            destination: self.address.destination().into(),
            trigger: data.trigger(),
        }
    }
}

/// The delivery mode of a message with the hint to redirect it.
const fn redirected(mode: DeliveryMode, destination: DestinationMode) -> DeliveryMode {
    match (mode, destination) {
        (DeliveryMode::Fixed, DestinationMode::Logical) => DeliveryMode::LowestPriority,
        (mode, _) => mode,
    }
}

/// Entries an IOMMU has read and need not read again until it is told to. Which ones it keeps is its own affair; these are
/// the last read of 64.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Cache<K, E>([Option<(K, E)>; 64]);

impl<K: Copy + PartialEq, E: Copy> Cache<K, E> {
    const EMPTY: Self = Self([None; 64]);

    fn get(&self, slot: u16, key: K) -> Option<E> {
        self.0[usize::from(slot % 64)].filter(|(kept, _)| *kept == key).map(|(_, entry)| entry)
    }

    fn keep(&mut self, slot: u16, key: K, entry: E) {
        self.0[usize::from(slot % 64)] = Some((key, entry));
    }

    fn forget(&mut self, is_named: impl Fn(K) -> bool) {
        for slot in &mut self.0 {
            if slot.is_some_and(|(key, _)| is_named(key)) {
                *slot = None;
            }
        }
    }
}
