//! No importer panics, loops or invents anything, whatever its file holds: recordings cut at every byte, with flipped
//! bytes, and plain noise. Proptest prints the seed of a failing case.

use std::fs;
use std::path::Path;

use carillon_sim::import::BootLog;
use carillon_sim::import::FramingError;
use carillon_sim::import::ImportError;
use carillon_sim::import::Source;
use carillon_sim::import::TraceEvent;
use carillon_sim::import::boot_log;
use carillon_sim::import::dump_e;
use carillon_sim::import::dump_i;
use carillon_sim::import::dump_m;
use carillon_sim::import::dump_q;
use carillon_sim::import::dump_z;
use carillon_sim::import::ftrace;
use carillon_sim::import::lsevtchn;
use carillon_sim::import::pci;
use carillon_sim::import::proc_interrupts;
use carillon_sim::import::xentrace;
use carillon_sim::import::xl;
use proptest::collection::vec;
use proptest::prelude::any;
use proptest::proptest;
use proptest::sample::Index;

/// How many facts an importer found; its error's message, if it failed.
type Outcome = Result<usize, ImportError>;

/// A file and the importer that reads it.
type Importer = (&'static str, fn(&Source) -> Outcome);

/// Every importer.
const IMPORTERS: [Importer; 14] = [
    ("dump-i.txt", |source| dump_i::parse(source).map(|dump| dump.irqs.len() + dump.direct.len() + dump.pins.len())),
    ("dump-M.txt", |source| dump_m::parse(source).map(|dump| dump.messages.len())),
    ("dump-z.txt", |source| {
        dump_z::parse(source)
            .map(|dump| dump.mappings.len() + dump.apics.iter().map(|apic| apic.pins.len()).sum::<usize>())
    }),
    ("dump-e.txt", |source| {
        dump_e::parse(source).map(|dump| dump.domains.iter().map(|domain| domain.ports.len()).sum())
    }),
    ("dump-q.txt", |source| {
        dump_q::parse(source).map(|dump| dump.domains.iter().map(|domain| domain.vcpus.len()).sum())
    }),
    ("xl-info.txt", |source| xl::parse_info(source).map(|info| info.fields.len())),
    ("xl-list.txt", |source| xl::parse_list(source).map(|lines| lines.len())),
    ("xl-vcpu-list.txt", |source| xl::parse_vcpu_list(source).map(|lines| lines.len())),
    ("lsevtchn-0.txt", |source| lsevtchn::parse(source).map(|lines| lines.len())),
    ("pci.txt", |source| pci::parse(source).map(|lines| lines.len())),
    ("interrupts.txt", |source| {
        proc_interrupts::parse(source).map(|file| file.snapshots.iter().map(|table| table.rows.len()).sum())
    }),
    ("guest-interrupts.txt", |source| {
        proc_interrupts::parse(source).map(|file| file.snapshots.iter().map(|table| table.rows.len()).sum())
    }),
    ("ftrace-irq.txt.gz", |source| ftrace::parse(source).map(|trace| trace.runs.len())),
    ("xentrace.bin.gz", |source| xentrace::parse(source).map(|trace| trace.records.len())),
];

/// The longest part of a file these tests cut or damage, so that every byte of it has its turn.
const PART: usize = 12_000;

/// The recorded hosts.
const HOSTS: [&str; 2] = ["xen-sas-intx", "xen-sas-nic"];

/// A part of a file of the first recorded host.
fn recorded(file: &str) -> Vec<u8> {
    recorded_on(HOSTS[0], file)
}

fn recorded_on(host: &str, file: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("data").join(host).join(file);
    assert!(fs::exists(&path).unwrap(), "{}", path.display());
    let source = Source::read(&path).unwrap();
    let bytes = source.bytes();
    if file.starts_with("ftrace") {
        // Its beginning has entries without exits only.
        let start = bytes.len().saturating_sub(PART);
        let line = bytes[start..].iter().position(|byte| *byte == b'\n').unwrap();
        return bytes[start + line + 1..].to_vec();
    }
    bytes[..bytes.len().min(PART)].to_vec()
}

/// A failure says which file and where.
fn check(name: &str, outcome: Outcome) -> Option<usize> {
    match outcome {
        Ok(facts) => Some(facts),
        Err(error) => {
            assert!(error.to_string().starts_with(name), "{error}");
            let is_placed = match &error {
                ImportError::Line { line, .. } => *line > 0,
                ImportError::Missing { .. } | ImportError::Framing(_) => true,
                ImportError::Read { .. } | ImportError::TooLarge { .. } => false,
            };
            assert!(is_placed, "{error:?}");
            None
        }
    }
}

#[test]
fn recordings_cut_at_every_byte_are_read_up_to_the_cut_or_refused_with_the_place() {
    for (host, (file, import)) in HOSTS.iter().flat_map(|host| IMPORTERS.map(|importer| (host, importer))) {
        let whole = recorded_on(host, file);
        let all = check(file, import(&Source::new(file, whole.clone()))).unwrap();
        assert!(all > 0, "{file}");
        let mut most = 0;
        let mut read = 0usize;
        for cut in 0..whole.len() {
            if let Some(facts) = check(file, import(&Source::new(file, &whole[..cut]))) {
                assert!(facts <= all, "{file} cut at {cut}: {facts} of {all}");
                (most, read) = (most.max(facts), read + 1);
            }
        }
        // Most cuts at the end of a line leave a file that can be read.
        assert!(most + 2 >= all && read > 0, "{file}: at most {most} of {all}, {read} cuts read");
    }
}

#[test]
fn a_trace_cut_at_any_byte_keeps_exactly_the_records_that_end_before_it() {
    let whole = recorded("xentrace.bin.gz");
    let trace = xentrace::parse(&Source::new("t", whole.clone())).unwrap();
    for cut in 4..whole.len() {
        // A record ends where the next one begins.
        let ends = trace.records.iter().skip(1).map(|record| record.offset).chain([trace.framed_bytes]);
        let kept = ends.take_while(|end| *end <= cut as u64).count();
        let part = Source::new("t", &whole[..cut]);
        let (records, broken): (usize, Option<FramingError>) = match xentrace::parse(&part) {
            Ok(part) => {
                assert_eq!(part.records[..], trace.records[..part.records.len()]);
                (part.records.len(), part.broken)
            }
            Err(ImportError::Framing(error)) => (0, Some(error)),
            Err(error) => panic!("{error}"),
        };
        assert_eq!(records, kept, "cut at {cut}");
        if let Some(error) = broken {
            assert_eq!((error.kept, error.offset <= cut as u64), (kept, true), "cut at {cut}: {error}");
        } else {
            // Only a cut between two windows leaves a whole trace.
            let next = trace.records.get(kept).unwrap();
            let is_window = matches!(next.event, TraceEvent::CpuChange { .. });
            assert_eq!((next.offset, is_window), (cut as u64, true), "cut at {cut}");
        }
    }
}

proptest! {
    #[test]
    fn flipped_bytes_never_break_an_importer(flips in vec((any::<Index>(), any::<u8>()), 1..8), host in 0..HOSTS.len()) {
        for (file, import) in IMPORTERS {
            let mut bytes = recorded_on(HOSTS[host], file);
            for (place, byte) in &flips {
                let at = place.index(bytes.len());
                bytes[at] ^= *byte;
            }
            check(file, import(&Source::new(file, bytes)));
        }
    }

    #[test]
    fn damaged_traces_account_for_every_byte_up_to_where_they_break(
        flips in vec((any::<Index>(), any::<u8>()), 1..4),
    ) {
        let mut bytes = recorded("xentrace.bin.gz");
        for (place, byte) in &flips {
            let at = place.index(bytes.len());
            bytes[at] ^= *byte;
        }
        if let Ok(trace) = xentrace::parse(&Source::new("t", bytes.clone())) {
            assert!(trace.framed_bytes <= bytes.len() as u64);
            assert!(trace.records.is_sorted_by_key(|record| record.offset));
            match &trace.broken {
                Some(error) => assert_eq!((error.offset, error.kept), (trace.framed_bytes, trace.records.len())),
                None => assert_eq!(trace.framed_bytes, bytes.len() as u64),
            }
        }
    }

    #[test]
    fn noise_never_breaks_an_importer(bytes in vec(any::<u8>(), 0..400), text in "[ -~\n]{0,400}") {
        for noise in [bytes, text.into_bytes()] {
            for (file, import) in IMPORTERS {
                check(file, import(&Source::new(file, noise.clone())));
            }
            assert_eq!(boot_log::parse(&Source::new("xl-dmesg.txt", noise)), BootLog::default());
        }
    }

    #[test]
    fn lines_of_the_right_shape_with_wild_numbers_never_break_an_importer(a in any::<u64>(), b in any::<u64>()) {
        for (file, import) in IMPORTERS {
            let name = file;
            for line in [
                format!("IRQ: {a} vec:{b:x} PCI-MSI status={a:x} aff:{{{a}-{b}}}/{{{a}}} in-flight={b} d{a}:{b}(---)"),
                format!(" MSI {a} vec={b:x} fixed edge assert phys cpu dest={a:08x} mask=1/  /1"),
                format!("General information for domain {a}:\n Interrupts {{ {a}-{b} }}\n UNIT0 affinities: hard={{{a}}} soft={{{b}}}"),
                format!("Event channel information for domain {a}:\n {b} [0/0/0]: s=3 n={a} x=0 d={b} p={a}"),
                format!("IO APIC #{a}\n.... register #{b:x}: {a:x}\nNR Dst\n{a:02x} {b:x} 0 0 0 0 0 0 0 {b:x}\nIRQ{a} -> {b}:{a}"),
                format!("CPU{a} CPU{b}\n {a}: {b} {a} xen-pirq -msi x"),
                format!("a-1 [{a}] d {b}.{a}: irq_handler_entry: irq={b} name=x"),
            ] {
                check(name, import(&Source::new(name, line)));
            }
        }
    }
}
