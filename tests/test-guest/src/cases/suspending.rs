//! The guest is saved by dom0's toolstack, and goes on in its domain or in a new one.
//!
//! The toolstack asks by an event of a port whose number it finds in xenstore, where dom0 has put it for this guest.

use guest_shim::EoiMode;
use guest_shim::Restored;
use guest_shim::Resumed;
use guest_shim::Untaken;
use guest_shim::Upcall;
use heapless::Vec;
use hypervisor_abi::DomainId;
use hypervisor_abi::Errno;
use hypervisor_abi::Port;
use hypervisor_abi::Virq;

use crate::apic;
use crate::bed;
use crate::bed::Abi;
use crate::bed::Channels;
use crate::bed::FIRST;
use crate::bed::SECOND;
use crate::bed::Vcpu;
use crate::bed::now;
use crate::machine;
use crate::machine::on_xen;
use crate::mailbox::MAILBOX;
use crate::mailbox::Request;
use crate::second::alongside;

/// How far ahead timers are set, in ns.
const TIMER_NS: u64 = 2_000_000;
/// The ports that the toolstack opened for xenstore and the console. The daemon of the console connects to its own again when
/// it finds it offered anew.
const TAKEN_BY_DAEMONS: u32 = 2;

/// Has dom0 save this guest, and waits until the toolstack asks the guest to suspend itself; the port by which it did.
fn asked_to_suspend<A: Abi>(channels: &Channels<A>, vcpu: &mut Vcpu<A>, request: Request) -> Port {
    let port = channels.offer(DomainId::DOM0, FIRST, EoiMode::Early).expect("a port");
    assert!(port.0 > TAKEN_BY_DAEMONS);
    channels.unmask(port).expect("a port");
    assert_eq!(MAILBOX.call(request, port.0, &mut []), 0);
    apic::guard();
    assert_eq!(vcpu.wait(channels), [port], "the toolstack asks");
    port
}

/// An IPI port of a vCPU, unmasked.
fn ipi_of<A: Abi>(channels: &Channels<A>, vcpu: hypervisor_abi::VcpuId) -> Port {
    let port = channels.bind_ipi(vcpu, EoiMode::Early).expect("a port");
    channels.unmask(port).expect("a port");
    port
}

/// A guest that is saved and goes on in its domain still has every event that was waiting.
pub(super) fn checkpoint<A: Abi>() {
    let channels = bed::channels::<A>();
    let mut vcpu = Vcpu::bring_up(&channels, FIRST);
    let [quiet, waiting] = [(); 2].map(|()| ipi_of(&channels, FIRST));
    let domain = machine::own_domain();
    asked_to_suspend(&channels, &mut vcpu, Request::Checkpoint);
    channels.send(waiting).expect("an IPI port");
    // The toolstack tells of it only a guest that has set a callback.
    let told = match on_xen().upcall {
        Upcall::Callback(_) => Resumed::InPlace,
        Upcall::OwnVector(_) => Resumed::Restored,
    };
    assert_eq!(channels.suspend(), Ok(told));
    apic::guard();
    assert_eq!(machine::own_domain(), domain);
    assert_eq!(vcpu.wait(&channels), [waiting]);
    channels.send(quiet).expect("an IPI port");
    assert_eq!(vcpu.wait(&channels), [quiet]);
}

/// A guest that is restored sets itself up as at boot, has its IPIs and virtual IRQs again on both vCPUs, and knows which
/// events of the old domain it has not taken.
pub(super) fn save_and_restore<A: Abi>() {
    let channels = bed::channels::<A>();
    let mut vcpu = Vcpu::bring_up(&channels, FIRST);
    let [quiet, waiting] = [(); 2].map(|()| ipi_of(&channels, FIRST));
    let masked = channels.bind_ipi(FIRST, EoiMode::Late).expect("a port");
    assert!(masked.0 > TAKEN_BY_DAEMONS);
    let to_second = ipi_of(&channels, SECOND);
    assert_eq!(on_xen().hypervisor.stop_periodic_timer(FIRST), 0);
    let timer = channels.bind_virq(Virq::TIMER, FIRST, EoiMode::Early).expect("a port");
    let domain = machine::own_domain();
    let asked = asked_to_suspend(&channels, &mut vcpu, Request::Restore);
    for port in [waiting, masked] {
        channels.send(port).expect("an IPI port");
    }
    assert_eq!(channels.suspend(), Ok(Resumed::Restored));

    machine::enter_again();
    apic::guard();
    assert_ne!(machine::own_domain(), domain);
    let gone = channels.send(masked).expect_err("the new domain has the toolstack's ports alone");
    assert!(matches!(gone, guest_shim::ChannelError::Refused(refused) if refused.is(Errno::Invalid)), "{gone}");
    channels.restart();
    vcpu = Vcpu::bring_up(&channels, FIRST);
    assert_eq!(on_xen().hypervisor.stop_periodic_timer(FIRST), 0);
    let (mut told, mut lost) = (Vec::<(Port, Port, Untaken), 5>::new(), Vec::<Port, 1>::new());
    let tell = |restored| match restored {
        Restored::Rebound { old, new, event } => told.push((old, new, event)).expect("room"),
        Restored::Lost { old, .. } => lost.push(old).expect("room"),
    };
    channels.rebind_all(tell).expect("the hypervisor binds");
    assert_eq!(lost, [asked]);
    told.sort_unstable_by_key(|(old, ..)| *old);
    let [quiet, waiting, masked, to_second, timer] = [
        (quiet, Untaken::Nothing),
        (waiting, Untaken::Event),
        (masked, Untaken::Event),
        (to_second, Untaken::Nothing),
        (timer, Untaken::Nothing),
    ]
    .map(|(port, event)| {
        let (_, new, noted) = told.iter().find(|(old, ..)| *old == port).expect("bound again");
        assert_eq!(*noted, event, "{port}");
        *new
    });

    assert_eq!(vcpu.take_now(&channels), [], "what the old domain had is gone");
    for port in [masked, quiet] {
        channels.send(port).expect("an IPI port");
    }
    assert_eq!(vcpu.wait(&channels), [quiet], "the other one was masked");
    channels.unmask(masked).expect("a port");
    assert_eq!(vcpu.wait(&channels), [masked]);
    channels.unmask(timer).expect("a port");
    let due = now(FIRST).0 + TIMER_NS;
    assert_eq!(on_xen().hypervisor.set_timer(FIRST, due), 0);
    assert_eq!(vcpu.wait(&channels), [timer]);
    assert!(now(FIRST).0 >= due);
    let there = || {
        let mut vcpu = Vcpu::bring_up(&channels, SECOND);
        channels.send(waiting).expect("an IPI port");
        assert_eq!(vcpu.wait(&channels), [to_second]);
        channels.send(waiting).expect("an IPI port");
    };
    alongside(&there, || {
        assert_eq!(vcpu.wait(&channels), [waiting], "the second vCPU is ready");
        channels.send(to_second).expect("an IPI port");
        assert_eq!(vcpu.wait(&channels), [waiting]);
    });
}
