//! Who is compared, and which steps its decisions come to.

use hypervisor_abi::apic::ApicRegister;
use hypervisor_abi::avic::AccessKind;
use hypervisor_lib::delivery::DoorbellRinger;
use hypervisor_lib::delivery::Engine;
use hypervisor_lib::delivery::GuestMode;
use hypervisor_lib::delivery::register_access::Case;
use hypervisor_lib::delivery::register_access::CommandClass;
use hypervisor_lib::delivery::register_access::Exit;
use hypervisor_lib::delivery::register_access::Fate;
use hypervisor_lib::delivery::register_access::Maker;
use hypervisor_lib::delivery::register_access::RegisterAccess;
use hypervisor_lib::delivery::register_access::RegisterSlot;
use hypervisor_lib::delivery::register_access::When;
use hypervisor_lib::delivery::register_access::judge_access;

use super::guest::Command;
use super::step::Step;

/// An engine, and how its hypervisor handles a sender's exit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Contender {
    /// The engine.
    pub engine: Engine,
    /// How exits are handled.
    pub handling: Handling,
}

/// How a hypervisor handles the exit of a write that sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Handling {
    /// As any exit.
    ExitPath,
    /// A command to one target by MSR right after the exit, as KVM does; every other as any exit.
    FastPath,
}

/// There is no contender of that name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no contender '{0}'")]
pub struct NoContender(pub String);

/// What a sender goes through.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SendSteps {
    /// Until the first message leaves.
    pub(super) first: Vec<Step>,
    /// For each further target.
    pub(super) next: Step,
    /// From the last message until its next instruction.
    pub(super) back: Vec<Step>,
}

impl Contender {
    /// All, from the one that exits most.
    pub const ALL: [Self; 7] = [
        Self::of(Engine::Software),
        Self::of(Engine::Apicv),
        Self::of(Engine::Posted),
        Self { engine: Engine::Posted, handling: Handling::FastPath },
        Self::of(Engine::IpiVirtualization),
        Self::of(Engine::Avic(DoorbellRinger::Processor)),
        Self::of(Engine::Avic(DoorbellRinger::Hypervisor)),
    ];

    /// The engine with the exit path.
    const fn of(engine: Engine) -> Self {
        Self { engine, handling: Handling::ExitPath }
    }

    /// Its name on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match (self.engine, self.handling) {
            (Engine::Software, _) => "software",
            (Engine::Apicv, _) => "apicv",
            (Engine::Posted, Handling::ExitPath) => "posted",
            (Engine::Posted, Handling::FastPath) => "posted-fast-path",
            (Engine::IpiVirtualization, _) => "ipiv",
            (Engine::Avic(DoorbellRinger::Processor), _) => "avic",
            (Engine::Avic(DoorbellRinger::Hypervisor), _) => "avic-erratum-1235",
        }
    }

    /// The one of that name.
    ///
    /// # Errors
    /// [`NoContender`].
    pub fn by_name(name: &str) -> Result<Self, NoContender> {
        Self::ALL.into_iter().find(|one| one.name() == name).ok_or_else(|| NoContender(name.to_owned()))
    }

    /// What sending a command takes.
    pub(super) fn send(self, mode: GuestMode, command: Command) -> SendSteps {
        let access = RegisterAccess {
            mode,
            kind: AccessKind::Write,
            slot: RegisterSlot::of(command.register(mode)),
            value: Some(command.value(mode)),
        };
        let page = (mode == GuestMode::XApic).then_some(Step::PageAccess);
        let (way, next, back) = match self.fate(access) {
            Fate::Completed => (vec![Step::Write], Step::NextTarget, vec![]),
            fate => (self.exit(mode, fate, command), Step::NextPost, vec![Step::Entry]),
        };
        SendSteps { first: page.into_iter().chain(way).collect(), next, back }
    }

    /// An exit of the sender until its first message leaves.
    fn exit(self, mode: GuestMode, fate: Fate, command: Command) -> Vec<Step> {
        let is_simple = CommandClass::of(mode, command.value(mode)) == CommandClass::One;
        let by_msr = matches!(fate, Fate::Fault(Exit::Wrmsr(_)));
        match mode {
            GuestMode::XApic => vec![Step::WriteExit],
            GuestMode::X2Apic if self.handling == Handling::FastPath && by_msr && is_simple => vec![Step::FastExit],
            GuestMode::X2Apic => vec![Step::FastExit, Step::ExitLoop, Step::Reenter],
        }
    }

    /// From a message at another core to the first instruction of its guest's handler.
    pub(super) fn receive(self) -> Vec<Step> {
        match self.engine {
            Engine::Software | Engine::Apicv => {
                vec![Step::KickExit, Step::KickHandler, Step::Injection, Step::Delivery]
            }
            Engine::Posted | Engine::IpiVirtualization | Engine::Avic(_) => {
                vec![Step::PostedProcessing, Step::Delivery]
            }
        }
    }

    /// From a command to oneself to the first instruction of the handler: after an exit the entry injects.
    pub(super) fn receive_own(self, sent: &SendSteps) -> Vec<Step> {
        if sent.back.is_empty() { vec![Step::Delivery] } else { vec![Step::Injection, Step::Delivery] }
    }

    /// The end of an interrupt.
    pub(super) fn end(self, mode: GuestMode) -> Step {
        let slot = RegisterSlot::of(ApicRegister::Eoi);
        match self.fate(RegisterAccess { mode, kind: AccessKind::Write, slot, value: Some(0) }) {
            Fate::Completed => Step::End,
            _ => Step::EndExit,
        }
    }

    /// Every step of an IPI to one other vCPU, from the write to the sender's seeing the answer.
    pub(super) fn unicast(self, mode: GuestMode) -> Vec<Step> {
        let mut steps = self.send(mode, Command::One(1)).first;
        steps.push(Step::Flight);
        steps.extend(self.receive());
        steps.extend([Step::Handler, self.end(mode)]);
        steps
    }

    /// What the library says of an access in the benchmark's guest: every vCPU runs and is in the tables, and the interrupts
    /// are edge-triggered and nobody's business but the guest's. Without a processor's help, on Intel's.
    fn fate(self, access: RegisterAccess) -> Fate {
        let stands = |case: &Case| {
            let when = matches!(
                case.when,
                When::Always | When::TargetKnown | When::TargetsRun | When::EoiUnwatched | When::EdgeEnds
            );
            when && case.maker != Some(Maker::Amd)
        };
        let cases = judge_access(self.engine, access);
        cases.iter().find(|case| stands(case)).map_or(Fate::Unspecified, |case| case.fate)
    }
}

#[cfg(test)]
mod tests {
    use hypervisor_lib::delivery::GuestMode;

    use super::Contender;
    use crate::ipi::guest::Command;
    use crate::ipi::step::Step;

    fn exits(name: &str, mode: GuestMode, command: Command) -> bool {
        !Contender::by_name(name).unwrap().send(mode, command).back.is_empty()
    }

    #[test]
    fn who_exits_for_which_command_follows_from_the_engines_rules() {
        for (name, expected) in [
            // To itself, to one, to all others; xAPIC, then x2APIC.
            ("software", [[true, true, true], [true, true, true]]),
            ("apicv", [[false, true, true], [false, true, true]]),
            ("posted", [[false, true, true], [false, true, true]]),
            ("posted-fast-path", [[false, true, true], [false, true, true]]),
            ("ipiv", [[false, false, true], [false, false, true]]),
            ("avic", [[false, false, false], [false, false, false]]),
            ("avic-erratum-1235", [[false, true, true], [false, true, true]]),
        ] {
            for (mode, expected) in [GuestMode::XApic, GuestMode::X2Apic].into_iter().zip(expected) {
                let commands = [Command::Myself, Command::One(1), Command::Others];
                assert_eq!(commands.map(|command| exits(name, mode, command)), expected, "{name} {mode:?}");
            }
        }
    }

    #[test]
    fn the_fast_path_is_for_one_target_by_msr_alone() {
        let fast = Contender::by_name("posted-fast-path").unwrap();
        assert_eq!(fast.send(GuestMode::X2Apic, Command::One(1)).first, [Step::FastExit]);
        let whole = [Step::FastExit, Step::ExitLoop, Step::Reenter];
        assert_eq!(fast.send(GuestMode::X2Apic, Command::Others).first, whole);
        assert_eq!(fast.send(GuestMode::XApic, Command::One(1)).first, [Step::PageAccess, Step::WriteExit]);
        assert!(Contender::by_name("fastest").is_err());
    }

    #[test]
    fn only_an_emulated_local_apic_exits_for_the_end() {
        for contender in Contender::ALL {
            for mode in [GuestMode::XApic, GuestMode::X2Apic] {
                let expected = if contender.name() == "software" { Step::EndExit } else { Step::End };
                assert_eq!(contender.end(mode), expected, "{contender:?}");
            }
        }
    }
}
