//! How an upcall reaches a vCPU (semantics: `public/hvm/params.h`, `public/hvm/hvm_op.h`).
//!
//! ```text
//! event ─► evtchn_upcall_pending 0→1 ─┬─ PV ───────────────────────────► kick
//!                                     ├─ the vCPU has its own vector ──► its local APIC, if software-enabled
//!                                     ├─ callback by vector ───────────► kick; offered at each entry while pending
//!                                     └─ callback by GSI or INTx ──────► the line, high while vCPU 0 has events
//! ```
//!
//! The vector callback and the line are *levels*: they follow `evtchn_upcall_pending`, and nothing the guest acknowledges
//! changes them. The vCPU's own vector is an *edge*; so it is raised again when the APIC is enabled (R-30), and once when
//! the vector is set, in case an event was there before.

use hypervisor_abi::VcpuId;
use hypervisor_abi::hvm::CallbackVia;
use hypervisor_abi::sync::AtomicU64;
use hypervisor_abi::sync::Ordering;
use lock_api::Mutex;
use lock_api::RawMutex;

use super::domain::Domain;
use super::domain::WordSize;
use super::error::EventError;
use super::host::Action;
use super::host::CallbackLine;
use super::host::Host;
use super::host::Level;
use super::memory::GuestMemory;
use super::pirq::GUEST_LINES;
use crate::fabric::DomainKind;

/// The lowest vector an interrupt may have (SDM vol. 3A, 11.5.2).
const LOWEST_VECTOR: u8 = 0x10;

/// A domain's callback.
pub(crate) struct Callback<L: RawMutex> {
    /// What the guest set, as the parameter encodes it: read by every sender.
    via: AtomicU64,
    /// The line that is high now.
    high: Mutex<L, Option<CallbackLine>>,
}

impl<L: RawMutex> Callback<L> {
    pub(crate) fn new() -> Self {
        Self { via: AtomicU64::new(CallbackVia::None.to_param()), high: Mutex::new(None) }
    }

    pub(crate) fn via(&self) -> CallbackVia {
        CallbackVia::from_param(self.via.load(Ordering::Acquire)).unwrap_or_default()
    }

    fn set(&self, via: CallbackVia) {
        self.via.store(via.to_param(), Ordering::Release);
    }

    fn line(&self) -> Option<CallbackLine> {
        match self.via() {
            CallbackVia::Gsi(gsi) => Some(CallbackLine::Gsi(gsi)),
            CallbackVia::PciIntx { device, pin } => Some(CallbackLine::PciIntx { device, pin }),
            CallbackVia::None | CallbackVia::Vector(_) => None,
        }
    }
}

impl<L: RawMutex> Domain<L> {
    /// An event is pending for a vCPU: if it is the first, the vCPU is called. Returns at once if one was pending before,
    /// so that there is one kick for each edge, however many events follow.
    pub(crate) fn mark_pending<H: Host<Lock = L>>(&self, host: &H, vcpu: VcpuId) {
        if self.vcpu_info(host, vcpu).is_some_and(|info| info.raise_upcall()) {
            self.call(host, vcpu);
        }
    }

    /// Calls a vCPU, whether it was called before or not.
    #[inline]
    pub(crate) fn call<H: Host<Lock = L>>(&self, host: &H, vcpu: VcpuId) {
        if self.kind == DomainKind::Pv {
            host.act(Action::Kick { domain: self.id, vcpu });
        } else {
            self.call_hvm(host, vcpu);
        }
    }

    fn call_hvm<H: Host<Lock = L>>(&self, host: &H, vcpu: VcpuId) {
        if self.upcall_vector(vcpu).is_some() {
            return self.inject(host, vcpu);
        }
        match self.callback.via() {
            CallbackVia::Vector(_) => host.act(Action::Kick { domain: self.id, vcpu }),
            CallbackVia::Gsi(_) | CallbackVia::PciIntx { .. } if vcpu == VcpuId(0) => self.update_callback_line(host),
            CallbackVia::None | CallbackVia::Gsi(_) | CallbackVia::PciIntx { .. } => {}
        }
    }

    /// Raises a vCPU's own vector, if its local APIC takes interrupts.
    fn inject<H: Host<Lock = L>>(&self, host: &H, vcpu: VcpuId) {
        if let Some(vector) = self.upcall_vector(vcpu)
            && host.is_local_apic_enabled(self.id, vcpu)
        {
            host.act(Action::InjectVector { domain: self.id, vcpu, vector });
        }
    }

    /// Brings the callback line to the level vCPU 0's events ask for. The host calls this at each entry of vCPU 0, since
    /// the guest lowers the level by a plain store.
    pub fn update_callback_line<H: Host<Lock = L>>(&self, host: &H) {
        let mut high = self.callback.high.lock();
        let due = self.vcpu_info(host, VcpuId(0)).is_some_and(|info| info.is_upcall_due());
        let wanted = self.callback.line().filter(|_| due);
        if *high == wanted {
            return;
        }
        let drive = |line, level| host.act(Action::SetLine { domain: self.id, line, level });
        if let Some(line) = *high {
            drive(line, Level::Low);
        }
        if let Some(line) = wanted {
            drive(line, Level::High);
        }
        *high = wanted;
    }

    /// The vector to inject at a vCPU's entry by event injection, before any of its local APIC's: set by the callback of
    /// type 2, as long as events are pending, whatever was injected before.
    pub fn callback_vector(&self, memory: &impl GuestMemory, vcpu: VcpuId) -> Option<u8> {
        let CallbackVia::Vector(vector) = self.callback.via() else { return None };
        let due =
            self.upcall_vector(vcpu).is_none() && self.vcpu_info(memory, vcpu).is_some_and(|info| info.is_upcall_due());
        due.then_some(vector)
    }

    /// The vector a vCPU's upcalls have of their own.
    pub fn upcall_vector(&self, vcpu: VcpuId) -> Option<u8> {
        let vcpu = self.vcpus.get(vcpu.index())?;
        Some(vcpu.upcall_vector.load(Ordering::Acquire)).filter(|vector| *vector != 0)
    }

    /// How events call the guest where a vCPU has no vector of its own.
    pub fn callback_via(&self) -> CallbackVia {
        self.callback.via()
    }

    /// Sets how events call the guest (`HVM_PARAM_CALLBACK_IRQ`), and calls every vCPU that has events already. The guest's
    /// words are now taken to be `word_size` wide, that of its mode at this moment (R-101).
    ///
    /// A guest without the interrupt controllers for a line keeps the callback it has, and a line beyond them is none
    /// (`hvm_set_callback_via`, `xen/arch/x86/hvm/irq.c`).
    ///
    /// # Errors
    /// The shared page cannot be pinned in the layout of the new word size.
    pub fn set_callback_via<H: Host<Lock = L>>(
        &self,
        host: &H,
        via: CallbackVia,
        word_size: WordSize,
    ) -> Result<(), EventError> {
        let structure = self.lock();
        if self.word_size() != word_size {
            self.map_shared_info(host, word_size, structure.places.shared_info_gfn)?;
        }
        match via {
            CallbackVia::Gsi(_) | CallbackVia::PciIntx { .. } if self.kind == DomainKind::Pvh => {}
            CallbackVia::Gsi(line) if line >= GUEST_LINES => self.callback.set(CallbackVia::None),
            _ => self.callback.set(via),
        }
        drop(structure);
        self.update_callback_line(host);
        for number in self.vcpus.iter().zip(0..).map(|(_, number)| VcpuId(number)) {
            if self.vcpu_info(host, number).is_some_and(|info| info.is_upcall_due()) {
                self.call(host, number);
            }
        }
        Ok(())
    }

    /// Gives a vCPU's upcalls a vector of their own (`HVMOP_set_evtchn_upcall_vector`); it goes before the domain's
    /// callback. One upcall is raised at once, in case an event is pending already.
    ///
    /// # Errors
    /// No such vCPU; a vector below 0x10.
    pub fn set_upcall_vector<H: Host<Lock = L>>(&self, host: &H, vcpu: VcpuId, vector: u8) -> Result<(), EventError> {
        if vector < LOWEST_VECTOR {
            return Err(EventError::IllegalVector(vector));
        }
        self.vcpu(vcpu)?.upcall_vector.store(vector, Ordering::Release);
        self.inject(host, vcpu);
        Ok(())
    }

    /// A vCPU's local APIC has become software-enabled: an upcall that it did not take before is raised.
    ///
    /// # Errors
    /// No such vCPU.
    pub fn local_apic_enabled<H: Host<Lock = L>>(&self, host: &H, vcpu: VcpuId) -> Result<(), EventError> {
        self.vcpu(vcpu)?;
        if self.vcpu_info(host, vcpu).is_some_and(|info| info.is_upcall_due()) {
            self.inject(host, vcpu);
        }
        Ok(())
    }

    /// Whether the guest takes its events by vector, of whichever kind: then its physical IRQs can be events (R-31).
    pub fn takes_events_by_vector(&self) -> bool {
        matches!(self.callback.via(), CallbackVia::Vector(_)) || self.upcall_vector(VcpuId(0)).is_some()
    }
}
