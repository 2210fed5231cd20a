//! Opening and closing ports: limits, resets, destruction.

use std::sync::atomic::Ordering as StdOrdering;

use hypervisor_abi::DomainId;
use hypervisor_abi::Errno;
use hypervisor_abi::Port;
use hypervisor_abi::VcpuId;
use hypervisor_abi::Virq;
use hypervisor_abi::event::FIFO_CHANNELS;
use hypervisor_lib::event::Binding;
use hypervisor_lib::event::DomainConfig;
use hypervisor_lib::event::EventAbi;
use hypervisor_lib::event::EventError;
use hypervisor_lib::event::GuestPlace;
use hypervisor_lib::event::ResetStep;
use hypervisor_lib::event::WordSize;

use super::V0;
use super::V1;
use super::errno;
use crate::guest::ARRAY_GFN;
use crate::guest::Guest;
use crate::host::END_GFN;
use crate::host::TestHost;
use crate::host::domain;

#[test]
fn r07_a_domain_that_ends_gives_back_every_page_it_named() {
    let host = TestHost::new([domain(1)]);
    let before = host.memory.pins();
    let guest = Guest::new(&host, 1).use_fifo(3);
    guest.domain.register_vcpu_info(&host, V1, GuestPlace { gfn: 9, offset: 64 }).expect("a block");
    assert_eq!(host.memory.pins(), before + 2 + 3 + 1);
    assert_eq!(errno(guest.domain.expand_array(&host, END_GFN)), Some(Errno::Invalid), "no memory there");
    guest.domain.destroy(&host).expect("nobody is preempted");
    assert_eq!(host.memory.pins(), 0);
}

#[test]
fn r13_reset_during_reset_is_busy_and_ports_opened_meanwhile_say_try_again() {
    let host = TestHost::new([domain(1)]);
    let guest = Guest::new(&host, 1);
    for _ in 0..200 {
        guest.domain.bind_ipi(&host, V0).expect("a port");
    }
    host.preempt_after.store(1, StdOrdering::Release);
    let begin = |step| errno(guest.domain.reset(&host, DomainId::SELF, step));
    assert_eq!(begin(ResetStep::Continue), Some(Errno::Busy), "nothing to carry on");
    assert_eq!(begin(ResetStep::Begin), Some(Errno::Restart));
    assert_eq!(begin(ResetStep::Begin), Some(Errno::Busy));
    // Another vCPU opens a port among those closed already.
    let opened = guest.domain.bind_ipi(&host, V0).expect("a port");
    assert_eq!(begin(ResetStep::Continue), Some(Errno::TryAgain));
    assert_eq!(guest.domain.open_ports(), 1);
    guest.domain.close(&host, opened).expect("an open port");
    assert_eq!(begin(ResetStep::Begin), None);
}

#[test]
fn r13_another_domain_is_reset_only_while_paused_and_only_by_a_control_domain() {
    let host = TestHost::new([domain(0), domain(1), domain(2)]);
    let guest = Guest::new(&host, 1).use_fifo(1);
    guest.domain.bind_ipi(&host, V0).expect("a port");
    let reset = |caller: u16, target| errno(host.get(caller).reset(&host, DomainId(target), ResetStep::Begin));
    assert_eq!(reset(0, 9), Some(Errno::NoDomain));
    assert_eq!(reset(2, 1), Some(Errno::NotPermitted));
    assert_eq!(reset(0, 1), Some(Errno::Invalid));
    host.pause(DomainId(1).0);
    assert_eq!(reset(0, 1), None);
    assert_eq!(guest.domain.open_ports(), 0);
    assert_eq!(guest.domain.abi(), EventAbi::TwoLevel(WordSize::Bits64));
}

#[test]
fn r14_a_32_bit_guest_has_1023_ports_in_the_2_level_abi_and_more_with_fifo() {
    let config = DomainConfig { word_size: WordSize::Bits32, max_port: 4000, ..domain(1) };
    let host = TestHost::new([config]);
    let guest = Guest::new(&host, 1);
    for number in 1..1024 {
        assert_eq!(guest.domain.bind_ipi(&host, V0), Ok(Port(number)));
    }
    assert_eq!(errno(guest.domain.bind_ipi(&host, V0)), Some(Errno::NoSpace));
    let guest = guest.use_fifo(1);
    assert_eq!(guest.domain.bind_ipi(&host, V0), Ok(Port(1024)));
    // Port 1024 has no word yet.
    guest.domain.send(&host, Port(1024)).expect("an IPI port");
    guest.domain.expand_array(&host, ARRAY_GFN + 1).expect("a page");
    assert_eq!(guest.consume(V0), [Port(1024)]);
}

#[test]
fn r16_reset_and_destruction_of_131071_ports_are_broken_off_and_carried_on() {
    let config = DomainConfig { max_port: u32::MAX, ..domain(1) };
    let host = TestHost::new([config]);
    let guest = Guest::new(&host, 1).use_fifo(128);
    assert_eq!(errno(guest.domain.expand_array(&host, ARRAY_GFN)), Some(Errno::NoSpace));
    for number in 1..FIFO_CHANNELS {
        assert_eq!(guest.domain.bind_ipi(&host, V0), Ok(Port(number)));
    }
    assert_eq!(errno(guest.domain.bind_ipi(&host, V0)), Some(Errno::NoSpace));
    guest.domain.send(&host, Port(FIFO_CHANNELS - 1)).expect("an IPI port");
    assert_eq!(guest.consume(V0), [Port(FIFO_CHANNELS - 1)]);

    host.preempt_after.store(1000, StdOrdering::Release);
    let first = guest.domain.reset(&host, DomainId::SELF, ResetStep::Begin);
    assert_eq!(first, Err(EventError::BrokenOff));
    assert_eq!(guest.domain.open_ports(), FIFO_CHANNELS - 64_000);
    host.preempt_after.store(1, StdOrdering::Release);
    assert_eq!(guest.domain.destroy(&host), Err(EventError::BrokenOff));
    assert_eq!(errno(guest.domain.bind_ipi(&host, V0)), Some(Errno::Invalid), "it is dying");
    assert_eq!(guest.domain.destroy(&host), Ok(()));
    assert_eq!((guest.domain.open_ports(), host.memory.pins()), (0, 0));
}

#[test]
fn r19_ports_beyond_every_table_are_refused_by_every_operation() {
    let host = TestHost::new([domain(0)]);
    let dom0 = host.get(0);
    for fifo in [false, true] {
        if fifo {
            Guest::new(&host, 0).use_fifo(1);
        }
        for number in [64, 1024, 4096, FIFO_CHANNELS, FIFO_CHANNELS + 1, u32::MAX] {
            let port = Port(number);
            assert_eq!(errno(dom0.send(&host, port)), Some(Errno::Invalid));
            assert_eq!(errno(dom0.close(&host, port)), Some(Errno::Invalid));
            assert_eq!(errno(dom0.unmask(&host, port)), Some(Errno::Invalid));
            assert_eq!(errno(dom0.bind_vcpu(&host, port, V0)), Some(Errno::Invalid));
            assert_eq!(errno(dom0.set_priority(port, 0)), Some(Errno::Invalid));
            assert_eq!(errno(dom0.status(&host, DomainId::SELF, port)), Some(Errno::Invalid));
            assert_eq!(errno(dom0.bind_interdomain(&host, DomainId::SELF, port)), Some(Errno::Invalid));
            assert_eq!(errno(dom0.poll(&host, V0, &[port])), Some(Errno::Invalid));
        }
    }
    assert_eq!(dom0.open_ports(), 0);
}

#[test]
fn r20_a_virq_that_finds_no_free_port_leaves_every_other_domain_as_it_was() {
    let host = TestHost::new([domain(0), DomainConfig { max_port: 2, ..domain(1) }]);
    let console = host.get(0).bind_virq(&host, Virq::CONSOLE, V0).expect("dom0 handles it");
    let guest = host.get(1);
    guest.bind_ipi(&host, V0).expect("a port");
    guest.bind_ipi(&host, V0).expect("a port");
    for virq in [Virq::DEBUG, Virq::TIMER, Virq::ARGO] {
        assert_eq!(errno(guest.bind_virq(&host, virq, V0)), Some(Errno::NoSpace));
    }
    assert_eq!(errno(guest.bind_virq(&host, Virq::CONSOLE, V0)), Some(Errno::Busy));
    hypervisor_lib::event::send_global_virq(&host, Virq::CONSOLE).expect("a global VIRQ");
    assert_eq!(Guest::new(&host, 0).consume(V0), [console]);
    guest.close(&host, Port(1)).expect("an open port");
    assert_eq!(guest.bind_virq(&host, Virq::DEBUG, V0), Ok(Port(1)), "the failure left nothing bound");
}

#[test]
fn a_port_is_closed_at_both_ends_and_offered_again() {
    let host = TestHost::new([domain(1), domain(2)]);
    let [one, two] = [host.get(1), host.get(2)];
    let offered = one.alloc_unbound(&host, DomainId::SELF, DomainId(2)).expect("a port");
    assert_eq!(errno(host.get(1).bind_interdomain(&host, DomainId(2), offered)), Some(Errno::Invalid));
    let theirs = two.bind_interdomain(&host, DomainId(1), offered).expect("offered");
    assert!(Guest::new(&host, 2).is_called(V0), "what was sent before went nowhere, so the new end is pending");
    two.close(&host, theirs).expect("an open port");
    let status = one.status(&host, DomainId::SELF, offered).expect("a port");
    assert_eq!(status.binding, Binding::Unbound { remote: DomainId(2) });
    one.send(&host, offered).expect("an unbound port drops it");
    assert_eq!(two.bind_interdomain(&host, DomainId(1), offered), Ok(theirs));
}

#[test]
fn a_virtual_irq_can_be_bound_again_once_its_port_is_closed() {
    let host = TestHost::new([domain(0)]);
    let dom0 = host.get(0);
    for (virq, vcpu) in [(Virq::TIMER, V1), (Virq::ARGO, V0), (Virq::CONSOLE, V0)] {
        let port = dom0.bind_virq(&host, virq, vcpu).expect("a port");
        assert_eq!(errno(dom0.bind_virq(&host, virq, vcpu)), Some(Errno::Exists));
        dom0.close(&host, port).expect("an open port");
        assert_eq!(dom0.bind_virq(&host, virq, vcpu), Ok(port));
    }
    assert_eq!(errno(dom0.bind_virq(&host, Virq::ARGO, V1)), Some(Errno::Invalid));
    assert_eq!(errno(dom0.bind_virq(&host, Virq::TIMER, VcpuId(2))), Some(Errno::NoEntry));
}
