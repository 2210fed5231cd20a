//! Random batches: messages of all kinds between two runs, and what a guest does with its local APIC in one. In between the
//! hypervisor takes registers back, changes routes, and switches engines.

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
use crate::checks::Failure;
use crate::checks::Reach;
use crate::checks::Tally;
use crate::cpu::Capabilities;
use crate::event::Event;
use crate::program::Operation;
use crate::random::Numbers;
use crate::random::Seed;

/// vCPUs a check begins with.
const ROUNDS: u32 = 60;
/// Runs a vCPU has.
const BATCHES: u32 = 12;
/// Operations a run has at most.
const OPERATIONS: u16 = 14;

/// Which engine serves a vCPU.
#[derive(Clone, Copy, Debug)]
enum Engines {
    /// Always this one.
    Only(ApicvLevel),
    /// Now this one, now that one.
    Any,
}

/// Runs the checks.
pub(super) fn run(seed: Seed, capabilities: &Capabilities, tally: &mut Tally) {
    let engines = levels(capabilities).iter().map(|level| Engines::Only(*level)).chain([Engines::Any]);
    let mut check = 100;
    for engines in engines {
        for reach in [Reach::Page, Reach::Msrs] {
            check += 1;
            let numbers = seed.numbers(check);
            let mut batches =
                Batches { numbers, reach, engines, levels: levels(capabilities), routes: [0; 4], interrupts: 0 };
            let host = Hypervisor::new(Protocol::Xen);
            let result =
                (0..ROUNDS).try_for_each(|round| batches.round(host).map_err(|Differs| Failure::Sees { round }));
            tally.record(
                format_args!(
                    "engines drive the CPU: random batches, {engines:?}, {reach:?}: {} interrupts",
                    batches.interrupts
                ),
                result,
            );
        }
    }
}

struct Batches {
    numbers: Numbers,
    reach: Reach,
    engines: Engines,
    levels: &'static [ApicvLevel],
    /// How many routes each of [`ROUTED`] has.
    routes: [u32; 4],
    interrupts: usize,
}

/// Vectors that routes come and go for.
const ROUTED: [u8; 4] = [0x21, 0x5a, 0x5b, 0xe7];

/// The vectors that come level-triggered, at times, are those with this as their lower half. The guest sends itself none of
/// them: a CPU that does that by itself leaves TMR as it is (SDM vol. 3C, 30.1.5), so the end would be told as that of a
/// level-triggered one.
const LEVEL: u8 = 0xa;

impl Batches {
    fn round(&mut self, host: &'static Hypervisor) -> Result<(), Differs> {
        let mut pair = Pair::new(host, self.level(), self.reach);
        self.routes = [0; 4];
        for _ in 0..BATCHES {
            self.prepare(&mut pair)?;
            let mut program = [Operation::Nothing; OPERATIONS as usize];
            let len = 1 + usize::from(self.numbers.below(OPERATIONS));
            for operation in &mut program[..len] {
                *operation = self.operation();
            }
            pair.run(&program[..len])?;
            self.interrupts += pair.seen().iter().filter(|event| matches!(event, Event::Interrupt(_))).count();
        }
        pair.compare_registers()
    }

    fn level(&mut self) -> ApicvLevel {
        match self.engines {
            Engines::Only(level) => level,
            Engines::Any => self.levels[usize::from(self.numbers.below(4)) % self.levels.len()],
        }
    }

    /// What happens between two runs.
    fn prepare(&mut self, pair: &mut Pair) -> Result<(), Differs> {
        // Of one vector that comes both ways before an entry, either trigger mode may be the last.
        let trigger = self.numbers.one_of([TriggerMode::Edge, TriggerMode::Level]);
        for _ in 0..self.numbers.below(4) {
            let vector = self.vector();
            pair.send(&match self.numbers.below(16) {
                0 => nmi(),
                _ if vector & 0xf == LEVEL => message(vector, trigger),
                1..=4 => message(vector & 0xf0 | LEVEL, trigger),
                _ => message(vector, TriggerMode::Edge),
            });
        }
        if self.numbers.once_in(3) {
            self.change_routes(pair);
        }
        if matches!(self.engines, Engines::Any) && self.numbers.once_in(2) {
            pair.switch(self.level());
        }
        if self.numbers.once_in(6) { pair.compare_registers() } else { Ok(()) }
    }

    fn change_routes(&mut self, pair: &mut Pair) {
        let which = usize::from(self.numbers.below(4));
        let vector = Vector::new(ROUTED[which]).expect("a legal vector");
        if self.routes[which] > 0 && self.numbers.once_in(2) {
            self.routes[which] -= 1;
            pair.remove_route(vector);
        } else {
            self.routes[which] += 1;
            pair.add_route(vector);
        }
    }

    /// Any, but often one that is routed or has others of its class.
    fn vector(&mut self) -> u8 {
        match self.numbers.below(4) {
            0 => self.numbers.one_of(ROUTED),
            1 => 0x50 | self.numbers.byte() & 0xf,
            _ => self.numbers.vector(),
        }
    }

    fn operation(&mut self) -> Operation {
        match self.numbers.below(16) {
            0..=2 => Operation::Sti,
            3 => self.numbers.one_of([Operation::Cli, Operation::StiCli]),
            4 => Operation::StiHlt,
            5 => Operation::WriteCr8(u64::from(self.numbers.below(17))),
            6 => self.numbers.one_of([Operation::ReadCr8, Operation::Nothing]),
            7..=11 => self.write(PageOffset::VEOI, 0),
            12 => {
                let priority = if self.numbers.once_in(2) { 0 } else { self.numbers.byte() };
                self.write(PageOffset::VTPR, priority.into())
            }
            13 | 14 => self.command(),
            _ => self.read(),
        }
    }

    /// An interrupt to itself: by the shorthand, the register for it, its number, or to all.
    fn command(&mut self) -> Operation {
        let vector = self.vector();
        let vector = u32::from(if vector & 0xf == LEVEL { vector + 1 } else { vector });
        let shorthand = self.numbers.one_of([0x4_4000, 0x8_4000, 0x4000]);
        match self.reach {
            Reach::Page => self.write(PageOffset::VICR_LO, shorthand | vector),
            Reach::Msrs if self.numbers.once_in(2) => Operation::WriteMsr(0x83f, vector.into()),
            Reach::Msrs => Operation::WriteMsr(0x830, u64::from(shorthand | vector)),
        }
    }

    /// A register that both sides keep alike: none that counts time.
    fn read(&mut self) -> Operation {
        let register = match self.numbers.below(4) {
            // TPR, PPR, LDR, DFR, SVR; DFR is none in x2APIC mode.
            0 => self.numbers.one_of([0x08, 0x0a, 0x0d, 0x0e, 0x0f]),
            // ISR, TMR, IRR.
            _ => 0x10 + self.numbers.below(24),
        };
        match self.reach {
            Reach::Page => Operation::ReadPage(PageOffset::of_address(u64::from(register) * 16), Width::Doubleword),
            Reach::Msrs => Operation::ReadMsr(0x800 + register),
        }
    }

    fn write(&self, offset: PageOffset, value: u32) -> Operation {
        match self.reach {
            Reach::Page => Operation::WritePage(offset, Width::Doubleword, value),
            Reach::Msrs => Operation::WriteMsr(0x800 + offset.bytes() / 16, value.into()),
        }
    }
}
