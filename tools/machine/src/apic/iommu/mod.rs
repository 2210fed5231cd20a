//! The host's IOMMU: the model of what it does by itself, its tables in memory, and the library's code that writes them.
//!
//! ```text
//!  interrupt ──request──► Vtd, Amd (models) ──► Signal: the host's vector, remapped    VtdTable, AvicVcpu (library)
//!    function, message        │   ▲                                                         │
//!                             │   └───────────── entries ◄──────────── stores, flushes ─────┘
//!                             └──► descriptor, page, log ──► Signal: notification, doorbell, the log's interrupt
//! ```
//!
//! A machine has one if something is posted to a vCPU; then every message goes through it, the host's own too. Without, a
//! message names vector and CPU itself, and arrives where an entry in remapped form would have sent it. The machine carries a request all the way at once, so that a flush never finds one on its way.

mod amd;
mod intel;
mod messages;

use hypervisor_abi::amd_iommu;
use hypervisor_abi::amd_iommu::GaLogCell;
use hypervisor_abi::amd_iommu::GaTag;
use hypervisor_abi::amd_iommu::GuestIrteLow;
use hypervisor_abi::apic::TriggerMode;
use hypervisor_abi::vtd;
use hypervisor_lib::delivery::Engine;
use hypervisor_lib::delivery::avic::GaLog;
use hypervisor_lib::delivery::avic::IrteIndex;
use vector_allocator::CpuId;
use vector_allocator::Vector;

use self::amd::Amd;
pub(super) use self::amd::Lost;
use self::intel::Intel;
use self::messages::Function;
pub(crate) use self::messages::Messages;
use super::ApicSlot;
use super::hypervisor::Hypervisor;
use super::hypervisor::descriptor_address;
use crate::Interconnect;
use crate::Vendor;
use crate::iommu::AmdMemory;
use crate::iommu::DeviceInterrupts;
use crate::iommu::VtdMemory;

/// A host's IOMMU.
#[derive(Debug)]
pub(super) enum Iommu {
    /// It has none: messages name vector and CPU themselves.
    Absent,
    /// Intel's.
    Intel(Intel),
    /// AMD's.
    Amd(Amd),
}

/// What an entry makes of a device's message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Meaning {
    /// A vector of the host's.
    Host { vector: Vector, cpu: CpuId, trigger: TriggerMode },
    /// A vector of a vCPU that has a posted-interrupt descriptor.
    Vcpu { vector: Vector, slot: ApicSlot, engine: Engine },
}

/// The messages are more than one IOMMU has entries for: 65535 on Intel's, and as many functions as there are numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the sources' messages are more than one IOMMU has entries for")]
pub struct TooManyMessages;

impl Iommu {
    /// The IOMMU of this maker for these functions, whose entries are all absent; none for none. An entry of AMD's log
    /// interrupts `listener` by `vector`.
    pub(super) fn new(
        vendor: Vendor,
        functions: &[Function],
        (vector, listener): (Vector, CpuId),
    ) -> Result<Self, TooManyMessages> {
        Ok(match vendor {
            _ if functions.is_empty() => Self::Absent,
            Vendor::Intel => Self::Intel(Intel::new(functions)?),
            Vendor::Amd => Self::Amd(Amd::new(functions, vector, listener)),
        })
    }

    /// Writes what the entry of a message makes of it.
    pub(super) fn write(&self, message: IrteIndex, meaning: Meaning) {
        match (self, meaning) {
            (Self::Absent, _) => {}
            (Self::Intel(unit), meaning) => unit.write(message, meaning),
            (Self::Amd(unit), Meaning::Host { vector, cpu, .. }) => unit.write(message, vector, cpu),
            // Entries for vCPUs are AVIC's affair.
            (Self::Amd(_), Meaning::Vcpu { .. }) => {}
        }
    }

    /// AVIC stores to an entry.
    pub(super) fn store(&self, message: IrteIndex, entry: amd_iommu::Irte) {
        if let Self::Amd(unit) = self {
            unit.store(message, entry);
        }
    }

    /// AVIC stores to the lower half of an entry.
    pub(super) fn store_low(&self, message: IrteIndex, low: GuestIrteLow) {
        if let Self::Amd(unit) = self {
            unit.store_low(message, low);
        }
    }

    /// AVIC has entries forgotten that the IOMMU may have read.
    pub(super) fn forget(&self) {
        if let Self::Amd(unit) = self {
            unit.forget();
        }
    }

    /// The lower half of an entry of AMD's.
    pub(super) fn low(&self, message: IrteIndex) -> Option<GuestIrteLow> {
        match self {
            Self::Amd(unit) => unit.low(message),
            Self::Absent | Self::Intel(_) => None,
        }
    }

    /// The log, its reader's side.
    pub(super) fn log(&self) -> Option<GaLog<'_>> {
        match self {
            Self::Amd(unit) => GaLog::new(unit.cells()).ok(),
            Self::Absent | Self::Intel(_) => None,
        }
    }

    /// Reads the log: every tag that was logged is told, or it is said that some are missing.
    pub(super) fn read_log(&self, log: &mut GaLog<'_>, tell: impl FnMut(GaTag)) -> Lost {
        match self {
            Self::Amd(unit) => unit.read_log(log, tell),
            Self::Absent | Self::Intel(_) => Lost::Nothing,
        }
    }

    /// Whether the log, not read yet, will tell of this tag.
    pub(super) fn will_tell(&self, tag: GaTag) -> bool {
        match self {
            Self::Amd(unit) => unit.will_tell(tag),
            Self::Absent | Self::Intel(_) => false,
        }
    }

    /// The log's interrupt goes to another CPU from now on, if it went to one that goes.
    pub(super) fn move_log(&self, from: CpuId, to: CpuId) {
        if let Self::Amd(unit) = self {
            unit.move_log(from, to);
        }
    }
}

impl Hypervisor {
    /// A device writes its message, and the IOMMU does what it does.
    pub(super) fn receive(&self, message: IrteIndex, interconnect: &mut impl Interconnect) {
        let blocked = match &self.iommu {
            Iommu::Absent => None,
            Iommu::Intel(unit) => unit.receive(message, self, interconnect).err().map(|(fault, _)| fault as u8),
            Iommu::Amd(unit) => unit.receive(message, self, interconnect).err().map(|fault| fault as u8),
        };
        // The library has written an entry for every message there is.
        debug_assert_eq!(blocked, None, "{message} is blocked");
    }
}

impl VtdMemory for Hypervisor {
    fn remapping_entry(&self, address: u64) -> Option<vtd::Irte> {
        match &self.iommu {
            Iommu::Intel(unit) => unit.entry(address),
            Iommu::Absent | Iommu::Amd(_) => None,
        }
    }
}

impl AmdMemory for Hypervisor {
    fn device(&self, requester: u16) -> Option<DeviceInterrupts> {
        match &self.iommu {
            Iommu::Amd(unit) => unit.device(requester),
            Iommu::Absent | Iommu::Intel(_) => None,
        }
    }

    fn remapping_entry(&self, address: u64) -> Option<amd_iommu::Irte> {
        match &self.iommu {
            Iommu::Amd(unit) => unit.entry(address),
            Iommu::Absent | Iommu::Intel(_) => None,
        }
    }

    fn ga_log(&self) -> &[GaLogCell] {
        match &self.iommu {
            Iommu::Amd(unit) => unit.cells(),
            Iommu::Absent | Iommu::Intel(_) => &[],
        }
    }
}
