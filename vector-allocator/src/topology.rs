//! On how many CPUs one lease takes its vector: the two destination models real hosts have.

use crate::CpuId;
use crate::CpuSet;

/// How external interrupts are addressed, and with it where a leased vector is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DestinationModel {
    /// Physical destinations: a lease takes its vector on one CPU, and a move to another CPU takes a new vector there.
    Physical,
    /// Logical destinations: a lease takes the same vector on every online CPU of a cluster, and keeps it while it moves
    /// inside the cluster. Flat mode is one cluster of up to 8 CPUs; x2APIC clusters have up to 16.
    Logical {
        /// CPUs per cluster; cluster k holds CPUs k × this to (k + 1) × this − 1.
        cluster_size: u32,
    },
}

impl DestinationModel {
    /// xAPIC flat logical mode: all CPUs are one cluster (Xen: `apic=default`, up to 8 CPUs).
    pub const FLAT: Self = Self::Logical { cluster_size: 8 };
    /// x2APIC cluster mode.
    pub const X2APIC_CLUSTER: Self = Self::Logical { cluster_size: 16 };

    /// CPUs that share a vector with `cpu`, `cpu` among them, as first number and count.
    #[must_use]
    pub const fn cluster(self, cpu: CpuId) -> (CpuId, u32) {
        match self {
            Self::Physical | Self::Logical { cluster_size: 0 } => (cpu, 1),
            Self::Logical { cluster_size } => (CpuId(cpu.0 - cpu.0 % cluster_size), cluster_size),
        }
    }

    /// The CPUs out of `online` on which a lease that targets `cpu` takes its vector.
    #[must_use]
    pub fn holders(self, cpu: CpuId, online: &CpuSet) -> CpuSet {
        let (first, count) = self.cluster(cpu);
        online.iter().filter(|other| other.0 >= first.0 && other.0 < first.0.saturating_add(count)).collect()
    }
}
