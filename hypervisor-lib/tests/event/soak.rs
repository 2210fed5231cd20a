//! Many senders at once: every send is accounted for.
//!
//! Each send first counts up its port's number. A guest that handles the port reads the number. When all is quiet the number
//! read last must be the number counted, for every port: otherwise an event was lost.

use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering;
use std::thread;

use hypervisor_abi::Port;
use hypervisor_abi::VcpuId;
use hypervisor_abi::event::FIFO_CHANNELS;
use hypervisor_lib::event::DomainConfig;

use crate::guest::Guest;
use crate::guest::info_place;
use crate::host::TestHost;
use crate::host::domain;

/// A step of Marsaglia's xorshift, 64 bits.
fn next(noise: &mut u64) -> u64 {
    *noise ^= *noise << 13;
    *noise ^= *noise >> 7;
    *noise ^= *noise << 17;
    *noise
}

/// Opens ports up to a number, on all vCPUs, while senders already send to those that are open; the guest handles events
/// meanwhile. Checks that nothing is lost.
fn soak(guest: Guest<'_>, host: &TestHost, ports: u32, sends: usize) {
    const SENDERS: usize = 3;
    let vcpus = u32::try_from(guest.domain.vcpu_count()).expect("few vCPUs");
    let counted: Vec<AtomicU32> = (0..ports).map(|_| AtomicU32::new(0)).collect();
    let handled: Vec<AtomicU32> = (0..ports).map(|_| AtomicU32::new(0)).collect();
    assert_eq!(guest.domain.bind_ipi(host, VcpuId(1)), Ok(Port(1)));
    let open = AtomicU32::new(2);
    let handle = || {
        for vcpu in (0..vcpus).map(VcpuId).filter(|vcpu| guest.is_called(*vcpu)) {
            for port in guest.consume(vcpu) {
                handled[port.index()].store(counted[port.index()].load(Ordering::SeqCst), Ordering::SeqCst);
            }
        }
    };
    thread::scope(|scope| {
        let senders: Vec<_> = (1..=SENDERS)
            .map(|seed| {
                let (counted, open) = (&counted, &open);
                scope.spawn(move || {
                    let mut noise = u64::try_from(seed).expect("a small number").wrapping_mul(0x9e37_79b9_7f4a_7c15);
                    for _ in 0..sends {
                        // what the opener has published can be sent to.
                        let below = open.load(Ordering::Acquire) - 1;
                        let number = 1 + u32::try_from(next(&mut noise) % u64::from(below)).expect("below a u32");
                        counted[Port(number).index()].fetch_add(1, Ordering::SeqCst);
                        guest.domain.send(host, Port(number)).expect("an open port");
                    }
                })
            })
            .collect();
        scope.spawn(|| {
            for number in 2..ports {
                let port = guest.domain.bind_ipi(host, VcpuId(number % vcpus)).expect("a port");
                assert_eq!(port, Port(number));
                open.store(number + 1, Ordering::Release);
            }
        });
        while senders.iter().any(|sender| !sender.is_finished()) {
            handle();
        }
    });
    handle();
    let lost: Vec<usize> = (0..counted.len())
        .filter(|port| counted[*port].load(Ordering::SeqCst) != handled[*port].load(Ordering::SeqCst))
        .collect();
    assert_eq!(lost, [0; 0], "ports whose last event was lost");
    assert_eq!(guest.domain.dropped_events(), 0);
}

#[test]
fn r15_every_send_to_4095_ports_is_accounted_for_with_2_levels() {
    let host = TestHost::new([DomainConfig { max_port: 4095, ..domain(1) }]);
    soak(Guest::new(&host, 1), &host, 4096, 40_000);
}

#[test]
fn every_send_to_131071_ports_of_64_vcpus_is_accounted_for_with_fifo_queues() {
    let host = TestHost::new([DomainConfig { vcpus: 64, max_port: FIFO_CHANNELS, ..domain(1) }]);
    let guest = Guest::new(&host, 1);
    for vcpu in (32..64).map(VcpuId) {
        guest.domain.register_vcpu_info(&host, vcpu, info_place(vcpu)).expect("a block");
    }
    soak(guest.use_fifo(128), &host, FIFO_CHANNELS, 100_000);
}
