//! VT-d's remapping table beside an IOMMU that caches entries and goes on using what it has cached.

use std::cell::RefCell;
use std::collections::BTreeMap;

use hypervisor_abi::DomainId;
use hypervisor_abi::apic::TriggerMode;
use hypervisor_abi::posted::PostedDestination;
use hypervisor_abi::vtd::Capabilities;
use hypervisor_abi::vtd::DescriptorAddress;
use hypervisor_abi::vtd::ExtendedCapabilities;
use hypervisor_abi::vtd::Irte;
use hypervisor_lib::delivery::Engine;
use hypervisor_lib::delivery::posted::Urgency;
use hypervisor_lib::remapping::DeliverError;
use hypervisor_lib::remapping::Delivery;
use hypervisor_lib::remapping::EntryStore;
use hypervisor_lib::remapping::PostingRefusal;
use hypervisor_lib::remapping::RemapFault;
use hypervisor_lib::remapping::Remapped;
use hypervisor_lib::remapping::RemappingAction;
use hypervisor_lib::remapping::RemappingHost;
use hypervisor_lib::remapping::RequesterId;
use hypervisor_lib::remapping::Sender;
use hypervisor_lib::remapping::SourceCheck;
use hypervisor_lib::remapping::TableError;
use hypervisor_lib::remapping::VtdTable;
use hypervisor_lib::remapping::VtdUnit;
use hypervisor_lib::remapping::WidestStore;
use proptest::collection::vec;
use proptest::prelude::ProptestConfig;
use proptest::prelude::Strategy;
use proptest::prelude::any;
use proptest::prop_oneof;
use proptest::proptest;
use vector_allocator::Vector;

const NIC: RequesterId = RequesterId(0x0300);
const OTHER: RequesterId = RequesterId(0x0400);
const GUEST: DomainId = DomainId(1);

/// An IOMMU with a table in memory, and copies of what it has read of that.
#[derive(Default)]
struct Iommu {
    memory: RefCell<BTreeMap<u16, Irte>>,
    copies: RefCell<BTreeMap<u16, Irte>>,
    queued: RefCell<Vec<u16>>,
    log: RefCell<Vec<RemappingAction>>,
}

impl Iommu {
    /// What a request finds, and what the IOMMU remembers of it.
    fn read(&self, index: u16, keeps_absent: bool) -> Irte {
        let stored = self.memory.borrow().get(&index).copied().unwrap_or(Irte::ABSENT);
        if stored.is_present() || keeps_absent {
            *self.copies.borrow_mut().entry(index).or_insert(stored)
        } else {
            self.copies.borrow().get(&index).copied().unwrap_or(stored)
        }
    }

    fn take(&self) -> Vec<RemappingAction> {
        self.log.take()
    }
}

impl RemappingHost for Iommu {
    fn act(&self, action: RemappingAction) {
        self.log.borrow_mut().push(action);
        match action {
            RemappingAction::Store(index, store) => {
                let mut memory = self.memory.borrow_mut();
                let entry = memory.entry(index).or_insert(Irte::ABSENT);
                match store {
                    EntryStore::Low(low) => entry.low = low,
                    EntryStore::High(high) => entry.high = high,
                    EntryStore::Whole { from, to } => {
                        assert_eq!(*entry, from, "the exchange finds what it expects");
                        *entry = to;
                    }
                }
            }
            RemappingAction::Invalidate(index) => self.queued.borrow_mut().push(index),
            RemappingAction::AwaitInvalidation => {
                let queued = self.queued.take();
                self.copies.borrow_mut().retain(|index, _| !queued.contains(index));
            }
        }
    }
}

fn unit(store: WidestStore, caches_absent: bool) -> VtdUnit {
    VtdUnit {
        capabilities: Capabilities::new().with_posts(true).with_caches_absent(caches_absent),
        extended: ExtendedCapabilities::new().with_remaps(true).with_queues_invalidations(true),
        store,
    }
}

fn table(store: WidestStore) -> VtdTable {
    VtdTable::new(unit(store, false), 8).expect("an IOMMU that remaps")
}

fn check(device: RequesterId) -> SourceCheck {
    SourceCheck::of(Sender::Integrated(device)).expect("a known device")
}

fn host(vector: u8, cpu: u32) -> Delivery {
    let (vector, destination) = (Vector::new(vector).expect("a vector"), PostedDestination::from_bits(cpu));
    Delivery::Host { vector, destination, trigger: TriggerMode::Edge }
}

fn posted(vector: u8, address: u64) -> Delivery {
    let (vector, urgency) = (Vector::new(vector).expect("a vector"), Urgency::Ordinary);
    let descriptor = DescriptorAddress::new(address).expect("a multiple of 64");
    Delivery::Vcpu { vector, descriptor, urgency, engine: Engine::Posted }
}

#[test]
fn stores_come_first_then_the_invalidation_then_the_wait() {
    let (mut table, iommu) = (table(WidestStore::Bits128), Iommu::default());
    let index = table.claim(GUEST, check(NIC), 1).expect("room");
    table.deliver(index, host(0x41, 2), &iommu).expect("claimed");
    assert_eq!(iommu.take().len(), 1, "nothing is cached of an absent entry");
    let from = host(0x41, 2).entry(check(NIC));
    let to = posted(0x51, 0x12_3456_7880).entry(check(NIC));
    let forget = [RemappingAction::Invalidate(index), RemappingAction::AwaitInvalidation];
    table.deliver(index, posted(0x51, 0x12_3456_7880), &iommu).expect("claimed");
    let [store, rest @ ..] = &iommu.take()[..] else { panic!("a store") };
    assert_eq!(*store, RemappingAction::Store(index, EntryStore::Whole { from, to }));
    assert_eq!(*rest, forget);
    table.deliver(index, posted(0x51, 0x12_3456_7880), &iommu).expect("claimed");
    assert_eq!(iommu.take(), [], "nothing has changed");
}

#[test]
fn another_host_vector_or_cpu_is_one_store_of_64_bits_even_while_the_device_sends() {
    for store in [WidestStore::Bits64, WidestStore::Bits128] {
        let (mut table, iommu) = (table(store), Iommu::default());
        let index = table.claim(GUEST, check(NIC), 1).expect("room");
        table.deliver(index, host(0x41, 2), &iommu).expect("claimed");
        iommu.take();
        table.deliver(index, host(0x49, 3), &iommu).expect("one half");
        let low = host(0x49, 3).entry(check(NIC)).low;
        let actions = iommu.take();
        assert_eq!(actions[0], RemappingAction::Store(index, EntryStore::Low(low)));
        assert_eq!(actions.len(), 3);
    }
}

#[test]
fn an_interrupt_that_can_no_longer_be_posted_falls_back_and_comes_back() {
    let (mut table, iommu) = (table(WidestStore::Bits128), Iommu::default());
    let index = table.claim(GUEST, check(NIC), 1).expect("room");
    let descriptor = DescriptorAddress::new(0x1_0000_0040).expect("a multiple of 64");
    let becomes_posted = Remapped::Posted { vector: 0x51, descriptor, urgency: Urgency::Ordinary };
    for _ in 0..3 {
        table.deliver(index, posted(0x51, 0x1_0000_0040), &iommu).expect("claimed");
        assert_eq!(table.remap(index, NIC), Ok(becomes_posted));
        table.deliver(index, host(0x41, 2), &iommu).expect("claimed");
        let destination = PostedDestination::from_bits(2);
        assert_eq!(table.remap(index, NIC), Ok(Remapped::Host { vector: 0x41, destination }));
        let entry = iommu.memory.borrow()[&index];
        assert_eq!(entry.high >> 32, 0, "nothing of the descriptor's address is left where bits are reserved");
    }
}

#[test]
fn r42_a_request_of_another_device_does_not_pass_whatever_the_form() {
    let (mut table, iommu) = (table(WidestStore::Bits128), Iommu::default());
    let index = table.claim(GUEST, check(NIC), 1).expect("room");
    for delivery in [host(0x41, 2), posted(0x51, 0x40)] {
        table.deliver(index, delivery, &iommu).expect("claimed");
        assert!(table.remap(index, NIC).is_ok());
        assert_eq!(table.remap(index, OTHER), Err(RemapFault::WrongSource(index, OTHER)));
        let source = iommu.memory.borrow()[&index].high & 0xf_ffff;
        assert_eq!(source, check(NIC).bits().into(), "the entry in memory checks it, too");
    }
}

#[test]
fn r42_nothing_is_left_in_an_entry_that_was_given_back_nor_in_the_iommus_cache() {
    for store in [WidestStore::Bits64, WidestStore::Bits128] {
        let (mut table, iommu) = (table(store), Iommu::default());
        assert_eq!(table.claim(GUEST, check(NIC), 1), Ok(0));
        assert_eq!(table.claim(GUEST, check(NIC), 3), Ok(4), "several begin at a multiple of their number");
        assert_eq!(table.claim(GUEST, check(NIC), 4), Err(TableError::Full(4)));
        assert_eq!((table.owner(6), table.owner(7), table.owner(9)), (Some(GUEST), None, None));
        table.deliver(5, host(0x41, 2), &iommu).expect("claimed");
        assert!(iommu.read(5, false).is_present());
        assert_eq!(table.release(5, &iommu), Ok(()));
        assert_eq!(iommu.read(5, false), Irte::ABSENT, "the IOMMU has forgotten it");
        assert_eq!(table.remap(5, NIC), Err(RemapFault::NotPresent(5)));
        assert_eq!(table.remap(8, NIC), Err(RemapFault::BeyondTable(8)));
        assert_eq!(table.release(5, &iommu), Err(DeliverError::Unclaimed(5)));
        assert_eq!(table.deliver(5, host(0x41, 2), &iommu), Err(DeliverError::Unclaimed(5)));
        for index in [0, 4, 6] {
            table.release(index, &iommu).expect("claimed");
        }
        assert_eq!(table, self::table(store));
    }
}

#[test]
fn without_wide_stores_nothing_is_posted_and_the_entry_stays_as_it_was() {
    let (mut table, iommu) = (table(WidestStore::Bits64), Iommu::default());
    let index = table.claim(GUEST, check(NIC), 1).expect("room");
    table.deliver(index, host(0x41, 2), &iommu).expect("it was absent");
    let before = table.clone();
    iommu.take();
    let refused = DeliverError::Refused(index, PostingRefusal::Store);
    assert_eq!(table.deliver(index, posted(0x51, 0x40), &iommu), Err(refused));
    assert_eq!((table == before, iommu.take()), (true, Vec::new()));
}

#[test]
fn r50_a_vcpu_whose_processor_reads_no_descriptor_is_not_posted_to() {
    let (mut table, iommu) = (table(WidestStore::Bits128), Iommu::default());
    let index = table.claim(GUEST, check(NIC), 1).expect("room");
    let Delivery::Vcpu { vector, descriptor, urgency, .. } = posted(0x51, 0x40) else { panic!("posted") };
    let wanted = Delivery::Vcpu { vector, descriptor, urgency, engine: Engine::Apicv };
    let refused = DeliverError::Refused(index, PostingRefusal::Engine(Engine::Apicv));
    assert_eq!(table.deliver(index, wanted, &iommu), Err(refused));
    assert_eq!((iommu.take(), table.remap(index, NIC)), (Vec::new(), Err(RemapFault::NotPresent(index))));
}

#[test]
fn an_iommu_that_cannot_remap_or_be_told_to_forget_has_no_table() {
    let whole = unit(WidestStore::Bits128, false);
    let extended = ExtendedCapabilities::new();
    for extended in [extended, extended.with_remaps(true), extended.with_queues_invalidations(true)] {
        assert_eq!(VtdTable::new(VtdUnit { extended, ..whole }, 8), Err(TableError::NoRemapping));
    }
    assert_eq!(table(WidestStore::Bits128).claim(GUEST, check(NIC), 0), Err(TableError::Nothing));
}

#[derive(Clone, Debug)]
enum Event {
    Claim(u16),
    Deliver(u16, Delivery),
    Release(u16),
    Request(u16),
}

fn event() -> impl Strategy<Value = Event> {
    let delivery = prop_oneof![
        (16..=u8::MAX, any::<u32>()).prop_map(|(vector, cpu)| host(vector, cpu)),
        (16..=u8::MAX, any::<u64>()).prop_map(|(vector, address)| posted(vector, address & !63)),
    ];
    prop_oneof![
        1 => (0..5_u16).prop_map(Event::Claim),
        3 => (0..10_u16, delivery).prop_map(|(index, delivery)| Event::Deliver(index, delivery)),
        1 => (0..10_u16).prop_map(Event::Release),
        4 => (0..10_u16).prop_map(Event::Request),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]
    #[test]
    fn between_operations_an_iommu_goes_by_what_was_written_last(
        events in vec(event(), 0..60), wide in any::<bool>(), caches_absent in any::<bool>(),
    ) {
        let store = if wide { WidestStore::Bits128 } else { WidestStore::Bits64 };
        let mut table = VtdTable::new(unit(store, caches_absent), 8).expect("an IOMMU that remaps");
        let iommu = Iommu::default();
        let mut model: BTreeMap<u16, Irte> = BTreeMap::new();
        for event in events {
            match event {
                Event::Claim(count) => {
                    if let Ok(first) = table.claim(GUEST, check(NIC), count) {
                        for index in first..first + count {
                            assert_eq!(model.insert(index, Irte::ABSENT), None, "it was free");
                        }
                    }
                }
                Event::Deliver(index, delivery) => {
                    let done = table.deliver(index, delivery, &iommu);
                    let may = model.contains_key(&index) && (wide || matches!(delivery, Delivery::Host { .. }));
                    assert_eq!(done.is_ok(), may, "{done:?}");
                    if may {
                        model.insert(index, delivery.entry(check(NIC)));
                    }
                }
                Event::Release(index) => {
                    assert_eq!(table.release(index, &iommu).is_ok(), model.remove(&index).is_some());
                }
                Event::Request(index) => {
                    let expected = model.get(&index).copied().unwrap_or(Irte::ABSENT);
                    assert_eq!(iommu.read(index, caches_absent), expected);
                    assert_eq!(table.remap(index, NIC).is_ok(), expected.is_present());
                }
            }
        }
    }
}
