//! Which accesses of a guest to its local APIC the processor handles itself (APM vol. 2, table 15-22).

use core::fmt;

use hypervisor_abi::avic::AccessKind;

/// How the guest reaches its local APIC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mode {
    /// By a page of memory.
    XAvic,
    /// By MSRs.
    X2Avic,
}

/// What the processor does with accesses to the extended entries of the local vector table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ExtendedLvt {
    /// It leaves all of them to the hypervisor.
    Faults,
    /// It handles reads, and lets writes trap (CPUID 8000_000A EDX bit 27, ExtLvtAvicAccessChg).
    ReadsAllowed,
}

/// What decides how an access is handled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Acceleration {
    /// How the guest reaches its local APIC.
    pub mode: Mode,
    /// What the processor knows of extended entries.
    pub extended_lvt: ExtendedLvt,
}

/// What happens at an access.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Handling {
    /// It reads or writes the backing page, nothing else.
    Allowed,
    /// It is carried out with all its effects.
    Accelerated,
    /// As [`Accelerated`](Self::Accelerated) if the interrupt that ends was edge-triggered, else as [`Trap`](Self::Trap).
    AcceleratedIfEdge,
    /// As [`Accelerated`](Self::Accelerated) if the command is simple and all its targets run, else it exits afterwards.
    AcceleratedOrTrap,
    /// It is done in the page, then exits: the instruction is over.
    Trap,
    /// It exits before anything is done: the instruction is to be emulated.
    Fault,
    /// There is no such register: a general-protection fault.
    Absent,
}

/// When a rule applies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Applies {
    /// In both modes.
    Always,
    /// In this mode only.
    In(Mode),
    /// With this treatment of extended entries only.
    With(ExtendedLvt),
}

/// A line of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    /// The register, or the registers, as the manual abbreviates them.
    pub name: &'static str,
    /// The first offset into the page, in bytes.
    pub first: u16,
    /// The last.
    pub last: u16,
    /// When it applies.
    pub applies: Applies,
    /// What happens at a read.
    pub read: Handling,
    /// What happens at a write.
    pub write: Handling,
}

/// The table. What no rule names is plain memory in xAVIC mode, and no register in x2AVIC mode.
pub const RULES: [Rule; 33] = {
    use Applies::Always;
    use Handling::Absent;
    use Handling::Accelerated;
    use Handling::AcceleratedIfEdge;
    use Handling::AcceleratedOrTrap;
    use Handling::Allowed;
    use Handling::Fault;
    use Handling::Trap;
    const XAVIC: Applies = Applies::In(Mode::XAvic);
    const X2AVIC: Applies = Applies::In(Mode::X2Avic);
    const OLD: Applies = Applies::With(ExtendedLvt::Faults);
    const NEW: Applies = Applies::With(ExtendedLvt::ReadsAllowed);
    [
        rule("ID", 0x020, 0x020, Always, Allowed, Trap),
        rule("version", 0x030, 0x030, Always, Allowed, Fault),
        rule("TPR", 0x080, 0x080, Always, Allowed, Accelerated),
        rule("APR", 0x090, 0x090, Always, Fault, Fault),
        rule("PPR", 0x0a0, 0x0a0, Always, Allowed, Fault),
        rule("EOI", 0x0b0, 0x0b0, Always, Allowed, AcceleratedIfEdge),
        rule("RRR", 0x0c0, 0x0c0, XAVIC, Allowed, Trap),
        rule("LDR", 0x0d0, 0x0d0, Always, Allowed, Trap),
        rule("DFR", 0x0e0, 0x0e0, XAVIC, Allowed, Trap),
        rule("SVR", 0x0f0, 0x0f0, Always, Allowed, Trap),
        rule("ISR", 0x100, 0x170, Always, Allowed, Fault),
        rule("TMR", 0x180, 0x1f0, Always, Allowed, Fault),
        rule("IRR", 0x200, 0x270, Always, Allowed, Fault),
        rule("ESR", 0x280, 0x280, Always, Allowed, Trap),
        rule("ICR", 0x300, 0x300, Always, Allowed, AcceleratedOrTrap),
        rule("ICR destination", 0x310, 0x310, XAVIC, Allowed, Allowed),
        rule("LVT timer", 0x320, 0x320, Always, Allowed, Trap),
        rule("LVT thermal", 0x330, 0x330, Always, Allowed, Trap),
        rule("LVT performance", 0x340, 0x340, Always, Allowed, Trap),
        rule("LVT LINT0", 0x350, 0x350, Always, Allowed, Trap),
        rule("LVT LINT1", 0x360, 0x360, Always, Allowed, Trap),
        rule("LVT error", 0x370, 0x370, Always, Allowed, Trap),
        rule("initial count", 0x380, 0x380, Always, Allowed, Trap),
        rule("current count", 0x390, 0x390, Always, Fault, Fault),
        rule("divide configuration", 0x3e0, 0x3e0, Always, Allowed, Trap),
        rule("SELF IPI", 0x3f0, 0x3f0, X2AVIC, Absent, AcceleratedOrTrap),
        rule("extended features", 0x400, 0x400, Always, Fault, Fault),
        rule("extended control", 0x410, 0x410, Always, Fault, Fault),
        rule("specific EOI", 0x420, 0x420, Always, Fault, Fault),
        rule("interrupt enable", 0x480, 0x4f0, Always, Fault, Fault),
        rule("extended LVT", 0x500, 0x530, OLD, Fault, Fault),
        rule("extended LVT", 0x500, 0x530, NEW, Allowed, Trap),
        rule("reserved", 0x540, 0xff0, XAVIC, Fault, Fault),
    ]
};

const fn rule(name: &'static str, first: u16, last: u16, applies: Applies, read: Handling, write: Handling) -> Rule {
    Rule { name, first, last, applies, read, write }
}

impl Acceleration {
    /// The rule for a register, by its offset into the page in bytes; the lower four bits do not count.
    #[must_use]
    pub fn rule(self, offset: u16) -> Option<&'static Rule> {
        let offset = offset & 0xff0;
        RULES.iter().find(|rule| (rule.first..=rule.last).contains(&offset) && self.takes(rule.applies))
    }

    /// What happens at an access.
    #[must_use]
    pub fn handling(self, access: AccessKind, offset: u16) -> Handling {
        match (self.rule(offset), access, self.mode) {
            (Some(rule), AccessKind::Read, _) => rule.read,
            (Some(rule), AccessKind::Write, _) => rule.write,
            (None, _, Mode::XAvic) => Handling::Allowed,
            (None, _, Mode::X2Avic) => Handling::Absent,
        }
    }

    fn takes(self, applies: Applies) -> bool {
        match applies {
            Applies::Always => true,
            Applies::In(mode) => mode == self.mode,
            Applies::With(extended_lvt) => extended_lvt == self.extended_lvt,
        }
    }
}

impl fmt::Display for Handling {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Allowed => "the backing page alone",
            Self::Accelerated => "done by the processor",
            Self::AcceleratedIfEdge => "done by the processor if edge-triggered, else an exit afterwards (402)",
            Self::AcceleratedOrTrap => {
                "done by the processor if it is simple and all its targets run, else an exit afterwards (401)"
            }
            Self::Trap => "an exit afterwards (402)",
            Self::Fault => "an exit instead (402)",
            Self::Absent => "a general-protection fault",
        })
    }
}

#[cfg(test)]
mod tests {
    use hypervisor_abi::avic::AccessKind;

    use super::Acceleration;
    use super::ExtendedLvt;
    use super::Handling;
    use super::Mode;
    use super::RULES;

    const ALL: [Acceleration; 4] = [
        Acceleration { mode: Mode::XAvic, extended_lvt: ExtendedLvt::Faults },
        Acceleration { mode: Mode::XAvic, extended_lvt: ExtendedLvt::ReadsAllowed },
        Acceleration { mode: Mode::X2Avic, extended_lvt: ExtendedLvt::Faults },
        Acceleration { mode: Mode::X2Avic, extended_lvt: ExtendedLvt::ReadsAllowed },
    ];

    /// Every register of the page, a letter for each: m memory, a accelerated, e if edge, c command, t trap, f fault,
    /// g absent. Written down from the manual apart from the table, four registers to a group.
    const XAVIC_READ: &str =
        "mmmm mmmm mfmm mmmm mmmm mmmm mmmm mmmm mmmm mmmm mmmm mmmm mmmm mmmm mfmm mmmm fffm mmmm ffff ffff";
    const XAVIC_WRITE: &str =
        "mmtf mmmm affe tttt ffff ffff ffff ffff ffff ffff tmmm mmmm cmtt tttt tfmm mmtm fffm mmmm ffff ffff";
    const X2AVIC_READ: &str =
        "ggmm gggg mfmm gmgm mmmm mmmm mmmm mmmm mmmm mmmm mggg gggg mgmm mmmm mfgg ggmg fffg gggg ffff ffff";
    const X2AVIC_WRITE: &str =
        "ggtf gggg affe gtgt ffff ffff ffff ffff ffff ffff tggg gggg cgtt tttt tfgg ggtc fffg gggg ffff ffff";

    fn letter(handling: Handling) -> char {
        match handling {
            Handling::Allowed => 'm',
            Handling::Accelerated => 'a',
            Handling::AcceleratedIfEdge => 'e',
            Handling::AcceleratedOrTrap => 'c',
            Handling::Trap => 't',
            Handling::Fault => 'f',
            Handling::Absent => 'g',
        }
    }

    #[test]
    fn every_register_is_handled_as_the_manual_says_in_both_modes_and_directions() {
        for acceleration in ALL {
            let (reads, writes) = match acceleration.mode {
                Mode::XAvic => (XAVIC_READ, XAVIC_WRITE),
                Mode::X2Avic => (X2AVIC_READ, X2AVIC_WRITE),
            };
            for (access, expected) in [(AccessKind::Read, reads), (AccessKind::Write, writes)] {
                let expected = expected.chars().filter(|letter| *letter != ' ');
                for (offset, expected) in (0..0x500).step_by(16).zip(expected) {
                    let found = letter(acceleration.handling(access, offset));
                    assert_eq!(found, expected, "{acceleration:?} {access:?} {offset:#05x}");
                }
            }
        }
    }

    #[test]
    fn extended_entries_follow_their_cpuid_bit_and_nothing_lies_beyond_them() {
        for acceleration in ALL {
            for offset in (0x500..=0x530).step_by(16) {
                let read = acceleration.handling(AccessKind::Read, offset);
                let write = acceleration.handling(AccessKind::Write, offset);
                let expected = match acceleration.extended_lvt {
                    ExtendedLvt::Faults => (Handling::Fault, Handling::Fault),
                    ExtendedLvt::ReadsAllowed => (Handling::Allowed, Handling::Trap),
                };
                assert_eq!((read, write), expected, "{offset:#05x}");
            }
            for offset in (0x540..=0xff0).step_by(16) {
                let expected = if acceleration.mode == Mode::XAvic { Handling::Fault } else { Handling::Absent };
                assert_eq!(acceleration.handling(AccessKind::Read, offset), expected, "{offset:#05x}");
                assert_eq!(acceleration.handling(AccessKind::Write, offset), expected, "{offset:#05x}");
            }
        }
    }

    #[test]
    fn rules_ascend_so_that_the_table_reads_like_the_page() {
        assert!(RULES.is_sorted_by_key(|rule| rule.first));
        assert!(RULES.iter().all(|rule| rule.first <= rule.last && rule.first % 16 == 0 && rule.last % 16 == 0));
    }
}
