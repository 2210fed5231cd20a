//! A vCPU's interrupts as data: from one engine to another, on this machine or the next.

use super::backend::DeliveryEngine;
use super::events::Events;
use super::events::PendingNmi;
use super::setting::Event;
use super::vcpu::VcpuApic;
use crate::delivery::host::Host;
use crate::delivery::software::LocalApic;
use crate::delivery::software::LocalApicConfig;
use crate::delivery::software::RestoreError;
use crate::delivery::software::SavedLocalApic;
use crate::delivery::time::Moment;

/// A vCPU's interrupts as data, the same whatever the engine. Routes and the levels of the pins are others' to set again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SavedVcpuApic {
    /// Its local APIC.
    pub apic: SavedLocalApic,
    /// Whether a non-maskable interrupt waits.
    pub nmi: PendingNmi,
    /// What was chosen for an entry, and not delivered yet.
    pub event: Option<Event>,
}

impl<E: DeliveryEngine> VcpuApic<E> {
    /// The vCPU's interrupts as data, with what others have left so far. What they leave from now on is lost, unless it goes to
    /// the new place: stop them first.
    pub fn save<H: Host>(&mut self, now: Moment, host: &H) -> SavedVcpuApic {
        self.collect(host);
        self.take_back(host);
        SavedVcpuApic { apic: self.apic.save(now), nmi: self.events.nmi, event: self.events.in_flight }
    }

    /// A vCPU's interrupts as they were saved, under whatever engine. What follows from the registers is worked out afresh: RVI
    /// and SVI, the EOI-exit bitmap, the TPR threshold.
    ///
    /// # Errors
    /// The data is that of no local APIC, or of another one; the bus has not been told anything then.
    pub fn restore<H: Host>(
        config: LocalApicConfig,
        saved: &SavedVcpuApic,
        engine: E,
        now: Moment,
        host: &H,
    ) -> Result<Self, RestoreError> {
        let apic = LocalApic::restore(config, &saved.apic, now, host)?;
        Ok(Self::of(apic, engine, Events::restored(saved.nmi, saved.event), host))
    }

    /// Another engine from now on, in the same control structure or, after [`forget_settings`](Self::forget_settings), another.
    /// What waits, what others have staged and what is in service stays; what they leave at
    /// the old port meanwhile is still found. The old engine is returned.
    pub fn switch<H: Host>(&mut self, engine: E, host: &H) -> E {
        let _ = self.local_apic(host);
        self.engine.retire(host);
        let old = core::mem::replace(&mut self.engine, engine);
        // What the new engine has set in the structure is not known.
        self.engine.forget();
        self.mark_changed();
        self.update_port(host);
        old
    }
}
