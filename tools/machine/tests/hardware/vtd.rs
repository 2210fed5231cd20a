//! VT-d: what the IOMMU makes of a request, against the table that the hypervisor keeps and the protocol of its descriptors.

use std::cell::Cell;
use std::cell::RefCell;

use carillon_machine::InterruptMessage;
use carillon_machine::PostedMemory;
use carillon_machine::Signal;
use carillon_machine::iommu::Compatibility;
use carillon_machine::iommu::Posting;
use carillon_machine::iommu::Remapping;
use carillon_machine::iommu::Report;
use carillon_machine::iommu::Request;
use carillon_machine::iommu::Vtd;
use carillon_machine::iommu::VtdFault;
use carillon_machine::iommu::VtdMemory;
use carillon_machine::iommu::VtdRegisters;
use carillon_machine::vmx::PhysicalWidth;
use hypervisor_abi::DomainId;
use hypervisor_abi::apic::ApicId;
use hypervisor_abi::apic::ApicMode;
use hypervisor_abi::apic::DeliveryMode;
use hypervisor_abi::apic::DestinationMode;
use hypervisor_abi::apic::MsiAddress;
use hypervisor_abi::apic::TriggerMode;
use hypervisor_abi::posted::PostedDescriptor;
use hypervisor_abi::posted::PostedDestination;
use hypervisor_abi::sync::Ordering;
use hypervisor_abi::vtd::Capabilities;
use hypervisor_abi::vtd::DescriptorAddress;
use hypervisor_abi::vtd::EntryInvalidation;
use hypervisor_abi::vtd::ExtendedCapabilities;
use hypervisor_abi::vtd::Irte;
use hypervisor_lib::delivery::Engine;
use hypervisor_lib::delivery::posted;
use hypervisor_lib::delivery::posted::Urgency;
use hypervisor_lib::remapping::Delivery;
use hypervisor_lib::remapping::EntryStore;
use hypervisor_lib::remapping::PhantomFunctions;
use hypervisor_lib::remapping::RemapFault;
use hypervisor_lib::remapping::Remapped;
use hypervisor_lib::remapping::RemappingAction;
use hypervisor_lib::remapping::RemappingHost;
use hypervisor_lib::remapping::RequesterId;
use hypervisor_lib::remapping::Sender;
use hypervisor_lib::remapping::SourceCheck;
use hypervisor_lib::remapping::Traffic;
use hypervisor_lib::remapping::VtdTable;
use hypervisor_lib::remapping::VtdUnit;
use hypervisor_lib::remapping::WidestStore;
use hypervisor_lib::remapping::write_order;
use proptest::collection::vec;
use proptest::prelude::Just;
use proptest::prelude::Strategy;
use proptest::prelude::any;
use proptest::prelude::prop_oneof;
use proptest::proptest;
use vector_allocator::Vector;

const TABLE: u64 = 0x40_0000;
const DESCRIPTORS: u64 = 0x1_2345_0000;
const NIC: u16 = 0x0318;

/// A table and descriptors.
struct Memory {
    entries: Vec<Cell<Irte>>,
    descriptors: Vec<PostedDescriptor>,
}

impl Memory {
    fn new(entries: usize) -> Self {
        let descriptors = (0..3).map(|_| PostedDescriptor::default()).collect();
        Self { entries: vec![Cell::new(Irte::ABSENT); entries], descriptors }
    }

    fn store(&self, index: u16, store: EntryStore) {
        let entry = &self.entries[usize::from(index)];
        entry.set(match store {
            EntryStore::Low(low) => Irte { low, ..entry.get() },
            EntryStore::High(high) => Irte { high, ..entry.get() },
            EntryStore::Whole { from, to } => {
                assert_eq!(entry.get(), from);
                to
            }
        });
    }
}

impl PostedMemory for Memory {
    fn descriptor(&self, address: u64) -> Option<&PostedDescriptor> {
        self.descriptors.get(usize::try_from(address.checked_sub(DESCRIPTORS)? / 64).ok()?)
    }
}

impl VtdMemory for Memory {
    fn remapping_entry(&self, address: u64) -> Option<Irte> {
        self.entries.get(usize::try_from(address.checked_sub(TABLE)? / 16).ok()?).map(Cell::get)
    }
}

const REGISTERS: VtdRegisters = VtdRegisters::new(TABLE, 3, ApicMode::X2Apic);

fn vtd() -> Vtd {
    Vtd::new(REGISTERS)
}

/// A request in remappable format, without a subhandle.
fn request(index: u16, requester: u16) -> Request {
    let index = u32::from(index);
    let address = MsiAddress::from(0xfee0_0010 | (index & 0x7fff) << 5 | index >> 15 << 2);
    Request { address, data: 0, requester }
}

/// What a request comes to: the messages sent for it, or why it is blocked.
fn outcome(vtd: &mut Vtd, memory: &Memory, request: Request) -> Result<Vec<InterruptMessage>, (VtdFault, Report)> {
    let mut sent = Vec::new();
    let done = vtd.request(request, memory, &mut |signal| match signal {
        Signal::Interrupt(message) => sent.push(message),
        Signal::Doorbell(id) => panic!("{id} is rung"),
    });
    done.map(|()| sent)
}

fn host(vector: u8, cpu: u32) -> Delivery {
    let destination = PostedDestination::from_bits(cpu);
    Delivery::Host { vector: Vector::new(vector).expect("legal"), destination, trigger: TriggerMode::Edge }
}

fn vcpu(vector: u8, which: u64, urgency: Urgency) -> Delivery {
    let descriptor = DescriptorAddress::new(DESCRIPTORS + which * 64).expect("a multiple of 64");
    Delivery::Vcpu { vector: Vector::new(vector).expect("legal"), descriptor, urgency, engine: Engine::Posted }
}

fn urgencies() -> impl Strategy<Value = Urgency> {
    prop_oneof![Just(Urgency::Ordinary), Just(Urgency::Urgent)]
}

fn deliveries() -> impl Strategy<Value = Delivery> {
    prop_oneof![
        (16_u8.., any::<u32>()).prop_map(|(vector, cpu)| host(vector, cpu)),
        (16_u8.., 0..3_u64, urgencies()).prop_map(|(vector, which, urgency)| vcpu(vector, which, urgency)),
    ]
}

fn senders() -> impl Strategy<Value = Sender> {
    let function = RequesterId(NIC);
    let phantoms = [PhantomFunctions::None, PhantomFunctions::Two, PhantomFunctions::Four, PhantomFunctions::Eight];
    prop_oneof![
        proptest::sample::select(phantoms.to_vec()).prop_map(move |phantoms| Sender::Express { function, phantoms }),
        Just(Sender::BehindExpressBridge { function, bridge: RequesterId(0x0108) }),
        Just(Sender::BehindBridge { bridge: RequesterId(0x0108) }),
    ]
}

fn unit(store: WidestStore) -> VtdUnit {
    VtdUnit {
        capabilities: Capabilities::new().with_posts(true),
        extended: ExtendedCapabilities::new().with_remaps(true).with_queues_invalidations(true),
        store,
    }
}

/// The hypervisor's edge: what it is asked to do is done to the machine.
struct Edge<'a> {
    memory: &'a Memory,
    vtd: RefCell<Vtd>,
}

impl RemappingHost for Edge<'_> {
    fn act(&self, action: RemappingAction) {
        match action {
            RemappingAction::Store(index, store) => self.memory.store(index, store),
            RemappingAction::Invalidate(index) => {
                self.vtd.borrow_mut().invalidate(EntryInvalidation::new().with_is_selective(true).with_index(index));
            }
            RemappingAction::AwaitInvalidation => {}
        }
    }
}

/// Something the hypervisor does to its table, or a device that sends.
#[derive(Clone, Copy, Debug)]
enum Step {
    Claim(Sender, u16),
    Deliver(u16, Delivery),
    Release(u16),
    Request(u16, u16),
}

fn steps() -> impl Strategy<Value = Step> {
    let requesters = prop_oneof![4 => Just(NIC), 1 => Just(0x0108_u16), 1 => 0x0310..0x0320_u16, 1 => any::<u16>()];
    prop_oneof![
        1 => (senders(), 1..4_u16).prop_map(|(sender, count)| Step::Claim(sender, count)),
        3 => (0..8_u16, deliveries()).prop_map(|(index, delivery)| Step::Deliver(index, delivery)),
        1 => (0..8_u16).prop_map(Step::Release),
        5 => (0..20_u16, requesters).prop_map(|(index, requester)| Step::Request(index, requester)),
    ]
}

proptest! {
    #[test]
    fn any_history_of_a_table_makes_of_any_request_what_the_hypervisor_says(steps in vec(steps(), 1..60)) {
        let memory = Memory::new(16);
        let edge = Edge { memory: &memory, vtd: RefCell::new(vtd()) };
        let mut table = VtdTable::new(unit(WidestStore::Bits128), 16).expect("it remaps");
        for step in steps {
            match step {
                // What cannot be done changes nothing, and is seen in the requests after it.
                Step::Claim(sender, count) => {
                    let check = SourceCheck::of(sender).expect("known");
                    _ = table.claim(DomainId(1), check, count);
                }
                Step::Deliver(index, delivery) => table.deliver(index, delivery, &edge).unwrap_or(()),
                Step::Release(index) => table.release(index, &edge).unwrap_or(()),
                Step::Request(index, requester) => {
                    let expected = table.remap(index, RequesterId(requester));
                    let twins = Memory::new(0);
                    for (twin, own) in twins.descriptors.iter().zip(&memory.descriptors) {
                        let copy = own.control.load(Ordering::Relaxed);
                        twin.control.store(copy, Ordering::Relaxed);
                    }
                    let found = outcome(&mut edge.vtd.borrow_mut(), &memory, request(index, requester));
                    match expected {
                        Ok(Remapped::Host { vector, destination }) => {
                            let message = InterruptMessage::fixed(vector, ApicId(destination.into_bits()));
                            assert_eq!(found, Ok(vec![message]));
                        }
                        Ok(Remapped::Posted { vector, descriptor, urgency }) => {
                            let twin = twins.descriptor(descriptor.address()).expect("one of three");
                            let notice = posted::post(twin, Vector::new(vector).expect("legal"), urgency);
                            let sent = notice.map(|notice| {
                                InterruptMessage::fixed(notice.vector, ApicId(notice.destination.into_bits()))
                            });
                            assert_eq!(found, Ok(sent.into_iter().collect()));
                            let own = memory.descriptor(descriptor.address()).expect("one of three");
                            let bit = own.pir[usize::from(vector / 64)].load(Ordering::Relaxed) >> (vector % 64);
                            assert_eq!(bit & 1, 1, "{vector:#x} is posted");
                            assert_eq!(own.control.load(Ordering::Relaxed), twin.control.load(Ordering::Relaxed));
                        }
                        Err(fault) => {
                            let fault = match fault {
                                RemapFault::BeyondTable(_) => VtdFault::BeyondTable,
                                RemapFault::NotPresent(_) => VtdFault::NotPresent,
                                RemapFault::WrongSource(..) => VtdFault::WrongSource,
                            };
                            assert_eq!(found, Err((fault, Report::Recorded)));
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn a_posting_iommu_notifies_as_any_agent_does_unless_it_is_urgent(
        control in (0..4_u64, any::<u8>(), any::<u32>()),
        vector in 16_u8..,
        urgency in urgencies(),
    ) {
        let (states, notification, destination) = control;
        let word = states | u64::from(notification) << 16 | u64::from(destination) << 32;
        let (memory, twin) = (Memory::new(16), PostedDescriptor::default());
        let own = &memory.descriptors[1];
        [own, &twin].into_iter().for_each(|descriptor| descriptor.control.store(word, Ordering::Relaxed));
        let check = SourceCheck::of(Sender::Integrated(RequesterId(NIC))).expect("known");
        memory.entries[5].set(vcpu(vector, 1, urgency).entry(check));
        let expected = posted::post(&twin, Vector::new(vector).expect("legal"), urgency)
            .map(|notice| InterruptMessage::fixed(notice.vector, ApicId(notice.destination.into_bits())));
        assert_eq!(outcome(&mut vtd(), &memory, request(5, NIC)), Ok(expected.into_iter().collect()));
        assert_eq!(own.control.load(Ordering::Relaxed), twin.control.load(Ordering::Relaxed));
        for (own, twin) in own.pir.iter().zip(&twin.pir) {
            assert_eq!(own.load(Ordering::Relaxed), twin.load(Ordering::Relaxed));
        }
    }

    /// The hypervisor's promise: whenever the IOMMU reads a live entry that changes, it goes by the old or by the new one.
    #[test]
    fn between_any_two_stores_a_request_goes_by_the_old_entry_or_by_the_new(
        (from, to) in (deliveries(), deliveries()),
        widest in prop_oneof![Just(WidestStore::Bits64), Just(WidestStore::Bits128)],
    ) {
        let check = SourceCheck::of(Sender::Integrated(RequesterId(NIC))).expect("known");
        let (from, to) = (from.entry(check), to.entry(check));
        let by = |entry| {
            let memory = Memory::new(16);
            memory.entries[0].set(entry);
            let flight = vtd().look_up(request(0, NIC), &memory);
            flight.expect("it is present")
        };
        let Ok(stores) = write_order(from, to, widest, Traffic::Live) else { return Ok(()) };
        let memory = Memory::new(16);
        memory.entries[0].set(from);
        for store in stores {
            memory.store(0, store);
            let found = vtd().look_up(request(0, NIC), &memory).expect("it stays present");
            assert!([by(from), by(to)].contains(&found), "{from:x?} {to:x?}");
        }
        assert_eq!(memory.entries[0].get(), to);
    }
}

/// An entry that is present and checks nothing, in either form.
const REMAPPED: Irte = Irte { low: 0x0000_0500_0051_0001, high: 0 };
const POSTED: Irte = Irte { low: DESCRIPTORS << 32 | 0x0051_8001, high: DESCRIPTORS >> 32 << 32 };

#[test]
fn every_bit_of_an_entry_is_defined_or_blocks_the_request() {
    // From the specification's figures (9.9, 9.10): the bits that are neither reserved nor part of the source check. In
    // either form bit 82, with 83, makes a check that has no meaning.
    let defined = |entry: Irte, mode| match (entry.low >> 15 & 1, mode) {
        (0, ApicMode::X2Apic) => 0x0000_0000_0003_ffff_ffff_ffff_00ff_0fff_u128,
        (0, _) => 0x0000_0000_0003_ffff_0000_ff00_00ff_0fff,
        _ => 0xffff_ffff_0003_ffff_ffff_ffc0_00ff_cf03,
    };
    for mode in [ApicMode::XApic, ApicMode::X2Apic] {
        for entry in [REMAPPED, POSTED] {
            for bit in 0..128 {
                // The present bit, the form and the kinds of delivery have tests of their own; SVT too.
                if [0, 5, 6, 7, 15, 82, 83].contains(&bit) {
                    continue;
                }
                let memory = Memory::new(16);
                let bits = entry.bits() ^ 1 << bit;
                let half = |bits: u128| u64::try_from(bits & u128::from(u64::MAX)).expect("64 bits");
                memory.entries[0].set(Irte { low: half(bits), high: half(bits >> 64) });
                let mut vtd = Vtd::new(VtdRegisters { mode, ..REGISTERS });
                let found = vtd.look_up(request(0, NIC), &memory).map(|_| ());
                let is_defined = defined(entry, mode) >> bit & 1 == 1;
                let fault = Err((VtdFault::ReservedInEntry, Report::Recorded));
                assert_eq!(found, if is_defined { Ok(()) } else { fault }, "{entry:x?} {mode:?}, bit {bit}");
            }
        }
    }
}

#[test]
fn the_source_check_compares_as_many_bits_as_it_says_or_the_bus() {
    let memory = Memory::new(16);
    let set =
        |svt: u64, sq: u64, sid: u64| memory.entries[0].set(Irte { high: svt << 18 | sq << 16 | sid, ..REMAPPED });
    for (svt, sq, sid, accepted) in [
        (0, 0, 0x0318, 0x1_0000),
        (1, 0, 0x0318, 1),
        (1, 1, 0x0318, 2),
        (1, 2, 0x0318, 4),
        (1, 3, 0x0318, 8),
        (2, 0, 0x0203, 0x200),
        (2, 0, 0x0302, 0),
    ] {
        set(svt, sq, sid);
        let answers = |requester: &u16| vtd().look_up(request(0, *requester), &memory).is_ok();
        assert_eq!((0..=u16::MAX).filter(answers).count(), accepted, "SVT {svt}, SQ {sq}");
        let blocked = vtd().look_up(request(0, 0x0420), &memory).err();
        let expected = if svt == 0 { None } else { Some((VtdFault::WrongSource, Report::Recorded)) };
        assert_eq!(blocked, expected);
    }
    set(3, 0, NIC.into());
    let reserved = vtd().look_up(request(0, NIC), &memory).err();
    assert_eq!(reserved, Some((VtdFault::ReservedInEntry, Report::Recorded)));
}

#[test]
fn faults_have_the_specifications_numbers_and_fpd_silences_those_of_an_entry() {
    let memory = Memory::new(16);
    let fault = |vtd: &mut Vtd, request| outcome(vtd, &memory, request).expect_err("it is blocked");
    let subhandle = Request { address: MsiAddress::from(0xfee0_0018), data: 0x1_0000, requester: NIC };
    assert_eq!(fault(&mut vtd(), subhandle), (VtdFault::ReservedInRequest, Report::Recorded));
    assert_eq!(fault(&mut vtd(), request(16, NIC)), (VtdFault::BeyondTable, Report::Recorded));
    let elsewhere = &mut Vtd::new(VtdRegisters { table: 0x9000, ..REGISTERS });
    assert_eq!(fault(elsewhere, request(0, NIC)), (VtdFault::NoTable, Report::Recorded));
    for (fpd, report) in [(0, Report::Recorded), (2, Report::Silent)] {
        let check = |entry: Irte, expected| {
            memory.entries[0].set(Irte { low: entry.low | fpd, ..entry });
            assert_eq!(fault(&mut vtd(), request(0, NIC)), (expected, report));
        };
        check(Irte::ABSENT, VtdFault::NotPresent);
        check(Irte { low: REMAPPED.low | 3 << 5, ..REMAPPED }, VtdFault::ReservedInEntry);
        check(Irte { high: 1 << 18 | 0x0500, ..REMAPPED }, VtdFault::WrongSource);
        check(Irte { low: POSTED.low ^ 1 << 50, ..POSTED }, VtdFault::NoDescriptor);
        memory.descriptors[0].control.store(1 << 24, Ordering::Relaxed);
        check(POSTED, VtdFault::ReservedInDescriptor);
        memory.descriptors[0].control.store(0, Ordering::Relaxed);
    }
    memory.entries[0].set(POSTED);
    let narrow = &mut Vtd::new(VtdRegisters { width: PhysicalWidth(32), ..REGISTERS });
    assert_eq!(fault(narrow, request(0, NIC)), (VtdFault::NoDescriptor, Report::Recorded));
    let without = &mut Vtd::new(VtdRegisters { posting: Posting::Absent, ..REGISTERS });
    assert_eq!(fault(without, request(0, NIC)), (VtdFault::ReservedInEntry, Report::Recorded));
    let reasons = [
        VtdFault::ReservedInRequest,
        VtdFault::BeyondTable,
        VtdFault::NotPresent,
        VtdFault::NoTable,
        VtdFault::ReservedInEntry,
        VtdFault::Compatibility,
        VtdFault::WrongSource,
        VtdFault::NoDescriptor,
        VtdFault::ReservedInDescriptor,
    ];
    assert!(reasons.into_iter().map(VtdFault::reason).eq(0x20..=0x28));
}

#[test]
fn a_handle_has_sixteen_bits_and_a_subhandle_is_added_to_it() {
    let memory = Memory::new(1 << 16);
    let mut vtd = Vtd::new(VtdRegisters { size: 15, ..REGISTERS });
    let at = |index: u16| {
        let entry = Irte { low: REMAPPED.low & 0xffff_ffff | u64::from(index) << 32, ..REMAPPED };
        memory.entries[usize::from(index)].set(entry);
        Ok(vec![InterruptMessage::fixed(0x51, ApicId(index.into()))])
    };
    for index in (0..16).map(|bit| 1 << bit).chain([0, u16::MAX]) {
        let expected = at(index);
        assert_eq!(outcome(&mut vtd, &memory, request(index, NIC)), expected);
    }
    let with = |handle: u16, data| {
        let Request { address, .. } = request(handle, NIC);
        Request { address: MsiAddress::from(u32::from(address) | 8), data, requester: NIC }
    };
    let expected = at(0x0123);
    assert_eq!(outcome(&mut vtd, &memory, with(0x0120, 3)), expected);
    let beyond = Err((VtdFault::BeyondTable, Report::Recorded));
    assert_eq!(outcome(&mut vtd, &memory, with(u16::MAX, 1)), beyond);
    // Without a subhandle the data says nothing.
    let data = Request { data: 0xffff_0001, ..request(0x0123, NIC) };
    assert_eq!(outcome(&mut vtd, &memory, data), expected);
}

#[test]
fn a_request_without_an_index_passes_only_if_it_is_let_and_never_in_x2apic_mode() {
    let memory = Memory::new(16);
    let message = Request { address: MsiAddress::from(0xfee0_5000), data: 0x4031, requester: NIC };
    let passed = Ok(vec![InterruptMessage::fixed(0x31, ApicId(5))]);
    let blocked = Err((VtdFault::Compatibility, Report::Recorded));
    for mode in [ApicMode::XApic, ApicMode::X2Apic] {
        for compatibility in [Compatibility::Blocked, Compatibility::Passed] {
            let mut vtd = Vtd::new(VtdRegisters { mode, compatibility, ..REGISTERS });
            let passes = mode == ApicMode::XApic && compatibility == Compatibility::Passed;
            assert_eq!(outcome(&mut vtd, &memory, message), if passes { passed.clone() } else { blocked.clone() });
            vtd.registers.remapping = Remapping::Off;
            assert_eq!(outcome(&mut vtd, &memory, message), passed);
        }
    }
}

#[test]
fn a_remapped_message_says_all_that_its_entry_says() {
    let memory = Memory::new(16);
    let sent = |low: u64, mode| {
        memory.entries[0].set(Irte { low: low | 1, high: 0 });
        let found = outcome(&mut Vtd::new(VtdRegisters { mode, ..REGISTERS }), &memory, request(0, NIC));
        found.expect("it is remapped")[0]
    };
    let x2 = ApicMode::X2Apic;
    let fixed = InterruptMessage::fixed(0x51, ApicId(0x0001_0002));
    assert_eq!(sent(0x0001_0002_0051_0000, x2), fixed);
    assert_eq!(sent(0x0000_0500_0051_0000, ApicMode::XApic), InterruptMessage::fixed(0x51, ApicId(5)));
    let logical = InterruptMessage { destination_mode: DestinationMode::Logical, ..fixed };
    assert_eq!(sent(0x0001_0002_0051_0004, x2), logical);
    assert_eq!(sent(0x0001_0002_0051_0010, x2), InterruptMessage { trigger: TriggerMode::Level, ..fixed });
    // A hint to redirect means something for logical destinations alone.
    let lowest = DeliveryMode::LowestPriority;
    assert_eq!(sent(0x0001_0002_0051_000c, x2), InterruptMessage { delivery: lowest, ..logical });
    assert_eq!(sent(0x0001_0002_0051_0008, x2), fixed);
    for (kind, delivery) in [
        (1, lowest),
        (2, DeliveryMode::Smi),
        (4, DeliveryMode::Nmi),
        (5, DeliveryMode::Init),
        (7, DeliveryMode::ExtInt),
    ] {
        assert_eq!(sent(0x0001_0002_0051_0000 | kind << 5, x2), InterruptMessage { delivery, ..fixed });
    }
}

/// What makes invalidations necessary: the IOMMU goes on by what it has read.
#[test]
fn an_entry_counts_as_it_was_until_it_is_invalidated_and_a_flight_as_it_began() {
    let memory = Memory::new(16);
    let mut vtd = vtd();
    let new = Irte { low: REMAPPED.low ^ 1 << 16, ..REMAPPED };
    let by = |entry: Irte| Ok(vec![InterruptMessage::fixed(entry.low.to_le_bytes()[2], ApicId(0x500))]);
    memory.entries[6].set(REMAPPED);
    assert_eq!(outcome(&mut vtd, &memory, request(6, NIC)), by(REMAPPED));
    memory.entries[6].set(new);
    let one = |index, mask| EntryInvalidation::new().with_is_selective(true).with_index(index).with_index_mask(mask);
    for others in [one(7, 0), one(8, 3), one(4, 1)] {
        vtd.invalidate(others);
        assert_eq!(outcome(&mut vtd, &memory, request(6, NIC)), by(REMAPPED), "{others:?}");
    }
    let flight = vtd.look_up(request(6, NIC), &memory).expect("it is present");
    for naming in [one(6, 0), one(4, 2), one(0, 16), EntryInvalidation::new()] {
        memory.entries[6].set(REMAPPED);
        outcome(&mut vtd, &memory, request(6, NIC)).expect("it is present");
        memory.entries[6].set(new);
        vtd.invalidate(naming);
        assert_eq!(outcome(&mut vtd, &memory, request(6, NIC)), by(new), "{naming:?}");
        vtd.invalidate(EntryInvalidation::new());
    }
    let mut sent = Vec::new();
    vtd.deliver(flight, &memory, &mut |signal| sent.push(signal)).expect("a message");
    assert_eq!(sent, [Signal::Interrupt(by(REMAPPED).expect("a message")[0])]);
    // An absent entry is kept only by an IOMMU that says so.
    for caches_absent in [false, true] {
        let mut vtd = Vtd::new(VtdRegisters { caches_absent, ..REGISTERS });
        memory.entries[6].set(Irte::ABSENT);
        vtd.look_up(request(6, NIC), &memory).expect_err("it is absent");
        memory.entries[6].set(new);
        assert_eq!(vtd.look_up(request(6, NIC), &memory).is_ok(), !caches_absent);
    }
}
