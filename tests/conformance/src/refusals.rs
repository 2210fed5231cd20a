//! What is refused on ports that are not bound, or do not exist, and in which order arguments are looked at.

use hypervisor_abi::Errno;
use hypervisor_abi::event::ChannelState;

use crate::bed::Abi;
use crate::bed::Bed;
use crate::bed::Who;
use crate::caller::Caller;

/// Operations on ports 0 and 5, which are closed, and on one that exists in no ABI.
pub fn refusals(bed: &impl Bed) {
    let one = Caller(bed, Who::One);
    for port in [0, 5] {
        assert_eq!(one.send(port), Err(Errno::Invalid));
        assert_eq!(one.close(port), Err(Errno::Invalid));
        assert_eq!(one.bind_vcpu(port, 0), Err(Errno::Invalid));
        assert_eq!(one.state(port), Ok(ChannelState::Closed as u32));
    }
    let ipi = one.bind_ipi(0).expect("a port");
    assert_eq!(one.bind_vcpu(ipi, 2), Err(Errno::NoEntry), "the vCPU is looked at first");
    assert_eq!(one.bind_vcpu(u32::MAX, 2), Err(Errno::NoEntry));
    for call in [one.send(u32::MAX), one.close(u32::MAX), one.state(u32::MAX).map(|_| ())] {
        assert_eq!(call, Err(Errno::Invalid));
    }
    if bed.abi() == Abi::Fifo {
        assert_eq!((one.set_priority(ipi, 15), one.set_priority(ipi, 16)), (Ok(()), Err(Errno::Invalid)));
        assert_eq!(one.set_priority(5, 16), Err(Errno::AccessDenied));
    } else {
        assert_eq!(one.set_priority(ipi, 16), Err(Errno::NotImplemented));
        assert_eq!(one.set_priority(5, 0), Err(Errno::NotImplemented));
    }
    assert_eq!(one.set_priority(u32::MAX, 0), Err(Errno::Invalid));
}
