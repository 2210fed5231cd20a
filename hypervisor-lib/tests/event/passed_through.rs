//! Passed-through interrupts: what each type yields, as an event, a vector or a line, and how each ends.

use hypervisor_abi::DomainId;
use hypervisor_abi::Errno;
use hypervisor_abi::VcpuId;
use hypervisor_abi::domctl::BindPtIrq;
use hypervisor_abi::domctl::GuestMessageFlags;
use hypervisor_abi::domctl::PT_IRQ_TYPE_ISA;
use hypervisor_abi::domctl::PT_IRQ_TYPE_MSI;
use hypervisor_abi::domctl::PT_IRQ_TYPE_MSI_TRANSLATE;
use hypervisor_abi::domctl::PT_IRQ_TYPE_PCI;
use hypervisor_abi::hvm::CallbackVia;
use hypervisor_abi::physdev::MAP_PIRQ_TYPE_GSI;
use hypervisor_abi::physdev::MAP_PIRQ_TYPE_MSI;
use hypervisor_abi::physdev::MapPirq;
use hypervisor_abi::physdev::UnmapPirq;
use hypervisor_lib::event::Action;
use hypervisor_lib::event::Assignment;
use hypervisor_lib::event::CallbackLine;
use hypervisor_lib::event::Carried;
use hypervisor_lib::event::DomainConfig;
use hypervisor_lib::event::GuestMessage;
use hypervisor_lib::event::GuestPin;
use hypervisor_lib::event::Level;
use hypervisor_lib::event::Mapping;
use hypervisor_lib::event::MaskState;
use hypervisor_lib::event::PhysdevCall;
use hypervisor_lib::event::Sharing;
use hypervisor_lib::event::WordSize;
use hypervisor_lib::fabric::DomainKind;

use crate::guest::Guest;
use crate::host::TestHost;
use crate::host::domain;

const V0: VcpuId = VcpuId(0);
const GUEST: DomainId = DomainId(1);
/// The number of a message of a device of the guest's.
const MESSAGE: u32 = 50;
/// The number of a line.
const LINE: u32 = 17;
/// Slot 5, pin A: line 36 of the guest's IO-APIC, link 1.
const PIN: GuestPin = GuestPin { bus: 0, device: 5, intx: 0 };
/// Slot 1, pin B: line 21, link 2.
const OTHER_PIN: GuestPin = GuestPin { bus: 0, device: 1, intx: 1 };

/// dom0, and an HVM guest that has a device with a message and one with a line.
fn host() -> TestHost {
    let host = TestHost::new([domain(0), DomainConfig { kind: DomainKind::Hvm, ..domain(1) }, domain(2)]);
    host.get(1).set_callback_via(&host, CallbackVia::Vector(0xf3), WordSize::Bits64).expect("a callback");
    host.add_device(8, 1, 1);
    let message = MapPirq { domid: 1, kind: MAP_PIRQ_TYPE_MSI, index: -1, pirq: 50, devfn: 8, ..MapPirq::default() };
    let line = MapPirq { domid: 1, kind: MAP_PIRQ_TYPE_GSI, index: 17, pirq: 17, ..MapPirq::default() };
    for arg in [message, line] {
        host.get(0).physdev_op(&host, &mut PhysdevCall::MapPirq(arg)).expect("dom0 may");
    }
    host.take_actions();
    host
}

fn message(vector: u8, flags: GuestMessageFlags) -> BindPtIrq {
    let gflags = flags.into();
    BindPtIrq { machine_irq: MESSAGE, irq_type: PT_IRQ_TYPE_MSI, first: vector, gflags, ..BindPtIrq::default() }
}

fn pin(machine_irq: u32, irq_type: u32, pin: GuestPin) -> BindPtIrq {
    BindPtIrq { machine_irq, irq_type, first: pin.bus, device: pin.device, intx: pin.intx, ..BindPtIrq::default() }
}

fn line(at: GuestPin) -> BindPtIrq {
    pin(LINE, PT_IRQ_TYPE_PCI, at)
}

fn assign(host: &TestHost, arg: BindPtIrq) -> Result<(), Errno> {
    let result = host.get(0).assign_pirq(host, GUEST, arg).map_err(|error| error.errno());
    host.get(1).check(host).expect("sound");
    result
}

fn unassign(host: &TestHost, arg: BindPtIrq) -> Result<(), Errno> {
    host.get(0).unassign_pirq(host, GUEST, arg).map_err(|error| error.errno())
}

fn set(pin: GuestPin, level: Level) -> Action {
    Action::SetLine { domain: GUEST, line: CallbackLine::PciIntx { device: pin.device, pin: pin.intx }, level }
}

const fn acknowledge(pirq: u32) -> Action {
    Action::AcknowledgePirq { domain: GUEST, pirq }
}

const fn mask(state: MaskState) -> Action {
    Action::MaskMessage { domain: GUEST, pirq: MESSAGE, state }
}

fn flags() -> GuestMessageFlags {
    GuestMessageFlags::new().with_destination(2).with_delivery_mode(1)
}

/// The table of the issue: each type, with and without the guest's using the number as a physical IRQ.
#[test]
fn each_type_yields_a_vector_or_lines_and_an_event_where_the_guest_uses_the_number() {
    let inject = Action::InjectMessage { domain: GUEST, message: GuestMessage { vector: 0x41, flags: flags() } };
    let high = set(PIN, Level::High);
    let cases = [
        (MESSAGE, message(0x41, flags()), (Carried::Message, vec![inject]), (Carried::Event, vec![])),
        (
            MESSAGE,
            pin(MESSAGE, PT_IRQ_TYPE_MSI_TRANSLATE, PIN),
            (Carried::Lines, vec![high, acknowledge(MESSAGE)]),
            (Carried::EventAndLines, vec![high, acknowledge(MESSAGE)]),
        ),
        (LINE, line(PIN), (Carried::Lines, vec![high]), (Carried::EventAndLines, vec![high])),
    ];
    for (pirq, arg, without, with) in cases {
        let host = host();
        let guest = Guest::new(&host, 1);
        assert_eq!(guest.domain.carry_pirq(&host, pirq), Carried::Nowhere);
        assign(&host, arg).expect("dom0 may");
        host.take_actions();
        assert_eq!((guest.domain.carry_pirq(&host, pirq), host.take_actions()), without, "{arg:?}");
        // The guest binds the number: it is an event from now on.
        let port = guest.domain.bind_pirq(&host, pirq, Sharing::Shared).expect("a port");
        assert!(guest.domain.uses_pirq(pirq));
        host.take_actions();
        let carried = guest.domain.carry_pirq(&host, pirq);
        let kick = Action::Kick { domain: GUEST, vcpu: V0 };
        let actions: Vec<Action> = host.take_actions().into_iter().filter(|action| *action != kick).collect();
        assert_eq!((carried, actions), with, "{arg:?}");
        assert_eq!(guest.consume(V0), [port]);
        // And back.
        guest.domain.close(&host, port).expect("an open port");
        assert!(!guest.domain.uses_pirq(pirq));
        assert_eq!((guest.domain.carry_pirq(&host, pirq), host.take_actions()), without, "{arg:?}");
    }
    let isa = BindPtIrq { machine_irq: LINE, irq_type: PT_IRQ_TYPE_ISA, first: 5, ..BindPtIrq::default() };
    for irq_type in [PT_IRQ_TYPE_ISA, 4, u32::MAX] {
        assert_eq!(assign(&host(), BindPtIrq { irq_type, ..isa }), Err(Errno::NotSupported));
        assert_eq!(unassign(&host(), BindPtIrq { irq_type, ..isa }), Err(Errno::NotSupported));
    }
}

/// XSA-46.
#[test]
fn r40_an_irq_is_passed_through_only_by_who_may_use_it_to_who_has_it_mapped() {
    let host = host();
    let refused = |caller: u16, target, arg| {
        host.get(caller).assign_pirq(&host, DomainId(target), arg).map_err(|error| error.errno())
    };
    assert_eq!(refused(0, 9, line(PIN)), Err(Errno::NoDomain));
    assert_eq!(refused(1, 1, line(PIN)), Err(Errno::NotPermitted), "not by the guest itself");
    assert_eq!(refused(2, 1, line(PIN)), Err(Errno::NotPermitted));
    assert_eq!(refused(0, 2, line(PIN)), Err(Errno::Invalid), "a paravirtual guest has no pins");
    for machine_irq in [18, 64, u32::MAX] {
        assert_eq!(assign(&host, BindPtIrq { machine_irq, ..line(PIN) }), Err(Errno::NotPermitted), "not mapped");
    }
    for at in [GuestPin { device: 32, ..PIN }, GuestPin { intx: 4, ..PIN }, GuestPin { device: 255, intx: 255, bus: 0 }]
    {
        assert_eq!(assign(&host, line(at)), Err(Errno::Invalid));
    }
    host.with_irqs(|irqs| irqs.without_iommu.insert(GUEST));
    assert_eq!(assign(&host, line(PIN)), Err(Errno::NoDomain));
    host.with_irqs(|irqs| irqs.without_iommu.clear());
    host.occupy_pirq(MESSAGE);
    assert_eq!(assign(&host, message(0x41, flags())), Err(Errno::Busy), "another domain has it");
    assert_eq!(host.get(1).pirq_assignments(MESSAGE), []);
    assign(&host, line(PIN)).expect("dom0 may");
    assert_eq!(assign(&host, pin(LINE, PT_IRQ_TYPE_MSI_TRANSLATE, OTHER_PIN)), Err(Errno::Busy));
    assert_eq!(assign(&host, BindPtIrq { machine_irq: LINE, ..message(0x41, flags()) }), Err(Errno::Busy));
    assert_eq!(unassign(&host, line(OTHER_PIN)), Err(Errno::Invalid));
    assert_eq!(host.get(1).pirq_assignments(LINE), [Assignment::Line(PIN)]);
}

/// Xen 8c97eb6551: drivers were unloaded and loaded again, and found their message unmasked once and masked the next time.
#[test]
fn r38_a_message_is_left_masked_so_that_each_binding_finds_the_same_state() {
    let host = host();
    let open = message(0x41, flags().with_unmasked(true));
    for _ in 0..3 {
        assign(&host, open).expect("dom0 may");
        assert_eq!(host.take_actions(), [mask(MaskState::Open)]);
        unassign(&host, open).expect("passed through");
        let unbind = Action::UnbindPirq { domain: GUEST, pirq: MESSAGE };
        assert_eq!(host.take_actions(), [mask(MaskState::Masked), unbind]);
    }
    assign(&host, message(0x41, flags())).expect("dom0 may");
    assert_eq!(host.take_actions(), [], "unmasked only where that is asked for");
    // Changed while it is bound: what is left of the old one is acknowledged first.
    assign(&host, message(0x42, flags())).expect("dom0 may");
    assert_eq!(host.take_actions(), [acknowledge(MESSAGE)]);
    assign(&host, message(0x42, flags())).expect("dom0 may");
    assert_eq!(host.take_actions(), [], "nothing has changed");
    let now = GuestMessage { vector: 0x42, flags: flags() };
    assert_eq!(host.get(1).pirq_assignments(MESSAGE), [Assignment::Message(now)]);
}

/// Xen eb298f32fa: the guest masks the pin in its IO-APIC between interrupt and EOI. The core is not told of masks: the
/// physical line is acknowledged in any case.
#[test]
fn r37_the_end_of_a_line_acknowledges_the_physical_one_whatever_the_guests_mask() {
    let host = host();
    let guest = host.get(1);
    [PIN, OTHER_PIN].into_iter().for_each(|at| assign(&host, line(at)).expect("dom0 may"));
    assign(&host, line(PIN)).expect("the same pin again changes nothing");
    host.take_actions();
    for _ in 0..2 {
        assert_eq!(guest.carry_pirq(&host, LINE), Carried::Lines);
        assert_eq!(host.take_actions(), [set(PIN, Level::High), set(OTHER_PIN, Level::High)]);
        guest.line_ended(&host, 35);
        assert_eq!(host.take_actions(), [], "another line");
        guest.line_ended(&host, PIN.line());
        assert_eq!(host.take_actions(), [set(PIN, Level::Low)], "the other pin is not ended yet");
        guest.line_ended(&host, OTHER_PIN.line());
        assert_eq!(host.take_actions(), [set(OTHER_PIN, Level::Low), acknowledge(LINE)]);
        guest.line_ended(&host, PIN.line());
        assert_eq!(host.take_actions(), [set(PIN, Level::Low)], "an end without a beginning acknowledges nothing");
    }
    // Through the PICs: link 1 is routed to ISA interrupt 10, link 2 nowhere.
    guest.carry_pirq(&host, LINE);
    host.take_actions();
    guest.isa_ended(&host, 10, [0, 10, 0, 0]);
    assert_eq!(host.take_actions(), [set(PIN, Level::Low)]);
    guest.isa_ended(&host, 0, [0, 10, 0, 0]);
    guest.isa_ended(&host, 11, [0, 10, 0, 0]);
    assert_eq!(host.take_actions(), []);
    guest.isa_ended(&host, 10, [0, 0, 10, 0]);
    assert_eq!(host.take_actions(), [set(OTHER_PIN, Level::Low), acknowledge(LINE)]);
}

#[test]
fn a_translated_message_is_acknowledged_when_it_comes_and_not_when_its_pin_ends() {
    let host = host();
    assign(&host, pin(MESSAGE, PT_IRQ_TYPE_MSI_TRANSLATE, PIN)).expect("dom0 may");
    host.get(1).carry_pirq(&host, MESSAGE);
    assert_eq!(host.take_actions(), [set(PIN, Level::High), acknowledge(MESSAGE)]);
    host.get(1).line_ended(&host, PIN.line());
    assert_eq!(host.take_actions(), [set(PIN, Level::Low)]);
}

#[test]
fn the_end_of_a_vector_acknowledges_the_message_that_was_sent_there() {
    let host = host();
    assign(&host, message(0x41, flags())).expect("dom0 may");
    let guest = host.get(1);
    let ended = |vector, apic| {
        guest.message_ended(&host, vector, |message| message.flags.destination() == apic);
        host.take_actions()
    };
    assert_eq!((ended(0x42, 2), ended(0x41, 3)), (vec![], vec![]));
    assert_eq!(ended(0x41, 2), [acknowledge(MESSAGE)]);
}

#[test]
fn a_pin_is_wired_as_the_board_wires_it() {
    assert_eq!((PIN.line(), PIN.link(), OTHER_PIN.line(), OTHER_PIN.link()), (36, 1, 21, 2));
    let pins = (0..32).flat_map(|device| (0..4).map(move |intx| GuestPin { bus: 0, device, intx }));
    let mut count = [0; 48];
    pins.for_each(|pin| count[usize::from(pin.line())] += 1);
    assert!(count[..16].iter().all(|pins| *pins == 0) && count[16..].iter().all(|pins| *pins == 4));
}

#[test]
fn an_hvm_guest_that_maps_the_line_of_a_passed_through_pin_gets_its_number() {
    let host = host();
    assign(&host, line(PIN)).expect("dom0 may");
    let line = i32::from(PIN.line());
    let arg = MapPirq { domid: DomainId::SELF.0, kind: MAP_PIRQ_TYPE_GSI, index: line, pirq: -1, ..MapPirq::default() };
    let mut call = PhysdevCall::MapPirq(arg);
    host.get(1).physdev_op(&host, &mut call).expect("it may");
    assert_eq!(call, PhysdevCall::MapPirq(MapPirq { pirq: 17, index: 17, ..arg }));
}

/// XSA-360: two devices share a line, one goes, then the domain dies.
#[test]
fn r34_a_shared_line_is_given_up_with_its_last_pin_and_death_leaves_nothing_passed_through() {
    let host = host();
    let unbind = |pirq| Action::UnbindPirq { domain: GUEST, pirq };
    [PIN, OTHER_PIN].into_iter().for_each(|at| assign(&host, line(at)).expect("dom0 may"));
    unassign(&host, line(PIN)).expect("passed through");
    assert_eq!(unassign(&host, line(PIN)), Err(Errno::Invalid), "not twice");
    assert_eq!(host.take_actions(), []);
    unassign(&host, line(OTHER_PIN)).expect("passed through");
    assert_eq!(host.take_actions(), [unbind(LINE)]);

    assign(&host, line(PIN)).expect("dom0 may");
    assign(&host, message(0x41, flags())).expect("dom0 may");
    // The toolstack unmaps before it unbinds: the hypervisor is told once.
    let unmap = UnmapPirq { domid: 1, pad: 0, pirq: 17 };
    host.get(0).physdev_op(&host, &mut PhysdevCall::UnmapPirq(unmap)).expect("mapped");
    assert_eq!((host.take_actions(), host.get(1).pirq_mapping(LINE)), (vec![unbind(LINE)], Mapping::Dying(17)));
    assert_eq!(unassign(&host, line(PIN)), Err(Errno::NotPermitted), "it is not mapped any more");
    host.get(1).release_pirqs(&host).expect("nothing is refused");
    assert_eq!(host.take_actions(), [unbind(MESSAGE)]);
    for pirq in [LINE, MESSAGE] {
        assert_eq!((host.get(1).pirq_mapping(pirq), host.get(1).pirq_assignments(pirq)), (Mapping::None, vec![]));
        assert_eq!(host.get(1).carry_pirq(&host, pirq), Carried::Nowhere);
    }
    assert!(host.with_irqs(|irqs| irqs.created.is_empty() && irqs.permitted.is_empty() && irqs.enabled.is_empty()));
}
