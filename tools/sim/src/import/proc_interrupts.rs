//! `/proc/interrupts` of Linux, of dom0 or of a guest, once or several times in one file.

use serde::Serialize;

use super::ImportError;
use super::Note;
use super::Source;
use super::note::Notes;

/// The file.
#[derive(Clone, Debug, Serialize)]
pub struct ProcInterrupts {
    /// Each time it was printed.
    pub snapshots: Vec<InterruptTable>,
    /// What was passed over.
    pub notes: Vec<Note>,
}

/// The table at one time.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct InterruptTable {
    /// The numbers of the CPUs, one a column.
    pub cpus: Vec<u32>,
    /// The interrupts.
    pub rows: Vec<InterruptRow>,
}

/// One interrupt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct InterruptRow {
    /// Linux's number of the interrupt, or its name: `54`, `LOC`.
    pub label: String,
    /// How often it came, a CPU. Rows such as `ERR` have one count in all.
    pub counts: Vec<u64>,
    /// Its chip: `xen-pirq`, `IR-PCI-MSI`; empty for a named row.
    pub chip: String,
    /// How its chip knows it: `ioapic-level`, `msi-x`, `524288-edge`.
    pub how: String,
    /// Its handlers' names, separated by commas, or a named row's description.
    pub action: String,
}

impl ProcInterrupts {
    /// The last table.
    #[must_use]
    pub fn last(&self) -> Option<&InterruptTable> {
        self.snapshots.last()
    }
}

impl InterruptTable {
    /// The rows of physical interrupts of a Xen guest.
    pub fn pirqs(&self) -> impl Iterator<Item = &InterruptRow> {
        self.rows.iter().filter(|row| row.is_pirq())
    }

    /// The row of an interrupt.
    #[must_use]
    pub fn row(&self, label: &str) -> Option<&InterruptRow> {
        self.rows.iter().find(|row| row.label == label)
    }
}

impl InterruptRow {
    /// Linux's number of the interrupt; none for a named row.
    #[must_use]
    pub fn number(&self) -> Option<u32> {
        self.label.parse().ok()
    }

    /// How often it came in all.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.counts.iter().fold(0, |sum, count| sum.saturating_add(*count))
    }

    /// Whether it is a physical interrupt of a Xen guest.
    #[must_use]
    pub fn is_pirq(&self) -> bool {
        self.chip == "xen-pirq" || self.chip.starts_with("Phys-irq")
    }

    /// Whether it is a pin of an IO-APIC, which Linux numbers as the hypervisor does.
    #[must_use]
    pub fn is_io_apic(&self) -> bool {
        self.how.starts_with("ioapic") || self.chip.contains("IO-APIC")
    }
}

/// Reads the file. Anything before the first heading is passed over, and so is a prefix that every line of a console
/// capture carries, such as `DOMU-INT:`; each heading begins a new table.
///
/// # Errors
/// [`ImportError::Line`] at the first row with a count that is no number or too few counts; [`ImportError::Missing`] if
/// there is no heading.
pub fn parse(source: &Source) -> Result<ProcInterrupts, ImportError> {
    let text = source.text();
    let mut notes = Notes::new(source.name());
    let mut snapshots: Vec<InterruptTable> = Vec::new();
    let mut prefix = "";
    for (number, line) in (1u32..).zip(text.lines()) {
        let line = line.trim_end();
        if line.is_empty() {
            continue;
        }
        if let Some((before, cpus)) = parse_heading(line) {
            prefix = before;
            snapshots.push(InterruptTable { cpus, rows: Vec::new() });
            continue;
        }
        match (snapshots.last_mut(), line.strip_prefix(prefix)) {
            (Some(table), Some(row)) if row.contains(':') => {
                table.rows.push(
                    parse_row(row, table.cpus.len())
                        .map_err(|(expected, found)| ImportError::line(source.name(), number, expected, &found))?,
                );
            }
            _ => notes.pass_over(number, line),
        }
    }
    if snapshots.is_empty() {
        let expected = "a heading of CPU numbers, \"CPU0 CPU1 …\"";
        return Err(ImportError::Missing { file: source.name().to_owned(), expected });
    }
    Ok(ProcInterrupts { snapshots, notes: notes.finish() })
}

/// A heading, as the prefix before it and the CPUs it names; none if the line is something else.
fn parse_heading(line: &str) -> Option<(&str, Vec<u32>)> {
    let start = line.find("CPU")?;
    let cpus: Option<Vec<u32>> =
        line[start..].split_whitespace().map(|column| column.strip_prefix("CPU")?.parse().ok()).collect();
    Some((line[..start].trim(), cpus?))
}

/// A row without the capture's prefix; on failure what was expected and what was found.
fn parse_row(row: &str, cpus: usize) -> Result<InterruptRow, (String, String)> {
    let (label, rest) = row.split_once(':').unwrap_or((row, ""));
    let label = label.trim().to_owned();
    let is_number = label.parse::<u32>().is_ok();
    let mut counts = Vec::new();
    let mut rest = rest.trim_start();
    while counts.len() < cpus {
        let (word, after) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
        match word.parse() {
            Ok(count) => counts.push(count),
            // Rows such as ERR and MIS have one count for all CPUs.
            Err(_) if !is_number && counts.len() == 1 => break,
            Err(_) => return Err((format!("a count for each of {cpus} CPUs"), rest.to_owned())),
        }
        rest = after.trim_start();
    }
    if !is_number {
        return Ok(InterruptRow { label, counts, chip: String::new(), how: String::new(), action: rest.to_owned() });
    }
    let (chip, rest) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
    let rest = rest.trim_start();
    // "-ioapic-level  ioc0", "524288-edge      eth0"; before Linux 3.19 the chip's name had it: "IO-APIC-edge  timer".
    let (how, action) = match rest.split_once(char::is_whitespace) {
        Some((how, action)) if how.starts_with('-') || how.ends_with("-edge") || how.ends_with("-level") => {
            (how.trim_start_matches('-'), action.trim_start())
        }
        Some((hwirq, action)) if hwirq.parse::<u64>().is_ok() => split_how(hwirq, action.trim_start()),
        None if rest.starts_with('-') || rest.ends_with("-edge") || rest.ends_with("-level") => {
            (rest.trim_start_matches('-'), "")
        }
        _ => ("", rest),
    };
    Ok(InterruptRow { label, counts, chip: chip.to_owned(), how: how.to_owned(), action: action.to_owned() })
}

/// Of `hwirq Edge name` (Linux 6 on other chips) the trigger and the name.
fn split_how<'a>(hwirq: &'a str, rest: &'a str) -> (&'a str, &'a str) {
    match rest.split_once(char::is_whitespace) {
        Some((how @ ("Edge" | "Level"), action)) => (how, action.trim_start()),
        _ => (hwirq, rest),
    }
}

#[cfg(test)]
mod tests {
    use super::parse;
    use crate::import::Source;

    #[test]
    fn tables_of_every_age_are_read() {
        let text = "           CPU0       CPU2\n\
                    \x20  0:         46          1  IR-IO-APIC    2-edge      timer\n\
                    \x20  1:          9          0   IO-APIC-edge      i8042\n\
                    \x20 16:          0          3   IO-APIC  16-fasteoi   ehci_hcd:usb1, uhci_hcd:usb2\n\
                    \x20126:          5          6  IR-PCI-MSI-0000:00:1f.6    0-edge      enp0s31f6\n\
                    \x20 17:          1          1  Phys-irq-level     peth0\n\
                    \x20 99:          1          1  xen-dyn     -event\n\
                    NMI:          0          0   Non-maskable interrupts\nERR:          7\n";
        let table = parse(&Source::new("i", text)).unwrap().snapshots.remove(0);
        assert_eq!(table.cpus, [0, 2]);
        let row = |label: &str| table.row(label).unwrap();
        assert_eq!(
            (row("0").chip.as_str(), row("0").how.as_str(), row("0").action.as_str()),
            ("IR-IO-APIC", "2-edge", "timer")
        );
        assert_eq!((row("1").chip.as_str(), row("1").action.as_str()), ("IO-APIC-edge", "i8042"));
        assert!(row("1").is_io_apic() && !row("126").is_io_apic());
        assert_eq!(row("126").action, "enp0s31f6");
        assert_eq!((row("99").how.as_str(), row("99").action.as_str()), ("event", ""));
        assert_eq!(
            (row("ERR").counts.as_slice(), row("NMI").action.as_str()),
            ([7].as_slice(), "Non-maskable interrupts")
        );
        assert!(row("17").is_pirq());
    }

    #[test]
    fn a_prefixed_console_copy_with_two_tables_and_other_lines_is_read() {
        let text = "[    0.1] booting\r\nDOMU-INT:   CPU0\r\nDOMU-INT:   9:  14  xen-pirq    -pcifront-msi-x  eth0-rxtx-0\r\n\
                    random: crng init done\r\nDOMU-INT:   CPU0\r\nDOMU-INT:   9:  4782  xen-pirq    -pcifront-msi-x  eth0-rxtx-0\r\n";
        let file = parse(&Source::new("g", text)).unwrap();
        assert_eq!(file.snapshots.iter().map(|table| table.rows[0].total()).collect::<Vec<_>>(), [14, 4782]);
        let row = &file.last().unwrap().rows[0];
        assert_eq!((row.number(), row.how.as_str(), row.action.as_str()), (Some(9), "pcifront-msi-x", "eth0-rxtx-0"));
        assert!(file.notes[0].text.starts_with("2 lines"), "{:?}", file.notes);
    }

    #[test]
    fn too_few_counts_are_named_with_the_line() {
        let error = parse(&Source::new("i", "  CPU0 CPU1\n 24: 12 xen-percpu -virq timer0\n")).unwrap_err();
        assert_eq!(error.to_string(), "i:2: expected a count for each of 2 CPUs, found \"xen-percpu -virq timer0\"");
        let error = parse(&Source::new("i", "24: 12")).unwrap_err();
        assert_eq!(error.to_string(), "i: expected a heading of CPU numbers, \"CPU0 CPU1 …\", found none");
    }
}
