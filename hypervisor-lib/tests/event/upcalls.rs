//! How events call a vCPU: callback lines and vectors, the local APIC, blocks in shared memory, EOI pages.

use hypervisor_abi::DomainId;
use hypervisor_abi::Errno;
use hypervisor_abi::VcpuId;
use hypervisor_abi::VcpuInfo64;
use hypervisor_abi::Virq;
use hypervisor_abi::hvm::CallbackVia;
use hypervisor_abi::hvm::EvtchnUpcallVector;
use hypervisor_abi::physdev::PirqEoiPage;
use hypervisor_abi::sync::Ordering;
use hypervisor_lib::event::Action;
use hypervisor_lib::event::CallbackLine;
use hypervisor_lib::event::ConsumerId;
use hypervisor_lib::event::DomainConfig;
use hypervisor_lib::event::EoiNeed;
use hypervisor_lib::event::EoiUnmask;
use hypervisor_lib::event::EventAbi;
use hypervisor_lib::event::EventError;
use hypervisor_lib::event::GuestPlace;
use hypervisor_lib::event::Level;
use hypervisor_lib::event::Raised;
use hypervisor_lib::event::ResetStep;
use hypervisor_lib::event::Sharing;
use hypervisor_lib::event::VcpuTime;
use hypervisor_lib::event::WordSize;
use hypervisor_lib::fabric::DomainKind;
use zerocopy::FromBytes;

use crate::guest::Guest;
use crate::host::TestHost;
use crate::host::domain;

const V0: VcpuId = VcpuId(0);
const V1: VcpuId = VcpuId(1);

fn hvm(id: u16) -> DomainConfig {
    DomainConfig { kind: DomainKind::Hvm, ..domain(id) }
}

/// An HVM domain that is called so.
fn called_via(via: CallbackVia) -> TestHost {
    let host = TestHost::new([hvm(1)]);
    host.get(1).set_callback_via(&host, via, WordSize::Bits64).expect("a callback");
    host
}

#[test]
fn a_callback_line_is_high_exactly_while_vcpu_0_has_events() {
    let vias = [
        (CallbackVia::Gsi(28), CallbackLine::Gsi(28)),
        (CallbackVia::PciIntx { device: 3, pin: 0 }, CallbackLine::PciIntx { device: 3, pin: 0 }),
    ];
    for (via, line) in vias {
        let host = called_via(via);
        let guest = Guest::new(&host, 1);
        let set = |level| Action::SetLine { domain: DomainId(1), line, level };
        let [on_0, on_1] = [V0, V1].map(|vcpu| guest.domain.bind_ipi(&host, vcpu).expect("a port"));
        guest.domain.send(&host, on_1).expect("an IPI port");
        assert_eq!(host.take_actions(), [], "the line is vCPU 0's");
        guest.domain.send(&host, on_0).expect("an IPI port");
        guest.domain.update_callback_line(&host);
        assert_eq!(host.take_actions(), [set(Level::High)]);
        guest.consume(V0);
        guest.domain.update_callback_line(&host);
        guest.domain.update_callback_line(&host);
        assert_eq!(host.take_actions(), [set(Level::Low)]);
    }
}

#[test]
fn a_callback_that_changes_while_its_line_is_high_lowers_it() {
    let host = called_via(CallbackVia::Gsi(28));
    let guest = Guest::new(&host, 1);
    let ipi = guest.domain.bind_ipi(&host, V0).expect("a port");
    guest.domain.send(&host, ipi).expect("an IPI port");
    host.take_actions();
    guest.domain.set_callback_via(&host, CallbackVia::Vector(0xf3), WordSize::Bits64).expect("a callback");
    let low = Action::SetLine { domain: DomainId(1), line: CallbackLine::Gsi(28), level: Level::Low };
    assert_eq!(host.take_actions(), [low]);
    assert_eq!(guest.domain.callback_vector(&host, V0), Some(0xf3));
}

#[test]
fn the_vector_callback_is_offered_at_every_entry_until_the_guest_clears_the_level() {
    let host = called_via(CallbackVia::Vector(0xf3));
    let guest = Guest::new(&host, 1);
    let ipi = guest.domain.bind_ipi(&host, V1).expect("a port");
    assert_eq!(guest.domain.callback_vector(&host, V1), None);
    guest.domain.send(&host, ipi).expect("an IPI port");
    assert_eq!(host.take_actions(), [Action::Kick { domain: DomainId(1), vcpu: V1 }]);
    for _ in 0..3 {
        assert_eq!(guest.domain.callback_vector(&host, V1), Some(0xf3), "acknowledging changes nothing");
    }
    assert_eq!(guest.domain.callback_vector(&host, V0), None);
    guest.consume(V1);
    assert_eq!(guest.domain.callback_vector(&host, V1), None);
}

#[test]
fn r30_an_upcall_while_the_local_apic_is_disabled_comes_when_it_is_enabled() {
    let host = called_via(CallbackVia::None);
    let guest = Guest::new(&host, 1);
    let inject = Action::InjectVector { domain: DomainId(1), vcpu: V0, vector: 0xd0 };
    guest.domain.set_upcall_vector(&host, V0, 0xd0).expect("a vCPU");
    assert_eq!(host.take_actions(), [inject], "one to begin with, in case an event is pending already");
    let ipi = guest.domain.bind_ipi(&host, V0).expect("a port");
    host.disable_apic(1, 0);
    guest.domain.send(&host, ipi).expect("an IPI port");
    assert_eq!(host.take_actions(), []);
    host.enable_apic(1, 0);
    assert_eq!(host.take_actions(), [inject]);
    guest.consume(V0);
    host.enable_apic(1, 0);
    assert_eq!(host.take_actions(), [], "nothing is pending");
}

/// KVM's twin of the same: an upcall to a vCPU whose APIC is off, raised by a route, and by a send from another vCPU.
#[test]
fn r100_an_upcall_by_whichever_way_waits_for_the_local_apic_of_its_own_vcpu() {
    let host = called_via(CallbackVia::Vector(0xf3));
    let guest = Guest::new(&host, 1).use_fifo(1);
    let ports = [V0, V1].map(|vcpu| {
        guest.domain.set_upcall_vector(&host, vcpu, 0xd0).expect("a vCPU");
        guest.domain.bind_ipi(&host, vcpu).expect("a port")
    });
    host.take_actions();
    let inject = |vcpu| Action::InjectVector { domain: DomainId(1), vcpu, vector: 0xd0 };
    host.disable_apic(1, 1);
    for (round, raise) in [true, false].into_iter().enumerate() {
        for port in ports {
            if raise {
                assert_eq!(guest.domain.raise(&host, port), Ok(Raised::Delivered), "round {round}");
            } else {
                guest.domain.send(&host, port).expect("an IPI port");
            }
        }
        assert_eq!(host.take_actions(), [inject(V0)], "the other vCPU's APIC is on");
        assert_eq!(guest.domain.callback_vector(&host, V1), None, "nor does it come by the domain's callback");
        host.enable_apic(1, 1);
        assert_eq!(host.take_actions(), [inject(V1)]);
        assert_eq!([V0, V1].map(|vcpu| guest.consume(vcpu)), ports.map(|port| vec![port]));
        host.disable_apic(1, 1);
    }
}

/// QEMU's bugs when this call was new: the argument's vCPU, its vector, and an interrupt that was not a fixed, edge-triggered
/// one of that vector.
#[test]
fn r98_the_vector_of_the_argument_is_injected_into_the_vcpu_of_the_argument() {
    let host = called_via(CallbackVia::None);
    let guest = Guest::new(&host, 1);
    for (vcpu, vector) in [(1, 0x10), (0, 0xff), (1, 0xf3)] {
        let bytes = [vcpu, 0, 0, 0, vector, 0xaa, 0xbb, 0xcc];
        let argument = EvtchnUpcallVector::read_from_bytes(&bytes).expect("eight bytes");
        let vcpu = VcpuId(argument.vcpu);
        guest.domain.set_upcall_vector(&host, vcpu, argument.vector).expect("a vCPU");
        let inject = Action::InjectVector { domain: DomainId(1), vcpu, vector };
        assert_eq!(host.take_actions(), [inject]);
        let ipi = guest.domain.bind_ipi(&host, vcpu).expect("a port");
        guest.domain.send(&host, ipi).expect("an IPI port");
        assert_eq!(host.take_actions(), [inject]);
        guest.consume(vcpu);
    }
}

#[test]
fn a_vcpus_own_vector_goes_before_the_domains_callback() {
    let host = called_via(CallbackVia::Vector(0xf3));
    let guest = Guest::new(&host, 1);
    guest.domain.set_upcall_vector(&host, V1, 0xd1).expect("a vCPU");
    host.take_actions();
    for vcpu in [V0, V1] {
        let ipi = guest.domain.bind_ipi(&host, vcpu).expect("a port");
        guest.domain.send(&host, ipi).expect("an IPI port");
        guest.domain.send(&host, ipi).expect("an IPI port");
    }
    let domain = DomainId(1);
    let expected = [Action::Kick { domain, vcpu: V0 }, Action::InjectVector { domain, vcpu: V1, vector: 0xd1 }];
    assert_eq!(host.take_actions(), expected);
    assert_eq!(guest.domain.callback_vector(&host, V1), None);
    let refused = guest.domain.set_upcall_vector(&host, V0, 0x0f).map_err(EventError::errno);
    assert_eq!(refused, Err(Errno::Invalid));
    let refused = guest.domain.set_upcall_vector(&host, VcpuId(2), 0x10).map_err(EventError::errno);
    assert_eq!(refused, Err(Errno::NoEntry));
}

#[test]
fn r31_a_domain_takes_events_by_vector_with_either_kind_of_vector() {
    let host = called_via(CallbackVia::Gsi(1));
    assert!(!host.get(1).takes_events_by_vector());
    host.get(1).set_upcall_vector(&host, V0, 0xd0).expect("a vCPU");
    assert!(host.get(1).takes_events_by_vector());
    assert!(called_via(CallbackVia::Vector(0xf3)).get(1).takes_events_by_vector());
}

#[test]
fn r101_setting_the_callback_latches_the_layout_of_the_guests_words() {
    let host = called_via(CallbackVia::None);
    let guest = Guest::new(&host, 1);
    assert_eq!(guest.domain.abi(), EventAbi::TwoLevel(WordSize::Bits64));
    guest.domain.set_callback_via(&host, CallbackVia::Vector(0xf3), WordSize::Bits32).expect("a callback");
    assert_eq!(guest.domain.abi(), EventAbi::TwoLevel(WordSize::Bits32));
    let ipi = guest.domain.bind_ipi(&host, V0).expect("a port");
    guest.domain.send(&host, ipi).expect("an IPI port");
    assert_eq!(guest.shared_32().evtchn_pending[0].load(Ordering::Acquire), 1 << ipi.0);
    assert_eq!(guest.consume(V0), [ipi]);
    assert_eq!(host.memory.pins(), 1);
}

#[test]
fn r102_an_eoi_unmasks_the_port_only_where_the_guest_asked_for_that() {
    for (unmask, delivered) in [(EoiUnmask::Automatic, 1), (EoiUnmask::Manual, 0)] {
        let host = TestHost::new([domain(1)]);
        let guest = Guest::new(&host, 1);
        let port = guest.domain.bind_pirq(&host, 40, Sharing::Shared).expect("a line");
        guest.domain.register_pirq_eoi_page(&host, 7, unmask).expect("a page");
        let again = guest.domain.register_pirq_eoi_page(&host, 7, unmask).map_err(EventError::errno);
        assert_eq!(again, Err(Errno::Busy));
        guest.mask(port);
        guest.domain.send_pirq(&host, 40);
        guest.domain.pirq_eoi(&host, 40).expect("a physical IRQ");
        assert_eq!(guest.consume(V0).len(), delivered, "{unmask:?}");
        assert_eq!(guest.domain.pirq_eoi(&host, 64).map_err(EventError::errno), Err(Errno::Invalid));
    }
}

#[test]
fn the_eoi_page_says_which_physical_irqs_need_a_hypercall() {
    let host = TestHost::new([domain(1)]);
    let guest = host.get(1);
    guest.set_pirq_needs_eoi(&host, 40, EoiNeed::Hypercall);
    guest.register_pirq_eoi_page(&host, 7, EoiUnmask::Manual).expect("a page");
    let page: &PirqEoiPage = host.memory.view(DomainId(1), GuestPlace::frame(7)).expect("the page");
    for pirq in [0, 40, 63, 64, u32::MAX] {
        guest.set_pirq_needs_eoi(&host, pirq, EoiNeed::Hypercall);
    }
    assert_eq!(page.0[0].load(Ordering::Acquire), 1 << 63 | 1 << 40 | 1);
    guest.set_pirq_needs_eoi(&host, 40, EoiNeed::None);
    assert_eq!(page.0[0].load(Ordering::Acquire), 1 << 63 | 1);
    assert!(page.0[1..].iter().all(|word| word.load(Ordering::Acquire) == 0));
}

#[test]
fn a_moved_port_takes_its_physical_irq_along() {
    let host = TestHost::new([domain(1)]);
    let guest = host.get(1);
    let port = guest.bind_pirq(&host, 9, Sharing::Shared).expect("a line");
    guest.bind_vcpu(&host, port, V0).expect("a port");
    assert_eq!(host.take_actions(), [], "it is there already");
    guest.bind_vcpu(&host, port, V1).expect("a port");
    assert_eq!(host.take_actions(), [Action::MovePirq { domain: DomainId(1), pirq: 9, vcpu: V1 }]);
    assert_eq!(guest.pirq_vcpu(9), Some(V1));
}

#[test]
fn a_vcpu_from_32_on_misses_nothing_once_it_registers_its_block() {
    let host = TestHost::new([DomainConfig { vcpus: 40, ..domain(1) }]);
    let guest = host.get(1);
    let v35 = VcpuId(35);
    let timer = guest.bind_virq(&host, Virq::TIMER, v35).expect("a port");
    guest.send_virq(&host, v35, Virq::TIMER).expect("a vCPU");
    assert_eq!(host.take_actions(), [], "there is no block to say it in");
    let refuse =
        |offset| guest.register_vcpu_info(&host, v35, GuestPlace { gfn: 9, offset }).map_err(EventError::errno);
    assert_eq!(refuse(32), Err(Errno::Invalid));
    assert_eq!(refuse(4096), Err(Errno::Invalid));
    let place = GuestPlace { gfn: 9, offset: 4096 - 64 };
    guest.register_vcpu_info(&host, v35, place).expect("a block");
    assert_eq!(host.take_actions(), [Action::Kick { domain: DomainId(1), vcpu: v35 }]);
    let info: &VcpuInfo64 = host.memory.view(DomainId(1), place).expect("the block");
    assert_eq!(info.evtchn_upcall_pending.load(Ordering::Acquire), 1);
    assert_eq!(info.evtchn_pending_sel.load(Ordering::Acquire), u64::MAX);
    let shared = Guest::new(&host, 1).shared_64();
    assert_eq!(shared.evtchn_pending[0].load(Ordering::Acquire), 1 << timer.0);
    assert_eq!(refuse(0), Err(Errno::Invalid), "once in its life");
}

#[test]
fn the_time_is_published_under_an_even_version_and_follows_the_block() {
    let host = TestHost::new([domain(1)]);
    let guest = host.get(1);
    let time = VcpuTime { tsc_timestamp: 7, system_time_ns: 8, tsc_to_system_mul: 9, tsc_shift: -1, flags: 1 };
    guest.publish_time(&host, V1, time).expect("a vCPU");
    let first = &Guest::new(&host, 1).shared_64().vcpu_info[1].time;
    assert_eq!(first.version.load(Ordering::Acquire), 2);
    let place = GuestPlace { gfn: 9, offset: 0 };
    guest.register_vcpu_info(&host, V1, place).expect("a block");
    let block: &VcpuInfo64 = host.memory.view(DomainId(1), place).expect("the block");
    assert_eq!(block.time.system_time.load(Ordering::Acquire), 8);
    assert_eq!(block.time.tsc_shift.load(Ordering::Acquire), 0xff);
    assert!(block.time.version.load(Ordering::Acquire).is_multiple_of(2));
}

#[test]
fn the_hypervisor_consumes_a_port_the_guest_cannot_touch() {
    let host = TestHost::new([hvm(1), domain(0)]);
    let [guest, dom0] = [host.get(1), host.get(0)];
    let consumer = ConsumerId::new(3).expect("a small number");
    let port = guest.alloc_consumed(&host, V1, DomainId::DOM0, consumer).expect("a port");
    let theirs = dom0.bind_interdomain(&host, DomainId(1), port).expect("offered");
    host.take_actions();
    dom0.send(&host, theirs).expect("connected");
    let notify = Action::NotifyConsumer { consumer, domain: DomainId(1), vcpu: V1, port };
    assert_eq!(host.take_actions(), [notify]);
    let invalid = Err(Errno::Invalid);
    assert_eq!(guest.send(&host, port).map_err(EventError::errno), invalid);
    assert_eq!(guest.close(&host, port).map_err(EventError::errno), invalid);
    assert_eq!(guest.bind_vcpu(&host, port, V0).map_err(EventError::errno), invalid);
    assert_eq!(guest.status(&host, DomainId::SELF, port).map_err(EventError::errno), Err(Errno::AccessDenied));
    // A reset of the guest leaves it alone.
    guest.reset(&host, DomainId::SELF, ResetStep::Begin).expect("the guest's own");
    assert_eq!(guest.open_ports(), 1);
    Guest::new(&host, 0).consume(V0);
    guest.notify_from_consumer(&host, port);
    assert_eq!(Guest::new(&host, 0).consume(V0), [theirs]);
    guest.close_consumed(&host, port).expect("the hypervisor's own");
    assert_eq!(guest.open_ports(), 0);
}

#[test]
fn a_soft_reset_leaves_a_domain_as_it_was_created() {
    let host = called_via(CallbackVia::Gsi(5));
    let guest = Guest::new(&host, 1).use_fifo(2);
    guest.domain.register_vcpu_info(&host, V1, GuestPlace { gfn: 9, offset: 0 }).expect("a block");
    guest.domain.set_upcall_vector(&host, V1, 0xd1).expect("a vCPU");
    guest.domain.register_pirq_eoi_page(&host, 7, EoiUnmask::Manual).expect("a page");
    let ipi = guest.domain.bind_ipi(&host, V0).expect("a port");
    guest.domain.send(&host, ipi).expect("an IPI port");
    guest.domain.soft_reset(&host, ResetStep::Begin).expect("nobody is preempted");
    assert_eq!(guest.domain.abi(), EventAbi::TwoLevel(WordSize::Bits64));
    assert_eq!((guest.domain.callback_via(), guest.domain.upcall_vector(V1)), (CallbackVia::None, None));
    assert_eq!((guest.domain.open_ports(), host.memory.pins()), (0, 1));
    guest.domain.register_vcpu_info(&host, V1, GuestPlace { gfn: 9, offset: 0 }).expect("a block again");
}
