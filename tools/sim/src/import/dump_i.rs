//! `xl debug-keys i`: every IRQ with its vector, affinity and binders (`xen/arch/x86/irq.c`, `dump_irqs`).
//!
//! Xen 4.17 to 4.20 print the same fields in the same order. What differs, and is read: binders are ended by a newline
//! or followed by a comma, and there may be none; a binder's event may be `?` where its channel was locked; a label `Z=`
//! under XSM; the names of controllers (`IOMMU-x2APIC` and `IOMMU-M-MSI` on AMD hosts); a destination of 2 digits or,
//! in x2APIC mode, 8. Much older versions print `affinity:`
//! and a mask in hexadecimal, and are refused at their first line.

use std::collections::BTreeMap;

use serde::Serialize;
use vector_allocator::CpuSet;
use vector_allocator::DomainId;
use vector_allocator::SourceKind;
use vector_allocator::Vector;

use super::ImportError;
use super::Note;
use super::Source;
use super::console;
use super::cursor::Cursor;
use super::encode;
use super::io_apic::PinLine;
use super::io_apic::parse_pin;
use super::note::Notes;

/// The dump.
#[derive(Clone, Debug, Serialize)]
pub struct IrqDump {
    /// The IRQs, in the dump's order.
    pub irqs: Vec<IrqLine>,
    /// Vectors Xen handles without an IRQ.
    pub direct: Vec<DirectVector>,
    /// The pins of the IO-APICs.
    pub pins: Vec<PinLine>,
    /// What was passed over.
    pub notes: Vec<Note>,
}

/// One IRQ.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct IrqLine {
    /// The line of the file, counted from 1.
    pub line: u32,
    /// Xen's number of the interrupt.
    pub irq: u32,
    /// Its vector; none while it has none.
    #[serde(serialize_with = "encode::optional_text")]
    pub vector: Option<Vector>,
    /// How it signals, as Xen names its controller.
    pub trigger: Trigger,
    /// Status bits.
    pub status: IrqStatus,
    /// Where it is meant to go.
    #[serde(serialize_with = "encode::text")]
    pub affinity: CpuSet,
    /// The CPUs that hold its vector.
    #[serde(serialize_with = "encode::text")]
    pub holders: CpuSet,
    /// Its security label, under XSM.
    pub security_label: Option<String>,
    /// Who handles it.
    pub handling: Handling,
}

/// How an IRQ signals (`hw_irq_controller.typename`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum Trigger {
    /// `IO-APIC-edge`.
    IoApicEdge,
    /// `IO-APIC-level`.
    IoApicLevel,
    /// `PCI-MSI/-X`: MSI-X, or MSI with mask bits.
    MsiMaskable,
    /// `PCI-MSI`: MSI without mask bits.
    MsiUnmaskable,
    /// `DMA_MSI`, `AMD-IOMMU-MSI`, `IOMMU-M-MSI`, `IOMMU-x2APIC`: an IOMMU's own.
    IommuMsi,
    /// `HPET-MSI`.
    HpetMsi,
    /// `local-APIC-edge`.
    LocalApicEdge,
    /// `XT-PIC`.
    Pic,
    /// One this version does not know.
    Other(String),
}

/// Status bits of an IRQ that mean the same in every version (`IRQ_*`, `xen/include/xen/irq.h`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct IrqStatus(pub u32);

/// Who handles an IRQ.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum Handling {
    /// Nobody: mapped, but not bound.
    Unbound,
    /// Xen itself.
    Xen {
        /// The handler's symbol: `arch/x86/time.c#timer_interrupt`.
        handler: String,
    },
    /// Domains.
    Guests {
        /// How many of them have not acknowledged it yet.
        in_flight: u32,
        /// They.
        binders: Vec<Binder>,
    },
}

/// One domain an IRQ goes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Binder {
    /// The domain.
    #[serde(serialize_with = "encode::text")]
    pub domain: DomainId,
    /// Its own number of the interrupt.
    pub pirq: i32,
    /// Whether the event is pending.
    pub pending: Flag,
    /// Whether the event is masked.
    pub masked: Flag,
    /// Whether Xen waits for the domain's EOI (`pirq->masked`).
    pub awaits_eoi: bool,
}

/// An event's bit, as far as Xen could look at it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Flag {
    /// Set.
    Set,
    /// Clear.
    Clear,
    /// The event channel was locked.
    Unknown,
}

/// A vector Xen handles without an IRQ.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DirectVector {
    /// The vector.
    #[serde(serialize_with = "encode::text")]
    pub vector: Vector,
    /// The handler's symbol.
    pub handler: String,
}

impl IrqStatus {
    /// `IRQ_INPROGRESS`: its handler runs.
    #[must_use]
    pub const fn is_in_progress(self) -> bool {
        self.0 & 0x01 != 0
    }

    /// `IRQ_DISABLED`.
    #[must_use]
    pub const fn is_disabled(self) -> bool {
        self.0 & 0x02 != 0
    }

    /// `IRQ_PENDING`: it came while it was disabled or in progress.
    #[must_use]
    pub const fn is_pending(self) -> bool {
        self.0 & 0x04 != 0
    }

    /// `IRQ_GUEST`: domains handle it.
    #[must_use]
    pub const fn is_guest_bound(self) -> bool {
        self.0 & 0x10 != 0
    }

    /// `IRQ_MOVE_PENDING`: its affinity changes when it next fires.
    #[must_use]
    pub const fn is_move_pending(self) -> bool {
        self.0 & 0x20 != 0
    }
}

impl Trigger {
    fn parse(name: &str) -> Self {
        match name {
            "IO-APIC-edge" => Self::IoApicEdge,
            "IO-APIC-level" => Self::IoApicLevel,
            "PCI-MSI/-X" => Self::MsiMaskable,
            "PCI-MSI" => Self::MsiUnmaskable,
            "DMA_MSI" | "AMD-IOMMU-MSI" | "IOMMU-M-MSI" | "IOMMU-x2APIC" => Self::IommuMsi,
            "HPET-MSI" | "HPET_MSI" => Self::HpetMsi,
            "local-APIC-edge" => Self::LocalApicEdge,
            "XT-PIC" => Self::Pic,
            other => Self::Other(other.to_owned()),
        }
    }

    /// As Xen prints it.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::IoApicEdge => "IO-APIC-edge",
            Self::IoApicLevel => "IO-APIC-level",
            Self::MsiMaskable => "PCI-MSI/-X",
            Self::MsiUnmaskable => "PCI-MSI",
            Self::IommuMsi => "DMA_MSI",
            Self::HpetMsi => "HPET-MSI",
            Self::LocalApicEdge => "local-APIC-edge",
            Self::Pic => "XT-PIC",
            Self::Other(name) => name,
        }
    }

    /// What it is to the arbiter (`irq_acktype`). A source of a kind this version does not know counts as edge-triggered.
    #[must_use]
    pub const fn kind(&self) -> SourceKind {
        match self {
            Self::IoApicLevel => SourceKind::Level,
            Self::MsiUnmaskable => SourceKind::EdgeUnmaskable,
            Self::IoApicEdge
            | Self::MsiMaskable
            | Self::IommuMsi
            | Self::HpetMsi
            | Self::LocalApicEdge
            | Self::Pic
            | Self::Other(_) => SourceKind::EdgeMaskable,
        }
    }
}

/// Reads the dump. One that begins in the middle, as a console ring does, is read from there; of several, the last counts.
///
/// # Errors
/// [`ImportError::Line`] at the first IRQ, direct-vector or pin line that is not as Xen prints it;
/// [`ImportError::Missing`] if there is no IRQ line at all.
pub fn parse(source: &Source) -> Result<IrqDump, ImportError> {
    let text = source.text();
    let mut notes = Notes::new(source.name());
    let mut dump = IrqDump { irqs: Vec::new(), direct: Vec::new(), pins: Vec::new(), notes: Vec::new() };
    let mut has_header = false;
    let mut pin_irq = None;
    let mut lines = BTreeMap::new();
    for line in console::lines(&text) {
        let mut cursor = Cursor::new(source.name(), line.number, line.text);
        if cursor.accept("IRQ information:") {
            if has_header {
                notes.on_line(line.number, "a second dump begins here; only the last one counts");
                (dump.irqs, dump.direct, dump.pins) = (Vec::new(), Vec::new(), Vec::new());
                lines.clear();
            }
            has_header = true;
        } else if cursor.accept("IRQ:") {
            let irq = parse_irq(cursor)?;
            if let Some(first) = lines.insert(irq.irq, irq.line) {
                return Err(cursor.error(format!("an IRQ that is not on line {first} already")));
            }
            dump.irqs.push(irq);
        } else if line.text.trim_start().starts_with("0x") {
            dump.direct.push(parse_direct(cursor)?);
        } else if cursor.accept("Apic") {
            dump.pins.push(parse_pin(cursor, pin_irq)?);
        } else if let Some(irq) = pin_heading(line.text.trim()) {
            pin_irq = Some(irq);
        } else if !is_heading(line.text.trim()) {
            notes.pass_over(line.number, line.text);
        }
    }
    if dump.irqs.is_empty() {
        return Err(ImportError::Missing {
            file: source.name().to_owned(),
            expected: "lines of the form \"IRQ: n vec:\"",
        });
    }
    if !has_header {
        notes.on_file("the dump begins in the middle: IRQs before the first line are not known");
    }
    dump.notes = notes.finish();
    Ok(dump)
}

/// The IRQ of `IRQ  5 Vec 72:`, whose pins follow; none if the line is something else.
fn pin_heading(line: &str) -> Option<u32> {
    let (irq, _) = line.strip_prefix("IRQ")?.strip_suffix(':')?.split_once("Vec")?;
    irq.trim().parse().ok()
}

/// Lines that introduce others and say nothing more.
fn is_heading(line: &str) -> bool {
    matches!(line, "Direct vector information:" | "IO-APIC interrupt information:")
        || line.ends_with("pressed -> dumping interrupt bindings")
}

fn parse_irq(mut cursor: Cursor<'_>) -> Result<IrqLine, ImportError> {
    let line = cursor.line();
    let irq = cursor.decimal("an IRQ number")?;
    cursor.expect("vec:")?;
    let vector = parse_vector(&mut cursor)?;
    let trigger = Trigger::parse(cursor.word("a trigger type")?);
    cursor.expect("status=")?;
    let status = IrqStatus(cursor.hex_as("status bits")?);
    cursor.expect("aff:")?;
    let affinity = cursor.cpus_in_braces("an affinity")?;
    cursor.expect("/")?;
    let holders = cursor.cpus_in_braces("CPUs that hold the vector")?;
    let security_label = if cursor.accept("Z=") { Some(cursor.word("a security label")?.to_owned()) } else { None };
    let handling = parse_handling(cursor)?;
    Ok(IrqLine { line, irq, vector, trigger, status, affinity, holders, security_label, handling })
}

/// The vector of an IRQ. One that never had a vector prints 0, one that lost it `IRQ_VECTOR_UNASSIGNED`, -1.
fn parse_vector(cursor: &mut Cursor<'_>) -> Result<Option<Vector>, ImportError> {
    let before = *cursor;
    let number = cursor.hex("a vector")?;
    if matches!(number, 0 | 0xffff_ffff) {
        return Ok(None);
    }
    let vector = u8::try_from(number).ok().and_then(|number| Vector::new(number).ok());
    vector.map(Some).ok_or_else(|| before.error("a vector of 10 to ff, or 00 or ffffffff for none"))
}

fn parse_handling(mut cursor: Cursor<'_>) -> Result<Handling, ImportError> {
    if cursor.accept("in-flight=") {
        let in_flight = cursor.decimal("a count of acknowledgements")?;
        let mut binders = Vec::new();
        while !cursor.is_at_end() {
            if !binders.is_empty() {
                cursor.expect(",")?;
            }
            binders.push(parse_binder(&mut cursor)?);
        }
        return Ok(Handling::Guests { in_flight, binders });
    }
    if cursor.accept("mapped, unbound") {
        return Ok(Handling::Unbound);
    }
    match cursor.rest().trim().strip_suffix("()") {
        Some(handler) if !handler.is_empty() => Ok(Handling::Xen { handler: handler.to_owned() }),
        _ => Err(cursor.error("\"in-flight=\", \"mapped, unbound\" or a handler")),
    }
}

/// `d0:647(P-M)`: domain, its number of the interrupt, event pending, event masked, EOI awaited.
fn parse_binder(cursor: &mut Cursor<'_>) -> Result<Binder, ImportError> {
    cursor.expect("d")?;
    let domain = DomainId(cursor.decimal("a domain number")?);
    cursor.expect(":")?;
    let pirq = cursor.decimal("a pirq")?;
    cursor.expect("(")?;
    let pending = parse_flag(cursor, 'P')?;
    let masked = parse_flag(cursor, 'M')?;
    let awaits_eoi = parse_flag(cursor, 'M')? == Flag::Set;
    cursor.expect(")")?;
    Ok(Binder { domain, pirq, pending, masked, awaits_eoi })
}

fn parse_flag(cursor: &mut Cursor<'_>, letter: char) -> Result<Flag, ImportError> {
    let before = *cursor;
    match cursor.character("a flag")? {
        '-' => Ok(Flag::Clear),
        '?' => Ok(Flag::Unknown),
        set if set == letter => Ok(Flag::Set),
        _ => Err(before.error(format!("one of '{letter}', '-' and '?'"))),
    }
}

fn parse_direct(mut cursor: Cursor<'_>) -> Result<DirectVector, ImportError> {
    let before = cursor;
    cursor.expect("0x")?;
    let number: u8 = cursor.hex_as("a vector")?;
    let vector = Vector::new(number).map_err(|_| before.error("a vector of at least 0x10"))?;
    cursor.expect("->")?;
    let handler = cursor.rest().trim();
    Ok(DirectVector { vector, handler: handler.strip_suffix("()").unwrap_or(handler).to_owned() })
}

#[cfg(test)]
mod tests {
    use super::Flag;
    use super::Handling;
    use super::Trigger;
    use super::parse;
    use crate::import::Source;

    fn error(line: &str) -> String {
        parse(&Source::new("dump-i.txt", line)).unwrap_err().to_string()
    }

    #[test]
    fn an_irq_under_xsm_has_its_security_label() {
        let text = "(XEN) IRQ information:\n(XEN)    IRQ:  16 vec:51 PCI-MSI         status=010 aff:{1}/{1} \
                    Z=system_u:object_r:irq_t   in-flight=0 d0: 16(-M-),d3:  7(P??)\n";
        // The third flag is never unknown in what Xen prints; it is read as clear.
        let irq = parse(&Source::new("i", text)).unwrap().irqs.remove(0);
        assert_eq!(irq.security_label.as_deref(), Some("system_u:object_r:irq_t"));
        assert_eq!(irq.trigger, Trigger::MsiUnmaskable);
        let Handling::Guests { in_flight: 0, binders } = irq.handling else { panic!("{irq:?}") };
        assert_eq!((binders[0].pending, binders[0].masked), (Flag::Clear, Flag::Set));
        assert_eq!((binders[1].domain.0, binders[1].pirq, binders[1].pending), (3, 7, Flag::Set));
        assert_eq!((binders[1].masked, binders[1].awaits_eoi), (Flag::Unknown, false));
    }

    #[test]
    fn every_name_of_an_iommus_controller_is_an_iommus() {
        for name in ["DMA_MSI", "AMD-IOMMU-MSI", "IOMMU-M-MSI", "IOMMU-x2APIC"] {
            let text = format!("IRQ: 24 vec:30 {name} status=000 aff:{{0}}/{{0}} iommu_page_fault()");
            assert_eq!(parse(&Source::new("i", text)).unwrap().irqs[0].trigger, Trigger::IommuMsi, "{name}");
        }
    }

    #[test]
    fn an_irq_without_vector_and_one_without_binders_are_read() {
        let text = "   IRQ:  30 vec:ffffffff PCI-MSI/-X      status=002 aff:{}/{} mapped, unbound\n\
                    \x20  IRQ:  31 vec:61 IO-APIC-level   status=010 aff:{0-63}/{12} in-flight=0\n";
        let dump = parse(&Source::new("i", text)).unwrap();
        assert_eq!(dump.irqs[0].vector, None);
        assert!(dump.irqs[0].affinity.is_empty());
        assert_eq!(dump.irqs[1].handling, Handling::Guests { in_flight: 0, binders: Vec::new() });
        assert_eq!(dump.irqs[1].affinity.len(), 64);
        assert!(dump.notes[0].text.contains("begins in the middle"), "{:?}", dump.notes);
    }

    #[test]
    fn console_noise_and_a_torn_first_line_are_counted_not_lost() {
        let text = "c:b8 IO-APIC-level   status=030 aff:{3}/{0-3}\n(XEN) d1v0 Triple fault - invoking HVM shutdown\n\
                    (XEN) [    9.250000]    IRQ:   4 vec:f1 IO-APIC-edge    status=000 aff:{0}/{0} ns16550.c#ns16550_interrupt()\n";
        let dump = parse(&Source::new("i", text)).unwrap();
        assert_eq!(dump.irqs.len(), 1);
        assert!(dump.notes.iter().any(|note| note.text.starts_with("2 lines of something else")), "{:?}", dump.notes);
    }

    #[test]
    fn of_two_dumps_in_one_file_the_last_counts() {
        let one = "IRQ information:\n IRQ: 4 vec:f1 IO-APIC-edge status=000 aff:{0}/{0} a()\n";
        let two = "IRQ information:\n IRQ: 5 vec:f1 IO-APIC-edge status=000 aff:{0}/{0} a()\n";
        let dump = parse(&Source::new("i", format!("{one}{two}"))).unwrap();
        assert_eq!(dump.irqs.iter().map(|irq| irq.irq).collect::<Vec<_>>(), [5]);
        assert!(dump.notes.iter().any(|note| note.line == Some(3)));
    }

    #[test]
    fn each_broken_field_is_named_with_its_line_and_what_stands_there() {
        for (line, message) in [
            ("IRQ: x vec:f1", "dump-i.txt:1: expected an IRQ number, found \" x vec:f1\""),
            ("IRQ: 4 vec:f1 IO-APIC-edge status=0 aff:{0}/{0", "dump-i.txt:1: expected a closing '}', found \"0\""),
            (
                "IRQ: 4 vec:f1 IO-APIC-edge status=0 aff:{7-2}/{0} a()",
                "dump-i.txt:1: expected an affinity, a list of CPU numbers below 16384, found \"{7-2}/{0} a()\"",
            ),
            (
                "\nIRQ: 4 vec:f1 PCI-MSI status=0 aff:{0}/{0} in-flight=0 d0: 4(X--)",
                "dump-i.txt:2: expected one of 'P', '-' and '?', found \"X--)\"",
            ),
            (
                "IRQ: 4 vec:0f IO-APIC-edge status=0 aff:{0}/{0} a()",
                "dump-i.txt:1: expected a vector of 10 to ff, or 00 or ffffffff for none, found \"0f IO-APIC-edge status=0 aff:{0}/{0} a()\"",
            ),
            (
                "IRQ: 4 vec:100 IO-APIC-edge status=0 aff:{0}/{0} a()",
                "dump-i.txt:1: expected a vector of 10 to ff, or 00 or ffffffff for none, found \"100 IO-APIC-edge status=0 aff:{0}/{0} a()\"",
            ),
            (
                "IRQ: 4 vec:f1 PCI-MSI status=0 aff:{0}/{0} a()\n\nIRQ: 4 vec:f2 PCI-MSI status=0 aff:{0}/{0} a()",
                "dump-i.txt:3: expected an IRQ that is not on line 1 already, found \" 4 vec:f2 PCI-MSI status=0 aff:{0}/{0} a()\"",
            ),
            ("nothing", "dump-i.txt: expected lines of the form \"IRQ: n vec:\", found none"),
        ] {
            assert_eq!(error(line), message);
        }
    }
}
