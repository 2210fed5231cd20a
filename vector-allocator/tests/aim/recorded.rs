//! Moves on a real host: Xen 4.17.7 with physical destinations, 4 pCPUs, every vCPU pinned, a disk of dom0's and a network
//! card of a guest's busy. After each move every interrupt was recorded.

use vector_allocator::AssignedSource;
use vector_allocator::Assignment;
use vector_allocator::CpuId;
use vector_allocator::CpuSet;
use vector_allocator::DestinationModel;
use vector_allocator::DomainId;
use vector_allocator::IoApicAck;
use vector_allocator::Mobility;
use vector_allocator::Owner;
use vector_allocator::SourceId;
use vector_allocator::SourceKind;
use vector_allocator::Vector;
use vector_allocator::VectorLayout;
use vector_allocator::XenLayout;
use vector_allocator::aim::Sight;

const MOVES: &str = include_str!("../data/xen-moves-aimed.txt");

fn cpus(list: &str) -> CpuSet {
    let range = |part: &str| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        first.parse::<u32>().unwrap()..=last.parse().unwrap()
    };
    list.trim_matches(['{', '}']).split(',').flat_map(range).map(CpuId).collect()
}

fn source(line: &str) -> Option<AssignedSource> {
    let rest = line.split_once("IRQ:")?.1;
    let word = |key: &str| rest.split_once(key)?.1.split_whitespace().next();
    let (target, holders) = word("aff:")?.split_once('/')?;
    let id = rest.split_whitespace().next()?.parse().ok()?;
    let owner = if rest.contains(" d1: ") { Owner::Guest(DomainId(1)) } else { Owner::Dom0 };
    Some(AssignedSource {
        id: SourceId(id),
        label: String::new(),
        owner,
        binders: vec![owner],
        kind: SourceKind::EdgeMaskable,
        vector: Vector::new(u8::from_str_radix(word("vec:")?, 16).ok()?).ok()?,
        holders: cpus(holders),
        target: cpus(target),
        reachable: cpus(target),
        mobility: Mobility::Movable,
    })
}

/// The host after each move, and what was moved.
fn readings() -> Vec<(String, Assignment)> {
    let sections = MOVES.split("== ").skip(1);
    let reading = |section: &str| {
        let (name, lines) = section.split_once('\n').unwrap();
        let host = Assignment {
            layout: VectorLayout::xen(XenLayout { hpet_broadcast: false, ..XenLayout::default() }),
            model: DestinationModel::Physical,
            online: CpuSet::first_n(4),
            ioapic_ack: IoApicAck::New,
            sources: lines.lines().filter_map(source).collect(),
        };
        (name.to_owned(), host)
    };
    sections.map(reading).collect()
}

#[test]
fn every_recorded_move_got_the_vector_that_is_predicted_from_the_reading_before() {
    let readings = readings();
    let mut sight = Sight::unknown(&readings[0].1.layout);
    let (mut dom0s, mut guests) = (0, 0);
    for pair in readings.windows(2) {
        let ((_, before), (name, after)) = (&pair[0], &pair[1]);
        let moved: Vec<(&AssignedSource, &AssignedSource)> = before
            .sources
            .iter()
            .filter_map(|then| Some((then, after.sources.iter().find(|now| now.id == then.id)?)))
            .filter(|(then, now)| then.holders != now.holders)
            .collect();
        // The guest's second interrupt does not fire, so that it stays where it is: one source a move, or none.
        assert!(moved.len() <= 1, "{name}: {moved:?}");
        for (then, now) in moved {
            assert_eq!(then.id, now.id);
            let expected = sight.predict(before, now.target.first().unwrap());
            if dom0s + guests > 0 {
                assert_eq!(expected.len(), 1, "{name}: the move before told where the cursor is");
            }
            assert!(expected.contains(now.vector), "{name}: {expected:?} against {}", now.vector);
            *if now.owner == Owner::Dom0 { &mut dom0s } else { &mut guests } += 1;
        }
        sight = sight.after(before, after);
    }
    println!("{dom0s} moves of dom0's, {guests} of the guest's");
    assert!(dom0s >= 8, "{dom0s}");
}
