//! Physical IRQs, as far as they can be seen from a guest that has none: those of dom0's Linux, and what is refused.

use guest_shim::PirqEois;
use guest_shim::Refused;
use guest_shim::reserve_for_msi;
use hypervisor_abi::DomainId;
use hypervisor_abi::Errno;
use hypervisor_abi::event::BindPirq;
use hypervisor_abi::event::ChannelState;
use hypervisor_abi::event::EventOp;
use hypervisor_abi::event::Status;
use hypervisor_abi::features::Feature;
use hypervisor_abi::physdev::PirqEoiPage;
use zerocopy::IntoBytes;

use crate::machine::on_xen;
use crate::mailbox::MAILBOX;
use crate::memory::Page;

/// How many of dom0's ports are looked at: its Linux binds its first interrupts early.
const LOOKED_AT: u32 = 32;
/// A number that a PV guest could have.
const SOME_PIRQ: u32 = 17;

/// A page in which Xen would say which physical IRQs wait for their end.
static EOIS: Page<PirqEoiPage> = Page::ZERO;

/// dom0's ports say which physical IRQs they carry, and none of these can be bound a second time.
pub(super) fn of_dom0() {
    let mut bound = 0;
    for port in 1..LOOKED_AT {
        let mut status = Status { dom: DomainId::SELF.0, port, ..Status::default() };
        assert_eq!(MAILBOX.event_channel_op(EventOp::Status, status.as_mut_bytes()), 0, "dom0's port {port}");
        if status.status == ChannelState::Pirq as u32 {
            let mut again = BindPirq { pirq: status.detail, ..BindPirq::default() };
            let result = MAILBOX.event_channel_op(EventOp::BindPirq, again.as_mut_bytes());
            assert_eq!(result, Errno::Exists.hypercall_result(), "physical IRQ {}", status.detail);
            bound += 1;
        }
    }
    assert_ne!(bound, 0, "Linux has interrupts of its devices");
}

/// A guest to which Xen does not offer physical IRQs can neither reserve nor end one, nor register a page for their ends.
pub(super) fn refused() {
    let (hypervisor, features) = (on_xen().hypervisor, on_xen().features);
    assert!(!features.has(Feature::HvmPirqs), "{features:?}");
    let is_refused = |refused: Refused| assert!(refused.is(Errno::NotImplemented), "{refused}");
    is_refused(reserve_for_msi(&hypervisor).expect_err("there are none"));
    is_refused(PirqEois::by_call().end(&hypervisor, SOME_PIRQ).expect_err("there is none"));
    is_refused(PirqEois::register(&hypervisor, &EOIS, EOIS.gfn()).expect_err("only a PV guest has one"));
}
