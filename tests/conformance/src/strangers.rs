//! Three domains: what a guest may not do to another, and what even the privileged one may not.

use hypervisor_abi::Errno;
use hypervisor_abi::event::ChannelState;
use hypervisor_abi::event::EventOp;
use hypervisor_abi::event::Reset;

use crate::bed::Bed;
use crate::bed::Who;
use crate::caller::Caller;
use crate::caller::SELF;

/// A port is connected to by the domain it is offered to and nobody else, dom0 included; a guest neither looks at another's
/// ports nor offers or closes them. Channels of two guests do not touch each other.
pub fn strangers(bed: &impl Bed) {
    let [dom0, one, two] = [Who::Dom0, Who::One, Who::Two].map(|who| Caller(bed, who));
    let [here, there] = [Who::One, Who::Two].map(|who| bed.number(who));
    let offered = one.alloc_unbound(SELF, there).expect("one's own port");
    assert_eq!(dom0.bind_interdomain(here, offered), Err(Errno::Invalid), "it is offered to the other guest");
    assert_eq!(one.bind_interdomain(SELF, offered), Err(Errno::Invalid));
    assert_eq!(two.status(here, offered).map(|_| ()), Err(Errno::NotPermitted));
    assert_eq!(two.alloc_unbound(here, SELF), Err(Errno::NotPermitted));
    assert_eq!(two.done(EventOp::Reset, Reset { dom: here }), Err(Errno::NotPermitted));

    let for_two = dom0.alloc_unbound(here, there).expect("dom0 may");
    assert_eq!(dom0.bind_interdomain(here, for_two), Err(Errno::Invalid), "dom0 offers, and cannot connect");
    let [end, second] = [offered, for_two].map(|port| two.bind_interdomain(here, port).expect("offered"));
    let mut taken = bed.consume(Who::Two, 0);
    taken.sort_unstable();
    assert_eq!(taken, [end, second], "new ends are pending at once");
    for (port, remote) in [(offered, end), (for_two, second)] {
        let status = dom0.status(here, port).expect("dom0 may");
        let connected = (ChannelState::Interdomain as u32, u32::from(there), remote);
        assert_eq!((status.status, status.detail, status.remote_port), connected);
    }
    two.close(end).expect("open");
    one.send(offered).expect("dropped");
    assert_eq!(bed.consume(Who::Two, 0), []);
    one.send(for_two).expect("connected");
    assert_eq!(bed.consume(Who::Two, 0), [second]);
    two.send(second).expect("connected");
    assert_eq!(bed.consume(Who::One, 0), [for_two]);
}
