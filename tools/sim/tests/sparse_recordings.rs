//! Recordings that lack files, contradict each other more, or come from hosts of other kinds.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use carillon_sim::Replayed;
use carillon_sim::import::ImportError;
use carillon_sim::import::Source;
use carillon_sim::import::dump_e;
use carillon_sim::import::dump_i;
use carillon_sim::import::dump_m;
use carillon_sim::import::dump_q;
use carillon_sim::import::dump_z;
use carillon_sim::snapshot::HostSnapshot;
use tempfile::TempDir;
use vector_allocator::AssignedSource;
use vector_allocator::CpuId;
use vector_allocator::DestinationModel;
use vector_allocator::IoApicAck;
use vector_allocator::Owner;
use vector_allocator::SourceKind;
use vector_allocator::Vector;

const IRQS: &str = "IRQ information:\n\
    \x20  IRQ:  16 vec:41 IO-APIC-level   status=010 aff:{5}/{5} in-flight=0 d0: 16(---)\n\
    \x20  IRQ:  40 vec:92 PCI-MSI         status=010 aff:{2}/{2} in-flight=0 d7: 55(---)\n\
    \x20  IRQ:  41 vec:9a PCI-MSI/-X      status=010 aff:{0-63}/{1} in-flight=0 d7: 54(---)\n\
    \x20  IRQ:  42 vec:00 PCI-MSI/-X      status=002 aff:{}/{} mapped, unbound\n";

fn recording(files: &[(&str, &str)]) -> TempDir {
    let directory = TempDir::new().unwrap();
    for (name, text) in files {
        fs::write(directory.path().join(name), text).unwrap();
    }
    directory
}

fn load(files: &[(&str, &str)]) -> HostSnapshot {
    HostSnapshot::load(recording(files).path()).unwrap()
}

fn assigned(host: &HostSnapshot, irq: u32) -> AssignedSource {
    host.assignment().sources.into_iter().find(|source| source.id.0 == irq).unwrap()
}

fn data(file: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("data").join(file)).unwrap()
}

#[test]
fn the_irq_dump_alone_is_enough_and_what_is_missing_is_said() {
    let host = load(&[("dump-i.txt", IRQS)]);
    let assignment = host.assignment();
    assert_eq!((assignment.model, assignment.online.to_string()), (DestinationModel::Physical, "{1-2,5}".to_owned()));
    // IRQ 42 holds no vector.
    assert_eq!(assignment.sources.iter().map(|source| source.id.0).collect::<Vec<_>>(), [16, 40, 41]);
    assert_eq!(
        (assigned(&host, 40).kind, assigned(&host, 40).label.as_str()),
        (SourceKind::EdgeUnmaskable, "PCI-MSI 40")
    );
    assert_eq!(assigned(&host, 41).target.to_string(), "{1}");
    // Without event channels and domains, an interrupt can follow its domain anywhere.
    assert_eq!(assigned(&host, 40).reachable, assignment.online);
    for file in ["dump-M.txt", "dump-e.txt", "dump-q.txt", "xl-info.txt", "interrupts.txt", "pci.txt"] {
        assert!(host.notes.iter().any(|note| note.text.starts_with(&format!("{file} is not there"))), "{file}");
    }
    let activity = host.activity().unwrap();
    assert!(activity.sources.is_empty() && activity.notes.len() == 2, "{:?}", activity.notes);
}

#[test]
fn without_the_irq_dump_there_is_no_snapshot() {
    let directory = recording(&[("dump-e.txt", "Event channel information for domain 0:\n")]);
    let error = HostSnapshot::load(directory.path()).unwrap_err();
    assert!(matches!(&error, ImportError::Missing { expected, .. } if expected.contains("dump-i.txt")), "{error}");
}

#[test]
fn a_broken_optional_file_is_an_error_not_a_note() {
    let directory = recording(&[("dump-i.txt", IRQS), ("dump-M.txt", "MSI information:\n MSI-X oops vec=\n")]);
    let error = HostSnapshot::load(directory.path()).unwrap_err().to_string();
    assert!(error.ends_with("dump-M.txt:2: expected an IRQ number, found \" oops vec=\""), "{error}");
}

#[test]
fn a_gzipped_file_is_read_as_a_plain_one() {
    use std::io::Write;
    let directory = TempDir::new().unwrap();
    let file = fs::File::create(directory.path().join("dump-i.txt.gz")).unwrap();
    let mut gzip = flate2::write::GzEncoder::new(file, flate2::Compression::fast());
    gzip.write_all(IRQS.as_bytes()).unwrap();
    gzip.finish().unwrap();
    assert_eq!(HostSnapshot::load(directory.path()).unwrap().irqs.irqs.len(), 4);
}

#[test]
fn a_pinned_guest_keeps_its_interrupts_where_its_vcpu_may_run_and_where_they_are_now() {
    let events = "Event channel information for domain 7:\n    9 [0/0/0]: s=4 n=1 x=0 p=55 i=40\n   10 [0/0/0]: s=4 n=0 x=0 p=54 i=41\n";
    let domains = "General information for domain 7:\n    Interrupts { 40-42 }\n  UNIT0 affinities: hard={3} soft={0-7}\n    \
                   VCPU0: CPU3 [has=F] poll=0 upcall_pend=00 upcall_mask=00 \n  UNIT1 affinities: hard={4-5} soft={0-7}\n    \
                   VCPU1: CPU4 [has=F] poll=0 upcall_pend=00 upcall_mask=00 \n";
    let info = "xen_version : 4.20.1\nnr_cpus : 8\ncpu_mhz : 2400.000\nxen_caps : hvm-3.0-x86_64\nxen_commandline : ioapic_ack=old x2apic-mode=cluster\n";
    let host = load(&[("dump-i.txt", IRQS), ("dump-e.txt", events), ("dump-q.txt", domains), ("xl-info.txt", info)]);
    assert_eq!(assigned(&host, 40).reachable.to_string(), "{2,4-5}");
    assert_eq!(assigned(&host, 41).reachable.to_string(), "{1,3}");
    let assignment = host.assignment();
    assert_eq!((assignment.model, assignment.ioapic_ack), (DestinationModel::X2APIC_CLUSTER, IoApicAck::Old));
    assert_eq!(assignment.online.len(), 8);
    // A host without PV has no use for 0x80 and 0x82.
    assert!(assignment.layout.leasable(CpuId(1)).contains(Vector::new(0x80).unwrap()));
    let facts = host.sources().into_iter().find(|source| source.irq == 16).unwrap();
    assert!(!facts.retains_in_service && facts.acknowledgement.contains("masked until its domain is done"));
    let unbound = host.sources().into_iter().find(|source| source.irq == 42).unwrap();
    assert_eq!(unbound.owner, Owner::Guest(vector_allocator::DomainId(7)));
}

#[test]
fn what_xen_said_at_boot_decides_how_interrupts_are_addressed() {
    for (driver, model) in [
        ("default", DestinationModel::FLAT),
        ("bigsmp", DestinationModel::Physical),
        ("x2apic_cluster", DestinationModel::X2APIC_CLUSTER),
        ("x2apic_mixed", DestinationModel::Physical),
    ] {
        let log = format!("(XEN) Using APIC driver {driver}\n(XEN)  -> Using old ACK method\n");
        let host = load(&[("dump-i.txt", IRQS), ("xl-dmesg.txt", &log)]);
        assert_eq!((host.assignment().model, host.assignment().ioapic_ack), (model, IoApicAck::Old), "{driver}");
        assert!(host.facts().addressing.contains(driver));
    }
}

#[test]
fn the_recorded_moves_show_which_destinations_the_host_had() {
    for (file, model) in [("flat.txt", DestinationModel::FLAT), ("bigsmp.txt", DestinationModel::Physical)] {
        // The host before its first move.
        let moves = data(&format!("xen-moves/{file}"));
        let text = moves.split("\n== ").take(2).collect::<Vec<_>>().join("\n");
        let by_log = load(&[("dump-i.txt", &text), ("xl-dmesg.txt", &text)]);
        assert_eq!(by_log.assignment().model, model, "{file}");
        let by_holders = load(&[("dump-i.txt", &text)]);
        assert_eq!(by_holders.assignment().model, model, "{file}");
    }
}

#[test]
fn names_that_cannot_be_told_apart_are_not_guessed() {
    let events = "Event channel information for domain 7:\n    9 [0/0/0]: s=4 n=0 x=0 p=55 i=40\n   10 [0/0/0]: s=4 n=0 x=0 p=54 i=41\n";
    let table = "CPU0\n  9: 5 xen-pirq -pcifront-msi-x eth0-rxtx-0\n";
    let host = load(&[("dump-i.txt", IRQS), ("dump-e.txt", events), ("guest-interrupts-7.txt", table)]);
    assert_eq!(assigned(&host, 40).label, "PCI-MSI 40");
    assert!(host.notes.iter().any(|note| note.text.contains("d7 has 2 more physical interrupts and 1 more names")));
}

#[test]
fn messages_are_named_in_the_order_of_binding_even_if_a_number_happens_to_be_a_pirq() {
    let events = "Event channel information for domain 7:\n    9 [0/0/0]: s=4 n=0 x=0 p=55 i=40\n   10 [0/0/0]: s=4 n=0 x=0 p=54 i=41\n";
    let table = "CPU0\n 54: 5 xen-pirq -msi-x first\n 55: 5 xen-pirq -msi-x second\n";
    let host = load(&[("dump-i.txt", IRQS), ("dump-e.txt", events), ("guest-interrupts-7.txt", table)]);
    assert_eq!((assigned(&host, 40).label.as_str(), assigned(&host, 41).label.as_str()), ("first", "second"));
}

#[test]
fn a_shared_line_is_the_guests_in_whatever_order_its_binders_are_printed() {
    for binders in ["d0: 16(---),d7: 16(---)", "d7: 16(---),d0: 16(---)"] {
        let irqs = format!("IRQ: 16 vec:41 IO-APIC-level status=010 aff:{{0}}/{{0}} in-flight=0 {binders}\n");
        let host = load(&[("dump-i.txt", &irqs)]);
        assert_eq!(assigned(&host, 16).owner, Owner::Guest(vector_allocator::DomainId(7)), "{binders}");
        assert_eq!(assigned(&host, 16).binders.len(), 2);
    }
}

#[test]
fn without_messages_the_pins_show_which_destinations_the_host_has() {
    for (letter, destination, model) in [
        ('L', "01", DestinationModel::FLAT),
        ('L', "00000001", DestinationModel::X2APIC_CLUSTER),
        ('P', "00000001", DestinationModel::Physical),
    ] {
        let pin = format!(
            "IO-APIC interrupt information:\n    IRQ 16 Vec 65:\n      Apic 0x00, Pin 16: vec=41 delivery=Fixed dest={letter} \
             status=0 polarity=0 irr=0 trig=L mask=0 dest_id:{destination}\n"
        );
        let host = load(&[("dump-i.txt", &format!("{IRQS}{pin}"))]);
        assert_eq!(host.assignment().model, model, "{letter} {destination}");
    }
}

#[test]
fn every_kind_of_contradiction_is_noted_and_the_irq_dump_counts() {
    let messages = "MSI information:\n MSI 40 vec=a1 fixed edge assert phys cpu dest=00000002 mask=1/  /0\n MSI 99 vec=a9 fixed edge assert phys cpu dest=00000002 mask=0/  /?\n";
    let events = "Event channel information for domain 7:\n    9 [0/0/0]: s=4 n=0 x=0 p=55 i=41\n    11 [0/0/0]: s=4 n=0 x=0 p=53 i=16\n";
    let host = load(&[("dump-i.txt", IRQS), ("dump-M.txt", messages), ("dump-e.txt", events)]);
    for said in [
        "IRQ 40: vector a1 here, 92 there",
        "IRQ 40: it can be masked here, is PCI-MSI there",
        "IRQ 99 is not in the IRQ dump",
        "IRQ 41: d7 has no port for pirq 54",
        "d7 port 11: bound to pirq 53, IRQ 16 here, not there",
    ] {
        assert!(host.notes.iter().any(|note| note.text.starts_with(said)), "{said}: {:?}", host.notes);
    }
    assert_eq!((assigned(&host, 40).vector.number(), assigned(&host, 40).kind), (0x92, SourceKind::EdgeUnmaskable));
}

#[test]
fn all_dumps_in_one_console_capture_read_as_they_do_alone() {
    let letters = ["i", "M", "z", "e", "q"];
    let all: String = letters.iter().map(|letter| data(&format!("xen-sas-nic/dump-{letter}.txt"))).collect();
    // As the console shows them with time stamps, and with a line of a guest's between all others.
    let stamped: String = all
        .lines()
        .map(|line| format!("{}\r\nd1: hello\r\n", line.replace("(XEN) ", "(XEN) [2026-11-21 03:29:14] ")))
        .collect();
    for text in [all, stamped] {
        let whole = Source::new("console.txt", text);
        let alone = |letter: &str| Source::new("alone", data(&format!("xen-sas-nic/dump-{letter}.txt")));
        let irqs = (dump_i::parse(&whole).unwrap(), dump_i::parse(&alone("i")).unwrap());
        assert_eq!((irqs.0.irqs.len(), &irqs.0.direct, &irqs.0.pins), (23, &irqs.1.direct, &irqs.1.pins));
        assert!(irqs.0.notes[0].text.contains("lines of something else"));
        let strip = |dump: dump_m::MsiDump| {
            dump.messages.into_iter().map(|line| dump_m::MsiLine { line: 0, ..line }).collect::<Vec<_>>()
        };
        assert_eq!(strip(dump_m::parse(&whole).unwrap()), strip(dump_m::parse(&alone("M")).unwrap()));
        let apics = (dump_z::parse(&whole).unwrap(), dump_z::parse(&alone("z")).unwrap());
        assert_eq!((apics.0.apics, apics.0.mappings), (apics.1.apics, apics.1.mappings));
        assert_eq!(dump_e::parse(&whole).unwrap().domains, dump_e::parse(&alone("e")).unwrap().domains);
        assert_eq!(dump_q::parse(&whole).unwrap().domains, dump_q::parse(&alone("q")).unwrap().domains);
    }
}

#[test]
fn whether_0x30_is_kept_for_hpet_broadcast_follows_xens_version() {
    let keeps = |version: &str, irqs: &str| {
        let info = format!("xen_version : {version}\nnr_cpus : 8\ncpu_mhz : 2400.000\nxen_caps : xen-3.0-x86_64\n");
        let finding = load(&[("dump-i.txt", irqs), ("xl-info.txt", &info)]).layout_options();
        (finding.value.hpet_broadcast, finding.evidence.rsplit(", ").next().unwrap().to_owned())
    };
    let given = |version: &str| (false, format!("30 given to devices (Xen {version} keeps none for HPET broadcast)"));
    assert_eq!(keeps("4.17.7", IRQS), given("4.17"));
    assert_eq!(keeps("4.20.2-pre", IRQS), given("4.20"));
    for newer in ["4.21.0", "4.23-unstable", "5.0.0", "unknown"] {
        assert!(keeps(newer, IRQS).0, "{newer}");
        let taken = IRQS.replace("vec:92", "vec:30");
        assert!(!keeps(newer, &taken).0, "{newer}");
    }
}

#[test]
fn of_two_irqs_with_one_vector_on_one_cpu_both_lines_are_named_and_the_host_can_be_simulated() {
    let twice = IRQS.replace(
        "vec:9a PCI-MSI/-X      status=010 aff:{0-63}/{1}",
        "vec:92 PCI-MSI/-X      status=010 aff:{0-63}/{2}",
    );
    assert_ne!(twice, IRQS);
    let host = load(&[("dump-i.txt", &twice)]);
    let note = host.notes.iter().find(|note| note.text.contains("holds vector 92")).unwrap();
    assert_eq!(
        note.to_string(),
        "dump-i.txt:4: IRQ 41 holds vector 92 on CPU 2, as IRQ 40 on line 3 does: a simulation gives it another"
    );
    let scenario = Replayed::default().scenario(&host, &host.activity().unwrap());
    let vector = |irq| scenario.sources.iter().find(|source| source.id == irq).unwrap().vector;
    assert_eq!((vector(40), vector(41)), (Some(0x92), None));
    let setup = scenario.setup().unwrap();
    assert_eq!(setup.machine.sources.len(), 3);
    assert!(setup.machine.sources.iter().all(|source| source.vector.is_some()));
}

#[test]
fn a_host_without_a_trace_says_that_nothing_is_replayed() {
    let host = load(&[("dump-i.txt", IRQS)]);
    let about = Replayed::default().scenario(&host, &host.activity().unwrap()).about;
    assert!(about.ends_with("; no trace of it was recorded, so its sources are silent."), "{about}");
}

#[test]
fn a_pipe_and_a_loop_of_links_in_a_files_place_are_errors_that_say_so() {
    let directory = recording(&[]);
    let dump = directory.path().join("dump-i.txt");
    assert!(Command::new("mkfifo").arg(&dump).status().unwrap().success());
    let reason = |error: ImportError| match error {
        ImportError::Read { file, source } if file.ends_with("dump-i.txt") => source.to_string(),
        other => panic!("{other}"),
    };
    let error = reason(HostSnapshot::load(directory.path()).unwrap_err());
    assert_eq!(error, "expected a regular file, found a pipe, a socket or a device");
    fs::remove_file(&dump).unwrap();
    symlink(&dump, &dump).unwrap();
    let error = reason(HostSnapshot::load(directory.path()).unwrap_err());
    assert!(error.contains("symbolic links"), "{error}");
}
