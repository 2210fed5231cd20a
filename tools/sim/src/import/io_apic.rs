//! A pin of an IO-APIC as the `i` dump prints it (`xen/arch/x86/io_apic.c`, `dump_ioapic_irq_info`).

use serde::Serialize;

use super::ImportError;
use super::cursor::Cursor;

/// One pin's redirection entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PinLine {
    /// Xen's number of its interrupt, where the dump says it.
    pub irq: Option<u32>,
    /// The IO-APIC.
    pub apic: u32,
    /// Its pin.
    pub pin: u32,
    /// The redirection entry.
    pub entry: RedirectionEntry,
}

/// A redirection entry (82093AA datasheet, 3.2.4), as far as the dumps show it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RedirectionEntry {
    /// The vector; 0 in an entry that was never set.
    pub vector: u8,
    /// How it is delivered: `Fixed`, `LoPri`, …, or its number.
    pub delivery: String,
    /// How the destination is meant.
    pub mode: DestinationMode,
    /// Delivery is under way.
    pub is_delivering: bool,
    /// The pin is active low.
    pub is_active_low: bool,
    /// Remote IRR: a local APIC took the interrupt and has not sent its EOI.
    pub remote_irr: bool,
    /// The pin is level-triggered.
    pub is_level: bool,
    /// The pin is masked.
    pub is_masked: bool,
    /// The destination: a set of logical IDs or one physical ID; with interrupt remapping an index.
    pub destination: u32,
    /// How many hex digits the destination was printed with: 8 in x2APIC mode, else 2.
    pub destination_digits: u8,
}

/// How an interrupt's destination is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum DestinationMode {
    /// An APIC ID.
    Physical,
    /// A set of logical IDs.
    Logical,
}

/// Reads what follows `Apic`: ` 0x00, Pin  2: vec=f0 delivery=LoPri dest=L status=0 …`.
pub(crate) fn parse_pin(mut cursor: Cursor<'_>, irq: Option<u32>) -> Result<PinLine, ImportError> {
    cursor.expect("0x")?;
    let apic = cursor.hex_as("an IO-APIC number")?;
    cursor.expect(", Pin")?;
    let pin = cursor.decimal("a pin number")?;
    cursor.expect(":")?;
    cursor.expect("vec=")?;
    let vector = cursor.hex_as("a vector")?;
    cursor.expect("delivery=")?;
    let delivery = cursor.word("a delivery mode")?.to_owned();
    cursor.expect("dest=")?;
    let before = cursor;
    let mode = match cursor.character("a destination mode")? {
        'P' => DestinationMode::Physical,
        'L' => DestinationMode::Logical,
        _ => return Err(before.error("one of 'P' and 'L'")),
    };
    cursor.expect("status=")?;
    let is_delivering = cursor.bit("a delivery status")?;
    cursor.expect("polarity=")?;
    let is_active_low = cursor.bit("a polarity")?;
    cursor.expect("irr=")?;
    let remote_irr = cursor.bit("a remote IRR")?;
    cursor.expect("trig=")?;
    let before = cursor;
    let is_level = match cursor.character("a trigger mode")? {
        'E' => false,
        'L' => true,
        _ => return Err(before.error("one of 'E' and 'L'")),
    };
    cursor.expect("mask=")?;
    let is_masked = cursor.bit("a mask bit")?;
    cursor.expect("dest_id:")?;
    let destination_digits = u8::try_from(cursor.rest().trim().len()).unwrap_or(u8::MAX);
    let destination = cursor.hex_as("a destination")?;
    let entry = RedirectionEntry {
        vector,
        delivery,
        mode,
        is_delivering,
        is_active_low,
        remote_irr,
        is_level,
        is_masked,
        destination,
        destination_digits,
    };
    Ok(PinLine { irq, apic, pin, entry })
}

#[cfg(test)]
mod tests {
    use super::DestinationMode;
    use super::parse_pin;
    use crate::import::cursor::Cursor;

    #[test]
    fn a_pin_in_x2apic_mode_has_a_wide_destination() {
        let text =
            " 0x01, Pin 23: vec=d0 delivery=Fixed dest=P status=1 polarity=1 irr=1 trig=L mask=0 dest_id:00010002";
        let line = parse_pin(Cursor::new("i", 1, text), Some(23)).unwrap();
        assert_eq!((line.apic, line.pin, line.entry.vector), (1, 23, 0xd0));
        assert_eq!((line.entry.mode, line.entry.delivery.as_str()), (DestinationMode::Physical, "Fixed"));
        assert!(line.entry.remote_irr && line.entry.is_level && line.entry.is_active_low && line.entry.is_delivering);
        assert_eq!((line.entry.destination, line.entry.destination_digits), (0x1_0002, 8));
    }

    #[test]
    fn a_vector_that_is_too_wide_is_refused() {
        let error = parse_pin(Cursor::new("i", 3, " 0x00, Pin  2: vec=1f0 delivery=LoPri"), None).unwrap_err();
        assert_eq!(error.to_string(), "i:3: expected a vector, found \"1f0 delivery=LoPri\"");
    }
}
