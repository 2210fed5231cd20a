//! Named cases: what the guest must see, and how often each engine may leave it for that.

use carillon_machine::vmx::PageOffset;
use carillon_machine::vmx::Width;
use hypervisor_abi::apic::TriggerMode;
use hypervisor_lib::delivery::engine::ApicvLevel;
use hypervisor_lib::delivery::posted::Protocol;
use vector_allocator::Vector;

use super::hypervisor::Hypervisor;
use super::levels;
use super::pair::Differs;
use super::pair::Pair;
use super::side::message;
use super::side::nmi;
use super::vcpu::reason;
use crate::checks::Failure;
use crate::checks::Reach;
use crate::checks::Tally;
use crate::cpu::Capabilities;
use crate::event::Event;
use crate::event::Event::Interrupt;
use crate::event::Listed;
use crate::println;
use crate::program::Operation;
use crate::program::Operation::Cli;
use crate::program::Operation::Nothing;
use crate::program::Operation::Sti;
use crate::program::Operation::StiHlt;
use crate::program::Operation::WriteCr8;

/// A vCPU under one engine, in one mode.
struct Case {
    level: ApicvLevel,
    reach: Reach,
    pair: Pair,
}

/// Runs the cases, each under every engine and in both modes.
pub(super) fn run(capabilities: &Capabilities, tally: &mut Tally) {
    let host = Hypervisor::new(Protocol::Xen);
    let mut each = |what: &str, case: fn(&mut Case) -> Result<(), Failure>| {
        let served =
            levels(capabilities).iter().flat_map(|level| [Reach::Page, Reach::Msrs].map(|reach| (*level, reach)));
        let result = served.into_iter().try_for_each(|(level, reach)| {
            let mut served = Case { level, reach, pair: Pair::new(host, level, reach) };
            case(&mut served).inspect_err(|_| println!("     engine: {level:?}, {reach:?}"))
        });
        tally.record(format_args!("engines drive the CPU: {what}"), result);
    };
    each("edge-triggered vectors come highest first, and one of a class waits for the end of the other", classes);
    each("the end of a level-triggered vector is told, of an edge-triggered one if a route asks", ends);
    each(
        "a vector held back by task priority comes once that falls, by an exit only if the CPU does not deliver",
        threshold,
    );
    each("with interrupts disabled a vector waits, for a window only if the CPU does not deliver", window);
    each("the guest's interrupts to itself come, without an exit if the CPU delivers", self_ipis);
    each("a command to its own number exits, and comes back as an interrupt", own_command);
    each("a halted guest wakes for a vector that it may be given, and for no other", halt);
    each("a non-maskable interrupt goes first", non_maskable);
}

impl Case {
    fn edge(&self, vectors: &[u8]) {
        vectors.iter().for_each(|vector| self.pair.send(&message(*vector, TriggerMode::Edge)));
    }

    fn delivers(&self) -> bool {
        self.level >= ApicvLevel::Delivery
    }

    /// Runs a program, after which the guest must have seen this and nothing else.
    fn expect(&mut self, program: &[Operation], expected: &[Event]) -> Result<(), Failure> {
        self.pair.run(program).map_err(|Differs| Failure::Sees { round: 0 })?;
        if self.pair.seen() == expected {
            return Ok(());
        }
        println!("     the guest saw {}, not {}", Listed(self.pair.seen()), Listed(expected));
        Err(Failure::Wrong("the guest saw something else"))
    }

    /// The last run must have had so many exits for this reason.
    fn expect_exits(&self, reason: u16, expected: u32) -> Result<(), Failure> {
        let seen = self.pair.exits().of(reason);
        if seen == expected {
            return Ok(());
        }
        println!("     {seen} exits for reason {reason}, not {expected}");
        Err(Failure::Wrong("the guest was left another number of times"))
    }

    /// If the CPU delivers, the last run must have had no exits but these.
    fn expect_no_other_exits(&self, reason: u16) -> Result<(), Failure> {
        match self.pair.exits().others(reason) {
            others if others > 0 && self.delivers() => Err(Failure::Wrong("the guest was left for something else")),
            _ => Ok(()),
        }
    }

    fn end(&self) -> Operation {
        self.write(PageOffset::VEOI, 0)
    }

    fn write(&self, offset: PageOffset, value: u32) -> Operation {
        match self.reach {
            Reach::Page => Operation::WritePage(offset, Width::Doubleword, value),
            Reach::Msrs => Operation::WriteMsr(0x800 + offset.bytes() / 16, value.into()),
        }
    }
}

fn classes(case: &mut Case) -> Result<(), Failure> {
    case.edge(&[0x31, 0x52, 0xe0, 0x51]);
    let program = [Sti, case.end(), Nothing, case.end(), case.end(), case.end()];
    case.expect(&program, &[0xe0, 0x52, 0x51, 0x31].map(Interrupt))?;
    case.expect_no_other_exits(reason::EXCEPTION_OR_NMI)?;
    // While one of a class is served, higher classes interrupt it; its own and lower ones wait.
    case.edge(&[0x55]);
    case.expect(&[Nothing], &[Interrupt(0x55)])?;
    case.edge(&[0x5f, 0x61, 0x41]);
    case.expect(&[Nothing, case.end(), case.end(), case.end()], &[0x61, 0x5f, 0x41].map(Interrupt))
}

fn ends(case: &mut Case) -> Result<(), Failure> {
    let routed = Vector::new(0x44).expect("a legal vector");
    case.pair.send(&message(0x61, TriggerMode::Level));
    case.pair.add_route(routed);
    case.edge(&[0x44, 0x33]);
    let end = case.end();
    let expected = [Interrupt(0x61), Event::LevelEnded(0x61), Interrupt(0x44), Event::EdgeEnded(0x44), Interrupt(0x33)];
    case.expect(&[Sti, end, end, end], &expected)?;
    if case.delivers() {
        case.expect_exits(reason::VIRTUALIZED_EOI, 2)?;
        case.expect_no_other_exits(reason::VIRTUALIZED_EOI)?;
    }
    // The same vectors, of which none needs its end told any more.
    case.pair.remove_route(routed);
    case.edge(&[0x61, 0x44]);
    case.expect(&[Nothing, end, end], &[0x61, 0x44].map(Interrupt))?;
    case.expect_exits(reason::VIRTUALIZED_EOI, 0)
}

fn threshold(case: &mut Case) -> Result<(), Failure> {
    case.expect(&[Sti, WriteCr8(6)], &[])?;
    case.edge(&[0x51, 0x6f]);
    let exits = if case.delivers() { 0 } else { 1 };
    // The class of the vector does not let it through, the one below does.
    case.expect(&[Nothing, WriteCr8(7), WriteCr8(6)], &[])?;
    case.expect_exits(reason::TPR_BELOW_THRESHOLD, 0)?;
    case.expect(&[WriteCr8(5), case.end()], &[Interrupt(0x6f)])?;
    case.expect_exits(reason::TPR_BELOW_THRESHOLD, exits)?;
    case.expect(&[case.write(PageOffset::VTPR, 0x4f), case.end()], &[Interrupt(0x51)])?;
    case.expect_exits(reason::TPR_BELOW_THRESHOLD, exits)
}

fn window(case: &mut Case) -> Result<(), Failure> {
    case.expect(&[Cli], &[])?;
    case.edge(&[0x51]);
    case.expect(&[Nothing, Nothing], &[])?;
    case.expect_exits(reason::INTERRUPT_WINDOW, 0)?;
    case.expect(&[Nothing, Sti, case.end()], &[Interrupt(0x51)])?;
    case.expect_exits(reason::INTERRUPT_WINDOW, if case.delivers() { 0 } else { 1 })?;
    // Nothing waits: no window is asked for.
    case.expect(&[Cli, Sti], &[])?;
    case.expect_exits(reason::INTERRUPT_WINDOW, 0)
}

fn self_ipis(case: &mut Case) -> Result<(), Failure> {
    let send = |case: &Case, vector: u8| match case.reach {
        Reach::Page => case.write(PageOffset::VICR_LO, 0x4_4000 | u32::from(vector)),
        Reach::Msrs => Operation::WriteMsr(0x83f, vector.into()),
    };
    let end = case.end();
    let program = [Sti, send(case, 0x51), send(case, 0x41), send(case, 0x71), end, end, end];
    case.expect(&program, &[0x51, 0x71, 0x41].map(Interrupt))?;
    case.expect_no_other_exits(reason::EXCEPTION_OR_NMI)
}

fn own_command(case: &mut Case) -> Result<(), Failure> {
    let end = case.end();
    let exit = match (case.reach, case.level) {
        (Reach::Msrs, _) => reason::WRMSR,
        (Reach::Page, ApicvLevel::TprShadow) => reason::APIC_ACCESS,
        (Reach::Page, _) => reason::APIC_WRITE,
    };
    let command = match case.reach {
        Reach::Page => [case.write(PageOffset::VICR_HI, 0), case.write(PageOffset::VICR_LO, 0x4051)],
        Reach::Msrs => [Nothing, Operation::WriteMsr(0x830, 0x4051)],
    };
    case.expect(&[Sti, command[0], command[1], end], &[Interrupt(0x51)])?;
    if case.delivers() {
        case.expect_exits(exit, 1)?;
        case.expect_no_other_exits(exit)?;
    }
    Ok(())
}

fn halt(case: &mut Case) -> Result<(), Failure> {
    let end = case.end();
    case.expect(&[StiHlt], &[Event::Idle])?;
    case.expect_exits(reason::HLT, 1)?;
    case.expect(&[Cli], &[])?;
    case.edge(&[0x51]);
    case.expect(&[StiHlt, end], &[Interrupt(0x51)])?;
    case.expect_exits(reason::HLT, 1)?;
    // The priority holds it back, so it is none to wake up for.
    case.expect(&[Cli, WriteCr8(5)], &[])?;
    case.edge(&[0x5f]);
    case.expect(&[StiHlt], &[Event::Idle])?;
    case.expect(&[WriteCr8(0), end], &[Interrupt(0x5f)])
}

fn non_maskable(case: &mut Case) -> Result<(), Failure> {
    let end = case.end();
    case.expect(&[Cli], &[])?;
    case.edge(&[0x51]);
    case.pair.send(&nmi());
    case.expect(&[Nothing, Sti, end], &[2, 0x51].map(Interrupt))
}
