//! How many ports there are, and how a domain gets rid of all of them.

use hypervisor_abi::Errno;
use hypervisor_abi::event::ChannelState;
use hypervisor_abi::event::EventOp;
use hypervisor_abi::event::ExpandArray;
use hypervisor_abi::event::InitControl;
use hypervisor_abi::event::Reset;

use crate::bed::Bed;
use crate::bed::Who;
use crate::caller::Caller;
use crate::caller::NOBODY;
use crate::caller::SELF;

/// Ports are given from 1 to the domain's limit, and always the lowest that is free.
pub fn limits(bed: &impl Bed) {
    let one = Caller(bed, Who::One);
    for port in 1..1024 {
        assert_eq!(one.bind_ipi(0), Ok(port));
    }
    assert_eq!(one.bind_ipi(0), Err(Errno::NoSpace));
    assert_eq!(one.alloc_unbound(SELF, SELF), Err(Errno::NoSpace));
    one.close(700).expect("open");
    assert_eq!(one.bind_ipi(1), Ok(700), "the lowest free number");
    one.send(1023).expect("an IPI port");
    assert_eq!(bed.consume(Who::One, 0), [1023]);
}

/// A reset is for the domain itself; it closes everything and leads back to the 2-level ABI, from where the FIFO ABI can be
/// set up again.
pub fn reset(bed: &impl Bed) {
    let one = Caller(bed, Who::One);
    let ipi = one.bind_ipi(0).expect("a port");
    one.send(ipi).expect("an IPI port");
    let reset = |dom| one.done(EventOp::Reset, Reset { dom });
    assert_eq!((reset(NOBODY), reset(bed.number(Who::Dom0))), (Err(Errno::NoDomain), Err(Errno::NotPermitted)));
    assert_eq!(one.done(EventOp::ResetContinuation, Reset { dom: SELF }), Err(Errno::Busy));
    reset(SELF).expect("its own");
    assert_eq!(one.state(ipi), Ok(ChannelState::Closed as u32));
    let [control_gfn, array_gfn] = bed.spare_frames();
    let expand = || one.done(EventOp::ExpandArray, ExpandArray { array_gfn });
    assert_eq!(expand(), Err(Errno::NotSupported), "the domain is on the 2-level ABI, whatever it was before");
    let init = |vcpu, offset| {
        one.done(EventOp::InitControl, InitControl { control_gfn, offset, vcpu, ..InitControl::default() })
    };
    assert_eq!(init(2, 0), Err(Errno::NoEntry));
    assert_eq!(init(0, 4), Err(Errno::Invalid), "not aligned");
    assert_eq!(init(0, 4096), Err(Errno::Invalid), "beyond the page");
    assert_eq!((init(0, 8), init(0, 8), expand()), (Ok(()), Err(Errno::Invalid), Ok(())));
}
