//! The arguments of the event-channel operations, field for field (`struct evtchn_*`).
//!
//! *In* fields come from the caller, *out* fields go back. All numbers are the guest's and unchecked.

/// Flag of [`BindPirq`]: other domains may share the line (`BIND_PIRQ__WILL_SHARE`).
pub const WILL_SHARE: u32 = 1;

/// Declares one argument structure: plain data, laid out as C does.
macro_rules! argument {
    ($(#[$doc:meta])* $name:ident { $($(#[$field_doc:meta])* $field:ident: $kind:ty,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        #[repr(C)]
        #[derive(zerocopy::FromBytes, zerocopy::IntoBytes, zerocopy::Immutable, zerocopy::KnownLayout)]
        pub struct $name {
            $($(#[$field_doc])* pub $field: $kind,)*
        }
    };
}

argument! {
    /// `EVTCHNOP_alloc_unbound`.
    AllocUnbound {
        /// In: whose port.
        dom: u16,
        /// In: who may connect to it.
        remote_dom: u16,
        /// Out: the port.
        port: u32,
    }
}

argument! {
    /// `EVTCHNOP_bind_interdomain`.
    BindInterdomain {
        /// In: whose port is offered.
        remote_dom: u16,
        /// Padding.
        pad: [u8; 2],
        /// In: the offered port.
        remote_port: u32,
        /// Out: the caller's port.
        local_port: u32,
    }
}

argument! {
    /// `EVTCHNOP_bind_virq`.
    BindVirq {
        /// In: the virtual IRQ.
        virq: u32,
        /// In: the vCPU; 0 for those that are not per vCPU.
        vcpu: u32,
        /// Out: the port.
        port: u32,
    }
}

argument! {
    /// `EVTCHNOP_bind_pirq`.
    BindPirq {
        /// In: the physical IRQ.
        pirq: u32,
        /// In: [`WILL_SHARE`] or 0.
        flags: u32,
        /// Out: the port.
        port: u32,
    }
}

argument! {
    /// `EVTCHNOP_bind_ipi`.
    BindIpi {
        /// In: the vCPU that is interrupted.
        vcpu: u32,
        /// Out: the port.
        port: u32,
    }
}

argument! {
    /// `EVTCHNOP_close`.
    Close {
        /// In: the port.
        port: u32,
    }
}

argument! {
    /// `EVTCHNOP_send`.
    Send {
        /// In: the caller's port.
        port: u32,
    }
}

argument! {
    /// `EVTCHNOP_status`.
    Status {
        /// In: whose port.
        dom: u16,
        /// Padding.
        pad: [u8; 2],
        /// In: the port.
        port: u32,
        /// Out: a [`ChannelState`](super::ChannelState).
        status: u32,
        /// Out: the vCPU that is notified.
        vcpu: u32,
        /// Out: the other end's domain in the low 16 bits, or the physical or virtual IRQ.
        detail: u32,
        /// Out: the other end's port, if interdomain.
        remote_port: u32,
    }
}

argument! {
    /// `EVTCHNOP_bind_vcpu`.
    BindVcpu {
        /// In: the port.
        port: u32,
        /// In: the vCPU that is to be notified.
        vcpu: u32,
    }
}

argument! {
    /// `EVTCHNOP_unmask`.
    Unmask {
        /// In: the port.
        port: u32,
    }
}

argument! {
    /// `EVTCHNOP_reset`.
    Reset {
        /// In: whose ports.
        dom: u16,
    }
}

argument! {
    /// `EVTCHNOP_init_control`.
    InitControl {
        /// In: the frame of the control block.
        control_gfn: u64,
        /// In: its offset within the frame, in bytes.
        offset: u32,
        /// In: the vCPU.
        vcpu: u32,
        /// Out: how wide links are.
        link_bits: u8,
        /// Padding.
        pad: [u8; 7],
    }
}

argument! {
    /// `EVTCHNOP_expand_array`.
    ExpandArray {
        /// In: the frame that becomes the next page of event words.
        array_gfn: u64,
    }
}

argument! {
    /// `EVTCHNOP_set_priority`.
    SetPriority {
        /// In: the port.
        port: u32,
        /// In: the priority, 0 to 15.
        priority: u32,
    }
}
