//! The two recorded hosts (Xen 4.17.7, 4 CPUs, flat logical destinations) as assignments.

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

pub(crate) const GUEST: Owner = Owner::Guest(DomainId(1));

/// A vector that is known to be legal.
pub(crate) fn vector(number: u8) -> Vector {
    Vector::new(number).unwrap()
}

/// A set of CPUs by number.
pub(crate) fn cpus(numbers: &[u32]) -> CpuSet {
    numbers.iter().copied().map(CpuId).collect()
}

/// A movable source bound by its owner that keeps to `on`.
pub(crate) fn source(id: u32, owner: Owner, kind: SourceKind, number: u8, on: &[u32]) -> AssignedSource {
    AssignedSource {
        id: SourceId(id),
        label: format!("IRQ {id}"),
        owner,
        binders: vec![owner],
        kind,
        vector: vector(number),
        holders: cpus(on),
        target: cpus(on),
        reachable: cpus(on),
        mobility: Mobility::Movable,
    }
}

/// A source as `aff:{target}/{0-3}` prints it: its vector taken on all four CPUs.
fn roaming(id: u32, owner: Owner, kind: SourceKind, number: u8, target: u32) -> AssignedSource {
    let all = CpuSet::first_n(4);
    AssignedSource {
        target: cpus(&[target]),
        holders: all.clone(),
        reachable: all,
        ..source(id, owner, kind, number, &[])
    }
}

fn unbound(source: AssignedSource) -> AssignedSource {
    AssignedSource { binders: vec![], ..source }
}

fn fixed(source: AssignedSource) -> AssignedSource {
    AssignedSource { mobility: Mobility::Fixed("Xen handles it itself".into()), ..source }
}

fn host(sources: Vec<AssignedSource>) -> Assignment {
    Assignment {
        layout: VectorLayout::xen(XenLayout { hpet_broadcast: false, ..XenLayout::default() }),
        model: DestinationModel::FLAT,
        online: CpuSet::first_n(4),
        ioapic_ack: IoApicAck::New,
        sources,
    }
}

/// What both recordings share.
fn common() -> Vec<AssignedSource> {
    let (edge, level) = (SourceKind::EdgeMaskable, SourceKind::Level);
    let spare = |id: u32, kind, number| unbound(source(id, Owner::Dom0, kind, number, &[0]));
    vec![
        fixed(source(0, Owner::System, edge, 0xf0, &[0])),
        roaming(1, Owner::Dom0, edge, 0xb0, 2),
        spare(3, edge, 0x40),
        fixed(source(4, Owner::System, edge, 0xf1, &[0, 1, 2, 3])),
        spare(5, level, 0x48),
        spare(6, edge, 0x50),
        spare(7, edge, 0x58),
        source(8, Owner::Dom0, edge, 0x60, &[0]),
        source(9, Owner::Dom0, level, 0x68, &[0]),
        spare(10, level, 0x70),
        spare(11, level, 0x78),
        roaming(12, Owner::Dom0, edge, 0xa8, 1),
        spare(13, edge, 0x90),
        spare(14, edge, 0x98),
        spare(15, edge, 0xa0),
        roaming(21, Owner::Dom0, level, 0xb8, 3),
        unbound(roaming(22, Owner::Dom0, level, 0xc0, 0)),
        fixed(source(24, Owner::System, edge, 0x30, &[0])),
        roaming(25, Owner::Dom0, edge, 0xc8, 3),
    ]
}

/// A guest's NIC (MSI-X, D8 and E0) beside dom0's two SAS controllers.
pub(crate) fn nic() -> Assignment {
    let mut sources = common();
    sources.push(roaming(20, Owner::Dom0, SourceKind::Level, 0xd0, 1));
    sources.push(roaming(26, GUEST, SourceKind::EdgeMaskable, 0xd8, 0));
    sources.push(roaming(27, GUEST, SourceKind::EdgeMaskable, 0xe0, 0));
    sources.push(unbound(roaming(28, GUEST, SourceKind::EdgeMaskable, 0xe8, 0)));
    host(sources)
}

/// A guest's e1000 on a level-triggered line it shares with dom0, vector D0.
pub(crate) fn intx() -> Assignment {
    let mut sources = common();
    let line = roaming(23, GUEST, SourceKind::Level, 0xd0, 3);
    sources.push(AssignedSource { binders: vec![Owner::Dom0, GUEST], ..line });
    host(sources)
}
