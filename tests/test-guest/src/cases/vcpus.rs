//! Two vCPUs: events from one to the other, ports that move between them, and nothing lost on the way.

use guest_shim::EoiMode;
use hypervisor_abi::DomainId;
use hypervisor_abi::Port;
use hypervisor_abi::Virq;
use hypervisor_abi::sync::AtomicU32;
use hypervisor_abi::sync::Ordering::SeqCst;

use crate::bed;
use crate::bed::Abi;
use crate::bed::Channels;
use crate::bed::FIRST;
use crate::bed::SECOND;
use crate::bed::Vcpu;
use crate::bed::now;
use crate::machine::on_xen;
use crate::second::alongside;

/// How often events go back and forth.
const ROUNDS: u32 = 200;
/// How many ports [`no_event_is_lost`] floods.
const FLOODED: usize = 8;
/// How far ahead timers are set, in ns.
const TIMER_NS: u64 = 2_000_000;

/// An IPI port of a vCPU, unmasked.
fn ipi_of<A: Abi>(channels: &Channels<A>, vcpu: hypervisor_abi::VcpuId) -> Port {
    let port = channels.bind_ipi(vcpu, EoiMode::Early).expect("a port");
    channels.unmask(port).expect("a port");
    port
}

/// IPIs interrupt the vCPU they are bound to, back and forth.
pub(super) fn ipis<A: Abi>() {
    let channels = bed::channels::<A>();
    let mut vcpu = Vcpu::bring_up(&channels, FIRST);
    let to_first = ipi_of(&channels, FIRST);
    let to_second = AtomicU32::new(0);
    let there = || {
        let mut vcpu = Vcpu::bring_up(&channels, SECOND);
        let port = ipi_of(&channels, SECOND);
        to_second.store(port.0, SeqCst);
        channels.send(to_first).expect("an IPI port");
        for _ in 0..ROUNDS {
            assert_eq!(vcpu.wait(&channels), [port]);
            channels.send(to_first).expect("an IPI port");
        }
    };
    alongside(&there, || {
        assert_eq!(vcpu.wait(&channels), [to_first], "the second vCPU is ready");
        for _ in 0..ROUNDS {
            channels.send(Port(to_second.load(SeqCst))).expect("an IPI port");
            assert_eq!(vcpu.wait(&channels), [to_first]);
        }
    });
}

/// A port that moves is taken by its new vCPU, also the event that was queued for the old one.
pub(super) fn moved_port<A: Abi>() {
    let channels = bed::channels::<A>();
    let mut vcpu = Vcpu::bring_up(&channels, FIRST);
    let to_first = ipi_of(&channels, FIRST);
    let source = channels.offer(DomainId::SELF, FIRST, EoiMode::Early).expect("a port");
    let moving = channels.bind_interdomain(DomainId::SELF, source, FIRST, EoiMode::Early).expect("offered");
    channels.unmask(moving).expect("a port");
    assert_eq!(vcpu.wait(&channels), [moving], "the new end is pending at once");
    let there = || {
        let mut vcpu = Vcpu::bring_up(&channels, SECOND);
        channels.send(to_first).expect("an IPI port");
        for _ in 0..ROUNDS {
            assert_eq!(vcpu.wait(&channels), [moving]);
            channels.send(to_first).expect("an IPI port");
        }
    };
    alongside(&there, || {
        assert_eq!(vcpu.wait(&channels), [to_first], "the second vCPU is ready");
        for round in 0..ROUNDS {
            if round % 2 == 0 {
                // Queued for the first vCPU, which does not take it but passes it on.
                channels.move_to(moving, FIRST).expect("it may move");
                channels.send(source).expect("connected");
                channels.move_to(moving, SECOND).expect("it may move");
            } else {
                channels.send(source).expect("connected");
            }
            // Together with the event that is passed on, or after it.
            let taken = vcpu.take_now(&channels);
            assert!(!taken.contains(&moving));
            if taken.is_empty() {
                assert_eq!(vcpu.wait(&channels), [to_first]);
            }
        }
    });
}

/// Each vCPU has a timer of its own.
pub(super) fn timers<A: Abi>() {
    let channels = bed::channels::<A>();
    let mut vcpu = Vcpu::bring_up(&channels, FIRST);
    let to_first = ipi_of(&channels, FIRST);
    let there = || {
        let mut vcpu = Vcpu::bring_up(&channels, SECOND);
        let port = channels.bind_virq(Virq::TIMER, SECOND, EoiMode::Early).expect("a port");
        channels.unmask(port).expect("a port");
        // A vCPU's timer is set by itself alone (`VCPUOP_set_singleshot_timer`, `public/vcpu.h`).
        assert_eq!(on_xen().hypervisor.stop_periodic_timer(SECOND), 0);
        for _ in 0..5 {
            let due = now(SECOND).0 + TIMER_NS;
            assert_eq!(on_xen().hypervisor.set_timer(SECOND, due), 0);
            assert_eq!(vcpu.wait(&channels), [port]);
            assert!(now(SECOND).0 >= due);
        }
        channels.send(to_first).expect("an IPI port");
    };
    alongside(&there, || assert_eq!(vcpu.wait(&channels), [to_first]));
}

/// While one vCPU floods the ports of the other, the last event of each port arrives.
pub(super) fn no_event_is_lost<A: Abi>() {
    let channels = bed::channels::<A>();
    let mut vcpu = Vcpu::bring_up(&channels, FIRST);
    let ports: [Port; FLOODED] = core::array::from_fn(|_| ipi_of(&channels, FIRST));
    let sent = [const { AtomicU32::new(0) }; FLOODED];
    let there = || {
        let _vcpu = Vcpu::bring_up(&channels, SECOND);
        for number in 1..=ROUNDS {
            for (port, sent) in ports.iter().zip(&sent) {
                sent.store(number, SeqCst);
                channels.send(*port).expect("an IPI port");
            }
        }
    };
    alongside(&there, || {
        let mut seen = [0; FLOODED];
        while seen != [ROUNDS; FLOODED] {
            for port in vcpu.wait(&channels) {
                let index = ports.iter().position(|known| *known == port).expect("one of the ports");
                seen[index] = sent[index].load(SeqCst);
            }
        }
    });
}
