//! Linux's ftrace, events `irq_handler_entry` and `irq_handler_exit`: how long handlers take.

use std::collections::BTreeMap;

use serde::Serialize;

use super::ImportError;
use super::Note;
use super::Source;
use super::cursor::Cursor;
use super::note::Notes;

/// A trace of interrupt handlers.
#[derive(Clone, Debug, Serialize)]
pub struct HandlerTrace {
    /// The runs of handlers that begin and end in the trace, in order of their ends.
    pub runs: Vec<HandlerRun>,
    /// What was passed over, and what has only one end.
    pub notes: Vec<Note>,
}

/// One run of a handler.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct HandlerRun {
    /// Linux's number of the interrupt.
    pub irq: u32,
    /// The handler's name.
    pub name: String,
    /// The virtual CPU it ran on.
    pub vcpu: u32,
    /// When it began, ns on the trace's clock, whole microseconds.
    pub start_ns: u64,
    /// How long it took, ns.
    pub duration_ns: u64,
    /// Whether it said the interrupt was its own.
    pub was_handled: bool,
}

/// A handler that has begun.
#[derive(Debug)]
struct Entry {
    irq: u32,
    name: String,
    start_ns: u64,
}

/// One event.
enum Event {
    Entry { irq: u32, name: String },
    Exit { irq: u32, was_handled: bool },
}

/// Reads the trace. An exit belongs to the last entry of the same interrupt on the same CPU.
///
/// # Errors
/// [`ImportError::Line`] at the first handler event that is not as Linux prints it; [`ImportError::Missing`] if there
/// is none at all.
pub fn parse(source: &Source) -> Result<HandlerTrace, ImportError> {
    let text = source.text();
    let mut notes = Notes::new(source.name());
    let mut open: BTreeMap<u32, Vec<Entry>> = BTreeMap::new();
    let mut runs = Vec::new();
    let mut lone_exits = 0u32;
    let mut events = 0u32;
    for (number, line) in (1u32..).zip(text.lines()) {
        let line = line.trim_end();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let Some(at) = line.find("irq_handler_e") else {
            notes.pass_over(number, line);
            continue;
        };
        let (vcpu, now_ns) = parse_place(Cursor::new(source.name(), number, &line[..at]))?;
        let stack = open.entry(vcpu).or_default();
        events = events.saturating_add(1);
        match parse_event(Cursor::new(source.name(), number, &line[at..]))? {
            Event::Entry { irq, name } => stack.push(Entry { irq, name, start_ns: now_ns }),
            Event::Exit { irq, was_handled } => match stack.iter().rposition(|entry| entry.irq == irq) {
                Some(place) => {
                    let Entry { irq, name, start_ns } = stack.remove(place);
                    let duration_ns = now_ns.saturating_sub(start_ns);
                    runs.push(HandlerRun { irq, name, vcpu, start_ns, duration_ns, was_handled });
                }
                None => lone_exits = lone_exits.saturating_add(1),
            },
        }
    }
    if events == 0 {
        return Err(ImportError::Missing {
            file: source.name().to_owned(),
            expected: "irq_handler_entry or irq_handler_exit",
        });
    }
    let lone_entries: usize = open.values().map(Vec::len).sum();
    if lone_entries > 0 || lone_exits > 0 {
        notes
            .on_file(format!("{lone_entries} handlers without an exit and {lone_exits} without an entry are left out"));
    }
    Ok(HandlerTrace { runs, notes: notes.finish() })
}

/// `          <idle>-0       [002] d.h1.    37.691151: `: the CPU in brackets, and the time before the last colon.
fn parse_place(mut cursor: Cursor<'_>) -> Result<(u32, u64), ImportError> {
    // The task's name may hold brackets; the last ones are the CPU's.
    let whole = cursor.rest();
    let cpu_at = whole.rfind('[').ok_or_else(|| cursor.error("a CPU in brackets"))?;
    cursor.skip(cpu_at + 1);
    let vcpu = cursor.decimal("a CPU number")?;
    cursor.expect("]")?;
    let time = cursor.rest().trim().trim_end_matches(':');
    let time = time.rsplit(char::is_whitespace).next().unwrap_or(time);
    let now_ns = seconds_to_ns(time).ok_or_else(|| cursor.error_at(time, "a time in seconds"))?;
    Ok((vcpu, now_ns))
}

/// `37.691151` in ns.
fn seconds_to_ns(time: &str) -> Option<u64> {
    let (seconds, fraction) = time.split_once('.')?;
    if fraction.len() > 9 || !fraction.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let fraction: u64 = format!("{fraction:0<9}").parse().ok()?;
    seconds.parse::<u64>().ok()?.checked_mul(1_000_000_000)?.checked_add(fraction)
}

/// `irq_handler_entry: irq=38 name=callfunc2` or `irq_handler_exit: irq=38 ret=handled`
fn parse_event(mut cursor: Cursor<'_>) -> Result<Event, ImportError> {
    let is_entry = cursor.accept("irq_handler_entry:");
    if !is_entry {
        cursor.expect("irq_handler_exit:")?;
    }
    cursor.expect("irq=")?;
    let irq = cursor.decimal("an interrupt number")?;
    if is_entry {
        cursor.expect("name=")?;
        return Ok(Event::Entry { irq, name: cursor.rest().trim().to_owned() });
    }
    cursor.expect("ret=")?;
    let before = cursor;
    match cursor.word("a result")? {
        "handled" => Ok(Event::Exit { irq, was_handled: true }),
        "unhandled" => Ok(Event::Exit { irq, was_handled: false }),
        _ => Err(before.error("one of \"handled\" and \"unhandled\"")),
    }
}

#[cfg(test)]
mod tests {
    use super::parse;
    use crate::import::Source;

    #[test]
    fn nested_handlers_and_shared_lines_are_paired_by_cpu_and_interrupt() {
        let text = "# tracer: nop\n a-1 [000] d.h1.  1.000100: irq_handler_entry: irq=9 name=acpi\n\
                    \x20b[0]-2 [001] d.h1.  1.000150: irq_handler_entry: irq=9 name=acpi\n\
                    \x20a-1 [000] d.h2.  1.000200: irq_handler_entry: irq=54 name=megasas1-msix0\n\
                    \x20a-1 [000] d.h2.  1.000230: irq_handler_exit: irq=54 ret=handled\n\
                    \x20a-1 [000] d.h1.  1.000300: irq_handler_exit: irq=9 ret=unhandled\n\
                    \x20a-1 [003] d.h1.  1.000300: irq_handler_exit: irq=7 ret=handled\n\
                    \x20a-1 [003] d.h1.  1.000400: softirq_raise: vec=1\n";
        let trace = parse(&Source::new("f", text)).unwrap();
        let runs: Vec<_> = trace.runs.iter().map(|run| (run.irq, run.vcpu, run.start_ns, run.duration_ns)).collect();
        assert_eq!(runs, [(54, 0, 1_000_200_000, 30_000), (9, 0, 1_000_100_000, 200_000)]);
        assert!(!trace.runs[1].was_handled);
        let notes: Vec<_> = trace.notes.iter().map(ToString::to_string).collect();
        assert_eq!(notes[0], "f: 1 handlers without an exit and 1 without an entry are left out");
        assert!(notes[1].contains("1 lines of something else"), "{notes:?}");
    }

    #[test]
    fn a_broken_time_and_a_broken_result_are_named() {
        let error = parse(&Source::new("f", "a-1 [0] d 1;5: irq_handler_exit: irq=9 ret=handled")).unwrap_err();
        assert_eq!(error.to_string(), "f:1: expected a time in seconds, found \"1;5\"");
        let error = parse(&Source::new("f", "a-1 [0] d 1.5: irq_handler_exit: irq=9 ret=maybe")).unwrap_err();
        assert_eq!(error.to_string(), "f:1: expected one of \"handled\" and \"unhandled\", found \"maybe\"");
    }
}
