//! Ports that carry interrupts: between vCPUs, of the hypervisor, of devices.

use hypervisor_abi::Errno;
use hypervisor_abi::Virq;
use hypervisor_abi::event::ChannelState;

use crate::bed::Bed;
use crate::bed::ForeignVirqs;
use crate::bed::Who;
use crate::caller::Caller;
use crate::caller::SELF;

/// IPIs and the virtual IRQs of a vCPU reach the vCPU they are bound to, and stay there.
pub fn interrupts(bed: &impl Bed) {
    let one = Caller(bed, Who::One);
    assert_eq!(one.bind_ipi(2), Err(Errno::NoEntry));
    let ipi = one.bind_ipi(1).expect("a port");
    one.send(ipi).expect("an IPI port");
    assert_eq!(bed.consume(Who::One, 0), []);
    assert_eq!(bed.consume(Who::One, 1), [ipi]);
    assert_eq!(one.bind_vcpu(ipi, 0), Err(Errno::Invalid), "an IPI stays on its vCPU");
    assert_eq!(one.status(SELF, ipi).map(|status| (status.status, status.vcpu)), Ok((ChannelState::Ipi as u32, 1)));
    assert_eq!(one.bind_virq_number(24, 0), Err(Errno::Invalid));
    assert_eq!(one.bind_virq(Virq::ARGO, 1), Err(Errno::Invalid));
    assert_eq!(one.bind_virq(Virq::TIMER, 2), Err(Errno::NoEntry));
    let timer = one.bind_virq(Virq::TIMER, 1).expect("a port");
    assert_eq!(one.bind_virq(Virq::TIMER, 1), Err(Errno::Exists));
    assert_eq!(one.send(timer), Err(Errno::Invalid), "only the hypervisor raises it");
    assert_eq!(one.bind_vcpu(timer, 0), Err(Errno::Invalid));
    let status = one.status(SELF, timer).expect("one's own port");
    let bound = (ChannelState::Virq as u32, 1, u32::from(Virq::TIMER.number()));
    assert_eq!((status.status, status.vcpu, status.detail), bound);
    one.close(timer).expect("open");
    one.bind_virq(Virq::TIMER, 1).expect("it is free again");
}

/// A guest that does not handle a global virtual IRQ may or may not bind it, by the hypervisor's release.
pub fn foreign_virqs(bed: &impl Bed) {
    let one = Caller(bed, Who::One);
    assert_eq!(one.bind_virq(Virq::CONSOLE, 1), Err(Errno::Invalid), "it is no vCPU's own");
    match bed.foreign_virqs() {
        ForeignVirqs::Refused => assert_eq!(one.bind_virq(Virq::CONSOLE, 0), Err(Errno::Busy)),
        ForeignVirqs::Silent => {
            let port = one.bind_virq(Virq::CONSOLE, 0).expect("a port");
            assert_eq!(one.bind_virq(Virq::CONSOLE, 0), Err(Errno::Exists));
            assert_eq!(one.state(port), Ok(ChannelState::Virq as u32));
        }
    }
}

/// A global virtual IRQ is its handler's, who may move it.
pub fn global_virqs(bed: &impl Bed) {
    let dom0 = Caller(bed, Who::Dom0);
    let console = dom0.bind_virq(Virq::CONSOLE, 0).expect("dom0 handles it");
    dom0.bind_vcpu(console, 1).expect("a global one moves");
    assert_eq!(dom0.status(SELF, console).map(|status| (status.status, status.vcpu)), Ok((4, 1)));
}

/// The privileged domain binds a physical IRQ, once.
pub fn pirqs(bed: &impl Bed) {
    let dom0 = Caller(bed, Who::Dom0);
    assert_eq!(dom0.bind_pirq(64), Err(Errno::Invalid));
    dom0.bind_pirq(9).expect("a free one");
    assert_eq!(dom0.bind_pirq(9), Err(Errno::Exists));
}
