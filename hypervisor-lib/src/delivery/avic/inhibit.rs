//! When AVIC cannot serve a VM, and what becomes of the interrupts that wait when it is switched off or on.

use core::fmt;

use hypervisor_abi::avic::BackingPage;
use hypervisor_abi::avic::InterruptControl;
use hypervisor_abi::sync::AtomicU32;
use hypervisor_abi::sync::Ordering;
use vector_allocator::Vector;

use super::acceleration::Mode;
use super::post::due;

/// Why AVIC does not serve a VM for now. Several may hold at once; it comes back when none does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum InhibitReason {
    /// Configuration has it off.
    Disabled,
    /// The VM has no local APICs of the hypervisor's.
    Absent,
    /// Synthetic interrupts of Hyper-V end by themselves, which the processor does not know.
    HyperV,
    /// A debugger holds all interrupts back.
    BlockInterrupts,
    /// Two vCPUs have one APIC ID.
    PhysicalIdAliased,
    /// A guest has changed an APIC ID, but the tables are indexed by the first one.
    ApicIdModified,
    /// A guest has moved its register page, but the processor looks for it at one place.
    ApicBaseModified,
    /// Two vCPUs share a logical ID, or one has several.
    LogicalIdAliased,
    /// The guest runs guests of its own.
    Nested,
    /// An interrupt without the local APIC waits for the guest to take it: AVIC ignores the window that would say when.
    InterruptWindow,
    /// Lost ticks of the 8254 are made up for, which takes every end of its interrupt.
    PitReinjection,
    /// The guest's registers are encrypted.
    EncryptedState,
}

/// All of them.
pub const INHIBIT_REASONS: [InhibitReason; 12] = [
    InhibitReason::Disabled,
    InhibitReason::Absent,
    InhibitReason::HyperV,
    InhibitReason::BlockInterrupts,
    InhibitReason::PhysicalIdAliased,
    InhibitReason::ApicIdModified,
    InhibitReason::ApicBaseModified,
    InhibitReason::LogicalIdAliased,
    InhibitReason::Nested,
    InhibitReason::InterruptWindow,
    InhibitReason::PitReinjection,
    InhibitReason::EncryptedState,
];

/// How far a reason reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reach {
    /// It would stop Intel's APICv too.
    AnyEngine,
    /// It concerns AVIC alone.
    AvicOnly,
}

impl InhibitReason {
    /// How far it reaches.
    #[must_use]
    pub const fn reach(self) -> Reach {
        match self {
            Self::LogicalIdAliased
            | Self::Nested
            | Self::InterruptWindow
            | Self::PitReinjection
            | Self::EncryptedState => Reach::AvicOnly,
            _ => Reach::AnyEngine,
        }
    }

    /// What ends it.
    #[must_use]
    pub const fn remedy(self) -> &'static str {
        match self {
            Self::Disabled => "let the hypervisor use it",
            Self::Absent => "give the VM local APICs",
            Self::HyperV => "leave the synthetic interrupt controller out of what the VM is offered (viridian)",
            Self::BlockInterrupts => "let the debugger go on",
            Self::PhysicalIdAliased => "none until the guest gives every vCPU an APIC ID of its own",
            Self::ApicIdModified => "none until the guest writes the first APIC ID again",
            Self::ApicBaseModified => "none until the guest moves its registers back to fee00000",
            Self::LogicalIdAliased => "none until the guest gives every vCPU a logical ID of one bit",
            Self::Nested => "it ends when the guest leaves its own guests",
            Self::InterruptWindow => "it ends when the guest takes the interrupt",
            Self::PitReinjection => "let lost ticks be lost, or take another timer than the 8254",
            Self::EncryptedState => "none: encrypted guests need Secure AVIC",
        }
    }

    const fn bit(self) -> u32 {
        1 << self as u32
    }
}

/// What a change of reasons asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Change {
    /// Nothing.
    None,
    /// Every vCPU is to be interrupted, leaves (`Leaving::Preempting`), and asks [`Inhibits::entry`] before it is entered.
    SwitchOff,
    /// The same, and enters AVIC again.
    SwitchOn,
}

/// The reasons that hold for a VM. Any thread may change them.
#[derive(Debug, Default)]
pub struct Inhibits(AtomicU32);

impl Inhibits {
    /// A reason holds from now on.
    pub fn set(&self, reason: InhibitReason) -> Change {
        let before = self.0.fetch_or(reason.bit(), Ordering::SeqCst);
        if before == 0 { Change::SwitchOff } else { Change::None }
    }

    /// A reason holds no longer.
    pub fn clear(&self, reason: InhibitReason) -> Change {
        let before = self.0.fetch_and(!reason.bit(), Ordering::SeqCst);
        if before == reason.bit() { Change::SwitchOn } else { Change::None }
    }

    /// The reasons that hold.
    pub fn reasons(&self) -> impl Iterator<Item = InhibitReason> {
        let held = self.0.load(Ordering::SeqCst);
        INHIBIT_REASONS.into_iter().filter(move |reason| held & reason.bit() != 0)
    }

    /// How a vCPU is to be entered now. To be asked after the vCPU's thread can no longer miss that it is interrupted.
    pub fn entry(&self, mode: Mode, page: &BackingPage, control: InterruptControl) -> Entry {
        let control = control.with_interrupt_pending(false).with_masks_virtual_interrupts(true);
        if self.0.load(Ordering::SeqCst) == 0 {
            let control = control.with_avic(true).with_x2avic(mode == Mode::X2Avic);
            return Entry { control, pending: None };
        }
        Entry { control: control.with_avic(false).with_x2avic(false), pending: due(page) }
    }
}

/// How a vCPU is entered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The interrupt control word.
    pub control: InterruptControl,
    /// With AVIC off: the vector the hypervisor is to inject, out of the same page; the processor looks at the page no longer.
    pub pending: Option<Vector>,
}

impl fmt::Display for InhibitReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Disabled => "AVIC is switched off",
            Self::Absent => "the VM has no local APICs",
            Self::HyperV => "the guest uses Hyper-V's synthetic interrupts that end by themselves",
            Self::BlockInterrupts => "a debugger holds interrupts back",
            Self::PhysicalIdAliased => "two vCPUs have one APIC ID",
            Self::ApicIdModified => "the guest has changed an APIC ID",
            Self::ApicBaseModified => "the guest has moved a local APIC's registers",
            Self::LogicalIdAliased => "two vCPUs share a logical ID, or one has several",
            Self::Nested => "the guest runs a guest of its own",
            Self::InterruptWindow => "an interrupt from outside the local APIC waits for the guest",
            Self::PitReinjection => "lost ticks of the 8254 are made up for",
            Self::EncryptedState => "the guest's registers are encrypted",
        })
    }
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString;
    use alloc::vec::Vec;

    use hypervisor_abi::avic::BackingPage;
    use hypervisor_abi::avic::InterruptControl;
    use hypervisor_abi::avic::VectorBits;
    use vector_allocator::Vector;

    use super::Change;
    use super::INHIBIT_REASONS;
    use super::InhibitReason;
    use super::Inhibits;
    use super::Reach;
    use crate::delivery::avic::Mode;

    #[test]
    fn avic_goes_with_the_first_reason_and_comes_back_with_the_last() {
        let inhibits = Inhibits::default();
        assert_eq!(inhibits.set(InhibitReason::Nested), Change::SwitchOff);
        assert_eq!(inhibits.set(InhibitReason::Nested), Change::None);
        assert_eq!(inhibits.set(InhibitReason::InterruptWindow), Change::None);
        let held: Vec<_> = inhibits.reasons().collect();
        assert_eq!(held, [InhibitReason::Nested, InhibitReason::InterruptWindow]);
        assert_eq!(inhibits.clear(InhibitReason::Nested), Change::None);
        assert_eq!(inhibits.clear(InhibitReason::Nested), Change::None);
        assert_eq!(inhibits.clear(InhibitReason::InterruptWindow), Change::SwitchOn);
        assert_eq!(inhibits.clear(InhibitReason::InterruptWindow), Change::None);
    }

    /// whether ticks of the 8254 are made up for switches AVIC off and on while interrupts wait, among them a
    /// level-triggered one whose end has to be seen. None is lost either way.
    #[test]
    fn r77_switching_for_the_8254_loses_neither_what_waits_nor_its_trigger_mode() {
        let (inhibits, page) = (Inhibits::default(), BackingPage::default());
        page.set(VectorBits::TriggerMode, 0x61);
        page.set(VectorBits::InterruptRequest, 0x61);
        page.set(VectorBits::InterruptRequest, 0x41);
        let enter = || inhibits.entry(Mode::XAvic, &page, InterruptControl::new());
        assert!(enter().control.avic() && enter().pending.is_none(), "the processor looks at the page itself");

        assert_eq!(inhibits.set(InhibitReason::PitReinjection), Change::SwitchOff);
        let entry = enter();
        assert!(!entry.control.avic());
        assert_eq!(entry.pending, Vector::new(0x61).ok());
        page.clear(VectorBits::InterruptRequest, 0x61);
        page.set(VectorBits::InService, 0x61);
        assert_eq!(enter().pending, None, "0x41 waits for the end of 0x61");
        assert!(page.has(VectorBits::TriggerMode, 0x61));

        assert_eq!(inhibits.clear(InhibitReason::PitReinjection), Change::SwitchOn);
        let entry = enter();
        assert!(entry.control.avic() && entry.pending.is_none());
        assert!(page.has(VectorBits::InterruptRequest, 0x41) && page.has(VectorBits::InService, 0x61));
    }

    #[test]
    fn x2avic_is_never_on_without_avic() {
        let (inhibits, page) = (Inhibits::default(), BackingPage::default());
        let stale = InterruptControl::new().with_x2avic(true).with_avic(true).with_interrupt_pending(true);
        for (mode, x2avic) in [(Mode::XAvic, false), (Mode::X2Avic, true)] {
            let control = inhibits.entry(mode, &page, stale).control;
            assert!(control.avic() && control.x2avic() == x2avic && !control.interrupt_pending());
        }
        inhibits.set(InhibitReason::Disabled);
        let control = inhibits.entry(Mode::X2Avic, &page, stale).control;
        assert!(!control.avic() && !control.x2avic());
    }

    #[test]
    fn every_reason_is_told_apart_from_all_others_and_says_what_ends_it() {
        let mut texts: Vec<_> = INHIBIT_REASONS.iter().map(ToString::to_string).collect();
        texts.sort();
        texts.dedup();
        assert_eq!(texts.len(), INHIBIT_REASONS.len());
        assert!(INHIBIT_REASONS.iter().all(|reason| !reason.remedy().is_empty()));
        let avic_only = INHIBIT_REASONS.iter().filter(|reason| reason.reach() == Reach::AvicOnly);
        assert_eq!(avic_only.count(), 5);
        let bits = INHIBIT_REASONS.iter().fold(0, |bits, reason| bits | reason.bit());
        assert_eq!(bits, 0xfff);
    }
}
