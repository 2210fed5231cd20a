//! Physical IRQs as events: mapping them, composing their messages, ending them (`public/physdev.h`).

use hypervisor_abi::DomainId;
use hypervisor_abi::physdev::GetFreePirq;
use hypervisor_abi::physdev::MAP_PIRQ_TYPE_GSI;
use hypervisor_abi::physdev::MAP_PIRQ_TYPE_MSI;
use hypervisor_abi::physdev::MapPirq;
use hypervisor_abi::physdev::PHYSDEVOP_EOI;
use hypervisor_abi::physdev::PHYSDEVOP_GET_FREE_PIRQ;
use hypervisor_abi::physdev::PHYSDEVOP_MAP_PIRQ;
use hypervisor_abi::physdev::PHYSDEVOP_PIRQ_EOI_GMFN_V2;
use hypervisor_abi::physdev::PHYSDEVOP_UNMAP_PIRQ;
use hypervisor_abi::physdev::PirqEoi;
use hypervisor_abi::physdev::PirqEoiGmfn;
use hypervisor_abi::physdev::PirqEoiPage;
use hypervisor_abi::physdev::UnmapPirq;
use hypervisor_abi::sync::Ordering;

use crate::hypercall::Calls;
use crate::hypercall::Hypercalls;
use crate::hypercall::Object;
use crate::hypercall::Refused;
use crate::set_up::Gfn;

/// Where messages to local APICs go (SDM vol. 3A, 11.11.1).
const MSI_ADDRESS_BASE: u64 = 0xfee0_0000;
/// The 8-bit destination in a message's address.
const DESTINATION_SHIFT: u32 = 12;
/// Delivery mode ExtINT in a message's data, with vector 0.
const DATA_EXTINT: u32 = 7 << 8;
const DATA_VECTOR: u32 = 0xff;

/// A message as a device's MSI capability or MSI-X table holds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct MsiMessage {
    /// The address.
    pub address: u64,
    /// The data.
    pub data: u32,
}

impl MsiMessage {
    /// The message that stands for a physical IRQ: vector 0, which no interrupt has, and the number where the destination
    /// would be, low byte in bits 19:12 and the rest in bits 63:40 of the address.
    #[must_use]
    pub fn of_pirq(pirq: u32) -> Self {
        let low = u64::from(pirq & 0xff) << DESTINATION_SHIFT;
        let high = u64::from(pirq & !0xff) << 32;
        Self { address: high | MSI_ADDRESS_BASE | low, data: DATA_EXTINT }
    }

    /// The physical IRQ a message stands for; `None` for an ordinary one. The delivery mode says nothing.
    #[must_use]
    pub fn pirq(self) -> Option<u32> {
        let [_, second, third, _, _, high @ ..] = self.address.to_le_bytes();
        // Bits 19:12: the upper half of the second byte's and the lower half of the third's.
        let low = second >> 4 | third << 4;
        let [b1, b2, b3] = high;
        let is_pirq = self.data & DATA_VECTOR == 0;
        is_pirq.then(|| u32::from_le_bytes([low, b1, b2, b3]))
    }
}

/// Reserves a number for a message (`PHYSDEVOP_get_free_pirq`), to be composed with [`MsiMessage::of_pirq`].
///
/// # Errors
/// [`Refused`]: none is free, or physical IRQs are not offered.
pub fn reserve_for_msi(hypercalls: &impl Hypercalls) -> Result<u32, Refused> {
    let mut argument = GetFreePirq { kind: MAP_PIRQ_TYPE_MSI, pirq: 0 };
    hypercalls.physdev(("PHYSDEVOP_get_free_pirq", PHYSDEVOP_GET_FREE_PIRQ), Object::Guest, &mut argument)?;
    Ok(argument.pirq)
}

/// Gives a line of the platform the same number as a physical IRQ (`PHYSDEVOP_map_pirq`). Returns the number it has got.
///
/// # Errors
/// [`Refused`].
pub fn map_gsi(hypercalls: &impl Hypercalls, gsi: i32) -> Result<i32, Refused> {
    let domid = DomainId::SELF.0;
    let mut argument = MapPirq { domid, kind: MAP_PIRQ_TYPE_GSI, index: gsi, pirq: gsi, ..MapPirq::default() };
    hypercalls.physdev(("PHYSDEVOP_map_pirq", PHYSDEVOP_MAP_PIRQ), Object::Pirq(gsi.unsigned_abs()), &mut argument)?;
    Ok(argument.pirq)
}

/// Takes a number back (`PHYSDEVOP_unmap_pirq`).
///
/// # Errors
/// [`Refused`].
pub fn unmap(hypercalls: &impl Hypercalls, pirq: i32) -> Result<(), Refused> {
    let mut argument = UnmapPirq { domid: DomainId::SELF.0, pad: 0, pirq };
    let object = Object::Pirq(pirq.unsigned_abs());
    hypercalls.physdev(("PHYSDEVOP_unmap_pirq", PHYSDEVOP_UNMAP_PIRQ), object, &mut argument)
}

/// Ends physical IRQs, asking the hypervisor only for those that need it.
#[derive(Clone, Copy, Debug)]
pub struct PirqEois<'a> {
    page: Option<&'a PirqEoiPage>,
}

impl<'a> PirqEois<'a> {
    /// Without a page: every physical IRQ needs a call.
    #[must_use]
    pub const fn by_call() -> Self {
        Self { page: None }
    }

    /// Registers the page in which the hypervisor says which of them need a call (`PHYSDEVOP_pirq_eoi_gmfn_v2`: unmasking
    /// stays the guest's).
    ///
    /// # Errors
    /// [`Refused`]: a page is registered already, or the frame is no memory.
    pub fn register(hypercalls: &impl Hypercalls, page: &'a PirqEoiPage, gfn: Gfn) -> Result<Self, Refused> {
        let mut argument = PirqEoiGmfn { gmfn: gfn.0 };
        let call = ("PHYSDEVOP_pirq_eoi_gmfn_v2", PHYSDEVOP_PIRQ_EOI_GMFN_V2);
        hypercalls.physdev(call, Object::Frame(gfn.0), &mut argument)?;
        Ok(Self { page: Some(page) })
    }

    /// Whether the hypervisor waits for a physical IRQ's end.
    #[must_use]
    pub fn needs_call(&self, pirq: u32) -> bool {
        let Some(page) = self.page else { return true };
        let word = usize::try_from(pirq / 64).ok().and_then(|word| page.0.get(word));
        word.is_none_or(|word| word.load(Ordering::Acquire) >> (pirq % 64) & 1 == 1)
    }

    /// Ends a physical IRQ (`PHYSDEVOP_eoi`), if it needs that.
    ///
    /// # Errors
    /// [`Refused`]: it is not bound.
    pub fn end(&self, hypercalls: &impl Hypercalls, pirq: u32) -> Result<(), Refused> {
        if !self.needs_call(pirq) {
            return Ok(());
        }
        hypercalls.physdev(("PHYSDEVOP_eoi", PHYSDEVOP_EOI), Object::Pirq(pirq), &mut PirqEoi { irq: pirq })
    }
}
