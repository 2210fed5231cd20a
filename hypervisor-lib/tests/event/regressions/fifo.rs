//! FIFO: control blocks, event words, queues.

use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering as StdOrdering;
use std::thread;

use hypervisor_abi::DomainId;
use hypervisor_abi::Errno;
use hypervisor_abi::Port;
use hypervisor_abi::VcpuId;
use hypervisor_abi::event::EventWordValue;
use hypervisor_abi::event::FifoPriority;
use hypervisor_abi::event::LINKED;
use hypervisor_abi::event::PENDING;
use hypervisor_abi::sync::Ordering;
use hypervisor_lib::event::Action;
use hypervisor_lib::event::EventAbi;
use hypervisor_lib::event::GuestPlace;
use hypervisor_lib::event::WordSize;

use super::V0;
use super::V1;
use super::errno;
use crate::guest::ARRAY_GFN;
use crate::guest::Guest;
use crate::guest::control_place;
use crate::host::END_GFN;
use crate::host::TestHost;
use crate::host::domain;

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
