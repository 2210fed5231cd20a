//! The hypercall for physical IRQs: who may map what, under which number, and what is left when it fails.

use hypervisor_abi::DomainId;
use hypervisor_abi::Errno;
use hypervisor_abi::VcpuId;
use hypervisor_abi::hvm::CallbackVia;
use hypervisor_abi::physdev::GetFreePirq;
use hypervisor_abi::physdev::IRQ_STATUS_NEEDS_EOI;
use hypervisor_abi::physdev::IRQ_STATUS_SHARED;
use hypervisor_abi::physdev::IrqStatusQuery;
use hypervisor_abi::physdev::MAP_PIRQ_TYPE_GSI;
use hypervisor_abi::physdev::MAP_PIRQ_TYPE_MSI;
use hypervisor_abi::physdev::MAP_PIRQ_TYPE_MSI_SEG;
use hypervisor_abi::physdev::MAP_PIRQ_TYPE_MULTI_MSI;
use hypervisor_abi::physdev::MAP_PIRQ_TYPE_UNKNOWN;
use hypervisor_abi::physdev::MapPirq;
use hypervisor_abi::physdev::PirqEoi;
use hypervisor_abi::physdev::PirqEoiGmfn;
use hypervisor_abi::physdev::UnmapPirq;
use hypervisor_lib::event::Action;
use hypervisor_lib::event::DomainConfig;
use hypervisor_lib::event::EoiUnmask;
use hypervisor_lib::event::LineWay;
use hypervisor_lib::event::Mapping;
use hypervisor_lib::event::MaskState;
use hypervisor_lib::event::MessageWay;
use hypervisor_lib::event::Permission;
use hypervisor_lib::event::PhysdevCall;
use hypervisor_lib::event::Sharing;
use hypervisor_lib::event::Use;
use hypervisor_lib::event::WordSize;
use hypervisor_lib::fabric::DomainKind;

use crate::guest::Guest;
use crate::host::TestHost;
use crate::host::domain;
use crate::irqs::LINES;

const V0: VcpuId = VcpuId(0);
const SELF: u16 = DomainId::SELF.0;

/// dom0, a paravirtual guest 1, and an HVM guest 2 that takes its events by a vector. Each has physical IRQs 0–63.
fn host() -> TestHost {
    let host = TestHost::new([domain(0), domain(1), DomainConfig { kind: DomainKind::Hvm, ..domain(2) }]);
    host.get(2).set_callback_via(&host, CallbackVia::Vector(0xf3), WordSize::Bits64).expect("a callback");
    host.take_actions();
    host
}

fn call(host: &TestHost, caller: u16, mut call: PhysdevCall) -> Result<PhysdevCall, Errno> {
    host.get(caller).physdev_op(host, &mut call).map_err(|error| error.errno())?;
    (0..3).for_each(|id| host.get(id).check(host).expect("sound"));
    Ok(call)
}

/// Maps; the number and the index that came back.
fn map(host: &TestHost, caller: u16, arg: MapPirq) -> Result<(i32, i32), Errno> {
    let PhysdevCall::MapPirq(arg) = call(host, caller, PhysdevCall::MapPirq(arg))? else {
        unreachable!("the call keeps its kind")
    };
    Ok((arg.pirq, arg.index))
}

fn unmap(host: &TestHost, caller: u16, domid: u16, pirq: i32) -> Result<(), Errno> {
    call(host, caller, PhysdevCall::UnmapPirq(UnmapPirq { domid, pad: 0, pirq })).map(|_| ())
}

fn get_free(host: &TestHost, caller: u16, kind: i32) -> Result<u32, Errno> {
    let PhysdevCall::GetFreePirq(arg) = call(host, caller, PhysdevCall::GetFreePirq(GetFreePirq { kind, pirq: 0 }))?
    else {
        unreachable!("the call keeps its kind")
    };
    Ok(arg.pirq)
}

fn status(host: &TestHost, caller: u16, irq: u32) -> Result<u32, Errno> {
    let query = PhysdevCall::IrqStatusQuery(IrqStatusQuery { irq, flags: 0 });
    let PhysdevCall::IrqStatusQuery(arg) = call(host, caller, query)? else { unreachable!("the call keeps its kind") };
    Ok(arg.flags)
}

fn eoi(host: &TestHost, caller: u16, irq: u32) -> Result<(), Errno> {
    call(host, caller, PhysdevCall::Eoi(PirqEoi { irq })).map(|_| ())
}

fn line(domid: u16, index: i32, pirq: i32) -> MapPirq {
    MapPirq { domid, kind: MAP_PIRQ_TYPE_GSI, index, pirq, ..MapPirq::default() }
}

fn message(domid: u16, devfn: i32, pirq: i32) -> MapPirq {
    MapPirq { domid, kind: MAP_PIRQ_TYPE_MSI, index: -1, pirq, devfn, ..MapPirq::default() }
}

fn messages(domid: u16, devfn: i32, entry_nr: i32) -> MapPirq {
    MapPirq { kind: MAP_PIRQ_TYPE_MULTI_MSI, entry_nr, ..message(domid, devfn, -1) }
}

#[test]
fn dom0_maps_lines_by_their_number_and_hands_them_to_guests() {
    let host = host();
    assert_eq!(map(&host, 0, line(SELF, 9, 9)), Ok((9, 9)));
    assert_eq!(map(&host, 0, line(SELF, 9, -1)), Ok((9, 9)), "the number it has already");
    assert_eq!(map(&host, 0, line(1, 17, -1)), Ok((16, 17)), "the lowest that is not ISA's");
    assert_eq!((host.get(0).pirq_mapping(9), host.get(1).pirq_mapping(16)), (Mapping::Irq(9), Mapping::Irq(17)));
    assert!(host.with_irqs(|irqs| irqs.permitted.contains(&(DomainId(1), 17))));
    assert_eq!(map(&host, 0, line(1, 17, 20)), Err(Errno::Exists));
    assert_eq!(map(&host, 0, line(1, 18, 16)), Ok((16, 18)), "a number that stands for something else stays so");
    assert_eq!(host.get(1).pirq_mapping(16), Mapping::Irq(17));
    for index in [-1, 24, i32::MIN, i32::MAX] {
        assert_eq!(map(&host, 0, line(1, index, -1)), Err(Errno::Invalid));
    }
    for pirq in [64, i32::MAX] {
        assert_eq!(map(&host, 0, line(1, 18, pirq)), Err(Errno::Invalid));
    }
    assert_eq!(map(&host, 0, line(1, 0, -1)), Err(Errno::Invalid), "irq 0 is the hypervisor's");
    assert_eq!(map(&host, 0, line(9, 18, -1)), Err(Errno::NoDomain));
    for kind in [MAP_PIRQ_TYPE_UNKNOWN, 5, -1] {
        assert_eq!(map(&host, 0, MapPirq { kind, ..line(1, 18, -1) }), Err(Errno::Invalid));
    }
    unmap(&host, 0, 1, 16).expect("mapped");
    assert_eq!(host.get(1).pirq_mapping(16), Mapping::None);
    assert!(host.with_irqs(|irqs| irqs.permitted.is_empty()));
    assert_eq!(unmap(&host, 0, 1, 16), Err(Errno::Invalid));
    assert_eq!(unmap(&host, 0, 1, -1), Err(Errno::Invalid));
    assert_eq!(unmap(&host, 0, 9, 16), Err(Errno::NoDomain));
}

/// XSA-46, XSA-237.
#[test]
fn r40_a_grant_maps_nothing_and_nobody_maps_or_unmaps_real_irqs_for_himself() {
    let host = host();
    let permit =
        |pirq, permission| host.get(0).permit_pirq(&host, DomainId(1), pirq, permission).map_err(|error| error.errno());
    assert_eq!(permit(17, Permission::Granted), Err(Errno::NotPermitted), "dom0 has not mapped it");
    assert_eq!(permit(64, Permission::Granted), Err(Errno::Invalid));
    map(&host, 0, line(SELF, 17, 17)).expect("dom0's own");
    permit(17, Permission::Granted).expect("mapped");
    let own = host.get(1).permit_pirq(&host, DomainId(1), 17, Permission::Granted);
    assert_eq!(own.map_err(|error| error.errno()), Err(Errno::NotPermitted));
    // The guest may use the IRQ now, and has no number for it.
    assert_eq!(map(&host, 1, line(SELF, 17, -1)), Err(Errno::NotPermitted));
    assert_eq!(host.get(1).pirq_mapping(17), Mapping::None);
    permit(17, Permission::Revoked).expect("mapped");
    assert!(host.with_irqs(|irqs| irqs.permitted.is_empty()));

    map(&host, 0, line(1, 18, -1)).expect("a line");
    let hvm = map(&host, 0, line(2, 19, -1)).expect("a line").0;
    host.get(2).bind_pirq(&host, 16, Sharing::Shared).expect("a port");
    assert_eq!(unmap(&host, 1, SELF, 16), Err(Errno::NotPermitted));
    assert_eq!(unmap(&host, 1, 2, hvm), Err(Errno::NotPermitted));
    assert_eq!(unmap(&host, 2, SELF, hvm), Ok(()), "an HVM guest ends how it uses the number");
    assert_eq!((host.get(2).pirq_use(16), host.get(2).pirq_mapping(16)), (Use::None, Mapping::Irq(19)));
    assert_eq!(unmap(&host, 2, SELF, 99), Ok(()));
    host.with_irqs(|irqs| irqs.not_offered.insert(DomainId(2)));
    assert_eq!(unmap(&host, 2, SELF, hvm), Err(Errno::NotPermitted));
    assert_eq!(map(&host, 2, line(SELF, 17, -1)), Err(Errno::NotPermitted));
}

#[test]
fn a_device_model_maps_for_its_client_what_it_may_use_itself() {
    let privilege = hypervisor_lib::event::Privilege::Over(DomainId(2));
    let host = TestHost::new([domain(0), DomainConfig { privilege, ..domain(1) }, domain(2)]);
    host.add_device(8, 2, 1);
    host.add_device(16, 1, 1);
    assert_eq!(map(&host, 1, line(2, 17, -1)), Err(Errno::Invalid), "it has not mapped the line");
    map(&host, 0, line(1, 17, 5)).expect("a line");
    assert_eq!(map(&host, 1, line(2, 5, -1)), Ok((16, 5)));
    assert_eq!(host.get(2).pirq_mapping(16), Mapping::Irq(17));
    host.with_irqs(|irqs| irqs.permitted.remove(&(DomainId(1), 17)));
    assert_eq!(map(&host, 1, line(2, 5, 20)), Err(Errno::Exists));
    assert_eq!(map(&host, 1, line(2, 5, 16)), Err(Errno::NotPermitted), "the line was taken from it");
    assert_eq!(map(&host, 1, message(2, 8, -1)), Ok((63, -1)));
    assert_eq!(map(&host, 1, message(2, 16, -1)), Err(Errno::NoDevice), "a device that is not the client's");
    assert_eq!(map(&host, 1, message(0, 8, -1)), Err(Errno::NotPermitted));
    assert_eq!(map(&host, 1, message(SELF, 16, -1)), Err(Errno::NotPermitted), "nor its own");
}

#[test]
fn messages_get_the_highest_free_numbers_and_an_irq_each() {
    let host = host();
    (0..3).for_each(|device| host.add_device(8 * device, 1, 8));
    assert_eq!(map(&host, 0, message(1, 0, -1)), Ok((63, -1)));
    let segment_2 = MapPirq { kind: MAP_PIRQ_TYPE_MSI_SEG, bus: 0x2_0305, ..message(1, 8, 40) };
    assert_eq!(map(&host, 0, segment_2), Ok((40, -1)));
    let Mapping::Irq(irq) = host.get(1).pirq_mapping(40) else { panic!("mapped") };
    let (source, index) = host.with_irqs(|irqs| irqs.programmed[&irq]);
    assert_eq!((source.segment, source.bus, source.devfn, source.entry, index), (2, 5, 8, 0, 0));
    let table = MapPirq { table_base: 0xf000_0000, entry_nr: 5, bus: 0x2_0005, ..message(1, 16, -1) };
    assert_eq!(map(&host, 0, table), Ok((62, -1)));
    let Mapping::Irq(irq) = host.get(1).pirq_mapping(62) else { panic!("mapped") };
    let (source, _) = host.with_irqs(|irqs| irqs.programmed[&irq]);
    assert_eq!((source.segment, source.entry, source.table_base), (0, 5, 0xf000_0000));
    for index in [-2, 23, 64, i32::MAX] {
        assert_eq!(map(&host, 0, MapPirq { index, ..message(1, 0, -1) }), Err(Errno::Invalid), "no message's irq");
    }
    assert_eq!(map(&host, 0, message(1, 99, -1)), Err(Errno::NoDevice));
    assert_eq!(host.with_irqs(|irqs| irqs.created.len()), 3, "what failed left no irq");
    let taken = MapPirq { index: -1, ..message(1, 0, 40) };
    assert_eq!(map(&host, 0, taken), Ok((40, -1)), "a number that stands for something else stays so");
    assert_eq!(host.with_irqs(|irqs| irqs.created.len()), 3, "and the irq made for it is given back");
    for pirq in [63, 40, 62] {
        unmap(&host, 0, 1, pirq).expect("mapped");
    }
    assert!(host.with_irqs(|irqs| irqs.created.is_empty() && irqs.permitted.is_empty() && irqs.enabled.is_empty()));
}

#[test]
fn several_messages_follow_each_other_and_are_unmapped_together() {
    let host = host();
    host.add_device(8, 1, 8);
    let map_several = |entry_nr| {
        let mut call = PhysdevCall::MapPirq(messages(1, 8, entry_nr));
        let result = host.get(0).physdev_op(&host, &mut call).map_err(|error| error.errno());
        let PhysdevCall::MapPirq(arg) = call else { unreachable!("the call keeps its kind") };
        (result, arg.pirq, arg.entry_nr)
    };
    assert_eq!(map_several(3), (Ok(()), 60, 4), "rounded up");
    for pirq in 61..64 {
        assert_eq!(unmap(&host, 0, 1, pirq), Err(Errno::Busy), "not the first");
    }
    unmap(&host, 0, 1, 60).expect("mapped");
    assert!((0..64).all(|pirq| host.get(1).pirq_mapping(pirq) == Mapping::None));
    assert!(host.with_irqs(|irqs| irqs.created.is_empty() && irqs.permitted.is_empty()));
    for count in [0, -1, 33, i32::MAX] {
        assert_eq!(map_several(count).0, Err(Errno::OutOfDomain));
    }
    assert_eq!(map_several(16), (Err(Errno::TableFull), -1, 8), "the device has 8");
    let table = MapPirq { table_base: 1, ..messages(1, 8, 2) };
    assert_eq!(map(&host, 0, table), Err(Errno::Invalid), "only MSI has several at once");
    host.with_irqs(|irqs| irqs.does_not_remap = true);
    assert_eq!((map_several(2).0, map_several(1)), (Err(Errno::NotSupported), (Ok(()), 63, 1)));
    host.with_irqs(|irqs| irqs.does_not_remap = false);
    // Numbers 24 to 63 are left, but for one in the middle of each half of them.
    for pirq in [30, 40, 50] {
        map(&host, 0, line(1, pirq - 30 + 1, pirq)).expect("a line");
    }
    assert_eq!(map_several(16), (Err(Errno::NoSpace), -1, 8), "what would fit");
}

/// XSA-458: what a device's messages had been given is taken back once, whichever of them failed.
#[test]
fn r39_several_messages_that_fail_midway_leave_nothing_behind() {
    for vectors in 0..8 {
        let host = host();
        host.add_device(8, 1, 8);
        host.with_irqs(|irqs| irqs.vectors = Some(vectors));
        assert_eq!(map(&host, 0, messages(1, 8, 8)), Err(Errno::NoSpace), "{vectors} vectors");
        host.with_irqs(|irqs| {
            assert!(irqs.created.is_empty() && irqs.permitted.is_empty() && irqs.enabled.is_empty());
            assert_eq!(irqs.disabled[&8], 1);
            irqs.vectors = None;
        });
        assert!((0..64).all(|pirq| host.get(1).pirq_mapping(pirq) == Mapping::None));
        // No lock is left, or given back too often: the same works afterwards.
        assert_eq!(map(&host, 0, messages(1, 8, 8)), Ok((56, -1)));
    }
    // A number the guest had reserved stays its own.
    let host = host();
    host.add_device(8, 2, 1);
    host.with_irqs(|irqs| irqs.vectors = Some(0));
    let reserved = get_free(&host, 2, MAP_PIRQ_TYPE_MSI).expect("a number");
    assert_eq!(map(&host, 0, message(2, 8, reserved.cast_signed())), Err(Errno::NoSpace));
    assert_eq!(host.get(2).pirq_mapping(reserved), Mapping::Reserved);
    // There are 40 irqs for messages; the last of them go before the block is whole.
    host.with_irqs(|irqs| irqs.vectors = None);
    host.add_device(24, 1, 32);
    host.add_device(16, 2, 32);
    assert_eq!(map(&host, 0, messages(1, 24, 32)), Ok((32, -1)));
    assert_eq!(map(&host, 0, messages(2, 16, 16)), Err(Errno::Invalid));
    assert_eq!(host.with_irqs(|irqs| irqs.created.len()), 32);
    assert_eq!(map(&host, 0, messages(2, 16, 8)), Ok((55, -1)));
}

/// XSA-360: unmapped while bound, then closed; and the domain's death.
#[test]
fn r34_an_irq_unmapped_while_it_is_bound_is_given_up_once_and_its_number_free_after_the_close() {
    let host = host();
    map(&host, 0, line(1, 17, -1)).expect("a line");
    let guest = host.get(1);
    let port = guest.bind_pirq(&host, 16, Sharing::Shared).expect("a port");
    let unbind = Action::UnbindPirq { domain: DomainId(1), pirq: 16 };
    host.take_actions();
    unmap(&host, 0, 1, 16).expect("mapped");
    assert_eq!((host.take_actions(), guest.pirq_mapping(16)), (vec![unbind], Mapping::Dying(17)));
    assert_eq!(map(&host, 0, line(1, 17, -1)), Err(Errno::Busy), "its number is not free yet");
    assert_eq!(map(&host, 0, line(1, 18, 16)), Err(Errno::Busy));
    guest.close(&host, port).expect("an open port");
    assert_eq!((host.take_actions(), guest.pirq_mapping(16)), (vec![], Mapping::None));
    assert_eq!(map(&host, 0, line(1, 17, -1)), Ok((16, 17)));

    host.add_device(8, 1, 4);
    map(&host, 0, messages(1, 8, 4)).expect("messages");
    guest.bind_pirq(&host, 16, Sharing::Shared).expect("a port");
    guest.bind_pirq(&host, 61, Sharing::Shared).expect("a port");
    host.take_actions();
    guest.release_pirqs(&host).expect("nothing is refused");
    guest.destroy(&host).expect("nobody is preempted");
    let unbinds = host.take_actions();
    assert_eq!(unbinds, [16, 61].map(|pirq| Action::UnbindPirq { domain: DomainId(1), pirq }));
    assert!((0..64).all(|pirq| guest.pirq_mapping(pirq) == Mapping::None));
    assert!(host.with_irqs(|irqs| irqs.created.is_empty() && irqs.permitted.is_empty() && irqs.enabled.is_empty()));
    assert_eq!(map(&host, 0, line(1, 17, -1)), Err(Errno::Invalid), "it is dying");
}

#[test]
fn free_numbers_are_given_out_once_until_none_is_left() {
    let host = host();
    let low = (16..LINES).map(|_| get_free(&host, 1, MAP_PIRQ_TYPE_GSI).expect("a number"));
    assert!(low.eq(16..LINES), "lines from below");
    let high: Vec<u32> = (LINES..64).map(|_| get_free(&host, 2, MAP_PIRQ_TYPE_MSI).expect("a number")).collect();
    assert!(high.iter().copied().eq((LINES..64).rev()), "messages from above");
    assert_eq!(get_free(&host, 2, MAP_PIRQ_TYPE_MSI), Err(Errno::NoSpace));
    assert_eq!(get_free(&host, 1, MAP_PIRQ_TYPE_GSI), Ok(63), "then lines too");
    assert_eq!(host.get(2).pirq_mapping(50), Mapping::Reserved);
    // The device model maps what the guest has reserved.
    host.add_device(8, 2, 1);
    assert_eq!(map(&host, 0, message(2, 8, 50)), Ok((50, -1)));
    host.with_irqs(|irqs| irqs.not_offered.insert(DomainId(2)));
    assert_eq!(get_free(&host, 2, MAP_PIRQ_TYPE_MSI), Err(Errno::NotImplemented));
}

#[test]
fn a_status_query_says_what_a_physical_irq_needs() {
    let host = host();
    map(&host, 0, line(1, 17, -1)).expect("a line");
    map(&host, 0, line(2, 18, -1)).expect("a line");
    host.with_irqs(|irqs| irqs.shared.insert(17));
    assert_eq!(status(&host, 1, 16), Ok(IRQ_STATUS_NEEDS_EOI | IRQ_STATUS_SHARED));
    assert_eq!(status(&host, 2, 16), Ok(IRQ_STATUS_NEEDS_EOI));
    assert_eq!(status(&host, 1, 5), Ok(IRQ_STATUS_NEEDS_EOI), "a paravirtual guest may ask about any");
    assert_eq!(status(&host, 2, 5), Err(Errno::Invalid));
    assert_eq!(map(&host, 2, line(SELF, 4, 5)), Ok((5, 4)));
    assert_eq!(status(&host, 2, 5), Ok(IRQ_STATUS_NEEDS_EOI));
    assert_eq!(status(&host, 1, 64), Err(Errno::Invalid));
    assert_eq!(status(&host, 1, u32::MAX), Err(Errno::Invalid));
    host.with_irqs(|irqs| irqs.not_offered.insert(DomainId(2)));
    assert_eq!(status(&host, 2, 16), Err(Errno::NotImplemented));
}

#[test]
fn an_eoi_acknowledges_what_is_real_and_repeats_a_line_that_is_still_asserted() {
    let host = host();
    let acknowledged = |domain, pirq| vec![Action::AcknowledgePirq { domain: DomainId(domain), pirq }];
    map(&host, 0, line(1, 17, -1)).expect("a line");
    map(&host, 0, line(2, 18, -1)).expect("a line");
    assert_eq!((eoi(&host, 1, 16), host.take_actions()), (Ok(()), acknowledged(1, 16)));
    assert_eq!((eoi(&host, 2, 16), host.take_actions()), (Ok(()), acknowledged(2, 16)));
    for pirq in [5, 64, u32::MAX] {
        assert_eq!((eoi(&host, 1, pirq), eoi(&host, 2, pirq)), (Err(Errno::Invalid), Err(Errno::Invalid)));
    }
    assert_eq!(host.take_actions(), []);
    // Emulated lines 4 (ISA, edge) and 20 (PCI, level).
    let guest = Guest::new(&host, 2);
    for (index, pirq, repeated) in [(4, 40, 0), (20, 41, 1)] {
        map(&host, 2, line(SELF, index, pirq)).expect("a free number");
        let pirq = pirq.unsigned_abs();
        let port = guest.domain.bind_pirq(&host, pirq, Sharing::Shared).expect("a port");
        let line = u8::try_from(index).expect("a line");
        host.with_irqs(|irqs| irqs.asserted.insert((DomainId(2), line)));
        assert_eq!(guest.domain.assert_line(&host, line), LineWay::Event);
        assert_eq!(guest.consume(V0), [port]);
        eoi(&host, 2, pirq).expect("used");
        assert_eq!(guest.consume(V0).len(), repeated, "line {index}");
        host.with_irqs(|irqs| irqs.asserted.clear());
        eoi(&host, 2, pirq).expect("used");
        assert_eq!(guest.consume(V0), []);
    }
    host.with_irqs(|irqs| irqs.not_offered.insert(DomainId(2)));
    assert_eq!(eoi(&host, 2, 16), Err(Errno::NotImplemented));
}

#[test]
fn the_eoi_page_is_for_paravirtual_guests_and_given_once() {
    let host = host();
    let page = |caller, gmfn| {
        call(&host, caller, PhysdevCall::PirqEoiGmfn(PirqEoiGmfn { gmfn }, EoiUnmask::Automatic)).map(|_| ())
    };
    assert_eq!(page(2, 7), Err(Errno::NotImplemented));
    assert_eq!((page(1, u64::MAX), page(1, 7), page(1, 8)), (Err(Errno::Invalid), Ok(()), Err(Errno::Busy)));
    let guest = Guest::new(&host, 1);
    map(&host, 0, line(1, 17, -1)).expect("a line");
    let port = guest.domain.bind_pirq(&host, 16, Sharing::Shared).expect("a port");
    guest.mask(port);
    guest.domain.send_pirq(&host, 16);
    assert_eq!(guest.consume(V0), []);
    eoi(&host, 1, 16).expect("bound");
    assert_eq!(guest.consume(V0), [port], "version 1 unmasks");
}

#[test]
fn an_hvm_guest_maps_only_lines_of_its_own_and_only_if_it_takes_events_by_vector() {
    let host = host();
    assert_eq!(map(&host, 2, line(SELF, 4, -1)), Ok((16, 4)));
    assert_eq!((host.get(2).pirq_use(16), host.get(2).pirq_mapping(16)), (Use::Line(4), Mapping::None));
    assert_eq!(map(&host, 2, line(SELF, 5, 16)), Ok((16, 5)), "a number that is used otherwise stays so");
    assert_eq!(map(&host, 2, line(SELF, 4, 17)), Ok((17, 4)), "and a line");
    assert_eq!((host.get(2).pirq_use(16), host.get(2).pirq_use(17)), (Use::Line(4), Use::None));
    for index in [-1, 48, i32::MAX] {
        assert_eq!(map(&host, 2, line(SELF, index, -1)), Err(Errno::Invalid));
    }
    for pirq in [64, i32::MAX] {
        assert_eq!(map(&host, 2, line(SELF, 6, pirq)), Err(Errno::Invalid));
    }
    assert_eq!(map(&host, 2, message(SELF, 8, -1)), Err(Errno::Invalid));
    assert_eq!(host.get(2).assert_line(&host, 6), LineWay::Controller);
    unmap(&host, 2, SELF, 16).expect("used");
    assert_eq!(host.get(2).assert_line(&host, 4), LineWay::Controller);
    host.get(2).set_callback_via(&host, CallbackVia::Gsi(28), WordSize::Bits64).expect("a callback");
    assert_eq!(map(&host, 2, line(SELF, 4, -1)), Err(Errno::Invalid));
    host.get(2).set_upcall_vector(&host, V0, 0xd0).expect("a vCPU");
    assert_eq!(map(&host, 2, line(SELF, 4, -1)), Ok((16, 4)));
}

#[test]
fn a_message_with_vector_0_is_an_event_of_the_number_it_names() {
    let host = host();
    let guest = Guest::new(&host, 2);
    let port = guest.domain.bind_pirq(&host, 50, Sharing::Shared).expect("a port");
    let send = |pirq: u64, data| {
        let address = 0xfee0_0000 | (pirq & 0xff) << 12 | (pirq & !0xff) << 32;
        guest.domain.inject_message(&host, address, data).map_err(|error| error.errno())
    };
    assert_eq!((send(50, 0x41), guest.domain.pirq_use(50)), (Ok(MessageWay::Vector), Use::None));
    for data in [0x700, 0x4000, 0] {
        assert_eq!(send(50, data), Ok(MessageWay::Event), "whatever the delivery mode");
        assert_eq!(guest.consume(V0), [port]);
    }
    assert_eq!(guest.domain.pirq_use(50), Use::EmulatedMessage);
    assert_eq!((send(51, 0), guest.consume(V0)), (Ok(MessageWay::Event), vec![]), "nobody has bound it");
    assert_eq!((send(0, 0), send(1 << 31, 0)), (Err(Errno::OutOfRange), Err(Errno::OutOfRange)));
    assert_eq!((send(64, 0), send(0x7fff_ffff, 0)), (Err(Errno::Invalid), Err(Errno::Invalid)));
    map(&host, 2, line(SELF, 4, 40)).expect("a free number");
    assert_eq!(send(40, 0), Err(Errno::Invalid), "it is a line's");
}

/// Xen unmasks a message on the guest's behalf when the guest binds it.
#[test]
fn r102_binding_a_message_unmasks_it_on_the_guests_behalf() {
    for guest in [1, 2] {
        let host = host();
        host.add_device(8, guest, 1);
        map(&host, 0, message(guest, 8, 50)).expect("a message");
        host.get(guest).bind_pirq(&host, 50, Sharing::Exclusive).expect("a port");
        let open = Action::MaskMessage { domain: DomainId(guest), pirq: 50, state: MaskState::Open };
        assert_eq!(host.take_actions(), [open]);
        host.get(guest).bind_pirq(&host, 51, Sharing::Exclusive).expect("a port");
        assert_eq!(host.take_actions(), [], "nothing is behind it");
    }
}
