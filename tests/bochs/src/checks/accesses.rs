//! Every offset of the APIC-access page by every width, and every MSR of the APIC, under every combination of controls.

use carillon_machine::InterruptFlag;
use carillon_machine::vmx::Access;
use carillon_machine::vmx::Guest;
use carillon_machine::vmx::PageOffset;
use carillon_machine::vmx::RegisterPage as _;
use carillon_machine::vmx::Width;

use super::Failure;
use super::Tally;
use super::deviations;
use super::guests;
use super::guests::Extras;
use super::guests::Posting;
use super::guests::Reach;
use crate::comparison::Extent;
use crate::comparison::Pair;
use crate::cpu;
use crate::cpu::Capabilities;
use crate::program::LONGEST;
use crate::program::Operation;
use crate::random::Numbers;
use crate::random::Seed;

/// Registers lie below, where every byte is tried; above are only exits.
const REGISTERS_END: u16 = 0x400;
/// The widest access from here on stays in the page.
const LAST_OFFSET: u16 = 0x1000 - 8;
/// The MSRs of the APIC.
const MSRS: core::ops::RangeInclusive<u16> = 0x800..=0x8ff;

/// Runs the checks.
pub(crate) fn run(seed: Seed, capabilities: &Capabilities, tally: &mut Tally) {
    let mut numbers = seed.numbers(1);
    for extras in Extras::ALL {
        for (reach, what) in [(Reach::Page, "offsets of the page"), (Reach::Msrs, "MSRs"), (Reach::Page, "native MSRs")]
        {
            let guest = filled(reach, extras, &mut numbers);
            let mut batch = Batch::new(Pair::new(guest, capabilities.width), extras);
            let result = match what {
                "offsets of the page" => page(&mut batch, &mut numbers),
                _ => msrs(&mut batch, &mut numbers),
            };
            tally.record(format_args!("{} accesses to {what}, {extras:?} beside the TPR", batch.done), result);
        }
    }
}

/// A guest whose virtual-APIC page holds anything, and nothing is delivered.
fn filled(reach: Reach, extras: Extras, numbers: &mut Numbers) -> Guest {
    let mut guest = guests::guest(reach, extras, Posting::Off, InterruptFlag::Clear);
    for address in (0..0x1000).step_by(4) {
        let (value, _) = crate::memory::halves(numbers.next());
        guest.page.set_word(PageOffset::of_address(address), value);
    }
    guest
}

fn page(batch: &mut Batch, numbers: &mut Numbers) -> Result<(), Failure> {
    let offsets = (0..REGISTERS_END).chain((REGISTERS_END..LAST_OFFSET).step_by(61));
    for offset in offsets.map(|offset| PageOffset::of_address(u64::from(offset))) {
        for width in Width::ALL {
            batch.push(Operation::ReadPage(offset, width))?;
            // Half of them are commands to the guest itself, which only ICR_LO knows.
            let command = numbers.one_of([0, 0x4_0000]);
            let (value, _) = crate::memory::halves(numbers.next() >> numbers.one_of([32_u8, 48, 56]));
            batch.push(Operation::WritePage(offset, width, value | command))?;
        }
    }
    batch.finish()
}

fn msrs(batch: &mut Batch, numbers: &mut Numbers) -> Result<(), Failure> {
    for msr in MSRS {
        batch.push(Operation::ReadMsr(msr))?;
    }
    for msr in MSRS {
        let native = batch.pair.twin.guest.clone().wrmsr(u32::from(msr), 0) == Access::Native;
        // Of what reaches the CPU's own APIC only zeros, so that it stays usable.
        let values = if native { [0; 3] } else { [0, u64::from(numbers.byte()), numbers.next()] };
        for value in values {
            batch.push(Operation::WriteMsr(msr, value))?;
        }
    }
    batch.finish()
}

/// Operations gathered into programs.
struct Batch {
    pair: Pair,
    extras: Extras,
    operations: [Operation; LONGEST],
    len: usize,
    done: usize,
}

impl Batch {
    const fn new(pair: Pair, extras: Extras) -> Self {
        Self { pair, extras, operations: [Operation::Nothing; LONGEST], len: 0, done: 0 }
    }

    fn push(&mut self, operation: Operation) -> Result<(), Failure> {
        if deviations::shows(self.extras, operation) {
            return Ok(());
        }
        self.operations[self.len] = operation;
        self.len += 1;
        if self.len == LONGEST { self.finish() } else { Ok(()) }
    }

    /// Runs what is gathered.
    fn finish(&mut self) -> Result<(), Failure> {
        let round = u32::try_from(self.done / LONGEST).unwrap_or(u32::MAX);
        let ran = self.pair.run(&self.operations[..self.len], Extent::Page);
        self.done += self.len;
        self.len = 0;
        cpu::restore_local_apic();
        ran.map(drop).map_err(|_| Failure::Differs { round })
    }
}
