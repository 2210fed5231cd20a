//! Intel's IOMMU, its interrupts (VT-d, 5.1 and 5.2): registers, the cache of entries, and what becomes of a request.

use hypervisor_abi::apic::ApicMode;
use hypervisor_abi::posted::PostedControl;
use hypervisor_abi::sync::Ordering;
use hypervisor_abi::vtd::EntryInvalidation;
use hypervisor_abi::vtd::Irte;

use super::Cache;
use super::Request;
use super::vtd_entry::Report;
use super::vtd_entry::Verdict;
use super::vtd_entry::VtdFault;
use super::vtd_entry::verdict;
use crate::Interconnect;
use crate::PostedMemory;
use crate::Signal;
use crate::posting::post;
use crate::vmx::PhysicalWidth;

/// The host's memory, where it holds a remapping table too.
pub trait VtdMemory: PostedMemory {
    /// The entry at a physical address, a multiple of 16, all 128 bits at once; none where there is no memory.
    fn remapping_entry(&self, address: u64) -> Option<Irte>;
}

/// Whether interrupts are remapped (IRES of the global status register).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Remapping {
    /// They are passed on as they come.
    Off,
    /// They are.
    On,
}

/// What happens to requests without an index (CFIS). In x2APIC mode they are blocked whatever this says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Compatibility {
    /// They are blocked.
    Blocked,
    /// They are passed on.
    Passed,
}

/// Whether entries in posted form have a meaning (CAP.PI).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Posting {
    /// They have none: their form's bit is a reserved one.
    Absent,
    /// They have.
    Present,
}

/// What the IOMMU is, and what software has set it to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VtdRegisters {
    /// Whether it remaps.
    pub remapping: Remapping,
    /// What it does without an index.
    pub compatibility: Compatibility,
    /// EIME, and so how destinations are read.
    pub mode: ApicMode,
    /// The table's physical address, of which IRTA has bits 63:12.
    pub table: u64,
    /// S: the table has 2 to the power of this and one entries; at most 15.
    pub size: u8,
    /// Whether it posts.
    pub posting: Posting,
    /// CAP.CM: it keeps absent entries as well.
    pub caches_absent: bool,
    /// How wide its physical addresses are.
    pub width: PhysicalWidth,
}

/// The IOMMU.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vtd {
    /// Its registers.
    pub registers: VtdRegisters,
    cache: Cache<u16, Irte>,
}

/// A request with what its entry says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VtdFlight {
    verdict: Verdict,
    report: Report,
}

impl VtdRegisters {
    /// An IOMMU that remaps by the table at this address, of 2 to the power of `size` + 1 entries, blocks what has no index,
    /// and posts.
    #[must_use]
    pub const fn new(table: u64, size: u8, mode: ApicMode) -> Self {
        Self {
            remapping: Remapping::On,
            compatibility: Compatibility::Blocked,
            mode,
            table,
            size,
            posting: Posting::Present,
            caches_absent: false,
            width: PhysicalWidth(52),
        }
    }
}

impl Vtd {
    /// An IOMMU that has cached nothing yet.
    #[must_use]
    pub const fn new(registers: VtdRegisters) -> Self {
        Self { registers, cache: Cache::EMPTY }
    }

    /// Carries a request all the way.
    ///
    /// # Errors
    /// The fault for which it is blocked, and whether it is recorded.
    pub fn request(
        &mut self,
        request: Request,
        memory: &impl VtdMemory,
        interconnect: &mut impl Interconnect,
    ) -> Result<(), (VtdFault, Report)> {
        let flight = self.look_up(request, memory)?;
        self.deliver(flight, memory, interconnect)
    }

    /// The first step: reads the entry, from the cache if it is there, and checks it and the request.
    ///
    /// # Errors
    /// The fault for which the request is blocked, and whether it is recorded.
    pub fn look_up(&mut self, request: Request, memory: &impl VtdMemory) -> Result<VtdFlight, (VtdFault, Report)> {
        let recorded = |fault| (fault, Report::Recorded);
        let passed = VtdFlight { verdict: Verdict::Message(request.unchanged()), report: Report::Recorded };
        if self.registers.remapping == Remapping::Off {
            return Ok(passed);
        }
        if !request.address.remappable() {
            let is_passed =
                self.registers.compatibility == Compatibility::Passed && self.registers.mode != ApicMode::X2Apic;
            return if is_passed { Ok(passed) } else { Err(recorded(VtdFault::Compatibility)) };
        }
        let index = self.index(request).map_err(recorded)?;
        let entry = self.entry(index, memory).ok_or(recorded(VtdFault::NoTable))?;
        // FPD is bit 1 in either form.
        let report = if entry.low & 2 == 0 { Report::Recorded } else { Report::Silent };
        let verdict = verdict(entry, request.requester, self.registers.mode, self.registers.posting);
        let verdict = verdict.map_err(|fault| (fault, report))?;
        Ok(VtdFlight { verdict, report })
    }

    /// The second step: does what the entry has said.
    ///
    /// # Errors
    /// [`VtdFault::NoDescriptor`] and [`VtdFault::ReservedInDescriptor`], and whether that is recorded.
    pub fn deliver(
        &self,
        flight: VtdFlight,
        memory: &impl VtdMemory,
        interconnect: &mut impl Interconnect,
    ) -> Result<(), (VtdFault, Report)> {
        match flight.verdict {
            Verdict::Message(message) => interconnect.send(Signal::Interrupt(message)),
            Verdict::Post { descriptor, vector, urgency } => {
                let found =
                    if self.registers.width.holds(descriptor, 64) { memory.descriptor(descriptor) } else { None };
                let found = found.ok_or((VtdFault::NoDescriptor, flight.report))?;
                if found.control.load(Ordering::SeqCst) & !DEFINED_CONTROL != 0 {
                    return Err((VtdFault::ReservedInDescriptor, flight.report));
                }
                if let Some(message) = post(found, vector, urgency, self.registers.mode) {
                    interconnect.send(Signal::Interrupt(message));
                }
            }
        }
        Ok(())
    }

    /// Forgets entries, as the request of the invalidation queue says (6.5.2.7).
    pub fn invalidate(&mut self, request: EntryInvalidation) {
        let ignored = u16::MAX.checked_shl(request.index_mask().into()).map_or(u16::MAX, |compared| !compared);
        self.cache.forget(|index| !request.is_selective() || (index ^ request.index()) & !ignored == 0);
    }

    /// The index a request names: its handle, and its subhandle added if it says that it has one (5.1.2.2).
    fn index(&self, request: Request) -> Result<u32, VtdFault> {
        let address = u32::from(request.address);
        let handle = address >> 5 & 0x7fff | (address >> 2 & 1) << 15;
        let has_subhandle = address >> 3 & 1 == 1;
        if has_subhandle && request.data >> 16 != 0 {
            return Err(VtdFault::ReservedInRequest);
        }
        let index = if has_subhandle { handle + request.data } else { handle };
        if index >> (self.registers.size & 0xf) >> 1 == 0 { Ok(index) } else { Err(VtdFault::BeyondTable) }
    }

    fn entry(&mut self, index: u32, memory: &impl VtdMemory) -> Option<Irte> {
        let [a, b, ..] = index.to_le_bytes();
        let slot = u16::from_le_bytes([a, b]);
        if let Some(entry) = self.cache.get(slot, slot) {
            return Some(entry);
        }
        let entry = memory.remapping_entry((self.registers.table & !0xfff).wrapping_add(u64::from(index) * 16))?;
        if entry.is_present() || self.registers.caches_absent {
            self.cache.keep(slot, slot, entry);
        }
        Some(entry)
    }
}

/// The bits of a descriptor's control word that have a meaning: ON, SN, NV and NDST.
const DEFINED_CONTROL: u64 = PostedControl::OUTSTANDING | PostedControl::SUPPRESSED | 0xffff_ffff_00ff_0000;
