//! Channels between two ends: offering, connecting, sending, closing.

use hypervisor_abi::Errno;
use hypervisor_abi::event::ChannelState;

use crate::bed::Bed;
use crate::bed::Who;
use crate::caller::Caller;
use crate::caller::NOBODY;
use crate::caller::SELF;

/// An offered port is connected to, by the domain it is offered to and once; events go both ways, two become one; a closed
/// end leaves the other one offered as before. `far` may be the same domain.
pub fn connections(bed: &impl Bed, far: Who) {
    let (one, other) = (Caller(bed, Who::One), Caller(bed, far));
    let [here, there] = [Who::One, far].map(|who| bed.number(who));
    let offered = one.alloc_unbound(SELF, there).expect("one's own port");
    let waits = Ok((ChannelState::Unbound as u32, u32::from(there)));
    assert_eq!(one.status(SELF, offered).map(|status| (status.status, status.detail)), waits);
    assert_eq!(other.bind_interdomain(NOBODY, offered), Err(Errno::NoDomain));
    assert_eq!(other.bind_interdomain(here, 0), Err(Errno::Invalid));
    let end = other.bind_interdomain(here, offered).expect("offered");
    assert_eq!(bed.consume(far, 0), [end], "the new end is pending at once");
    assert_eq!(other.bind_interdomain(here, offered), Err(Errno::Invalid), "taken");
    let status = one.status(SELF, offered).expect("one's own port");
    let connected = (ChannelState::Interdomain as u32, u32::from(there), end);
    assert_eq!((status.status, status.detail, status.remote_port), connected);
    for (from, port, to, expected) in [(&one, offered, far, end), (&other, end, Who::One, offered)] {
        from.send(port).expect("connected");
        from.send(port).expect("connected");
        assert_eq!(bed.consume(to, 0), [expected], "two become one");
        assert_eq!(bed.consume(to, 0), []);
    }
    other.close(end).expect("open");
    assert_eq!(other.close(end), Err(Errno::Invalid));
    assert_eq!(one.status(SELF, offered).map(|status| (status.status, status.detail)), waits);
    one.send(offered).expect("dropped");
    assert_eq!(bed.consume(far, 0), []);
    assert_eq!(other.send(end), Err(Errno::Invalid));
}

/// A port notifies the vCPU it is moved to, from the next event on; one that is pending already stays where it was announced.
/// An end that nobody is connected to moves, too, and drops what is sent.
pub fn moves(bed: &impl Bed) {
    let one = Caller(bed, Who::One);
    let source = one.alloc_unbound(SELF, SELF).expect("one's own port");
    one.send(source).expect("dropped");
    one.bind_vcpu(source, 1).expect("an offered port moves");
    assert_eq!(one.status(SELF, source).map(|status| status.vcpu), Ok(1));
    let end = one.bind_interdomain(SELF, source).expect("offered");
    assert_eq!(one.status(SELF, end).map(|status| status.vcpu), Ok(0), "a new end notifies vCPU 0");
    assert_eq!(bed.consume(Who::One, 0), [end]);
    one.send(source).expect("connected");
    one.bind_vcpu(end, 1).expect("a connected port moves");
    assert_eq!(bed.consume(Who::One, 1), []);
    assert_eq!(bed.consume(Who::One, 0), [end]);
    one.send(source).expect("connected");
    assert_eq!(bed.consume(Who::One, 0), []);
    assert_eq!(bed.consume(Who::One, 1), [end]);
    one.send(end).expect("connected");
    assert_eq!(bed.consume(Who::One, 1), [source]);
}

/// A guest can offer none of another domain's ports, nor look at them.
pub fn offers(bed: &impl Bed) {
    let one = Caller(bed, Who::One);
    let dom0 = bed.number(Who::Dom0);
    assert_eq!(one.alloc_unbound(dom0, SELF), Err(Errno::NotPermitted));
    assert_eq!(one.alloc_unbound(NOBODY, SELF), Err(Errno::NoDomain));
    assert_eq!(one.status(dom0, 1), Err(Errno::NotPermitted));
    assert_eq!(one.status(NOBODY, 1), Err(Errno::NoDomain));
    // Whom a port is offered to need not exist.
    let offered = one.alloc_unbound(SELF, NOBODY).expect("one's own port");
    let loopback = one.bind_interdomain(SELF, offered);
    assert_eq!(loopback, Err(Errno::Invalid), "it is offered to somebody else");
}

/// The privileged domain offers a guest's port to another domain, and looks at it; nobody but that domain can connect.
pub fn offers_for_others(bed: &impl Bed) {
    let [dom0, one] = [Who::Dom0, Who::One].map(|who| Caller(bed, who));
    let number = bed.number(Who::One);
    let for_nobody = dom0.alloc_unbound(number, NOBODY).expect("dom0 may");
    let waits = Ok((ChannelState::Unbound as u32, u32::from(NOBODY)));
    assert_eq!(one.status(SELF, for_nobody).map(|status| (status.status, status.detail)), waits);
    assert_eq!(dom0.bind_interdomain(number, for_nobody), Err(Errno::Invalid), "it is offered to somebody else");
    let for_dom0 = dom0.alloc_unbound(number, SELF).expect("dom0 may");
    let end = dom0.bind_interdomain(number, for_dom0).expect("offered");
    let status = dom0.status(number, for_dom0).expect("dom0 may");
    let connected = (ChannelState::Interdomain as u32, u32::from(bed.number(Who::Dom0)), end);
    assert_eq!((status.status, status.detail, status.remote_port), connected);
    dom0.send(end).expect("connected");
    assert_eq!(bed.consume(Who::One, 0), [for_dom0]);
    one.send(for_dom0).expect("connected");
    dom0.close(end).expect("open");
    one.send(for_dom0).expect("dropped");
    assert_eq!(bed.consume(Who::One, 0), []);
}
