//! Binary traces of `xentrace`: every record framed, none invented, all whole ones kept.
//!
//! A file is a row of windows. Each begins with a CPU-change record that says from which CPU the window's records are and
//! how many bytes they take; inside it records follow each other without gaps.

use hypervisor_abi::trace;
use hypervisor_abi::trace::EXTRA_WORDS_MAX;
use hypervisor_abi::trace::TraceHeader;

use super::FramingError;
use super::ImportError;
use super::Source;
use super::TraceEvent;

/// A trace.
#[derive(Clone, Debug)]
pub struct Trace {
    /// Its records, in the file's order: in order of time on each CPU, not between CPUs.
    pub records: Vec<Record>,
    /// Bytes of the file that belong to whole records.
    pub framed_bytes: u64,
    /// Where and why reading stopped, if it did before the end of the file.
    pub broken: Option<FramingError>,
}

/// One record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record {
    /// Where it begins in the file.
    pub offset: u64,
    /// The CPU it comes from.
    pub cpu: u32,
    /// When, in cycles of the time-stamp counter; none for records without a time stamp.
    pub tsc: Option<u64>,
    /// What happened.
    pub event: TraceEvent,
}

/// A record's own words.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Extra {
    words: [u32; EXTRA_WORDS_MAX],
    count: u8,
}

impl Extra {
    /// The words.
    #[must_use]
    pub fn words(&self) -> &[u32] {
        &self.words[..usize::from(self.count)]
    }

    /// Word `index`; none past the last.
    #[must_use]
    pub fn word(&self, index: usize) -> Option<u32> {
        self.words().get(index).copied()
    }
}

impl std::fmt::Debug for Extra {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.words().iter().map(|word| format!("{word:#010x}"))).finish()
    }
}

impl Trace {
    /// The time of the first and of the last record that has one, in cycles.
    #[must_use]
    pub fn tsc_range(&self) -> Option<(u64, u64)> {
        let times = || self.records.iter().filter_map(|record| record.tsc);
        Some((times().min()?, times().max()?))
    }

    /// How many records Xen dropped because a buffer was full.
    #[must_use]
    pub fn lost_records(&self) -> u64 {
        self.records.iter().fold(0, |lost, record| match record.event {
            TraceEvent::LostRecords { count, .. } => lost.saturating_add(u64::from(count)),
            _ => lost,
        })
    }
}

/// Reads a trace. If it is cut short or damaged further on, the records before that are kept and
/// [`Trace::broken`] says where.
///
/// # Errors
/// [`ImportError::Framing`] if not even the first record can be read.
pub fn parse(source: &Source) -> Result<Trace, ImportError> {
    let mut frames = Frames { file: source.name(), bytes: source.bytes(), offset: 0, window: None, kept: 0 };
    let mut records = Vec::new();
    let broken = loop {
        match frames.next() {
            Ok(Some(record)) => records.push(record),
            Ok(None) => break None,
            Err(error) if records.is_empty() => return Err(error.into()),
            Err(error) => break Some(error),
        }
        frames.kept = records.len();
    };
    Ok(Trace { records, framed_bytes: frames.offset as u64, broken })
}

/// A place in a trace.
struct Frames<'a> {
    file: &'a str,
    bytes: &'a [u8],
    offset: usize,
    window: Option<Window>,
    kept: usize,
}

/// The window a record lies in.
#[derive(Clone, Copy)]
struct Window {
    cpu: u32,
    /// Just behind its last byte.
    end: usize,
}

impl Frames<'_> {
    fn word(&self, at: usize) -> Option<u32> {
        let bytes = self.bytes.get(at..at.checked_add(4)?)?;
        Some(u32::from_le_bytes(bytes.try_into().ok()?))
    }

    fn error(&self, expected: impl Into<String>, found: impl Into<String>) -> FramingError {
        FramingError {
            file: self.file.to_owned(),
            offset: self.offset as u64,
            expected: expected.into(),
            found: found.into(),
            kept: self.kept,
        }
    }

    /// The next whole record; none at the end of the file.
    fn next(&mut self) -> Result<Option<Record>, FramingError> {
        let left = self.bytes.len() - self.offset;
        if left == 0 {
            return match self.window {
                None => Err(self.error("a CPU-change record", "the end of the file")),
                Some(window) if window.end > self.offset => Err(self
                    .error(format!("{} more bytes of this window", window.end - self.offset), "the end of the file")),
                Some(_) => Ok(None),
            };
        }
        let header =
            self.word(self.offset).ok_or_else(|| self.error("a record's 4-byte header", format!("{left} bytes")))?;
        let header = TraceHeader::from(header);
        let stamp_words = if header.has_cycles() { 2 } else { 0 };
        let size = 4 * (1 + stamp_words + usize::from(header.extra_words()));
        if size > left {
            return Err(self.error(format!("a record of {size} bytes"), format!("{left} bytes")));
        }
        let is_change = header.event() == trace::CPU_CHANGE;
        match self.window {
            Some(window) if self.offset < window.end => {
                let room = window.end - self.offset;
                if size > room || is_change {
                    let found =
                        if is_change { "a CPU-change record".to_owned() } else { format!("one of {size} bytes") };
                    return Err(self.error(format!("a record within the {room} bytes left of its window"), found));
                }
            }
            _ if !is_change => {
                return Err(self.error("a CPU-change record", format!("event {:#09x}", header.event())));
            }
            _ => {}
        }
        self.record(header, size)
    }

    /// The record here, whose `size` bytes are all there.
    fn record(&mut self, header: TraceHeader, size: usize) -> Result<Option<Record>, FramingError> {
        let mut at = self.offset + 4;
        let mut next_word = || {
            let word = self.word(at).unwrap_or_default();
            at += 4;
            word
        };
        let tsc = header.has_cycles().then(|| u64::from(next_word()) | u64::from(next_word()) << 32);
        let mut extra = Extra { words: [0; EXTRA_WORDS_MAX], count: header.extra_words() };
        for word in extra.words.iter_mut().take(usize::from(header.extra_words())) {
            *word = next_word();
        }
        let event = TraceEvent::decode(header.event(), extra);
        if header.event() == trace::CPU_CHANGE {
            let TraceEvent::CpuChange { cpu, window_bytes } = event else {
                return Err(self.error("a CPU number and a window size", format!("{} words", header.extra_words())));
            };
            let end = (self.offset + size).saturating_add(window_bytes as usize);
            self.window = Some(Window { cpu, end });
        }
        let cpu = self.window.map_or(0, |window| window.cpu);
        let record = Record { offset: self.offset as u64, cpu, tsc, event };
        self.offset += size;
        Ok(Some(record))
    }
}

#[cfg(test)]
mod tests {
    use super::parse;
    use crate::import::ImportError;
    use crate::import::Source;
    use crate::import::TraceEvent;

    fn trace(words: &[u32]) -> Source {
        Source::new("t", words.iter().flat_map(|word| word.to_le_bytes()).collect::<Vec<_>>())
    }

    const CHANGE: u32 = 0x2001_f003;

    #[test]
    fn windows_lost_records_and_wraparound_padding_are_framed() {
        let source = trace(&[
            CHANGE,
            5,
            56, // CPU 5, 56 bytes
            0xb080_2008,
            100,
            1,
            25,
            90,
            100, // handled
            0xc001_f001,
            120,
            1,
            7,
            0x0002_0001,
            110,
            1,           // 7 lost
            0x0001_f002, // padding
            CHANGE,
            6,
            0,
        ]);
        let trace = parse(&source).unwrap();
        assert_eq!(trace.records.len(), 5);
        assert!(trace.records[..4].iter().all(|record| record.cpu == 5));
        assert_eq!(trace.records[1].tsc, Some(0x1_0000_0064));
        let lost = trace.records[2].event;
        assert!(
            matches!(lost, TraceEvent::LostRecords { count: 7, first_tsc: 0x1_0000_006e, vcpu } if vcpu.domain.0 == 1 && vcpu.vcpu == 2),
            "{lost:?}"
        );
        assert_eq!((trace.records[4].cpu, trace.lost_records()), (6, 7));
        assert_eq!((trace.broken, trace.framed_bytes), (None, source.bytes().len() as u64));
    }

    #[test]
    fn a_record_that_overruns_its_window_ends_the_trace_there() {
        let trace = parse(&trace(&[CHANGE, 0, 8, 0xb080_2008, 100, 1, 25, 90, 100])).unwrap();
        assert_eq!(trace.records.len(), 1);
        assert_eq!(
            trace.broken.unwrap().to_string(),
            "t: byte 12: expected a record within the 8 bytes left of its window, found one of 24 bytes; 1 whole records before it are kept"
        );
    }

    #[test]
    fn a_file_that_begins_otherwise_is_no_trace() {
        let error = parse(&trace(&[0x9002_1002, 1, 0, 2])).unwrap_err();
        assert!(matches!(&error, ImportError::Framing(framing) if framing.offset == 0 && framing.kept == 0), "{error}");
        assert!(matches!(parse(&trace(&[])), Err(ImportError::Framing(_))));
    }
}
