//! Ports of one vCPU, from binding to closing, the same over both ABIs.

use guest_shim::Eoi;
use guest_shim::EoiMode;
use guest_shim::Restored;
use guest_shim::Served;
use guest_shim::Time;
use guest_shim::Work;
use guest_shim::poll;
use heapless::Vec;
use hypervisor_abi::DomainId;
use hypervisor_abi::Errno;
use hypervisor_abi::Port;
use hypervisor_abi::Virq;

use crate::bed;
use crate::bed::Abi;
use crate::bed::Channels;
use crate::bed::FIRST;
use crate::bed::PORTS;
use crate::bed::Vcpu;
use crate::bed::now;
use crate::machine::on_xen;

/// How far ahead timers are set, in ns.
const TIMER_NS: u64 = 2_000_000;
/// How many ports [`many_ports`] uses.
const MANY: usize = 1000;

/// Channels, the first vCPU, and an IPI port of its own, unmasked.
fn begin<A: Abi>(eoi: EoiMode) -> (Channels<A>, Vcpu<A>, Port) {
    let channels = bed::channels::<A>();
    let vcpu = Vcpu::bring_up(&channels, FIRST);
    let port = channels.bind_ipi(FIRST, eoi).expect("a port");
    channels.unmask(port).expect("a port");
    (channels, vcpu, port)
}

/// What a vCPU sends itself interrupts it, once however often it was sent.
pub(super) fn ipi<A: Abi>() {
    let (channels, mut vcpu, port) = begin::<A>(EoiMode::Early);
    for _ in 0..100 {
        channels.send(port).expect("an IPI port");
        channels.send(port).expect("an IPI port");
        assert_eq!(vcpu.wait(&channels), [port]);
        assert_eq!(vcpu.take_now(&channels), []);
    }
}

/// What is sent to a masked port comes after it is unmasked, once; unmasking alone sends nothing.
pub(super) fn mask_and_unmask<A: Abi>() {
    let (channels, mut vcpu, port) = begin::<A>(EoiMode::Early);
    for _ in 0..20 {
        channels.mask(port).expect("a port");
        channels.unmask(port).expect("a port");
        assert_eq!(vcpu.take_now(&channels), []);
        channels.mask(port).expect("a port");
        channels.send(port).expect("an IPI port");
        channels.send(port).expect("an IPI port");
        assert_eq!(vcpu.take_now(&channels), []);
        assert!(channels.is_pending(port));
        channels.unmask(port).expect("a port");
        assert_eq!(vcpu.wait(&channels), [port]);
        assert_eq!(vcpu.take_now(&channels), []);
    }
}

/// An event whose end comes late keeps the next one away until then, and does not lose it.
pub(super) fn late_end<A: Abi>() {
    let (channels, mut vcpu, port) = begin::<A>(EoiMode::Late);
    for _ in 0..20 {
        channels.send(port).expect("an IPI port");
        assert_eq!(vcpu.wait_and(&channels, |_| Served::Unfinished), [port]);
        channels.send(port).expect("an IPI port");
        assert_eq!(vcpu.take_now(&channels), []);
        let ended = vcpu.events().eoi(&channels, port, now(FIRST), Work::Done).expect("the hypervisor unmasks");
        assert_eq!(ended, Eoi::Ended);
        assert_eq!(vcpu.wait(&channels), [port]);
    }
}

/// Two ports of the same domain: the end that is bound has an event at once, then each end's events come to the other.
pub(super) fn loopback<A: Abi>() {
    let channels = bed::channels::<A>();
    let mut vcpu = Vcpu::bring_up(&channels, FIRST);
    let near = channels.offer(DomainId::SELF, FIRST, EoiMode::Early).expect("a port");
    let far = channels.bind_interdomain(DomainId::SELF, near, FIRST, EoiMode::Early).expect("offered");
    channels.unmask(near).expect("a port");
    channels.unmask(far).expect("a port");
    assert_eq!(vcpu.wait(&channels), [far]);
    for (from, to) in [(near, far), (far, near)] {
        channels.send(from).expect("connected");
        assert_eq!(vcpu.wait(&channels), [to]);
    }
    // What is sent while the other end is closed is lost, and no error.
    channels.close(far).expect("bound");
    channels.send(near).expect("dropped");
    assert_eq!(vcpu.take_now(&channels), []);
}

/// The event of a port that is closed before it is taken comes to nobody, not even to who gets the number next.
pub(super) fn close_and_bind_again<A: Abi>() {
    let (channels, mut vcpu, mut port) = begin::<A>(EoiMode::Early);
    for _ in 0..20 {
        channels.send(port).expect("an IPI port");
        channels.close(port).expect("bound");
        port = channels.bind_ipi(FIRST, EoiMode::Early).expect("a port");
        channels.unmask(port).expect("a port");
        assert_eq!(vcpu.take_now(&channels), []);
        channels.send(port).expect("an IPI port");
        assert_eq!(vcpu.wait(&channels), [port]);
    }
}

/// A thousand ports have events at the same time, and each comes once.
pub(super) fn many_ports<A: Abi>() {
    let (channels, mut vcpu, first) = begin::<A>(EoiMode::Early);
    let mut ports = Vec::<Port, PORTS>::new();
    ports.push(first).expect("room");
    while ports.len() < MANY {
        let port = channels.bind_ipi(FIRST, EoiMode::Early).expect("a port");
        channels.unmask(port).expect("a port");
        ports.push(port).expect("room");
    }
    for port in &ports {
        channels.send(*port).expect("an IPI port");
    }
    let mut taken = vcpu.wait(&channels);
    taken.sort_unstable();
    assert!(taken == ports, "{} of {} came", taken.len(), ports.len());
    assert_eq!(vcpu.take_now(&channels), []);
}

/// The timer comes when it is due and not before; a port that is masked can be polled.
pub(super) fn timer<A: Abi>() {
    let channels = bed::channels::<A>();
    let mut vcpu = Vcpu::bring_up(&channels, FIRST);
    let hypervisor = on_xen().hypervisor;
    assert_eq!(hypervisor.stop_periodic_timer(FIRST), 0);
    let closed = poll(&hypervisor, &[Port(9)], None).expect_err("nobody has opened it");
    assert!(closed.is(Errno::Invalid), "{closed}");
    let port = channels.bind_virq(Virq::TIMER, FIRST, EoiMode::Early).expect("a port");
    for _ in 0..5 {
        let due = now(FIRST).0 + TIMER_NS;
        assert_eq!(hypervisor.set_timer(FIRST, due), 0);
        poll(&hypervisor, &[port], Some(Time(due + 1000 * TIMER_NS))).expect("the port is open");
        assert!(channels.is_pending(port) && now(FIRST).0 >= due);
        channels.unmask(port).expect("a port");
        assert_eq!(vcpu.wait(&channels), [port]);

        let due = now(FIRST).0 + TIMER_NS;
        assert_eq!(hypervisor.set_timer(FIRST, due), 0);
        assert_eq!(vcpu.wait(&channels), [port]);
        assert!(now(FIRST).0 >= due);
        channels.mask(port).expect("a port");
    }
}

/// A reset closes every port; the guest sets itself up again and binds again what it can.
pub(super) fn reset_and_rebind<A: Abi>() {
    let (channels, mut vcpu, ipi) = begin::<A>(EoiMode::Early);
    let masked = channels.bind_ipi(FIRST, EoiMode::Late).expect("a port");
    let offered = channels.offer(DomainId(0), FIRST, EoiMode::Early).expect("a port");
    channels.send(ipi).expect("an IPI port");
    assert_eq!(vcpu.wait(&channels), [ipi]);
    bed::reset();
    let refused = channels.send(ipi).expect_err("closed");
    assert!(matches!(refused, guest_shim::ChannelError::Refused(refused) if refused.is(Errno::Invalid)), "{refused}");

    channels.restart();
    let mut vcpu = Vcpu::bring_up(&channels, FIRST);
    let (mut rebound, mut lost) = (Vec::<(Port, Port), 4>::new(), Vec::<Port, 4>::new());
    let tell = |restored| match restored {
        Restored::Rebound { old, new, .. } => rebound.push((old, new)).expect("room"),
        Restored::Lost { old, .. } => lost.push(old).expect("room"),
    };
    channels.rebind_all(tell).expect("the hypervisor binds");
    assert_eq!(lost, [offered]);
    rebound.sort_unstable();
    let [(first_old, first), (second_old, second)] = rebound.into_array::<2>().expect("two were rebound");
    assert_eq!((first_old, second_old), (ipi, masked));
    channels.send(first).expect("an IPI port");
    channels.send(second).expect("an IPI port");
    assert_eq!(vcpu.wait(&channels), [first], "the other one was masked");
    channels.unmask(second).expect("a port");
    assert_eq!(vcpu.wait(&channels), [second]);
}
