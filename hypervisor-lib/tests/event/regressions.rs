//! Bugs that shipped elsewhere, replayed: each test names its scenario's id.

use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering as StdOrdering;
use std::thread;

use hypervisor_abi::DomainId;
use hypervisor_abi::Errno;
use hypervisor_abi::Port;
use hypervisor_abi::VcpuId;
use hypervisor_abi::Virq;
use hypervisor_abi::event::EventWordValue;
use hypervisor_abi::event::FIFO_CHANNELS;
use hypervisor_abi::event::FifoPriority;
use hypervisor_abi::event::LINKED;
use hypervisor_abi::event::PENDING;
use hypervisor_abi::sync::Ordering;
use hypervisor_lib::event::Action;
use hypervisor_lib::event::Binding;
use hypervisor_lib::event::DomainConfig;
use hypervisor_lib::event::EventAbi;
use hypervisor_lib::event::EventError;
use hypervisor_lib::event::GuestPlace;
use hypervisor_lib::event::Poll;
use hypervisor_lib::event::ResetStep;
use hypervisor_lib::event::Sharing;
use hypervisor_lib::event::WordSize;
use hypervisor_lib::event::pirq_of_msi;

use crate::guest::ARRAY_GFN;
use crate::guest::Guest;
use crate::guest::control_place;
use crate::host::END_GFN;
use crate::host::TestHost;
use crate::host::domain;

const V0: VcpuId = VcpuId(0);
const V1: VcpuId = VcpuId(1);

fn errno<T>(result: Result<T, EventError>) -> Option<Errno> {
    result.err().map(EventError::errno)
}

#[test]
fn r01_control_block_on_vcpu_1_alone_leaves_events_for_vcpu_0_harmless() {
    let host = TestHost::new([domain(1)]);
    let guest = Guest::new(&host, 1);
    let ipi = guest.domain.bind_ipi(&host, V0).expect("a port");
    guest.domain.init_control(&host, V1, control_place(V1)).expect("a control block");
    guest.domain.expand_array(&host, ARRAY_GFN).expect("a page");
    guest.domain.send(&host, ipi).expect("an IPI port");
    assert!(guest.word(ipi).load(Ordering::Acquire).pending());
    assert!(!guest.word(ipi).load(Ordering::Acquire).linked(), "there is no queue yet");
    // The vCPU's control block comes later; the next event is delivered.
    guest.domain.init_control(&host, V0, control_place(V0)).expect("a control block");
    guest.domain.send(&host, ipi).expect("an IPI port");
    assert_eq!(guest.consume(V0), [ipi]);
}

#[test]
fn r04_a_port_that_is_appended_does_not_make_its_queue_ready() {
    let host = TestHost::new([domain(1)]);
    let guest = Guest::new(&host, 1).use_fifo(1);
    let [first, second] = [(); 2].map(|()| guest.domain.bind_ipi(&host, V0).expect("a port"));
    guest.domain.send(&host, first).expect("an IPI port");
    // The guest has seen READY and is about to walk the queue.
    guest.control(V0).ready.store(0, Ordering::Release);
    guest.domain.send(&host, second).expect("an IPI port");
    assert_eq!(guest.control(V0).ready.load(Ordering::Acquire), 0, "the guest finds the second behind the first");
    assert_eq!(guest.word(first).load(Ordering::Acquire).link(), second.0);
    assert_eq!(host.take_kicks(1, 0), 1);
}

#[test]
fn r05_a_tail_that_points_astray_is_linked_over_and_never_followed() {
    for link in [1, 2, 0x1_ffff] {
        let host = TestHost::new([domain(1)]);
        let guest = Guest::new(&host, 1).use_fifo(1);
        let [first, second] = [(); 2].map(|()| guest.domain.bind_ipi(&host, V0).expect("a port"));
        guest.domain.send(&host, first).expect("an IPI port");
        let astray = EventWordValue::new().with_pending(true).with_linked(true).with_link(link);
        guest.word(first).0.store(astray.into(), Ordering::Release);
        guest.domain.send(&host, second).expect("an IPI port");
        assert_eq!(guest.consume(V0), [first, second], "link {link:#x}");
    }
}

#[test]
fn r05_a_guest_that_rewrites_its_words_without_end_holds_up_no_sender() {
    let host = TestHost::new([domain(1), domain(2)]);
    let guest = Guest::new(&host, 1).use_fifo(1);
    let ports = [(); 4].map(|()| guest.domain.bind_ipi(&host, V0).expect("a port"));
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut noise = 0x9e37_79b9_u32;
            while !stop.load(StdOrdering::Acquire) {
                for port in ports {
                    noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    guest.word(port).0.store(noise, Ordering::Release);
                }
            }
        });
        for round in 0..20_000_usize {
            guest.domain.send(&host, ports[round % ports.len()]).expect("an IPI port");
        }
        stop.store(true, StdOrdering::Release);
    });
    // Afterwards the host is as sound as before.
    ports.iter().for_each(|port| guest.word(*port).0.store(0, Ordering::Release));
    let fresh = guest.domain.bind_ipi(&host, V1).expect("a port");
    guest.domain.send(&host, fresh).expect("an IPI port");
    assert_eq!(guest.consume(V1), [fresh]);
    assert!(host.take_actions().iter().all(|action| matches!(action, Action::Kick { domain: DomainId(1), .. })));
}

#[test]
fn r06_an_event_before_its_page_is_raised_when_the_page_comes() {
    let host = TestHost::new([domain(1)]);
    let guest = Guest::new(&host, 1).use_fifo(0);
    let [sent, silent] = [(); 2].map(|()| guest.domain.bind_ipi(&host, V0).expect("a port"));
    guest.domain.send(&host, sent).expect("an IPI port");
    assert!(guest.domain.bits(&host, sent).expect("a port").pending);
    assert_eq!(host.take_kicks(1, 0), 0);
    guest.domain.expand_array(&host, ARRAY_GFN).expect("a page");
    assert_eq!(guest.consume(V0), [sent]);
    assert!(!guest.domain.bits(&host, silent).expect("a port").pending);
}

#[test]
fn r06_an_event_of_the_2_level_abi_survives_the_switch() {
    let host = TestHost::new([domain(1)]);
    let guest = Guest::new(&host, 1);
    let ipi = guest.domain.bind_ipi(&host, V1).expect("a port");
    guest.domain.send(&host, ipi).expect("an IPI port");
    let guest = guest.use_fifo(1);
    assert_eq!(guest.consume(V1), [ipi]);
    assert_eq!(guest.consume(V1), []);
}

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
fn r08_ports_bound_before_and_after_the_switch_have_the_default_priority() {
    let host = TestHost::new([domain(1)]);
    let guest = Guest::new(&host, 1);
    let before = guest.domain.bind_ipi(&host, V0).expect("a port");
    let guest = guest.use_fifo(1);
    let after = guest.domain.bind_ipi(&host, V0).expect("a port");
    for port in [before, after] {
        assert_eq!(guest.domain.bits(&host, port).expect("a port").priority, FifoPriority::DEFAULT);
    }
    // A priority does not outlive its port.
    guest.domain.set_priority(after, 3).expect("a port");
    guest.domain.close(&host, after).expect("an open port");
    assert_eq!(guest.domain.bind_ipi(&host, V0), Ok(after));
    assert_eq!(guest.domain.bits(&host, after).expect("a port").priority, FifoPriority::DEFAULT);
}

#[test]
fn r10_a_poller_is_woken_once_and_finds_its_port_in_the_queue() {
    let host = TestHost::new([domain(1)]);
    let guest = Guest::new(&host, 1).use_fifo(1);
    let ipi = guest.domain.bind_ipi(&host, V0).expect("a port");
    assert_eq!(guest.domain.poll(&host, V1, &[ipi]), Ok(Poll::Blocked));
    guest.domain.send(&host, ipi).expect("an IPI port");
    let wake = Action::WakePoller { domain: DomainId(1), vcpu: V1 };
    assert_eq!(host.take_actions(), [Action::Kick { domain: DomainId(1), vcpu: V0 }, wake]);
    assert!(guest.word(ipi).load(Ordering::Acquire).linked());
    guest.domain.send(&host, ipi).expect("an IPI port");
    assert_eq!(host.take_actions(), [], "the poll is over");
}

#[test]
fn r11_a_moved_port_leaves_its_old_queue_for_good() {
    let places = [(V0, 7), (V1, 7), (V1, 0), (V0, 0), (V0, 7)];
    for (from, to) in places.into_iter().flat_map(|from| places.map(|to| (from, to))) {
        let host = TestHost::new([domain(1), domain(2)]);
        let guest = Guest::new(&host, 1).use_fifo(1);
        let [moved, other] = [(); 2].map(|()| {
            let port = guest.domain.alloc_unbound(&host, DomainId::SELF, DomainId(2)).expect("a port");
            (port, host.get(2).bind_interdomain(&host, DomainId(1), port).expect("offered"))
        });
        let place = |(port, _): (Port, Port), (vcpu, priority)| {
            guest.domain.bind_vcpu(&host, port, vcpu).expect("a port");
            guest.domain.set_priority(port, priority).expect("a port");
        };
        let send = |(_, theirs)| host.get(2).send(&host, theirs).expect("connected");
        // The port is the tail of its first queue, which the guest empties. Then it is the head and tail of another.
        place(moved, from);
        place(other, from);
        send(moved);
        assert_eq!(guest.consume(from.0), [moved.0]);
        place(moved, to);
        send(moved);
        // What follows in the first queue must not be linked after the port, wherever that is now.
        send(other);
        let head = |(vcpu, priority): (VcpuId, u32)| {
            guest.control(vcpu).head[usize::try_from(priority).expect("below 16")].load(Ordering::Acquire)
        };
        if from != to {
            assert_eq!(head(from), other.0.0, "{from:?} to {to:?}");
            assert_eq!(guest.word(moved.0).load(Ordering::Acquire).link(), 0, "{from:?} to {to:?}");
        }
        assert_eq!(head(to), moved.0.0, "{from:?} to {to:?}");
        // And back, which the port's last queue has to be right for.
        [V0, V1].into_iter().for_each(|vcpu| drop(guest.consume(vcpu)));
        place(moved, from);
        send(moved);
        place(other, to);
        send(other);
        let mut taken = [guest.consume(V0), guest.consume(V1)].concat();
        taken.sort_unstable();
        assert_eq!(taken, [moved.0, other.0], "{from:?} to {to:?} and back");
    }
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
fn r17_a_control_block_is_found_only_with_its_place_checked() {
    let host = TestHost::new([domain(1)]);
    let guest = Guest::new(&host, 1);
    let init = |vcpu, offset| errno(guest.domain.init_control(&host, VcpuId(vcpu), GuestPlace { gfn: 2, offset }));
    assert_eq!(init(2, 0), Some(Errno::NoEntry));
    assert_eq!(init(0, 4096 - 64), Some(Errno::Invalid));
    assert_eq!(init(0, u32::MAX), Some(Errno::Invalid));
    assert_eq!(init(0, 4), Some(Errno::Invalid));
    assert_eq!(errno(guest.domain.expand_array(&host, ARRAY_GFN)), Some(Errno::NotSupported), "not FIFO yet");
    let nowhere = GuestPlace { gfn: END_GFN, offset: 0 };
    assert_eq!(errno(guest.domain.init_control(&host, V0, nowhere)), Some(Errno::Invalid));
    assert_eq!(guest.domain.abi(), EventAbi::TwoLevel(WordSize::Bits64), "the first control block did not come");
    assert_eq!(init(0, 4096 - 72), None);
    assert_eq!(init(0, 0), Some(Errno::Invalid), "there is one already");
    assert_eq!(guest.domain.abi(), EventAbi::Fifo);
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
fn r21_polling_a_port_that_is_not_usable_is_refused_and_leaves_no_poll() {
    let host = TestHost::new([domain(1)]);
    let guest = host.get(1);
    let open = guest.bind_ipi(&host, V0).expect("a port");
    assert_eq!(errno(guest.poll(&host, V1, &[Port(0)])), Some(Errno::Invalid));
    assert_eq!(errno(guest.poll(&host, V1, &[open, Port(5)])), Some(Errno::Invalid));
    assert_eq!(errno(guest.poll(&host, V1, &[open; 129])), Some(Errno::Invalid));
    assert_eq!(errno(guest.poll(&host, VcpuId(2), &[open])), Some(Errno::NoEntry));
    guest.send(&host, open).expect("an IPI port");
    assert_eq!(host.take_actions(), [Action::Kick { domain: DomainId(1), vcpu: V0 }], "nobody polls");
    assert_eq!(guest.poll(&host, V1, &[open; 128]), Ok(Poll::Ready));
}

#[test]
fn r22_an_unmask_delivers_what_is_pending_once_however_often_it_is_repeated() {
    for fifo in [false, true] {
        let host = TestHost::new([domain(1)]);
        let mut guest = Guest::new(&host, 1);
        if fifo {
            guest = guest.use_fifo(1);
        }
        let ipi = guest.domain.bind_ipi(&host, V0).expect("a port");
        guest.mask(ipi);
        guest.domain.send(&host, ipi).expect("an IPI port");
        assert_eq!((guest.consume(V0), host.take_kicks(1, 0)), (vec![], 0));
        guest.unmask(ipi);
        guest.unmask(ipi);
        assert_eq!((guest.consume(V0), host.take_kicks(1, 0)), (vec![ipi], 1));
        assert_eq!(guest.consume(V0), []);
    }
}

#[test]
fn r27_events_behind_a_mask_become_exactly_one() {
    for fifo in [false, true] {
        let host = TestHost::new([domain(1)]);
        let mut guest = Guest::new(&host, 1);
        if fifo {
            guest = guest.use_fifo(1);
        }
        let ipi = guest.domain.bind_ipi(&host, V0).expect("a port");
        for _ in 0..2 {
            guest.mask(ipi);
            guest.domain.send(&host, ipi).expect("an IPI port");
            guest.domain.send(&host, ipi).expect("an IPI port");
            guest.unmask(ipi);
            assert_eq!(guest.consume(V0), [ipi]);
            assert_eq!(guest.consume(V0), []);
        }
    }
}

#[test]
fn r33_an_msi_with_vector_0_names_a_physical_irq_whatever_its_delivery_mode() {
    let address = 0xfee0_0000_u64 | 0x37 << 12 | 0x0001_2300 << 32;
    assert_eq!(pirq_of_msi(address, 0x700), Some(0x0001_2337), "ExtINT");
    assert_eq!(pirq_of_msi(address, 0), Some(0x0001_2337));
    assert_eq!(pirq_of_msi(address, 0x41), None);
    assert_eq!(pirq_of_msi(0xfee0_0000 | 0xff << 12, 0x4000), Some(0xff));
}

#[test]
fn r34_a_physical_irq_is_given_up_once_by_close_and_none_is_left_behind_by_death() {
    let host = TestHost::new([domain(1)]);
    let guest = host.get(1);
    host.occupy_pirq(5);
    host.deny_pirq(6);
    assert_eq!(errno(guest.bind_pirq(&host, 64, Sharing::Shared)), Some(Errno::Invalid));
    assert_eq!(errno(guest.bind_pirq(&host, 6, Sharing::Shared)), Some(Errno::NotPermitted));
    assert_eq!(errno(guest.bind_pirq(&host, 5, Sharing::Exclusive)), Some(Errno::Busy));
    let port = guest.bind_pirq(&host, 5, Sharing::Shared).expect("a shared line");
    assert_eq!(errno(guest.bind_pirq(&host, 5, Sharing::Shared)), Some(Errno::Exists));
    guest.close(&host, port).expect("an open port");
    assert_eq!(errno(guest.close(&host, port)), Some(Errno::Invalid));
    let unbind = |pirq| Action::UnbindPirq { domain: DomainId(1), pirq };
    assert_eq!(host.take_actions(), [unbind(5)]);
    for pirq in [5, 7, 63] {
        guest.bind_pirq(&host, pirq, Sharing::Shared).expect("a line");
    }
    guest.destroy(&host).expect("nobody is preempted");
    assert_eq!(host.take_actions(), [5, 7, 63].map(unbind));
    guest.send_pirq(&host, 5);
    assert_eq!(host.take_actions(), []);
}

#[test]
fn a_closed_port_that_is_still_in_a_queue_is_not_given_out() {
    let host = TestHost::new([domain(1)]);
    let guest = Guest::new(&host, 1).use_fifo(1);
    let first = guest.domain.bind_ipi(&host, V0).expect("a port");
    guest.domain.send(&host, first).expect("an IPI port");
    guest.domain.close(&host, first).expect("an open port");
    let value = guest.word(first).0.load(Ordering::Acquire);
    assert_eq!(value & (LINKED | PENDING), LINKED);
    assert_eq!(guest.domain.bind_ipi(&host, V0), Ok(Port(2)));
    assert_eq!(guest.consume(V0), [], "its event went with it");
    assert_eq!(guest.domain.bind_ipi(&host, V0), Ok(first));
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
fn a_burst_of_events_to_a_vcpu_that_was_called_is_one_kick() {
    for fifo in [false, true] {
        let host = TestHost::new([domain(1)]);
        let mut guest = Guest::new(&host, 1);
        if fifo {
            guest = guest.use_fifo(1);
        }
        let ports: Vec<Port> = (0..256).map(|_| guest.domain.bind_ipi(&host, V0).expect("a port")).collect();
        for (port, priority) in ports.iter().zip((0..16).cycle()) {
            if fifo {
                guest.domain.set_priority(*port, priority).expect("a port");
            }
        }
        for _ in 0..2 {
            ports.iter().for_each(|port| guest.domain.send(&host, *port).expect("an IPI port"));
            assert_eq!(host.take_kicks(1, 0), 1);
            assert_eq!(guest.consume(V0).len(), ports.len());
        }
    }
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
