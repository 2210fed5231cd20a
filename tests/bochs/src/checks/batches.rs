//! Random batches: what a hypervisor injects, posts and asks for between two runs, and what the guest does in one.
//!
//! A batch is one VM entry with several operations: every entry evaluates anew, and would hide an evaluation that is missing.

use carillon_machine::InterruptFlag;
use carillon_machine::Recognition;
use carillon_machine::vmx::Access;
use carillon_machine::vmx::EoiExitBitmap;
use carillon_machine::vmx::Guest;
use carillon_machine::vmx::PageOffset;
use carillon_machine::vmx::RegisterPage as _;
use carillon_machine::vmx::VirtualVector;
use carillon_machine::vmx::Width;
use vector_allocator::Vector;

use super::Failure;
use super::Tally;
use super::deviations;
use super::guests;
use super::guests::Extras;
use super::guests::Posting;
use super::guests::Reach;
use crate::comparison::Extent;
use crate::comparison::Pair;
use crate::comparison::Ran;
use crate::cpu::Capabilities;
use crate::program::Operation;
use crate::random::Numbers;
use crate::random::Seed;

/// Guests a check begins with.
const ROUNDS: u32 = 150;
/// Runs a guest has.
const BATCHES: u32 = 12;
/// Operations a run has at most.
const OPERATIONS: u16 = 14;
/// A vector of the host that is no notification.
const HOST_VECTOR: u8 = 0xe3;

/// What a check did.
#[derive(Default)]
struct Counts {
    operations: u32,
    interrupts: u32,
    exits: u32,
}

/// Runs the checks.
pub(crate) fn run(seed: Seed, capabilities: &Capabilities, tally: &mut Tally) {
    let postings: &[Posting] = if capabilities.posts { &[Posting::Off, Posting::On] } else { &[Posting::Off] };
    let mut check = 3;
    for posting in postings {
        for reach in [Reach::Page, Reach::Msrs] {
            for extras in Extras::ALL {
                if *posting == Posting::On && !matches!(extras, Extras::Delivery | Extras::Both) {
                    continue;
                }
                check += 1;
                let mut batches = Batches { numbers: seed.numbers(check), reach, extras, posting: *posting };
                let mut counts = Counts::default();
                let result = (0..ROUNDS).try_for_each(|round| batches.round(round, capabilities, &mut counts));
                let Counts { operations, interrupts, exits } = counts;
                tally.record(
                    format_args!(
                        "batches by {reach:?}, {extras:?} beside the TPR, posting {posting:?}: {operations} operations, \
                         {interrupts} interrupts, {exits} exits"
                    ),
                    result,
                );
            }
        }
    }
}

struct Batches {
    numbers: Numbers,
    reach: Reach,
    extras: Extras,
    posting: Posting,
}

impl Batches {
    fn round(&mut self, round: u32, capabilities: &Capabilities, counts: &mut Counts) -> Result<(), Failure> {
        let guest = self.guest();
        // Which accesses are native depends on the controls alone: this one may be written to.
        let mut scratch = guest.clone();
        let mut pair = Pair::new(guest, capabilities.width);
        for _ in 0..BATCHES {
            let prefix = self.prepare(&mut pair, capabilities);
            let mut program = [Operation::Nothing; OPERATIONS as usize + 1];
            program[0] = prefix;
            let len = 2 + usize::from(self.numbers.below(OPERATIONS));
            for operation in &mut program[1..len] {
                *operation = self.operation(&mut scratch);
            }
            let Ran { interrupts, exits } =
                pair.run(&program[..len], Extent::Registers).map_err(|_| Failure::Differs { round })?;
            counts.operations += u32::try_from(len).unwrap_or_default();
            counts.interrupts += interrupts;
            counts.exits += exits;
        }
        Ok(())
    }

    fn delivers(&self) -> bool {
        matches!(self.extras, Extras::Delivery | Extras::Both)
    }

    fn guest(&mut self) -> Guest {
        let numbers = &mut self.numbers;
        let mut guest = guests::guest(self.reach, self.extras, self.posting, InterruptFlag::Clear);
        guest.vmcs.eoi_exit = EoiExitBitmap([(); 4].map(|()| numbers.next() & numbers.next()));
        guest.vmcs.msr_bitmap = guests::safe_bitmap(self.extras);
        guest.vmcs.tpr_threshold = u32::from(numbers.below(16));
        // Where the threshold is checked, it may not be above.
        guest.page.set_word(PageOffset::VTPR, 0xf0);
        if numbers.once_in(4) {
            for bits in guest.vmcs.msr_bitmap.read.iter_mut().chain(&mut guest.vmcs.msr_bitmap.write) {
                *bits |= numbers.next() & numbers.next() & numbers.next();
            }
        }
        // Deviation D10 where vectors are posted.
        if self.posting == Posting::Off && numbers.once_in(4) {
            // Nobody promises the CPU that the page and the status agree.
            for address in (0x100..0x280).step_by(16).filter(|address| !(0x180..0x200).contains(address)) {
                let (bits, _) = crate::memory::halves(numbers.next() & numbers.next() & numbers.next());
                guest.page.set_word(PageOffset::of_address(address), bits);
            }
            guest.vmcs.status.set_rvi(VirtualVector(numbers.byte()));
            guest.vmcs.status.set_svi(VirtualVector(numbers.byte()));
        }
        if numbers.once_in(3) {
            guest.vmcs.controls.primary.set_interrupt_window_exiting(true);
        }
        guest
    }

    /// What happens between two runs; the operation that the next begins with.
    fn prepare(&mut self, pair: &mut Pair, capabilities: &Capabilities) -> Operation {
        if self.delivers() {
            for _ in 0..self.numbers.below(3) {
                pair.inject(self.numbers.vector());
            }
        }
        if !self.numbers.once_in(2) {
            return Operation::Nothing;
        }
        let enabled = pair.twin.guest.vmcs.interrupt_flag == InterruptFlag::Set;
        let mut entered = pair.twin.guest.clone();
        let recognised = entered.enter(capabilities.width).is_ok() && entered.recognition() == Recognition::Recognised;
        if recognised && !enabled {
            // Deviation D2.
            return Operation::Nothing;
        }
        if self.posting == Posting::On && !self.numbers.once_in(4) {
            let vectors = [(); 3].map(|()| Vector::new(self.numbers.vector()).expect("a legal vector"));
            // One at least: deviation D4.
            pair.post(&vectors[..1 + usize::from(self.numbers.below(3))]);
        } else {
            pair.interrupt(Vector::new(HOST_VECTOR).expect("a legal vector"));
        }
        // Deviation D3: the interrupt is seen once the guest writes IF.
        if enabled { Operation::Nothing } else { Operation::Cli }
    }

    fn operation(&mut self, scratch: &mut Guest) -> Operation {
        let numbers = &mut self.numbers;
        let operation = match numbers.below(16) {
            0 | 1 => Operation::Sti,
            2 => numbers.one_of([Operation::Cli, Operation::StiCli]),
            3 => Operation::WriteCr8(u64::from(numbers.below(17))),
            4 => numbers.one_of([Operation::ReadCr8, Operation::Nothing]),
            _ if self.reach == Reach::Page => page_operation(numbers),
            _ => msr_operation(numbers, scratch),
        };
        if deviations::shows(self.extras, operation) { Operation::Nothing } else { operation }
    }
}

fn page_operation(numbers: &mut Numbers) -> Operation {
    let task_priority = u32::from(if numbers.once_in(2) { 0 } else { numbers.byte() });
    match numbers.below(16) {
        0..=1 => Operation::WritePage(PageOffset::VTPR, Width::Doubleword, task_priority),
        2..=6 => Operation::WritePage(PageOffset::VEOI, Width::Doubleword, 0),
        7..=12 => Operation::WritePage(PageOffset::VICR_LO, Width::Doubleword, 0x4_0000 | u32::from(numbers.byte())),
        13 => {
            let (bits, _) = crate::memory::halves(numbers.next());
            Operation::WritePage(PageOffset::VICR_LO, Width::Doubleword, bits & numbers.one_of([0xf_ffff, u32::MAX]))
        }
        14 => Operation::ReadPage(
            numbers.one_of([PageOffset::VTPR, PageOffset::VPPR, PageOffset::VICR_LO]),
            Width::Doubleword,
        ),
        _ => {
            let offset = PageOffset::of_address(u64::from(numbers.below(0x400)));
            let (value, _) = crate::memory::halves(numbers.next());
            Operation::WritePage(offset, numbers.one_of(Width::ALL), value)
        }
    }
}

fn msr_operation(numbers: &mut Numbers, scratch: &mut Guest) -> Operation {
    let task_priority = u64::from(if numbers.once_in(2) { 0 } else { numbers.byte() });
    let operation = match numbers.below(16) {
        0..=1 => Operation::WriteMsr(0x808, task_priority),
        2..=6 => Operation::WriteMsr(0x80b, 0),
        7..=12 => Operation::WriteMsr(0x83f, u64::from(numbers.byte())),
        13 => Operation::WriteMsr(numbers.one_of([0x808, 0x80b, 0x83f]), 1 << numbers.below(64)),
        14 => Operation::ReadMsr(numbers.one_of([0x808, 0x80a, 0x80f, 0x821])),
        _ => Operation::WriteMsr(0x800 + numbers.below(256), numbers.next()),
    };
    // Nothing of this is to reach the CPU's own APIC.
    let native = match operation {
        Operation::WriteMsr(msr, value) => scratch.wrmsr(u32::from(msr), value) == Access::Native,
        Operation::ReadMsr(msr) => scratch.rdmsr(u32::from(msr)) == Access::Native,
        _ => false,
    };
    if native { Operation::Nothing } else { operation }
}
