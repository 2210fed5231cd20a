//! What can go wrong when vectors are given out, moved and taken back.

use crate::CpuId;
use crate::CpuSet;
use crate::Lease;
use crate::Rank;
use crate::StaleLease;
use crate::Vector;

/// A machine no allocator can be made for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HostError {
    /// No CPUs, or more than the tables are made for.
    #[error("a host has 1 to {limit} CPUs, not {cpus}")]
    CpuCount {
        /// How many were asked for.
        cpus: u32,
        /// The most there can be.
        limit: u32,
    },
    /// The cluster size is none that hardware has (flat mode 8, x2APIC 16).
    #[error("a cluster of logical destinations has 1 to 64 CPUs, not {cluster_size}")]
    ClusterSize {
        /// The size asked for.
        cluster_size: u32,
    },
    /// A CPU is said to be online that the host does not have.
    #[error("CPU {cpu} is online, but the host has only {cpus} CPUs")]
    NotPresent {
        /// The CPU.
        cpu: CpuId,
        /// How many CPUs there are.
        cpus: u32,
    },
}

/// No vector could be given.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AllocateError {
    /// Posted sources are delivered by the IOMMU straight to the guest.
    #[error("a posted source needs no host vector")]
    NoVectorNeeded,
    /// No CPU of the affinity can take interrupts.
    #[error("no CPU of affinity {affinity} is online")]
    NoneOnline {
        /// The affinity asked for.
        affinity: CpuSet,
    },
    /// Every online CPU of the affinity has given out all its vectors.
    #[error("every vector is taken on CPUs {cpus}")]
    Full {
        /// Those CPUs.
        cpus: CpuSet,
    },
    /// There are free vectors, but each would put a guest above dom0 (or the other way round); `below-dom0` only.
    #[error(
        "a {rank} finds no vector on CPUs {cpus}: on CPU {cpu} the free {nearest} is on the wrong side of {boundary}"
    )]
    OrderBlocks {
        /// What asked for a vector.
        rank: Rank,
        /// The online CPUs of the affinity.
        cpus: CpuSet,
        /// The first of them with a free vector.
        cpu: CpuId,
        /// Its free vector nearest to being usable.
        nearest: Vector,
        /// The vector that stops it there.
        boundary: Vector,
    },
    /// Every vector reserved on all CPUs is in use (Xen, with 8 of them, stops the machine here).
    #[error("all {count} notification vectors are in use")]
    NotificationsExhausted {
        /// How many the layout has.
        count: u32,
    },
    /// Nothing is reserved, or everything reserved is leased, on the CPU whose turn it is.
    #[error("no vector is reserved for managed sources on CPU {cpu}")]
    NothingReserved {
        /// The online CPU of the affinity with the fewest managed leases.
        cpu: CpuId,
    },
}

/// An assignment found on a host cannot be taken over.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AdoptError {
    /// Posted sources hold no host vector.
    #[error("a posted source holds no host vector")]
    NoVectorNeeded,
    /// The layout keeps the vector for the system, or does not have it.
    #[error("vector {vector} cannot be leased on CPU {cpu}")]
    NotLeasable {
        /// The vector.
        vector: Vector,
        /// The CPU.
        cpu: CpuId,
    },
    /// The vector is taken or reserved.
    #[error("vector {vector} is already taken on CPU {cpu}")]
    Taken {
        /// The vector.
        vector: Vector,
        /// The CPU.
        cpu: CpuId,
    },
    /// Nobody holds the vector.
    #[error("vector {vector} is held on no CPU")]
    NoHolder {
        /// The vector.
        vector: Vector,
    },
    /// A holder cannot take interrupts.
    #[error("vector {vector} is held on CPU {cpu}, which is not online")]
    Offline {
        /// The vector.
        vector: Vector,
        /// The CPU.
        cpu: CpuId,
    },
    /// One lease takes its vector on one CPU (physical destinations) or inside one cluster (logical ones).
    #[error("vector {vector} is held on {holders}, which is more than one lease can take")]
    TooWide {
        /// The vector.
        vector: Vector,
        /// The CPUs.
        holders: CpuSet,
    },
    /// The interrupt is sent where its vector is not taken.
    #[error("vector {vector} is sent to CPU {target}, which does not hold it")]
    TargetHoldsNot {
        /// The vector.
        vector: Vector,
        /// The CPU it is sent to.
        target: CpuId,
    },
}

/// A lease could not be moved.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MoveError {
    /// It is no lease any more.
    #[error(transparent)]
    Stale(#[from] StaleLease),
    /// The move before has not drained (Xen: `-EAGAIN`); ask again once it has.
    #[error("lease {lease} is still moving: vector {draining} is not drained")]
    InFlight {
        /// The lease.
        lease: Lease,
        /// Its old vector.
        draining: Vector,
    },
    /// Nothing to move to.
    #[error("lease {lease} cannot be moved")]
    NoVector {
        /// The lease.
        lease: Lease,
        /// Why.
        #[source]
        source: AllocateError,
    },
}

/// A move could not be finished.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FinishError {
    /// It is no lease any more.
    #[error(transparent)]
    Stale(#[from] StaleLease),
    /// No move is under way.
    #[error("lease {lease} is not moving")]
    NotMoving {
        /// The lease.
        lease: Lease,
    },
}

/// A move could not be turned round.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TurnBackError {
    /// It is no lease any more.
    #[error(transparent)]
    Stale(#[from] StaleLease),
    /// No move is under way.
    #[error("lease {lease} is not moving")]
    NotMoving {
        /// The lease.
        lease: Lease,
    },
    /// The old vector has been given up, here or by a CPU that went.
    #[error("lease {lease} has given vector {old} up")]
    GivenUp {
        /// The lease.
        lease: Lease,
        /// Its old vector.
        old: Vector,
    },
}

/// A CPU could not be taken offline or brought online.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HotplugError {
    /// The host does not have it.
    #[error("CPU {cpu} is not present: the host has {cpus} CPUs")]
    NotPresent {
        /// The CPU.
        cpu: CpuId,
        /// How many there are.
        cpus: u32,
    },
    /// It already is.
    #[error("CPU {cpu} is online already")]
    AlreadyOnline {
        /// The CPU.
        cpu: CpuId,
    },
    /// It already is.
    #[error("CPU {cpu} is offline already")]
    AlreadyOffline {
        /// The CPU.
        cpu: CpuId,
    },
    /// Somebody has to take the interrupts.
    #[error("CPU {cpu} is the last one online")]
    LastOnline {
        /// The CPU.
        cpu: CpuId,
    },
}
