//! Configurations that cannot be machines are refused by what and where.

use carillon_machine::ConfigError;
use carillon_machine::DomainKind;
use carillon_machine::FifoPriority;
use carillon_machine::Machine;
use carillon_machine::MachineConfig;
use carillon_machine::Path;
use carillon_machine::PathFault;
use carillon_machine::Scheduler;
use carillon_machine::Span;
use carillon_machine::VcpuLoad;
use vector_allocator::CpuId;
use vector_allocator::DomainId;
use vector_allocator::Owner;
use vector_allocator::SourceKind;

use crate::support::cpus;
use crate::support::domain;
use crate::support::empty;
use crate::support::event;
use crate::support::to;
use crate::support::vector;

fn good() -> MachineConfig {
    MachineConfig {
        domains: vec![
            domain(0, DomainKind::Pv, VcpuLoad::Idle, &[0]),
            domain(1, DomainKind::Hvm, VcpuLoad::Idle, &[1]),
        ],
        sources: vec![
            event(30, SourceKind::EdgeMaskable, 0x58, 0, to(0, 0), 1_000),
            event(40, SourceKind::EdgeMaskable, 0x68, 1, to(1, 0), 1_000),
        ],
        ..empty(2)
    }
}

fn refusal(change: impl FnOnce(&mut MachineConfig)) -> ConfigError {
    let mut config = good();
    assert!(Machine::new(&config).is_ok());
    change(&mut config);
    Machine::new(&config).unwrap_err()
}

#[test]
fn every_inconsistency_is_refused_by_what_and_where() {
    let d1 = DomainId(1);
    assert_eq!(refusal(|c| c.cpus = 0), ConfigError::Cpus(0));
    assert_eq!(refusal(|c| c.scheduler = Scheduler::Pinned { slice: Span(0) }), ConfigError::NoSlice);
    assert_eq!(refusal(|c| c.domains[1].id = DomainId(0)), ConfigError::DomainTwice(DomainId(0)));
    assert_eq!(
        refusal(|c| c.domains[1].owner = Owner::Dom0),
        ConfigError::DomainOwner { domain: d1, owner: Owner::Dom0 }
    );
    assert_eq!(
        refusal(|c| c.domains[1].vcpus[0].affinity = cpus(&[0])),
        ConfigError::VcpuStart { domain: d1, vcpu: 0, start: CpuId(1) }
    );
    assert_eq!(
        refusal(|c| c.domains[1].vcpus[0].load = VcpuLoad::Periodic { run: Span(0), sleep: Span(1) }),
        ConfigError::EmptyPeriod { domain: d1, vcpu: 0 }
    );
    assert_eq!(
        refusal(|c| {
            c.scheduler = Scheduler::Null;
            c.domains[1] = domain(1, DomainKind::Hvm, VcpuLoad::Idle, &[0]);
        }),
        ConfigError::NullShared(CpuId(0))
    );
    assert_eq!(refusal(|c| c.sources[1].target = CpuId(2)), ConfigError::SourceTarget { source_id: 40, cpu: CpuId(2) });
    assert_eq!(
        refusal(|c| c.sources[1].path =
            Path::EventChannel { to: to(1, 7), handler: Span(1), priority: FifoPriority::DEFAULT }),
        ConfigError::NoSuchVcpu { source_id: 40, domain: d1, vcpu: 7 }
    );
    assert_eq!(
        refusal(|c| c.sources[1].owner = Owner::Dom0),
        ConfigError::SourceOwner { source_id: 40, owner: Owner::Dom0, handler: Owner::Guest(d1) }
    );
    assert_eq!(
        refusal(|c| c.sources[1].vector = Some(vector(0x80))),
        ConfigError::VectorNotLeasable { source_id: 40, vector: vector(0x80), cpu: CpuId(1) }
    );
    assert_eq!(
        refusal(|c| {
            c.sources[1].vector = Some(vector(0x58));
            c.sources[1].target = CpuId(0);
        }),
        ConfigError::VectorTwice { first: 30, second: 40, vector: vector(0x58), cpu: CpuId(0) }
    );
    assert_eq!(refusal(|c| c.sources[1].id = c.sources[0].id), ConfigError::SourceTwice { source_id: 30 });
}

#[test]
fn a_path_that_cannot_carry_its_source_is_refused() {
    let fault = |reason| ConfigError::Path { source_id: 40, reason };
    let posted = Path::Posted { to: to(1, 0), guest_vector: vector(0x80), handler: Span(1) };
    assert_eq!(refusal(|c| c.sources[1].path = posted), fault(PathFault::PostedVector));
    assert_eq!(refusal(|c| c.sources[1].kind = SourceKind::Notification), fault(PathFault::Notification));
    assert_eq!(
        refusal(|c| {
            c.sources[1].kind = SourceKind::Level;
            c.sources[1].vector = None;
        }),
        fault(PathFault::NoVector)
    );
    assert_eq!(
        refusal(|c| {
            c.domains[1].kind = DomainKind::Pv;
            c.sources[1].path = Path::Remapped { to: to(1, 0), guest_vector: vector(0x80), handler: Span(1) };
        }),
        fault(PathFault::PvHasNoVectors)
    );
    assert_eq!(
        refusal(|c| {
            let remapped = Path::Remapped { to: to(1, 0), guest_vector: vector(0x80), handler: Span(1) };
            c.sources[1].path = remapped;
            let mut another = event(41, SourceKind::EdgeMaskable, 0x69, 1, to(1, 0), 1);
            another.path = remapped;
            c.sources.push(another);
        }),
        ConfigError::GuestVectorTwice { first: 40, second: 41, vector: vector(0x80), vcpu: 0, domain: DomainId(1) }
    );
}
