//! Switching a domain to the FIFO ABI, growing its array of event words, and taking the pages back.

use alloc::boxed::Box;

use hypervisor_abi::Port;
use hypervisor_abi::Shared;
use hypervisor_abi::VcpuId;
use hypervisor_abi::event::ControlBlock;
use hypervisor_abi::event::EVENT_WORDS_PER_PAGE;
use hypervisor_abi::event::FifoPriority;
use hypervisor_abi::event::LINK_BITS;
use hypervisor_abi::sync::Ordering;
use hypervisor_abi::sync::fence;
use lock_api::RawMutex;

use super::Fifo;
use super::Tail;
use crate::event::domain::Domain;
use crate::event::domain::EventAbi;
use crate::event::domain::Structure;
use crate::event::error::EventError;
use crate::event::host::Host;
use crate::event::memory::GuestMemory;
use crate::event::memory::GuestPlace;
use crate::event::slot::Route;

/// [`EVENT_WORDS_PER_PAGE`] as a number of ports.
const PORTS_PER_PAGE: u32 = 1024;
const _: () = assert!(PORTS_PER_PAGE as usize == EVENT_WORDS_PER_PAGE);

impl<L: RawMutex> Domain<L> {
    /// Gives a vCPU its control block (`EVTCHNOP_init_control`); the first such call switches the whole domain to the FIFO
    /// ABI. Ports that are bound get the default priority; what is pending is kept until their event words exist.
    ///
    /// Returns how wide links are.
    ///
    /// # Errors
    /// No such vCPU; an offset that is not 8-aligned inside the frame; a control block there is already; a frame that is no
    /// memory.
    pub fn init_control<H: Host<Lock = L>>(&self, host: &H, vcpu: VcpuId, place: GuestPlace) -> Result<u8, EventError> {
        self.vcpu(vcpu)?;
        if !place.fits(ControlBlock::SIZE) || !place.offset.is_multiple_of(8) {
            return Err(EventError::BadOffset(place.offset));
        }
        let mut structure = self.lock();
        let fifo = self.fifo.get_or_init(|| Box::new(Fifo::new(self.vcpus.len())));
        let control = fifo.controls.get(vcpu.index()).ok_or(EventError::NoVcpu(self.id, vcpu))?;
        if control.pinned().is_some() {
            return Err(EventError::Twice(self.id, vcpu));
        }
        control.set(host.pin(self.id, place)?);
        structure.places.controls.insert(vcpu.0, place);
        if self.abi() != EventAbi::Fifo {
            let channels = self.abi().channels();
            self.set_abi(EventAbi::Fifo);
            self.take_over_ports(host, channels);
        }
        Ok(LINK_BITS)
    }

    /// The bound ports of the 2-level ABI go on: default priority, and their pending bits remembered.
    fn take_over_ports(&self, memory: &impl GuestMemory, channels: u32) {
        let bitmaps = self.bitmaps(memory);
        for (port, slot) in self.ports.existing(1..channels) {
            let bound = slot.lock();
            slot.set_route(Route { priority: FifoPriority::DEFAULT, ..slot.route() });
            // The bit goes, so that it absorbs nothing when a reset brings the bitmaps back.
            let was_pending = bitmaps.is_some_and(|bitmaps| bitmaps.clear_pending(port));
            if was_pending && bound.binding().is_open() {
                slot.keep_unraised();
            }
        }
    }

    /// Adds a page of event words (`EVTCHNOP_expand_array`) and raises what happened to its ports before they had words.
    ///
    /// # Errors
    /// The domain does not use the FIFO ABI; it has all 128 pages; a frame that is no memory.
    pub fn expand_array<H: Host<Lock = L>>(&self, host: &H, gfn: u64) -> Result<(), EventError> {
        let mut structure = self.lock();
        let fifo = self.fifo_in_use().ok_or(EventError::NotFifo(self.id))?;
        let index = structure.places.array_gfns.len();
        let page = fifo.pages.get(index).ok_or(EventError::ArrayFull(self.id))?;
        page.set(host.pin(self.id, GuestPlace::frame(gfn))?);
        structure.places.array_gfns.push(gfn);
        // Pairs with the sender that notes an event and looks for the page again.
        fence(Ordering::SeqCst);
        let first = PORTS_PER_PAGE * u32::try_from(index).unwrap_or(0);
        for (port, slot) in self.ports.existing(first..first + PORTS_PER_PAGE) {
            if slot.take_unraised() {
                self.fifo_set_pending(host, fifo, port, slot);
            }
        }
        Ok(())
    }

    /// How many events were given up because the guest, or a toolstack that moves ports, interfered without end.
    pub fn dropped_events(&self) -> u32 {
        self.fifo.get().map_or(0, Fifo::dropped)
    }

    /// Sets a port's priority for the events to come (`EVTCHNOP_set_priority`).
    ///
    /// # Errors
    /// No such port; a domain without priorities; a port that is not open; a priority above 15. In this order.
    pub fn set_priority(&self, port: Port, priority: u32) -> Result<(), EventError> {
        let slot = self.slot(port)?;
        let bound = slot.lock();
        if self.abi() != EventAbi::Fifo {
            return Err(EventError::NoPriorities(self.id));
        }
        if !bound.binding().is_open() || slot.consumer().is_some() {
            return Err(EventError::Unusable(self.id, port));
        }
        let number = u8::try_from(priority).map_err(|_| EventError::IllegalPriority(priority))?;
        slot.set_route(Route { priority: FifoPriority::new(number)?, ..slot.route() });
        Ok(())
    }

    /// Back to the 2-level ABI, with all pages given back. No port is open.
    pub(crate) fn leave_fifo(&self, memory: &impl GuestMemory, structure: &mut Structure) {
        if self.abi() != EventAbi::Fifo {
            return;
        }
        structure.places.controls.clear();
        structure.places.array_gfns.clear();
        self.set_abi(EventAbi::TwoLevel(self.word_size()));
        let Some(fifo) = self.fifo.get() else { return };
        fifo.pages.iter().for_each(|page| page.unpin(memory));
        fifo.controls.iter().for_each(|control| control.unpin(memory));
        fifo.queues.iter().flat_map(|vcpu| &vcpu.0).for_each(|queue| *queue.lock() = Tail::default());
    }
}
