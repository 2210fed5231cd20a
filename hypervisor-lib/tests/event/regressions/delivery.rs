//! Masks, polls and calls.

use hypervisor_abi::DomainId;
use hypervisor_abi::Errno;
use hypervisor_abi::Port;
use hypervisor_abi::VcpuId;
use hypervisor_abi::sync::Ordering;
use hypervisor_lib::event::Action;
use hypervisor_lib::event::ConsumerId;
use hypervisor_lib::event::Poll;
use hypervisor_lib::event::Raised;

use super::V0;
use super::V1;
use super::errno;
use crate::guest::Guest;
use crate::host::TestHost;
use crate::host::domain;

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

/// KVM's fast path for sends and the way through the monitor must leave the same behind; a masked port is no failure to the
/// sender, though the route that raises it hears of it.
#[test]
fn r99_raising_by_a_route_and_sending_leave_the_same_whatever_the_ports_state() {
    for (fifo, masked, pending) in (0..8).map(|bits| (bits & 1 != 0, bits & 2 != 0, bits & 4 != 0)) {
        let after = |raise: &dyn Fn(&TestHost, Port) -> Raised| {
            let host = TestHost::new([domain(1)]);
            let mut guest = Guest::new(&host, 1);
            if fifo {
                guest = guest.use_fifo(1);
            }
            let port = guest.domain.bind_ipi(&host, V0).expect("a port");
            assert_eq!(guest.domain.poll(&host, V1, &[port]), Ok(Poll::Blocked));
            if masked {
                guest.mask(port);
            }
            if pending {
                guest.domain.send(&host, port).expect("an IPI port");
            }
            host.take_actions();
            let raised = raise(&host, port);
            let seen = (host.take_actions(), guest.domain.bits(&host, port), guest.consume(V0), guest.is_called(V0));
            guest.unmask(port);
            (raised, seen, host.take_actions(), guest.consume(V0))
        };
        let by_route = after(&|host, port| host.get(1).raise(host, port).expect("an open port"));
        let expected = match (pending, masked) {
            (true, _) => (Raised::Merged, 0),
            (false, true) => (Raised::Masked, -107),
            (false, false) => (Raised::Delivered, 1),
        };
        assert_eq!((by_route.0, by_route.0.route_result()), expected);
        let by_send = after(&|host, port| {
            assert_eq!(host.get(1).send(host, port), Ok(()), "the guest is told of success");
            expected.0
        });
        assert_eq!(by_route, by_send, "fifo: {fifo}, masked: {masked}, pending: {pending}");
    }
}

#[test]
fn a_route_raises_nothing_that_is_not_open_or_is_the_hypervisors() {
    let host = TestHost::new([domain(1)]);
    let guest = host.get(1);
    let consumer = ConsumerId::new(0).expect("a small number");
    let consumed = guest.alloc_consumed(&host, V0, DomainId(1), consumer).expect("a port");
    for port in [Port(0), consumed, Port(consumed.0 + 1), Port(64), Port(u32::MAX)] {
        assert_eq!(errno(guest.raise(&host, port)), Some(Errno::Invalid));
    }
    assert_eq!(host.take_actions(), []);
}
