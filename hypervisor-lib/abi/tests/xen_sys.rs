//! The layouts and numbers against those of the crate `xen-sys` (generated from Xen 4.14's headers), proved when this test
//! is compiled. Its `shared_info` is the 64-bit one.
#![cfg(not(any(loom, shuttle)))]

use core::mem::offset_of;

use hypervisor_abi::event;
use hypervisor_abi::event::EventOp;
use hypervisor_abi::sched::SchedPoll;
use hypervisor_abi::sched::SchedShutdown;
use hypervisor_abi::shared_info::SharedInfo64;
use hypervisor_abi::vcpu_info::VcpuInfo64;
use hypervisor_abi::vcpu_info::VcpuTimeInfo;
use hypervisor_abi::virq::NR_VIRQS;
use hypervisor_abi::virq::Virq;

/// Asserts that a type has the size of its counterpart, and each field its counterpart's offset.
macro_rules! same_layout {
    ($ours:ty, $theirs:ty, [$($field:ident = $their_field:ident),* $(,)?]) => {
        const _: () = {
            assert!(size_of::<$ours>() == size_of::<$theirs>());
            $(assert!(offset_of!($ours, $field) == offset_of!($theirs, $their_field));)*
        };
    };
}

same_layout!(
    SharedInfo64,
    xen_sys::shared_info,
    [
        vcpu_info = vcpu_info,
        evtchn_pending = evtchn_pending,
        evtchn_mask = evtchn_mask,
        wc_version = wc_version,
        wc_sec = wc_sec,
        wc_nsec = wc_nsec,
        wc_sec_hi = wc_sec_hi,
        arch = arch,
    ]
);
same_layout!(
    VcpuInfo64,
    xen_sys::vcpu_info,
    [
        evtchn_upcall_pending = evtchn_upcall_pending,
        evtchn_upcall_mask = evtchn_upcall_mask,
        evtchn_pending_sel = evtchn_pending_sel,
        arch = arch,
        time = time,
    ]
);
same_layout!(
    VcpuTimeInfo,
    xen_sys::vcpu_time_info,
    [
        version = version,
        tsc_timestamp = tsc_timestamp,
        system_time = system_time,
        tsc_to_system_mul = tsc_to_system_mul,
        tsc_shift = tsc_shift,
    ]
);
same_layout!(event::ControlBlock, xen_sys::evtchn_fifo_control_block, [ready = ready, head = head]);
same_layout!(event::AllocUnbound, xen_sys::evtchn_alloc_unbound, [dom = dom, remote_dom = remote_dom, port = port]);
same_layout!(
    event::BindInterdomain,
    xen_sys::evtchn_bind_interdomain,
    [remote_dom = remote_dom, remote_port = remote_port, local_port = local_port,]
);
same_layout!(event::BindVirq, xen_sys::evtchn_bind_virq, [virq = virq, vcpu = vcpu, port = port]);
same_layout!(event::BindPirq, xen_sys::evtchn_bind_pirq, [pirq = pirq, flags = flags, port = port]);
same_layout!(event::BindIpi, xen_sys::evtchn_bind_ipi, [vcpu = vcpu, port = port]);
same_layout!(event::Close, xen_sys::evtchn_close, [port = port]);
same_layout!(event::Send, xen_sys::evtchn_send, [port = port]);
same_layout!(event::Status, xen_sys::evtchn_status, [dom = dom, port = port, status = status, vcpu = vcpu, detail = u]);
same_layout!(event::BindVcpu, xen_sys::evtchn_bind_vcpu, [port = port, vcpu = vcpu]);
same_layout!(event::Unmask, xen_sys::evtchn_unmask, [port = port]);
same_layout!(event::Reset, xen_sys::evtchn_reset, [dom = dom]);
same_layout!(
    event::InitControl,
    xen_sys::evtchn_init_control,
    [control_gfn = control_gfn, offset = offset, vcpu = vcpu, link_bits = link_bits,]
);
same_layout!(event::ExpandArray, xen_sys::evtchn_expand_array, [array_gfn = array_gfn]);
same_layout!(SchedPoll, xen_sys::sched_poll, [ports = ports, nr_ports = nr_ports, timeout = timeout]);
same_layout!(SchedShutdown, xen_sys::sched_shutdown, [reason = reason]);
same_layout!(event::SetPriority, xen_sys::evtchn_set_priority, [port = port, priority = priority]);

#[test]
fn operations_have_the_numbers_of_the_header() {
    let numbers = [
        (EventOp::BindInterdomain, xen_sys::EVTCHNOP_bind_interdomain),
        (EventOp::BindVirq, xen_sys::EVTCHNOP_bind_virq),
        (EventOp::BindPirq, xen_sys::EVTCHNOP_bind_pirq),
        (EventOp::Close, xen_sys::EVTCHNOP_close),
        (EventOp::Send, xen_sys::EVTCHNOP_send),
        (EventOp::Status, xen_sys::EVTCHNOP_status),
        (EventOp::AllocUnbound, xen_sys::EVTCHNOP_alloc_unbound),
        (EventOp::BindIpi, xen_sys::EVTCHNOP_bind_ipi),
        (EventOp::BindVcpu, xen_sys::EVTCHNOP_bind_vcpu),
        (EventOp::Unmask, xen_sys::EVTCHNOP_unmask),
        (EventOp::Reset, xen_sys::EVTCHNOP_reset),
        (EventOp::InitControl, xen_sys::EVTCHNOP_init_control),
        (EventOp::ExpandArray, xen_sys::EVTCHNOP_expand_array),
        (EventOp::SetPriority, xen_sys::EVTCHNOP_set_priority),
    ];
    for (ours, theirs) in numbers {
        assert_eq!(ours.number(), theirs, "{ours:?}");
    }
}

#[test]
fn fifo_bits_and_virtual_irqs_have_the_numbers_of_the_header() {
    assert_eq!(event::PENDING_BIT, xen_sys::EVTCHN_FIFO_PENDING);
    assert_eq!(event::MASKED_BIT, xen_sys::EVTCHN_FIFO_MASKED);
    assert_eq!(event::LINKED_BIT, xen_sys::EVTCHN_FIFO_LINKED);
    assert_eq!(event::BUSY_BIT, xen_sys::EVTCHN_FIFO_BUSY);
    assert_eq!(event::LINK_MASK, xen_sys::EVTCHN_FIFO_LINK_MASK);
    assert_eq!(u32::from(event::LINK_BITS), xen_sys::EVTCHN_FIFO_LINK_BITS);
    assert_eq!(u32::from(event::FifoPriority::LOWEST.number()), xen_sys::EVTCHN_FIFO_PRIORITY_MIN);
    assert_eq!(u32::from(event::FifoPriority::DEFAULT.number()), xen_sys::EVTCHN_FIFO_PRIORITY_DEFAULT);
    assert_eq!(u32::try_from(NR_VIRQS), Ok(xen_sys::NR_VIRQS));
    assert_eq!(u32::from(Virq::XENPMU.number()), xen_sys::VIRQ_XENPMU);
    assert_eq!(u32::from(Virq::ARGO.number()), xen_sys::VIRQ_ARGO);
}
