//! What an entry of VT-d's remapping table says of a request, or why the request is blocked (VT-d, 5.1.3, 5.1.4, 7.1.3, 9.9 and
//! 9.10).

use hypervisor_abi::apic::ApicMode;
use hypervisor_abi::apic::DeliveryMode;
use hypervisor_abi::apic::DestinationMode;
use hypervisor_abi::apic::TriggerMode;
use hypervisor_abi::vtd::Irte;
use hypervisor_abi::vtd::PostedIrteLow;
use hypervisor_abi::vtd::RemappedIrteLow;

use super::redirected;
use super::vtd::Posting;
use crate::InterruptMessage;
use crate::Urgency;
use crate::vmx::VirtualVector;

/// Why a request is blocked, by the number that the fault record has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[repr(u8)]
pub enum VtdFault {
    /// The request sets a bit that is to be zero.
    #[error("the request sets a reserved bit")]
    ReservedInRequest = 0x20,
    /// Its index is beyond the table.
    #[error("the index is beyond the table")]
    BeyondTable = 0x21,
    /// The entry is not present.
    #[error("the entry is not present")]
    NotPresent = 0x22,
    /// The table is not where memory is.
    #[error("the entry cannot be read")]
    NoTable = 0x23,
    /// The entry sets a bit that is to be zero, or says what has no meaning.
    #[error("the entry sets a reserved bit")]
    ReservedInEntry = 0x24,
    /// It is in the format without an index, and that is not let through.
    #[error("a request in compatibility format is blocked")]
    Compatibility = 0x25,
    /// The entry is not for its requester.
    #[error("the entry is not for this requester")]
    WrongSource = 0x26,
    /// The descriptor is not where memory is.
    #[error("the posted-interrupt descriptor cannot be read")]
    NoDescriptor = 0x27,
    /// The descriptor sets a bit that is to be zero.
    #[error("the posted-interrupt descriptor sets a reserved bit")]
    ReservedInDescriptor = 0x28,
}

impl VtdFault {
    /// The fault reason.
    #[must_use]
    pub const fn reason(self) -> u8 {
        self as u8
    }
}

/// Whether a fault is recorded (7.1.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Report {
    /// It is.
    Recorded,
    /// It is not: an entry was found, and sets FPD.
    Silent,
}

/// What is to become of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// This message is sent.
    Message(InterruptMessage),
    /// This vector is posted.
    Post {
        /// The descriptor's address.
        descriptor: u64,
        /// The guest's vector.
        vector: VirtualVector,
        /// URG.
        urgency: Urgency,
    },
}

/// What the entry's source validation may say beside that it compares.
const SVT_ALL: u32 = 0;
const SVT_FUNCTION: u32 = 1;
const SVT_BUSES: u32 = 2;

/// What an entry says of a requester's requests, to an IOMMU in this mode that can post or not.
pub(super) fn verdict(entry: Irte, requester: u16, mode: ApicMode, posting: Posting) -> Result<Verdict, VtdFault> {
    if !entry.is_present() {
        return Err(VtdFault::NotPresent);
    }
    let verdict = if entry.is_posted() && posting == Posting::Present { posted(entry) } else { remapped(entry, mode) };
    let verdict = verdict.ok_or(VtdFault::ReservedInEntry)?;
    if is_source(entry, requester).ok_or(VtdFault::ReservedInEntry)? { Ok(verdict) } else { Err(VtdFault::WrongSource) }
}

/// The verdict of an entry in posted form; none if a reserved bit is set: 7:2, 13:12, 37:24 and 95:84.
fn posted(entry: Irte) -> Option<Verdict> {
    if entry.low & 0x0000_003f_ff00_30fc != 0 || entry.high & 0xfff0_0000 != 0 {
        return None;
    }
    let low = PostedIrteLow::from(entry.low);
    Some(Verdict::Post {
        descriptor: entry.descriptor().address(),
        vector: VirtualVector(low.vector()),
        urgency: if low.is_urgent() { Urgency::Urgent } else { Urgency::Ordinary },
    })
}

/// The verdict of an entry in remapped form; none if a reserved bit is set, IM for an IOMMU that cannot post among them: 15:12,
/// 31:24 and 127:84, in xAPIC mode all of the destination but bits 47:40, and the delivery modes 3 and 6.
fn remapped(entry: Irte, mode: ApicMode) -> Option<Verdict> {
    let reserved = match mode {
        ApicMode::X2Apic => 0x0000_0000_ff00_f000,
        ApicMode::XApic | ApicMode::Disabled => 0xffff_00ff_ff00_f000,
    };
    if entry.low & reserved != 0 || entry.high & !0x000f_ffff != 0 {
        return None;
    }
    let low = RemappedIrteLow::from(entry.low);
    let delivery = match low.delivery() {
        0 => DeliveryMode::Fixed,
        1 => DeliveryMode::LowestPriority,
        2 => DeliveryMode::Smi,
        4 => DeliveryMode::Nmi,
        5 => DeliveryMode::Init,
        7 => DeliveryMode::ExtInt,
        _ => return None,
    };
    let destination = low.destination().into_bits();
    let destination_mode = if low.is_logical() { DestinationMode::Logical } else { DestinationMode::Physical };
    Some(Verdict::Message(InterruptMessage {
        vector: low.vector(),
        delivery: if low.is_redirectable() { redirected(delivery, destination_mode) } else { delivery },
        destination_mode,
        destination: if mode == ApicMode::X2Apic { destination } else { destination >> 8 },
        trigger: if low.is_level() { TriggerMode::Level } else { TriggerMode::Edge },
    }))
}

/// Whether the entry is for this requester (SVT, SQ and SID); none if SVT has no meaning.
fn is_source(entry: Irte, requester: u16) -> Option<bool> {
    let [sid_low, sid_high, third, ..] = entry.high.to_le_bytes();
    let sid = u16::from_le_bytes([sid_low, sid_high]);
    let [_, bus] = requester.to_le_bytes();
    match u32::from(third >> 2 & 3) {
        SVT_ALL => Some(true),
        SVT_FUNCTION => {
            let compared = [0xffff, 0xfffb, 0xfff9, 0xfff8][usize::from(third & 3)];
            Some((sid ^ requester) & compared == 0)
        }
        SVT_BUSES => Some((sid_high..=sid_low).contains(&bus)),
        _ => None,
    }
}
