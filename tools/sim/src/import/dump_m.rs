//! `xl debug-keys M`: every message-signalled interrupt (`xen/arch/x86/msi.c`, `dump_msi`).
//!
//! Xen 4.17 to 4.20 print the same line. The device's mask bit is `?` where Xen does not ask the device. A PVH dom0 has
//! its functions in a part of their own (`vPCI MSI/MSI-X`), which names no vectors of the host and is passed over.

use serde::Serialize;

use super::DestinationMode;
use super::ImportError;
use super::Note;
use super::Source;
use super::console;
use super::cursor::Cursor;
use super::note::Notes;

/// The dump.
#[derive(Clone, Debug, Serialize)]
pub struct MsiDump {
    /// The interrupts, in the dump's order.
    pub messages: Vec<MsiLine>,
    /// What was passed over.
    pub notes: Vec<Note>,
}

/// One message-signalled interrupt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct MsiLine {
    /// The line of the file, counted from 1.
    pub line: u32,
    /// What sends it.
    pub sender: MsiSender,
    /// Xen's number of the interrupt.
    pub irq: u32,
    /// The vector in the message.
    pub vector: u8,
    /// Whether it is delivered to the lowest-priority CPU of its destination, not to all.
    pub is_lowest_priority: bool,
    /// Whether the message says level-triggered.
    pub is_level: bool,
    /// How the destination is meant.
    pub mode: DestinationMode,
    /// The destination: APIC ID or set of logical IDs.
    pub destination: u32,
    /// Whether the function can mask it.
    pub maskability: Maskability,
    /// Masked by Xen.
    pub is_host_masked: bool,
    /// Masked by its domain.
    pub is_guest_masked: bool,
    /// The mask bit as the device has it; none where Xen cannot ask.
    pub device_mask: Option<bool>,
}

/// What sends a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum MsiSender {
    /// A PCI function's MSI capability.
    Msi,
    /// A PCI function's MSI-X table.
    MsiX,
    /// A timer of an HPET.
    Hpet,
    /// An IOMMU.
    Iommu,
    /// Xen prints `???`.
    Unknown,
}

/// Whether a function can hold an interrupt back at the source (`msi_attrib.maskbit`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Maskability {
    /// It has a mask bit.
    Maskable,
    /// It has none: only an APIC's in-service bit can hold it back.
    Unmaskable,
}

const SENDERS: [(&str, MsiSender); 5] = [
    ("MSI-X", MsiSender::MsiX),
    ("MSI", MsiSender::Msi),
    ("HPET", MsiSender::Hpet),
    ("IOMMU", MsiSender::Iommu),
    ("???", MsiSender::Unknown),
];

/// Reads the dump; of several in one file, the last counts.
///
/// # Errors
/// [`ImportError::Line`] at the first interrupt that is not as Xen prints it; [`ImportError::Missing`] if there is
/// neither an interrupt nor the dump's heading.
pub fn parse(source: &Source) -> Result<MsiDump, ImportError> {
    let text = source.text();
    let mut notes = Notes::new(source.name());
    let mut messages = Vec::new();
    let mut has_header = false;
    for line in console::lines(&text) {
        let mut cursor = Cursor::new(source.name(), line.number, line.text);
        if cursor.accept("MSI information:") {
            if has_header {
                notes.on_line(line.number, "a second dump begins here; only the last one counts");
                messages = Vec::new();
            }
            has_header = true;
        } else if let Some(sender) = sender_of(line.text) {
            messages.push(parse_message(cursor, sender)?);
        } else {
            notes.pass_over(line.number, line.text);
        }
    }
    if messages.is_empty() && !has_header {
        return Err(ImportError::Missing { file: source.name().to_owned(), expected: "\"MSI information:\"" });
    }
    if !has_header {
        notes.on_file("the dump begins in the middle: interrupts before the first line are not known");
    }
    Ok(MsiDump { messages, notes: notes.finish() })
}

/// The sender a line begins with, if it is a line of this dump: it then has a vector.
fn sender_of(line: &str) -> Option<MsiSender> {
    let first = line.split_whitespace().next()?;
    let sender = SENDERS.iter().find(|(name, _)| *name == first).map(|(_, sender)| *sender)?;
    line.contains(" vec=").then_some(sender)
}

/// ` MSI-X   28 vec=e8 lowest  edge   assert  log lowest dest=0000000f mask=1/HG/1`
fn parse_message(mut cursor: Cursor<'_>, sender: MsiSender) -> Result<MsiLine, ImportError> {
    let line = cursor.line();
    cursor.word("a sender")?;
    let irq = cursor.decimal("an IRQ number")?;
    cursor.expect("vec=")?;
    let vector = cursor.hex_as("a vector")?;
    let is_lowest_priority = either(&mut cursor, "lowest", "fixed")?;
    let is_level = either(&mut cursor, "level", "edge")?;
    either(&mut cursor, "assert", "deassert")?;
    let mode = if either(&mut cursor, "log", "phys")? { DestinationMode::Logical } else { DestinationMode::Physical };
    either(&mut cursor, "lowest", "cpu")?;
    cursor.expect("dest=")?;
    let destination = cursor.hex_as("a destination")?;
    cursor.expect("mask=")?;
    let maskability = if cursor.bit("a mask capability")? { Maskability::Maskable } else { Maskability::Unmaskable };
    cursor.expect("/")?;
    let is_host_masked = masked_by(&mut cursor, 'H')?;
    let is_guest_masked = masked_by(&mut cursor, 'G')?;
    cursor.expect("/")?;
    let before = cursor;
    let device_mask = match cursor.character("the device's mask bit")? {
        '0' => Some(false),
        '1' => Some(true),
        '?' => None,
        _ => return Err(before.error("one of '0', '1' and '?'")),
    };
    Ok(MsiLine {
        line,
        sender,
        irq,
        vector,
        is_lowest_priority,
        is_level,
        mode,
        destination,
        maskability,
        is_host_masked,
        is_guest_masked,
        device_mask,
    })
}

/// Whether `yes` stands here; else `no` has to.
fn either(cursor: &mut Cursor<'_>, yes: &str, no: &str) -> Result<bool, ImportError> {
    let before = *cursor;
    let what = format!("one of {yes:?} and {no:?}");
    match cursor.word(&what)? {
        word if word == yes => Ok(true),
        word if word == no => Ok(false),
        _ => Err(before.error(what)),
    }
}

fn masked_by(cursor: &mut Cursor<'_>, letter: char) -> Result<bool, ImportError> {
    let before = *cursor;
    match cursor.character("a mask flag")? {
        ' ' => Ok(false),
        set if set == letter => Ok(true),
        _ => Err(before.error(format!("one of '{letter}' and ' '"))),
    }
}

#[cfg(test)]
mod tests {
    use super::Maskability;
    use super::MsiSender;
    use super::parse;
    use crate::import::DestinationMode;
    use crate::import::Source;

    #[test]
    fn a_physically_addressed_msi_without_mask_bit_is_read() {
        let text = "(XEN) MSI information:\n(XEN)  MSI     40 vec=59  fixed  edge   assert phys    cpu \
                    dest=00000012 mask=0/  /?\n(XEN)  HPET    41 vec=61  fixed  edge deassert phys    cpu dest=00000000 mask=1/ G/?\n";
        let messages = parse(&Source::new("M", text)).unwrap().messages;
        assert_eq!((messages[0].sender, messages[0].irq, messages[0].vector), (MsiSender::Msi, 40, 0x59));
        assert_eq!((messages[0].mode, messages[0].destination), (DestinationMode::Physical, 0x12));
        assert_eq!((messages[0].maskability, messages[0].device_mask), (Maskability::Unmaskable, None));
        assert_eq!((messages[1].sender, messages[1].is_guest_masked), (MsiSender::Hpet, true));
    }

    #[test]
    fn the_part_on_virtual_pci_of_a_pvh_dom0_is_passed_over_with_a_note() {
        let text =
            "MSI information:\nvPCI MSI/MSI-X d0\n0000:00:1f.2 MSI\n  enabled: 1 64-bit: 1 vectors max: 1 enabled: 1\n";
        let dump = parse(&Source::new("M", text)).unwrap();
        assert!(dump.messages.is_empty());
        assert!(dump.notes[0].text.starts_with("3 lines"), "{:?}", dump.notes);
    }

    #[test]
    fn a_broken_mask_field_is_named_with_its_line() {
        let text = "MSI information:\n MSI-X 28 vec=e8 lowest edge assert log lowest dest=0f mask=1/XG/1";
        let error = parse(&Source::new("M", text)).unwrap_err();
        assert_eq!(error.to_string(), "M:2: expected one of 'H' and ' ', found \"XG/1\"");
    }
}
