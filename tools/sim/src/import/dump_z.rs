//! `xl debug-keys z`: the IO-APICs' registers and redirection tables (`xen/arch/x86/io_apic.c`, `__print_IO_APIC`).
//!
//! Xen 4.17 to 4.20 print the same table. Its destination column has 2 digits under `Dst` or, in x2APIC mode, 8 under
//! `DestID`; registers 2 and 3 are there only where the IO-APIC has them.

use serde::Serialize;

use super::DestinationMode;
use super::ImportError;
use super::Note;
use super::PinLine;
use super::RedirectionEntry;
use super::Source;
use super::console;
use super::cursor::Cursor;
use super::note::Notes;

/// The dump.
#[derive(Clone, Debug, Serialize)]
pub struct IoApicDump {
    /// The IO-APICs.
    pub apics: Vec<IoApic>,
    /// Which vectors' IRQs go to which pins. The dump calls the number an IRQ; it is the vector.
    pub mappings: Vec<PinMapping>,
    /// What was passed over.
    pub notes: Vec<Note>,
}

/// One IO-APIC.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct IoApic {
    /// Its number in the dump.
    pub number: u32,
    /// Its registers, by number: ID, version, arbitration, boot configuration.
    pub registers: Vec<(u8, u32)>,
    /// Its pins.
    pub pins: Vec<PinLine>,
}

/// One vector's pins.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PinMapping {
    /// The vector.
    pub vector: u32,
    /// The pins, as IO-APIC and pin.
    pub pins: Vec<(u32, u32)>,
}

/// The printed forms of a destination column.
const NARROW_DIGITS: usize = 2;

/// Reads the dump; of several in one file, the last counts.
///
/// # Errors
/// [`ImportError::Line`] at the first register, table or mapping line that is not as Xen prints it;
/// [`ImportError::Missing`] if there is no IO-APIC at all.
pub fn parse(source: &Source) -> Result<IoApicDump, ImportError> {
    let text = source.text();
    let mut notes = Notes::new(source.name());
    let mut dump = IoApicDump { apics: Vec::new(), mappings: Vec::new(), notes: Vec::new() };
    let mut in_table = false;
    for line in console::lines(&text) {
        let mut cursor = Cursor::new(source.name(), line.number, line.text);
        if cursor.accept("number of MP IRQ sources:") {
            if !dump.apics.is_empty() {
                notes.on_line(line.number, "a second dump begins here; only the last one counts");
                (dump.apics, dump.mappings) = (Vec::new(), Vec::new());
            }
            in_table = false;
        } else if cursor.accept("IO APIC #") {
            let number = cursor.decimal("an IO-APIC number")?;
            dump.apics.push(IoApic { number, registers: Vec::new(), pins: Vec::new() });
            in_table = false;
        } else if cursor.accept(".... register #") {
            let register = parse_register(cursor)?;
            dump.apics.last_mut().ok_or_else(|| no_apic(source, line.number, line.text))?.registers.push(register);
        } else if cursor.accept("NR ") {
            in_table = true;
        } else if cursor.accept("Using vector-based indexing") || cursor.accept("IRQ to pin mappings:") {
            in_table = false;
        } else if let Some(mapping) = parse_mapping(cursor)? {
            dump.mappings.push(mapping);
        } else if in_table && is_row(line.text) {
            let apic = dump.apics.last_mut().ok_or_else(|| no_apic(source, line.number, line.text))?;
            apic.pins.push(parse_row(cursor, apic.number)?);
        } else if !is_heading(line.text.trim()) {
            notes.pass_over(line.number, line.text);
        }
    }
    if dump.apics.is_empty() {
        return Err(ImportError::Missing { file: source.name().to_owned(), expected: "\"IO APIC #n\"" });
    }
    dump.notes = notes.finish();
    Ok(dump)
}

fn no_apic(source: &Source, line: u32, text: &str) -> ImportError {
    ImportError::line(source.name(), line, "\"IO APIC #n\" before this", text)
}

/// Lines that explain the register above them, or introduce the next lines.
fn is_heading(line: &str) -> bool {
    line.starts_with(".......")
        || line.starts_with(".... IRQ redirection table:")
        || line.starts_with("number of IO-APIC #")
        || line.starts_with("testing the IO APIC")
        || line.ends_with("done.")
        || line.ends_with("pressed -> dumping IO-APIC info")
}

fn is_row(line: &str) -> bool {
    line.split_whitespace().next().is_some_and(|first| first.len() == 2 && u8::from_str_radix(first, 16).is_ok())
}

/// What follows `.... register #`: `01: 00170020`.
fn parse_register(mut cursor: Cursor<'_>) -> Result<(u8, u32), ImportError> {
    let number = cursor.hex_as("a register number")?;
    cursor.expect(":")?;
    Ok((number, cursor.hex_as("a register value")?))
}

/// ` 15  08  0   1   0   0   0    1    1    B8`: pin, destination, mask, trigger, remote IRR, polarity, status,
/// destination mode, delivery mode, vector.
fn parse_row(mut cursor: Cursor<'_>, apic: u32) -> Result<PinLine, ImportError> {
    let pin = cursor.hex_as("a pin number")?;
    let mut column = cursor;
    let digits = column.word("a destination")?.len();
    let destination = cursor.hex_as("a destination")?;
    let is_masked = cursor.bit("a mask bit")?;
    let is_level = cursor.bit("a trigger mode")?;
    let remote_irr = cursor.bit("a remote IRR")?;
    let is_active_low = cursor.bit("a polarity")?;
    let is_delivering = cursor.bit("a delivery status")?;
    let mode = if cursor.bit("a destination mode")? { DestinationMode::Logical } else { DestinationMode::Physical };
    let before = cursor;
    let delivery: u8 = cursor.decimal("a delivery mode")?;
    let delivery = DELIVERY.get(usize::from(delivery)).ok_or_else(|| before.error("a delivery mode of 0 to 7"))?;
    let vector = cursor.hex_as("a vector")?;
    let entry = RedirectionEntry {
        vector,
        delivery: (*delivery).to_owned(),
        mode,
        is_delivering,
        is_active_low,
        remote_irr,
        is_level,
        is_masked,
        destination,
        destination_digits: if digits <= NARROW_DIGITS { 2 } else { 8 },
    };
    Ok(PinLine { irq: None, apic, pin, entry })
}

/// Delivery modes by number, in the words of the `i` dump.
const DELIVERY: [&str; 8] = ["Fixed", "LoPri", "SMI", "Resvd", "NMI", "INIT", "Resvd", "ExINT"];

/// `IRQ240 -> 0:2-> 1:3`; none if the line is something else.
fn parse_mapping(mut cursor: Cursor<'_>) -> Result<Option<PinMapping>, ImportError> {
    if !(cursor.accept("IRQ") && cursor.rest().starts_with(|c: char| c.is_ascii_digit() || c == '-')) {
        return Ok(None);
    }
    // An IRQ without a vector prints as -1.
    let vector: i64 = cursor.decimal("a vector")?;
    let vector = u32::try_from(vector).unwrap_or(0);
    let mut pins = Vec::new();
    while !cursor.is_at_end() {
        cursor.expect("->")?;
        let apic = cursor.decimal("an IO-APIC number")?;
        cursor.expect(":")?;
        pins.push((apic, cursor.decimal("a pin number")?));
    }
    Ok(Some(PinMapping { vector, pins }))
}

#[cfg(test)]
mod tests {
    use super::parse;
    use crate::import::DestinationMode;
    use crate::import::Source;

    #[test]
    fn a_table_with_remapped_destinations_is_read() {
        let text = "(XEN) number of MP IRQ sources: 15.\n(XEN) IO APIC #1......\n(XEN) .... register #00: 01000000\n\
                    (XEN) .... IRQ redirection table:\n(XEN)  NR   DestID Msk Trg IRR Pol Stat DstM DelM Vec\n\
                    (XEN)  02 00000001  0   0   0   0   0    0    0    F0\n(XEN) IRQ240 -> 0:2-> 1:7\n";
        let dump = parse(&Source::new("z", text)).unwrap();
        let apic = &dump.apics[0];
        assert_eq!((apic.number, apic.registers.as_slice()), (1, [(0u8, 0x0100_0000)].as_slice()));
        assert_eq!((apic.pins[0].pin, apic.pins[0].entry.vector), (2, 0xf0));
        assert_eq!((apic.pins[0].entry.mode, apic.pins[0].entry.destination_digits), (DestinationMode::Physical, 8));
        assert_eq!(apic.pins[0].entry.delivery, "Fixed");
        assert_eq!(dump.mappings[0].pins, [(0, 2), (1, 7)]);
    }

    #[test]
    fn a_bit_that_is_neither_0_nor_1_is_named_with_its_line() {
        let text = "IO APIC #0......\n NR Dst Msk Trg IRR Pol Stat DstM DelM Vec\n 01  04  7   0   0   0   0    1    1    B0\n";
        let error = parse(&Source::new("z", text)).unwrap_err();
        assert_eq!(
            error.to_string(),
            "z:3: expected a mask bit of 0 or 1, found \"  7   0   0   0   0    1    1    B0\""
        );
    }
}
