//! The `xen-cursor` policy gives out the vectors that Xen 4.17.7 gave out, wherever the recordings determine them.

use std::collections::BTreeMap;

use vector_allocator::CpuId;
use vector_allocator::CpuSet;
use vector_allocator::DestinationModel;
use vector_allocator::DomainId;
use vector_allocator::IoApicAck;
use vector_allocator::Lease;
use vector_allocator::Move;
use vector_allocator::Owner;
use vector_allocator::Policy;
use vector_allocator::SourceKind;
use vector_allocator::VectorAllocator;
use vector_allocator::VectorLayout;
use vector_allocator::XenLayout;

/// Interrupt sources of a host with 4 CPUs, two SAS controllers of dom0's and a guest's network card (`debug-keys i`).
const SAS_NIC: &str = include_str!("data/xen-sas-nic-irqs.txt");
/// The three MSI-X sources of such a host after each of five moves; flat logical destinations.
const MOVES_FLAT: &str = include_str!("data/xen-moves-flat.txt");
/// The same with physical destinations.
const MOVES_BIGSMP: &str = include_str!("data/xen-moves-bigsmp.txt");

/// One line of the dump.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Line {
    irq: u32,
    vector: u8,
    level: bool,
    affinity: CpuSet,
    holders: CpuSet,
}

fn cpus(text: &str) -> CpuSet {
    let inside = text.trim_matches(['{', '}']);
    let range = |part: &str| match part.split_once('-') {
        Some((first, last)) => first.parse().unwrap()..=last.parse().unwrap(),
        None => part.parse().unwrap()..=part.parse::<u32>().unwrap(),
    };
    inside.split(',').filter(|part| !part.is_empty()).flat_map(range).map(CpuId).collect()
}

fn line(text: &str) -> Option<Line> {
    let rest = text.split_once("IRQ:")?.1;
    let word = |key: &str| rest.split_once(key)?.1.split_whitespace().next();
    let (affinity, holders) = word("aff:")?.split_once('/')?;
    Some(Line {
        irq: rest.split_whitespace().next()?.parse().ok()?,
        vector: u8::from_str_radix(word("vec:")?, 16).ok()?,
        level: rest.contains("IO-APIC-level"),
        affinity: cpus(affinity),
        holders: cpus(holders),
    })
}

fn sas_nic() -> BTreeMap<u32, Line> {
    SAS_NIC.lines().filter_map(line).map(|line| (line.irq, line)).collect()
}

/// The recorded host gives 0x30 to a device: its HPET does not broadcast.
fn allocator(model: DestinationModel, online: &CpuSet) -> VectorAllocator {
    let layout = VectorLayout::xen(XenLayout { hpet_broadcast: false, ..XenLayout::default() });
    VectorAllocator::new(layout, model, 4, online, Policy::XenCursor, IoApicAck::New).unwrap()
}

fn kind(line: &Line) -> SourceKind {
    if line.level { SourceKind::Level } else { SourceKind::EdgeMaskable }
}

fn vector(allocator: &VectorAllocator, lease: Lease) -> u8 {
    allocator.placement(lease).unwrap().vector.number()
}

#[test]
fn booting_the_recorded_host_gives_every_source_the_vector_it_was_recorded_with() {
    let recorded = sas_nic();
    let mut xen = allocator(DestinationModel::FLAT, &CpuSet::single(CpuId::BOOT));
    let boot = CpuSet::single(CpuId::BOOT);
    let mut leases = BTreeMap::new();
    // While Xen boots, one CPU is online: first the IOMMU's own source, then the pins of the IO-APIC. IRQ 4 is Xen's serial
    // line, on a vector reserved everywhere.
    for irq in [24, 1, 3, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15] {
        let lease = xen.allocate(Owner::Dom0, kind(&recorded[&irq]), &boot).unwrap();
        leases.insert(irq, lease);
    }
    let serial = xen.allocate(Owner::System, SourceKind::Notification, &boot).unwrap();
    assert_eq!(vector(&xen, leases[&1]), 0x38, "before dom0 rebinds it");
    assert_eq!(vector(&xen, leases[&12]), 0x88, "0x80 is the system-call gate");
    for cpu in 1..4 {
        xen.bring_online(CpuId(cpu)).unwrap();
    }
    // Dom0 binds sources on all CPUs, in this order. The first two have a vector on CPU 0 alone and are bound elsewhere.
    for irq in [12, 1] {
        let moved = xen.begin_move(leases[&irq], &recorded[&irq].affinity).unwrap();
        assert!(matches!(moved, Move::Started { .. }), "IRQ {irq}");
        xen.finish_move(leases[&irq], &CpuSet::new()).unwrap();
    }
    let all = CpuSet::first_n(4);
    for irq in [21, 22, 25, 20, 26, 27, 28] {
        let owner = if irq < 26 { Owner::Dom0 } else { Owner::Guest(DomainId(1)) };
        let lease = xen.allocate(owner, kind(&recorded[&irq]), &all).unwrap();
        leases.insert(irq, lease);
        let moved = xen.begin_move(lease, &recorded[&irq].affinity).unwrap();
        assert!(matches!(moved, Move::Kept { .. }), "IRQ {irq} moves inside the cluster");
    }
    assert_eq!(vector(&xen, serial), recorded[&4].vector);
    for (irq, lease) in &leases {
        let (line, placement) = (&recorded[irq], xen.placement(*lease).unwrap());
        assert_eq!(placement.vector.number(), line.vector, "vector of IRQ {irq}");
        assert_eq!(placement.holders.to_set(), line.holders, "holders of IRQ {irq}");
        assert!(line.affinity.contains(placement.target), "target of IRQ {irq}");
    }
    // IRQ 0, on Xen's own 0xf0, is the only other one.
    assert_eq!(leases.len() + 2, recorded.len());
    assert_eq!(xen.check(), Ok(()));
}

/// The sources after each step of a recording.
fn steps(recording: &str) -> Vec<BTreeMap<u32, Line>> {
    let sections = recording.split("\n== ").skip(1);
    sections.map(|section| section.lines().filter_map(line).map(|line| (line.irq, line)).collect()).collect()
}

fn adopt(allocator: &mut VectorAllocator, line: &Line) -> Lease {
    let owner = if line.irq == 25 { Owner::Dom0 } else { Owner::Guest(DomainId(1)) };
    let vector = line.vector.try_into().unwrap();
    let target = line.affinity.first().unwrap();
    allocator.adopt(owner, SourceKind::EdgeMaskable, vector, &line.holders, target).unwrap()
}

#[test]
fn with_flat_destinations_every_recorded_move_keeps_the_vector() {
    let steps = steps(MOVES_FLAT);
    let mut xen = allocator(DestinationModel::FLAT, &CpuSet::first_n(4));
    let leases: BTreeMap<u32, Lease> = steps[0].iter().map(|(irq, line)| (*irq, adopt(&mut xen, line))).collect();
    let mut retargeted = 0;
    for step in &steps {
        for (irq, line) in step {
            let before = xen.placement(leases[irq]).unwrap().target;
            let target = line.affinity.first().unwrap();
            assert_eq!(xen.begin_move(leases[irq], &line.affinity).unwrap(), Move::Kept { target });
            retargeted += u32::from(before != target);
            let placement = xen.placement(leases[irq]).unwrap();
            assert_eq!((placement.vector.number(), placement.holders.to_set()), (line.vector, line.holders.clone()));
        }
    }
    assert_eq!((steps.len(), retargeted), (6, 3), "dom0's SAS source went from CPU 3 to 1, 2 and 0");
}

/// Steps of the cursor from one recorded vector to the next: drawn by a source that goes back and forth between two CPUs.
fn cursor_steps(from: &Line, to: &Line) -> u32 {
    let mut xen = allocator(DestinationModel::Physical, &CpuSet::first_n(4));
    // An empty host whose cursor stands on the recorded vector: draw until it does.
    let mut draw = |affinity: &CpuSet| {
        let lease = xen.allocate(Owner::Dom0, SourceKind::EdgeMaskable, affinity).unwrap();
        let drawn = vector(&xen, lease);
        xen.release(lease).unwrap();
        drawn
    };
    let bound = 256;
    assert!((0..bound).any(|_| draw(&from.affinity) == from.vector), "{from:?}");
    let steps = (1..=bound).find(|_| draw(&to.affinity) == to.vector);
    steps.unwrap_or_else(|| panic!("the cursor never comes from {from:?} to {to:?}"))
}

#[test]
fn with_physical_destinations_every_recorded_move_draws_a_later_vector_of_the_cursor() {
    let steps = steps(MOVES_BIGSMP);
    let mut guest_steps = Vec::new();
    for pair in steps.windows(2) {
        for (irq, line) in &pair[1] {
            let before = &pair[0][irq];
            if line.affinity == before.affinity && line.vector == before.vector {
                continue;
            }
            assert_ne!(line.vector, before.vector, "IRQ {irq} is on another CPU");
            let taken = cursor_steps(before, line);
            if *irq == 26 {
                guest_steps.push(taken);
            }
        }
    }
    // The guest's source drew five vectors. Between the last two nobody else drew: D6 → DE is one step.
    assert_eq!(guest_steps.len(), 5);
    assert_eq!(guest_steps.last(), Some(&1));
    // The cursor does not go back: all draws together stay within one walk over the pool (205 vectors on such a host).
    assert!(guest_steps.iter().sum::<u32>() < 205, "{guest_steps:?}");
}

#[test]
fn the_determined_move_from_d6_to_de_is_reproduced() {
    let steps = steps(MOVES_BIGSMP);
    let (before, after) = (&steps[4], &steps[5]);
    let mut xen = allocator(DestinationModel::Physical, &CpuSet::first_n(4));
    for line in before.values().filter(|line| line.irq != 26) {
        adopt(&mut xen, line);
    }
    let all = CpuSet::first_n(4);
    let guest = Owner::Guest(DomainId(1));
    let nic = loop {
        let lease = xen.allocate(guest, SourceKind::EdgeMaskable, &before[&26].affinity).unwrap();
        if vector(&xen, lease) == before[&26].vector {
            break lease;
        }
        xen.release(lease).unwrap();
    };
    let moved = xen.begin_move(nic, &after[&26].affinity).unwrap();
    assert!(matches!(moved, Move::Started { .. }));
    assert_eq!(xen.finish_move(nic, &CpuSet::new()).unwrap(), vector_allocator::Drain::Done);
    let placement = xen.placement(nic).unwrap();
    assert_eq!(
        (placement.vector.number(), placement.holders.to_set()),
        (after[&26].vector, after[&26].holders.clone())
    );
    assert!(placement.holders.to_set().is_subset(&all));
    assert_eq!(xen.check(), Ok(()));
}
