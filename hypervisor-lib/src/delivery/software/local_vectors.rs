//! The local vector table: the local APIC's own sources and its two pins (SDM vol. 3A, 11.5.1).

use hypervisor_abi::apic::ApicMode;
use hypervisor_abi::apic::DeliveryMode;
use hypervisor_abi::apic::Lvt;
use hypervisor_abi::apic::LvtEntry;
use hypervisor_abi::apic::Polarity;
use hypervisor_abi::apic::TriggerMode;
use vector_allocator::Vector;

use super::error::RECEIVE_ILLEGAL_VECTOR;
use super::local_apic::LocalApic;
use crate::delivery::host::Action;
use crate::delivery::host::Host;
use crate::event::Level;

/// A pin of the local APIC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Pin {
    /// LINT0, or INTR while the local APIC is disabled.
    Lint0,
    /// LINT1, or NMI while the local APIC is disabled.
    Lint1,
}

impl Pin {
    const ALL: [Self; 2] = [Self::Lint0, Self::Lint1];

    const fn entry(self) -> LvtEntry {
        match self {
            Self::Lint0 => LvtEntry::Lint0,
            Self::Lint1 => LvtEntry::Lint1,
        }
    }
}

/// The table, the levels of the pins, and whether they ask for an external interrupt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct LocalVectors {
    entries: [Lvt; LvtEntry::ALL.len()],
    levels: [Level; 2],
    /// A pin asks for it, for as long as it is asserted.
    ext_int_by_pin: bool,
    /// A message asked for it, once.
    ext_int_by_message: bool,
}

impl Default for LocalVectors {
    fn default() -> Self {
        Self {
            entries: [Lvt::RESET; LvtEntry::ALL.len()],
            levels: [Level::Low; 2],
            ext_int_by_pin: false,
            ext_int_by_message: false,
        }
    }
}

impl LocalVectors {
    /// Everything as in the beginning but the levels, which others drive.
    pub(super) fn reset(&mut self) {
        *self = Self { levels: self.levels, ..Self::default() };
    }

    pub(super) fn entry(&self, entry: LvtEntry) -> Lvt {
        self.entries[entry.index()]
    }

    pub(super) fn set_entry(&mut self, entry: LvtEntry, value: Lvt) {
        self.entries[entry.index()] = value;
    }

    /// What a software-disabled local APIC does to all entries (SDM vol. 3A, 11.4.7.2).
    pub(super) fn mask_all(&mut self) {
        self.entries.iter_mut().for_each(|entry| entry.set_masked(true));
    }

    #[inline]
    pub(super) fn ext_int(&self) -> bool {
        self.ext_int_by_pin | self.ext_int_by_message
    }

    pub(super) fn latch_ext_int(&mut self) {
        self.ext_int_by_message = true;
    }

    pub(super) fn end_ext_int_message(&mut self) {
        self.ext_int_by_message = false;
    }
}

impl LocalApic {
    /// Drives a pin. What an edge does to a masked entry is lost; a level is seen when the mask goes.
    pub fn set_pin<H: Host>(&mut self, pin: Pin, level: Level, host: &H) {
        let was_asserted = self.is_asserted(pin);
        self.vectors.levels[pin as usize] = level;
        if self.is_asserted(pin) && !was_asserted {
            self.begin_assertion(pin, host);
        }
        self.update_ext_int();
    }

    /// An own source of the local APIC has something to report: corrected machine checks, the thermal sensor, the
    /// performance counters. Counters mask themselves with it (SDM vol. 3B, 21.8.5).
    pub fn raise<H: Host>(&mut self, entry: LvtEntry, host: &H) {
        self.deliver_local(entry, host);
        if entry == LvtEntry::Performance && self.mode() != ApicMode::Disabled {
            let masked = self.lvt(entry).with_masked(true);
            self.vectors.set_entry(entry, masked);
        }
    }

    /// Delivers what an entry says, as an edge. An entry of the timer or the errors is always fixed; only pins can be
    /// wired to INIT (SDM vol. 3A, 11.5.1).
    pub(super) fn deliver_local<H: Host>(&mut self, entry: LvtEntry, host: &H) {
        let lvt = self.lvt(entry);
        if lvt.masked() || self.mode() == ApicMode::Disabled {
            return;
        }
        let is_pin = matches!(entry, LvtEntry::Lint0 | LvtEntry::Lint1);
        match lvt.delivery() {
            DeliveryMode::Fixed => {
                if !self.accept_edge(lvt.vector()) {
                    self.note_error(RECEIVE_ILLEGAL_VECTOR);
                }
            }
            DeliveryMode::Smi => host.act(Action::Smi),
            DeliveryMode::Nmi => host.act(Action::Nmi),
            DeliveryMode::Init if is_pin => host.act(Action::Init),
            DeliveryMode::Init
            | DeliveryMode::LowestPriority
            | DeliveryMode::Reserved
            | DeliveryMode::StartUp
            | DeliveryMode::ExtInt => {}
        }
    }

    /// Looks again at what depends on a pin's level and on the table: to be called when either, or the mode, has changed.
    pub(super) fn update_pins(&mut self) {
        self.update_level();
        self.update_ext_int();
    }

    /// Whether a pin asks for an external interrupt; it does so by level, whatever its entry says of the trigger. Without
    /// a local APIC, LINT0 is the processor's INTR.
    pub(super) fn update_ext_int(&mut self) {
        let asks = |pin: Pin| {
            let lvt = self.lvt(pin.entry());
            self.is_asserted(pin)
                && match self.mode() {
                    ApicMode::Disabled => pin == Pin::Lint0,
                    ApicMode::XApic | ApicMode::X2Apic => lvt.delivery() == DeliveryMode::ExtInt && !lvt.masked(),
                }
        };
        self.vectors.ext_int_by_pin = Pin::ALL.into_iter().any(asks);
    }

    /// The interrupt that LINT0's level has raised has ended; it is raised again if the level is still there.
    pub(super) fn end_remote_irr(&mut self, vector: Vector) {
        let lvt = self.lvt(LvtEntry::Lint0);
        if lvt.remote_irr() && lvt.vector() == vector.number() {
            self.vectors.set_entry(LvtEntry::Lint0, lvt.with_remote_irr(false));
            self.update_level();
        }
    }

    fn is_asserted(&self, pin: Pin) -> bool {
        let level = self.vectors.levels[pin as usize];
        match (self.mode(), self.lvt(pin.entry()).polarity()) {
            (ApicMode::XApic | ApicMode::X2Apic, Polarity::ActiveLow) => level == Level::Low,
            _ => level == Level::High,
        }
    }

    fn begin_assertion<H: Host>(&mut self, pin: Pin, host: &H) {
        match (self.mode(), pin) {
            (ApicMode::Disabled, Pin::Lint0) => {}
            (ApicMode::Disabled, Pin::Lint1) => host.act(Action::Nmi),
            (ApicMode::XApic | ApicMode::X2Apic, _) if self.is_level_triggered(pin) => self.update_level(),
            (ApicMode::XApic | ApicMode::X2Apic, _) => self.deliver_local(pin.entry(), host),
        }
    }

    /// Only LINT0 can be level-triggered, and only with fixed delivery (SDM vol. 3A, 11.5.1).
    fn is_level_triggered(&self, pin: Pin) -> bool {
        let lvt = self.lvt(pin.entry());
        pin == Pin::Lint0 && lvt.delivery() == DeliveryMode::Fixed && lvt.trigger() == TriggerMode::Level
    }

    /// Accepts LINT0's interrupt while its level is there, unless one is already accepted and not ended.
    fn update_level(&mut self) {
        let lvt = self.lvt(LvtEntry::Lint0);
        let is_due = self.mode() != ApicMode::Disabled
            && self.is_level_triggered(Pin::Lint0)
            && self.is_asserted(Pin::Lint0)
            && !lvt.masked()
            && !lvt.remote_irr();
        if !is_due {
            return;
        }
        match Vector::new(lvt.vector()) {
            Ok(vector) => {
                self.vectors.set_entry(LvtEntry::Lint0, lvt.with_remote_irr(true));
                self.priority.accept(vector, TriggerMode::Level);
            }
            Err(_) => self.note_error(RECEIVE_ILLEGAL_VECTOR),
        }
    }
}
