//! A vCPU, as event channels see it: its block in shared memory, its virtual IRQs, its upcall vector, its poll.

use core::array;

use hypervisor_abi::Port;
use hypervisor_abi::Shared;
use hypervisor_abi::VcpuId;
use hypervisor_abi::VcpuInfo32;
use hypervisor_abi::VcpuInfo64;
use hypervisor_abi::Virq;
use hypervisor_abi::sync::AtomicU8;
use hypervisor_abi::sync::AtomicU32;
use hypervisor_abi::sync::Ordering;
use hypervisor_abi::vcpu_info::VcpuTimeInfo;
use hypervisor_abi::virq::NR_VIRQS;
use lock_api::RawMutex;

use super::domain::Domain;
use super::domain::Structure;
use super::domain::WordSize;
use super::error::EventError;
use super::host::Host;
use super::memory::GuestMemory;
use super::memory::GuestPlace;
use super::memory::PinCell;
use super::time;

/// A vCPU's part of the event channels.
#[derive(Debug)]
pub(crate) struct Vcpu {
    /// The block the guest registered, if it did, in the layout of its words.
    info_64: PinCell<VcpuInfo64>,
    info_32: PinCell<VcpuInfo32>,
    /// The port each virtual IRQ is bound to; 0 for none.
    virqs: [AtomicU32; NR_VIRQS],
    /// The vector the guest gave this vCPU's upcalls; 0 for none.
    pub(crate) upcall_vector: AtomicU8,
    /// What a poll waits for: [`NOT_POLLING`], [`ANY_PORT`], or a port.
    pub(crate) poll: AtomicU32,
}

/// The vCPU is not in a poll.
pub(crate) const NOT_POLLING: u32 = 0;
/// The vCPU polls several ports, or none: any event may be the one.
pub(crate) const ANY_PORT: u32 = u32::MAX;

/// A vCPU's block in shared memory, in either layout.
#[derive(Clone, Copy, Debug)]
pub(crate) enum VcpuInfo<'m> {
    Bits64(&'m VcpuInfo64),
    Bits32(&'m VcpuInfo32),
}

impl<'m> VcpuInfo<'m> {
    fn pending(self) -> &'m AtomicU8 {
        match self {
            Self::Bits64(info) => &info.evtchn_upcall_pending,
            Self::Bits32(info) => &info.evtchn_upcall_pending,
        }
    }

    fn mask(self) -> &'m AtomicU8 {
        match self {
            Self::Bits64(info) => &info.evtchn_upcall_mask,
            Self::Bits32(info) => &info.evtchn_upcall_mask,
        }
    }

    pub(crate) fn time(self) -> &'m VcpuTimeInfo {
        match self {
            Self::Bits64(info) => &info.time,
            Self::Bits32(info) => &info.time,
        }
    }

    /// Says that an event is pending; whether none was before.
    pub(crate) fn raise_upcall(self) -> bool {
        self.pending().swap(1, Ordering::SeqCst) == 0
    }

    /// The level of the upcall: pending, and not masked by a paravirtual guest.
    pub(crate) fn is_upcall_due(self) -> bool {
        self.pending().load(Ordering::SeqCst) != 0 && self.mask().load(Ordering::Acquire) == 0
    }

    /// Selects a word of the pending bitmap and, if it was not selected before, says that an event is pending; whether none
    /// was before, so that the vCPU is to be called.
    #[inline]
    pub(crate) fn select(self, word: u32) -> bool {
        let was_selected = match self {
            Self::Bits64(info) => {
                let bit = 1 << (word % 64);
                info.evtchn_pending_sel.fetch_or(bit, Ordering::SeqCst) & bit != 0
            }
            Self::Bits32(info) => {
                let bit = 1 << (word % 32);
                info.evtchn_pending_sel.fetch_or(bit, Ordering::SeqCst) & bit != 0
            }
        };
        !was_selected && self.raise_upcall()
    }

    /// Selects every word, so that the guest looks at all of them.
    pub(crate) fn select_all(self) {
        match self {
            Self::Bits64(info) => info.evtchn_pending_sel.store(u64::MAX, Ordering::SeqCst),
            Self::Bits32(info) => info.evtchn_pending_sel.store(u32::MAX, Ordering::SeqCst),
        }
    }

    /// Copies to a new block what the vCPU may still read there.
    fn copy_to(self, to: Self) {
        match (self, to) {
            (Self::Bits64(from), Self::Bits64(to)) => {
                for (from, to) in from.arch.iter().zip(&to.arch) {
                    to.store(from.load(Ordering::Acquire), Ordering::Release);
                }
            }
            (Self::Bits32(from), Self::Bits32(to)) => {
                for (from, to) in from.arch.iter().zip(&to.arch) {
                    to.store(from.load(Ordering::Acquire), Ordering::Release);
                }
            }
            (Self::Bits64(_), Self::Bits32(_)) | (Self::Bits32(_), Self::Bits64(_)) => {}
        }
        to.mask().store(self.mask().load(Ordering::Acquire), Ordering::Release);
        time::copy(self.time(), to.time());
    }
}

impl Vcpu {
    pub(crate) fn new() -> Self {
        Self {
            info_64: PinCell::empty(),
            info_32: PinCell::empty(),
            virqs: array::from_fn(|_| AtomicU32::new(0)),
            upcall_vector: AtomicU8::new(0),
            poll: AtomicU32::new(NOT_POLLING),
        }
    }

    /// The port a virtual IRQ is bound to.
    pub(crate) fn virq_port(&self, virq: Virq) -> Option<Port> {
        Some(Port(self.virqs[virq.index()].load(Ordering::Acquire))).filter(|port| port.0 != 0)
    }

    /// The caller holds the event lock.
    pub(crate) fn set_virq_port(&self, virq: Virq, port: Option<Port>) {
        self.virqs[virq.index()].store(port.map_or(0, |port| port.0), Ordering::Release);
    }

    /// Gives back the block the guest registered.
    pub(crate) fn unmap_info(&self, memory: &impl GuestMemory) {
        self.info_64.unpin(memory);
        self.info_32.unpin(memory);
    }

    /// Whether the guest registered a block.
    pub(crate) fn has_own_info(&self) -> bool {
        self.info_64.pinned().is_some() || self.info_32.pinned().is_some()
    }
}

impl<L: RawMutex> Domain<L> {
    /// A vCPU's block: the one it registered, else its place in the shared page. `None` for vCPUs from 32 on that have not
    /// registered one; what they miss until then is made up for when they do.
    pub(crate) fn vcpu_info<'m>(&self, memory: &'m impl GuestMemory, vcpu: VcpuId) -> Option<VcpuInfo<'m>> {
        self.info_of(memory, vcpu, self.vcpus.get(vcpu.index())?)
    }

    /// The block of a vCPU that has been looked up before.
    #[inline]
    pub(crate) fn info_of<'m>(&self, memory: &'m impl GuestMemory, vcpu: VcpuId, own: &Vcpu) -> Option<VcpuInfo<'m>> {
        if let Some(info) = own.info_64.get(memory) {
            return Some(VcpuInfo::Bits64(info));
        }
        self.rare_info_of(memory, vcpu, own)
    }

    /// The block of a vCPU that has none of its own, or one in the narrow layout.
    fn rare_info_of<'m>(&self, memory: &'m impl GuestMemory, vcpu: VcpuId, own: &Vcpu) -> Option<VcpuInfo<'m>> {
        if let Some(info) = own.info_32.get(memory) {
            return Some(VcpuInfo::Bits32(info));
        }
        if let Some(shared) = self.shared_info_64.get(memory) {
            return shared.vcpu_info.get(vcpu.index()).map(VcpuInfo::Bits64);
        }
        self.shared_info_32.get(memory)?.vcpu_info.get(vcpu.index()).map(VcpuInfo::Bits32)
    }

    /// Moves a vCPU's block to a place the guest chose (`VCPUOP_register_vcpu_info`), once in its life. The guest is then
    /// told that everything is pending, so that nothing raised meanwhile is lost.
    ///
    /// # Errors
    /// No such vCPU; a place that is not 64-byte aligned inside its frame; registered already; a frame that is no memory.
    pub fn register_vcpu_info<H: Host<Lock = L>>(
        &self,
        host: &H,
        vcpu: VcpuId,
        place: GuestPlace,
    ) -> Result<(), EventError> {
        let mut structure = self.lock();
        let before = self.vcpu_info(host, vcpu);
        self.map_vcpu_info(host, &mut structure, vcpu, place)?;
        if let (Some(before), Some(after)) = (before, self.vcpu_info(host, vcpu)) {
            before.copy_to(after);
        }
        self.assert_all(host, vcpu);
        Ok(())
    }

    /// Pins a vCPU's own block, with what it holds. The caller holds the event lock.
    pub(crate) fn map_vcpu_info(
        &self,
        memory: &impl GuestMemory,
        structure: &mut Structure,
        vcpu: VcpuId,
        place: GuestPlace,
    ) -> Result<(), EventError> {
        let own = self.vcpu(vcpu)?;
        if !place.offset.is_multiple_of(64) || !place.fits(VcpuInfo64::SIZE) {
            return Err(EventError::BadOffset(place.offset));
        }
        if own.has_own_info() {
            return Err(EventError::Twice(self.id, vcpu));
        }
        match self.word_size() {
            WordSize::Bits64 => own.info_64.set(memory.pin(self.id, place)?),
            WordSize::Bits32 => own.info_32.set(memory.pin(self.id, place)?),
        }
        structure.places.vcpu_infos.insert(vcpu.0, place);
        Ok(())
    }

    /// Tells a vCPU that anything may be pending.
    pub(crate) fn assert_all<H: Host<Lock = L>>(&self, host: &H, vcpu: VcpuId) {
        if let Some(info) = self.vcpu_info(host, vcpu) {
            info.select_all();
        }
        self.mark_pending(host, vcpu);
    }
}
