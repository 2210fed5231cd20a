//! What devices send goes through the IOMMU: its entries lead where vCPUs and vectors are, and its log loses nobody.

use carillon_machine::ConfigError;
use carillon_machine::DomainConfig;
use carillon_machine::DomainKind;
use carillon_machine::Fact;
use carillon_machine::Machine;
use carillon_machine::MachineConfig;
use carillon_machine::Path;
use carillon_machine::Relocation;
use carillon_machine::SourceConfig;
use carillon_machine::SourceIndex;
use carillon_machine::Span;
use carillon_machine::Time;
use carillon_machine::TooManyMessages;
use carillon_machine::VcpuLoad;
use carillon_machine::Vendor;
use vector_allocator::CpuId;
use vector_allocator::SourceKind;

use crate::support::MICROSECOND;
use crate::support::MILLISECOND;
use crate::support::Run;
use crate::support::domain;
use crate::support::empty;
use crate::support::engine_of;
use crate::support::event;
use crate::support::to;
use crate::support::vector;

/// A host on which devices post to the vCPUs of a guest, one on each CPU from 1 on: one vector a source.
fn host(vendor: Vendor, vcpus: u32, vectors_each: u8) -> MachineConfig {
    let starts: Vec<u32> = (1..=vcpus).collect();
    let guest = DomainConfig { engine: engine_of(vendor), ..domain(1, DomainKind::Hvm, VcpuLoad::Idle, &starts) };
    let to_all = (0..vcpus).flat_map(|vcpu| (0..vectors_each).map(move |number| (vcpu, 0x20 + number)));
    let posted = |(id, (vcpu, number)): (u32, (u32, u8))| {
        let path = Path::Posted { to: to(1, vcpu), guest_vector: vector(number), handler: Span(MICROSECOND) };
        SourceConfig { vector: None, path, ..event(id, SourceKind::Posted, 0x48, vcpu + 1, to(1, vcpu), 0) }
    };
    let sources = (0..).zip(to_all).map(posted).collect();
    MachineConfig { vendor, domains: vec![guest], sources, ..empty(vcpus + 1) }
}

/// The log has room for 511 entries. What comes beyond them is in the pages and in no entry: everybody a device delivers to
/// is told.
#[test]
fn a_log_that_overflows_while_three_vcpus_sleep_loses_none_of_their_interrupts() {
    const EACH: u8 = 200;
    let mut run = Run::new(&host(Vendor::Amd, 3, EACH));
    let sources = 3 * u32::from(EACH);
    // The log is read only when its interrupt's handler has run: all are logged before, or not at all.
    (0..sources).for_each(|source| run.raise(MILLISECOND, source));
    run.until(10 * MILLISECOND);
    for source in 0..sources {
        assert_eq!(run.completed(source).len(), 1, "source {source}");
    }
    // The log is on again.
    run.raise(20 * MILLISECOND, sources - 1);
    run.until(30 * MILLISECOND);
    assert_eq!(run.completed(sources - 1).len(), 2);
}

#[test]
fn the_logs_interrupt_finds_another_cpu_when_its_own_goes_offline() {
    let mut run = Run::new(&host(Vendor::Amd, 2, 1));
    run.until(MILLISECOND);
    run.machine.take_offline(Time(MILLISECOND), CpuId(0), &mut run.driver).expect("an idle CPU");
    run.raise(2 * MILLISECOND, 1);
    run.until(3 * MILLISECOND);
    assert_eq!(run.completed(1).len(), 1);
}

/// A busy guest keeps one of its CPUs: a vCPU that sleeps on another is woken over the CPU that reads the log.
#[test]
fn a_logged_vcpu_wakes_where_it_slept_whoever_reads_the_log() {
    let mut run = Run::new(&host(Vendor::Amd, 2, 1));
    run.raise(MILLISECOND, 1);
    run.until(2 * MILLISECOND);
    let runs = run.driver.facts.iter().filter_map(|(_, fact)| match fact {
        Fact::VcpuRuns { vcpu, cpu } => Some((vcpu.vcpu, *cpu)),
        _ => None,
    });
    assert_eq!(runs.collect::<Vec<_>>(), [(1, CpuId(2))]);
}

/// Dom0's device too: what the host moves arrives at the new place by the entry, which the machine's check looks up.
#[test]
fn a_host_interrupt_that_moves_goes_by_its_entry_to_the_new_cpu() {
    for vendor in [Vendor::Intel, Vendor::Amd] {
        let mut config = host(vendor, 2, 1);
        config.domains.push(domain(0, DomainKind::Pv, VcpuLoad::Idle, &[0]));
        config.sources.push(event(40, SourceKind::EdgeMaskable, 0x48, 0, to(0, 0), 1_000));
        let mut run = Run::new(&config);
        let mut places = Vec::new();
        for (turn, cpu) in [(1, None), (2, Some(2)), (3, Some(1))] {
            if let Some(cpu) = cpu {
                let relocation = Relocation { source: SourceIndex(2), cpu: CpuId(cpu), vector: None };
                run.machine.apply_move(Time(turn * MILLISECOND), relocation, &mut run.driver).expect("it is idle");
                run.machine.check().expect("the entry follows");
            }
            run.raise(turn * MILLISECOND + MICROSECOND, 2);
            run.until((turn + 1) * MILLISECOND);
            places.push(run.driver.facts.iter().rev().find_map(|(_, fact)| match fact {
                Fact::Dispatched { source: SourceIndex(2), cpu, .. } => Some(*cpu),
                _ => None,
            }));
        }
        assert_eq!(places, [0, 2, 1].map(|cpu| Some(CpuId(cpu))), "{vendor:?}");
        assert_eq!(run.completed(2).len(), 3, "{vendor:?}");
    }
}

#[test]
fn more_messages_than_one_iommu_has_entries_for_are_refused() {
    let config = host(Vendor::Intel, 330, 200);
    assert_eq!(Machine::new(&config).map(|_| ()), Err(ConfigError::Iommu(TooManyMessages)));
    assert!(Machine::new(&MachineConfig { sources: config.sources[..60_000].to_vec(), ..config }).is_ok());
}
