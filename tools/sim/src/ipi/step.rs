//! The steps an IPI is made of, and what each takes.

use carillon_machine::Cost;
use carillon_machine::Costs;

/// Cycles in a nanosecond of the machine the costs of [`Costs`] are stated for, 2.4 GHz (Dall et al., ISCA 2016).
const CYCLES_PER_NS: f64 = 2.4;

/// Where a step's cost is from.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Origin {
    /// Least squares over rows of the published table.
    Fitted,
    /// Least squares over the three figures of the software fast path, another machine's.
    FastPath,
    /// A cost of the simulated machine, at 2.4 cycles a nanosecond.
    Machine(Cost),
    /// Nobody has published it.
    Estimate(f64, &'static str),
}

/// Declares [`Step`] and its table from one list.
macro_rules! steps {
    ($($(#[$doc:meta])* $step:ident $name:literal $origin:expr, $meaning:literal;)*) => {
        /// A step that takes time.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Step {
            $($(#[$doc])* $step,)*
        }

        const TABLE: &[(Step, &str, Origin, &str)] = &[$((Step::$step, $name, $origin, $meaning),)*];
        const COUNT: usize = TABLE.len();
    };
}

steps! {
    /// A turn of the benchmark's loop.
    Turn "turn" Origin::Estimate(8.0, "a call and its return; the published dry run takes 2.7 ns"),
        "a turn of the benchmark's loop without an IPI";
    /// A write that the processor completes.
    Write "write" Origin::Estimate(200.0, "microcode: a look-up, two locked accesses, a message"),
        "a write that sends, completed by the processor";
    /// Each further target of a command that the processor carries out.
    NextTarget "next_target" Origin::Estimate(150.0, "microcode: a table entry, a locked OR, a doorbell"),
        "each further target of a command the processor carries out";
    /// The message to the other core and the answer back.
    Flight "flight" Origin::Fitted,
        "from the sender's message to the other core, and the reply's way back: all that is not in another step";
    /// What xAPIC mode takes more.
    PageAccess "page_access" Origin::Fitted,
        "what xAPIC mode takes more than x2APIC mode with no exit in either: two writes of the page for one WRMSR, and one for the EOI";
    /// An APIC-write exit and software's sending, in place of the processor's.
    WriteExit "write_exit" Origin::Fitted,
        "an exit from the page through the hypervisor's whole exit path, and sending in software, in place of the processor's";
    /// An MSR exit on the fast path and software's sending, in place of the processor's.
    FastExit "fast_exit" Origin::Fitted,
        "an exit on WRMSR that the fast path handles, and sending in software, in place of the processor's";
    /// What the exit path takes more than the fast path before the command is sent.
    ExitLoop "exit_loop" Origin::FastPath,
        "what handling WRMSR's exit before the vCPU loop saves";
    /// What leaving the vCPU loop alone saves.
    Reenter "reenter" Origin::FastPath,
        "what entering the guest again at once saves";
    /// Each further target of a command that software carries out.
    NextPost "next_post" Origin::Estimate(260.0, "two locked accesses and a write of the host's ICR"),
        "each further target of a command software carries out";
    /// The sender's way back into the guest, while the message is on its way.
    Entry "entry" Origin::Machine(Cost::VmEntry),
        "back into the guest after an exit, while the message is under way";
    /// Posted-interrupt processing at the target.
    PostedProcessing "posted_processing" Origin::Machine(Cost::PostedProcessing),
        "the target's processor takes a notification, or a doorbell, without an exit";
    /// The target is taken out of the guest.
    KickExit "kick_exit" Origin::Machine(Cost::VmExit),
        "the target's exit when software kicks it";
    /// The host's handler of the kick.
    KickHandler "kick_handler" Origin::Machine(Cost::EventCheckHandler),
        "the host's handler of the kick, and taking the vector out of the inbox";
    /// The target's entry with the interrupt.
    Injection "injection" Origin::Machine(Cost::VmEntry),
        "the target's entry, the interrupt injected";
    /// The guest's interrupt gate and its common entry code.
    Delivery "delivery" Origin::Machine(Cost::IdtDelivery),
        "from the interrupt gate to the guest's handler";
    /// The handler.
    Handler "handler" Origin::Estimate(60.0, "a store, and IRET"),
        "the guest's handler";
    /// An end of interrupt that the processor completes.
    End "end" Origin::Estimate(100.0, "microcode: clear a bit, find the next"),
        "an EOI the processor completes";
    /// An end of interrupt that exits.
    EndExit "end_exit" Origin::Machine(Cost::EoiExit),
        "an EOI that exits and is emulated";
    /// The handler's critical section.
    Lock "lock" Origin::Estimate(220.0, "a contended cache line, there and held"),
        "taking, holding and giving up the handlers' common lock";
}

impl Step {
    /// Every step.
    pub fn all() -> impl Iterator<Item = Self> {
        TABLE.iter().map(|(step, ..)| *step)
    }

    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        TABLE[self as usize].1
    }

    /// Where its cost is from.
    #[must_use]
    pub const fn origin(self) -> Origin {
        TABLE[self as usize].2
    }

    /// What it is.
    #[must_use]
    pub const fn meaning(self) -> &'static str {
        TABLE[self as usize].3
    }
}

/// What each step takes, cycles.
#[derive(Clone, Debug, PartialEq)]
pub struct StepCosts([f64; COUNT]);

impl StepCosts {
    /// Those that need no fit; the others take nothing yet.
    #[must_use]
    pub(super) fn stated() -> Self {
        let costs = Costs::default();
        Self(core::array::from_fn(|index| match TABLE[index].2 {
            Origin::Machine(cost) => costs.get(cost).0 as f64 * CYCLES_PER_NS,
            Origin::Estimate(cycles, _) => cycles,
            Origin::Fitted | Origin::FastPath => 0.0,
        }))
    }

    /// What a step takes, cycles.
    #[must_use]
    pub const fn get(&self, step: Step) -> f64 {
        self.0[step as usize]
    }

    /// What several steps take, cycles.
    #[must_use]
    pub fn sum(&self, steps: &[Step]) -> f64 {
        steps.iter().map(|step| self.get(*step)).sum()
    }

    pub(super) fn set(&mut self, step: Step, cycles: f64) {
        self.0[step as usize] = cycles;
    }
}

#[cfg(test)]
mod tests {
    use super::Origin;
    use super::Step;
    use super::StepCosts;

    #[test]
    fn every_step_says_what_it_is_and_stands_at_its_place() {
        let stated = StepCosts::stated();
        for step in Step::all() {
            assert!(step.meaning().len() > 10, "{}", step.name());
            let needs_fit = matches!(step.origin(), Origin::Fitted | Origin::FastPath);
            assert_eq!(stated.get(step) == 0.0, needs_fit, "{}", step.name());
        }
        let names: Vec<&str> = Step::all().map(Step::name).collect();
        assert!(names.iter().enumerate().all(|(place, name)| !names[..place].contains(name)));
    }

    #[test]
    fn the_costs_of_the_machine_are_taken_at_its_clock() {
        let stated = StepCosts::stated();
        assert!((stated.get(Step::PostedProcessing) - 240.0).abs() < 1e-9);
        assert!((stated.sum(&[Step::KickExit, Step::Injection]) - 1228.8).abs() < 1e-9);
    }
}
