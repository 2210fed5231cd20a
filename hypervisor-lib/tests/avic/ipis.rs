//! Commands of guests: what the processor leaves undone, the hypervisor does, and no more.

use std::collections::BTreeSet;

use hypervisor_abi::amd_iommu::GaTag;
use hypervisor_abi::apic::ApicId;
use hypervisor_abi::apic::DeliveryMode;
use hypervisor_abi::apic::DestinationMode;
use hypervisor_abi::apic::Icr;
use hypervisor_abi::apic::Shorthand;
use hypervisor_abi::apic::TriggerMode;
use hypervisor_abi::avic::IncompleteIpi;
use hypervisor_abi::avic::IpiFailure;
use hypervisor_abi::avic::VectorBits;
use hypervisor_lib::delivery::avic::Action;
use hypervisor_lib::delivery::avic::AvicVcpu;
use hypervisor_lib::delivery::avic::Broken;
use hypervisor_lib::delivery::avic::IpiVirtualization;
use hypervisor_lib::delivery::avic::LogicalIds;
use hypervisor_lib::delivery::avic::LogicalMember;
use hypervisor_lib::delivery::avic::LogicalModel;
use hypervisor_lib::delivery::avic::Mode;
use hypervisor_lib::delivery::avic::PhysicalTable;
use hypervisor_lib::delivery::avic::Rest;
use hypervisor_lib::delivery::avic::X2AvicReach;
use hypervisor_lib::delivery::avic::finish_ipi;
use proptest::collection::btree_map;
use proptest::prelude::Just;
use proptest::prelude::Strategy;
use proptest::prelude::any;
use proptest::prelude::prop_oneof;
use proptest::proptest;

use crate::vm::Counted;
use crate::vm::Doorbells;
use crate::vm::Log;
use crate::vm::Vm;
use crate::vm::core;

const VECTOR: u8 = 0x51;

fn fixed(vector: u8, destination: u32) -> Icr {
    Icr::new().with_vector(vector).with_destination(destination)
}

/// A VM with vCPUs of these numbers, of which some run; logical IDs of the flat model for the first eight.
fn vm(mode: Mode, doorbells: Doorbells, capacity: usize, vcpus: impl Iterator<Item = (u32, bool)> + Clone) -> Vm {
    let vm = Vm::new(mode, doorbells, capacity);
    for (id, runs) in vcpus.clone() {
        let page = &vm.pages[id as usize];
        vm.table().insert(ApicId(id), id.into()).expect("room");
        let mut vcpu = AvicVcpu::new(ApicId(id), GaTag(id), vm.table(), page).expect("in the table");
        if runs {
            vcpu.enter(core(1000 + id), &Log::default()).expect("in the table");
        }
    }
    let member = |(position, (id, _)): (u32, (u32, bool))| LogicalMember {
        id: ApicId(id),
        model: Some(LogicalModel::Flat),
        logical: 1_u8.checked_shl(position).unwrap_or(0),
    };
    vm.logical_table().rebuild((0..).zip(vcpus).map(member)).expect("no aliases");
    vm
}

fn modes() -> impl Strategy<Value = (Mode, Doorbells)> {
    let mode = prop_oneof![Just(Mode::XAvic), Just(Mode::X2Avic)];
    (mode, prop_oneof![2 => Just(Doorbells::Processor), 1 => Just(Doorbells::Hypervisor)])
}

fn shorthands() -> impl Strategy<Value = Shorthand> {
    prop_oneof![4 => Just(Shorthand::None), 1 => Just(Shorthand::All), 1 => Just(Shorthand::Others)]
}

proptest! {
    /// Whatever is sent: every vCPU it is for has the vector pending once, and either hears a doorbell or is woken; a vCPU
    /// that has taken the vector before the exit is handled does not get it again; nobody else notices anything.
    #[test]
    fn processor_and_hypervisor_together_deliver_every_command_once(
        (mode, doorbells) in modes(),
        vcpus in btree_map(0..40_u32, any::<bool>(), 1..12),
        destination in prop_oneof![3 => 0..40_u32, 3 => 0..0x2_ffff_u32, 1 => Just(u32::MAX), 1 => any::<u32>()],
        is_logical in any::<bool>(),
        shorthand in shorthands(),
        taken in any::<u64>(),
    ) {
        let vm = vm(mode, doorbells, 40, vcpus.iter().map(|(id, runs)| (*id, *runs)));
        let sender = ApicId(*vcpus.first_key_value().expect("at least one").0);
        let destination = if mode == Mode::XAvic { destination << 24 } else { destination };
        let destination_mode = if is_logical { DestinationMode::Logical } else { DestinationMode::Physical };
        let icr = fixed(VECTOR, destination).with_shorthand(shorthand).with_destination_mode(destination_mode);
        let (rung, exit) = vm.send(sender, icr);
        let pending = |id: u32| vm.pages[id as usize].has(VectorBits::InterruptRequest, VECTOR);
        let targets: BTreeSet<u32> = vcpus.keys().copied().filter(|id| pending(*id)).collect();
        // Some take it before the hypervisor has even seen the exit.
        let taken: BTreeSet<u32> = targets.iter().copied().filter(|id| taken >> id & 1 == 1).collect();
        for id in &taken {
            vm.pages[*id as usize].clear(VectorBits::InterruptRequest, VECTOR);
        }
        let log = Log::default();
        let rest = exit.map(|exit| finish_ipi(vm.table(), vm.logical(), sender, exit, &log));
        let told = log.take();
        for id in vcpus.keys() {
            let still = targets.contains(id) && !taken.contains(id);
            assert_eq!(pending(*id), still, "vCPU {id} is interrupted twice or not at all");
        }
        match rest {
            None => assert!(told.is_empty()),
            Some(Ok(Rest::Send(_))) => assert!(targets.is_empty() && rung.is_empty() && told.is_empty()),
            Some(Ok(Rest::Told(count))) => assert_eq!(count, told.len()),
            other => panic!("{other:?}"),
        }
        // The sender looks at its IRR itself when it goes on.
        for id in targets.iter().filter(|id| **id != sender.0) {
            let (core, runs) = (core(1000 + id), vcpus[id]);
            let heard = rung.contains(&core) != told.contains(&Action::RingDoorbell(core));
            let woken = told.contains(&Action::Wake(ApicId(*id)));
            assert!(if runs { heard && !woken } else { woken && !heard }, "vCPU {id}");
        }
        let strangers = told.iter().filter(|action| match action {
            Action::Wake(id) => !targets.contains(&id.0),
            Action::RingDoorbell(core) => !targets.contains(&(core.number() - 1000)),
            _ => true,
        });
        assert_eq!(strangers.count(), 0, "{told:?}");
    }
}

fn finish(icr: Icr, failure: u64) -> (Result<Rest, Broken>, Vec<Action>) {
    let vm = vm(Mode::X2Avic, Doorbells::Processor, 3, [(0, true), (1, false), (2, true)].into_iter());
    let log = Log::default();
    let exit = IncompleteIpi::from_info(icr.into(), failure << 32 | 7);
    let rest = finish_ipi(vm.table(), vm.logical(), ApicId(0), exit, &log);
    for page in &vm.pages {
        assert_eq!(page.highest(VectorBits::InterruptRequest), None, "the hypervisor sets no IRR");
    }
    (rest, log.take())
}

#[test]
fn what_the_processor_has_not_begun_is_left_to_software_as_a_whole() {
    let icr = fixed(VECTOR, 1);
    for failure in [0, 2] {
        assert_eq!(finish(icr, failure), (Ok(Rest::Send(icr)), Vec::new()));
    }
    assert_eq!(finish(fixed(0x0f, 1), 4), (Ok(Rest::IllegalVector(0x0f)), Vec::new()));
}

#[test]
fn a_target_that_does_not_run_is_woken_and_one_that_runs_is_not_needed_twice() {
    assert_eq!(finish(fixed(VECTOR, 1), 1), (Ok(Rest::Told(1)), vec![Action::Wake(ApicId(1))]));
    let everyone_else = fixed(VECTOR, 0).with_shorthand(Shorthand::Others);
    assert_eq!(finish(everyone_else, 1), (Ok(Rest::Told(1)), vec![Action::Wake(ApicId(1))]));
}

#[test]
fn a_broken_table_never_delivers_a_broadcast_twice() {
    let directed = Broken::BackingPage { sender: ApicId(0), index: 7, rest: Rest::Send(fixed(VECTOR, 1)) };
    assert_eq!(finish(fixed(VECTOR, 1), 3), (Err(directed), Vec::new()));
    for icr in [fixed(VECTOR, 0).with_shorthand(Shorthand::All), fixed(VECTOR, u32::MAX)] {
        let (rest, told) = finish(icr, 3);
        assert_eq!(rest, Err(Broken::BackingPage { sender: ApicId(0), index: 7, rest: Rest::Told(1) }));
        assert_eq!(told, [Action::Wake(ApicId(1))]);
    }
}

#[test]
fn failures_of_other_modes_are_reported() {
    for (number, failure) in [(5, IpiFailure::SecureAvic), (6, IpiFailure::Reserved(6))] {
        let expected = Err(Broken::Failure { sender: ApicId(0), failure });
        assert_eq!(finish(fixed(VECTOR, 1), number), (expected, Vec::new()));
    }
}

#[test]
fn commands_that_are_not_fixed_and_edge_triggered_reach_nobody_by_hardware() {
    let kinds =
        [DeliveryMode::LowestPriority, DeliveryMode::Smi, DeliveryMode::Nmi, DeliveryMode::Init, DeliveryMode::StartUp];
    let vm = vm(Mode::X2Avic, Doorbells::Processor, 2, [(0, true), (1, true)].into_iter());
    let others = kinds.map(|kind| fixed(VECTOR, 1).with_delivery(kind));
    for icr in others.into_iter().chain([fixed(VECTOR, 1).with_trigger(TriggerMode::Level)]) {
        let (rung, exit) = vm.send(ApicId(0), icr);
        let rest = finish_ipi(vm.table(), vm.logical(), ApicId(0), exit.expect("an exit"), &Log::default());
        assert_eq!((rung, rest), (Vec::new(), Ok(Rest::Send(icr))));
    }
}

#[test]
fn a_command_to_one_vcpu_costs_the_same_however_many_there_are() {
    let looks = [2, 64, 4096].map(|entries| {
        let cells: Vec<Counted> = (0..entries).map(|_| Counted::default()).collect();
        let table = PhysicalTable::new(Mode::X2Avic, X2AvicReach::Extended, &cells, IpiVirtualization::On);
        let table = table.expect("a table");
        for id in 0..entries {
            table.insert(ApicId(id), 1).expect("room");
        }
        cells.iter().for_each(|cell| cell.looked.set(0));
        let exit = IncompleteIpi::from_info(fixed(VECTOR, entries - 1).into(), 1 << 32);
        let rest = finish_ipi(table, LogicalIds::Derived, ApicId(0), exit, &Log::default());
        assert_eq!(rest, Ok(Rest::Told(1)));
        cells.iter().map(|cell| cell.looked.get()).sum::<usize>()
    });
    assert_eq!(looks, [3; 3], "is it there, is it away, where is it");
}
