//! What the guest executes: small programs for the interpreter in `guest.s`.

use core::sync::atomic::AtomicU64;
use core::sync::atomic::Ordering;

use carillon_machine::vmx::PageOffset;
use carillon_machine::vmx::Width;

/// One operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operation {
    /// MOV to CR8.
    WriteCr8(u64),
    /// MOV from CR8; the value goes into the log.
    ReadCr8,
    /// A read of the APIC-access page; the value goes into the log, zero if the read did not happen.
    ReadPage(PageOffset, Width),
    /// A write to the APIC-access page.
    WritePage(PageOffset, Width, u32),
    /// RDMSR; both halves go into the log, zero if the read did not happen.
    ReadMsr(u16),
    /// WRMSR.
    WriteMsr(u16, u64),
    /// STI, and an instruction more.
    Sti,
    /// CLI.
    Cli,
    /// STI with CLI right behind it: no interrupt may come between.
    StiCli,
    /// STI with HLT right behind it.
    StiHlt,
    /// Two instructions that do nothing.
    Nothing,
}

impl Operation {
    /// The 16 bytes that the interpreter reads.
    fn encode(self) -> [u64; 2] {
        let by_width = |first: u64, width: Width| first + u64::from(width.bytes().ilog2());
        let at = |offset: u16| u64::from(offset) << 16;
        match self {
            Self::WriteCr8(value) => [1, value],
            Self::ReadCr8 => [2, 0],
            Self::ReadPage(offset, width) => [by_width(3, width) | at(offset.bytes()), 0],
            Self::WritePage(offset, width, value) => [by_width(7, width) | at(offset.bytes()), u64::from(value)],
            Self::ReadMsr(msr) => [11 | at(msr), 0],
            Self::WriteMsr(msr, value) => [12 | at(msr), value],
            Self::Sti => [13, 0],
            Self::Cli => [14, 0],
            Self::StiCli => [15, 0],
            Self::StiHlt => [16, 0],
            Self::Nothing => [17, 0],
        }
    }
}

/// A program's most operations, the end not counted.
pub(crate) const LONGEST: usize = 128;

/// Where the interpreter finds its program; it stops at an operation of zeros.
pub(crate) static PROGRAM: [AtomicU64; 2 * (LONGEST + 1)] = [const { AtomicU64::new(0) }; 2 * (LONGEST + 1)];

/// Lays a program out for the interpreter.
///
/// # Panics
/// If there are more than [`LONGEST`] operations.
pub(crate) fn lay_out(operations: &[Operation]) {
    assert!(operations.len() <= LONGEST, "a program of {} operations", operations.len());
    let words = operations.iter().flat_map(|operation| operation.encode()).chain([0, 0]);
    for (place, word) in PROGRAM.iter().zip(words) {
        place.store(word, Ordering::Relaxed);
    }
}
