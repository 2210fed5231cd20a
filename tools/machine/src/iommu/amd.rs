//! AMD's IOMMU, its interrupts (AMD I/O Virtualization Technology specification, 48882, 2.2.5): the device's entry, the remapping
//! entry in its two forms, the guest's backing page, and how the host or the guest's processor is told.

use hypervisor_abi::amd_iommu::GaLogCell;
use hypervisor_abi::amd_iommu::GaLogEntry;
use hypervisor_abi::amd_iommu::GuestIrteHigh;
use hypervisor_abi::amd_iommu::GuestIrteLow;
use hypervisor_abi::amd_iommu::Irte;
use hypervisor_abi::amd_iommu::KIND_GUEST_INTERRUPT;
use hypervisor_abi::amd_iommu::RemappedIrteLow;
use hypervisor_abi::apic::ApicId;
use hypervisor_abi::apic::ApicMode;
use hypervisor_abi::apic::DeliveryMode;
use hypervisor_abi::apic::DestinationMode;
use hypervisor_abi::apic::MsiData;
use hypervisor_abi::apic::TriggerMode;
use hypervisor_abi::avic::VectorBits;

use super::Cache;
use super::DeviceInterrupts;
use super::GaLogUnit;
use super::InterruptControl;
use super::Request;
use super::ga_log::Logged;
use crate::Interconnect;
use crate::InterruptMessage;
use crate::Signal;
use crate::svm::BackingPages;

/// The host's memory, where it holds the IOMMU's tables and log too.
pub trait AmdMemory: BackingPages {
    /// The third quadword of a device's entry; none beyond the device table.
    fn device(&self, requester: u16) -> Option<DeviceInterrupts>;

    /// The remapping entry at a physical address, a multiple of 16, all 128 bits at once; none where there is no memory.
    fn remapping_entry(&self, address: u64) -> Option<Irte>;

    /// The ring of the guest-APIC log.
    fn ga_log(&self) -> &[GaLogCell];
}

/// How the host is told of an interrupt for a vCPU that does not run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum GuestNotice {
    /// By the log, for entries that ask for it, and the log's interrupt.
    Log(InterruptMessage),
    /// By an interrupt of the vCPU's own, where the entry does not object (GAPPI): its vector is bits 7:0 of the tag, its
    /// destination the entry's. It is sent for the first vector that waits.
    Interrupt,
}

/// Why a request is aborted. The IOMMU reports all of these as one event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum AmdFault {
    /// There is no entry for the device.
    #[error("the device is beyond the device table")]
    NoDevice,
    /// The device's entry aborts its interrupts, or has a reserved control.
    #[error("the device's interrupts are aborted")]
    Aborted,
    /// The device's entry does not let this kind pass.
    #[error("the device's entry does not pass this delivery mode")]
    Mode,
    /// The index is beyond the device's table.
    #[error("the index is beyond the table")]
    BeyondTable,
    /// The table is not where memory is.
    #[error("the entry cannot be read")]
    NoTable,
    /// `RemapEn` is clear.
    #[error("the entry does not remap")]
    NotRemapping,
    /// The entry has a reserved kind, or is for guests and the IOMMU's guest mode is off.
    #[error("the entry says what has no meaning")]
    Reserved,
    /// The backing page is not where memory is.
    #[error("the backing page cannot be reached")]
    NoPage,
}

/// The IOMMU.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Amd {
    /// `XTEn`: how destinations are read, 8 bits or 32.
    pub mode: ApicMode,
    /// `GAMEn`: entries in guest mode have a meaning.
    pub guest_mode: bool,
    /// How the host hears of vCPUs that do not run.
    pub notice: GuestNotice,
    /// The log's registers.
    pub log: GaLogUnit,
    cache: Cache<(u16, u16), Irte>,
}

/// A request with what its entry says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AmdFlight {
    requester: u16,
    verdict: Verdict,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    /// This message is sent.
    Message(InterruptMessage),
    /// A vCPU's page is written.
    Guest(GuestIrteLow, GuestIrteHigh),
}

impl Amd {
    /// An IOMMU with x2APIC destinations and guest mode on, its log off and nothing cached.
    #[must_use]
    pub fn new(notice: GuestNotice) -> Self {
        let (mode, log) = (ApicMode::X2Apic, GaLogUnit::default());
        Self { mode, guest_mode: true, notice, log, cache: Cache::EMPTY }
    }

    /// Carries a request all the way.
    ///
    /// # Errors
    /// Why it is aborted.
    pub fn request(
        &mut self,
        request: Request,
        memory: &impl AmdMemory,
        interconnect: &mut impl Interconnect,
    ) -> Result<(), AmdFault> {
        let flight = self.look_up(request, memory)?;
        self.deliver(flight, memory, interconnect)
    }

    /// The first step: reads the entries, the remapping one from the cache if it is there.
    ///
    /// # Errors
    /// Why the request is aborted.
    pub fn look_up(&mut self, request: Request, memory: &impl AmdMemory) -> Result<AmdFlight, AmdFault> {
        let requester = request.requester;
        let device = memory.device(requester).ok_or(AmdFault::NoDevice)?;
        let passed = AmdFlight { requester, verdict: Verdict::Message(request.unchanged()) };
        if !device.is_valid() {
            return Ok(passed);
        }
        match MsiData::from(request.data).delivery() {
            DeliveryMode::Fixed | DeliveryMode::LowestPriority => match device.control() {
                InterruptControl::Remapped => {
                    let entry = self.entry(request, device, memory)?;
                    Ok(AmdFlight { requester, verdict: self.verdict(entry)? })
                }
                InterruptControl::Passed => Ok(passed),
                InterruptControl::Aborted | InterruptControl::Reserved => Err(AmdFault::Aborted),
            },
            DeliveryMode::Nmi if device.passes_nmi() => Ok(passed),
            DeliveryMode::Init if device.passes_init() => Ok(passed),
            DeliveryMode::ExtInt if device.passes_ext_int() => Ok(passed),
            _ => Err(AmdFault::Mode),
        }
    }

    /// The second step: does what the entry has said. For a guest the bit is set first, and then who is told is decided by
    /// the entry as it was read.
    ///
    /// # Errors
    /// [`AmdFault::NoPage`].
    pub fn deliver(
        &mut self,
        flight: AmdFlight,
        memory: &impl AmdMemory,
        interconnect: &mut impl Interconnect,
    ) -> Result<(), AmdFault> {
        let (low, high) = match flight.verdict {
            Verdict::Message(message) => {
                interconnect.send(Signal::Interrupt(message));
                return Ok(());
            }
            Verdict::Guest(low, high) => (low, high),
        };
        let page = memory.backing_page(high.backing_frame()).ok_or(AmdFault::NoPage)?;
        let was_waiting = page.highest(VectorBits::InterruptRequest).is_some();
        page.set(VectorBits::InterruptRequest, high.vector());
        let destination = ApicId(low.destination() | u32::from(high.destination()) << 24);
        if low.is_running() {
            interconnect.send(Signal::Doorbell(destination));
            return Ok(());
        }
        match self.notice {
            GuestNotice::Log(interrupt) if low.logs() => {
                let entry = GaLogEntry::new().with_tag(low.tag()).with_device(flight.requester);
                let logged = self.log.write(entry.with_kind(KIND_GUEST_INTERRUPT), memory.ga_log());
                if logged == Logged::Interrupt {
                    interconnect.send(Signal::Interrupt(interrupt));
                }
            }
            GuestNotice::Interrupt if !low.gappi_disabled() && !was_waiting => {
                let [vector, ..] = low.tag().0.to_le_bytes();
                interconnect.send(Signal::Interrupt(InterruptMessage::fixed(vector, destination)));
            }
            GuestNotice::Log(_) | GuestNotice::Interrupt => {}
        }
        Ok(())
    }

    /// Forgets the entries of a device (INVALIDATE_INTERRUPT_TABLE).
    pub fn invalidate(&mut self, requester: u16) {
        self.cache.forget(|(device, _)| device == requester);
    }

    /// Forgets all entries (INVALIDATE_IOMMU_ALL).
    pub fn invalidate_all(&mut self) {
        self.cache.forget(|_| true);
    }

    /// The entry that the data of a request names, by its low 11 bits.
    fn entry(&mut self, request: Request, device: DeviceInterrupts, memory: &impl AmdMemory) -> Result<Irte, AmdFault> {
        let [low, high, ..] = request.data.to_le_bytes();
        let index = u16::from_le_bytes([low, high & 7]);
        if index >> device.table_length() != 0 {
            return Err(AmdFault::BeyondTable);
        }
        let key = (request.requester, index);
        if let Some(entry) = self.cache.get(index, key) {
            return Ok(entry);
        }
        let address = (device.table_line() << 6) + u64::from(index) * 16;
        let entry = memory.remapping_entry(address).ok_or(AmdFault::NoTable)?;
        self.cache.keep(index, key, entry);
        Ok(entry)
    }

    fn verdict(&self, entry: Irte) -> Result<Verdict, AmdFault> {
        let (guest, high) = (GuestIrteLow::from(entry.low), GuestIrteHigh::from(entry.high));
        if !guest.is_valid() {
            return Err(AmdFault::NotRemapping);
        }
        if guest.guest_mode() {
            return if self.guest_mode { Ok(Verdict::Guest(guest, high)) } else { Err(AmdFault::Reserved) };
        }
        let low = RemappedIrteLow::from(entry.low);
        let delivery = match low.kind() {
            0 => DeliveryMode::Fixed,
            1 => DeliveryMode::LowestPriority,
            _ => return Err(AmdFault::Reserved),
        };
        Ok(Verdict::Message(InterruptMessage {
            vector: high.vector(),
            delivery,
            destination_mode: if low.is_logical() { DestinationMode::Logical } else { DestinationMode::Physical },
            destination: match self.mode {
                ApicMode::X2Apic => low.destination() | u32::from(high.destination()) << 24,
                ApicMode::XApic | ApicMode::Disabled => low.destination() & 0xff,
            },
            trigger: TriggerMode::Edge,
        }))
    }
}
