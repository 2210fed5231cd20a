//! What the importers make of the recordings that come with the program: exact facts, read off them by eye or by an
//! independent count.

use std::num::NonZeroU32;

use carillon_machine::VcpuRef;
use carillon_sim::import::Binding;
use carillon_sim::import::DestinationMode;
use carillon_sim::import::Flag;
use carillon_sim::import::Handling;
use carillon_sim::import::IrqEvent;
use carillon_sim::import::Maskability;
use carillon_sim::import::MsiSender;
use carillon_sim::import::SchedEvent;
use carillon_sim::import::Source;
use carillon_sim::import::TraceEvent;
use carillon_sim::import::xentrace;
use carillon_sim::snapshot::HostSnapshot;
use carillon_sim::snapshot::Recorded;
use carillon_sim::snapshot::SourceFacts;
use carillon_sim::snapshot::StayState;
use vector_allocator::DestinationModel;
use vector_allocator::DomainId;
use vector_allocator::IoApicAck;
use vector_allocator::Mobility;
use vector_allocator::Owner;
use vector_allocator::SourceId;
use vector_allocator::SourceKind;

fn host(recorded: Recorded) -> HostSnapshot {
    HostSnapshot::recorded(recorded).unwrap()
}

fn source(host: &HostSnapshot, irq: u32) -> SourceFacts {
    host.sources().into_iter().find(|source| source.irq == irq).unwrap()
}

const GUEST: DomainId = DomainId(1);
const DOM0: DomainId = DomainId(0);

fn trace(directory: &str) -> (Source, xentrace::Trace) {
    let path = format!("{}/data/{directory}/xentrace.bin.gz", env!("CARGO_MANIFEST_DIR"));
    let source = Source::read(path.as_ref()).unwrap();
    let trace = xentrace::parse(&source).unwrap();
    (source, trace)
}

#[test]
fn the_nic_recording_has_its_23_irqs_with_vectors_triggers_and_masks() {
    let host = host(Recorded::SasNic);
    let irqs = &host.irqs.irqs;
    assert_eq!((irqs.len(), host.irqs.direct.len(), host.irqs.pins.len()), (23, 8, 18));
    let nic = host.irq(26).unwrap();
    assert_eq!((nic.vector.unwrap().number(), nic.trigger.name(), nic.status.0), (0xd8, "PCI-MSI/-X", 0x010));
    assert_eq!((nic.affinity.to_string(), nic.holders.to_string()), ("{0}".into(), "{0-3}".into()));
    let Handling::Guests { in_flight: 0, binders } = &nic.handling else { panic!("{nic:?}") };
    assert_eq!((binders.len(), binders[0].domain, binders[0].pirq), (1, GUEST, 55));
    assert_eq!((binders[0].pending, binders[0].masked, binders[0].awaits_eoi), (Flag::Clear, Flag::Clear, false));
    let serial = host.irq(4).unwrap();
    assert!(serial.status.is_in_progress() && !serial.status.is_guest_bound());
    assert_eq!(serial.handling, Handling::Xen { handler: "drivers/char/ns16550.c#ns16550_interrupt".into() });
    assert_eq!(host.irq(28).unwrap().handling, Handling::Unbound);
    let direct = &host.irqs.direct;
    assert_eq!((direct[0].vector.number(), direct[0].handler.as_str()), (0x22, "irq_move_cleanup_interrupt"));
    assert_eq!((direct[7].vector.number(), direct[7].handler.as_str()), (0xff, "spurious_interrupt"));
    let pin = host.irqs.pins.iter().find(|pin| pin.irq == Some(21)).unwrap();
    assert_eq!((pin.pin, pin.entry.vector, pin.entry.destination), (21, 0xb8, 8));
    assert!(pin.entry.is_level && !pin.entry.remote_irr && !pin.entry.is_masked);
}

#[test]
fn the_nic_recordings_other_dumps_are_read_to_the_last_line() {
    let host = host(Recorded::SasNic);
    let messages = &host.messages.as_ref().unwrap().messages;
    assert_eq!(messages.iter().map(|line| line.irq).collect::<Vec<_>>(), [24, 25, 26, 27, 28]);
    assert_eq!((messages[0].sender, messages[0].device_mask), (MsiSender::Iommu, None));
    assert_eq!(
        (messages[4].sender, messages[4].destination, messages[4].device_mask),
        (MsiSender::MsiX, 0xf, Some(true))
    );
    assert!(messages[4].is_host_masked && messages[4].is_guest_masked && messages[4].is_lowest_priority);
    assert!(
        messages.iter().all(|line| line.maskability == Maskability::Maskable && line.mode == DestinationMode::Logical)
    );

    let apics = &host.io_apics.as_ref().unwrap().apics;
    assert_eq!((apics.len(), apics[0].pins.len()), (1, 24));
    assert_eq!(apics[0].registers, [(0, 0), (1, 0x0017_0020), (2, 0)]);
    assert_eq!((apics[0].pins[20].entry.vector, apics[0].pins[20].entry.destination), (0xd0, 2));
    assert_eq!(host.io_apics.as_ref().unwrap().mappings.len(), 18);

    let events = host.events.as_ref().unwrap();
    assert_eq!((events.domain(DOM0).unwrap().ports.len(), events.domain(GUEST).unwrap().ports.len()), (39, 10));
    let port = events.domain(DOM0).unwrap().ports.iter().find(|line| line.port == 36).unwrap();
    assert_eq!((port.binding, port.vcpu), (Binding::Pirq { pirq: 647, irq: 25 }, 0));

    let domains = host.domains.as_ref().unwrap();
    assert_eq!((domains.now_ns, domains.domains.len()), (Some(66_455_563_935), 2));
    let guest = domains.domain(GUEST).unwrap();
    assert!((26..=28).all(|irq| guest.may_use_irq(irq)) && !guest.may_use_irq(25));
    assert_eq!((guest.vcpus[0].cpu.0, guest.vcpus[0].pause_count, guest.vcpus[0].is_running), (2, 1, false));
    assert!(domains.domain(DOM0).unwrap().vcpus[2].is_running);

    assert_eq!(host.domain_name(GUEST), Some("nicguest"));
    assert_eq!((host.ports[&0].len(), host.ports[&1].len()), (39, 10));
    assert_eq!(host.vcpu_list.as_ref().unwrap().len(), 5);
    assert_eq!(host.functions.as_ref().unwrap()[3].driver.as_deref(), Some("megaraid_sas"));
    assert_eq!(host.interrupts.as_ref().unwrap().last().unwrap().row("54").unwrap().total(), 1701);
    let snapshots = &host.guest_interrupts[&1].snapshots;
    assert_eq!(snapshots.iter().map(|table| table.row("9").unwrap().total()).collect::<Vec<_>>(), [14, 4782]);
    assert_eq!(host.notes.len(), 1, "{:?}", host.notes);
}

#[test]
fn sources_have_the_names_their_domains_give_them_and_the_vcpus_they_follow() {
    let host = host(Recorded::SasNic);
    for (irq, label, owner, function, vcpu) in [
        (0, "timer_interrupt", Owner::System, None, None),
        (4, "ns16550_interrupt", Owner::System, None, None),
        (9, "acpi", Owner::Dom0, None, Some((DOM0, 3))),
        (20, "xen-pciback[0000:00:04.0]", Owner::Dom0, Some("0000:00:04.0"), Some((DOM0, 0))),
        (21, "ioc0", Owner::Dom0, Some("0000:00:05.0"), Some((DOM0, 3))),
        (22, "IO-APIC-level 22", Owner::Dom0, None, None),
        (25, "megasas1-msix0", Owner::Dom0, Some("0000:00:06.0"), Some((DOM0, 0))),
        (26, "eth0-rxtx-0", Owner::Guest(GUEST), None, Some((GUEST, 0))),
        (27, "eth0-event-1", Owner::Guest(GUEST), None, Some((GUEST, 0))),
        (28, "PCI-MSI/-X 28", Owner::Guest(GUEST), None, None),
    ] {
        let facts = source(&host, irq);
        assert_eq!(
            (facts.label.as_str(), facts.owner, facts.function.as_deref()),
            (label, owner, function),
            "IRQ {irq}"
        );
        let follows = facts.bindings.first().and_then(|binding| binding.vcpu).map(|vcpu| (vcpu.domain, vcpu.vcpu));
        assert_eq!(follows, vcpu, "IRQ {irq}");
    }
    assert_eq!(source(&host, 25).bindings[0].number, Some(54));
    assert!(source(&host, 28).owner_evidence.contains("d1 may use it"));
    // Level-triggered both, but nobody is bound to 22: it cannot hold anything back.
    assert!(source(&host, 21).retains_in_service && !source(&host, 22).retains_in_service);
}

#[test]
fn the_domains_are_paravirtual_and_their_vcpus_may_run_everywhere() {
    let facts = host(Recorded::SasNic).facts();
    assert_eq!((facts.xen_version.as_deref(), facts.scheduler.as_deref()), (Some("4.17.7"), Some("credit2")));
    assert_eq!((facts.tsc_khz, facts.online.len()), (Some(2_000_002), 4));
    let domains: Vec<_> =
        facts.domains.iter().map(|domain| (domain.name.as_deref(), domain.kind, domain.vcpus.len())).collect();
    let pv = Some(carillon_machine::DomainKind::Pv);
    assert_eq!(domains, [(Some("Domain-0"), pv, 4), (Some("nicguest"), pv, 1)]);
    let vcpus = facts.domains.iter().flat_map(|domain| &domain.vcpus);
    let places: Vec<_> = vcpus.map(|facts| (facts.cpu.unwrap().0, facts.affinity.to_string())).collect();
    assert_eq!(places.iter().map(|place| place.0).collect::<Vec<_>>(), [2, 0, 1, 3, 2]);
    assert!(places.iter().all(|place| place.1 == "{0-3}"));
}

#[test]
fn the_nic_recordings_assignment_is_flat_logical_with_guest_vectors_above_dom0s() {
    let assignment = host(Recorded::SasNic).assignment();
    assert_eq!(assignment.model, DestinationModel::FLAT);
    assert_eq!((assignment.online.to_string().as_str(), assignment.ioapic_ack), ("{0-3}", IoApicAck::New));
    assert_eq!(assignment.sources.len(), 23);
    let get = |irq| assignment.sources.iter().find(|source| source.id == SourceId(irq)).unwrap();
    let nic = get(26);
    assert_eq!((nic.vector.number(), nic.kind, nic.owner), (0xd8, SourceKind::EdgeMaskable, Owner::Guest(GUEST)));
    assert_eq!((nic.target.to_string().as_str(), nic.holders.to_string().as_str()), ("{0}", "{0-3}"));
    assert_eq!((nic.reachable.to_string().as_str(), &nic.mobility), ("{0-3}", &Mobility::Movable));
    assert!(nic.vector.outranks(get(25).vector) && get(25).vector.outranks(get(21).vector));
    assert_eq!(get(21).kind, SourceKind::Level);
    assert_eq!((get(24).owner, get(24).target.to_string().as_str(), get(24).is_bound()), (Owner::System, "{0}", true));
    assert!(!get(28).is_bound());
    assert!(matches!(&get(0).mobility, Mobility::Fixed(_)) && matches!(&get(4).mobility, Mobility::Fixed(_)));
    // The IOMMU's interrupt sits at 0x30, which Xen 4.17 does not keep for HPET broadcast.
    let layout = host(Recorded::SasNic).facts().layout;
    assert!(layout.ends_with("30 given to devices (Xen 4.17 keeps none for HPET broadcast)"), "{layout}");
    let boot_cpu = assignment.layout.leasable(vector_allocator::CpuId::BOOT);
    assert!(boot_cpu.contains(get(24).vector) && !boot_cpu.contains(vector_allocator::Vector::new(0x80).unwrap()));
    assert!(!assignment.sources.iter().any(|source| source.guest_can_retain(assignment.ioapic_ack)));
}

#[test]
fn the_intx_recording_caught_the_guests_level_interrupt_in_flight_above_dom0s() {
    let host = host(Recorded::SasIntx);
    let line = host.irq(23).unwrap();
    let Handling::Guests { in_flight: 1, binders } = &line.handling else { panic!("{line:?}") };
    assert_eq!((binders[0].domain, binders[0].pirq, binders[0].awaits_eoi), (DOM0, 23, false));
    assert_eq!((binders[1].domain, binders[1].pirq, binders[1].awaits_eoi), (GUEST, 23, true));
    assert_eq!((binders[1].pending, binders[1].masked), (Flag::Set, Flag::Clear));
    assert!(host.irqs.pins.iter().find(|pin| pin.irq == Some(23)).unwrap().entry.remote_irr);

    let facts = source(&host, 23);
    assert_eq!((facts.label.as_str(), facts.owner, facts.in_flight), ("eth0", Owner::Guest(GUEST), 1));
    assert_eq!(facts.bindings[0].name.as_deref(), Some("xen-pciback[0000:00:07.0]"));
    assert!(facts.retains_in_service && facts.acknowledgement.contains("1 ms"));

    let assignment = host.assignment();
    let get = |irq| assignment.sources.iter().find(|source| source.id == SourceId(irq)).unwrap();
    assert_eq!(get(23).binders, [Owner::Dom0, Owner::Guest(GUEST)]);
    assert!(get(23).guest_can_retain(assignment.ioapic_ack));
    for blocked in [21, 25] {
        assert!(get(23).vector.blocks_in_service(get(blocked).vector) && get(23).target == get(blocked).target);
    }
}

/// IRQs 8 and 9 were bound while CPU 0 alone was online. They hold their vectors there, and Xen has noted a move that it
/// makes when they next fire (`IRQ_MOVE_PENDING`): they can come to every CPU their vCPUs can, under a vector yet to be
/// drawn. The plan takes them vectors on all CPUs, beside the guest's line, and nothing remains.
#[test]
fn irqs_left_behind_at_boot_draw_when_they_move_and_the_plan_ends_that() {
    let host = host(Recorded::SasIntx);
    let assignment = host.assignment();
    for irq in [8, 9] {
        let line = host.irq(irq).unwrap();
        assert!(line.status.is_move_pending() && line.status.is_guest_bound(), "IRQ {irq}");
        let source = assignment.sources.iter().find(|source| source.id == SourceId(irq)).unwrap();
        let places = (source.holders.to_string(), source.reachable.to_string());
        assert_eq!(places, ("{0}".to_owned(), "{0-3}".to_owned()), "IRQ {irq}");
    }
    let plan = vector_allocator::plan(&assignment, &vector_allocator::Goal::default());
    assert_eq!(plan.moves.iter().map(|step| step.source.0).collect::<Vec<_>>(), [23, 8, 9]);
    assert_eq!((plan.remaining.len(), plan.optimality), (0, vector_allocator::Optimality::Proven));
    assert_eq!(vector_allocator::inversions(&plan.apply(&assignment)).count(), 0);

    let nic = self::host(Recorded::SasNic).assignment();
    let plan = vector_allocator::plan(&nic, &vector_allocator::Goal::default());
    assert_eq!(plan.moves.iter().map(|step| step.source.0).collect::<Vec<_>>(), [26, 27, 8, 9]);
    assert_eq!((plan.remaining.len(), plan.optimality), (0, vector_allocator::Optimality::Proven));
}

#[test]
fn contradictions_between_dumps_are_noted_with_the_rule_that_decides() {
    let host = host(Recorded::SasIntx);
    let notes: Vec<String> = host.notes.iter().map(ToString::to_string).collect();
    assert_eq!(
        notes,
        [
            "xen-sas-intx: xl-dmesg.txt is not there: the APIC driver is taken from the dumps",
            "dump-M.txt:3: IRQ 25: sent to {2} here, to {3} there; the IRQ dump counts",
            "lsevtchn-0.txt: port 39 is in the event-channel dump, not here; the dump counts",
            "lsevtchn-1.txt: port 8 is bound otherwise in the event-channel dump, which counts",
            "lsevtchn-1.txt: port 9 is in the event-channel dump, not here; the dump counts",
        ]
    );
}

#[test]
fn every_byte_of_both_traces_belongs_to_a_record() {
    for (directory, bytes, records, windows, first, last) in [
        ("xen-sas-nic", 1_208_308, 52_663, 133, 95_440_266_274, 103_385_861_484),
        ("xen-sas-intx", 1_931_244, 85_095, 148, 77_363_077_158, 85_274_417_238),
    ] {
        let (source, trace) = trace(directory);
        assert_eq!((source.bytes().len(), trace.framed_bytes), (bytes, bytes as u64));
        assert_eq!((trace.broken.as_ref(), trace.records.len(), trace.lost_records()), (None, records, 0));
        assert_eq!(trace.tsc_range(), Some((first, last)));
        let is_window = |event: &TraceEvent| matches!(event, TraceEvent::CpuChange { .. });
        assert_eq!(trace.records.iter().filter(|record| is_window(&record.event)).count(), windows);
        assert!(trace.records.iter().all(|record| record.cpu < 4));
        assert!(trace.records.iter().all(|record| !matches!(record.event, TraceEvent::Unknown { .. })));
    }
}

#[test]
fn scheduler_and_interrupt_records_are_decoded() {
    let (_, trace) = trace("xen-sas-nic");
    let count = |is: fn(&TraceEvent) -> bool| trace.records.iter().filter(|record| is(&record.event)).count();
    assert_eq!(count(|event| matches!(event, TraceEvent::Irq(IrqEvent::Handled { .. }))), 645);
    assert_eq!(
        count(|event| matches!(event, TraceEvent::Sched(SchedEvent::RunState { .. }))),
        1347 + 1005 + 2352 + 1007
    );
    assert_eq!(count(|event| matches!(event, TraceEvent::Sched(SchedEvent::ContinueRunning { .. }))), 1322);
    assert_eq!(count(|event| matches!(event, TraceEvent::Sched(SchedEvent::Switch { .. }))), 2352);
    assert_eq!(count(|event| matches!(event, TraceEvent::Sched(SchedEvent::Wake { .. }))), 1050);
    assert_eq!(count(|event| matches!(event, TraceEvent::Sched(SchedEvent::Block { .. }))), 1048);
    let own: Vec<_> = trace
        .records
        .iter()
        .filter_map(|record| match record.event {
            TraceEvent::Sched(SchedEvent::Own(event)) => Some(event),
            _ => None,
        })
        .collect();
    assert!(own.iter().all(|event| event.scheduler == carillon_sim::import::SchedulerName::Credit2));
    let limited = |event: &&carillon_sim::import::SchedulerEvent| matches!(event.credit2(), Some(carillon_sim::import::Credit2Event::RateLimit { ran_ns, .. }) if ran_ns < 1_000_000);
    assert_eq!(own.iter().filter(limited).count(), 5);
}

#[test]
fn the_activity_has_arrivals_in_order_and_tracks_without_gaps() {
    let host = host(Recorded::SasNic);
    let activity = host.activity().unwrap();
    assert_eq!(activity.duration_ns, 3_972_793_632);
    let arrivals: Vec<_> = activity.sources.iter().map(|source| (source.irq, source.arrivals.len())).collect();
    assert_eq!(arrivals, [(4, 1), (25, 547), (26, 97)]);
    for source in &activity.sources {
        assert!(source.arrivals.is_sorted_by_key(|arrival| arrival.at_ns));
        assert!(source.arrivals.iter().all(|arrival| arrival.at_ns + arrival.handler_ns <= activity.duration_ns + 1));
    }
    let nic = activity.source(26).unwrap();
    assert_eq!((nic.arrivals[0].at_ns, nic.arrivals[0].handler_ns, nic.arrivals[0].cpu), (613_163_808, 32_873, 1));
    assert_eq!(nic.rate_hz(activity.duration_ns).round(), 24.0);
    assert_eq!(activity.vcpus.len(), 5);
    for track in &activity.vcpus {
        assert_eq!((track.stays[0].from_ns, track.stays.last().unwrap().to_ns), (0, activity.duration_ns));
        assert!(
            track.stays.windows(2).all(|pair| pair[0].to_ns == pair[1].from_ns && pair[0].from_ns <= pair[0].to_ns)
        );
    }
    // Two vCPUs never run on one CPU at once.
    for cpu in 0..4 {
        let mut runs: Vec<(u64, u64)> = activity
            .vcpus
            .iter()
            .flat_map(|track| &track.stays)
            .filter(|stay| stay.state == StayState::Running { cpu })
            .map(|stay| (stay.from_ns, stay.to_ns))
            .collect();
        runs.sort_unstable();
        assert!(runs.windows(2).all(|pair| pair[0].1 <= pair[1].0), "CPU {cpu}");
    }
    let guest = activity.vcpu(VcpuRef { domain: GUEST, vcpu: 0 }).unwrap();
    assert_eq!((guest.wakes_ns.len(), guest.blocks_ns.len(), guest.ran_ns()), (10, 9, 2_899_211_973));
    let sas = activity.handlers.iter().find(|handler| handler.name == "megasas1-msix0").unwrap();
    assert_eq!((sas.number, sas.durations_ns.len(), sas.durations_ns.iter().max()), (54, 506, Some(&3_361_000)));
    let more = |domain, name: &str| {
        activity.counts.iter().find(|change| change.domain == domain && change.name == name).unwrap().more
    };
    assert_eq!((more(DOM0, "timer2"), more(GUEST, "eth0-rxtx-0"), more(GUEST, "timer0")), (427, 4768, 2255));
    // The file is the head of a longer trace.
    let notes: Vec<&str> = activity.notes.iter().map(|note| note.text.as_str()).collect();
    let file = "the heading counts 37677 events, 3988 are here: the file is a part";
    assert_eq!(notes, [file, "60 handlers without an exit and 0 without an entry are left out"]);
    assert!(activity.exits.is_empty() && activity.unknown_records.is_empty());
}

#[test]
fn scaling_divides_every_time_and_keeps_every_count() {
    let raw = host(Recorded::SasIntx).activity().unwrap();
    let scaled = raw.scaled(NonZeroU32::new(50).unwrap());
    assert_eq!(scaled.duration_ns, raw.duration_ns / 50);
    for (before, after) in raw.sources.iter().zip(&scaled.sources) {
        assert_eq!((before.irq, before.arrivals.len()), (after.irq, after.arrivals.len()));
        assert!(
            before
                .arrivals
                .iter()
                .zip(&after.arrivals)
                .all(|(a, b)| a.at_ns / 50 == b.at_ns && a.handler_ns / 50 == b.handler_ns)
        );
    }
    assert_eq!(raw.sources.iter().map(|source| source.arrivals.len()).collect::<Vec<_>>(), [3, 481, 1116]);
    for (before, after) in raw.vcpus.iter().zip(&scaled.vcpus) {
        assert!(before.stays.iter().zip(&after.stays).all(|(a, b)| a.state == b.state && a.to_ns / 50 == b.to_ns));
    }
    assert_eq!(raw.scaled(NonZeroU32::MIN), raw);
}

#[test]
fn a_recording_in_a_directory_reads_as_the_embedded_one() {
    let directory = format!("{}/data/xen-sas-nic", env!("CARGO_MANIFEST_DIR"));
    let mut loaded = HostSnapshot::load(directory.as_ref()).unwrap();
    let embedded = host(Recorded::SasNic);
    assert_eq!(
        (loaded.assignment(), loaded.activity().unwrap().sources),
        (embedded.assignment(), embedded.activity().unwrap().sources)
    );
    loaded.name.clone_from(&embedded.name);
    loaded.notes.clone_from(&embedded.notes);
    assert_eq!(serde_json::to_value(&loaded).unwrap(), serde_json::to_value(&embedded).unwrap());
}
