//! Saving a local APIC, and restoring it elsewhere.

use hypervisor_abi::apic::ApicBase;
use hypervisor_abi::apic::ApicId;
use hypervisor_abi::apic::ApicMode;
use hypervisor_abi::apic::ApicRegister;
use hypervisor_abi::apic::Icr;
use hypervisor_abi::apic::Lvt;
use hypervisor_abi::apic::LvtEntry;
use hypervisor_abi::apic::VectorBank;

use super::error::Errors;
use super::local_apic::LocalApic;
use super::local_apic::LocalApicConfig;
use super::page::ApicPage;
use super::priority::Priority;
use super::registers::DFR_MODEL;
use super::timer::Timer;
use crate::delivery::host::Host;
use crate::delivery::time::Moment;
use crate::delivery::vector_register::VectorRegister;

/// A local APIC as data. What is in the inbox is not part of it: sync first. The levels of the pins are others' to set
/// again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SavedLocalApic {
    /// `IA32_APIC_BASE`.
    pub base: ApicBase,
    /// The registers.
    pub page: ApicPage,
    /// `IA32_TSC_DEADLINE`.
    pub tsc_deadline: u64,
    /// Errors that have been noticed and not yet shown, as bits of the error status register.
    pub noticed_errors: u32,
}

/// Why a saved local APIC cannot be restored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RestoreError {
    /// `IA32_APIC_BASE` has EXTD without EN, or x2APIC mode where there is none.
    #[error("saved value {0:#x} of IA32_APIC_BASE is no mode of this local APIC")]
    Mode(u64),
    /// The page has another number.
    #[error("the saved page is that of number {saved:#x}, not of {own}", own = own.0)]
    Id {
        /// What the page has.
        saved: u32,
        /// What it should be.
        own: ApicId,
    },
    /// A vector below 16 waits or is in service.
    #[error("{register} of the saved page holds illegal vectors: {bits:#06x}")]
    IllegalVectors {
        /// Where.
        register: ApicRegister,
        /// Its lower 16 bits.
        bits: u32,
    },
}

impl LocalApic {
    /// The local APIC as data.
    #[must_use]
    pub fn save(&self, now: Moment) -> SavedLocalApic {
        SavedLocalApic {
            base: self.base,
            page: self.page(now),
            tsc_deadline: self.timer.tsc_deadline(),
            noticed_errors: self.errors.noticed,
        }
    }

    /// The local APIC that was saved. What follows from the registers is worked out afresh: the highest vector in service,
    /// the processor priority. A logical ID that x2APIC mode would not have given is kept: the guest has seen it
    ///
    ///
    /// # Errors
    /// The data is that of no local APIC, or of another one; the bus has not been told anything then.
    pub fn restore<H: Host>(
        config: LocalApicConfig,
        saved: &SavedLocalApic,
        now: Moment,
        host: &H,
    ) -> Result<Self, RestoreError> {
        let mode = saved.base.mode().filter(|mode| *mode != ApicMode::X2Apic || config.features.x2apic);
        let mode = mode.ok_or(RestoreError::Mode(saved.base.into()))?;
        let page = &saved.page;
        let id = page.get(ApicRegister::Id);
        if id != if mode == ApicMode::X2Apic { config.id.0 } else { config.id.0 << 24 } {
            return Err(RestoreError::Id { saved: id, own: config.id });
        }
        let tpr = page.get(ApicRegister::TaskPriority).to_le_bytes()[0];
        let priority = Priority::new(
            register(page, ApicRegister::InterruptRequest)?,
            register(page, ApicRegister::InService)?,
            register(page, ApicRegister::TriggerMode)?,
            tpr,
        );
        let mut apic = Self::new(config, host);
        apic.base = saved.base;
        apic.priority = priority;
        apic.svr = (page.get(ApicRegister::SpuriousVector) & apic.svr_writable().into_bits()).into();
        apic.ldr = page.get(ApicRegister::LogicalDestination);
        apic.dfr = page.get(ApicRegister::DestinationFormat) | !DFR_MODEL;
        let low = Icr::new().with_low(page.get(ApicRegister::IcrLow) & Icr::WRITABLE_LOW);
        let destination = page.get(ApicRegister::IcrHigh);
        apic.icr = low.with_destination(match mode {
            ApicMode::X2Apic => destination,
            ApicMode::XApic | ApicMode::Disabled => destination & Icr::WRITABLE_HIGH_XAPIC,
        });
        apic.errors = Errors::restored(saved.noticed_errors, page.get(ApicRegister::ErrorStatus));
        for entry in LvtEntry::ALL {
            let bits = page.get(entry.register()) & (apic.lvt_writable(entry) | entry.read_only());
            let lvt = Lvt::from(bits);
            apic.vectors.set_entry(entry, lvt.with_masked(lvt.masked() || !apic.svr.enabled()));
        }
        apic.timer = Timer::restored(
            page.get(ApicRegister::TimerInitialCount),
            page.get(ApicRegister::TimerCurrentCount),
            page.get(ApicRegister::TimerDivide),
            saved.tsc_deadline,
            now,
        );
        apic.tick(now, host);
        apic.update_pins();
        apic.publish(host);
        Ok(apic)
    }
}

/// One of the 256-bit registers.
fn register(page: &ApicPage, name: impl Fn(VectorBank) -> ApicRegister) -> Result<VectorRegister, RestoreError> {
    let mut words = [0_u64; 4];
    for bank in VectorBank::ALL {
        words[bank.index() / 2] |= u64::from(page.get(name(bank))) << (32 * (bank.index() % 2));
    }
    match words[0] & 0xffff {
        0 => Ok(VectorRegister::from_words(words)),
        _ => Err(RestoreError::IllegalVectors {
            register: name(VectorBank::ALL[0]),
            bits: page.get(name(VectorBank::ALL[0])) & 0xffff,
        }),
    }
}
