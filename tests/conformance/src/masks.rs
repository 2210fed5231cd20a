//! Masks: what is sent while a port is masked comes when the hypervisor is asked to unmask it.

use hypervisor_abi::Errno;

use crate::bed::Bed;
use crate::bed::Who;
use crate::caller::Caller;

/// `EVTCHNOP_unmask` delivers what the mask hid, once, and nothing else.
pub fn masks(bed: &impl Bed) {
    let one = Caller(bed, Who::One);
    let ipi = one.bind_ipi(0).expect("a port");
    bed.mask(Who::One, ipi);
    one.send(ipi).expect("an IPI port");
    assert_eq!(bed.consume(Who::One, 0), []);
    one.unmask(ipi).expect("a port");
    assert_eq!(bed.consume(Who::One, 0), [ipi]);
    assert_eq!(bed.consume(Who::One, 0), []);
    // A mask that hid nothing calls nobody.
    bed.mask(Who::One, ipi);
    one.unmask(ipi).expect("a port");
    assert_eq!(bed.consume(Who::One, 0), []);
    assert_eq!(one.unmask(u32::MAX), Err(Errno::Invalid));
}
