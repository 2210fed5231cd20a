//! How a guest waits for events without an upcall (`public/sched.h`).

/// Waits until one of a few ports is pending (`SCHEDOP_poll`).
pub const SCHEDOP_POLL: u32 = 3;
/// The most ports one poll can name (`xen/common/sched/core.c`).
pub const MAX_POLL_PORTS: usize = 128;

/// The argument of [`SCHEDOP_POLL`] (`struct sched_poll`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
#[derive(zerocopy::FromBytes, zerocopy::IntoBytes, zerocopy::Immutable, zerocopy::KnownLayout)]
pub struct SchedPoll {
    /// In: the virtual address of the ports' numbers, 32 bits each.
    pub ports: u64,
    /// In: how many.
    pub nr_ports: u32,
    /// Padding.
    pub pad: u32,
    /// In: the system time at which the wait ends, in ns; 0 for never.
    pub timeout: u64,
}
