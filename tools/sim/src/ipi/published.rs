//! The measurements there are.

use hypervisor_lib::delivery::GuestMode;

use super::fit::FitError;

/// Cycles of an IPI to the other of two vCPUs, with and without IPI virtualization; a row is the mean of a run.
const RUNS: &str = include_str!("../../data/ipiv-cycles.csv");

/// Where the rows are from.
pub const SOURCE: &str = "kvm-unit-tests' vmexit/ipi, 2 vCPUs, 20 runs: Zeng Guang, KVM patch series \"IPI virtualization \
                          support for VM\", 2021-07-16";

/// A run: cycles of an IPI in each of the four ways.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Run {
    /// Its number, from 1.
    pub number: u32,
    /// In xAPIC mode without and with IPI virtualization.
    pub xapic: [f64; 2],
    /// In x2APIC mode.
    pub x2apic: [f64; 2],
}

impl Run {
    /// Without and with IPI virtualization.
    #[must_use]
    pub const fn of(self, mode: GuestMode) -> [f64; 2] {
        match mode {
            GuestMode::XApic => self.xapic,
            GuestMode::X2Apic => self.x2apic,
        }
    }
}

/// A figure of the software fast path.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FastPathFigure {
    /// What of it is there.
    pub what: &'static str,
    /// Whether the exit is handled before the vCPU loop is gone back to.
    pub handles_early: bool,
    /// Whether the guest is entered again from there.
    pub enters_again: bool,
    /// Cycles of an IPI.
    pub cycles: f64,
}

/// The software fast path for a command to one target in x2APIC mode, on a Skylake server (KVM, Linux commit a9ab13ff6e,
/// "KVM: X86: Improve latency for single target IPI fastpath", 2020). Three figures without runs behind them.
pub const FAST_PATH: [FastPathFigure; 3] = [
    FastPathFigure { what: "exit path", handles_early: false, enters_again: false, cycles: 4238.0 },
    FastPathFigure { what: "exit handled early", handles_early: true, enters_again: false, cycles: 3543.0 },
    FastPathFigure { what: "and guest entered again at once", handles_early: true, enters_again: true, cycles: 3293.0 },
];

/// The rows, in order.
///
/// # Errors
/// [`FitError::Row`] for one that is no row of five numbers.
pub fn runs() -> Result<Vec<Run>, FitError> {
    parse(RUNS)
}

fn parse(table: &str) -> Result<Vec<Run>, FitError> {
    let rows = table.lines().enumerate().skip(1).filter(|(_, line)| !line.trim().is_empty());
    rows.map(|(index, line)| {
        let bad = || FitError::Row { line: index + 1 };
        let cells: Result<Vec<f64>, _> = line.split(',').map(|cell| cell.trim().parse::<f64>()).collect();
        match cells.map_err(|_| bad())?[..] {
            [number, xapic_off, xapic_on, x2apic_off, x2apic_on] => {
                let number = (1..=u32::from(u16::MAX)).find(|candidate| f64::from(*candidate) == number);
                Ok(Run {
                    number: number.ok_or_else(bad)?,
                    xapic: [xapic_off, xapic_on],
                    x2apic: [x2apic_off, x2apic_on],
                })
            }
            _ => Err(bad()),
        }
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use hypervisor_lib::delivery::GuestMode;

    use super::parse;
    use super::runs;

    #[test]
    fn the_rows_have_the_published_means() {
        let runs = runs().unwrap();
        assert_eq!(runs.len(), 20);
        let mean = |mode, column: usize| runs.iter().map(|run| run.of(mode)[column]).sum::<f64>() / 20.0;
        let means = [GuestMode::XApic, GuestMode::X2Apic].map(|mode| [mean(mode, 0), mean(mode, 1)]);
        assert_eq!(means, [[6059.0, 4713.1], [4337.85, 3644.8]]);
    }

    #[test]
    fn a_broken_row_is_named_by_its_line() {
        for broken in ["1,2,3,4", "1,2,3,4,x", "1.5,2,3,4,5", "0,2,3,4,5", "1,2,3,4,5,6"] {
            let error = parse(&format!("head\n1,2,3,4,5\n{broken}\n")).unwrap_err();
            assert!(error.to_string().contains("line 3"), "{broken}: {error}");
        }
    }
}
