//! How a guest waits for events without an upcall, and how it stops (`public/sched.h`).

/// Stops the domain, for one of the reasons below (`SCHEDOP_shutdown`).
pub const SCHEDOP_SHUTDOWN: u32 = 2;
/// The domain has powered itself off.
pub const SHUTDOWN_POWEROFF: u32 = 0;
/// The domain is ready to be saved.
pub const SHUTDOWN_SUSPEND: u32 = 2;
/// The domain has crashed.
pub const SHUTDOWN_CRASH: u32 = 3;
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

/// The argument of [`SCHEDOP_SHUTDOWN`] (`struct sched_shutdown`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
#[derive(zerocopy::FromBytes, zerocopy::IntoBytes, zerocopy::Immutable, zerocopy::KnownLayout)]
pub struct SchedShutdown {
    /// In: why.
    pub reason: u32,
}
