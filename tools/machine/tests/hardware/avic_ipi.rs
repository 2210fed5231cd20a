//! Commands under AVIC: the processor's walk through the tables, then what the hypervisor makes of the exit. Together they
//! must interrupt whom the command addresses, each once, and let every one of them know.

use carillon_machine::Recognition;
use carillon_machine::Signal;
use carillon_machine::svm::Access;
use carillon_machine::svm::AvicMemory;
use carillon_machine::svm::Erratum1235;
use carillon_machine::svm::Exit;
use carillon_machine::svm::Failure;
use carillon_machine::svm::Guest;
use carillon_machine::svm::Ipi;
use carillon_machine::svm::Processor;
use carillon_machine::svm::RegisterOffset;
use hypervisor_abi::amd_iommu::GaTag;
use hypervisor_abi::apic::ApicId;
use hypervisor_abi::apic::DeliveryMode;
use hypervisor_abi::apic::DestinationMode;
use hypervisor_abi::apic::Icr;
use hypervisor_abi::apic::Shorthand;
use hypervisor_abi::apic::TriggerMode;
use hypervisor_abi::avic::IncompleteIpi;
use hypervisor_abi::avic::LogicalEntry;
use hypervisor_abi::avic::VectorBits;
use hypervisor_abi::sync::Ordering;
use hypervisor_lib::delivery::avic::Action;
use hypervisor_lib::delivery::avic::AvicVcpu;
use hypervisor_lib::delivery::avic::Broken;
use hypervisor_lib::delivery::avic::LogicalModel;
use hypervisor_lib::delivery::avic::Rest;
use hypervisor_lib::delivery::avic::finish_ipi;
use hypervisor_lib::delivery::avic::post;
use proptest::collection::btree_set;
use proptest::collection::vec;
use proptest::prelude::Just;
use proptest::prelude::Strategy;
use proptest::prelude::any;
use proptest::prelude::prop_oneof;
use proptest::proptest;
use vector_allocator::Vector;

use crate::avic_vm::Addressing;
use crate::avic_vm::LOGICAL;
use crate::avic_vm::Log;
use crate::avic_vm::Memory;
use crate::avic_vm::Ringer;
use crate::avic_vm::core_of;

const HIGH: RegisterOffset = RegisterOffset::of_address(0x310);
const LOW: RegisterOffset = RegisterOffset::of_address(0x300);

/// Lets a vCPU write its command register by the way its mode has; the command it calls for.
pub(crate) fn write(guest: &mut Guest, memory: &Memory, sender: u32, icr: Icr) -> Ipi {
    let page = memory.page(sender);
    let written = if guest.vmcb.control.x2avic() {
        guest.wrmsr(page, 0x830, icr.into())
    } else {
        guest.write_page(page, HIGH, icr.destination());
        guest.write_page(page, LOW, icr.low())
    };
    let Access::Virtual(Some(ipi)) = written else { panic!("{icr:?}: {written:?}") };
    ipi
}

pub(crate) fn addressings() -> impl Strategy<Value = Addressing> {
    prop_oneof![
        Just(Addressing::Table(LogicalModel::Flat)),
        Just(Addressing::Table(LogicalModel::Cluster)),
        Just(Addressing::Derived),
    ]
}

/// Commands, most of which AVIC can carry out. The destination is as wide as `addressing` has it.
pub(crate) fn commands(addressing: Addressing) -> impl Strategy<Value = Icr> {
    let destinations = match addressing {
        Addressing::Table(_) => {
            prop_oneof![3 => 0..64_u32, 2 => 0..=0xff_u32, 1 => Just(0xff)].prop_map(|short| short << 24).boxed()
        }
        Addressing::Derived => prop_oneof![
            2 => 0..70_u32,
            3 => (0..5_u32, 0..0x1_0000_u32).prop_map(|(cluster, bits)| cluster << 16 | bits),
            1 => Just(u32::MAX),
            1 => any::<u32>(),
        ]
        .boxed(),
    };
    let shorthands = prop_oneof![
        4 => Just(Shorthand::None),
        1 => Just(Shorthand::Myself),
        1 => Just(Shorthand::All),
        1 => Just(Shorthand::Others),
    ];
    let modes = prop_oneof![Just(DestinationMode::Physical), Just(DestinationMode::Logical)];
    let kinds = prop_oneof![
        8 => Just(DeliveryMode::Fixed),
        1 => Just(DeliveryMode::LowestPriority),
        1 => Just(DeliveryMode::Nmi),
    ];
    let triggers = prop_oneof![9 => Just(TriggerMode::Edge), 1 => Just(TriggerMode::Level)];
    let vectors = prop_oneof![9 => 16..=u8::MAX, 1 => 0..16_u8];
    (destinations, shorthands, modes, kinds, triggers, vectors).prop_map(
        |(destination, shorthand, mode, kind, trigger, vector)| {
            Icr::new()
                .with_destination(destination)
                .with_shorthand(shorthand)
                .with_destination_mode(mode)
                .with_delivery(kind)
                .with_trigger(trigger)
                .with_vector(vector)
        },
    )
}

/// The pending vCPUs among all.
fn waiting(memory: &Memory, vector: u8) -> Vec<u32> {
    let waits = |id: &u32| memory.page(*id).has(VectorBits::InterruptRequest, vector);
    memory.ids.iter().copied().filter(waits).collect()
}

proptest! {
    #[test]
    fn hardware_and_hypervisor_together_interrupt_exactly_whom_a_command_addresses(
        (addressing, icr) in addressings().prop_flat_map(|addressing| (Just(addressing), commands(addressing))),
        ids in btree_set(0..64_u32, 1..20),
        runs in vec(any::<bool>(), 20),
        ringer in prop_oneof![3 => Just(Ringer::Processor), 1 => Just(Ringer::Hypervisor)],
        sender in any::<proptest::sample::Index>(),
    ) {
        let memory = Memory::new(addressing, ids.into_iter().collect(), 64);
        let (table, logical) = memory.tables(ringer);
        let log = Log::default();
        let sender = memory.ids[sender.index(memory.ids.len())];
        let runs = |id: u32| id == sender || memory.ids.iter().zip(&runs).any(|(known, runs)| *known == id && *runs);
        for id in memory.ids.iter().copied() {
            let mut vcpu = AvicVcpu::new(ApicId(id), GaTag(id), table, memory.page(id)).expect("it is there");
            if runs(id) {
                vcpu.enter(core_of(id), &log).expect("it is there");
            }
        }
        let erratum_1235 = if ringer == Ringer::Processor { Erratum1235::Absent } else { Erratum1235::PRESENT };
        let mut guest = memory.guest(Processor { erratum_1235, ..Processor::default() });
        guest.enter(memory.page(sender)).expect("sensible fields");

        let ipi = write(&mut guest, &memory, sender, icr);
        let mut rung = Vec::new();
        let sent = guest.send_ipi(ipi, memory.page(sender), &memory, &mut |signal| match signal {
            Signal::Doorbell(host) => rung.push(host.0),
            Signal::Interrupt(message) => panic!("{message:?}"),
        });

        let is_plain = icr.delivery() == DeliveryMode::Fixed && icr.trigger() == TriggerMode::Edge;
        let rest = match sent {
            Access::Virtual(()) => Rest::Told(0),
            Access::Exit(exit @ Exit::IncompleteIpi { failure, .. }) => {
                if failure != Failure::TargetNotRunning {
                    assert_eq!((waiting(&memory, icr.vector()), &rung), (Vec::new(), &Vec::new()), "nothing is done");
                }
                let told = IncompleteIpi::from_info(exit.info1(), exit.info2());
                assert_eq!(u64::from(told.icr), u64::from(icr));
                finish_ipi(table, logical, ApicId(sender), told, &log).expect("intact tables and processor")
            }
            other => panic!("{other:?}"),
        };
        let addressed = memory.addressed(sender, icr);
        match rest {
            // Only here is it software's to set a bit, and all of them are.
            Rest::Send(_) if is_plain => {
                let vector = Vector::new(icr.vector()).expect("AVIC checks that first");
                for id in &addressed {
                    post(table, ApicId(*id), memory.page(*id), vector, TriggerMode::Edge, &log).expect("it is there");
                }
            }
            Rest::Send(_) => {
                assert!(!is_plain);
                return Ok(());
            }
            Rest::IllegalVector(vector) => {
                assert!(is_plain && vector == icr.vector() && vector < 16);
                return Ok(());
            }
            Rest::Told(_) => assert!(is_plain && icr.vector() >= 16),
        }
        assert_eq!(waiting(&memory, icr.vector()), addressed);
        let heard = |id: u32| {
            let rings = rung.iter().any(|host| *host == core_of(id).number());
            rings || log.0.borrow().iter().any(|action| match action {
                Action::RingDoorbell(host) => *host == core_of(id),
                Action::Wake(woken) => woken.0 == id,
                other => panic!("{other:?}"),
            })
        };
        for id in memory.ids.iter().copied().filter(|id| *id != sender) {
            assert_eq!(heard(id), addressed.contains(&id), "{id} is told if, and only if, it is addressed");
            assert!(!log.0.borrow().contains(&Action::Wake(ApicId(id))) || !runs(id), "{id} runs and is woken");
        }
        if addressed.contains(&sender) {
            // It hears its own doorbell, has sent to itself, or is entered after the exit.
            guest.hear_doorbell(memory.page(sender));
            assert_eq!(guest.recognition(), Recognition::Recognised);
        }
    }
}

/// What stops a directed command, in the order of the checks, and the entry it tells of.
#[test]
fn each_failure_has_its_number_and_index_and_nothing_has_been_done() {
    let memory = Memory::new(Addressing::Table(LogicalModel::Flat), vec![0, 1, 5], 16);
    let (table, _) = memory.tables(Ringer::Processor);
    let physical = |id: u32| Icr::new().with_vector(0x51).with_destination(id << 24);
    let logical = |bits| physical(bits).with_destination_mode(DestinationMode::Logical);
    let cases = [
        (physical(1).with_delivery(DeliveryMode::Nmi).with_vector(0), Failure::InvalidType, 0),
        (physical(1).with_trigger(TriggerMode::Level), Failure::InvalidType, 0),
        (physical(1).with_vector(0x0f), Failure::InvalidVector, 0),
        (physical(9).with_vector(0x0f), Failure::InvalidVector, 0),
        (physical(9), Failure::InvalidTarget, 9),
        (physical(200), Failure::InvalidTarget, 200),
        (logical(0b1011), Failure::InvalidTarget, 3),
    ];
    for (icr, failure, index) in cases {
        let mut guest = memory.guest(Processor::default());
        let ipi = write(&mut guest, &memory, 0, icr);
        let sent = guest.send_ipi(ipi, memory.page(0), &memory, &mut |signal| panic!("{signal:?}"));
        assert_eq!(sent, Access::Exit(Exit::IncompleteIpi { icr: icr.into(), failure, index }));
        let Access::Exit(exit) = sent else { panic!("{sent:?}") };
        assert_eq!((exit.code(), exit.info1()), (0x401, u64::from(icr)));
        assert_eq!(exit.info2(), (failure as u64) << 32 | u64::from(index));
        assert_eq!(waiting(&memory, icr.vector()), []);
    }
    // One that is not running, of several: all have got it.
    let log = Log::default();
    let mut running = AvicVcpu::new(ApicId(1), GaTag(1), table, memory.page(1)).expect("it is there");
    running.enter(core_of(1), &log).expect("it is there");
    let (mut guest, mut rung) = (memory.guest(Processor::default()), Vec::new());
    let icr = logical(0b111);
    let ipi = write(&mut guest, &memory, 0, icr);
    let sent = guest.send_ipi(ipi, memory.page(0), &memory, &mut |signal| rung.push(signal));
    let failure = Failure::TargetNotRunning;
    assert_eq!(sent, Access::Exit(Exit::IncompleteIpi { icr: icr.into(), failure, index: 0 }));
    assert_eq!(waiting(&memory, 0x51), [0, 1, 5]);
    assert_eq!(rung, [Signal::Doorbell(ApicId(core_of(1).number()))]);
}

/// In a cluster of number 15 there is nobody, whatever the table says.
#[test]
fn the_last_cluster_is_none() {
    let memory = Memory::new(Addressing::Table(LogicalModel::Cluster), vec![0, 1], 16);
    let _tables = memory.tables(Ringer::Processor);
    let last = memory.logical_entry(LOGICAL + 240).expect("entry 60");
    last.0.store(LogicalEntry::new().with_guest(1).with_is_valid(true).into(), Ordering::Relaxed);
    let icr = Icr::new().with_vector(0x51).with_destination(0xf1 << 24).with_destination_mode(DestinationMode::Logical);
    let mut guest = memory.guest(Processor::default());
    let ipi = write(&mut guest, &memory, 0, icr);
    let sent = guest.send_ipi(ipi, memory.page(0), &memory, &mut |signal| panic!("{signal:?}"));
    let failure = Failure::InvalidTarget;
    assert_eq!(sent, Access::Exit(Exit::IncompleteIpi { icr: icr.into(), failure, index: 60 }));
}

/// A table that names no page is the hypervisor's fault, and it says so.
#[test]
fn an_entry_without_a_page_is_reported_and_a_directed_command_sent_by_software() {
    let memory = Memory::new(Addressing::Derived, vec![0, 1], 16);
    let (table, logical) = memory.tables(Ringer::Processor);
    table.insert(ApicId(2), 0x9_9999).expect("room");
    let icr = Icr::new().with_vector(0x51).with_destination(2);
    let mut guest = memory.guest(Processor::default());
    let ipi = write(&mut guest, &memory, 0, icr);
    let sent = guest.send_ipi(ipi, memory.page(0), &memory, &mut |signal| panic!("{signal:?}"));
    let Access::Exit(exit @ Exit::IncompleteIpi { failure: Failure::InvalidBackingPage, index: 2, .. }) = sent else {
        panic!("{sent:?}")
    };
    let told = IncompleteIpi::from_info(exit.info1(), exit.info2());
    let broken = finish_ipi(table, logical, ApicId(0), told, &Log::default());
    let rest = Rest::Send(icr);
    assert_eq!(broken, Err(Broken::BackingPage { sender: ApicId(0), index: 2, rest }));
}

/// SELF IPI is a command to the sender.
#[test]
fn self_ipi_sets_the_senders_own_bit_and_is_seen_at_once() {
    let memory = Memory::new(Addressing::Derived, vec![3], 16);
    let _tables = memory.tables(Ringer::Processor);
    let mut guest = memory.guest(Processor::default());
    let page = memory.page(3);
    for (vector, expected) in [(0x51, true), (0x0f, false)] {
        let Access::Virtual(Some(ipi)) = guest.wrmsr(page, 0x83f, vector.into()) else { panic!("no command") };
        let sent = guest.send_ipi(ipi, page, &memory, &mut |signal| panic!("{signal:?}"));
        assert_eq!(sent == Access::Virtual(()), expected, "{sent:?}");
        assert_eq!(page.has(VectorBits::InterruptRequest, vector), expected);
    }
    assert_eq!(guest.recognition(), Recognition::Recognised);
}
