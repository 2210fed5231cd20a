//! How a toolstack asks for the whole host (`public/sysctl.h`): one structure, a number of what is asked, and the version of
//! the interface, which must be the hypervisor's.
//!
//! The interface is not stable. Of each argument only the leading fields are here that have stood unchanged through the
//! versions in [`VERSIONS`]; Xen reads and writes the rest of the 128 bytes too, so [`Sysctl`] always has room for it.

use zerocopy::FromBytes;
use zerocopy::Immutable;
use zerocopy::IntoBytes;
use zerocopy::KnownLayout;

/// The versions of the interface whose layouts these are, newest first: 0x16 came with Xen 4.21, 0x15 with 4.17.
pub const VERSIONS: [u32; 5] = [0x16, 0x15, 0x14, 0x13, 0x12];

/// Reads the hypervisor's console ring (`XEN_SYSCTL_readconsole`).
pub const SYSCTL_READCONSOLE: u32 = 1;
/// Controls the trace buffers (`XEN_SYSCTL_tbuf_op`).
pub const SYSCTL_TBUF_OP: u32 = 2;
/// Tells about the machine (`XEN_SYSCTL_physinfo`).
pub const SYSCTL_PHYSINFO: u32 = 3;
/// Tells which scheduler runs (`XEN_SYSCTL_sched_id`).
pub const SYSCTL_SCHED_ID: u32 = 4;
/// Tells about domains (`XEN_SYSCTL_getdomaininfolist`).
pub const SYSCTL_GETDOMAININFOLIST: u32 = 6;
/// Presses debug keys (`XEN_SYSCTL_debug_keys`).
pub const SYSCTL_DEBUG_KEYS: u32 = 7;
/// Tells which core, socket and node each CPU is of (`XEN_SYSCTL_cputopoinfo`).
pub const SYSCTL_CPUTOPOINFO: u32 = 16;

/// The size of the union of all arguments, bytes.
pub const ARGUMENT_SIZE: usize = 128;

/// A request (`struct xen_sysctl`).
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Sysctl {
    /// In: `SYSCTL_*`.
    pub cmd: u32,
    /// In: the interface's version.
    pub interface_version: u32,
    /// In and out: the argument.
    pub argument: [u8; ARGUMENT_SIZE],
}

/// The argument of [`SYSCTL_READCONSOLE`] (`struct xen_sysctl_readconsole`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct ReadConsole {
    /// In: other than 0 to empty the ring.
    pub clear: u8,
    /// In: other than 0 to begin at [`index`](Self::index).
    pub incremental: u8,
    /// Padding.
    pub pad: [u8; 2],
    /// In: where to begin. Out: where it ended. Counts every byte since the boot, modulo 2³².
    pub index: u32,
    /// In: the address the text is written to.
    pub buffer: u64,
    /// In: the buffer's size, bytes. Out: how many were written.
    pub count: u32,
    /// Padding.
    pub pad_end: u32,
}

/// The argument of [`SYSCTL_DEBUG_KEYS`] (`struct xen_sysctl_debug_keys`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct DebugKeys {
    /// In: the address of the keys, a byte each.
    pub keys: u64,
    /// In: how many.
    pub nr_keys: u32,
    /// Padding.
    pub pad: u32,
}

/// The argument of [`SYSCTL_GETDOMAININFOLIST`] (`struct xen_sysctl_getdomaininfolist`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct GetDomainInfoList {
    /// In: the lowest domain asked for.
    pub first_domain: u16,
    /// Padding.
    pub pad: u16,
    /// In: room in the buffer.
    pub max_domains: u32,
    /// In: the address of that many `struct xen_domctl_getdomaininfo`.
    pub buffer: u64,
    /// Out: how many were written.
    pub num_domains: u32,
    /// Padding.
    pub pad_end: u32,
}

/// More than `struct xen_domctl_getdomaininfo` takes in any version of [`VERSIONS`], bytes (128 in 4.17).
pub const DOMAIN_INFO_ROOM: usize = 512;

/// The first fields of the argument of [`SYSCTL_PHYSINFO`] (`struct xen_sysctl_physinfo`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct PhysInfo {
    /// Out: threads a core has.
    pub threads_per_core: u32,
    /// Out: cores a socket has.
    pub cores_per_socket: u32,
    /// Out: CPUs that are online.
    pub nr_cpus: u32,
    /// Out: the highest number a CPU can have.
    pub max_cpu_id: u32,
    /// Out: nodes that are online.
    pub nr_nodes: u32,
    /// Out: the highest number a node can have.
    pub max_node_id: u32,
    /// Out: the rate of the time-stamp counter, kHz.
    pub cpu_khz: u32,
    /// Out: `PHYSCAP_*`.
    pub capabilities: u32,
}

/// The host runs HVM guests (`XEN_SYSCTL_PHYSCAP_hvm`).
pub const PHYSCAP_HVM: u32 = 1;
/// The host runs PV guests (`XEN_SYSCTL_PHYSCAP_pv`).
pub const PHYSCAP_PV: u32 = 1 << 1;
/// The host has second-level page tables for guests (`XEN_SYSCTL_PHYSCAP_hap`).
pub const PHYSCAP_HAP: u32 = 1 << 3;
/// An IOMMU lets guests have devices (`XEN_SYSCTL_PHYSCAP_directio`).
pub const PHYSCAP_DIRECTIO: u32 = 1 << 2;

/// The argument of [`SYSCTL_SCHED_ID`] (`struct xen_sysctl_sched_id`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct SchedId {
    /// Out: `XEN_SCHEDULER_*`: 5 credit, 6 credit2, 7 arinc653, 8 rtds, 9 null.
    pub sched_id: u32,
}

/// The argument of [`SYSCTL_CPUTOPOINFO`] (`struct xen_sysctl_cputopoinfo`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct CpuTopoInfo {
    /// In: room in the buffer. Out: how many [`CpuTopo`] were written, or how many there are.
    pub num_cpus: u32,
    /// Padding.
    pub pad: u32,
    /// In: the address of the [`CpuTopo`]; 0 to ask how many there are.
    pub cputopo: u64,
}

/// Where a CPU is (`struct xen_sysctl_cputopo`); all ones for a CPU that is not there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct CpuTopo {
    /// Its core within the socket.
    pub core: u32,
    /// Its socket.
    pub socket: u32,
    /// Its node.
    pub node: u32,
}

/// Tells where the trace buffers are (`XEN_SYSCTL_TBUFOP_get_info`).
pub const TBUFOP_GET_INFO: u32 = 0;
/// Chooses the traced CPUs (`XEN_SYSCTL_TBUFOP_set_cpu_mask`).
pub const TBUFOP_SET_CPU_MASK: u32 = 1;
/// Chooses the traced events (`XEN_SYSCTL_TBUFOP_set_evt_mask`).
pub const TBUFOP_SET_EVT_MASK: u32 = 2;
/// Makes the buffers, so many pages for each CPU; they cannot be made anew (`XEN_SYSCTL_TBUFOP_set_size`).
pub const TBUFOP_SET_SIZE: u32 = 3;
/// Begins to trace (`XEN_SYSCTL_TBUFOP_enable`).
pub const TBUFOP_ENABLE: u32 = 4;
/// Ends it (`XEN_SYSCTL_TBUFOP_disable`).
pub const TBUFOP_DISABLE: u32 = 5;

/// A set of numbers in memory (`struct xenctl_bitmap`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Bitmap {
    /// The address of its bytes, the lowest bit first.
    pub bitmap: u64,
    /// How many bits there is room for.
    pub nr_bits: u32,
    /// Padding.
    pub pad: u32,
}

/// The argument of [`SYSCTL_TBUF_OP`] (`struct xen_sysctl_tbuf_op`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct TbufOp {
    /// In: `TBUFOP_*`.
    pub cmd: u32,
    /// Padding.
    pub pad: u32,
    /// In: the CPUs.
    pub cpu_mask: Bitmap,
    /// In and out: the events.
    pub evt_mask: u32,
    /// Padding.
    pub pad_mask: u32,
    /// Out: the frame of the first page that says where the buffers are; 0 if there are none.
    pub buffer_mfn: u64,
    /// In: pages of a buffer. Out: size of what says where the buffers are, bytes.
    pub size: u32,
    /// Padding.
    pub pad_end: u32,
}
