//! A port's pending and mask bits, whichever ABI keeps them.

use hypervisor_abi::Port;
use hypervisor_abi::event::PENDING;
use hypervisor_abi::sync::Ordering;
use lock_api::RawMutex;

use super::domain::Domain;
use super::domain::EventAbi;
use super::error::EventError;
use super::host::Host;
use super::memory::GuestMemory;
use super::slot::Slot;
use super::slot::Source;

impl<L: RawMutex> Domain<L> {
    /// Makes a port pending and calls its vCPU. The caller has made sure that the port stays open meanwhile.
    pub(crate) fn set_pending<H: Host<Lock = L>>(&self, host: &H, port: Port, slot: Slot<'_, L>) {
        if let Some(fifo) = self.fifo_in_use() {
            return self.fifo_set_pending(host, fifo, port, slot);
        }
        self.two_level_set_pending(host, port, slot);
    }

    /// Makes a port pending and calls its vCPU, if that is an ordinary matter and `source` has not changed by the time when
    /// nobody can change it any more; else `false`, and nothing has happened. The caller holds no lock.
    #[inline]
    pub(crate) fn try_raise<H: Host<Lock = L>>(&self, host: &H, port: Port, source: Source<'_, L>) -> bool {
        let Some(slot) = self.ports.get(port) else { return false };
        let era = self.era();
        match era.abi() {
            EventAbi::Fifo => self.fifo_try_raise(host, port, slot, era, source),
            EventAbi::TwoLevel(_) => self.two_level_try_raise(host, port, slot, era, source),
        }
    }

    /// Whether a port is pending.
    pub(crate) fn is_pending(&self, memory: &impl GuestMemory, port: Port) -> bool {
        match self.abi() {
            EventAbi::Fifo => self.fifo_word(memory, port) & PENDING != 0,
            EventAbi::TwoLevel(_) => self.bitmaps(memory).is_some_and(|bitmaps| bitmaps.is_pending(port)),
        }
    }

    /// Whether a port is masked, or cannot tell because it has no event word.
    pub(crate) fn is_masked(&self, memory: &impl GuestMemory, port: Port) -> bool {
        match self.abi() {
            EventAbi::Fifo => {
                let word = self.fifo_in_use().and_then(|fifo| fifo.word(memory, port));
                word.is_none_or(|word| word.load(Ordering::Acquire).masked())
            }
            EventAbi::TwoLevel(_) => self.bitmaps(memory).is_some_and(|bitmaps| bitmaps.is_masked(port)),
        }
    }

    /// Whether a closed port is still in a queue, so that it must not be given out again (78e24c269b).
    pub(crate) fn is_busy(&self, memory: &impl GuestMemory, port: Port) -> bool {
        let word = self.fifo_in_use().and_then(|fifo| fifo.word(memory, port));
        word.is_some_and(|word| word.load(Ordering::Acquire).linked())
    }

    /// Forgets a port's event, so that whoever gets the port next does not see it.
    pub(crate) fn clear_pending(&self, memory: &impl GuestMemory, port: Port, slot: Slot<'_, L>) {
        slot.take_unraised();
        if let Some(fifo) = self.fifo_in_use() {
            // No unlinking: the guest takes the port off its queue and finds nothing pending.
            if let Some(word) = fifo.word(memory, port) {
                word.0.fetch_and(!PENDING, Ordering::AcqRel);
            }
        } else if let Some(bitmaps) = self.bitmaps(memory) {
            bitmaps.clear_pending(port);
        }
    }

    /// Clears a port's mask and delivers what was pending behind it (`EVTCHNOP_unmask`).
    ///
    /// # Errors
    /// No such port.
    pub fn unmask<H: Host<Lock = L>>(&self, host: &H, port: Port) -> Result<(), EventError> {
        let slot = self.slot(port)?;
        let _bound = slot.lock();
        match self.fifo_in_use() {
            Some(fifo) => self.fifo_unmask(host, fifo, port, slot),
            None => self.two_level_unmask(host, port, slot),
        }
        Ok(())
    }

    fn fifo_word(&self, memory: &impl GuestMemory, port: Port) -> u32 {
        let word = self.fifo_in_use().and_then(|fifo| fifo.word(memory, port));
        word.map_or(0, |word| word.load(Ordering::SeqCst).into())
    }
}
