//! Ports of one vCPU, from binding to closing, the same over both ABIs.

use guest_shim::EoiMode;

use crate::bed;
use crate::bed::Abi;
use crate::bed::FIRST;
use crate::bed::Vcpu;

/// What a vCPU sends itself interrupts it, once however often it was sent.
pub(super) fn ipi<A: Abi>() {
    let channels = bed::channels::<A>();
    let mut vcpu = Vcpu::bring_up(&channels, FIRST);
    let port = channels.bind_ipi(FIRST, EoiMode::Early).expect("a port");
    channels.unmask(port).expect("a port");
    for _ in 0..100 {
        channels.send(port).expect("an IPI port");
        channels.send(port).expect("an IPI port");
        assert_eq!(vcpu.wait(&channels), [port]);
        assert_eq!(vcpu.take_now(&channels), []);
    }
}
