//! The registers one by one: what each reads as, and what a write of it does.

use hypervisor_abi::apic::ApicMode;
use hypervisor_abi::apic::ApicRegister;
use hypervisor_abi::apic::Icr;
use hypervisor_abi::apic::Lvt;
use hypervisor_abi::apic::LvtEntry;
use hypervisor_abi::apic::SpuriousVector;
use hypervisor_abi::apic::TimerMode;

use super::local_apic::LocalApic;
use super::timer;
use super::timer::Expiry;
use crate::delivery::host::Action;
use crate::delivery::host::Host;
use crate::delivery::time::Moment;

/// The bits of DFR that software may set; the others read as ones (SDM vol. 3A, 11.6.2.2).
pub(super) const DFR_MODEL: u32 = 0xf000_0000;
/// The bits of LDR that software may set in xAPIC mode.
const LDR_WRITABLE: u32 = 0xff00_0000;

impl LocalApic {
    /// What a register reads as; of ICR in x2APIC mode the lower half. A register that is not there reads as zero.
    pub(super) fn read_register(&self, register: ApicRegister, now: Moment) -> u32 {
        match register {
            ApicRegister::Id if self.mode() == ApicMode::X2Apic => self.config.id.0,
            ApicRegister::Id => self.config.id.0 << 24,
            ApicRegister::Version => self.version().into(),
            ApicRegister::TaskPriority => self.priority.tpr().into(),
            ApicRegister::ProcessorPriority => self.priority.ppr().into(),
            ApicRegister::LogicalDestination => self.ldr,
            ApicRegister::DestinationFormat => self.dfr,
            ApicRegister::SpuriousVector => self.svr.into(),
            ApicRegister::InService(bank) => self.priority.isr.bank(bank),
            ApicRegister::TriggerMode(bank) => self.priority.tmr.bank(bank),
            ApicRegister::InterruptRequest(bank) => self.priority.irr.bank(bank),
            ApicRegister::ErrorStatus => self.errors.shown,
            ApicRegister::Lvt(entry) => self.lvt(entry).into(),
            ApicRegister::IcrLow => self.icr.low(),
            ApicRegister::IcrHigh => self.icr.destination(),
            ApicRegister::TimerInitialCount => self.timer.initial(),
            ApicRegister::TimerCurrentCount => self.current_count(now),
            ApicRegister::TimerDivide => self.timer.divide().value(),
            ApicRegister::Eoi
            | ApicRegister::SelfIpi
            | ApicRegister::ArbitrationPriority
            | ApicRegister::RemoteRead => 0,
        }
    }

    /// Writes a register; bits that nobody can set are ignored. A register that is read-only, or not there, stays.
    #[inline]
    pub(super) fn write_register<H: Host>(&mut self, register: ApicRegister, value: u32, now: Moment, host: &H) {
        match register {
            ApicRegister::Eoi => self.end_of_interrupt(host),
            ApicRegister::TaskPriority => self.set_tpr(value.to_le_bytes()[0], host),
            ApicRegister::IcrLow => {
                self.icr = self.icr.with_low(value & Icr::WRITABLE_LOW);
                // In xAPIC mode the register holds the destination in its highest byte.
                let icr = match self.mode() {
                    ApicMode::X2Apic => self.icr,
                    ApicMode::XApic | ApicMode::Disabled => self.icr.with_destination(self.icr.destination() >> 24),
                };
                self.send(icr, host);
            }
            ApicRegister::IcrHigh => self.icr.set_destination(value & Icr::WRITABLE_HIGH_XAPIC),
            ApicRegister::SelfIpi => self.send_to_itself(value.to_le_bytes()[0], host),
            ApicRegister::LogicalDestination => {
                self.ldr = value & LDR_WRITABLE;
                self.publish(host);
            }
            ApicRegister::DestinationFormat => {
                self.dfr = value | !DFR_MODEL;
                self.publish(host);
            }
            ApicRegister::SpuriousVector => self.write_svr(value.into(), host),
            ApicRegister::ErrorStatus => self.errors.show(),
            ApicRegister::Lvt(entry) => self.write_lvt(entry, value, now, host),
            ApicRegister::TimerInitialCount => self.write_initial_count(value, now, host),
            ApicRegister::TimerDivide => {
                self.expire(now, host);
                self.timer.set_divide(value, now);
                self.set_alarm(host);
            }
            ApicRegister::Id
            | ApicRegister::Version
            | ApicRegister::ArbitrationPriority
            | ApicRegister::ProcessorPriority
            | ApicRegister::RemoteRead
            | ApicRegister::InService(_)
            | ApicRegister::TriggerMode(_)
            | ApicRegister::InterruptRequest(_)
            | ApicRegister::TimerCurrentCount => {}
        }
    }

    /// The bits of SVR that software may set.
    pub(super) fn svr_writable(&self) -> SpuriousVector {
        let suppress_eoi = self.config.features.suppress_eoi;
        let focus = self.mode() != ApicMode::X2Apic;
        SpuriousVector::new()
            .with_vector(0xff)
            .with_enabled(true)
            .with_focus_disabled(focus)
            .with_suppress_eoi(suppress_eoi)
    }

    /// The bits of an entry that software may set.
    pub(super) fn lvt_writable(&self, entry: LvtEntry) -> u32 {
        let no_deadline = entry == LvtEntry::Timer && !self.config.features.tsc_deadline;
        entry.writable() & if no_deadline { !(1 << 18) } else { u32::MAX }
    }

    /// Software-disabling masks the whole table; what has been sent before stays and waits (SDM vol. 3A, 11.4.7.2).
    fn write_svr<H: Host>(&mut self, value: SpuriousVector, host: &H) {
        let written = value.into_bits() & self.svr_writable().into_bits();
        let before = core::mem::replace(&mut self.svr, written.into());
        match (before.enabled(), self.svr.enabled()) {
            (true, false) => {
                self.vectors.mask_all();
                self.publish(host);
                self.update_pins();
                self.set_alarm(host);
            }
            (false, true) => {
                self.publish(host);
                host.act(Action::SoftwareEnabled);
            }
            (true, true) | (false, false) => {}
        }
    }

    fn write_lvt<H: Host>(&mut self, entry: LvtEntry, value: u32, now: Moment, host: &H) {
        // What the timer has done so far, it has done by the old entry.
        self.expire(now, host);
        let before = self.lvt(entry);
        let kept = before.into_bits() & entry.read_only();
        let mut after = Lvt::from(value & self.lvt_writable(entry) | kept);
        if !self.svr.enabled() {
            after.set_masked(true);
        }
        if after.trigger() != before.trigger() {
            after.set_remote_irr(false);
        }
        self.vectors.set_entry(entry, after);
        if entry == LvtEntry::Timer {
            self.timer.change_mode(before.timer_mode(), after.timer_mode());
            self.set_alarm(host);
        }
        self.update_pins();
    }

    fn write_initial_count<H: Host>(&mut self, count: u32, now: Moment, host: &H) {
        self.expire(now, host);
        // In deadline mode the register is ignored (SDM vol. 3A, 11.5.4.1).
        if timer::counts(self.timer_mode()) {
            self.timer.set_initial(count, now);
            self.set_alarm(host);
        }
    }

    /// `IA32_TSC_DEADLINE`: zero unless the timer is in deadline mode and armed.
    pub(super) fn read_tsc_deadline(&mut self, now: Moment, host: &impl Host) -> u64 {
        self.tick(now, host);
        self.timer.tsc_deadline()
    }

    /// A write of `IA32_TSC_DEADLINE`: arms the timer, at zero disarms it. One that has passed fires at once.
    pub(super) fn write_tsc_deadline<H: Host>(&mut self, deadline: u64, now: Moment, host: &H) {
        if self.timer_mode() == TimerMode::TscDeadline {
            self.expire(now, host);
            self.timer.set_tsc_deadline(deadline);
            self.tick(now, host);
        }
    }

    /// Time has passed. To be called at the latest when the [alarm](Action::SetTimer) goes off; earlier does no harm.
    pub fn tick<H: Host>(&mut self, now: Moment, host: &H) {
        self.expire(now, host);
        self.set_alarm(host);
    }

    fn expire<H: Host>(&mut self, now: Moment, host: &H) {
        if self.timer.advance(self.timer_mode(), now) == Expiry::Fired {
            self.deliver_local(LvtEntry::Timer, host);
        }
    }

    /// Asks the host to be called when the timer fires next; a masked timer need not be looked at.
    pub(super) fn set_alarm<H: Host>(&mut self, host: &H) {
        let next = self.timer.deadline(self.timer_mode()).filter(|_| !self.lvt(LvtEntry::Timer).masked());
        if core::mem::replace(&mut self.alarm, next) != next {
            host.act(Action::SetTimer(next));
        }
    }

    fn current_count(&self, now: Moment) -> u32 {
        let mut timer = self.timer;
        let _ = timer.advance(self.timer_mode(), now);
        timer.current(now)
    }

    fn timer_mode(&self) -> TimerMode {
        self.lvt(LvtEntry::Timer).timer_mode()
    }
}
